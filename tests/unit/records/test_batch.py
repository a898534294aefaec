"""The header of a batch can be read, checked and stamped without its records."""

import pytest

from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.batch import TimestampType
from cluster.records.record import NewRecord, build_batch


def two_records() -> bytearray:
    return build_batch(
        [NewRecord(b"a", b"1", 1_000), NewRecord(b"b", b"2", 3_000)], producer_id=7, producer_epoch=1, base_sequence=5
    )


def test_the_header_says_what_the_batch_holds() -> None:
    header = batch.parse_header(two_records())
    assert (header.base_offset, header.last_offset, header.next_offset) == (0, 1, 2)
    assert (header.base_timestamp, header.max_timestamp, header.record_count) == (1_000, 3_000, 2)
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (7, 1, 5, 6)
    assert header.size == len(two_records())
    assert header.timestamp_type is TimestampType.CREATE_TIME
    assert not header.is_control
    assert not header.is_transactional


def test_a_stamp_changes_offset_and_epoch_and_keeps_the_checksum_valid() -> None:
    data = two_records()
    batch.stamp(data, 1 << 40, 9)
    header = batch.parse_header(data)
    assert (header.base_offset, header.last_offset, header.leader_epoch) == (1 << 40, (1 << 40) + 1, 9)
    assert batch.checksum_matches(data, header)


def test_a_stamp_works_in_the_middle_of_a_larger_buffer() -> None:
    data = bytearray(b"frame") + two_records() + two_records()
    position = 5 + len(two_records())
    batch.stamp(memoryview(data), 42, 3, position)
    header = batch.parse_header(data, position)
    assert (header.base_offset, header.leader_epoch) == (42, 3)
    assert batch.parse_header(data, 5).base_offset == 0


def test_every_flipped_byte_behind_the_checksum_is_noticed() -> None:
    good = two_records()
    for position in range(batch.CRC_START - 4, len(good)):
        data = bytearray(good)
        data[position] ^= 0x40
        assert not batch.checksum_matches(data, batch.parse_header(data)), position


def test_the_append_time_is_set_under_a_new_checksum_and_leaves_the_deltas() -> None:
    data = two_records()
    batch.set_timestamp(data, batch.parse_header(data), TimestampType.LOG_APPEND_TIME, 9_999)
    header = batch.parse_header(data)
    assert header.timestamp_type is TimestampType.LOG_APPEND_TIME
    assert (header.base_timestamp, header.max_timestamp) == (1_000, 9_999)
    assert batch.checksum_matches(data, header)


def test_iteration_finds_every_batch_and_copies_nothing() -> None:
    data = two_records() + two_records()
    found = list(batch.iterate_batches(memoryview(data)))
    assert [position for position, _ in found] == [0, len(two_records())]


@pytest.mark.parametrize("cut", [1, 16, 60, 61, 70])
def test_a_batch_that_is_cut_off_is_corrupt(cut: int) -> None:
    with pytest.raises(KafkaError) as caught:
        batch.parse_header(two_records()[:cut])
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("length", [-1, 0, 48, 1 << 30])
def test_a_length_that_cannot_be_is_corrupt(length: int) -> None:
    data = two_records()
    data[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(KafkaError) as caught:
        batch.parse_header(data)
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("size", [30, 100])
def test_an_older_format_is_an_invalid_record_also_when_it_is_short(size: int) -> None:
    data = bytearray(size)
    data[16] = 1
    with pytest.raises(KafkaError) as caught:
        batch.parse_header(data)
    assert caught.value.code is ErrorCode.INVALID_RECORD


def test_sequences_wrap_to_zero() -> None:
    data = build_batch([NewRecord(None, b"x", 1)] * 3, producer_id=1, producer_epoch=0, base_sequence=(1 << 31) - 2)
    assert batch.parse_header(data).last_sequence == 0
