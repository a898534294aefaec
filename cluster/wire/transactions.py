"""The tables of idempotence and transactions, of the producer's side and of the tools that look at them.

Source: KIP-98, KIP-360 (epoch recovery), KIP-447 (group metadata), KIP-664 (tools for hanging transactions), KIP-890
(verification, transactions V2), KIP-939 (two-phase commit).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32, int64

#: v2 flexible, v3 producer id and epoch (KIP-360), v4 PRODUCER_FENCED (KIP-588), v5 TRANSACTION_ABORTABLE (KIP-890),
#: v6 two-phase commit (KIP-939; unstable in Kafka).
INIT_PRODUCER_ID = Api(22, "InitProducerId", versions="0-6", flexible="2+")


class InitProducerIdRequest(Request["InitProducerIdResponse"], api=INIT_PRODUCER_ID):
    transactional_id: str | None = field("0+", nullable="0+")
    transaction_timeout_ms: int32 = field("0+")
    producer_id: int64 = field("3+", default=-1)
    producer_epoch: int16 = field("3+", default=-1)
    enable_2pc: bool = field("6+")
    keep_prepared_txn: bool = field("6+")


class InitProducerIdResponse(Response, api=INIT_PRODUCER_ID):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    producer_id: int64 = field("0+", default=-1)
    producer_epoch: int16 = field("0+")
    ongoing_txn_producer_id: int64 = field("6+", default=-1)
    ongoing_txn_producer_epoch: int16 = field("6+", default=-1)


#: v2 PRODUCER_FENCED (KIP-588), v3 flexible, v4 many transactions, sent by brokers only, v5
#: TRANSACTION_ABORTABLE (KIP-890).
ADD_PARTITIONS_TO_TXN = Api(24, "AddPartitionsToTxn", versions="0-5", flexible="3+")


class AddPartitionsToTxnRequest(Request["AddPartitionsToTxnResponse"], api=ADD_PARTITIONS_TO_TXN):
    transactions: Array[AddPartitionsToTxnTransaction] = field("4+")
    v3_and_below_transactional_id: str = field("0-3")
    v3_and_below_producer_id: int64 = field("0-3")
    v3_and_below_producer_epoch: int16 = field("0-3")
    v3_and_below_topics: Array[AddPartitionsToTxnTopic] = field("0-3")


class AddPartitionsToTxnTransaction(Struct):
    transactional_id: str = field("4+")
    producer_id: int64 = field("4+")
    producer_epoch: int16 = field("4+")
    verify_only: bool = field("4+")
    topics: Array[AddPartitionsToTxnTopic] = field("4+")


class AddPartitionsToTxnTopic(Struct):
    name: str = field("0+")
    partitions: Array[int32] = field("0+")


class AddPartitionsToTxnResponse(Response, api=ADD_PARTITIONS_TO_TXN):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("4+")
    results_by_transaction: Array[AddPartitionsToTxnResult] = field("4+")
    results_by_topic_v3_and_below: Array[AddPartitionsToTxnTopicResult] = field("0-3")


class AddPartitionsToTxnResult(Struct):
    transactional_id: str = field("4+")
    topic_results: Array[AddPartitionsToTxnTopicResult] = field("4+")


class AddPartitionsToTxnTopicResult(Struct):
    name: str = field("0+")
    results_by_partition: Array[AddPartitionsToTxnPartitionResult] = field("0+")


class AddPartitionsToTxnPartitionResult(Struct):
    partition_index: int32 = field("0+")
    partition_error_code: int16 = field("0+")


#: v2 PRODUCER_FENCED (KIP-588), v3 flexible, v4 TRANSACTION_ABORTABLE (KIP-890).
ADD_OFFSETS_TO_TXN = Api(25, "AddOffsetsToTxn", versions="0-4", flexible="3+")


class AddOffsetsToTxnRequest(Request["AddOffsetsToTxnResponse"], api=ADD_OFFSETS_TO_TXN):
    transactional_id: str = field("0+")
    producer_id: int64 = field("0+")
    producer_epoch: int16 = field("0+")
    group_id: str = field("0+")


class AddOffsetsToTxnResponse(Response, api=ADD_OFFSETS_TO_TXN):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")


#: v2 PRODUCER_FENCED (KIP-588), v3 flexible, v4 TRANSACTION_ABORTABLE, v5 returns the next epoch (KIP-890).
END_TXN = Api(26, "EndTxn", versions="0-5", flexible="3+")


class EndTxnRequest(Request["EndTxnResponse"], api=END_TXN):
    transactional_id: str = field("0+")
    producer_id: int64 = field("0+")
    producer_epoch: int16 = field("0+")
    committed: bool = field("0+")


class EndTxnResponse(Response, api=END_TXN):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    producer_id: int64 = field("5+", default=-1)
    producer_epoch: int16 = field("5+", default=-1)


#: v1 flexible, v2 transaction_version (KIP-1228). Sent by coordinators, and by tools that abort a hanging transaction.
WRITE_TXN_MARKERS = Api(27, "WriteTxnMarkers", versions="1-2", flexible="1+")


class WriteTxnMarkersRequest(Request["WriteTxnMarkersResponse"], api=WRITE_TXN_MARKERS):
    markers: Array[WritableTxnMarker] = field("0+")


class WritableTxnMarker(Struct):
    producer_id: int64 = field("0+")
    producer_epoch: int16 = field("0+")
    transaction_result: bool = field("0+")
    topics: Array[WritableTxnMarkerTopic] = field("0+")
    coordinator_epoch: int32 = field("0+")
    transaction_version: int8 = field("2+")


class WritableTxnMarkerTopic(Struct):
    name: str = field("0+")
    partition_indexes: Array[int32] = field("0+")


class WriteTxnMarkersResponse(Response, api=WRITE_TXN_MARKERS):
    markers: Array[WritableTxnMarkerResult] = field("0+")


class WritableTxnMarkerResult(Struct):
    producer_id: int64 = field("0+")
    topics: Array[WritableTxnMarkerTopicResult] = field("0+")


class WritableTxnMarkerTopicResult(Struct):
    name: str = field("0+")
    partitions: Array[WritableTxnMarkerPartitionResult] = field("0+")


class WritableTxnMarkerPartitionResult(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")


#: v2 leader epochs (KIP-320), v3 flexible, group metadata (KIP-447), v4 TRANSACTION_ABORTABLE, v5 adds the group to the
#: transaction implicitly (KIP-890).
TXN_OFFSET_COMMIT = Api(28, "TxnOffsetCommit", versions="0-5", flexible="3+")


class TxnOffsetCommitRequest(Request["TxnOffsetCommitResponse"], api=TXN_OFFSET_COMMIT):
    transactional_id: str = field("0+")
    group_id: str = field("0+")
    producer_id: int64 = field("0+")
    producer_epoch: int16 = field("0+")
    generation_id: int32 = field("3+", default=-1)
    member_id: str = field("3+")
    group_instance_id: str | None = field("3+", nullable="3+")
    topics: Array[TxnOffsetCommitRequestTopic] = field("0+")


class TxnOffsetCommitRequestTopic(Struct):
    name: str = field("0+")
    partitions: Array[TxnOffsetCommitRequestPartition] = field("0+")


class TxnOffsetCommitRequestPartition(Struct):
    partition_index: int32 = field("0+")
    committed_offset: int64 = field("0+")
    committed_leader_epoch: int32 = field("2+", default=-1)
    committed_metadata: str | None = field("0+", nullable="0+")


class TxnOffsetCommitResponse(Response, api=TXN_OFFSET_COMMIT):
    throttle_time_ms: int32 = field("0+")
    topics: Array[TxnOffsetCommitResponseTopic] = field("0+")


class TxnOffsetCommitResponseTopic(Struct):
    name: str = field("0+")
    partitions: Array[TxnOffsetCommitResponsePartition] = field("0+")


class TxnOffsetCommitResponsePartition(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")


DESCRIBE_PRODUCERS = Api(61, "DescribeProducers", versions="0", flexible="0+")


class DescribeProducersRequest(Request["DescribeProducersResponse"], api=DESCRIBE_PRODUCERS):
    topics: Array[DescribeProducersTopic] = field("0+")


class DescribeProducersTopic(Struct):
    name: str = field("0+")
    partition_indexes: Array[int32] = field("0+")


class DescribeProducersResponse(Response, api=DESCRIBE_PRODUCERS):
    throttle_time_ms: int32 = field("0+")
    topics: Array[DescribeProducersTopicResponse] = field("0+")


class DescribeProducersTopicResponse(Struct):
    name: str = field("0+")
    partitions: Array[DescribeProducersPartitionResponse] = field("0+")


class DescribeProducersPartitionResponse(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    active_producers: Array[ProducerState] = field("0+")


class ProducerState(Struct):
    producer_id: int64 = field("0+")
    producer_epoch: int32 = field("0+")
    last_sequence: int32 = field("0+", default=-1)
    last_timestamp: int64 = field("0+", default=-1)
    coordinator_epoch: int32 = field("0+")
    current_txn_start_offset: int64 = field("0+", default=-1)


DESCRIBE_TRANSACTIONS = Api(65, "DescribeTransactions", versions="0", flexible="0+")


class DescribeTransactionsRequest(Request["DescribeTransactionsResponse"], api=DESCRIBE_TRANSACTIONS):
    transactional_ids: Array[str] = field("0+")


class DescribeTransactionsResponse(Response, api=DESCRIBE_TRANSACTIONS):
    throttle_time_ms: int32 = field("0+")
    transaction_states: Array[DescribedTransaction] = field("0+")


class DescribedTransaction(Struct):
    error_code: int16 = field("0+")
    transactional_id: str = field("0+")
    transaction_state: str = field("0+")
    transaction_timeout_ms: int32 = field("0+")
    transaction_start_time_ms: int64 = field("0+")
    producer_id: int64 = field("0+")
    producer_epoch: int16 = field("0+")
    topics: Array[TransactionTopic] = field("0+")


class TransactionTopic(Struct):
    topic: str = field("0+")
    partitions: Array[int32] = field("0+")


#: v1 duration_filter (KIP-994), v2 transactional_id_pattern (KIP-1152).
LIST_TRANSACTIONS = Api(66, "ListTransactions", versions="0-2", flexible="0+")


class ListTransactionsRequest(Request["ListTransactionsResponse"], api=LIST_TRANSACTIONS):
    state_filters: Array[str] = field("0+")
    producer_id_filters: Array[int64] = field("0+")
    duration_filter: int64 = field("1+", default=-1)
    transactional_id_pattern: str | None = field("2+", nullable="2+")


class ListTransactionsResponse(Response, api=LIST_TRANSACTIONS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    unknown_state_filters: Array[str] = field("0+")
    transaction_states: Array[ListedTransaction] = field("0+")


class ListedTransaction(Struct):
    transactional_id: str = field("0+")
    producer_id: int64 = field("0+")
    transaction_state: str = field("0+")
