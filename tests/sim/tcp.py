"""TCP of clients on the simulated network: what asyncio's `create_server` and `create_connection` give.

Bytes in order, cut anywhere, with flow control. No keepalive: a silent peer is not noticed here, as by default in life.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from cluster.ids import Endpoint
from tests.sim.loop import PROCESS, Process, SimLoop
from tests.sim.wire import End, Listener, Network

#: Bytes that the two operating systems hold before a writer's own buffer grows.
_KERNEL_BYTES: Final = 128 * 1024
_ESTABLISHED: Final = object()
#: Of arriving in two pieces.
_CUT: Final = 0.1


class SimTransport(asyncio.Transport):
    """One side of a connection. Its protocol is called on behalf of the process that the side belongs to."""

    def __init__(self, loop: SimLoop, network: Network, process: Process, end: End, peername: Endpoint) -> None:
        super().__init__({"peername": (peername.host, peername.port)})
        self._loop = loop
        self._network = network
        self._process = process
        self._end = end
        self._protocol: asyncio.BufferedProtocol | None = None
        self._inbox: deque[bytes] = deque()
        #: How the other side ended it: "" is the polite way.
        self._broken: str | None = "reset" if end.broken else None
        self._closing = False
        self._lost = False
        self._reading = True
        self._feeding = False
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = False
        end.on_data = self._on_data
        end.on_broken = self._on_broken
        end.on_consumed = self._on_consumed

    def begin(self, protocol: asyncio.BufferedProtocol) -> None:
        """The connection is there; called on behalf of its process."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._schedule()

    # What a protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        payload = bytes(data)
        if len(payload) > 1 and self._network.chance(_CUT):
            at = 1 + int(self._network.uniform(0, len(payload) - 1))
            self._end.send(payload[:at], at)
            payload = payload[at:]
        self._end.send(payload, len(payload))
        if not self._writing_paused and self.get_write_buffer_size() > self._high and self._protocol is not None:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return max(0, self._end.outstanding - _KERNEL_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def is_reading(self) -> bool:
        return self._reading

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._end_here(in_order=True)

    def abort(self) -> None:
        self._end_here(in_order=False)

    def _end_here(self, *, in_order: bool) -> None:
        if not self._closing:
            self._closing = True
            self._end.close(in_order=in_order)
            self._soon(self._lose, None)

    # What the network calls, on nobody's behalf

    def _on_data(self, payload: bytes, _size: int) -> None:
        self._inbox.append(payload)
        self._schedule()

    def _on_broken(self, reason: str) -> None:
        self._broken = "" if reason.startswith("closed") else reason
        self._schedule()

    def _on_consumed(self) -> None:
        if self._writing_paused and self.get_write_buffer_size() <= self._low:
            self._soon(self._resume_writing)

    # On behalf of the process

    def _schedule(self) -> None:
        if not self._feeding and self._protocol is not None:
            self._feeding = True
            self._soon(self._feed)

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments, context=self._process.context())

    def _resume_writing(self) -> None:
        if self._writing_paused and not self._closing and self._protocol is not None:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _feed(self) -> None:
        self._feeding = False
        protocol = self._protocol
        assert protocol is not None
        if self._broken:
            # A reset overtakes what was not read yet.
            self._closing = True
            self._lose(ConnectionResetError(104, self._broken))
            return
        while self._inbox and self._reading and not self._closing:
            chunk = self._inbox.popleft()
            buffer = memoryview(protocol.get_buffer(len(chunk)))
            size = min(len(buffer), len(chunk))
            assert size, "a protocol has room"
            buffer[:size] = chunk[:size]
            if size < len(chunk):
                self._inbox.appendleft(chunk[size:])
            self._end.consumed(size)
            protocol.buffer_updated(size)
        if self._broken is not None and not self._inbox and not self._closing and not protocol.eof_received():
            self._closing = True
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost and self._protocol is not None:
            self._lost = True
            self._protocol.connection_lost(error)


class _Socket:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def getsockname(self) -> tuple[str, int]:
        return self._endpoint.host, self._endpoint.port


class SimServer:
    """What `create_server` returns, as far as listeners use it."""

    def __init__(self, tcp: "SimTcp", process: Process, factory: Callable[[], Any], endpoint: Endpoint) -> None:
        self._tcp = tcp
        self._process = process
        self._factory = factory
        self._endpoint = endpoint
        self.sockets = [_Socket(endpoint)]
        self.is_serving = False

    async def start_serving(self) -> None:
        self.is_serving = True

    def close(self) -> None:
        self.is_serving = False
        self._tcp.network.unlisten(self._endpoint, self._process)

    def accept(self, end: End, source: Endpoint) -> None:
        if not self.is_serving:
            end.close(in_order=True)
            return
        transport = SimTransport(self._tcp.loop, self._tcp.network, self._process, end, source)
        end.send(_ESTABLISHED, 0)
        self._tcp.loop.call_soon(lambda: transport.begin(self._factory()), context=self._process.context())


class SimTcp:
    """Serves one loop."""

    def __init__(self, loop: SimLoop, network: Network) -> None:
        self.loop = loop
        self.network = network

    async def create_server(
        self, factory: Callable[[], Any], host: str | None, port: int, *, backlog: int, start_serving: bool
    ) -> SimServer:
        process = _current()
        assert host is not None, "simulated listeners are bound to their machine"
        server: SimServer | None = None

        def accept(end: End, source: Endpoint) -> None:
            assert server is not None
            server.accept(end, source)

        endpoint = self.network.listen(Endpoint(host, port), Listener(process, accept))
        server = SimServer(self, process, factory, endpoint)
        if start_serving:
            await server.start_serving()
        return server

    async def create_connection(
        self, factory: Callable[[], asyncio.BufferedProtocol], host: str, port: int
    ) -> tuple[SimTransport, asyncio.BufferedProtocol]:
        process = _current()
        established: asyncio.Future[None] = self.loop.create_future()
        source = Endpoint(process.machine, 0)
        end = self.network.connect(process, Endpoint(host, port), source, 0, keepalive=False)

        def fail(reason: str) -> None:
            if not established.done():
                established.set_exception(ConnectionRefusedError(111, reason))

        def arrive(_payload: object, _size: int) -> None:
            if not established.done():
                established.set_result(None)

        end.on_data, end.on_broken = arrive, fail
        try:
            await established
        except BaseException:
            end.close(in_order=False)
            raise
        transport = SimTransport(self.loop, self.network, process, end, Endpoint(host, port))
        protocol = factory()
        transport.begin(protocol)
        return transport, protocol


def _current() -> Process:
    process = PROCESS.get()
    assert process is not None, "connections belong to processes"
    return process
