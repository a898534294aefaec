"""The tables of classic groups: finding a coordinator, membership, inspection, deletion.

Source: KIP-62 (rebalance timeout), KIP-345 (static members), KIP-394 (member ids), KIP-429, KIP-559 (protocol type),
KIP-699 (batched FindCoordinator), KIP-800 (reasons), KIP-814 (static leader), KIP-848 (group types).
"""

from __future__ import annotations

from cluster.wire.schema import Api, Array, Request, Response, Struct, field, int8, int16, int32

#: v1 key_type (KIP-98), v3 flexible, v4 many keys (KIP-699), v5 TRANSACTION_ABORTABLE (KIP-890),
#: v6 share groups (KIP-932).
FIND_COORDINATOR = Api(10, "FindCoordinator", versions="0-6", flexible="3+")


class FindCoordinatorRequest(Request["FindCoordinatorResponse"], api=FIND_COORDINATOR):
    key: str = field("0-3")
    key_type: int8 = field("1+")
    coordinator_keys: Array[str] = field("4+")


class FindCoordinatorResponse(Response, api=FIND_COORDINATOR):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("0-3")
    error_message: str | None = field("1-3", nullable="1-3")
    node_id: int32 = field("0-3")
    host: str = field("0-3")
    port: int32 = field("0-3")
    coordinators: Array[Coordinator] = field("4+")


class Coordinator(Struct):
    key: str = field("4+")
    node_id: int32 = field("4+")
    host: str = field("4+")
    port: int32 = field("4+")
    error_code: int16 = field("4+")
    error_message: str | None = field("4+", nullable="4+")


#: v1 rebalance_timeout_ms (KIP-62), v4 MEMBER_ID_REQUIRED (KIP-394), v5 group_instance_id (KIP-345), v6 flexible,
#: v7 protocol_type (KIP-559), v8 reason (KIP-800), v9 skip_assignment (KIP-814).
JOIN_GROUP = Api(11, "JoinGroup", versions="0-9", flexible="6+")


class JoinGroupRequest(Request["JoinGroupResponse"], api=JOIN_GROUP):
    group_id: str = field("0+")
    session_timeout_ms: int32 = field("0+")
    rebalance_timeout_ms: int32 = field("1+", default=-1)
    member_id: str = field("0+")
    group_instance_id: str | None = field("5+", nullable="5+")
    protocol_type: str = field("0+")
    protocols: Array[JoinGroupRequestProtocol] = field("0+")
    reason: str | None = field("8+", nullable="8+")


class JoinGroupRequestProtocol(Struct):
    name: str = field("0+")
    metadata: bytes = field("0+")


class JoinGroupResponse(Response, api=JOIN_GROUP):
    throttle_time_ms: int32 = field("2+")
    error_code: int16 = field("0+")
    generation_id: int32 = field("0+", default=-1)
    protocol_type: str | None = field("7+", nullable="7+")
    protocol_name: str | None = field("0+", nullable="7+", default="")
    leader: str = field("0+")
    skip_assignment: bool = field("9+")
    member_id: str = field("0+")
    members: Array[JoinGroupResponseMember] = field("0+")


class JoinGroupResponseMember(Struct):
    member_id: str = field("0+")
    group_instance_id: str | None = field("5+", nullable="5+")
    metadata: bytes = field("0+")


#: v3 group_instance_id (KIP-345), v4 flexible.
HEARTBEAT = Api(12, "Heartbeat", versions="0-4", flexible="4+")


class HeartbeatRequest(Request["HeartbeatResponse"], api=HEARTBEAT):
    group_id: str = field("0+")
    generation_id: int32 = field("0+")
    member_id: str = field("0+")
    group_instance_id: str | None = field("3+", nullable="3+")


class HeartbeatResponse(Response, api=HEARTBEAT):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("0+")


#: v3 many members (KIP-345), v4 flexible, v5 reason (KIP-800).
LEAVE_GROUP = Api(13, "LeaveGroup", versions="0-5", flexible="4+")


class LeaveGroupRequest(Request["LeaveGroupResponse"], api=LEAVE_GROUP):
    group_id: str = field("0+")
    member_id: str = field("0-2")
    members: Array[MemberIdentity] = field("3+")


