"""Brings logs to the disk, off the event loop.

Two customers: group commit (topics with flush.messages=1, where an offset counts only when it is on disk) and the
periodic flushes of all other logs. While one sync of a log runs, whatever is appended meanwhile gathers for the next.
A failed sync is never repeated: the error goes to the caller, who gives the log directory up.
"""

import asyncio
from collections.abc import Iterable

from broker.log.partition_log import FlushPlan, PartitionLog
from broker.replication.partition import Partition
from cluster.seams import Disk

#: Logs that are synced at the same time.
CONCURRENT_SYNCS = 8


class Flusher:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._slots = asyncio.Semaphore(CONCURRENT_SYNCS)
        self._locks: dict[PartitionLog, asyncio.Lock] = {}

    async def flush(self, partitions: Iterable[Partition]) -> None:
        """Make everything appended so far durable. Raises OSError."""
        await asyncio.gather(*(self.flush_log(partition.log) for partition in partitions))

    async def flush_log(self, log: PartitionLog) -> None:
        """Raises OSError."""
        wanted = log.log_end_offset
        lock = self._locks.setdefault(log, asyncio.Lock())
        async with lock:
            # Somebody else's sync may have covered it while this one waited.
            if log.recovery_point < wanted:
                async with self._slots:
                    await self._carry_out(log, log.flush_plan())

    def forget(self, log: PartitionLog) -> None:
        """The log is closed."""
        self._locks.pop(log, None)

    async def _carry_out(self, log: PartitionLog, plan: FlushPlan) -> None:
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
        log.mark_flushed(plan)
