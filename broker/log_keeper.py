"""The housekeeping of a log directory: checkpoints, periodic flushes, retention, and files that nobody needs now."""

import logging
from collections.abc import Callable
from functools import partial

from broker.log.config import LogConfig
from broker.log.log_dir import LogDir
from broker.log.partition_log import PartitionLog
from broker.replication.flusher import Flusher
from broker.replication.manager import ReplicaManager
from broker.replication.partition import Partition
from cluster.config.properties import BrokerProperties
from cluster.seams import Clock

log = logging.getLogger(__name__)

#: How often due flushes and files to unlink are looked for.
TICK_MS = 1000


class LogKeeper:
    """Three endless tasks. What the disk refuses goes to the replica manager, which decides what to do about it."""

    def __init__(
        self,
        *,
        logs: LogDir,
        replicas: ReplicaManager,
        flusher: Flusher,
        clock: Clock,
        properties: BrokerProperties,
    ) -> None:
        self._logs = logs
        self._replicas = replicas
        self._flusher = flusher
        self._clock = clock
        self._properties = properties
        #: When a log was first seen with records that are not on disk.
        self._unflushed_since: dict[PartitionLog, int] = {}
        #: When files of removed segments, and folders of deleted partitions, are unlinked.
        self._doomed_files: dict[str, int] = {}
        self._doomed_folders: dict[str, int] = {}

    async def checkpoint(self) -> None:
        """High watermarks often, so that a restarted broker knows most of what is committed; the rest less often."""
        interval_ms = self._properties.integer("replica.high.watermark.checkpoint.interval.ms")
        full_interval_ms = self._properties.integer("log.flush.offset.checkpoint.interval.ms")
        last_full_ms = self._clock.now_ms()
        while True:
            await self._clock.sleep_ms(interval_ms)
            self._guarded(lambda: self._logs.write_high_watermarks(self._replicas.high_watermarks()))
            if self._clock.now_ms() - last_full_ms >= full_interval_ms:
                last_full_ms = self._clock.now_ms()
                await self._flush([partition.log for partition in self._replicas.partitions()])
                self._guarded(self._logs.write_recovery_points)
                self._guarded(self._logs.write_log_starts)

    async def apply_retention(self) -> None:
        """Drop old segments and idle producers."""
        interval_ms = self._properties.integer("log.retention.check.interval.ms")
        while True:
            await self._clock.sleep_ms(interval_ms)
            for partition in self._replicas.partitions():
                self._guarded(partial(self._clean, partition))

    async def tick(self) -> None:
        """Flush the logs whose flush.ms has passed, and unlink what has been dead for long enough."""
        while True:
            await self._clock.sleep_ms(TICK_MS)
            await self._flush(self._overdue())
            self._guarded(self._unlink_doomed)

    def _clean(self, partition: Partition) -> None:
        now_ms = self._clock.wall_ms()
        removed = partition.log.delete_old_segments(now_ms, partition.high_watermark)
        if removed:
            start = partition.log.log_start_offset
            log.info("%s: %d segments removed, the log starts at %d", partition.log.partition, removed, start)
        partition.log.expire_producers(now_ms)

    def _overdue(self) -> list[PartitionLog]:
        now_ms = self._clock.now_ms()
        logs = [partition.log for partition in self._replicas.partitions()]
        since = {each: self._unflushed_since.get(each, now_ms) for each in logs if each.unflushed_records}
        self._unflushed_since = since
        return [each for each, when in since.items() if now_ms - when >= each.config.flush_ms]

    async def _flush(self, logs: list[PartitionLog]) -> None:
        for each in logs:
            self._unflushed_since.pop(each, None)
            try:
                await self._flusher.flush_log(each)
            except OSError as error:
                self._replicas.on_storage_error(error)

    def _unlink_doomed(self) -> None:
        now_ms = self._clock.now_ms()
        for partition in self._replicas.partitions():
            for path in partition.log.take_removed_files():
                self._doomed_files[path] = now_ms + partition.log.config.file_delete_delay_ms
        for path in [path for path, due_ms in self._doomed_files.items() if due_ms <= now_ms]:
            del self._doomed_files[path]
            if self._logs.disk.exists(path):
                self._logs.disk.unlink(path)
        folders = self._logs.deleted_folders()
        delay_ms = LogConfig().file_delete_delay_ms
        self._doomed_folders = {folder: self._doomed_folders.get(folder, now_ms + delay_ms) for folder in folders}
        for folder, due_ms in self._doomed_folders.items():
            if due_ms <= now_ms:
                self._logs.remove_folder(folder)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._replicas.on_storage_error(error)
