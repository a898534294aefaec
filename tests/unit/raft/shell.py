"""What the asyncio shell of a quorum needs around it: a virtual-time event loop and a network in memory."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cluster.ids import Endpoint
from cluster.seams import CallHandler, Stream, StreamBroken, StreamHandler, Unavailable


class _VirtualSelector(selectors.SelectSelector):
    """Waits for no time at all, and tells the loop that it did."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits for another one"
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        # Timers are at least this far apart, so that rounding never makes one late without passing time.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._virtual.now_s


class LoopClock:
    """A `Clock` on whatever loop runs."""

    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        return self.now_ms()

    async def sleep_ms(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000)

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_ms / 1000, callback)


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)


class MemoryStream:
    """One side of a stream; both sides break together."""

    def __init__(self) -> None:
        self.other: MemoryStream
        self.is_broken = False
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, message: bytes) -> None:
        await asyncio.sleep(0.001)
        if self.is_broken:
            raise StreamBroken("broken")
        self.other._inbox.put_nowait(message)

    async def recv(self) -> bytes:
        message = None if self.is_broken else await self._inbox.get()
        if message is None or self.is_broken:
            raise StreamBroken("broken")
        return message

    def abort(self) -> None:
        for side in (self, self.other):
            if not side.is_broken:
                side.is_broken = True
                side._inbox.put_nowait(None)


class Fabric:
    """All processes and the streams between them."""

    def __init__(self) -> None:
        self.nets: dict[Endpoint, MemoryNet] = {}
        self.streams: list[tuple[str, Endpoint, MemoryStream]] = []

    def kill(self, name: str, endpoint: Endpoint) -> None:
        """The process is gone: nobody serves, and its streams break."""
        self.nets.pop(endpoint, None)
        for source, target, stream in self.streams:
            if source == name or target == endpoint:
                stream.abort()


class MemoryNet:
    """A `Net`."""

    max_message_bytes = 4 * 1024 * 1024

    def __init__(self, name: str, fabric: Fabric) -> None:
        self.name = name
        self._fabric = fabric
        self._streams: dict[str, StreamHandler] = {}
        self._handlers: list[asyncio.Future[None]] = []

    async def call(self, peer: Endpoint, method: str, request: bytes, timeout_ms: int) -> bytes:
        raise Unavailable("nobody answers calls")

    def serve_call(self, method: str, handler: CallHandler) -> None:
        raise AssertionError("a quorum serves no calls")

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._streams[method] = handler

    async def open(self, peer: Endpoint, method: str, timeout_ms: int) -> Stream:
        await asyncio.sleep(0.001)
        net = self._fabric.nets.get(peer)
        if net is None:
            raise Unavailable(f"nobody listens on {peer}")
        near, far = MemoryStream(), MemoryStream()
        near.other, far.other = far, near
        self._fabric.streams.append((self.name, peer, near))
        net._handlers.append(asyncio.ensure_future(self._handle(net._streams[method], far)))
        return near

    async def _handle(self, handler: Callable[[str, Stream], Awaitable[None]], stream: MemoryStream) -> None:
        try:
            await handler(self.name, stream)
        finally:
            stream.abort()

    async def start(self, listen: Endpoint) -> Endpoint:
        self._fabric.nets[listen] = self
        return listen

    async def stop(self) -> None:
        raise AssertionError("nets are killed")
