"""After any stop a log is a prefix of what it was, at least as long as what was on disk, or it is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.log.config import LogConfig
from broker.log.partition_log import PartitionLog
from broker.log.scan import LogCorrupt
from cluster.records.batch import iterate_batches
from cluster.records.record import Record
from tests.unit.log.logs import (
    NOW,
    PARTITION,
    SMALL,
    Broker,
    assert_derived_state_is_a_rebuild,
    idempotent,
    plain,
    read_bytes,
    read_values,
    records_of,
)

TINY = LogConfig(segment_bytes=300, index_interval_bytes=100)


def three_segments(root: Path) -> Broker:
    """Ten batches of two epochs, some of a producer, over three segments."""
    broker = Broker(root, TINY)
    for number in range(10):
        data = plain(b"v%d" % number, timestamp=NOW + number)
        if number % 3 == 0:
            data = idempotent(7, number // 3, b"v%d" % number, timestamp=NOW + number)
        broker.log.append_as_leader(data, 1 if number < 4 else 2, NOW)
    assert broker.log.segment_count >= 3
    return broker


class Damaged:
    """Copies of a stopped broker's directory, each damaged in its own way and started again."""

    def __init__(self, broker: Broker, scratch: Path) -> None:
        self.broker = broker
        self.scratch = scratch

    def start(self, damage: Callable[[Path], None]) -> Broker:
        """Raises LogCorrupt when the log is refused. Whoever gets a broker must kill it."""
        target = self.scratch / "copy"
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(self.broker.root, target)
        damage(target / str(PARTITION))
        copy = object.__new__(Broker)
        copy.root, copy.config = target, self.broker.config
        try:
            copy.start()
        except LogCorrupt:
            copy.kill()
            raise
        return copy


def same_records(records: list[Record], prefix_of: list[Record]) -> bool:
    return records == prefix_of[: len(records)]


def test_a_log_cut_at_any_byte_above_the_recovery_point_is_the_longest_whole_prefix(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    whole = read_bytes(broker.log)
    records = records_of(whole)
    ends = [position + header.size for position, header in iterate_batches(whole)]
    broker.kill()
    damaged = Damaged(broker, tmp_path)
    sizes = [path.stat().st_size for path in broker.files(".log")]
    names = [path.name for path in broker.files(".log")]
    for cut in range(sum(sizes)):

        def cut_at(folder: Path, cut: int = cut) -> None:
            before = 0
            for name, size in zip(names, sizes, strict=True):
                if cut <= before:
                    (folder / name).unlink()
                elif cut < before + size:
                    with (folder / name).open("r+b") as file:
                        file.truncate(cut - before)
                before += size

        copy = damaged.start(cut_at)
        survivors = sum(end <= cut for end in ends)
        assert records_of(read_bytes(copy.log)) == records[:survivors], cut
        if cut % 7 == 0:
            assert_derived_state_is_a_rebuild(copy)
        assert copy.log.append_as_leader(plain(b"next"), 3, NOW).base_offset == survivors
        copy.kill()


def test_a_log_that_lost_a_byte_below_the_recovery_point_is_refused(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    broker.flush()
    broker.kill()
    damaged = Damaged(broker, tmp_path)
    last = broker.files(".log")[-1].name
    for cut in range(broker.files(".log")[-1].stat().st_size):

        def cut_at(folder: Path, cut: int = cut) -> None:
            with (folder / last).open("r+b") as file:
                file.truncate(cut)

        with pytest.raises(LogCorrupt):
            damaged.start(cut_at)


def flip(name: str, position: int, mask: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes((byte ^ mask,)))

    return damage


@pytest.mark.parametrize("stop", ["clean", "killed"])
def test_every_flipped_byte_below_the_recovery_point_is_refused_at_start_or_when_read(
    tmp_path: Path, stop: str
) -> None:
    """Never a wrong byte, whichever segment it is in, and nothing is cut."""
    broker = three_segments(tmp_path / "log")
    if stop == "clean":
        broker.stop()
    else:
        broker.flush()
        broker.kill()
    damaged = Damaged(broker, tmp_path)
    for path in broker.files(".log"):
        for position in range(path.stat().st_size):
            assert served_or_none(damaged, flip(path.name, position, 1 << position % 8)) is None, (path.name, position)


def served_or_none(damaged: Damaged, damage: Callable[[Path], None]) -> bytes | None:
    """Everything the damaged log gives out, or None when it was refused, at the start or by a read."""
    try:
        copy = damaged.start(damage)
    except LogCorrupt:
        return None
    try:
        return read_bytes(copy.log)
    except LogCorrupt:
        return None
    finally:
        copy.kill()


def test_a_flipped_byte_above_the_recovery_point_leaves_a_good_prefix(tmp_path: Path) -> None:
    """The leader epoch alone may be wrong there: no checksum covers it, and nothing else knows it yet."""
    broker = three_segments(tmp_path / "log")
    records = records_of(read_bytes(broker.log))
    broker.kill()
    damaged = Damaged(broker, tmp_path)
    for path in broker.files(".log"):
        for position in range(path.stat().st_size):
            copy = damaged.start(flip(path.name, position, 0x10))
            assert same_records(records_of(read_bytes(copy.log)), records), (path.name, position)
            copy.kill()


@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".snapshot"])
def test_every_flipped_byte_of_a_derived_file_changes_nothing_that_is_read(tmp_path: Path, suffix: str) -> None:
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    broker.stop()
    damaged = Damaged(broker, tmp_path)
    for path in broker.files(suffix)[-2:]:
        for position in range(path.stat().st_size):
            copy = damaged.start(flip(path.name, position, 0xFF))
            assert_serves(copy.log, values)
            assert copy.log.producers.entries[7].last_sequence == 3
            copy.kill()


