"""The tables of committed offsets: OffsetCommit, OffsetFetch, OffsetDelete.

Source: KIP-211 (retention), KIP-320 (leader epochs), KIP-447 (stable offsets), KIP-496 (deletion), KIP-516 (topic ids),
KIP-709 (many groups), KIP-848 (member epochs).
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int16, int32, int64

#: v1 a timestamp for each partition, v2-4 retention_time_ms, v6 leader epochs (KIP-320), v7 group_instance_id
#: (KIP-345), v8 flexible, v9 member epochs (KIP-848), v10 topic ids.
OFFSET_COMMIT = Api(8, "OffsetCommit", versions="1-10", flexible="8+")


class OffsetCommitRequest(Request["OffsetCommitResponse"], api=OFFSET_COMMIT):
    group_id: str = field("0+")
    generation_id_or_member_epoch: int32 = field("1+", default=-1)
    member_id: str = field("1+")
    group_instance_id: str | None = field("7+", nullable="7+")
    retention_time_ms: int64 = field("2-4", default=-1)
    topics: Array[OffsetCommitRequestTopic] = field("0+")


class OffsetCommitRequestTopic(Struct):
    name: str = field("0-9")
    topic_id: Uuid = field("10+")
    partitions: Array[OffsetCommitRequestPartition] = field("0+")


class OffsetCommitRequestPartition(Struct):
    partition_index: int32 = field("0+")
    committed_offset: int64 = field("0+")
    committed_leader_epoch: int32 = field("6+", default=-1)
    commit_timestamp: int64 = field("1", default=-1)
    committed_metadata: str | None = field("0+", nullable="0+")


class OffsetCommitResponse(Response, api=OFFSET_COMMIT):
    throttle_time_ms: int32 = field("3+")
    topics: Array[OffsetCommitResponseTopic] = field("0+")


class OffsetCommitResponseTopic(Struct):
    name: str = field("0-9")
    topic_id: Uuid = field("10+")
    partitions: Array[OffsetCommitResponsePartition] = field("0+")


class OffsetCommitResponsePartition(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")


#: v2 null asks for all topics, v5 leader epochs (KIP-320), v6 flexible, v7 require_stable (KIP-447), v8 many groups
#: (KIP-709), v9 member epochs (KIP-848), v10 topic ids.
OFFSET_FETCH = Api(9, "OffsetFetch", versions="1-10", flexible="6+")


class OffsetFetchRequest(Request["OffsetFetchResponse"], api=OFFSET_FETCH):
    group_id: str = field("0-7")
    topics: Array[OffsetFetchRequestTopic] | None = field("0-7", nullable="2-7", default=())
    groups: Array[OffsetFetchRequestGroup] = field("8+")
    require_stable: bool = field("7+")


class OffsetFetchRequestTopic(Struct):
    name: str = field("0-7")
    partition_indexes: Array[int32] = field("0-7")


class OffsetFetchRequestGroup(Struct):
    group_id: str = field("8+")
    member_id: str | None = field("9+", nullable="9+")
    member_epoch: int32 = field("9+", default=-1)
    topics: Array[OffsetFetchRequestTopics] | None = field("8+", nullable="8+")


class OffsetFetchRequestTopics(Struct):
    name: str = field("8-9")
    topic_id: Uuid = field("10+")
    partition_indexes: Array[int32] = field("8+")


class OffsetFetchResponse(Response, api=OFFSET_FETCH):
    throttle_time_ms: int32 = field("3+")
    topics: Array[OffsetFetchResponseTopic] = field("0-7")
    error_code: int16 = field("2-7")
    groups: Array[OffsetFetchResponseGroup] = field("8+")


class OffsetFetchResponseTopic(Struct):
    name: str = field("0-7")
    partitions: Array[OffsetFetchResponsePartition] = field("0-7")


class OffsetFetchResponsePartition(Struct):
    partition_index: int32 = field("0-7")
    committed_offset: int64 = field("0-7")
    committed_leader_epoch: int32 = field("5-7", default=-1)
    metadata: str | None = field("0-7", nullable="0-7", default="")
    error_code: int16 = field("0-7")


class OffsetFetchResponseGroup(Struct):
    group_id: str = field("8+")
    topics: Array[OffsetFetchResponseTopics] = field("8+")
    error_code: int16 = field("8+")


class OffsetFetchResponseTopics(Struct):
    name: str = field("8-9")
    topic_id: Uuid = field("10+")
    partitions: Array[OffsetFetchResponsePartitions] = field("8+")


class OffsetFetchResponsePartitions(Struct):
    partition_index: int32 = field("8+")
    committed_offset: int64 = field("8+")
    committed_leader_epoch: int32 = field("8+", default=-1)
    metadata: str | None = field("8+", nullable="8+", default="")
    error_code: int16 = field("8+")


OFFSET_DELETE = Api(47, "OffsetDelete", versions="0", flexible="none")


class OffsetDeleteRequest(Request["OffsetDeleteResponse"], api=OFFSET_DELETE):
    group_id: str = field("0+")
    topics: Array[OffsetDeleteRequestTopic] = field("0+")


class OffsetDeleteRequestTopic(Struct):
    name: str = field("0+")
    partitions: Array[OffsetDeleteRequestPartition] = field("0+")


class OffsetDeleteRequestPartition(Struct):
    partition_index: int32 = field("0+")


class OffsetDeleteResponse(Response, api=OFFSET_DELETE):
    error_code: int16 = field("0+")
    throttle_time_ms: int32 = field("0+")
    topics: Array[OffsetDeleteResponseTopic] = field("0+")


class OffsetDeleteResponseTopic(Struct):
    name: str = field("0+")
    partitions: Array[OffsetDeleteResponsePartition] = field("0+")


class OffsetDeleteResponsePartition(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")
