"""Time and chance that a test moves by hand."""

import asyncio
from collections.abc import Callable

from cluster.host.clock import SystemClock
from cluster.ids import ZERO_UUID, Uuid


class HandClock:
    """Stands still until a test sets `now`; sleeping takes no time, and nothing that was due later ever happens."""

    class Never:
        def cancel(self) -> None:
            """There is nothing to cancel."""

    def __init__(self) -> None:
        self.now = 0

    def now_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return self.now

    async def sleep_ms(self, delay_ms: float) -> None:
        self.now += round(delay_ms)

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> Never:
        return HandClock.Never()


class HeldClock(SystemClock):
    """Stands still but for sleeps, which take no real time: deadlines pass by attempts, however slow the machine is.

    What is due later happens in real time.
    """

    def __init__(self) -> None:
        self.now = 1000

    def now_ms(self) -> int:
        return self.now

    async def sleep_ms(self, delay_ms: float) -> None:
        self.now += max(1, round(delay_ms))
        await asyncio.sleep(0)


class HalfRng:
    """Chance that is always in the middle, and takes the first of several."""

    def random(self) -> float:
        return 0.5

    def randint(self, low: int, high: int) -> int:
        return low

    def uuid(self) -> Uuid:
        return ZERO_UUID
