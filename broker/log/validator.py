"""What a leader demands of batches before it appends them: Kafka's checks, in Kafka's order, with Kafka's errors.

Owns header, size, checksum and timestamp rules, and the few that need the records: null keys on compacted topics,
timestamp ranges, another codec. Records are opened for these alone, and counted as far as that is cheap. Never looks at
producer state, epochs or offsets.
Pure but for the buffer, which it may stamp with the append time. Source: KIP-32, KIP-280, KIP-467, KIP-937.
"""

from enum import Enum
from typing import Final, NamedTuple

from broker.log.config import LONG_MAX, LogConfig
from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.batch import BatchHeader, TimestampType
from cluster.records.compression import CompressionType, compress
from cluster.records.record import (
    DECOMPRESSED_SIZE_MAX,
    RECORD_SIZE_MIN,
    assemble,
    check_count,
    iterate_shapes,
    records_payload,
)
from cluster.seams import Buffer

#: Record errors that one answer names.
RECORD_ERRORS_MAX: Final = 64
_CODEC_MAX: Final = max(CompressionType)


class AppendOrigin(Enum):
    """Who wants to append: a producer, or a coordinator of this broker, which may also write control batches."""

    CLIENT = "client"
    COORDINATOR = "coordinator"


class RecordError(NamedTuple):
    """Why one record was refused; `batch_index` is its number in the batch, as KIP-467 calls it."""

    batch_index: int
    message: str


class RecordsRejected(KafkaError):
    """Single records of a batch are at fault, and so the whole batch is refused (KIP-467)."""

    def __init__(self, code: ErrorCode, message: str, record_errors: tuple[RecordError, ...]) -> None:
        super().__init__(code, message)
        self.record_errors = record_errors


class CheckedBatches(NamedTuple):
    """Batches that may be appended: in the buffer that was given, or in a new one when they had to change."""

    buffer: bytearray | memoryview
    #: (position in `buffer`, header) of each, as it stands there.
    batches: list[tuple[int, BatchHeader]]
    #: What a producer is told: -1 when its own timestamps count.
    log_append_time: int


def check_batches(
    buffer: bytearray | memoryview, config: LogConfig, now_ms: int, origin: AppendOrigin
) -> CheckedBatches:
    """Check everything that can be checked without the log. `buffer` must be writable; `now_ms` is wall time.

    A client sends exactly one batch. Raises KafkaError, or RecordsRejected when records of a compacted topic lack a
    key or have a timestamp out of range.
    """
    size = len(buffer)
    if size == 0:
        raise KafkaError(ErrorCode.INVALID_RECORD, "there is no record batch")
    header = batch.parse_header(buffer)
    batches = [(0, header)]
    if header.size != size:
        if origin is AppendOrigin.CLIENT:
            raise KafkaError(ErrorCode.INVALID_RECORD, f"{size - header.size} bytes behind the one batch allowed")
        batches = list(batch.iterate_batches(buffer))
    for position, header in batches:
        _check_whole(buffer, position, header, config, origin)
    if size > config.segment_bytes:
        raise KafkaError(
            ErrorCode.RECORD_LIST_TOO_LARGE, f"{size} bytes do not fit a segment of {config.segment_bytes}"
        )
    for position, header in batches:
        _check_header(header, config, now_ms, origin)
        if origin is AppendOrigin.CLIENT:
            _check_count(buffer, position, header)
    if config.compacted or config.message_timestamp_before_max_ms != LONG_MAX or _recompresses(batches, config):
        return _open_records(buffer, batches, config, now_ms)
    if config.message_timestamp_type is TimestampType.LOG_APPEND_TIME:
        return _stamp_append_time(buffer, batches, now_ms)
    return CheckedBatches(buffer, batches, batch.NO_TIMESTAMP)


def _check_whole(
    buffer: bytearray | memoryview, position: int, header: BatchHeader, config: LogConfig, origin: AppendOrigin
) -> None:
    if header.base_offset != 0 and origin is AppendOrigin.CLIENT:
        raise KafkaError(ErrorCode.INVALID_RECORD, f"the base offset is {header.base_offset}, must be 0")
    if header.size > config.max_message_bytes:
        raise KafkaError(
            ErrorCode.MESSAGE_TOO_LARGE, f"a batch of {header.size} bytes, {config.max_message_bytes} are allowed"
        )
    if not batch.checksum_matches(buffer, header, position):
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"the checksum of the batch at byte {position} does not match")


def _check_header(header: BatchHeader, config: LogConfig, now_ms: int, origin: AppendOrigin) -> None:
    if header.record_count <= 0 or header.last_offset_delta + 1 != header.record_count:
        raise KafkaError(
            ErrorCode.INVALID_RECORD,
            f"{header.record_count} records with a last offset delta of {header.last_offset_delta}",
        )
    attributes = header.attributes
    if attributes & batch.COMPRESSION_MASK > _CODEC_MAX:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"unknown codec {header.compression}")
    if origin is AppendOrigin.CLIENT:
        if attributes & batch.CONTROL_BIT:
            raise KafkaError(ErrorCode.INVALID_RECORD, "clients must not write control batches")
        if header.producer_id >= 0 and header.base_sequence < 0:
            raise KafkaError(
                ErrorCode.INVALID_RECORD,
                f"base sequence {header.base_sequence} with producer id {header.producer_id}",
            )
    if config.message_timestamp_type is TimestampType.CREATE_TIME:
        if attributes & batch.LOG_APPEND_TIME_BIT:
            raise KafkaError(ErrorCode.INVALID_TIMESTAMP, "producers must not send append time")
        if header.max_timestamp - now_ms > config.message_timestamp_after_max_ms:
            raise KafkaError(
                ErrorCode.INVALID_TIMESTAMP,
                f"timestamp {header.max_timestamp} is more than {config.message_timestamp_after_max_ms} ms "
                f"ahead of {now_ms}",
            )


