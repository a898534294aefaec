"""Reading whole batches out of a log.

Owns the way from an offset to bytes: the tail first, then where the last reader stopped, then the index. What this
process has not written or checked itself is checked before it is handed out, so that a rotten byte is never served.
"""

from struct import Struct
from typing import Final, NamedTuple

from crc32c import crc32c

from broker.log.epochs import UNDEFINED_EPOCH, LeaderEpochs
from broker.log.names import LOG_SUFFIX
from broker.log.scan import LogCorrupt
from broker.log.segment import Segment
from broker.log.segments import SegmentList
from broker.log.tail import BatchTail
from cluster.records.batch import BATCH_LENGTH_MIN, CRC_START, HEADER_SIZE, LOG_OVERHEAD, MAGIC

#: Readers whose place is remembered.
HINTS_MAX: Final = 64

#: base offset, batch length, leader epoch, magic, crc, attributes, last offset delta.
_STEP: Final = Struct(">qiibIhi")


class LogSlice(NamedTuple):
    """Whole batches as they stand in one segment file; `data` may be empty."""

    data: bytes
    #: Of the first batch: at or below the offset that was asked for.
    base_offset: int
    #: Behind the last batch: where the next read goes on.
    next_offset: int
    segment_base_offset: int
    #: Of the first byte, in its segment file.
    position: int


class LogReader:
    """Reads of one log."""

    def __init__(self, segments: SegmentList, tail: BatchTail, epochs: LeaderEpochs) -> None:
        self._segments = segments
        self._tail = tail
        self._epochs = epochs
        self._hints: dict[int, tuple[Segment, int]] = {}

    def forget(self) -> None:
        """Positions have changed: something was cut off or removed."""
        self._hints.clear()

    def read(
        self, offset: int, max_bytes: int, limit_offset: int, log_end_offset: int, *, min_one_batch: bool
    ) -> LogSlice:
        """The batches from the one that holds `offset` on, as `PartitionLog.read` promises."""
        if offset >= limit_offset:
            return self._nothing(offset)
        segment = self._segments.active
        known = self._tail.batch_of(offset) if offset >= segment.base_offset else None
        if known is not None:
            return self._read_tail(segment, known, offset, max_bytes, limit_offset, log_end_offset, min_one_batch)
        for segment in self._segments.from_offset(offset):
            start = self._position_in(segment, offset)
            if start is not None:
                return self._read_walking(segment, start, offset, max_bytes, limit_offset, min_one_batch)
            if segment.dense:
                raise LogCorrupt(segment.path(LOG_SUFFIX), segment.size, offset, "the segment ends too early")
        return self._nothing(offset)

    def _nothing(self, offset: int) -> LogSlice:
        segment = self._segments.floor(offset)
        return LogSlice(b"", offset, offset, segment.base_offset, segment.size)

    def _read_tail(
        self,
        segment: Segment,
        known: tuple[int, int],
        offset: int,
        max_bytes: int,
        limit_offset: int,
        log_end_offset: int,
        min_one_batch: bool,
    ) -> LogSlice:
        """Every boundary from `known` on is remembered: one read of the disk, no look at the bytes."""
        base_offset, start = known
        if limit_offset >= log_end_offset:
            next_offset, end = log_end_offset, segment.size
        else:
            # The batch that holds the limit, or starts there, is the first that must stay out.
            next_offset, end = self._tail.batch_of(limit_offset) or known
        if end <= start:
            return self._nothing(offset)
        if end - start > max_bytes:
            fitting = self._tail.batch_at(start + max_bytes) or known
            if fitting[1] > start:
                next_offset, end = fitting
            elif min_one_batch:
                next_offset, end = self._tail.batch_after(start) or (log_end_offset, segment.size)
            else:
                return self._nothing(offset)
        data = segment.file.pread(end - start, start)
        if len(data) != end - start:
            raise LogCorrupt(segment.file.path, start + len(data), base_offset, "the file is shorter than the log")
        return LogSlice(data, base_offset, next_offset, segment.base_offset, start)

    def _position_in(self, segment: Segment, offset: int) -> int | None:
        """Where the batch that holds `offset` starts in `segment`, or the first one behind it; None without one."""
        hint = self._hints.get(offset)
        if hint is not None and hint[0] is segment and hint[1] < segment.size:
            return hint[1]
        found = segment.locate(offset)
        return found[0] if found is not None else None

    def _read_walking(
        self, segment: Segment, start: int, offset: int, max_bytes: int, limit_offset: int, min_one_batch: bool
    ) -> LogSlice:
        """Read, then step from header to header to see where the last whole batch ends."""
        file = segment.file
        left = segment.size - start
        data = file.pread(min(max(max_bytes, HEADER_SIZE), left), start)
        allowed = max_bytes
        if min_one_batch:
            first_size = self._step(data, 0, segment, start)[1]
            if first_size > max_bytes:
                allowed = first_size
                if len(data) < allowed:
                    data = file.pread(allowed, start)
        end = 0
        base_offset = next_offset = offset
        expected_offset: int | None = None
        while end + HEADER_SIZE <= len(data):
            base, size, epoch, last_offset, crc = self._step(data, end, segment, start + end)
            if end + size > min(allowed, len(data)):
                break
            if start + end < segment.trusted_from:
                intact = crc32c(memoryview(data)[end + CRC_START : end + size]) == crc
                follows = expected_offset is None or (
                    base == expected_offset if segment.dense else base >= expected_offset
                )
                # The checksum covers neither offset nor epoch.
                same_epoch = self._epochs.epoch_of(last_offset) in (epoch, UNDEFINED_EPOCH)
                if not (intact and follows and same_epoch):
                    raise LogCorrupt(file.path, start + end, base, "this batch was whole when it was written")
            # Only now is it certain that the last offset is the batch's own.
            if last_offset >= limit_offset:
                break
            if end == 0:
                base_offset = base
            end += size
            expected_offset = next_offset = last_offset + 1
        if end == 0:
            return self._nothing(offset)
        if len(self._hints) >= HINTS_MAX:
            del self._hints[next(iter(self._hints))]
        self._hints[next_offset] = (segment, start + end)
        return LogSlice(data if end == len(data) else data[:end], base_offset, next_offset, segment.base_offset, start)

    @staticmethod
    def _step(data: bytes, at: int, segment: Segment, position: int) -> tuple[int, int, int, int, int]:
        """(base offset, size, epoch, last offset, checksum) of the batch at `data[at:]`, `position` of the file."""
        if len(data) - at < HEADER_SIZE:
            raise LogCorrupt(segment.file.path, position, -1, "the file is shorter than the log")
        base_offset, batch_length, epoch, magic, crc, _, last_offset_delta = _STEP.unpack_from(data, at)
        if (
            magic != MAGIC
            or last_offset_delta < 0
            or not BATCH_LENGTH_MIN <= batch_length <= segment.size - position - LOG_OVERHEAD
        ):
            raise LogCorrupt(segment.file.path, position, base_offset, "this is no batch any more")
        return base_offset, batch_length + LOG_OVERHEAD, epoch, base_offset + last_offset_delta, crc
