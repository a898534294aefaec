"""What a partition's log appends, it gives back; what it refuses, it does not keep."""

import resource
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from broker.log.config import CleanupPolicy, LogConfig
from broker.log.epochs import EpochEnd
from broker.log.validator import AppendOrigin
from cluster.errors import ErrorCode, KafkaError
from cluster.records import batch
from cluster.records.batch import TimestampType, iterate_batches, parse_header
from cluster.records.record import ControlType
from tests.unit.log.logs import (
    NOW,
    SMALL,
    Broker,
    assert_derived_state_is_a_rebuild,
    idempotent,
    marker,
    plain,
    read_bytes,
    read_values,
    records_of,
)


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path)


def fill(broker: Broker, batches: int, epoch: int = 0) -> list[bytes]:
    values = [b"value-%d" % number for number in range(batches)]
    for number, value in enumerate(values):
        broker.log.append_as_leader(plain(value, timestamp=NOW + number), epoch, NOW)
    return values


# --- Append and read


def test_offsets_are_assigned_one_after_the_other(broker: Broker) -> None:
    first = broker.log.append_as_leader(plain(b"a", b"b"), 0, NOW)
    second = broker.log.append_as_leader(plain(b"c"), 0, NOW)
    assert (first.base_offset, first.last_offset, first.duplicate) == (0, 1, False)
    assert (second.base_offset, second.last_offset) == (2, 2)
    assert broker.log.log_end_offset == 3
    assert [record.offset for record in records_of(read_bytes(broker.log))] == [0, 1, 2]


def test_what_is_read_is_what_was_stamped_into_the_callers_buffer(broker: Broker) -> None:
    data = plain(b"a", b"b")
    broker.log.append_as_leader(data, 7, NOW)
    assert broker.log.read(0, 1_000).data == bytes(data)
    assert parse_header(data).leader_epoch == 7


def test_the_log_keeps_no_reference_to_the_buffer(broker: Broker) -> None:
    data = plain(b"a")
    broker.log.append_as_leader(memoryview(data), 0, NOW)
    data[-10:] = bytes(10)
    data += b"resized"
    assert read_values(broker.log) == [b"a"]


@pytest.mark.parametrize("max_bytes", [1, 80, 200, 1 << 20])
def test_every_size_of_read_gives_the_same_log_over_many_segments(broker: Broker, max_bytes: int) -> None:
    values = fill(broker, 60)
    assert broker.log.segment_count > 5
    assert read_values(broker.log, max_bytes) == values


def test_a_read_starts_with_the_batch_that_holds_the_offset(broker: Broker) -> None:
    broker.log.append_as_leader(plain(b"a", b"b", b"c"), 0, NOW)
    broker.log.append_as_leader(plain(b"d", b"e"), 0, NOW)
    for offset, base in ((0, 0), (2, 0), (3, 3), (4, 3)):
        piece = broker.log.read(offset, 1_000)
        assert (piece.base_offset, piece.next_offset) == (base, 5)


def test_a_read_never_reaches_its_limit(broker: Broker) -> None:
    for _ in range(4):
        broker.log.append_as_leader(plain(b"a", b"b"), 0, NOW)
    ends = [broker.log.read(0, 1_000, limit).next_offset for limit in range(9)]
    assert ends == [0, 0, 2, 2, 4, 4, 6, 6, 8]
    assert broker.log.read(3, 1_000, 3).data == b""


def test_limits_hold_in_segments_that_are_sealed(broker: Broker) -> None:
    fill(broker, 40)
    for limit in range(41):
        assert len(read_values(broker.log, 150, limit)) == limit


def test_a_batch_larger_than_the_read_comes_alone_or_not_at_all(broker: Broker) -> None:
    broker.log.append_as_leader(plain(b"x" * 300), 0, NOW)
    broker.log.append_as_leader(plain(b"y"), 0, NOW)
    broker.kill()
    broker.start()
    for read in range(2):  # out of the index first, then where the first read stopped
        assert broker.log.read(0, 50).next_offset == 1, read
        assert broker.log.read(0, 50, min_one_batch=False).data == b""


