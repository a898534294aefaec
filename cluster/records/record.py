"""The records inside a batch: reading them, and building a batch from them.

Owns the layout of a record, of its headers and of the control records that end a transaction. Never looks at offsets
that a broker assigns, and never trusts a length or a count before comparing it with the bytes that are there.
Source: KIP-82 (headers), KIP-98 (records, control records).
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.batch import BatchHeader, TimestampType
from cluster.records.compression import CompressionType, compress, decompress
from cluster.records.varint import decode_varint, encode_varint
from cluster.seams import Buffer

#: What one batch may decompress to unless the caller says otherwise.
DECOMPRESSED_SIZE_MAX: Final = 128 * 1024 * 1024
#: Length, attributes, two deltas, two lengths and the header count, each in one byte.
RECORD_SIZE_MIN: Final = 7
#: The most records of a batch whose lengths `check_count` follows.
FOLLOWED_RECORDS_MAX: Final = 4

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One record of a log. `key` and `value` are None where the producer sent null."""

    offset: int
    #: Milliseconds since the Unix epoch; the append time where the batch says so.
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class NewRecord(NamedTuple):
    """One record on its way into a batch."""

    key: bytes | None
    value: bytes | None
    #: Milliseconds since the Unix epoch, or -1 for none.
    timestamp: int
    headers: Headers = ()


class RecordShape(NamedTuple):
    """What a check needs to know of a record; its bytes stay where they are."""

    offset_delta: int
    timestamp_delta: int
    has_key: bool


class ControlType(IntEnum):
    """The kinds of control records that end a transaction."""

    ABORT = 0
    COMMIT = 1


class EndTxnMarker(NamedTuple):
    """The content of a control record that ends a transaction."""

    control_type: ControlType
    coordinator_epoch: int


_CONTROL_KEY: Final = Struct(">hh")  # version, type
_END_TXN_VALUE: Final = Struct(">hi")  # version, coordinator epoch
_CONTROL_VERSION: Final = 0
_NULL: Final = encode_varint(-1)


def records_payload(
    buffer: Buffer, header: BatchHeader, position: int = 0, size_bytes_max: int = DECOMPRESSED_SIZE_MAX
) -> Buffer:
    """The records of the whole batch at `position`, decompressed: a view into `buffer`, or new bytes.

    Raises KafkaError: CORRUPT_MESSAGE when they do not decompress or the codec is unknown, RECORD_LIST_TOO_LARGE above
    `size_bytes_max`.
    """
    try:
        compression = CompressionType(header.compression)
    except ValueError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"unknown compression codec {header.compression}") from error
    payload = memoryview(buffer)[position + batch.HEADER_SIZE : position + header.size]
    return decompress(compression, payload, size_bytes_max)


def check_count(payload: Buffer, record_count: int) -> None:
    """Refuse a number of records that a decompressed payload cannot hold, or does not hold if it is a small one.

    Cheap for batches of any size: up to FOLLOWED_RECORDS_MAX records are counted by their lengths, more are only held
    against the bytes that they would need. Raises KafkaError(INVALID_RECORD).
    """
    if record_count > FOLLOWED_RECORDS_MAX:
        if record_count * RECORD_SIZE_MIN > len(payload):
            raise _invalid(f"{record_count} records in {len(payload)} bytes")
        return
    if record_count == 1 and len(payload) >= RECORD_SIZE_MIN:
        length, start = decode_varint(payload, 0)
        if start + length == len(payload):
            return
    for _ in _iterate_spans(payload, record_count):
        pass


def iterate_shapes(payload: Buffer, record_count: int) -> Iterator[RecordShape]:
    """The shape of each of `record_count` records in a decompressed payload.

    Raises KafkaError(INVALID_RECORD) when the payload is not exactly that many records.
    """
    for start, end in _iterate_spans(payload, record_count):
        try:
            position = start + 1
            timestamp_delta, position = decode_varint(payload, position)
            offset_delta, position = decode_varint(payload, position)
            key_length, position = decode_varint(payload, position)
            position = _skip(position, key_length, end, "key")
            value_length, position = decode_varint(payload, position)
            position = _skip(position, value_length, end, "value")
            header_count, position = decode_varint(payload, position)
            if not 0 <= header_count <= end - position:
                raise _invalid(f"{header_count} headers in {end - position} bytes")
            for _ in range(header_count):
                name_length, position = decode_varint(payload, position)
                if name_length < 0:
                    raise _invalid(f"header with null key before byte {position}")
                position = _skip(position, name_length, end, "header key")
                header_value_length, position = decode_varint(payload, position)
                position = _skip(position, header_value_length, end, "header value")
        except IndexError as error:
            raise _invalid(f"the record at byte {start} ends too early") from error
        if position != end:
            raise _invalid(f"the record at byte {start} is {position - start} bytes long and says {end - start}")
        yield RecordShape(offset_delta, timestamp_delta, key_length >= 0)