class MemberIdentity(Struct):
    member_id: str = field("3+")
    group_instance_id: str | None = field("3+", nullable="3+")
    reason: str | None = field("5+", nullable="5+")


class LeaveGroupResponse(Response, api=LEAVE_GROUP):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("0+")
    members: Array[MemberResponse] = field("3+")


class MemberResponse(Struct):
    member_id: str = field("3+")
    group_instance_id: str | None = field("3+", nullable="3+")
    error_code: int16 = field("3+")


#: v3 group_instance_id (KIP-345), v4 flexible, v5 protocol type and name (KIP-559).
SYNC_GROUP = Api(14, "SyncGroup", versions="0-5", flexible="4+")


class SyncGroupRequest(Request["SyncGroupResponse"], api=SYNC_GROUP):
    group_id: str = field("0+")
    generation_id: int32 = field("0+")
    member_id: str = field("0+")
    group_instance_id: str | None = field("3+", nullable="3+")
    protocol_type: str | None = field("5+", nullable="5+")
    protocol_name: str | None = field("5+", nullable="5+")
    assignments: Array[SyncGroupRequestAssignment] = field("0+")


class SyncGroupRequestAssignment(Struct):
    member_id: str = field("0+")
    assignment: bytes = field("0+")


class SyncGroupResponse(Response, api=SYNC_GROUP):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("0+")
    protocol_type: str | None = field("5+", nullable="5+")
    protocol_name: str | None = field("5+", nullable="5+")
    assignment: bytes = field("0+")


#: v3 authorized operations (KIP-430), v4 group_instance_id (KIP-345), v5 flexible, v6 error_message (KIP-1043).
DESCRIBE_GROUPS = Api(15, "DescribeGroups", versions="0-6", flexible="5+")


class DescribeGroupsRequest(Request["DescribeGroupsResponse"], api=DESCRIBE_GROUPS):
    groups: Array[str] = field("0+")
    include_authorized_operations: bool = field("3+")


class DescribeGroupsResponse(Response, api=DESCRIBE_GROUPS):
    throttle_time_ms: int32 = field("1+")
    groups: Array[DescribedGroup] = field("0+")


class DescribedGroup(Struct):
    error_code: int16 = field("0+")
    error_message: str | None = field("6+", nullable="6+")
    group_id: str = field("0+")
    group_state: str = field("0+")
    protocol_type: str = field("0+")
    protocol_data: str = field("0+")
    members: Array[DescribedGroupMember] = field("0+")
    authorized_operations: int32 = field("3+", default=-(1 << 31))


class DescribedGroupMember(Struct):
    member_id: str = field("0+")
    group_instance_id: str | None = field("4+", nullable="4+")
    client_id: str = field("0+")
    client_host: str = field("0+")
    member_metadata: bytes = field("0+")
    member_assignment: bytes = field("0+")


#: v3 flexible, v4 states_filter (KIP-518), v5 types_filter (KIP-848).
LIST_GROUPS = Api(16, "ListGroups", versions="0-5", flexible="3+")


class ListGroupsRequest(Request["ListGroupsResponse"], api=LIST_GROUPS):
    states_filter: Array[str] = field("4+")
    types_filter: Array[str] = field("5+")


class ListGroupsResponse(Response, api=LIST_GROUPS):
    throttle_time_ms: int32 = field("1+")
    error_code: int16 = field("0+")
    groups: Array[ListedGroup] = field("0+")


class ListedGroup(Struct):
    group_id: str = field("0+")
    protocol_type: str = field("0+")
    group_state: str = field("4+")
    group_type: str = field("5+")


#: v2 flexible.
DELETE_GROUPS = Api(42, "DeleteGroups", versions="0-2", flexible="2+")


class DeleteGroupsRequest(Request["DeleteGroupsResponse"], api=DELETE_GROUPS):
    groups_names: Array[str] = field("0+")


class DeleteGroupsResponse(Response, api=DELETE_GROUPS):
    throttle_time_ms: int32 = field("0+")
    results: Array[DeletableGroupResult] = field("0+")


class DeletableGroupResult(Struct):
    group_id: str = field("0+")
    error_code: int16 = field("0+")