def test_only_offsets_of_the_log_can_be_read(broker: Broker) -> None:
    fill(broker, 5)
    broker.log.increment_log_start_offset(2)
    assert broker.log.read(5, 1_000).data == b""
    for offset in (-1, 1, 6):
        with pytest.raises(KafkaError) as caught:
            broker.log.read(offset, 1_000)
        assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_a_refused_batch_leaves_no_trace(broker: Broker) -> None:
    fill(broker, 3)
    damaged = plain(b"x")
    damaged[-1] ^= 1
    with pytest.raises(KafkaError):
        broker.log.append_as_leader(damaged, 0, NOW)
    assert broker.log.log_end_offset == 3
    broker.log.append_as_leader(plain(b"good"), 0, NOW)
    assert read_values(broker.log)[-1] == b"good"


def test_append_time_is_the_brokers(broker: Broker) -> None:
    broker.set_config(replace(SMALL, message_timestamp_type=TimestampType.LOG_APPEND_TIME))
    info = broker.log.append_as_leader(plain(b"a", timestamp=5), 0, NOW)
    assert info.log_append_time == NOW
    assert [record.timestamp for record in records_of(read_bytes(broker.log))] == [NOW]


@pytest.mark.parametrize("appender", ["leader", "follower"])
def test_a_write_that_fails_half_way_leaves_the_log_as_it_was(tmp_path: Path, appender: str) -> None:
    """A full disk shows as a short write first: a limit on the size of files does the same."""
    broker = Broker(tmp_path, LogConfig())
    values = fill(broker, 10)
    size = broker.files(".log")[0].stat().st_size
    data = plain(b"does not fit")
    append = partial(broker.log.append_as_leader, data, 0, NOW)
    if appender == "follower":
        batch.stamp(data, 10, 0)
        append = partial(broker.log.append_as_follower, data)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, unlimited[1]))
    try:
        with pytest.raises(OSError):
            append()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert broker.files(".log")[0].stat().st_size == size
    assert broker.log.log_end_offset == 10
    assert broker.log.append_as_leader(plain(b"fits again"), 0, NOW).base_offset == 10
    assert read_values(broker.log) == [*values, b"fits again"]
    assert_derived_state_is_a_rebuild(broker)


# --- Rolling


def test_a_segment_rolls_before_it_grows_too_large(broker: Broker) -> None:
    fill(broker, 30)
    assert all(path.stat().st_size <= SMALL.segment_bytes for path in broker.files(".log"))
    assert_derived_state_is_a_rebuild(broker)


def test_a_segment_rolls_when_its_records_span_too_much_time(tmp_path: Path) -> None:
    broker = Broker(tmp_path, LogConfig(segment_ms=1_000))
    for timestamp in (NOW, NOW + 1_000, NOW + 1_001, NOW + 1_500):
        broker.log.append_as_leader(plain(b"x", timestamp=timestamp), 0, NOW + 2_000)
    assert [path.name for path in broker.files(".log")] == ["00000000000000000000.log", "00000000000000000002.log"]


def test_a_segment_rolls_when_its_index_is_full(tmp_path: Path) -> None:
    broker = Broker(tmp_path, LogConfig(index_interval_bytes=0, segment_index_bytes=48))
    fill(broker, 12)
    assert broker.log.segment_count > 1
    assert all(path.stat().st_size <= 72 for path in broker.files("index"))


def test_a_batch_larger_than_a_segment_is_refused(broker: Broker) -> None:
    with pytest.raises(KafkaError) as caught:
        broker.log.append_as_leader(plain(b"x" * 700), 0, NOW)
    assert caught.value.code is ErrorCode.RECORD_LIST_TOO_LARGE


def test_rolling_an_empty_log_does_nothing(broker: Broker) -> None:
    broker.log.roll()
    assert broker.log.segment_count == 1


# --- Follower


def test_a_follower_has_the_leaders_bytes(tmp_path: Path) -> None:
    leader, follower = Broker(tmp_path / "leader"), Broker(tmp_path / "follower", LogConfig())
    fill(leader, 20, epoch=0)
    fill(leader, 20, epoch=3)
    leader.log.append_as_leader(idempotent(9, 0, b"x"), 3, NOW)
    while follower.log.log_end_offset < leader.log.log_end_offset:
        follower.log.append_as_follower(leader.log.read(follower.log.log_end_offset, 250).data)
    assert read_bytes(follower.log) == read_bytes(leader.log)
    assert follower.log.epochs.entries == leader.log.epochs.entries == [(0, 0), (3, 20)]
    assert follower.log.producers.entries == leader.log.producers.entries


