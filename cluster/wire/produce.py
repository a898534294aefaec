"""The table of Produce.

Source: KIP-98 (transactional producers), KIP-467 (errors of single records), KIP-951 (hints at the new leader), KIP-516
(topic ids). Versions 0-2 carry message sets of magic 0 and 1, which this codec does not know.
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Records, Request, Response, Struct, field, int16, int32, int64

#: v4 KIP-112, v5 log_start_offset (KIP-107), v7 zstd (KIP-110), v8 record_errors (KIP-467), v9 flexible,
#: v10 current_leader (KIP-951), v11 TRANSACTION_ABORTABLE (KIP-890), v12 partitions added implicitly (KIP-890),
#: v13 topic ids in place of names (KIP-516).
PRODUCE = Api(0, "Produce", versions="3-13", flexible="9+")


class ProduceRequest(Request["ProduceResponse"], api=PRODUCE):
    transactional_id: str | None = field("3+", nullable="3+")
    acks: int16 = field("0+")
    timeout_ms: int32 = field("0+")
    topic_data: Array[TopicProduceData] = field("0+")


class TopicProduceData(Struct):
    name: str = field("0-12")
    topic_id: Uuid = field("13+")
    partition_data: Array[PartitionProduceData] = field("0+")


class PartitionProduceData(Struct):
    index: int32 = field("0+")
    records: Records | None = field("0+", nullable="0+")


class ProduceResponse(Response, api=PRODUCE):
    responses: Array[TopicProduceResponse] = field("0+")
    throttle_time_ms: int32 = field("1+")
    node_endpoints: Array[NodeEndpoint] = field("10+", tag=0)


class TopicProduceResponse(Struct):
    name: str = field("0-12")
    topic_id: Uuid = field("13+")
    partition_responses: Array[PartitionProduceResponse] = field("0+")


class PartitionProduceResponse(Struct):
    index: int32 = field("0+")
    error_code: int16 = field("0+")
    base_offset: int64 = field("0+")
    log_append_time_ms: int64 = field("2+", default=-1)
    log_start_offset: int64 = field("5+", default=-1)
    record_errors: Array[BatchIndexAndErrorMessage] = field("8+")
    error_message: str | None = field("8+", nullable="8+")
    current_leader: LeaderIdAndEpoch | None = field("10+", tag=0)


class BatchIndexAndErrorMessage(Struct):
    batch_index: int32 = field("8+")
    batch_index_error_message: str | None = field("8+", nullable="8+")


class LeaderIdAndEpoch(Struct):
    leader_id: int32 = field("10+", default=-1)
    leader_epoch: int32 = field("10+", default=-1)


class NodeEndpoint(Struct):
    node_id: int32 = field("10+")
    host: str = field("10+")
    port: int32 = field("10+")
    rack: str | None = field("10+", nullable="10+")
