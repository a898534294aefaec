"""Clock, chance and tasks of one simulated process: the small adapters of the seams."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cluster.ids import ZERO_UUID, Uuid
from tests.sim.loop import Process, SimLoop

#: 2027-01-15T08:00:00Z, when every simulation begins.
WALL_START_MS: Final = 1_800_000_000_000


class SimClock:
    """Virtual time. The zero points differ between machines; `wall_skew_ms` may jump while it is used."""

    def __init__(self, loop: SimLoop, zero_ms: int = 0) -> None:
        self._loop = loop
        self._zero_ms = zero_ms
        self.wall_skew_ms = 0

    def now_ms(self) -> int:
        return int(self._loop.time() * 1000) + self._zero_ms

    def wall_ms(self) -> int:
        return WALL_START_MS + int(self._loop.time() * 1000) + self.wall_skew_ms

    async def sleep_ms(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000)

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_ms / 1000, callback)


class SimRng:
    """Chance from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def randint(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def uuid(self) -> Uuid:
        while True:
            raw = self._random.randbytes(16)
            if raw != ZERO_UUID and raw[0] >> 2 != 62:
                return Uuid(raw)


class SimSpawner:
    """`on_failure` is called once for each task that raised; it ends the process."""

    def __init__(self, loop: SimLoop, process: Process, on_failure: Callable[[str, BaseException], None]) -> None:
        self._loop = loop
        self._process = process
        self._on_failure = on_failure
        #: In the order of their making.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._loop.spawn(self._process, coroutine, name)
        self._tasks[task] = None
        task.add_done_callback(self._on_done, context=self._process.context())
        return task

    async def cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)