def test_a_follower_spreads_one_message_over_its_own_segments(tmp_path: Path) -> None:
    leader, follower = Broker(tmp_path / "leader", LogConfig()), Broker(tmp_path / "follower")
    values = fill(leader, 40)
    follower.log.append_as_follower(leader.log.read(0, 1 << 20).data)
    assert follower.log.segment_count > 3
    assert read_values(follower.log) == values
    assert_derived_state_is_a_rebuild(follower)


def test_a_follower_refuses_damage_gaps_repeats_and_falling_epochs(broker: Broker) -> None:
    fill(broker, 3, epoch=4)

    def stamped(offset: int, epoch: int) -> bytearray:
        data = plain(b"x")
        batch.stamp(data, offset, epoch)
        return data

    damaged = stamped(3, 4)
    damaged[-1] ^= 1
    cases = {
        bytes(damaged): ErrorCode.CORRUPT_MESSAGE,
        bytes(stamped(4, 4)): ErrorCode.OFFSET_OUT_OF_RANGE,
        bytes(stamped(2, 4)): ErrorCode.OFFSET_OUT_OF_RANGE,
        bytes(stamped(3, 3)): ErrorCode.OFFSET_OUT_OF_RANGE,
        bytes(stamped(3, 5) + stamped(4, 4)): ErrorCode.OFFSET_OUT_OF_RANGE,
        bytes(stamped(3, 4)[:-1]): ErrorCode.CORRUPT_MESSAGE,
    }
    for data, code in cases.items():
        with pytest.raises(KafkaError) as caught:
            broker.log.append_as_follower(data)
        assert caught.value.code is code
    assert broker.log.log_end_offset == 3


def test_a_follower_of_a_compacted_topic_goes_on_behind_gaps_of_any_size(tmp_path: Path) -> None:
    config = replace(SMALL, cleanup_policy=frozenset({CleanupPolicy.COMPACT}))
    broker = Broker(tmp_path, config)
    for offset in (0, 10, (1 << 31) + 20, (1 << 33)):
        data = plain(b"%d" % offset, key=b"k")
        batch.stamp(data, offset, 0)
        broker.log.append_as_follower(data)
    expected = [0, 10, (1 << 31) + 20, 1 << 33]
    assert [record.offset for record in records_of(read_bytes(broker.log))] == expected
    broker.kill()
    broker.start()
    assert [record.offset for record in records_of(read_bytes(broker.log))] == expected
    assert broker.log.read(5, 1_000).base_offset == 10


# --- Epochs


def test_the_end_of_an_epoch_is_the_start_of_the_next(broker: Broker) -> None:
    """KIP-101, KIP-279."""
    fill(broker, 3, epoch=1)
    fill(broker, 4, epoch=5)
    assert broker.log.end_offset_for_epoch(1) == EpochEnd(1, 3)
    assert broker.log.end_offset_for_epoch(3) == EpochEnd(1, 3)
    assert broker.log.end_offset_for_epoch(5) == EpochEnd(5, 7)
    assert broker.log.end_offset_for_epoch(6) == EpochEnd(-1, -1)
    assert broker.log.end_offset_for_epoch(0) == EpochEnd(0, 0)


def test_a_leader_that_wrote_nothing_leaves_no_epoch_behind(broker: Broker) -> None:
    fill(broker, 3, epoch=1)
    broker.log.start_epoch(4)
    assert broker.log.end_offset_for_epoch(4) == EpochEnd(4, 3)
    broker.log.truncate_to(3)
    assert broker.log.latest_epoch == 1


def test_a_leader_of_an_older_epoch_is_a_programmers_error(broker: Broker) -> None:
    fill(broker, 1, epoch=4)
    with pytest.raises(AssertionError):
        broker.log.append_as_leader(plain(b"x"), 3, NOW)


# --- Truncation


@pytest.mark.parametrize("offset", [0, 1, 7, 20, 39, 40, 41])
def test_truncation_leaves_the_prefix_and_the_log_goes_on_from_there(broker: Broker, offset: int) -> None:
    values = fill(broker, 40, epoch=2)
    broker.log.append_as_leader(idempotent(5, 0, b"from a producer"), 3, NOW)
    values.append(b"from a producer")
    assert broker.log.truncate_to(offset) == min(offset, 41)
    assert read_values(broker.log) == values[:offset]
    assert_derived_state_is_a_rebuild(broker)
    broker.log.append_as_leader(plain(b"new"), 9, NOW)
    assert read_values(broker.log) == [*values[:offset], b"new"]
    broker.kill()
    broker.start()
    assert read_values(broker.log) == [*values[:offset], b"new"]
    assert_derived_state_is_a_rebuild(broker)


