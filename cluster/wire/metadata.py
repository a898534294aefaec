"""The table of Metadata: brokers, topics, leaders.

Source: the protocol guide; KIP-430 (authorized operations), KIP-516 (topic ids), KIP-700 (DescribeCluster instead).
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int16, int32

#: v4 allow_auto_topic_creation, v5 offline_replicas (KIP-112), v7 leader_epoch (KIP-320), v8 authorized operations
#: (KIP-430), v9 flexible, v10 topic_id (KIP-516), v12 topics by id, v13 a top-level error (KIP-1102).
METADATA = Api(3, "Metadata", versions="0-13", flexible="9+")


class MetadataRequest(Request["MetadataResponse"], api=METADATA):
    # Null asks for all of them, from v1 on; before that an empty array does.
    topics: Array[MetadataRequestTopic] | None = field("0+", nullable="1+", default=())
    allow_auto_topic_creation: bool = field("4+", default=True)
    include_cluster_authorized_operations: bool = field("8-10")
    include_topic_authorized_operations: bool = field("8+")


class MetadataRequestTopic(Struct):
    topic_id: Uuid = field("10+")
    name: str | None = field("0+", nullable="10+", default="")


class MetadataResponse(Response, api=METADATA):
    throttle_time_ms: int32 = field("3+")
    brokers: Array[MetadataResponseBroker] = field("0+")
    cluster_id: str | None = field("2+", nullable="2+")
    controller_id: int32 = field("1+", default=-1)
    topics: Array[MetadataResponseTopic] = field("0+")
    cluster_authorized_operations: int32 = field("8-10", default=-(1 << 31))
    error_code: int16 = field("13+")


class MetadataResponseBroker(Struct):
    node_id: int32 = field("0+")
    host: str = field("0+")
    port: int32 = field("0+")
    rack: str | None = field("1+", nullable="1+")


class MetadataResponseTopic(Struct):
    error_code: int16 = field("0+")
    name: str | None = field("0+", nullable="12+", default="")
    topic_id: Uuid = field("10+")
    is_internal: bool = field("1+")
    partitions: Array[MetadataResponsePartition] = field("0+")
    topic_authorized_operations: int32 = field("8+", default=-(1 << 31))


class MetadataResponsePartition(Struct):
    error_code: int16 = field("0+")
    partition_index: int32 = field("0+")
    leader_id: int32 = field("0+")
    leader_epoch: int32 = field("7+", default=-1)
    replica_nodes: Array[int32] = field("0+")
    isr_nodes: Array[int32] = field("0+")
    offline_replicas: Array[int32] = field("5+")
