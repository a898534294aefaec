"""The tables of the records in `__consumer_offsets` and `__transaction_state`, where coordinators keep their state.

A key and a value both start with an int16 (`codec.encode_versioned`, `codec.decode_versioned`). In a value it is the
version of the table; in a key it says which table: the "versions" of the key tables do not overlap. A value of null is
a tombstone.

Source: KIP-848 (consumer groups), KIP-915 (flexible versions: newer brokers add tagged fields only), KIP-890
(transaction log version 1), KIP-1101 (metadata hash).
"""

from __future__ import annotations

from typing import Final

from cluster.ids import Uuid
from cluster.seams import Buffer
from cluster.wire.codec import decode_versioned, peek_version
from cluster.wire.schema import Array, Data, Struct, field, int8, int16, int32, int64

# `__consumer_offsets`: committed offsets, of groups of either kind.


class OffsetCommitKey(Data, versions="0-1"):
    """Written as version 1; Kafka before 0.9 wrote 0, which looks the same."""

    group: str = field("0+")
    topic: str = field("0+")
    partition: int32 = field("0+")


class OffsetCommitValue(Data, versions="0-4", flexible="4+"):
    """Written as version 3, or as 1 to carry `expire_timestamp`."""

    offset: int64 = field("0+")
    leader_epoch: int32 = field("3+", default=-1)
    metadata: str = field("0+")
    commit_timestamp: int64 = field("0+")
    expire_timestamp: int64 = field("1", default=-1)


# `__consumer_offsets`: classic groups.


class GroupMetadataKey(Data, versions="2"):
    group: str = field("2")


class GroupMetadataValue(Data, versions="0-4", flexible="4+"):
    """Written as version 3. Timeouts in milliseconds."""

    protocol_type: str = field("0+")
    generation: int32 = field("0+")
    protocol: str | None = field("0+", nullable="0+")
    leader: str | None = field("0+", nullable="0+")
    current_state_timestamp: int64 = field("2+", default=-1)
    members: Array[MemberMetadata] = field("0+")


class MemberMetadata(Struct):
    member_id: str = field("0+")
    group_instance_id: str | None = field("3+", nullable="3+")
    client_id: str = field("0+")
    client_host: str = field("0+")
    rebalance_timeout: int32 = field("1+")
    session_timeout: int32 = field("0+")
    subscription: bytes = field("0+")
    assignment: bytes = field("0+")


# `__consumer_offsets`: consumer groups (KIP-848).


class ConsumerGroupMetadataKey(Data, versions="3"):
    group_id: str = field("3")


class ConsumerGroupMetadataValue(Data, versions="0", flexible="0+"):
    epoch: int32 = field("0+")
    metadata_hash: int64 = field("0+", tag=0)


class ConsumerGroupPartitionMetadataKey(Data, versions="4"):
    """Of brokers before 4.1 (KIP-1101); met again as a tombstone."""

    group_id: str = field("4")


class ConsumerGroupMemberMetadataKey(Data, versions="5"):
    group_id: str = field("5")
    member_id: str = field("5")


class ConsumerGroupMemberMetadataValue(Data, versions="0", flexible="0+"):
    instance_id: str | None = field("0+", nullable="0+")
    rack_id: str | None = field("0+", nullable="0+")
    client_id: str = field("0+")
    client_host: str = field("0+")
    subscribed_topic_names: Array[str] = field("0+")
    subscribed_topic_regex: str | None = field("0+", nullable="0+")
    rebalance_timeout_ms: int32 = field("0+", default=-1)
    server_assignor: str | None = field("0+", nullable="0+")
    classic_member_metadata: ClassicMemberMetadata | None = field("0+", nullable="0+", tag=0)


class ClassicMemberMetadata(Struct):
    """What a member that still speaks the classic protocol said when it joined."""

    supported_protocols: Array[ClassicProtocol] = field("0+")


class ClassicProtocol(Struct):
    name: str = field("0+")
    metadata: bytes = field("0+")