def assert_serves(log: PartitionLog, values: list[bytes | None]) -> None:
    for offset in range(len(values)):
        piece = log.read(offset, 10)
        assert records_of(piece.data)[0].value == values[offset]
        found = log.offset_for_timestamp(NOW + offset)
        assert found is not None
        assert found.offset == offset


@pytest.mark.parametrize("suffix", ["index", ".timeindex", ".snapshot", "leader-epoch-checkpoint"])
@pytest.mark.parametrize("damage", ["missing", "empty", "noise"])
def test_derived_files_may_be_missing_empty_or_noise(tmp_path: Path, suffix: str, damage: str) -> None:
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    epochs = broker.log.epochs.entries
    broker.stop()
    for path in broker.files(suffix):
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(b"" if damage == "empty" else b"\x7fnoise" * 11)
    log = broker.start()
    assert_serves(log, values)
    assert log.epochs.entries == epochs
    assert log.producers.entries[7].last_sequence == 3
    assert log.append_as_leader(idempotent(7, 3, b"v9"), 2, NOW).duplicate


@pytest.mark.parametrize("name", ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"])
def test_an_unreadable_checkpoint_counts_as_absent(tmp_path: Path, name: str) -> None:
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    broker.log.increment_log_start_offset(1)
    broker.stop()
    (tmp_path / "log" / name).write_bytes(b"0\n1\norders 0")
    assert read_values(broker.start())[-9:] == values[-9:]


def test_zeros_behind_the_last_batch_are_the_end(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    broker.flush()
    broker.kill()
    path = broker.files(".log")[-1]
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(5_000))
    assert read_values(broker.start()) == values
    assert path.stat().st_size == size


def test_an_empty_new_segment_and_files_of_nobody_are_normal(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    broker.flush()
    broker.kill()
    (broker.folder / "00000000000000000010.log").touch()
    (broker.folder / "notes.txt").write_text("kept")
    (broker.folder / "00000000000000000099.index").write_bytes(b"orphan")
    (broker.folder / "00000000000000000000.log.deleted").write_bytes(b"gone")
    (broker.folder / "leader-epoch-checkpoint.tmp").write_bytes(b"half")
    assert read_values(broker.start()) == values
    left = {path.name for path in broker.folder.iterdir()}
    assert "notes.txt" in left
    assert not left & {
        "00000000000000000099.index",
        "00000000000000000000.log.deleted",
        "leader-epoch-checkpoint.tmp",
    }


def test_a_stale_segment_behind_a_torn_one_is_dropped(tmp_path: Path) -> None:
    """Its names may come back with a power loss after a truncation removed them."""
    broker = three_segments(tmp_path / "log")
    values = read_values(broker.log)
    stale = broker.files(".log")[-1]
    content = stale.read_bytes()
    base = int(stale.stem)
    broker.log.truncate_to(base - 1)
    broker.kill()
    stale.write_bytes(content)
    log = broker.start()
    assert read_values(log) == values[: base - 1]
    assert not stale.exists()


def test_a_missing_sealed_segment_is_noticed_by_the_first_read_that_needs_it(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    broker.stop()
    broker.files(".log")[1].unlink()
    log = broker.start()
    with pytest.raises(LogCorrupt):
        read_bytes(log)


def test_a_log_without_any_of_its_segments_is_refused(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    broker.flush()
    broker.kill()
    for path in broker.files(".log"):
        path.unlink()
    with pytest.raises(LogCorrupt):
        broker.start()


def test_what_is_known_of_a_corrupt_log_outlives_the_next_stop(tmp_path: Path) -> None:
    """Else it would be cut at the second start, as if the damage were a torn tail."""
    broker = three_segments(tmp_path / "log")
    broker.flush()
    broker.kill()
    flip(broker.files(".log")[-1].name, 70, 1)(broker.folder)
    with pytest.raises(LogCorrupt):
        broker.start()
    broker.directory.close({}, 6)
    with pytest.raises(LogCorrupt):
        broker.start()


def test_a_tail_lost_below_the_log_start_leaves_an_empty_log_there(tmp_path: Path) -> None:
    broker = three_segments(tmp_path / "log")
    broker.log.increment_log_start_offset(9)
    broker.directory.write_log_starts()
    broker.kill()
    for path in broker.files(".log")[1:]:
        path.unlink()
    log = broker.start()
    assert (log.log_start_offset, log.log_end_offset) == (9, 9)
    assert log.append_as_leader(plain(b"next"), 3, NOW).base_offset == 9


def test_a_clean_start_trusts_and_an_unclean_one_vouches_for_no_more_than_the_checkpoint(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "log", SMALL)
    for number in range(20):
        broker.log.append_as_leader(plain(b"%d" % number), 0, NOW)
        if number == 11:
            broker.flush()
    broker.kill()
    assert broker.start().recovery_point == 12
    broker.stop()
    assert broker.start().recovery_point == 20
