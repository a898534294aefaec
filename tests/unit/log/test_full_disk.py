"""A full disk refuses an append and spoils nothing: what is in the log stays, and goes on when there is space."""

import pytest

from broker.log.log_dir import LogDir, open_log_dir
from broker.log.partition_log import PartitionLog
from tests.sim.disk import Medium, SimDisk
from tests.unit.log.logs import CLUSTER, DIRECTORY_ID, NOW, PARTITION, SMALL, TOPIC_ID, plain, read_values


def open_directory(medium: Medium) -> LogDir:
    return open_log_dir(SimDisk(medium), cluster_id=CLUSTER, node_id=1, new_directory_id=DIRECTORY_ID)


def append(log: PartitionLog, value: bytes) -> None:
    log.append_as_leader(plain(value, timestamp=NOW), 0, NOW)


@pytest.mark.parametrize("clean", [True, False])
def test_a_roll_that_finds_the_disk_full_leaves_no_segment_behind(clean: bool) -> None:
    """Later appends may fit into the old segment; an empty one in their midst would cut the log at the next start."""
    medium = Medium(seed=1)
    directory = open_directory(medium)
    log = directory.create_partition(PARTITION, TOPIC_ID, SMALL)
    values = [b"0" * 170, b"1" * 170]
    for value in values:
        append(log, value)
    medium.health.full = True
    with pytest.raises(OSError, match="space"):
        append(log, b"2" * 200)
    medium.health.full = False
    assert log.segment_count == 1
    for value in (b"fits", b"3" * 200, b"4" * 200, b"5" * 200):
        append(log, value)
        values.append(value)
    assert log.segment_count > 1
    assert read_values(log) == values
    if clean:
        directory.close({PARTITION: log.log_end_offset}, broker_epoch=1)
    else:
        directory.abandon()
    again = open_directory(medium)
    again.load(lambda _: SMALL)
    assert not again.corrupt
    assert read_values(again.logs[PARTITION]) == values