def test_truncation_inside_a_batch_drops_the_whole_batch(broker: Broker) -> None:
    broker.log.append_as_leader(plain(b"a"), 0, NOW)
    broker.log.append_as_leader(plain(b"b", b"c", b"d"), 0, NOW)
    assert broker.log.truncate_to(2) == 1
    assert read_values(broker.log) == [b"a"]


def test_the_recovery_point_on_disk_falls_before_anything_is_cut(broker: Broker) -> None:
    fill(broker, 10)
    broker.flush()
    broker.log.truncate_to(4)
    assert broker.log.recovery_point == 4
    assert (broker.root / "recovery-point-offset-checkpoint").read_text() == "0\n1\norders 0 4\n"


def test_a_fresh_start_forgets_everything(broker: Broker) -> None:
    fill(broker, 20, epoch=1)
    broker.log.append_as_leader(idempotent(5, 0, b"x"), 1, NOW)
    broker.log.truncate_fully_and_start_at(500)
    assert (broker.log.log_start_offset, broker.log.log_end_offset, broker.log.latest_epoch) == (500, 500, -1)
    assert broker.log.producers.entries == {}
    assert broker.log.append_as_leader(plain(b"y"), 2, NOW).base_offset == 500
    broker.stop()
    assert read_values(broker.start()) == [b"y"]
    assert broker.log.log_start_offset == 500


# --- Time


def test_a_timestamp_finds_the_first_record_at_or_after_it(broker: Broker) -> None:
    """KIP-79: the record itself, also inside a batch."""
    for number in range(30):
        broker.log.append_as_leader(plain(b"a", timestamp=NOW + 10 * number), 0, NOW + 1_000)
    data = bytearray(plain(b"b", timestamp=NOW + 400))
    broker.log.append_as_leader(data, 1, NOW + 1_000)
    for number in range(30):
        for early in (0, 3, 9):
            if number or not early:
                found = broker.log.offset_for_timestamp(NOW + 10 * number - early)
                assert found is not None
                assert (found.offset, found.timestamp) == (number, NOW + 10 * number)
    found = broker.log.offset_for_timestamp(NOW + 291)
    assert found is not None
    assert tuple(found) == (30, NOW + 400, 1)
    assert broker.log.offset_for_timestamp(NOW + 401) is None


def test_timestamps_that_go_back_and_forth_are_found_in_offset_order(broker: Broker) -> None:
    stamps = [NOW + delta for delta in (50, 10, 80, 20, 80, 95, 60, 5, 99, 30)] * 4
    for stamp in stamps:
        broker.log.append_as_leader(plain(b"x" * 40, timestamp=stamp), 0, NOW)
    for wanted in range(NOW, NOW + 101):
        expected = next((offset for offset, stamp in enumerate(stamps) if stamp >= wanted), None)
        found = broker.log.offset_for_timestamp(wanted)
        assert (found.offset if found else None) == expected
    largest = broker.log.offset_of_max_timestamp()
    assert largest is not None
    assert (largest.offset, largest.timestamp) == (8, NOW + 99)


def test_records_below_the_log_start_are_not_found_by_time(broker: Broker) -> None:
    fill(broker, 20)
    broker.log.increment_log_start_offset(15)
    found = broker.log.offset_for_timestamp(NOW)
    assert found is not None
    assert found.offset == 15


def test_an_empty_log_has_no_timestamps(broker: Broker) -> None:
    assert broker.log.offset_for_timestamp(0) is None
    assert broker.log.offset_of_max_timestamp() is None
    assert broker.log.earliest_offset().offset == broker.log.latest_offset(0).offset == 0


def test_the_largest_timestamp_is_looked_for_above_the_log_start(broker: Broker) -> None:
    broker.log.append_as_leader(plain(b"a", timestamp=NOW + 9), 0, NOW)
    broker.log.append_as_leader(plain(b"b", timestamp=NOW + 1), 0, NOW)
    broker.log.append_as_leader(plain(b"c", timestamp=NOW + 2), 0, NOW)
    broker.log.increment_log_start_offset(1)
    found = broker.log.offset_of_max_timestamp()
    assert found is not None
    assert (found.offset, found.timestamp) == (2, NOW + 2)


# --- Producers and transactions


