"""Records survive a batch, other codecs read ours and we theirs, and malformed payloads are refused."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.compression import CompressionType
from cluster.records.record import (
    BatchBuilder,
    ControlType,
    EndTxnMarker,
    NewRecord,
    assemble,
    build_batch,
    build_end_txn_marker,
    decode_records,
    iterate_shapes,
    parse_end_txn_marker,
    records_payload,
)
from cluster.records.varint import decode_varint, encode_varint

optional_bytes = st.none() | st.binary(max_size=40)
timestamps = st.integers(0, (1 << 50))
headers = st.lists(st.tuples(st.text(max_size=5), optional_bytes), max_size=3).map(tuple)
new_records = st.lists(
    st.builds(NewRecord, key=optional_bytes, value=optional_bytes, timestamp=timestamps, headers=headers),
    min_size=1,
    max_size=12,
)


@given(records=new_records, codec=st.sampled_from(list(CompressionType)), base_offset=st.integers(0, 1 << 50))
def test_records_come_out_as_they_went_in(records: list[NewRecord], codec: CompressionType, base_offset: int) -> None:
    data = build_batch(records, base_offset=base_offset, compression=codec)
    header = batch.parse_header(data)
    assert batch.checksum_matches(data, header)
    decoded = decode_records(data, header)
    assert [NewRecord(r.key, r.value, r.timestamp, r.headers) for r in decoded] == records
    assert [r.offset for r in decoded] == list(range(base_offset, base_offset + len(records)))


@given(records=new_records)
def test_another_library_reads_our_batches(records: list[NewRecord]) -> None:
    data = bytes(build_batch(records, compression=CompressionType.GZIP))
    theirs = DefaultRecordBatch(data)
    assert theirs.validate_crc()
    assert [(r.key, r.value, r.timestamp) for r in theirs] == [(r.key, r.value, r.timestamp) for r in records]


@given(records=new_records)
def test_we_write_the_same_bytes_as_another_library(records: list[NewRecord]) -> None:
    theirs = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=3,
        producer_epoch=4,
        base_sequence=5,
        batch_size=1 << 20,
    )
    for number, record in enumerate(records):
        theirs.append(number, record.timestamp, record.key, record.value, list(record.headers))
    ours = build_batch(records, producer_id=3, producer_epoch=4, base_sequence=5)
    batch.stamp(ours, 0, batch.parse_header(bytes(theirs.build())).leader_epoch)
    assert bytes(ours) == bytes(theirs.build())


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_numbers_come_out_as_they_went_in(value: int) -> None:
    encoded = encode_varint(value)
    assert decode_varint(b"\xff" + encoded, 1) == (value, 1 + len(encoded))


def test_a_number_of_more_than_64_bits_is_refused() -> None:
    for endless in (b"\xff" * 11, b"\xff" * 9 + b"\x7f"):
        with pytest.raises(KafkaError):
            decode_varint(endless, 0)


@given(st.binary(max_size=120), st.integers(-3, 20))
def test_noise_is_no_payload_and_no_crash(noise: bytes, record_count: int) -> None:
    header = batch.parse_header(build_batch([NewRecord(None, None, 1)]))._replace(record_count=record_count)
    data = assemble(header, noise)
    header = batch.parse_header(data)
    readers: list[Callable[[], Sequence[object]]] = [
        lambda: list(iterate_shapes(records_payload(data, header), record_count)),
        lambda: decode_records(data, header),
    ]
    for read in readers:
        outcome: int | ErrorCode
        try:
            outcome = len(read())
        except KafkaError as error:
            outcome = error.code
        assert outcome in (record_count, ErrorCode.INVALID_RECORD)


@pytest.mark.parametrize("difference", [-1, 1, 1 << 29])
def test_the_number_of_records_must_be_the_one_announced(difference: int) -> None:
    data = build_batch([NewRecord(b"k", b"v", 1)] * 4)
    payload = records_payload(data, batch.parse_header(data))
    with pytest.raises(KafkaError) as caught:
        list(iterate_shapes(payload, 4 + difference))
    assert caught.value.code is ErrorCode.INVALID_RECORD


def test_shapes_tell_keys_and_deltas() -> None:
    data = build_batch([NewRecord(b"k", b"v", 50), NewRecord(None, b"v", 40, (("h", None),))])
    shapes = list(iterate_shapes(records_payload(data, batch.parse_header(data)), 2))
    assert [tuple(shape) for shape in shapes] == [(0, 0, True), (1, -10, False)]


def test_under_append_time_every_record_has_the_batches_time() -> None:
    data = build_batch([NewRecord(None, b"a", 5), NewRecord(None, b"b", 6)])
    batch.set_timestamp(data, batch.parse_header(data), batch.TimestampType.LOG_APPEND_TIME, 1_000)
    assert [record.timestamp for record in decode_records(data, batch.parse_header(data))] == [1_000, 1_000]


def test_an_unknown_codec_is_corrupt() -> None:
    data = build_batch([NewRecord(None, b"a", 5)])
    header = batch.parse_header(data)
    with pytest.raises(KafkaError) as caught:
        decode_records(data, header._replace(attributes=6))
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE


def test_the_builder_knows_the_size_of_an_uncompressed_batch() -> None:
    builder = BatchBuilder()
    for number in range(5):
        builder.append(NewRecord(b"key", b"value" * number, 1_000 + number))
    assert builder.size_bytes == len(builder.build())


@pytest.mark.parametrize("control_type", list(ControlType))
def test_a_marker_is_one_control_record(control_type: ControlType) -> None:
    data = build_end_txn_marker(EndTxnMarker(control_type, 12), producer_id=9, producer_epoch=2, timestamp=77)
    header = batch.parse_header(data)
    assert header.is_control
    assert header.is_transactional
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (9, 2, -1)
    assert parse_end_txn_marker(decode_records(data, header)) == EndTxnMarker(control_type, 12)


def test_control_records_of_other_kinds_are_no_markers() -> None:
    data = build_batch([NewRecord(b"\x00\x00\x00\x02", b"\x00\x00", 1)])
    assert parse_end_txn_marker(decode_records(data, batch.parse_header(data))) is None


def test_a_marker_without_its_key_is_refused() -> None:
    data = build_batch([NewRecord(None, b"\x00\x00", 1)])
    with pytest.raises(KafkaError):
        parse_end_txn_marker(decode_records(data, batch.parse_header(data)))
