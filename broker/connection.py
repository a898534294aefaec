"""One client connection: bytes in, requests to their handlers, responses out in the order of the requests.

Owns the receive buffer, the line of responses that are due, and the limits of one connection. Requests are dispatched
while their bytes still lie in the receive buffer: a handler that keeps anything of a records field longer than its call
must copy it. Reading stops while too much is in flight or the client does not take its responses, so one connection
never holds more than its limits and one response on top. Never decides what a response says.

Every request is answered once, in order, or not at all because the connection closes; `acks=0` has no answer.
Source: the protocol guide; KIP-511 (unsupported versions).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Protocol, cast

from broker.api.answers import CloseConnection, Encoded, Later, RequestContext
from broker.api.registry import ApiTable
from cluster.seams import Buffer, Clock, Spawner, Task
from cluster.wire.codec import read_message
from cluster.wire.frames import FrameError, NeedMore, find_frame
from cluster.wire.headers import decode_request_header, encode_response
from cluster.wire.primitives import DecodeError, EncodeError
from cluster.wire.registry import api_name
from cluster.wire.schema import Response

log = logging.getLogger(__name__)

#: Bytes asked for when nothing is known of what comes, and what an idle connection's buffer shrinks to.
RECEIVE_SIZE: Final = 64 * 1024
#: How fast the buffer grows under a long frame, so that an announced size alone costs nothing.
_RECEIVE_GROWTH: Final = 4
#: Unanswered requests of one connection, however small.
REQUESTS_IN_FLIGHT_MAX: Final = 4096
#: The transport asks for a pause of writing above the first, and for its end below the second.
WRITE_BUFFER_HIGH: Final = 1024 * 1024
WRITE_BUFFER_LOW: Final = 256 * 1024
#: Bytes handed to the transport at a time, before looking whether it still wants more.
_WRITE_STEP: Final = 1024 * 1024
#: Responses that are together no larger are joined: one buffer more costs the transport as much.
_JOINED_SIZE_MAX: Final = 16 * 1024

_PREFIX: Final = Struct(">ii")  # size, correlation id
_CORRELATION_ID_SIZE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Of one connection, in bytes."""

    #: socket.request.max.bytes: the largest frame.
    request_bytes: int
    #: queued.max.request.bytes: requests that are not answered, and answers that are not sent.
    queued_bytes: int


class ConnectionOwner(Protocol):
    """Who counts the connections and hears why they end."""

    def on_open(self, connection: "ClientConnection") -> bool:
        """Whether there is room for one more."""
        ...

    def on_close(self, connection: "ClientConnection") -> None: ...

    def on_unsent(self, change: int) -> None:
        """So many bytes more (or fewer) are kept for clients that do not take them."""
        ...

    def complain(self, text: str) -> None:
        """Log one line about a client's behaviour, or keep quiet when there are too many."""
        ...


class _Slot:
    """The place of one response in the line."""

    __slots__ = ("_connection", "buffers", "correlation_id", "later", "size", "version")

    def __init__(self, connection: "ClientConnection", correlation_id: int, version: int, size: int) -> None:
        self._connection = connection
        self.correlation_id = correlation_id
        self.version = version
        #: Bytes of the request, and of the response once it is encoded.
        self.size = size
        #: None until there is a response.
        self.buffers: list[Buffer] | None = None
        #: What must be told when the connection goes first.
        self.later: Later[Any] | Task | None = None

    def deliver(self, response: Response | Encoded) -> None:
        """The response has come."""
        self.later = None
        self._connection.on_response(self, response)