def _check_count(buffer: bytearray | memoryview, position: int, header: BatchHeader) -> None:
    """Refuse a number of records that cannot be true: as many offsets would be gone."""
    # Differs from Kafka, which decompresses and opens every record of every batch: to do so would cost more than all
    # the rest of an append. What a consumer cannot read, its producer wrote.
    count = header.record_count
    if not header.compression:
        check_count(memoryview(buffer)[position + batch.HEADER_SIZE : position + header.size], count)
    elif count * RECORD_SIZE_MIN > DECOMPRESSED_SIZE_MAX:
        raise KafkaError(ErrorCode.INVALID_RECORD, f"{count} records in a batch of {header.size} compressed bytes")


def _recompresses(batches: list[tuple[int, BatchHeader]], config: LogConfig) -> bool:
    return config.compression_type is not None and any(
        header.compression != config.compression_type and not header.is_control for _, header in batches
    )


def _stamp_append_time(
    buffer: bytearray | memoryview, batches: list[tuple[int, BatchHeader]], now_ms: int
) -> CheckedBatches:
    stamped = []
    for position, header in batches:
        batch.set_timestamp(buffer, header, TimestampType.LOG_APPEND_TIME, now_ms, position)
        stamped.append((position, batch.parse_header(buffer, position)))
    return CheckedBatches(buffer, stamped, now_ms)


def _open_records(
    buffer: bytearray | memoryview, batches: list[tuple[int, BatchHeader]], config: LogConfig, now_ms: int
) -> CheckedBatches:
    """Check every record, then set right what the header says of them."""
    out = bytearray()
    changed = False
    for position, header in batches:
        payload = records_payload(buffer, header, position)
        max_timestamp = header.max_timestamp
        if not header.is_control:
            max_timestamp = _check_records(payload, header, config, now_ms)
        if config.message_timestamp_type is TimestampType.LOG_APPEND_TIME:
            header = header._replace(attributes=header.attributes | batch.LOG_APPEND_TIME_BIT, max_timestamp=now_ms)
            changed = True
        elif max_timestamp != header.max_timestamp:
            header = header._replace(max_timestamp=max_timestamp)
            changed = True
        target = config.compression_type
        if target is not None and target != header.compression and not header.is_control:
            attributes = header.attributes & ~batch.COMPRESSION_MASK | target
            out += assemble(header._replace(attributes=attributes), compress(target, payload))
            changed = True
        else:
            stored = memoryview(buffer)[position + batch.HEADER_SIZE : position + header.size]
            out += assemble(header, stored)
    append_time = now_ms if config.message_timestamp_type is TimestampType.LOG_APPEND_TIME else batch.NO_TIMESTAMP
    if not changed:
        return CheckedBatches(buffer, batches, append_time)
    checked = list(batch.iterate_batches(out))
    for _, header in checked:
        if header.size > config.max_message_bytes:
            raise KafkaError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"a batch of {header.size} bytes after compression, {config.max_message_bytes} are allowed",
            )
    return CheckedBatches(out, checked, append_time)


def _check_records(payload: Buffer, header: BatchHeader, config: LogConfig, now_ms: int) -> int:
    """The largest timestamp of the records. Raises KafkaError."""
    keyless: list[RecordError] = []
    untimely: list[RecordError] = []
    max_timestamp = batch.NO_TIMESTAMP
    create_time = config.message_timestamp_type is TimestampType.CREATE_TIME
    for index, shape in enumerate(iterate_shapes(payload, header.record_count)):
        if shape.offset_delta != index:
            raise KafkaError(ErrorCode.INVALID_RECORD, f"record {index} has offset delta {shape.offset_delta}")
        if config.compacted and not shape.has_key and len(keyless) < RECORD_ERRORS_MAX:
            keyless.append(RecordError(index, "Compacted topic cannot accept message without key"))
        timestamp = header.base_timestamp + shape.timestamp_delta
        max_timestamp = max(max_timestamp, timestamp)
        if (
            create_time
            and timestamp != batch.NO_TIMESTAMP
            and (
                now_ms - timestamp > config.message_timestamp_before_max_ms
                or timestamp - now_ms > config.message_timestamp_after_max_ms
            )
            and len(untimely) < RECORD_ERRORS_MAX
        ):
            untimely.append(RecordError(index, f"Timestamp {timestamp} is out of range at {now_ms}"))
    if keyless:
        raise RecordsRejected(ErrorCode.INVALID_RECORD, "records of a compacted topic need a key", tuple(keyless))
    if untimely:
        raise RecordsRejected(ErrorCode.INVALID_TIMESTAMP, "timestamps are out of range", tuple(untimely))
    return max_timestamp
