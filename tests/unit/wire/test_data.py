"""Data with its version in front: the consumer protocol, and the records of internal topics."""

import pytest

from cluster.wire.codec import decode_versioned, encode_versioned, peek_version
from cluster.wire.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    ConsumerProtocolTopic,
)
from cluster.wire.internal_records import (
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue,
    GroupMetadataKey,
    GroupMetadataValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
    TransactionLogKey,
    TransactionLogValue,
    TransactionPartitions,
    decode_group_key,
)
from cluster.wire.primitives import DecodeError


def test_an_offset_commit_has_the_bytes_of_kafka() -> None:
    key = OffsetCommitKey(group="g", topic="orders", partition=7)
    assert encode_versioned(key, 1) == bytes.fromhex("0001 0001 67 0006 6f7264657273 00000007")
    value = OffsetCommitValue(offset=42, leader_epoch=3, metadata="m", commit_timestamp=0x0102030405)
    assert encode_versioned(value, 3) == bytes.fromhex("0003 000000000000002a 00000003 0001 6d 0000000102030405")
    assert encode_versioned(value, 0) == bytes.fromhex("0000 000000000000002a 0001 6d 0000000102030405")
    assert encode_versioned(value, 4) == bytes.fromhex("0004 000000000000002a 00000003 02 6d 0000000102030405 00")


def test_group_metadata_has_the_bytes_of_kafka() -> None:
    member = MemberMetadata(member_id="m", client_id="c", client_host="/h", rebalance_timeout=1, session_timeout=2)
    value = GroupMetadataValue(
        protocol_type="consumer",
        generation=5,
        protocol="range",
        leader="m",
        current_state_timestamp=9,
        members=[member],
    )
    assert encode_versioned(value, 3) == (
        b"\x00\x03\x00\x08consumer\x00\x00\x00\x05\x00\x05range\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x09"
        b"\x00\x00\x00\x01\x00\x01m\xff\xff\x00\x01c\x00\x02/h\x00\x00\x00\x01\x00\x00\x00\x02"
        b"\x00\x00\x00\x00\x00\x00\x00\x00"
    )


def test_a_transaction_has_the_bytes_of_kafka() -> None:
    assert encode_versioned(TransactionLogKey(transactional_id="t"), 0) == bytes.fromhex("0000 0001 74")
    value = TransactionLogValue(
        producer_id=4000,
        producer_epoch=1,
        transaction_timeout_ms=60000,
        transaction_status=1,
        transaction_partitions=[TransactionPartitions(topic="orders", partition_ids=[0, 2])],
        transaction_last_update_timestamp_ms=7,
        transaction_start_timestamp_ms=6,
    )
    assert encode_versioned(value, 0) == bytes.fromhex(
        "0000 0000000000000fa0 0001 0000ea60 01 00000001 0006 6f7264657273 00000002 00000000 00000002"
        "0000000000000007 0000000000000006"
    )
    value.previous_producer_id = 3999
    assert encode_versioned(value, 1).endswith(bytes.fromhex("0000000000000006 01 00 08 0000000000000f9f"))


@pytest.mark.parametrize(
    ("key", "version"),
    [
        (OffsetCommitKey(group="g", topic="t", partition=1), 0),
        (OffsetCommitKey(group="g", topic="t", partition=1), 1),
        (GroupMetadataKey(group="g"), 2),
        (ConsumerGroupMetadataKey(group_id="g"), 3),
        (ConsumerGroupMemberMetadataKey(group_id="g", member_id="m"), 5),
    ],
)
def test_the_version_of_a_key_says_what_it_is_the_key_of(key: OffsetCommitKey, version: int) -> None:
    assert decode_group_key(encode_versioned(key, version)) == key


def test_a_key_of_a_kind_that_is_not_known_is_no_error() -> None:
    """Brokers that come later write records of kinds that this one can only ignore."""
    assert decode_group_key(b"\x00\x63\x00\x01g") is None


@pytest.mark.parametrize("key", [b"", b"\x00", b"\x00\x02\x00", b"\x00\x02\x00\x01gg"])
def test_a_broken_key_is_refused(key: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_group_key(key)


def test_a_value_with_a_tagged_field_of_a_later_broker_is_read() -> None:
    """KIP-915: so that a broker can be rolled back."""
    value = bytes.fromhex("0000 00000005 02 00 08 00000000000000ff 01 08 0000000000000001")
    assert decode_versioned(ConsumerGroupMetadataValue, value) == ConsumerGroupMetadataValue(epoch=5, metadata_hash=255)


def test_a_value_of_a_later_version_is_refused() -> None:
    with pytest.raises(DecodeError, match="there is no version 5"):
        decode_versioned(OffsetCommitValue, b"\x00\x05" + bytes(30))


def test_a_subscription_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    topic = ConsumerProtocolTopic(topic="orders", partitions=[0, 1])
    subscription = ConsumerProtocolSubscription(
        topics=["orders"], user_data=b"sticky", owned_partitions=[topic], generation_id=4, rack_id="a"
    )
    later = b"\x00\x09" + encode_versioned(subscription, 3)[2:] + b"whatever comes"
    assert decode_versioned(ConsumerProtocolSubscription, later, newer=True) == subscription
    with pytest.raises(DecodeError, match="truncated"):
        decode_versioned(ConsumerProtocolSubscription, later[:20], newer=True)


def test_an_assignment_has_the_bytes_of_kafka() -> None:
    topic = ConsumerProtocolTopic(topic="t", partitions=[0, 1])
    data = encode_versioned(ConsumerProtocolAssignment(assigned_partitions=[topic]), 0)
    assert data == bytes.fromhex("0000 00000001 0001 74 00000002 00000000 00000001 ffffffff")
    assert peek_version(data) == 0
    assert decode_versioned(ConsumerProtocolAssignment, data).assigned_partitions == [topic]
