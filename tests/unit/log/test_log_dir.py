"""A log directory belongs to one node of one cluster, knows how it was left, and keeps its partitions apart."""

import shutil
from pathlib import Path

import pytest

from broker.log.files import FileCache
from broker.log.log_dir import LogDir, WrongDirectory, open_log_dir
from broker.log.scan import LogCorrupt
from cluster.host.disk import HostDisk
from cluster.ids import TopicPartition, Uuid
from tests.unit.log.logs import (
    CLUSTER,
    DIRECTORY_ID,
    NOW,
    PARTITION,
    SMALL,
    TOPIC_ID,
    Broker,
    open_directory,
    plain,
    read_values,
)

OTHER_ID = Uuid(bytes(16 * [7]))


def load(root: Path) -> LogDir:
    directory = open_directory(root)
    directory.load(lambda _: SMALL)
    return directory


def test_a_directory_keeps_the_id_it_was_given_first(tmp_path: Path) -> None:
    open_directory(tmp_path).abandon()
    directory = open_log_dir(HostDisk(str(tmp_path)), cluster_id=CLUSTER, node_id=1, new_directory_id=OTHER_ID)
    assert directory.meta.directory_id == DIRECTORY_ID


@pytest.mark.parametrize(("cluster_id", "node_id"), [("another", 1), (CLUSTER, 2)])
def test_a_directory_of_another_cluster_or_node_is_refused(tmp_path: Path, cluster_id: str, node_id: int) -> None:
    open_directory(tmp_path).abandon()
    disk = HostDisk(str(tmp_path))
    with pytest.raises(WrongDirectory):
        open_log_dir(disk, cluster_id=cluster_id, node_id=node_id, new_directory_id=OTHER_ID)
    open_directory(tmp_path).abandon()


def test_a_directory_in_use_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.stop()
    directory = open_directory(tmp_path)
    with pytest.raises(WrongDirectory):
        open_directory(tmp_path)
    assert directory.previous_broker_epoch == 5


@pytest.mark.parametrize("content", [None, b"", b"node.id=1\n", b"\xff"])
def test_partitions_without_a_readable_owner_are_refused(tmp_path: Path, content: bytes | None) -> None:
    Broker(tmp_path).stop()
    path = tmp_path / "meta.properties"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongDirectory):
        open_directory(tmp_path)


def test_a_clean_stop_is_believed_once(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.stop(broker_epoch=17)
    first = load(tmp_path)
    assert first.previous_broker_epoch == 17
    assert not (tmp_path / ".kafka_cleanshutdown").exists()
    first.abandon()
    assert load(tmp_path).previous_broker_epoch is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1,"brokerEpoch":3}', b'{"version":0}'])
def test_an_unreadable_clean_shutdown_file_is_no_clean_stop(tmp_path: Path, content: bytes) -> None:
    Broker(tmp_path).stop()
    (tmp_path / ".kafka_cleanshutdown").write_bytes(content)
    assert load(tmp_path).previous_broker_epoch is None