class ConsumerGroupTargetAssignmentMetadataKey(Data, versions="6"):
    group_id: str = field("6")


class ConsumerGroupTargetAssignmentMetadataValue(Data, versions="0", flexible="0+"):
    assignment_epoch: int32 = field("0+")


class ConsumerGroupTargetAssignmentMemberKey(Data, versions="7"):
    group_id: str = field("7")
    member_id: str = field("7")


class ConsumerGroupTargetAssignmentMemberValue(Data, versions="0", flexible="0+"):
    topic_partitions: Array[AssignedTopicPartitions] = field("0+")


class AssignedTopicPartitions(Struct):
    topic_id: Uuid = field("0+")
    partitions: Array[int32] = field("0+")


class ConsumerGroupCurrentMemberAssignmentKey(Data, versions="8"):
    group_id: str = field("8")
    member_id: str = field("8")


class ConsumerGroupCurrentMemberAssignmentValue(Data, versions="0", flexible="0+"):
    member_epoch: int32 = field("0+")
    previous_member_epoch: int32 = field("0+")
    state: int8 = field("0+")
    assigned_partitions: Array[AssignedTopicPartitions] = field("0+")
    partitions_pending_revocation: Array[AssignedTopicPartitions] = field("0+")


class ConsumerGroupRegularExpressionKey(Data, versions="16"):
    group_id: str = field("16")
    regular_expression: str = field("16")


class ConsumerGroupRegularExpressionValue(Data, versions="0", flexible="0+"):
    topics: Array[str] = field("0+")
    version: int64 = field("0+")
    timestamp: int64 = field("0+")


GroupKey = (
    OffsetCommitKey
    | GroupMetadataKey
    | ConsumerGroupMetadataKey
    | ConsumerGroupPartitionMetadataKey
    | ConsumerGroupMemberMetadataKey
    | ConsumerGroupTargetAssignmentMetadataKey
    | ConsumerGroupTargetAssignmentMemberKey
    | ConsumerGroupCurrentMemberAssignmentKey
    | ConsumerGroupRegularExpressionKey
)

_GROUP_KEYS: Final[dict[int, type[GroupKey]]] = {
    version: key
    for key in (
        OffsetCommitKey,
        GroupMetadataKey,
        ConsumerGroupMetadataKey,
        ConsumerGroupPartitionMetadataKey,
        ConsumerGroupMemberMetadataKey,
        ConsumerGroupTargetAssignmentMetadataKey,
        ConsumerGroupTargetAssignmentMemberKey,
        ConsumerGroupCurrentMemberAssignmentKey,
        ConsumerGroupRegularExpressionKey,
    )
    for version in key.versions
}


def decode_group_key(key: Buffer) -> GroupKey | None:
    """The key of a record in `__consumer_offsets`; None for a kind that came after us. Raises DecodeError."""
    cls = _GROUP_KEYS.get(peek_version(key))
    return None if cls is None else decode_versioned(cls, key)


# `__transaction_state`.


class TransactionLogKey(Data, versions="0"):
    transactional_id: str = field("0")


class TransactionLogValue(Data, versions="0-1", flexible="1+"):
    """Version 1 where the feature `transaction.version` is 2, otherwise 0."""

    producer_id: int64 = field("0+")
    previous_producer_id: int64 = field("1+", tag=0, default=-1)
    next_producer_id: int64 = field("1+", tag=1, default=-1)
    producer_epoch: int16 = field("0+")
    transaction_timeout_ms: int32 = field("0+")
    transaction_status: int8 = field("0+")
    transaction_partitions: Array[TransactionPartitions] | None = field("0+", nullable="0+")
    transaction_last_update_timestamp_ms: int64 = field("0+")
    transaction_start_timestamp_ms: int64 = field("0+")
    client_transaction_version: int16 = field("1+", tag=2)


class TransactionPartitions(Struct):
    topic: str = field("0+")
    partition_ids: Array[int32] = field("0+")
