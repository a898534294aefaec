"""The tables of topic administration: CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords.

Source: KIP-4, KIP-107 (DeleteRecords), KIP-195 (CreatePartitions), KIP-464 (broker defaults), KIP-516 (topic ids),
KIP-525 (configs in the answer), KIP-599 (quotas).
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32, int64

#: v4 -1 for the default of the broker (KIP-464), v5 flexible, configs in the answer (KIP-525), v6 quotas (KIP-599),
#: v7 topic_id (KIP-516).
CREATE_TOPICS = Api(19, "CreateTopics", versions="2-7", flexible="5+")


class CreateTopicsRequest(Request["CreateTopicsResponse"], api=CREATE_TOPICS):
    topics: Array[CreatableTopic] = field("0+")
    timeout_ms: int32 = field("0+", default=60000)
    validate_only: bool = field("1+")


class CreatableTopic(Struct):
    name: str = field("0+")
    num_partitions: int32 = field("0+")
    replication_factor: int16 = field("0+")
    assignments: Array[CreatableReplicaAssignment] = field("0+")
    configs: Array[CreatableTopicConfig] = field("0+", default=())


class CreatableReplicaAssignment(Struct):
    partition_index: int32 = field("0+")
    broker_ids: Array[int32] = field("0+")


class CreatableTopicConfig(Struct):
    name: str = field("0+")
    value: str | None = field("0+", nullable="0+")


class CreateTopicsResponse(Response, api=CREATE_TOPICS):
    throttle_time_ms: int32 = field("2+")
    topics: Array[CreatableTopicResult] = field("0+")


class CreatableTopicResult(Struct):
    name: str = field("0+")
    topic_id: Uuid = field("7+")
    error_code: int16 = field("0+")
    error_message: str | None = field("1+", nullable="0+")
    topic_config_error_code: int16 = field("5+", tag=0)
    num_partitions: int32 = field("5+", default=-1)
    replication_factor: int16 = field("5+", default=-1)
    configs: Array[CreatableTopicConfigs] | None = field("5+", nullable="5+", default=())


class CreatableTopicConfigs(Struct):
    name: str = field("5+")
    value: str | None = field("5+", nullable="5+")
    read_only: bool = field("5+")
    config_source: int8 = field("5+", default=-1)
    is_sensitive: bool = field("5+")


#: v4 flexible, v5 error_message (KIP-599), v6 by name or id (KIP-516).
DELETE_TOPICS = Api(20, "DeleteTopics", versions="1-6", flexible="4+")


class DeleteTopicsRequest(Request["DeleteTopicsResponse"], api=DELETE_TOPICS):
    topics: Array[DeleteTopicState] = field("6+")
    topic_names: Array[str] = field("0-5")
    timeout_ms: int32 = field("0+")


class DeleteTopicState(Struct):
    name: str | None = field("6+", nullable="6+")
    topic_id: Uuid = field("6+")


class DeleteTopicsResponse(Response, api=DELETE_TOPICS):
    throttle_time_ms: int32 = field("1+")
    responses: Array[DeletableTopicResult] = field("0+")


class DeletableTopicResult(Struct):
    name: str | None = field("0+", nullable="6+", default="")
    topic_id: Uuid = field("6+")
    error_code: int16 = field("0+")
    error_message: str | None = field("5+", nullable="5+")


#: v2 flexible, v3 quotas (KIP-599).
CREATE_PARTITIONS = Api(37, "CreatePartitions", versions="0-3", flexible="2+")


class CreatePartitionsRequest(Request["CreatePartitionsResponse"], api=CREATE_PARTITIONS):
    topics: Array[CreatePartitionsTopic] = field("0+")
    timeout_ms: int32 = field("0+")
    validate_only: bool = field("0+")


class CreatePartitionsTopic(Struct):
    name: str = field("0+")
    count: int32 = field("0+")
    assignments: Array[CreatePartitionsAssignment] | None = field("0+", nullable="0+")


class CreatePartitionsAssignment(Struct):
    broker_ids: Array[int32] = field("0+")


class CreatePartitionsResponse(Response, api=CREATE_PARTITIONS):
    throttle_time_ms: int32 = field("0+")
    results: Array[CreatePartitionsTopicResult] = field("0+")


class CreatePartitionsTopicResult(Struct):
    name: str = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")


#: v2 flexible.
DELETE_RECORDS = Api(21, "DeleteRecords", versions="0-2", flexible="2+")


class DeleteRecordsRequest(Request["DeleteRecordsResponse"], api=DELETE_RECORDS):
    topics: Array[DeleteRecordsTopic] = field("0+")
    timeout_ms: int32 = field("0+")


class DeleteRecordsTopic(Struct):
    name: str = field("0+")
    partitions: Array[DeleteRecordsPartition] = field("0+")


class DeleteRecordsPartition(Struct):
    partition_index: int32 = field("0+")
    offset: int64 = field("0+")


class DeleteRecordsResponse(Response, api=DELETE_RECORDS):
    throttle_time_ms: int32 = field("0+")
    topics: Array[DeleteRecordsTopicResult] = field("0+")


class DeleteRecordsTopicResult(Struct):
    name: str = field("0+")
    partitions: Array[DeleteRecordsPartitionResult] = field("0+")


class DeleteRecordsPartitionResult(Struct):
    partition_index: int32 = field("0+")
    low_watermark: int64 = field("0+")
    error_code: int16 = field("0+")
