"""The tables of consumer groups whose assignments the broker makes.

Source: KIP-848; KIP-1082 (member ids made by clients), KIP-1099 (member types).
"""

from __future__ import annotations

from cluster.ids import Uuid
from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

#: v1 subscribed_topic_regex, member ids made by the client (KIP-1082).
CONSUMER_GROUP_HEARTBEAT = Api(68, "ConsumerGroupHeartbeat", versions="0-1", flexible="0+")


class ConsumerGroupHeartbeatRequest(Request["ConsumerGroupHeartbeatResponse"], api=CONSUMER_GROUP_HEARTBEAT):
    group_id: str = field("0+")
    member_id: str = field("0+")
    member_epoch: int32 = field("0+")
    instance_id: str | None = field("0+", nullable="0+")
    rack_id: str | None = field("0+", nullable="0+")
    rebalance_timeout_ms: int32 = field("0+", default=-1)
    subscribed_topic_names: Array[str] | None = field("0+", nullable="0+")
    subscribed_topic_regex: str | None = field("1+", nullable="1+")
    server_assignor: str | None = field("0+", nullable="0+")
    topic_partitions: Array[TopicPartitions] | None = field("0+", nullable="0+")


class TopicPartitions(Struct):
    topic_id: Uuid = field("0+")
    partitions: Array[int32] = field("0+")


class ConsumerGroupHeartbeatResponse(Response, api=CONSUMER_GROUP_HEARTBEAT):
    throttle_time_ms: int32 = field("0+")
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    member_id: str | None = field("0+", nullable="0+")
    member_epoch: int32 = field("0+")
    heartbeat_interval_ms: int32 = field("0+")
    assignment: Assignment | None = field("0+", nullable="0+")


class Assignment(Struct):
    topic_partitions: Array[TopicPartitions] = field("0+")


#: v1 member_type (KIP-1099).
CONSUMER_GROUP_DESCRIBE = Api(69, "ConsumerGroupDescribe", versions="0-1", flexible="0+")


class ConsumerGroupDescribeRequest(Request["ConsumerGroupDescribeResponse"], api=CONSUMER_GROUP_DESCRIBE):
    group_ids: Array[str] = field("0+")
    include_authorized_operations: bool = field("0+")


class ConsumerGroupDescribeResponse(Response, api=CONSUMER_GROUP_DESCRIBE):
    throttle_time_ms: int32 = field("0+")
    groups: Array[DescribedConsumerGroup] = field("0+")


class DescribedConsumerGroup(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("0+", nullable="0+")
    group_id: str = field("0+")
    group_state: str = field("0+")
    group_epoch: int32 = field("0+")
    assignment_epoch: int32 = field("0+")
    assignor_name: str = field("0+")
    members: Array[DescribedMember] = field("0+")
    authorized_operations: int32 = field("0+", default=-(1 << 31))


class DescribedMember(Struct):
    member_id: str = field("0+")
    instance_id: str | None = field("0+", nullable="0+")
    rack_id: str | None = field("0+", nullable="0+")
    member_epoch: int32 = field("0+")
    client_id: str = field("0+")
    client_host: str = field("0+")
    subscribed_topic_names: Array[str] = field("0+")
    subscribed_topic_regex: str | None = field("0+", nullable="0+")
    assignment: DescribedAssignment = field("0+")
    target_assignment: DescribedAssignment = field("0+")
    member_type: int8 = field("1+", default=-1)


class DescribedAssignment(Struct):
    topic_partitions: Array[DescribedTopicPartitions] = field("0+")


class DescribedTopicPartitions(Struct):
    topic_id: Uuid = field("0+")
    topic_name: str = field("0+")
    partitions: Array[int32] = field("0+")
