"""The header of a record batch: reading it, checking it, stamping it, without touching the records.

Owns the layout of the first 61 bytes of a batch of magic 2 and the arithmetic on them. Never decodes a record and never
copies the bytes it is given. Source: KIP-98; the record batch section of the protocol guide.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from crc32c import crc32c

from cluster.errors import ErrorCode, KafkaError
from cluster.seams import Buffer

#: base offset, batch length, leader epoch, magic, crc, attributes, last offset delta, base timestamp, max timestamp,
#: producer id, producer epoch, base sequence, record count.
HEADER: Final = Struct(">qiibIhiqqqhii")
HEADER_SIZE: Final = 61
#: Bytes before the ones that `batch_length` counts.
LOG_OVERHEAD: Final = 12
#: `batch_length` of a batch without records.
BATCH_LENGTH_MIN: Final = HEADER_SIZE - LOG_OVERHEAD
#: The checksum covers everything from here to the end of the batch.
CRC_START: Final = 21
MAGIC: Final = 2

NO_TIMESTAMP: Final = -1
NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1
NO_LEADER_EPOCH: Final = -1

COMPRESSION_MASK: Final = 0x07
LOG_APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20
DELETE_HORIZON_BIT: Final = 0x40

_BASE_OFFSET: Final = Struct(">q")
_LEADER_EPOCH: Final = Struct(">i")
_CRC: Final = Struct(">I")
_ATTRIBUTES: Final = Struct(">h")
_MAX_TIMESTAMP: Final = Struct(">q")
_LEADER_EPOCH_AT: Final = 12
_CRC_AT: Final = 17
_ATTRIBUTES_AT: Final = 21
_MAX_TIMESTAMP_AT: Final = 35


class TimestampType(IntEnum):
    """Who set the timestamps of a batch: its producer, or the broker that appended it."""

    CREATE_TIME = 0
    LOG_APPEND_TIME = 1


class BatchHeader(NamedTuple):
    """The fixed fields of one batch, as they stand in the buffer. Offsets and sequences are inclusive."""

    base_offset: int
    #: Bytes of the batch behind this field.
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    #: Milliseconds since the Unix epoch; the delete horizon where that attribute is set.
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.batch_length + LOG_OVERHEAD

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record; sequences wrap from 2^31 - 1 to 0."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF

    @property
    def compression(self) -> int:
        """The codec's number, 0 to 7; `CompressionType` knows 0 to 4."""
        return self.attributes & COMPRESSION_MASK

    @property
    def timestamp_type(self) -> TimestampType:
        if self.attributes & LOG_APPEND_TIME_BIT:
            return TimestampType.LOG_APPEND_TIME
        return TimestampType.CREATE_TIME

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL_BIT)

    @property
    def has_delete_horizon(self) -> bool:
        return bool(self.attributes & DELETE_HORIZON_BIT)


def parse_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header of the batch that starts at `position`.

    Raises KafkaError(CORRUPT_MESSAGE) when the buffer ends before the batch does or when its length cannot be, and
    KafkaError(INVALID_RECORD) for a format older than 2 and CORRUPT_MESSAGE for one that never was. Checks neither the
    checksum nor the records.
    """
    remaining = len(buffer) - position
    if remaining < HEADER_SIZE:
        # A shorter message of an old format is told apart from noise by its magic, which every format has at byte 16.
        if remaining > 16 and buffer[position + 16] != MAGIC:
            raise _wrong_magic(position, buffer[position + 16])
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"{remaining} bytes at byte {position} hold no batch header")
    header = BatchHeader._make(HEADER.unpack_from(buffer, position))
    if header.magic != MAGIC:
        raise _wrong_magic(position, header.magic)
    if not BATCH_LENGTH_MIN <= header.batch_length <= remaining - LOG_OVERHEAD:
        raise KafkaError(
            ErrorCode.CORRUPT_MESSAGE,
            f"the batch at byte {position} has length {header.batch_length}, "
            f"possible is {BATCH_LENGTH_MIN} to {remaining - LOG_OVERHEAD}",
        )
    return header


def _wrong_magic(position: int, magic: int) -> KafkaError:
    code = ErrorCode.INVALID_RECORD if magic in (0, 1) else ErrorCode.CORRUPT_MESSAGE
    return KafkaError(code, f"the batch at byte {position} has magic {magic}, only 2 is accepted")


def iterate_batches(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of every batch of a buffer that holds whole batches and nothing else.

    Raises the errors of `parse_header` when it reaches a batch that is not whole.
    """
    position = 0
    end = len(buffer)
    while position < end:
        header = parse_header(buffer, position)
        yield position, header
        position += header.batch_length + LOG_OVERHEAD


def checksum_matches(buffer: Buffer, header: BatchHeader, position: int = 0) -> bool:
    """Whether the CRC-32C of the batch at `position` is the one in its header. The batch must be whole."""
    view = memoryview(buffer)
    return crc32c(view[position + CRC_START : position + LOG_OVERHEAD + header.batch_length]) == header.crc


def stamp(buffer: bytearray | memoryview, base_offset: int, leader_epoch: int, position: int = 0) -> None:
    """Set base offset and leader epoch of the batch at `position` in place; both lie outside the checksum."""
    _BASE_OFFSET.pack_into(buffer, position, base_offset)
    _LEADER_EPOCH.pack_into(buffer, position + _LEADER_EPOCH_AT, leader_epoch)


def set_timestamp(
    buffer: bytearray | memoryview,
    header: BatchHeader,
    timestamp_type: TimestampType,
    max_timestamp: int,
    position: int = 0,
) -> None:
    """Set timestamp type and maximum timestamp of a whole batch in place, and its checksum with them.

    The base timestamp and the records stay: under LogAppendTime readers take the maximum for every record.
    """
    attributes = header.attributes & ~LOG_APPEND_TIME_BIT
    if timestamp_type is TimestampType.LOG_APPEND_TIME:
        attributes |= LOG_APPEND_TIME_BIT
    _ATTRIBUTES.pack_into(buffer, position + _ATTRIBUTES_AT, attributes)
    _MAX_TIMESTAMP.pack_into(buffer, position + _MAX_TIMESTAMP_AT, max_timestamp)
    seal(buffer, position, position + header.size)


def seal(buffer: bytearray | memoryview, start: int, end: int) -> None:
    """Compute and set the checksum of the batch in `buffer[start:end]`."""
    with memoryview(buffer) as view:
        _CRC.pack_into(buffer, start + _CRC_AT, crc32c(view[start + CRC_START : end]))
