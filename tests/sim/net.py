"""The Net seam on the simulated network.

As over gRPC: a call is one question and one answer, its handler is cancelled when the caller gives up; a stream exists
when the other side's handler runs, has a window of unread bytes, and breaks as a whole. Keepalive notices a silent
peer within about two seconds.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cluster.ids import Endpoint
from cluster.seams import CallHandler, NetError, StreamBroken, StreamHandler, Unavailable
from tests.sim.loop import Process, SimLoop
from tests.sim.wire import End, Listener, Network

#: Unread bytes of one direction of a stream, from which its sender waits.
WINDOW_BYTES: Final = 4 * 2**20
#: How long a handler may go on after its stream broke.
_HANDLER_END_S: Final = 5.0


class SimStream:
    """One side of a stream."""

    def __init__(self, end: End, network: Network) -> None:
        self._end = end
        self._network = network
        self._inbox: deque[tuple[bytes, int]] = deque()
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._reason: str | None = None
        self.on_broken: Callable[[], None] = lambda: None
        end.on_data = self._on_data
        end.on_broken = self._on_broken
        end.on_consumed = self._on_consumed

    async def send(self, message: bytes) -> None:
        _check_size(message)
        await asyncio.sleep(0)
        while self._reason is None and self._end.outstanding >= WINDOW_BYTES:
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender
        if self._reason is not None:
            raise StreamBroken(self._reason)
        self._end.send(message, len(message))

    async def recv(self) -> bytes:
        while not self._inbox:
            if self._reason is not None:
                raise StreamBroken(self._reason)
            self._receiver = asyncio.get_running_loop().create_future()
            await self._receiver
        message, size = self._inbox.popleft()
        self._end.consumed(size)
        return message

    def abort(self) -> None:
        if self._reason is None:
            self._break("aborted", drop=True)
            self._end.close()

    def _break(self, reason: str, *, drop: bool) -> None:
        self._reason = reason
        if drop:
            self._inbox.clear()
        self._wake()

    def _wake(self) -> None:
        for waiter in (self._receiver, self._sender):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _on_data(self, message: bytes, size: int) -> None:
        if self._reason is None:
            self._inbox.append((message, size))
            self._wake()

    def _on_broken(self, reason: str) -> None:
        if self._reason is None:
            self._break(reason, drop=self._network.chance(0.5))
            self.on_broken()

    def _on_consumed(self) -> None:
        if self._sender is not None and self._end.outstanding < WINDOW_BYTES and not self._sender.done():
            self._sender.set_result(None)


class SimNet:
    """The `Net` of one process, known to others as `name`. `on_error` is told what a handler raised."""

    max_message_bytes = 64 * 2**20

    def __init__(
        self,
        name: str,
        loop: SimLoop,
        network: Network,
        process: Process,
        on_error: Callable[[str, BaseException], None] = lambda _method, _error: None,
    ) -> None:
        self.name = name
        self._loop = loop
        self._network = network
        self._process = process
        self._on_error = on_error
        self._calls: dict[str, CallHandler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._open: dict[SimStream, None] = {}
        self._bound: Endpoint | None = None

    async def call(self, peer: Endpoint, method: str, request: bytes, timeout_ms: int) -> bytes:
        _check_size(request)
        answer: asyncio.Future[bytes] = self._loop.create_future()

        def fail(reason: str) -> None:
            if not answer.done():
                answer.set_exception(Unavailable(f"{method} at {peer}: {reason}"))

        def arrive(message: bytes, _size: int) -> None:
            if not answer.done():
                answer.set_result(message)

        hello = ("call", method, self.name, request)
        end = self._network.connect(self._process, peer, hello, len(request), keepalive=False)
        end.on_data, end.on_broken = arrive, fail
        timer = self._loop.call_later(timeout_ms / 1000, fail, f"no answer in {timeout_ms} ms")
        try:
            return await answer
        finally:
            timer.cancel()
            end.close(in_order=True)

    async def open(self, peer: Endpoint, method: str, timeout_ms: int) -> SimStream:
        end = self._network.connect(self._process, peer, ("open", method, self.name), 0, keepalive=True)
        stream = SimStream(end, self._network)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await stream.recv()
        except TimeoutError:
            stream.abort()
            raise Unavailable(f"{method} at {peer}: no answer in {timeout_ms} ms") from None
        except StreamBroken as error:
            raise Unavailable(f"{method} at {peer}: {error}") from None
        except asyncio.CancelledError:
            stream.abort()
            raise
        self._track(stream)
        return stream

    def serve_call(self, method: str, handler: CallHandler) -> None:
        self._calls[method] = handler

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._streams[method] = handler

    async def start(self, listen: Endpoint) -> Endpoint:
        await asyncio.sleep(0)
        self._bound = self._network.listen(listen, Listener(self._process, self._accept))
        return self._bound

    async def stop(self) -> None:
        if self._bound is not None:
            self._network.unlisten(self._bound, self._process)
            self._bound = None
        for stream in tuple(self._open):
            stream.abort()
        await asyncio.sleep(0)

    # Serving. Runs on nobody's behalf until a task of this process takes over.

    def _accept(self, end: End, hello: tuple[Any, ...]) -> None:
        kind, method, caller, *rest = hello
        if kind == "call" and method in self._calls:
            self._serve(end, self._answer(end, method, caller, rest[0]), f"{method} for {caller}")
        elif kind == "open" and method in self._streams:
            stream = SimStream(end, self._network)
            self._track(stream)
            task = self._serve(None, self._converse(stream, method, caller), f"{method} with {caller}")
            stream.on_broken = lambda: self._network.at(
                self._network.now_s() + _HANDLER_END_S, lambda: self._cancel(task)
            )
        else:
            end.close(in_order=True)

    def _serve(self, end: End | None, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[Any]":
        task = self._loop.spawn(self._process, work, name)
        if end is not None:
            end.on_broken = lambda _reason: self._cancel(task)
        return task

    def _cancel(self, task: "asyncio.Task[Any]") -> None:
        if not task.done():
            self._loop.call_soon(task.cancel, context=self._process.context())

    async def _answer(self, end: End, method: str, caller: str, request: bytes) -> None:
        try:
            answer = await self._calls[method](caller, request)
        except Exception as error:
            self._report(method, error)
        else:
            end.send(answer, len(answer))
        end.close(in_order=True)

    async def _converse(self, stream: SimStream, method: str, caller: str) -> None:
        try:
            await stream.send(b"")
            await self._streams[method](caller, stream)
        except Exception as error:
            self._report(method, error)
        finally:
            stream.abort()
            self._open.pop(stream, None)

    def _report(self, method: str, error: Exception) -> None:
        if not isinstance(error, NetError):
            self._on_error(method, error)

    def _track(self, stream: SimStream) -> None:
        for ended in [known for known in self._open if known._reason is not None]:
            del self._open[ended]
        self._open[stream] = None


def _check_size(message: bytes) -> None:
    if len(message) > SimNet.max_message_bytes:
        raise ValueError(f"a message of {len(message)} bytes is longer than {SimNet.max_message_bytes}")
