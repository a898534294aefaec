"""Segments go oldest first, by age, size or the log start, and never above the high watermark."""

from broker.log.config import CleanupPolicy, LogConfig
from broker.log.retention import SegmentFacts, count_deletable

HOUR = 3_600_000
#: Four segments of 100 bytes and ten records, one an hour; the last is active.
SEGMENTS = [SegmentFacts(10 * n, 10 * (n + 1), 100, HOUR * (n + 1)) for n in range(4)]
COMPACT = frozenset({CleanupPolicy.COMPACT})


def count(config: LogConfig, *, now_ms: int = 0, log_start_offset: int = 0, high_watermark: int = 40) -> int:
    return count_deletable(
        SEGMENTS, config, now_ms=now_ms, log_start_offset=log_start_offset, high_watermark=high_watermark
    )


def test_age_is_that_of_the_youngest_record_of_a_segment() -> None:
    config = LogConfig(retention_ms=2 * HOUR)
    assert [count(config, now_ms=now * HOUR) for now in range(2, 8)] == [0, 0, 1, 2, 3, 4]


def test_an_age_of_exactly_the_limit_is_kept() -> None:
    assert count(LogConfig(retention_ms=HOUR), now_ms=2 * HOUR) == 0


def test_a_young_segment_protects_the_ones_behind_it() -> None:
    segments = [SegmentFacts(0, 10, 100, 9 * HOUR), *SEGMENTS[1:]]
    config = LogConfig(retention_ms=HOUR)
    assert count_deletable(segments, config, now_ms=10 * HOUR, log_start_offset=0, high_watermark=40) == 0


def test_records_without_a_timestamp_have_no_age() -> None:
    segments = [segment._replace(max_timestamp=-1) for segment in SEGMENTS]
    config = LogConfig(retention_ms=0)
    assert count_deletable(segments, config, now_ms=9 * HOUR, log_start_offset=0, high_watermark=40) == 0


def test_size_is_kept_at_or_above_the_limit_and_the_active_segment_always() -> None:
    kept = {
        limit: 4 - count(LogConfig(retention_ms=-1, retention_bytes=limit)) for limit in (0, 100, 250, 300, 400, 999)
    }
    assert kept == {0: 1, 100: 1, 250: 3, 300: 3, 400: 4, 999: 4}


def test_without_limits_everything_stays() -> None:
    assert count(LogConfig(retention_ms=-1), now_ms=1 << 50) == 0


def test_what_lies_below_the_log_start_goes_also_on_compacted_topics() -> None:
    for config in (LogConfig(retention_ms=-1), LogConfig(retention_ms=0, cleanup_policy=COMPACT)):
        assert [count(config, now_ms=9 * HOUR, log_start_offset=start) for start in (9, 10, 25, 40)] == [0, 1, 2, 3]


def test_nothing_at_or_above_the_high_watermark_goes() -> None:
    config = LogConfig(retention_ms=0)
    assert [count(config, now_ms=9 * HOUR, high_watermark=mark) for mark in (0, 9, 10, 39, 40)] == [0, 0, 1, 3, 4]
