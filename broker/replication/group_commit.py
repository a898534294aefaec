"""Syncs the logs of leaders that must not count what is not on disk, batch after batch."""

import asyncio
from collections.abc import Callable

from broker.replication.flusher import Flusher
from broker.replication.partition import Partition
from cluster.seams import Clock

#: Pause after a round that failed and did not end the process: the disk is full.
RETRY_MS = 1000


class GroupCommit:
    """While one round of syncs runs, the appends that come gather for the next; each round wakes who waited for it."""

    def __init__(self, flusher: Flusher, clock: Clock, on_storage_error: Callable[[OSError], None]) -> None:
        self._flusher = flusher
        self._clock = clock
        self._on_storage_error = on_storage_error
        self._dirty: dict[Partition, None] = {}
        self._wake = asyncio.Event()

    def request(self, partition: Partition) -> None:
        """`partition` grew. Returns at once."""
        self._dirty[partition] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, {}
            try:
                await self._flusher.flush(dirty)
            except OSError as error:
                self._on_storage_error(error)
                for partition in dirty:
                    self.request(partition)
                await self._clock.sleep_ms(RETRY_MS)
                continue
            for partition in dirty:
                partition.on_durable()
