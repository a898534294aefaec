"""The tables of ListOffsets and OffsetForLeaderEpoch: which offset answers to a time or to an epoch.

Source: KIP-79 (by timestamp), KIP-207 (after an election), KIP-320 (leader epochs), KIP-734 (maximum timestamp).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32, int64

#: v2 isolation_level (KIP-98), v4 leader epochs (KIP-320), v5 OFFSET_NOT_AVAILABLE (KIP-207), v6 flexible, v7 timestamp
#: -3 (KIP-734), v8 -4 (KIP-405), v9 -5 (KIP-1005), v10 timeout_ms (KIP-1075), v11 -6 (KIP-1023).
LIST_OFFSETS = Api(2, "ListOffsets", versions="1-11", flexible="6+")


class ListOffsetsRequest(Request["ListOffsetsResponse"], api=LIST_OFFSETS):
    replica_id: int32 = field("0+")
    isolation_level: int8 = field("2+")
    topics: Array[ListOffsetsTopic] = field("0+")
    timeout_ms: int32 = field("10+")


class ListOffsetsTopic(Struct):
    name: str = field("0+")
    partitions: Array[ListOffsetsPartition] = field("0+")


class ListOffsetsPartition(Struct):
    partition_index: int32 = field("0+")
    current_leader_epoch: int32 = field("4+", default=-1)
    timestamp: int64 = field("0+")


class ListOffsetsResponse(Response, api=LIST_OFFSETS):
    throttle_time_ms: int32 = field("2+")
    topics: Array[ListOffsetsTopicResponse] = field("0+")


class ListOffsetsTopicResponse(Struct):
    name: str = field("0+")
    partitions: Array[ListOffsetsPartitionResponse] = field("0+")


class ListOffsetsPartitionResponse(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")
    timestamp: int64 = field("1+", default=-1)
    offset: int64 = field("1+", default=-1)
    leader_epoch: int32 = field("4+", default=-1)


#: v2 current_leader_epoch (KIP-320), v3 replica_id, v4 flexible.
OFFSET_FOR_LEADER_EPOCH = Api(23, "OffsetForLeaderEpoch", versions="2-4", flexible="4+")


class OffsetForLeaderEpochRequest(Request["OffsetForLeaderEpochResponse"], api=OFFSET_FOR_LEADER_EPOCH):
    replica_id: int32 = field("3+", default=-2)
    topics: Array[OffsetForLeaderTopic] = field("0+")


class OffsetForLeaderTopic(Struct):
    topic: str = field("0+")
    partitions: Array[OffsetForLeaderPartition] = field("0+")


class OffsetForLeaderPartition(Struct):
    partition: int32 = field("0+")
    current_leader_epoch: int32 = field("2+", default=-1)
    leader_epoch: int32 = field("0+")


class OffsetForLeaderEpochResponse(Response, api=OFFSET_FOR_LEADER_EPOCH):
    throttle_time_ms: int32 = field("2+")
    topics: Array[OffsetForLeaderTopicResult] = field("0+")


class OffsetForLeaderTopicResult(Struct):
    topic: str = field("0+")
    partitions: Array[EpochEndOffset] = field("0+")


class EpochEndOffset(Struct):
    error_code: int16 = field("0+")
    partition: int32 = field("0+")
    leader_epoch: int32 = field("1+", default=-1)
    end_offset: int64 = field("0+", default=-1)