class ClientConnection(asyncio.BufferedProtocol):
    """See the module. Lives on one event loop; nothing in it is called from elsewhere."""

    def __init__(
        self,
        *,
        listener: str,
        table: ApiTable,
        limits: ConnectionLimits,
        owner: ConnectionOwner,
        clock: Clock,
        spawner: Spawner,
    ) -> None:
        self._listener = listener
        self._table = table
        self._limits = limits
        self._owner = owner
        self._clock = clock
        self._spawner = spawner
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client_address = ""
        #: Of the last request: most that follow it say the same of themselves.
        self._context: RequestContext | None = None
        self._buffer = bytearray(RECEIVE_SIZE)
        self._view = memoryview(self._buffer)
        #: 0 <= _end <= _receive_limit <= len(_buffer): received, and how far to receive next. A long frame is received
        #: up to its end, so that whatever follows it starts at the front and nothing long is ever moved.
        self._end = 0
        self._receive_limit = RECEIVE_SIZE
        #: A frame has needed more than RECEIVE_SIZE since the last `shrink`.
        self._long_frames = False
        self._slots: deque[_Slot] = deque()
        #: Sum of the sizes of `_slots`.
        self._queued_bytes = 0
        self._reading_paused = False
        self._writing_paused = False
        #: Bytes that the transport held when it asked for a pause; 0 while it does not.
        self._unsent_bytes = 0
        #: Responses that have come and are to be encoded; when there are any, `_on_send_due` is scheduled.
        self._delivered: list[tuple[_Slot, Response | Encoded]] = []
        #: No more requests are taken: the connection is closed, or closes after what is in the line.
        self._closing = False
        #: Monotonic time of the last byte received, or sent after a pause.
        self.last_active_ms = 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's, but are none of them.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._client_address = _address(transport.get_extra_info("peername"))
        self.last_active_ms = self._clock.now_ms()
        transport.set_write_buffer_limits(high=WRITE_BUFFER_HIGH, low=WRITE_BUFFER_LOW)
        if not self._owner.on_open(self):
            self._closing = True
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._end : self._receive_limit]

    def buffer_updated(self, nbytes: int) -> None:
        self.last_active_ms = self._clock.now_ms()
        self._end += nbytes
        self._serve()

    def eof_received(self) -> bool:
        """Nobody closes one direction only: the transport closes the other."""
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._transport is not None:
            self._set_unsent(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._set_unsent(0)
        self.last_active_ms = self._clock.now_ms()
        self._send_ready()
        self._serve()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        slots, self._slots = self._slots, deque()
        self._delivered.clear()
        self._queued_bytes = 0
        self._set_unsent(0)
        for slot in slots:
            match slot.later:
                case None:
                    pass
                case Later() as later:
                    later.abandon()
                case task:
                    task.cancel()
        self._transport = None
        self._view = memoryview(b"")
        self._buffer = bytearray()
        self._owner.on_close(self)

    # What its owner calls.

    def __repr__(self) -> str:
        return f"client {self._client_address} on {self._listener}"

    @property
    def idle(self) -> bool:
        """Whether it waits for the client alone: for a request, or for the client to take its responses."""
        return self._writing_paused or not self._slots

    def shrink(self) -> None:
        """Give back a buffer that long frames have grown, if there were none since the last call."""
        if not self._long_frames and self._end == 0 and len(self._buffer) > RECEIVE_SIZE:
            self._replace_buffer(RECEIVE_SIZE)
        self._long_frames = False

    def finish(self) -> None:
        """Take no more requests, and close when those in flight are answered."""
        if not self._closing:
            self._closing = True
            self._pause_reading()
            self._close_when_empty()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # Receiving.

    @property
    def _blocked(self) -> bool:
        """Whether no request may be taken up now."""
        return (
            self._closing
            or self._writing_paused
            or self._queued_bytes > self._limits.queued_bytes
            or len(self._slots) >= REQUESTS_IN_FLIGHT_MAX
        )

    def _serve(self) -> None:
        """Take up what was received and send what is ready, until neither goes on."""
        more = True
        while more and not self._blocked:
            more = self._take_requests()
            self._send_ready()
        if self._blocked:
            self._pause_reading()
        else:
            self._resume_reading()

    def _take_requests(self) -> bool:
        """Dispatch whole frames; returns whether it stopped at a limit and not for want of bytes."""
        position, end, view = 0, self._end, self._view
        size_max = self._limits.request_bytes
        need = 0
        try:
            while not self._blocked:
                frame = find_frame(view, position, end, size_max)
                if isinstance(frame, NeedMore):
                    need = frame.size_bytes
                    break
                position = frame.end
                self._dispatch(view[frame.start : frame.end])
        except (FrameError, DecodeError, CloseConnection) as error:
            self._refuse(str(error))
        except Exception:
            log.exception("%r: a request failed in a way that nobody foresaw", self)
            self._refuse("a request failed")
        if self._closing:
            self._end = 0
            return False
        self._keep(position, need)
        return need == 0

    def _keep(self, position: int, need: int) -> None:
        """Move what follows `position` to the front, and make room for the frame of `need` bytes that begins there."""
        view = self._view
        rest = self._end - position
        if position and rest:
            view[:rest] = view[position : self._end]
        self._end = rest
        if need <= RECEIVE_SIZE:
            self._receive_limit = max(RECEIVE_SIZE, rest)
            return
        self._long_frames = True
        size = len(self._buffer)
        if rest == size:
            size = min(need, size * _RECEIVE_GROWTH)
            self._replace_buffer(size)
        self._receive_limit = min(need, size)

    def _replace_buffer(self, size: int) -> None:
        """A new buffer, because a view may still hold the old one. Keeps what was received."""
        buffer = bytearray(size)
        buffer[: self._end] = self._view[: self._end]
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._receive_limit = min(self._receive_limit, size)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    # Dispatching.

    def _dispatch(self, frame: memoryview) -> None:
        api_key, version, correlation_id, client_id, body_offset = decode_request_header(frame)
        route = self._table.get(api_key)
        if route is None or version not in route.versions:
            if route is None or route.unsupported is None:
                raise CloseConnection(f"{api_name(api_key)} version {version} is not served")
            self._fill(self._append_slot(correlation_id, version, len(frame)), route.unsupported)
            return
        request, end = read_message(route.request, version, frame, body_offset)
        # Bytes behind a request are let pass, as Kafka does: librdkafka's question about all topics has three of them.
        if end > len(frame):
            raise DecodeError(route.api.name, "", len(frame), "truncated")
        context = self._context
        if context is None or context.api_version != version or context.client_id != client_id:
            context = self._context = RequestContext(version, client_id, self._listener, self._client_address)
        answer = route.handle(request, context)
        if answer is None:
            return
        slot = self._append_slot(correlation_id, version, len(frame))
        if isinstance(answer, Later):
            slot.later = answer
            answer.deliver_to(slot.deliver)
        elif isinstance(answer, Coroutine):
            slot.later = self._spawner.spawn(self._await_answer(slot, answer), f"{route.api.name} of {self!r}")
        else:
            self._fill(slot, answer)

    async def _await_answer(self, slot: _Slot, answer: Coroutine[Any, Any, Response | Encoded]) -> None:
        try:
            response = await answer
        except Exception:
            log.exception("%r: a request failed in a way that nobody foresaw", self)
            self._refuse("a request failed")
            return
        slot.deliver(response)

    def _append_slot(self, correlation_id: int, version: int, size: int) -> _Slot:
        slot = _Slot(self, correlation_id, version, size)
        self._slots.append(slot)
        self._queued_bytes += size
        return slot

    def _fill(self, slot: _Slot, response: Response | Encoded) -> None:
        assert slot.buffers is None, "a request is answered once"
        if isinstance(response, Encoded):
            body = response.body
            slot.buffers = [_PREFIX.pack(len(body) + _CORRELATION_ID_SIZE, slot.correlation_id) + body]
        else:
            slot.buffers = encode_response(response, slot.version, slot.correlation_id)
        buffers = slot.buffers
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        slot.size += size
        self._queued_bytes += size

    def _refuse(self, reason: str) -> None:
        """Close because of what the client sent. Responses that are ready still leave."""
        if not self._closing:
            self._closing = True
            self._owner.complain(f"{self!r}: connection closed: {reason}")
            self._send_ready()
            if self._transport is not None:
                self._transport.close()

    # Answering.

    def on_response(self, slot: _Slot, response: Response | Encoded) -> None:
        """A slot's response has come. Those that come during one turn of the event loop leave together.

        Whoever brings it is in the middle of something else, so encoding waits as well.
        """
        if self._transport is None:
            return
        self._delivered.append((slot, response))
        if len(self._delivered) == 1:
            assert self._loop is not None
            self._loop.call_soon(self._on_send_due)

    def _on_send_due(self) -> None:
        delivered, self._delivered = self._delivered, []
        try:
            for slot, response in delivered:
                self._fill(slot, response)
        except EncodeError:
            log.exception("%r: a response cannot be encoded", self)
            self._refuse("a request failed")
            return
        self._send_ready()
        if self._reading_paused and not self._blocked:
            self._serve()

    def _send_ready(self) -> None:
        """Hand the responses at the head of the line to the transport, as far as it wants them."""
        slots, transport = self._slots, self._transport
        while slots and slots[0].buffers is not None and not self._writing_paused and transport is not None:
            batch: list[Buffer] = []
            size = 0
            while slots and size < _WRITE_STEP and (buffers := slots[0].buffers) is not None:
                slot = slots.popleft()
                self._queued_bytes -= slot.size
                size += sum(map(len, buffers))
                batch += buffers
            if len(batch) == 1:
                transport.write(batch[0])
            elif size <= _JOINED_SIZE_MAX:
                transport.write(b"".join(batch))
            else:
                transport.writelines(batch)
        if self._closing:
            self._close_when_empty()

    def _set_unsent(self, size: int) -> None:
        self._owner.on_unsent(size - self._unsent_bytes)
        self._unsent_bytes = size

    def _close_when_empty(self) -> None:
        if self._closing and not self._slots and self._transport is not None and not self._transport.is_closing():
            self._transport.close()


def _address(peer: object) -> str:
    """host:port of a peer's socket address."""
    match peer:
        case (str() as host, int() as port, *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return "of unknown address"