def decode_records(
    buffer: Buffer, header: BatchHeader, position: int = 0, size_bytes_max: int = DECOMPRESSED_SIZE_MAX
) -> list[Record]:
    """The records of the whole batch at `position`, which must have passed its checksum. Keys and values are copies.

    Raises KafkaError: those of `records_payload`, and INVALID_RECORD when the payload is not `record_count` records.
    """
    payload = records_payload(buffer, header, position, size_bytes_max)
    append_time = header.max_timestamp if header.timestamp_type is TimestampType.LOG_APPEND_TIME else None
    records: list[Record] = []
    for start, end in _iterate_spans(payload, header.record_count):
        try:
            timestamp_delta, at = decode_varint(payload, start + 1)
            offset_delta, at = decode_varint(payload, at)
            key, at = _nullable_bytes(payload, at, end, "key")
            value, at = _nullable_bytes(payload, at, end, "value")
            headers: Headers = ()
            if payload[at] == 0:
                at += 1
            else:
                headers, at = _headers(payload, at, end)
        except IndexError as error:
            raise _invalid(f"the record at byte {start} ends too early") from error
        if at != end:
            raise _invalid(f"the record at byte {start} is {at - start} bytes long and says {end - start}")
        timestamp = header.base_timestamp + timestamp_delta if append_time is None else append_time
        records.append(Record(header.base_offset + offset_delta, timestamp, key, value, headers))
    return records


def _iterate_spans(payload: Buffer, record_count: int) -> Iterator[tuple[int, int]]:
    """(start, end) of every record's body, behind its length."""
    size = len(payload)
    if not 0 <= record_count * RECORD_SIZE_MIN <= size:
        raise _invalid(f"{record_count} records in {size} bytes")
    position = 0
    for _ in range(record_count):
        try:
            length, start = decode_varint(payload, position)
        except IndexError as error:
            raise _invalid(f"the payload ends inside the record at byte {position}") from error
        position = start + length
        if length < RECORD_SIZE_MIN - 1 or position > size:
            raise _invalid(f"the record at byte {start} says {length} bytes, {size - start} are left")
        yield start, position
    if position != size:
        raise _invalid(f"{size - position} bytes behind the last record")


def _invalid(reason: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, reason)


def _skip(position: int, length: int, end: int, field: str) -> int:
    if length < 0:
        return position
    position += length
    if position > end:
        raise _invalid(f"{field} of {length} bytes overruns its record at byte {end}")
    return position


def _nullable_bytes(payload: Buffer, position: int, end: int, field: str) -> tuple[bytes | None, int]:
    length, start = decode_varint(payload, position)
    if length < 0:
        return None, start
    stop = _skip(start, length, end, field)
    return bytes(payload[start:stop]), stop


def _headers(payload: Buffer, position: int, end: int) -> tuple[Headers, int]:
    count, position = decode_varint(payload, position)
    # Two bytes are the least that a header takes.
    if not 0 <= 2 * count <= end - position:
        raise _invalid(f"{count} headers in {end - position} bytes")
    headers = []
    for _ in range(count):
        name, position = _nullable_bytes(payload, position, end, "header key")
        if name is None:
            raise _invalid(f"header with null key before byte {position}")
        value, position = _nullable_bytes(payload, position, end, "header value")
        # Readers elsewhere replace what is not UTF-8; a record must not become unreadable by its header's name.
        headers.append((name.decode("utf-8", "replace"), value))
    return tuple(headers), position