def test_a_stop_without_a_registration_leaves_no_clean_shutdown_file(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.log.append_as_leader(plain(b"a"), 0, NOW)
    broker.stop(broker_epoch=None)
    assert read_values(broker.start()) == [b"a"]
    assert broker.directory.previous_broker_epoch is None


def test_checkpoints_survive_a_stop(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    for _ in range(4):
        broker.log.append_as_leader(plain(b"a"), 0, NOW)
    broker.log.increment_log_start_offset(2)
    broker.directory.close({PARTITION: 3}, 1)
    directory = load(tmp_path)
    log = directory.logs[PARTITION]
    assert (log.log_start_offset, log.log_end_offset, log.recovery_point, log.topic_id) == (2, 4, 4, TOPIC_ID)
    assert directory.high_watermarks == {PARTITION: 3}


def test_partitions_are_found_by_their_folders_and_other_names_left_alone(tmp_path: Path) -> None:
    directory = open_directory(tmp_path)
    partitions = [TopicPartition("a", 0), TopicPartition("a-1", 2), TopicPartition("a", 12)]
    for number, partition in enumerate(partitions):
        log = directory.create_partition(partition, TOPIC_ID, SMALL)
        log.append_as_leader(plain(b"%d" % number), 0, NOW)
    directory.close({}, 1)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a-file-7").touch()
    directory = load(tmp_path)
    assert {partition: read_values(log) for partition, log in directory.logs.items()} == {
        partition: [b"%d" % number] for number, partition in enumerate(partitions)
    }


def test_a_deleted_partition_is_gone_at_once_and_its_folder_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.log.append_as_leader(plain(b"a"), 0, NOW)
    folder = broker.directory.delete_partition(PARTITION, TOPIC_ID)
    assert broker.directory.logs == {}
    assert broker.directory.deleted_folders() == [folder]
    broker.kill()
    directory = load(tmp_path)
    assert directory.logs == {}
    assert directory.deleted_folders() == [folder]
    directory.remove_folder(folder)
    assert directory.deleted_folders() == []


def test_a_recreated_partition_inherits_nothing(tmp_path: Path) -> None:
    """A stale recovery point would make an empty log look corrupt, a stale log start would make it skip offsets."""
    broker = Broker(tmp_path)
    for _ in range(30):
        broker.log.append_as_leader(plain(b"old"), 3, NOW)
    broker.log.increment_log_start_offset(20)
    broker.flush()
    broker.directory.write_log_starts()
    broker.directory.write_high_watermarks({PARTITION: 30})
    broker.directory.delete_partition(PARTITION, TOPIC_ID)
    broker.directory.create_partition(PARTITION, OTHER_ID, SMALL)
    assert broker.directory.high_watermarks == {}
    broker.log.append_as_leader(plain(b"new"), 0, NOW)
    broker.kill()
    log = broker.start()
    assert (log.log_start_offset, log.topic_id, read_values(log)) == (0, OTHER_ID, [b"new"])


def test_a_flush_that_a_deletion_overtakes_is_no_disk_failure(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    for _ in range(30):
        broker.log.append_as_leader(plain(b"x"), 0, NOW)
    log = broker.log
    plan = log.flush_plan()
    broker.directory.delete_partition(PARTITION, TOPIC_ID)
    for file in plan.files:
        file.sync()
    log.mark_flushed(plan)
    with pytest.raises(OSError):
        plan.files[0].sync()


def test_few_files_are_open_however_many_segments_there_are(tmp_path: Path) -> None:
    disk = HostDisk(str(tmp_path))
    files = FileCache(disk, capacity=4)
    for number in range(10):
        disk.open(f"{number}", create=True).pwrite([b"%d" % number], 0)
    for number in (*range(10), *range(10)):
        assert files.get(f"{number}").pread(9, 0) == b"%d" % number
        assert len(files) <= 4
    files.get("6")
    kept = files.get("7")
    files.get("1"), files.get("2"), files.get("3")
    assert files.get("7") is kept
    files.discard("7")
    with pytest.raises(OSError):
        kept.pread(1, 0)


def test_a_log_of_many_segments_is_read_through_few_files(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    for number in range(100):
        broker.log.append_as_leader(plain(b"%d" % number, timestamp=NOW + number), 0, NOW)
    broker.flush()
    broker.directory._files._capacity = 4
    assert broker.log.segment_count > 10
    assert read_values(broker.log, 100) == [b"%d" % number for number in range(100)]
    for number in range(100):
        found = broker.log.offset_for_timestamp(NOW + number)
        assert found is not None
        assert found.offset == number


def test_a_folder_that_is_gone_is_not_an_empty_log(tmp_path: Path) -> None:
    """An empty log in its place could be elected, and the records of all replicas would go."""
    broker = Broker(tmp_path)
    broker.log.append_as_leader(plain(b"x"), 0, NOW)
    broker.stop()
    shutil.rmtree(broker.folder)
    directory = load(tmp_path)
    assert not directory.logs
    assert "the folder is gone" in str(directory.corrupt[PARTITION])
    directory.delete_partition(PARTITION, TOPIC_ID)
    directory.create_partition(PARTITION, TOPIC_ID, SMALL)
    assert PARTITION not in directory.corrupt


def test_a_log_that_is_distrusted_is_read_as_a_whole_by_the_next_start(tmp_path: Path) -> None:
    """Also after a clean stop, and also below the recovery point."""
    broker = Broker(tmp_path)
    for _ in range(20):
        broker.log.append_as_leader(plain(b"x" * 50), 0, NOW)
    broker.stop()
    first = broker.files(".log")[0]
    content = bytearray(first.read_bytes())
    content[70] ^= 1
    first.write_bytes(content)
    directory = load(tmp_path)
    with pytest.raises(LogCorrupt) as caught:
        directory.logs[PARTITION].read(0, 1 << 20)
    directory.distrust(caught.value.path)
    directory.abandon()
    assert PARTITION in load(tmp_path).corrupt