def test_a_repeated_batch_is_answered_with_its_first_offsets(broker: Broker) -> None:
    for sequence in range(0, 10, 2):
        broker.log.append_as_leader(idempotent(7, sequence, b"a", b"b"), 0, NOW)
    end = broker.log.log_end_offset
    for sequence in range(0, 10, 2):
        info = broker.log.append_as_leader(idempotent(7, sequence, b"a", b"b"), 0, NOW)
        assert (info.base_offset, info.last_offset, info.duplicate) == (sequence, sequence + 1, True)
    assert broker.log.log_end_offset == end


def test_a_follower_recognises_what_was_sent_to_the_leader(tmp_path: Path) -> None:
    leader, follower = Broker(tmp_path / "leader"), Broker(tmp_path / "follower")
    for sequence in range(5):
        leader.log.append_as_leader(idempotent(7, sequence, b"a"), 0, NOW)
    follower.log.append_as_follower(leader.log.read(0, 1 << 20).data)
    assert follower.log.append_as_leader(idempotent(7, 0, b"a"), 1, NOW).duplicate


def test_truncation_takes_the_producers_back_with_it(broker: Broker) -> None:
    for sequence in range(30):
        broker.log.append_as_leader(idempotent(7, sequence, b"a"), 0, NOW)
    broker.log.truncate_to(12)
    assert_derived_state_is_a_rebuild(broker)
    info = broker.log.append_as_leader(idempotent(7, 12, b"again"), 1, NOW)
    assert (info.base_offset, info.duplicate) == (12, False)


def test_a_transaction_holds_the_last_stable_offset_until_its_marker_is_replicated(broker: Broker) -> None:
    log = broker.log
    log.append_as_leader(plain(b"before"), 0, NOW)
    log.append_as_leader(idempotent(7, 0, b"in", transactional=True), 0, NOW, transaction_verified=True)
    log.append_as_leader(plain(b"beside"), 0, NOW)
    assert log.last_stable_offset(3) == 1
    log.append_as_leader(marker(7, ControlType.ABORT), 0, NOW, origin=AppendOrigin.COORDINATOR)
    assert log.last_stable_offset(3) == 1
    log.on_high_watermark(4)
    assert log.last_stable_offset(4) == 4


def test_aborted_transactions_are_listed_by_first_offset_where_they_overlap(broker: Broker) -> None:
    log = broker.log
    for producer_id in (1, 2, 3):
        data = idempotent(producer_id, 0, b"x", transactional=True)
        log.append_as_leader(data, 0, NOW, transaction_verified=True)
    for producer_id, kind in ((2, ControlType.ABORT), (3, ControlType.COMMIT), (1, ControlType.ABORT)):
        log.append_as_leader(marker(producer_id, kind), 0, NOW, origin=AppendOrigin.COORDINATOR)
    assert [(aborted.producer_id, aborted.first_offset) for aborted in log.aborted_transactions(0, 6)] == [
        (1, 0),
        (2, 1),
    ]
    assert [aborted.producer_id for aborted in log.aborted_transactions(4, 6)] == [1]
    assert [aborted.producer_id for aborted in log.aborted_transactions(0, 1)] == [1]
    expected = log.aborted_transactions(0, 6)
    broker.kill()
    assert broker.start().aborted_transactions(0, 6) == expected
    broker.log.truncate_to(5)
    assert [aborted.producer_id for aborted in broker.log.aborted_transactions(0, 6)] == [2]


def test_a_marker_of_a_fenced_coordinator_or_producer_is_refused(broker: Broker) -> None:
    log = broker.log
    log.append_as_leader(idempotent(7, 0, b"x", epoch=2, transactional=True), 0, NOW, transaction_verified=True)
    log.append_as_leader(
        marker(7, ControlType.COMMIT, epoch=2, coordinator_epoch=5), 0, NOW, origin=AppendOrigin.COORDINATOR
    )
    for data, code in (
        (marker(7, ControlType.ABORT, epoch=2, coordinator_epoch=4), ErrorCode.TRANSACTION_COORDINATOR_FENCED),
        (marker(7, ControlType.ABORT, epoch=1, coordinator_epoch=6), ErrorCode.INVALID_PRODUCER_EPOCH),
    ):
        with pytest.raises(KafkaError) as caught:
            log.append_as_leader(data, 0, NOW, origin=AppendOrigin.COORDINATOR)
        assert caught.value.code is code


def test_a_coordinator_appends_several_batches_at_once(broker: Broker) -> None:
    info = broker.log.append_as_leader(plain(b"a") + plain(b"b", b"c"), 0, NOW, origin=AppendOrigin.COORDINATOR)
    assert (info.base_offset, info.last_offset) == (0, 2)
    assert [header.base_offset for _, header in iterate_batches(read_bytes(broker.log))] == [0, 1]


