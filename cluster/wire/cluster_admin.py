"""The tables about brokers and replicas: DescribeCluster, ElectLeaders, partition reassignments.

Source: KIP-183 and KIP-460 (elections), KIP-455 (reassignments), KIP-700 (DescribeCluster), KIP-919 (endpoint types).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

#: v1 endpoint_type (KIP-919), v2 fenced brokers (KIP-1073).
DESCRIBE_CLUSTER = Api(60, "DescribeCluster", versions="0-2", flexible="0+")


class DescribeClusterRequest(Request["DescribeClusterResponse"], api=DESCRIBE_CLUSTER):
    include_cluster_authorized_operations: bool = field("0+")
    endpoint_type: int8 = field("1+", default=1)
    include_fenced_brokers: bool = field("2+")


class DescribeClusterResponse(Response, api=DESCRIBE_CLUSTER):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    endpoint_type: int8 = field("1+", default=1)
    cluster_id: str = field("0+")
    controller_id: int32 = field("0+", default=-1)
    brokers: Array[DescribeClusterBroker] = field("0+")
    cluster_authorized_operations: int32 = field("0+", default=-(1 << 31))


class DescribeClusterBroker(Struct):
    broker_id: int32 = field("0+")
    host: str = field("0+")
    port: int32 = field("0+")
    rack: str | None = field("0+", nullable="0+")
    is_fenced: bool = field("2+")


#: v1 election_type (KIP-460), v2 flexible.
ELECT_LEADERS = Api(43, "ElectLeaders", versions="0-2", flexible="2+")


class ElectLeadersRequest(Request["ElectLeadersResponse"], api=ELECT_LEADERS):
    election_type: int8 = field("1+")
    topic_partitions: Array[TopicPartitions] | None = field("0+", nullable="0+")
    timeout_ms: int32 = field("0+", default=60000)


class TopicPartitions(Struct):
    topic: str = field("0+")
    partitions: Array[int32] = field("0+")


class ElectLeadersResponse(Response, api=ELECT_LEADERS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("1+")
    replica_election_results: Array[ReplicaElectionResult] = field("0+")


class ReplicaElectionResult(Struct):
    topic: str = field("0+")
    partition_result: Array[PartitionResult] = field("0+")


class PartitionResult(Struct):
    partition_id: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")


#: v1 allow_replication_factor_change (KIP-860).
ALTER_PARTITION_REASSIGNMENTS = Api(45, "AlterPartitionReassignments", versions="0-1", flexible="0+")


class AlterPartitionReassignmentsRequest(
    Request["AlterPartitionReassignmentsResponse"], api=ALTER_PARTITION_REASSIGNMENTS
):
    timeout_ms: int32 = field("0+", default=60000)
    allow_replication_factor_change: bool = field("1+", default=True)
    topics: Array[ReassignableTopic] = field("0+")


class ReassignableTopic(Struct):
    name: str = field("0+")
    partitions: Array[ReassignablePartition] = field("0+")


class ReassignablePartition(Struct):
    partition_index: int32 = field("0+")
    replicas: Array[int32] | None = field("0+", nullable="0+")


class AlterPartitionReassignmentsResponse(Response, api=ALTER_PARTITION_REASSIGNMENTS):
    throttle_time_ms: int32 = field("0+")
    allow_replication_factor_change: bool = field("1+", default=True)
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    responses: Array[ReassignableTopicResponse] = field("0+")


class ReassignableTopicResponse(Struct):
    name: str = field("0+")
    partitions: Array[ReassignablePartitionResponse] = field("0+")


class ReassignablePartitionResponse(Struct):
    partition_index: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")


LIST_PARTITION_REASSIGNMENTS = Api(46, "ListPartitionReassignments", versions="0", flexible="0+")


class ListPartitionReassignmentsRequest(
    Request["ListPartitionReassignmentsResponse"], api=LIST_PARTITION_REASSIGNMENTS
):
    timeout_ms: int32 = field("0+", default=60000)
    topics: Array[ListPartitionReassignmentsTopics] | None = field("0+", nullable="0+")


class ListPartitionReassignmentsTopics(Struct):
    name: str = field("0+")
    partition_indexes: Array[int32] = field("0+")


class ListPartitionReassignmentsResponse(Response, api=LIST_PARTITION_REASSIGNMENTS):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    topics: Array[OngoingTopicReassignment] = field("0+")


class OngoingTopicReassignment(Struct):
    name: str = field("0+")
    partitions: Array[OngoingPartitionReassignment] = field("0+")


class OngoingPartitionReassignment(Struct):
    partition_index: int32 = field("0+")
    replicas: Array[int32] = field("0+")
    adding_replicas: Array[int32] = field("0+")
    removing_replicas: Array[int32] = field("0+")
