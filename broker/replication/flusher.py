"""Brings logs to the disk; waits for their files off the event loop, and for the names in a folder, seldom new, on it.

Two customers: group commit (topics with flush.messages=1, where an offset counts only when it is on disk) and the
periodic flushes of all other logs. While one sync of a log runs, whatever is appended meanwhile gathers for the next.
A failed sync is never repeated: the error goes to the caller, who gives the log directory up.
"""

import asyncio
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from broker.log.partition_log import FlushPlan, PartitionLog
from broker.replication.partition import Partition
from cluster.seams import Disk

#: Logs that are synced at the same time.
CONCURRENT_SYNCS = 8


class SyncFailed(OSError):
    """A sync failed, with the errno of why. Nothing is known of what the disk holds, also if it only lacked space."""


class Flusher:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._slots = asyncio.Semaphore(CONCURRENT_SYNCS)
        self._locks: WeakKeyDictionary[PartitionLog, asyncio.Lock] = WeakKeyDictionary()

    async def flush(self, partitions: Iterable[Partition]) -> None:
        """Make everything appended so far durable. Raises SyncFailed, or OSError when it did not come to a sync."""
        await asyncio.gather(*(self.flush_log(partition.log) for partition in partitions))

    async def flush_log(self, log: PartitionLog) -> None:
        """Like `flush`. A log that is closed meanwhile is left as it is: its partition was deleted."""
        wanted = log.log_end_offset
        lock = self._locks.setdefault(log, asyncio.Lock())
        async with lock:
            # Somebody else's sync may have covered it while this one waited.
            if log.recovery_point < wanted:
                async with self._slots:
                    if not log.closed:
                        await self._carry_out(log, log.flush_plan())

    async def _carry_out(self, log: PartitionLog, plan: FlushPlan) -> None:
        try:
            await self._sync(plan)
        except OSError as error:
            # The files of a log that was closed are gone, or another's by now.
            if not log.closed:
                raise SyncFailed(*error.args) from error
        log.mark_flushed(plan)

    async def _sync(self, plan: FlushPlan) -> None:
        for file in plan.files:
            await file.sync_async()
        for path in plan.paths:
            try:
                file = self._disk.open(path)
            except FileNotFoundError:
                continue
            try:
                await file.sync_async()
            finally:
                file.close()
        for folder in plan.folders:
            self._disk.fsync_dir(folder)
