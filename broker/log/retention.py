"""Which segments a log may let go of.

Owns the rules of retention.ms, retention.bytes and the log start offset. Pure: it counts, `partition_log` removes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.log.config import LogConfig
from cluster.records.batch import NO_TIMESTAMP


class SegmentFacts(NamedTuple):
    """What retention looks at. `next_offset` is exclusive; `max_timestamp` is -1 where no record has one."""

    base_offset: int
    next_offset: int
    size: int
    max_timestamp: int


def count_deletable(
    segments: Sequence[SegmentFacts], config: LogConfig, *, now_ms: int, log_start_offset: int, high_watermark: int
) -> int:
    """How many of the oldest segments may go. The last of `segments` is the active one and may be among them.

    Nothing at or above `high_watermark` ever goes. What lies below `log_start_offset` goes whatever the policy is.
    """
    below_start = 0
    while below_start < len(segments) - 1 and segments[below_start].next_offset <= log_start_offset:
        below_start += 1
    if not config.deletes:
        return min(below_start, _below(segments, high_watermark))
    by_time = 0
    if config.retention_ms >= 0:
        # Records without a timestamp have no age; they go by size alone.
        # Differs from Kafka: it takes the time of the file's last change instead.
        while by_time < len(segments) and _expired(segments[by_time], config.retention_ms, now_ms):
            by_time += 1
    by_size = 0
    if config.retention_bytes >= 0:
        excess = sum(segment.size for segment in segments) - config.retention_bytes
        while by_size < len(segments) - 1 and excess >= segments[by_size].size:
            excess -= segments[by_size].size
            by_size += 1
    return min(max(below_start, by_time, by_size), _below(segments, high_watermark))


def _below(segments: Sequence[SegmentFacts], high_watermark: int) -> int:
    count = 0
    while count < len(segments) and segments[count].next_offset <= high_watermark:
        count += 1
    return count


def _expired(segment: SegmentFacts, retention_ms: int, now_ms: int) -> bool:
    return segment.size > 0 and segment.max_timestamp != NO_TIMESTAMP and now_ms - segment.max_timestamp > retention_ms