class BatchBuilder:
    """Collects records into one batch of magic 2. Not reusable after `build`."""

    def __init__(
        self,
        *,
        compression: CompressionType = CompressionType.NONE,
        producer_id: int = batch.NO_PRODUCER_ID,
        producer_epoch: int = batch.NO_PRODUCER_EPOCH,
        base_sequence: int = batch.NO_SEQUENCE,
        transactional: bool = False,
        control: bool = False,
    ) -> None:
        self._attributes = int(compression)
        if transactional:
            self._attributes |= batch.TRANSACTIONAL_BIT
        if control:
            self._attributes |= batch.CONTROL_BIT
        self._compression = compression
        self._producer = (producer_id, producer_epoch, base_sequence)
        self._payload = bytearray()
        self._base_timestamp = batch.NO_TIMESTAMP
        self._max_timestamp = batch.NO_TIMESTAMP
        self.record_count = 0

    @property
    def size_bytes(self) -> int:
        """The size of the batch if nothing more were appended and nothing compressed."""
        return batch.HEADER_SIZE + len(self._payload)

    def append(self, record: NewRecord) -> None:
        """Add a record behind the others; its offset delta is its number, counted from 0."""
        if self.record_count == 0:
            self._base_timestamp = record.timestamp
        self._max_timestamp = max(self._max_timestamp, record.timestamp)
        body = bytearray(1)  # the attributes of a record: none are defined
        body += encode_varint(record.timestamp - self._base_timestamp)
        body += encode_varint(self.record_count)
        _append_nullable(body, record.key)
        _append_nullable(body, record.value)
        body += encode_varint(len(record.headers))
        for name, value in record.headers:
            _append_nullable(body, name.encode())
            _append_nullable(body, value)
        self._payload += encode_varint(len(body))
        self._payload += body
        self.record_count += 1

    def build(self, base_offset: int = 0, leader_epoch: int = batch.NO_LEADER_EPOCH) -> bytearray:
        """The whole batch, sealed. At least one record must have been appended."""
        assert self.record_count > 0, "a batch has at least one record"
        return assemble(
            BatchHeader(
                base_offset=base_offset,
                batch_length=0,
                leader_epoch=leader_epoch,
                magic=batch.MAGIC,
                crc=0,
                attributes=self._attributes,
                last_offset_delta=self.record_count - 1,
                base_timestamp=self._base_timestamp,
                max_timestamp=self._max_timestamp,
                producer_id=self._producer[0],
                producer_epoch=self._producer[1],
                base_sequence=self._producer[2],
                record_count=self.record_count,
            ),
            compress(self._compression, self._payload),
        )


def _append_nullable(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out += _NULL
    else:
        out += encode_varint(len(value))
        out += value


def assemble(header: BatchHeader, payload: Buffer) -> bytearray:
    """One batch of `header` and an already compressed `payload`; the length and the checksum are computed."""
    sized = header._replace(batch_length=batch.BATCH_LENGTH_MIN + len(payload))
    out = bytearray(batch.HEADER.pack(*sized))
    out += payload
    batch.seal(out, 0, len(out))
    return out


def build_batch(
    records: Iterable[NewRecord],
    *,
    base_offset: int = 0,
    leader_epoch: int = batch.NO_LEADER_EPOCH,
    compression: CompressionType = CompressionType.NONE,
    producer_id: int = batch.NO_PRODUCER_ID,
    producer_epoch: int = batch.NO_PRODUCER_EPOCH,
    base_sequence: int = batch.NO_SEQUENCE,
    transactional: bool = False,
) -> bytearray:
    """One batch of at least one record."""
    builder = BatchBuilder(
        compression=compression,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        transactional=transactional,
    )
    for record in records:
        builder.append(record)
    return builder.build(base_offset, leader_epoch)


def build_end_txn_marker(
    marker: EndTxnMarker, *, producer_id: int, producer_epoch: int, timestamp: int, leader_epoch: int = 0
) -> bytearray:
    """The control batch that ends the open transaction of a producer; it takes one offset."""
    builder = BatchBuilder(producer_id=producer_id, producer_epoch=producer_epoch, transactional=True, control=True)
    builder.append(
        NewRecord(
            key=_CONTROL_KEY.pack(_CONTROL_VERSION, marker.control_type),
            value=_END_TXN_VALUE.pack(_CONTROL_VERSION, marker.coordinator_epoch),
            timestamp=timestamp,
        )
    )
    return builder.build(leader_epoch=leader_epoch)


def parse_end_txn_marker(records: Sequence[Record]) -> EndTxnMarker | None:
    """The marker in the records of a control batch; None for a control record of another kind.

    Raises KafkaError(INVALID_RECORD) when they are not one well-formed control record.
    """
    if len(records) != 1 or records[0].key is None or len(records[0].key) < _CONTROL_KEY.size:
        raise _invalid("a control batch without exactly one control record")
    _version, kind = _CONTROL_KEY.unpack_from(records[0].key)
    if kind not in (ControlType.ABORT, ControlType.COMMIT):
        return None
    value = records[0].value
    if value is None or len(value) < _END_TXN_VALUE.size:
        raise _invalid("the control record that ends a transaction lacks its coordinator epoch")
    _version, coordinator_epoch = _END_TXN_VALUE.unpack_from(value)
    return EndTxnMarker(ControlType(kind), coordinator_epoch)
