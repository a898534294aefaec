"""A leader refuses what Kafka refuses, with Kafka's error, and opens records only when a rule asks for it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from broker.log.config import CleanupPolicy, LogConfig
from broker.log.validator import AppendOrigin, RecordsRejected, check_batches
from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.batch import TimestampType, checksum_matches, parse_header
from cluster.records.compression import CompressionType
from cluster.records.record import ControlType, NewRecord, assemble, build_batch, decode_records
from tests.unit.log.logs import NOW, idempotent, marker, plain

DEFAULT = LogConfig()
COMPACTED = LogConfig(cleanup_policy=frozenset({CleanupPolicy.COMPACT}))
APPEND_TIME = LogConfig(message_timestamp_type=TimestampType.LOG_APPEND_TIME)


def with_header(data: bytearray, **fields: int) -> bytearray:
    """The same records under a changed header and a valid checksum."""
    return assemble(parse_header(data)._replace(**fields), data[batch.HEADER_SIZE :])


def damaged() -> bytearray:
    data = plain(b"x")
    data[-1] ^= 1
    return data


def old_format() -> bytearray:
    data = plain(b"x")
    data[16] = 1
    return data


def overlong() -> bytearray:
    data = plain(b"x")
    data[8:12] = (len(data)).to_bytes(4, "big")
    return data


ONE = plain(b"a")
REFUSED: dict[str, tuple[Callable[[], bytearray], ErrorCode]] = {
    "nothing": (bytearray, ErrorCode.INVALID_RECORD),
    "two batches": (lambda: ONE + ONE, ErrorCode.INVALID_RECORD),
    "bytes behind the batch": (lambda: ONE + b"x", ErrorCode.INVALID_RECORD),
    "an older format": (old_format, ErrorCode.INVALID_RECORD),
    "a format of no time": (lambda: ONE[:16] + b"\3" + ONE[17:], ErrorCode.CORRUPT_MESSAGE),
    "a batch cut off": (lambda: ONE[:-1], ErrorCode.CORRUPT_MESSAGE),
    "a length beyond the end": (overlong, ErrorCode.CORRUPT_MESSAGE),
    "a wrong checksum": (damaged, ErrorCode.CORRUPT_MESSAGE),
    "too many bytes": (lambda: plain(b"x" * DEFAULT.max_message_bytes), ErrorCode.MESSAGE_TOO_LARGE),
    "a base offset": (lambda: with_header(ONE, base_offset=1), ErrorCode.INVALID_RECORD),
    "no records": (lambda: with_header(ONE, record_count=0, last_offset_delta=-1), ErrorCode.INVALID_RECORD),
    "counts that differ": (lambda: with_header(ONE, last_offset_delta=1), ErrorCode.INVALID_RECORD),
    "more records than bytes": (
        lambda: with_header(ONE, record_count=2**31 - 1, last_offset_delta=2**31 - 2),
        ErrorCode.INVALID_RECORD,
    ),
    "one record too many": (lambda: with_header(ONE, record_count=2, last_offset_delta=1), ErrorCode.INVALID_RECORD),
    "a record that is not counted": (
        lambda: with_header(plain(b"a", b"b"), record_count=1, last_offset_delta=0),
        ErrorCode.INVALID_RECORD,
    ),
    "more records than compression can hide": (
        lambda: with_header(ONE, attributes=2, record_count=2**31 - 1, last_offset_delta=2**31 - 2),
        ErrorCode.INVALID_RECORD,
    ),
    "a control batch": (lambda: marker(1, ControlType.COMMIT), ErrorCode.INVALID_RECORD),
    "a producer without a sequence": (lambda: idempotent(3, -1, b"x"), ErrorCode.INVALID_RECORD),
    "an unknown codec": (lambda: with_header(ONE, attributes=5), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
    "append time of a producer": (lambda: with_header(ONE, attributes=8), ErrorCode.INVALID_TIMESTAMP),
    "a time too far ahead": (lambda: plain(b"x", timestamp=NOW + 3_600_001), ErrorCode.INVALID_TIMESTAMP),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    make, code = REFUSED[case]
    with pytest.raises(KafkaError) as caught:
        check_batches(make(), DEFAULT, NOW, AppendOrigin.CLIENT)
    assert caught.value.code is code


def test_a_good_batch_passes_untouched() -> None:
    for data in (
        plain(b"x"),
        plain(b"x", timestamp=NOW + 3_600_000),
        plain(b"x", timestamp=-1),
        idempotent(3, 0, b"x"),
    ):
        before = bytes(data)
        checked = check_batches(data, DEFAULT, NOW, AppendOrigin.CLIENT)
        assert checked.buffer is data
        assert bytes(data) == before
        assert checked.log_append_time == -1


def test_the_largest_message_that_is_allowed_is_allowed() -> None:
    data = plain(b"x" * 1_000)
    check_batches(data, replace(DEFAULT, max_message_bytes=len(data)), NOW, AppendOrigin.CLIENT)
    with pytest.raises(KafkaError):
        check_batches(data, replace(DEFAULT, max_message_bytes=len(data) - 1), NOW, AppendOrigin.CLIENT)


def test_records_that_nobody_asks_about_are_not_opened() -> None:
    """The checksum is the producer's word for what is inside; a liar hurts its own topic's readers."""
    junk = assemble(parse_header(plain(*[b"x"] * 9)), b"\xff" * 80)
    check_batches(junk, DEFAULT, NOW, AppendOrigin.CLIENT)
    with pytest.raises(KafkaError) as caught:
        check_batches(junk, COMPACTED, NOW, AppendOrigin.CLIENT)
    assert caught.value.code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("codec", list(CompressionType))
def test_records_of_a_compacted_topic_need_keys_and_the_keyless_ones_are_named(codec: CompressionType) -> None:
    """KIP-467."""
    records = [NewRecord(key, b"v", NOW) for key in (b"k", None, b"", None)]
    with pytest.raises(RecordsRejected) as caught:
        check_batches(build_batch(records, compression=codec), COMPACTED, NOW, AppendOrigin.CLIENT)
    assert caught.value.code is ErrorCode.INVALID_RECORD
    assert [error.batch_index for error in caught.value.record_errors] == [1, 3]
    good = build_batch([record for record in records if record.key is not None], compression=codec)
    assert check_batches(good, COMPACTED, NOW, AppendOrigin.CLIENT).buffer is good


def test_timestamps_out_of_range_are_named_one_by_one() -> None:
    config = replace(DEFAULT, message_timestamp_before_max_ms=1_000, message_timestamp_after_max_ms=1_000)
    stamps = [NOW, NOW - 1_000, NOW - 1_001, -1, NOW + 1_000]
    with pytest.raises(RecordsRejected) as caught:
        check_batches(build_batch([NewRecord(None, b"v", t) for t in stamps]), config, NOW, AppendOrigin.CLIENT)
    assert caught.value.code is ErrorCode.INVALID_TIMESTAMP
    assert [error.batch_index for error in caught.value.record_errors] == [2]


def test_a_wrong_maximum_timestamp_is_set_right_where_records_are_opened() -> None:
    data = with_header(plain(b"x", key=b"k"), max_timestamp=NOW - 50)
    checked = check_batches(data, COMPACTED, NOW, AppendOrigin.CLIENT)
    header = checked.batches[0][1]
    assert header.max_timestamp == NOW
    assert checksum_matches(checked.buffer, header)


@pytest.mark.parametrize(
    "config", [APPEND_TIME, replace(COMPACTED, message_timestamp_type=TimestampType.LOG_APPEND_TIME)]
)
def test_append_time_replaces_the_producers_whatever_that_was(config: LogConfig) -> None:
    for timestamp in (-1, 5, NOW + 99_999_999):
        data = plain(b"x", b"y", key=b"k", timestamp=timestamp)
        checked = check_batches(data, config, NOW, AppendOrigin.CLIENT)
        header = checked.batches[0][1]
        assert checked.log_append_time == header.max_timestamp == NOW
        assert checksum_matches(checked.buffer, header)
        assert [record.timestamp for record in decode_records(checked.buffer, header)] == [NOW, NOW]


@pytest.mark.parametrize("target", list(CompressionType))
@pytest.mark.parametrize("codec", list(CompressionType))
def test_another_codec_is_exchanged_and_the_same_one_left_alone(
    codec: CompressionType, target: CompressionType
) -> None:
    data = plain(b"x" * 50, b"y", key=b"k", codec=codec)
    before = bytes(data)
    checked = check_batches(data, replace(DEFAULT, compression_type=target), NOW, AppendOrigin.CLIENT)
    position, header = checked.batches[0]
    assert header.compression == target
    assert checksum_matches(checked.buffer, header, position)
    assert [record.value for record in decode_records(checked.buffer, header)] == [b"x" * 50, b"y"]
    if codec is target:
        assert bytes(checked.buffer) == before


def test_a_batch_that_grows_too_large_without_its_codec_is_refused() -> None:
    config = LogConfig(compression_type=CompressionType.NONE, max_message_bytes=500)
    with pytest.raises(KafkaError) as caught:
        check_batches(plain(b"x" * 2_000, codec=CompressionType.ZSTD), config, NOW, AppendOrigin.CLIENT)
    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE


def test_a_coordinator_may_write_several_batches_and_control_records() -> None:
    data = plain(b"x", key=b"k") + marker(3, ControlType.ABORT)
    for config in (DEFAULT, COMPACTED, replace(DEFAULT, compression_type=CompressionType.LZ4)):
        checked = check_batches(bytearray(data), config, NOW, AppendOrigin.COORDINATOR)
        assert len(checked.batches) == 2
        for position, header in checked.batches:
            assert checksum_matches(checked.buffer, header, position)
        assert checked.batches[1][1].is_control
        assert checked.batches[1][1].compression == CompressionType.NONE
