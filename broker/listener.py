"""The client listeners of a broker and the connections that they accept.

Owns the listening sockets, the limit of open connections (max.connections), and the end of idle ones
(connections.max.idle.ms). Never looks into a connection.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.api.registry import ApiTable
from broker.connection import ClientConnection, ConnectionLimits
from cluster.config.node import BoundListener
from cluster.ids import Endpoint
from cluster.metadata.records import Listener
from cluster.seams import Clock, Spawner, Timer

log = logging.getLogger(__name__)

#: Lines about misbehaving clients in any span of that length; the rest is counted.
COMPLAINTS_MAX: Final = 10
COMPLAINT_SPAN_MS: Final = 10_000
#: Of one line: part of it is what a client sent.
COMPLAINT_CHARS_MAX: Final = 400
_SWEEP_MS_MIN: Final = 100
_SWEEP_MS_MAX: Final = 10_000
_BACKLOG: Final = 512
_FINISH_POLL_MS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    connection: ConnectionLimits
    #: Open connections of all listeners of a broker together.
    max_connections: int
    max_idle_ms: int


class Connections:
    """The open client connections of one broker, whichever listener they came in on."""

    def __init__(self, *, limits: ListenerLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        #: In the order of their coming, which is also that of their end; a dict for the sake of it.
        self._open: dict[ClientConnection, None] = {}
        self._complaints: deque[int] = deque()
        self._unsaid = 0
        #: Bytes of responses that lie in transports because their clients do not take them.
        self.unsent_bytes = 0
        self._sweep_ms = min(max(limits.max_idle_ms // 4, _SWEEP_MS_MIN), _SWEEP_MS_MAX)
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin to look for idle connections."""
        self._timer = self._clock.call_later_ms(self._sweep_ms, self._sweep)

    async def stop(self, grace_ms: int) -> None:
        """Close every connection: those that wait for an answer when it has left, or after `grace_ms`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self._open):
            connection.finish()
        deadline_ms = self._clock.now_ms() + grace_ms
        while self._open and self._clock.now_ms() < deadline_ms:
            await self._clock.sleep_ms(_FINISH_POLL_MS)
        for connection in tuple(self._open):
            connection.abort()

    # What a connection tells its owner.

    def on_open(self, connection: ClientConnection) -> bool:
        # Differs from Kafka, which leaves a connection above the limit waiting: a client that is turned away tries the
        # next broker at once.
        if len(self._open) >= self._limits.max_connections:
            self.complain(f"{connection!r}: turned away: {len(self._open)} connections are open, no more are allowed")
            return False
        self._open[connection] = None
        return True

    def on_close(self, connection: ClientConnection) -> None:
        self._open.pop(connection, None)

    def on_unsent(self, change: int) -> None:
        self.unsent_bytes += change

    def complain(self, text: str) -> None:
        now_ms = self._clock.now_ms()
        said = self._complaints
        while said and said[0] <= now_ms - COMPLAINT_SPAN_MS:
            said.popleft()
        if len(said) >= COMPLAINTS_MAX:
            self._unsaid += 1
            return
        said.append(now_ms)
        more = f" ({self._unsaid} lines like this were left out)" if self._unsaid else ""
        self._unsaid = 0
        shown = "".join(char if char.isprintable() else "?" for char in text[:COMPLAINT_CHARS_MAX])
        log.warning("%s%s", shown, more)

    def _sweep(self) -> None:
        idle_since_ms = self._clock.now_ms() - self._limits.max_idle_ms
        for connection in tuple(self._open):
            if connection.idle and connection.last_active_ms <= idle_since_ms:
                connection.abort()
            else:
                connection.shrink()
        self._timer = self._clock.call_later_ms(self._sweep_ms, self._sweep)


class ClientListener:
    """One listening socket. `table` is asked for at each connection: it may not exist yet when the socket binds."""

    def __init__(
        self,
        *,
        listener: BoundListener,
        table: Callable[[], ApiTable],
        connections: Connections,
        limits: ConnectionLimits,
        clock: Clock,
        spawner: Spawner,
    ) -> None:
        self._listener = listener
        self._table = table
        self._connections = connections
        self._limits = limits
        self._clock = clock
        self._spawner = spawner
        self._server: asyncio.Server | None = None

    @property
    def advertised(self) -> Listener:
        """What the configuration says that clients are told; port 0 stands for the port that is bound."""
        return self._listener.advertised

    async def bind(self) -> Endpoint:
        """Take the port without accepting yet; returns it. Raises OSError when it cannot be had."""
        bind = self._listener.bind
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, bind.host or None, bind.port, backlog=_BACKLOG, start_serving=False
        )
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(bind.host, port)

    async def start(self) -> None:
        """Accept connections."""
        assert self._server is not None, "a listener binds before it starts"
        await self._server.start_serving()

    async def stop(self) -> None:
        """Accept no more; the connections stay with their owner."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _connection(self) -> ClientConnection:
        return ClientConnection(
            listener=self.advertised.name,
            table=self._table(),
            limits=self._limits,
            owner=self._connections,
            clock=self._clock,
            spawner=self._spawner,
        )
