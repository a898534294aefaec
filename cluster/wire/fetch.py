"""The table of Fetch, for consumers.

Source: KIP-74 (soft size limits), KIP-98 (isolation), KIP-227 (sessions), KIP-320 (leader epochs), KIP-392 (closest
replica), KIP-516 (topic ids), KIP-595 (divergence), KIP-951 (hints at the new leader).
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Records, Request, Response, Struct, field, int8, int16, int32, int64

#: v5 log_start_offset, v7 sessions (KIP-227), v9 current_leader_epoch (KIP-320), v10 zstd (KIP-110), v11 rack_id
#: (KIP-392), v12 flexible, last_fetched_epoch (KIP-595), v13 topic ids (KIP-516), v15 replica_state (KIP-903),
#: v16 node_endpoints (KIP-951), v17 replica_directory_id (KIP-853), v18 high_watermark (KIP-1166).
FETCH = Api(1, "Fetch", versions="4-18", flexible="12+")


class FetchRequest(Request["FetchResponse"], api=FETCH):
    cluster_id: str | None = field("12+", nullable="12+", tag=0)
    # Consumers are -1; from v15 on only followers say who they are (KIP-903).
    replica_id: int32 = field("0-14", default=-1)
    replica_state: ReplicaState | None = field("15+", tag=1)
    max_wait_ms: int32 = field("0+")
    min_bytes: int32 = field("0+")
    max_bytes: int32 = field("3+", default=0x7FFFFFFF)
    isolation_level: int8 = field("4+")
    session_id: int32 = field("7+")
    session_epoch: int32 = field("7+", default=-1)
    topics: Array[FetchTopic] = field("0+")
    forgotten_topics_data: Array[ForgottenTopic] = field("7+")
    rack_id: str = field("11+")


class ReplicaState(Struct):
    replica_id: int32 = field("15+", default=-1)
    replica_epoch: int64 = field("15+", default=-1)


class FetchTopic(Struct):
    topic: str = field("0-12")
    topic_id: Uuid = field("13+")
    partitions: Array[FetchPartition] = field("0+")


class FetchPartition(Struct):
    partition: int32 = field("0+")
    current_leader_epoch: int32 = field("9+", default=-1)
    fetch_offset: int64 = field("0+")
    last_fetched_epoch: int32 = field("12+", default=-1)
    log_start_offset: int64 = field("5+", default=-1)
    partition_max_bytes: int32 = field("0+")
    replica_directory_id: Uuid = field("17+", tag=0)
    high_watermark: int64 = field("18+", tag=1, default=(1 << 63) - 1)


class ForgottenTopic(Struct):
    topic: str = field("7-12")
    topic_id: Uuid = field("13+")
    partitions: Array[int32] = field("7+")


class FetchResponse(Response, api=FETCH):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("7+")
    session_id: int32 = field("7+")
    responses: Array[FetchableTopicResponse] = field("0+")
    node_endpoints: Array[NodeEndpoint] = field("16+", tag=0)


class FetchableTopicResponse(Struct):
    topic: str = field("0-12")
    topic_id: Uuid = field("13+")
    partitions: Array[PartitionData] = field("0+")


class PartitionData(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")
    high_watermark: int64 = field("0+")
    last_stable_offset: int64 = field("4+", default=-1)
    log_start_offset: int64 = field("5+", default=-1)
    diverging_epoch: EpochEndOffset | None = field("12+", tag=0)
    current_leader: LeaderIdAndEpoch | None = field("12+", tag=1)
    snapshot_id: SnapshotId | None = field("12+", tag=2)
    aborted_transactions: Array[AbortedTransaction] | None = field("4+", nullable="4+")
    preferred_read_replica: int32 = field("11+", default=-1)
    # Empty where there are none, also beside an error: librdkafka takes null for a protocol error (KAFKA-18646).
    records: Records | None = field("0+", nullable="0+", default=b"")


class EpochEndOffset(Struct):
    epoch: int32 = field("12+", default=-1)
    end_offset: int64 = field("12+", default=-1)


class LeaderIdAndEpoch(Struct):
    leader_id: int32 = field("12+", default=-1)
    leader_epoch: int32 = field("12+", default=-1)


class SnapshotId(Struct):
    end_offset: int64 = field("0+", default=-1)
    epoch: int32 = field("0+", default=-1)


class AbortedTransaction(Struct):
    producer_id: int64 = field("4+")
    first_offset: int64 = field("4+")


class NodeEndpoint(Struct):
    node_id: int32 = field("16+")
    host: str = field("16+")
    port: int32 = field("16+")
    rack: str | None = field("16+", nullable="16+")
