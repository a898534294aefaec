"""Bringing logs to the disk while they are deleted, and while the disk refuses."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.log.config import LogConfig
from broker.log.log_dir import LogDir, open_log_dir
from broker.log.partition_log import PartitionLog
from broker.replication.flusher import Flusher, SyncFailed
from broker.replication.group_commit import GroupCommit
from broker.replication.partition import Partition, ReplicationConfig
from cluster.errors import ErrorCode
from cluster.host.disk import HostDisk, HostFile
from cluster.ids import TopicPartition, Uuid
from cluster.seams import Buffer
from tests.unit.controller.fakes import LoopClock, run
from tests.unit.replication.rig import TOPIC_ID, WALL_MS, image, records

PARTITION = TopicPartition("t", 0)


class UnsyncableFile(HostFile):
    async def sync_async(self) -> None:
        raise OSError(errno.ENOSPC, "no space for what is in the page cache")


class UnsyncableDisk(HostDisk):
    def open(self, path: str, *, create: bool = False) -> HostFile:
        file = super().open(path, create=create)
        return UnsyncableFile(path, file._descriptor, file._threads)


def log_dir(disk: HostDisk) -> LogDir:
    return open_log_dir(disk, cluster_id="c", node_id=1, new_directory_id=Uuid(b"d" * 16))


def grown_log(logs: LogDir, topic_id: Uuid = TOPIC_ID) -> PartitionLog:
    log = logs.create_partition(PARTITION, topic_id, LogConfig())
    log.start_epoch(1)
    log.append_as_leader(records("a"), 1, WALL_MS)
    return log


def test_a_log_that_is_deleted_while_it_is_synced_is_no_failure(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = HostDisk(str(tmp_path))
        logs = log_dir(disk)
        log = grown_log(logs)
        flush = asyncio.ensure_future(Flusher(disk).flush_log(log))
        await asyncio.sleep(0)
        logs.delete_partition(PARTITION, TOPIC_ID)
        await flush
        assert log.recovery_point == 0

    asyncio.run(scene())


def test_a_flush_that_had_to_wait_leaves_the_successor_of_a_deleted_log_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = HostDisk(str(tmp_path))
        logs = log_dir(disk)
        log = grown_log(logs)
        flusher = Flusher(disk)
        flushes = [asyncio.ensure_future(flusher.flush_log(log)) for _ in range(2)]
        await asyncio.sleep(0)
        log.start_epoch(2)
        logs.delete_partition(PARTITION, TOPIC_ID)
        logs.create_partition(PARTITION, Uuid(b"n" * 16), LogConfig())
        await asyncio.gather(*flushes)
        assert not disk.exists("t-0/leader-epoch-checkpoint")

    asyncio.run(scene())


def test_a_failed_sync_is_told_from_a_full_disk(tmp_path: Path) -> None:
    """After a failed write nothing is lost; after a failed sync nothing is known, whatever it lacked."""

    async def scene() -> None:
        disk = UnsyncableDisk(str(tmp_path))
        log = grown_log(log_dir(disk))
        with pytest.raises(SyncFailed) as error:
            await Flusher(disk).flush_log(log)
        assert error.value.errno == errno.ENOSPC

    asyncio.run(scene())


class CrampedFile(HostFile):
    """Cannot grow while its disk is full; syncs here and now."""

    disk: "CrampedDisk"

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        if self.disk.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().pwrite(buffers, offset)

    async def sync_async(self) -> None:
        self.sync()


class CrampedDisk(HostDisk):
    full = False

    def open(self, path: str, *, create: bool = False) -> HostFile:
        plain = super().open(path, create=create)
        file = CrampedFile(path, plain._descriptor, plain._threads)
        file.disk = self
        return file


def test_group_commit_goes_on_when_a_full_disk_has_space_again(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = CrampedDisk(str(tmp_path))
        log = grown_log(log_dir(disk))
        partition = Partition(
            topic="t",
            topic_id=TOPIC_ID,
            partition=0,
            broker_id=1,
            log=log,
            high_watermark=0,
            config=ReplicationConfig(min_insync_replicas=1, group_commit=True, replica_lag_time_max_ms=1000),
        )
        partition.on_image(image(1, 4, isr=(1,)), now_ms=0)
        errors: list[OSError] = []

        def on_storage_error(error: OSError) -> None:
            errors.append(error)
            disk.full = False

        commit = GroupCommit(Flusher(disk), LoopClock(), on_storage_error)
        running = asyncio.ensure_future(commit.run())
        disk.full = True
        commit.request(partition)
        committed = asyncio.get_running_loop().create_future()
        partition.wait_for(1, 1000, committed.set_result)
        assert await committed is ErrorCode.NONE
        assert [error.errno for error in errors] == [errno.ENOSPC]
        running.cancel()

    run(scene)