# --- Retention


def test_old_segments_go_and_the_log_starts_behind_them(broker: Broker) -> None:
    fill(broker, 40)
    broker.set_config(replace(SMALL, retention_bytes=1_200, retention_ms=-1))
    removed = broker.log.delete_old_segments(NOW, high_watermark=40)
    assert removed > 0
    assert broker.log.size_bytes <= 1_200 + SMALL.segment_bytes
    start = broker.log.log_start_offset
    assert read_values(broker.log) == [b"value-%d" % number for number in range(start, 40)]
    assert broker.log.epochs.entries == [(0, start)]
    paths = broker.log.take_removed_files()
    assert paths
    assert all((broker.root / path).exists() for path in paths)
    assert broker.log.take_removed_files() == []


def test_nothing_above_the_high_watermark_is_deleted(broker: Broker) -> None:
    fill(broker, 40)
    broker.set_config(replace(SMALL, retention_ms=0))
    broker.log.delete_old_segments(NOW + 10_000_000, high_watermark=10)
    assert broker.log.log_start_offset <= 10


def test_a_log_of_which_everything_is_old_goes_on_empty_where_it_was(broker: Broker) -> None:
    fill(broker, 40)
    broker.set_config(replace(SMALL, retention_ms=1_000))
    broker.log.delete_old_segments(NOW + 10_000, high_watermark=40)
    assert (broker.log.log_start_offset, broker.log.log_end_offset) == (40, 40)
    assert broker.log.segment_count == 1
    assert broker.log.append_as_leader(plain(b"next"), 0, NOW).base_offset == 40
    broker.kill()
    assert read_values(broker.start()) == [b"next"]


def test_the_log_start_only_moves_forward_and_not_beyond_the_end(broker: Broker) -> None:
    fill(broker, 5)
    assert broker.log.increment_log_start_offset(3)
    assert not broker.log.increment_log_start_offset(2)
    assert broker.log.log_start_offset == 3
    with pytest.raises(KafkaError) as caught:
        broker.log.increment_log_start_offset(6)
    assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


# --- Syncing


def test_what_was_synced_is_durable_and_what_came_meanwhile_is_not(broker: Broker) -> None:
    fill(broker, 5)
    plan = broker.log.flush_plan()
    fill(broker, 3)
    assert broker.directory.flush(broker.log, plan)
    assert (broker.log.durable_end_offset, broker.log.unflushed_records) == (5, 3)


def test_a_sync_that_a_truncation_overtook_counts_for_nothing(broker: Broker) -> None:
    fill(broker, 10)
    plan = broker.log.flush_plan()
    broker.log.truncate_to(4)
    fill(broker, 20, epoch=1)
    assert not broker.directory.flush(broker.log, plan)
    assert broker.log.durable_end_offset == 0


def test_a_plan_names_sealed_segments_their_indexes_and_the_folder_once(broker: Broker) -> None:
    fill(broker, 20)
    plan = broker.log.flush_plan()
    assert len(plan.files) == broker.log.segment_count
    assert {Path(path).suffix for path in plan.paths} >= {".index", ".timeindex", ".snapshot"}
    assert set(plan.folders) == {"", "orders-0"}
    broker.directory.flush(broker.log, plan)
    plan = broker.log.flush_plan()
    assert (len(plan.files), plan.paths, plan.folders) == (1, (), ())


def test_a_segment_that_grew_and_was_sealed_during_a_sync_is_synced_again(broker: Broker) -> None:
    """What was appended behind the plan went to the file that the plan syncs, but maybe after its sync."""
    fill(broker, 1)
    plan = broker.log.flush_plan()
    fill(broker, 20)
    assert broker.log.segment_count > 1
    broker.directory.flush(broker.log, plan)
    assert plan.files[0].path in {file.path for file in broker.log.flush_plan().files}


def test_a_change_during_a_sync_awaits_the_next_one(broker: Broker) -> None:
    fill(broker, 20)
    plan = broker.log.flush_plan()
    fill(broker, 20, epoch=1)
    broker.directory.flush(broker.log, plan)
    following = broker.log.flush_plan()
    assert "orders-0/leader-epoch-checkpoint" in following.paths
    assert following.folders == ("orders-0",)
    assert len(following.files) > 1
