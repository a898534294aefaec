"""Finding offsets by timestamp.

Owns the search across segments and inside a batch; the answer is the record itself, so the batch is opened.
Source: KIP-79, KIP-734 (the largest timestamp).
"""

from typing import NamedTuple

from broker.log.epochs import UNDEFINED_EPOCH
from broker.log.scan import LogCorrupt
from broker.log.segment import Segment
from broker.log.segments import SegmentList
from cluster.errors import KafkaError
from cluster.records.batch import NO_TIMESTAMP, BatchHeader, TimestampType, checksum_matches
from cluster.records.record import Record, decode_records


class TimestampOffset(NamedTuple):
    """A record's offset, timestamp and leader epoch; -1 for what is not known or not asked for."""

    offset: int
    timestamp: int = NO_TIMESTAMP
    leader_epoch: int = UNDEFINED_EPOCH


def first_since(segments: SegmentList, timestamp: int, log_start_offset: int) -> TimestampOffset | None:
    """The first record at or above `log_start_offset` whose timestamp is at least `timestamp`."""
    for segment in segments.from_offset(log_start_offset):
        if segment.max_timestamp < timestamp:
            continue
        for position, header in segment.batches_since(timestamp):
            if header.last_offset < log_start_offset:
                continue
            for record in _readable_records(segment, position, header):
                if record.timestamp >= timestamp and record.offset >= log_start_offset:
                    return TimestampOffset(record.offset, record.timestamp, header.leader_epoch)
    return None


def largest(segments: SegmentList, log_start_offset: int) -> TimestampOffset | None:
    """The first record with the largest timestamp of those that batches at or above `log_start_offset` have."""
    newest: Segment | None = None
    for segment in segments.from_offset(log_start_offset):
        if segment.size and (newest is None or segment.max_timestamp > newest.max_timestamp):
            newest = segment
    if newest is None or newest.max_timestamp == NO_TIMESTAMP:
        return None
    found = newest.locate(newest.offset_of_max_timestamp)
    if found is None or found[1].last_offset < log_start_offset:
        # The newest record was deleted from the front of the log; what is left of the segment is searched.
        return _largest_in(newest, log_start_offset)
    return _largest_of_batch(newest, *found)


def _largest_in(segment: Segment, log_start_offset: int) -> TimestampOffset | None:
    best: tuple[int, BatchHeader] | None = None
    for position, header in segment.walk(0, segment.base_offset):
        if header.last_offset >= log_start_offset and (best is None or header.max_timestamp > best[1].max_timestamp):
            best = (position, header)
    return _largest_of_batch(segment, *best) if best is not None else None


def _largest_of_batch(segment: Segment, position: int, header: BatchHeader) -> TimestampOffset | None:
    if header.timestamp_type is TimestampType.LOG_APPEND_TIME:
        return TimestampOffset(header.base_offset, header.max_timestamp, header.leader_epoch)
    for record in _readable_records(segment, position, header):
        if record.timestamp == header.max_timestamp:
            return TimestampOffset(record.offset, record.timestamp, header.leader_epoch)
    # A header may promise a timestamp that no record has: producers are not checked record by record.
    return TimestampOffset(header.last_offset, header.max_timestamp, header.leader_epoch)


def _readable_records(segment: Segment, position: int, header: BatchHeader) -> list[Record]:
    """The records of the batch, or none: a producer may have sent what passes its checksum and cannot be opened."""
    try:
        return records_at(segment, position, header)
    except KafkaError:
        return []


def records_at(segment: Segment, position: int, header: BatchHeader) -> list[Record]:
    """The records of the batch at `position`.

    Raises LogCorrupt when it is not whole any more, and KafkaError when it is and its records cannot be read.
    """
    data = segment.file.pread(header.size, position)
    if len(data) != header.size or not checksum_matches(data, header):
        raise LogCorrupt(segment.file.path, position, header.base_offset, "this batch was whole when it was written")
    return decode_records(data, header)
