"""One connection to one broker: requests out, responses in, matched and in order.

Owns a TCP connection, the versions that its broker speaks, and every request that waits for an answer on it. Requests
are pipelined: any number may be under way up to a limit, and they reach the broker in the order of `start`. A
connection fails as a whole: when it is lost, when an answer is late, too large or not an answer, everything under way
fails and the connection is closed for good. Never retries and never knows a topic.

Source: the protocol guide; KIP-35 and KIP-511 (ApiVersions).
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from client import VERSION
from client.errors import ClientError, disconnected, timed_out
from cluster.errors import ErrorCode
from cluster.ids import Endpoint
from cluster.seams import Clock, Timer
from cluster.wire.api_versions import API_VERSIONS, ApiVersionsRequest, ApiVersionsResponse
from cluster.wire.frames import FrameError, NeedMore, find_frame
from cluster.wire.headers import decode_correlation_id, decode_response, encode_request
from cluster.wire.primitives import DecodeError
from cluster.wire.schema import Api, Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)

#: Requests that may wait for an answer on one connection.
IN_FLIGHT_MAX: Final = 1000
#: Answers up to this size share a buffer and are copied out of it; a larger one is received in its own place.
_SHARED_BUFFER_SIZE: Final = 64 * 1024
#: Bytes that may wait for the network before `is_writable` turns false.
_WRITE_BUFFER_SIZE: Final = 1024 * 1024
_ERROR_CODE_AT: Final = 4
_CORRELATION_ID_MASK: Final = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How to open a connection. `frame_size_max` is inclusive."""

    client_id: str
    connect_timeout_ms: int
    request_timeout_ms: int
    frame_size_max: int


@dataclass(slots=True, kw_only=True)
class _InFlight:
    correlation_id: int
    #: For people: "Fetch v16".
    label: str
    decode: Callable[[memoryview], Response]
    future: "asyncio.Future[Any]"
    timer: Timer


class _FrameReceiver(asyncio.BufferedProtocol):
    """Cuts what arrives into frames, each in memory of its own, so that records can be views of it."""

    def __init__(
        self,
        frame_size_max: int,
        on_connected: Callable[[asyncio.Transport], None],
        on_frame: Callable[[memoryview], None],
        on_lost: Callable[[str], None],
        on_writable: Callable[[bool], None],
    ) -> None:
        self._frame_size_max = frame_size_max
        self._on_writable = on_writable
        self._on_connected = on_connected
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._shared = bytearray(_SHARED_BUFFER_SIZE)
        #: Where the next bytes go: the shared buffer, or one made for a single large frame. Filled up to `_end`.
        self._buffer = self._shared
        self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._on_connected(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        try:
            self._cut()
        except FrameError as error:
            self._on_lost(f"what arrived is not an answer: {error}")

    def pause_writing(self) -> None:
        self._on_writable(False)

    def resume_writing(self) -> None:
        self._on_writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(f"the connection was lost: {exc}" if exc else "the broker closed the connection")

    def _cut(self) -> None:
        buffer, start, end = self._buffer, 0, self._end
        while True:
            found = find_frame(buffer, start, end, self._frame_size_max)
            if isinstance(found, NeedMore):
                break
            if buffer is self._shared:
                self._on_frame(memoryview(bytes(memoryview(buffer)[found.start : found.end])))
            else:
                self._on_frame(memoryview(buffer)[found.start : found.end])
            start = found.end
        if start == 0 and found.size_bytes <= len(buffer):
            return
        # The rest moves to the front of the buffer that the next frame fits into.
        self._buffer = bytearray(found.size_bytes) if found.size_bytes > len(self._shared) else self._shared
        self._buffer[: end - start] = memoryview(buffer)[start:end]
        self._end = end - start


class Connection:
    """Made by `open`; used by one event loop. `endpoint` is the address that was dialled."""

    def __init__(self, endpoint: Endpoint, settings: ConnectionSettings, clock: Clock) -> None:
        self.endpoint = endpoint
        self._subject = f"broker {endpoint}"
        self._settings = settings
        self._clock = clock
        self._versions: dict[int, range] = {}
        self._in_flight: deque[_InFlight] = deque()
        self._next_correlation_id = 0
        self._transport: asyncio.Transport | None = None
        self._failure: ClientError | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, endpoint: Endpoint, settings: ConnectionSettings, clock: Clock) -> "Connection":
        """Connect and learn the versions that the broker speaks.

        Raises ClientError(NETWORK_EXCEPTION) when the broker cannot be reached, is none, or is silent: whatever was to
        be asked was not, so that it may be asked elsewhere.
        """
        connection = cls(endpoint, settings, clock)
        try:
            async with asyncio.timeout(settings.connect_timeout_ms / 1000):
                await connection._connect()
                await connection._negotiate()
        except TimeoutError:
            connection.abort("it took too long to connect")
            reason = f"it did not connect and introduce itself within {settings.connect_timeout_ms} ms"
            raise disconnected(connection._subject, reason) from None
        except BaseException:
            connection.abort("it never came to be")
            raise
        return connection

    @property
    def is_open(self) -> bool:
        return self._failure is None

    @property
    def is_writable(self) -> bool:
        """Whether what was sent has left, but for a megabyte at most."""
        return self._writable.is_set()

    async def drained(self) -> None:
        """Wait until `is_writable`, or until the connection is closed."""
        await self._writable.wait()

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._in_flight)

    def version_for(self, api: Api, version_max: int | None = None) -> int:
        """The highest version that both sides know, `version_max` at most.

        Raises ClientError(UNSUPPORTED_VERSION) when there is none.
        """
        offered = self._versions.get(api.key, range(0))
        high = min(api.versions.stop, offered.stop) - 1
        if version_max is not None:
            high = min(high, version_max)
        if high < max(api.versions.start, offered.start):
            theirs = f"{offered.start} to {offered.stop - 1}" if offered else "none"
            raise ClientError(
                ErrorCode.UNSUPPORTED_VERSION,
                f"no common version of {api.name}: the broker offers {theirs}",
                subject=self._subject,
                advice="use a broker that offers it",
            )
        return high

    def start(
        self, request: Request[ResponseT], *, timeout_ms: int | None = None, version_max: int | None = None
    ) -> "asyncio.Future[ResponseT]":
        """Send `request` now and return its answer to come; requests arrive in the order of the calls.

        The answer fails with ClientError: NETWORK_EXCEPTION, REQUEST_TIMED_OUT after `timeout_ms` (by default
        request.timeout.ms), or CORRUPT_MESSAGE. Raises ClientError at once when the connection is closed or the broker
        does not know the API. Cancelling the answer leaves the connection intact.
        """
        version = self.version_for(request.api, version_max)
        response_type: type[ResponseT] = request.api.response  # type: ignore[assignment]
        return self._start(request, version, timeout_ms, lambda frame: decode_response(response_type, version, frame))

    async def call(
        self, request: Request[ResponseT], *, timeout_ms: int | None = None, version_max: int | None = None
    ) -> ResponseT:
        """`start`, and wait for the answer. Raises ClientError."""
        return await self.start(request, timeout_ms=timeout_ms, version_max=version_max)

    def tell(self, request: Request[Any], *, version_max: int | None = None) -> None:
        """Send a request that brokers do not answer (acks=0). Raises ClientError when the connection is closed."""
        version = self.version_for(request.api, version_max)
        self._write(request, version)

    def abort(self, reason: str = "this client closed the connection") -> None:
        """Close; what is under way fails with `reason`. Idempotent."""
        self._fail(reason)

    def _start(
        self,
        request: Request[Any],
        version: int,
        timeout_ms: int | None,
        decode: Callable[[memoryview], Response],
    ) -> "asyncio.Future[Any]":
        if len(self._in_flight) >= IN_FLIGHT_MAX:
            raise disconnected(self._subject, f"{IN_FLIGHT_MAX} requests wait for an answer already")
        correlation_id = self._write(request, version)
        wait_ms = self._settings.request_timeout_ms if timeout_ms is None else timeout_ms
        label = f"{request.api.name} v{version}"
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._in_flight.append(
            _InFlight(
                correlation_id=correlation_id,
                label=label,
                decode=decode,
                future=future,
                timer=self._clock.call_later_ms(wait_ms, lambda: self._on_timeout(future, label, wait_ms)),
            )
        )
        return future

    def _write(self, request: Request[Any], version: int) -> int:
        if self._failure is not None:
            raise self._failure
        assert self._transport is not None
        correlation_id = self._next_correlation_id
        buffers = encode_request(request, version, correlation_id, self._settings.client_id)
        self._next_correlation_id = (correlation_id + 1) & _CORRELATION_ID_MASK
        self._transport.writelines(buffers)
        return correlation_id

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(self._receiver, self.endpoint.host, self.endpoint.port)
        except OSError as error:
            raise disconnected(self._subject, f"it cannot be reached: {_os_reason(error)}") from error

    def _receiver(self) -> _FrameReceiver:
        return _FrameReceiver(
            self._settings.frame_size_max, self._on_connected, self._on_frame, self._fail, self._on_writable
        )

    def _on_connected(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_SIZE)
        if self._failure is not None:
            transport.abort()

    def _on_writable(self, is_writable: bool) -> None:
        if is_writable:
            self._writable.set()
        else:
            self._writable.clear()

    async def _negotiate(self) -> None:
        """Ask for the broker's versions. One that does not know our version of the question says so in version 0."""
        version = API_VERSIONS.versions.stop - 1
        while True:
            response = await self._ask_versions(version)
            if response.error_code == ErrorCode.NONE:
                break
            offered = [key.max_version for key in response.api_keys if key.api_key == API_VERSIONS.key]
            lower = min(offered[0] if offered else 0, version - 1)
            if response.error_code != ErrorCode.UNSUPPORTED_VERSION or lower < 0:
                raise disconnected(self._subject, f"it refused to tell its versions (error {response.error_code})")
            version = lower
        self._versions = {key.api_key: range(key.min_version, key.max_version + 1) for key in response.api_keys}

    async def _ask_versions(self, version: int) -> ApiVersionsResponse:
        def decode(frame: memoryview) -> ApiVersionsResponse:
            error = int.from_bytes(frame[_ERROR_CODE_AT : _ERROR_CODE_AT + 2], "big", signed=True)
            return decode_response(ApiVersionsResponse, 0 if error == ErrorCode.UNSUPPORTED_VERSION else version, frame)

        request = ApiVersionsRequest(client_software_name="blumfeld-python", client_software_version=VERSION)
        answer: ApiVersionsResponse = await self._start(request, version, None, decode)
        return answer

    def _on_frame(self, frame: memoryview) -> None:
        if self._failure is not None:
            return
        if not self._in_flight:
            self._fail("it answered a question that nobody asked")
            return
        waiting = self._in_flight.popleft()
        waiting.timer.cancel()
        try:
            correlation_id = decode_correlation_id(frame)
            if correlation_id != waiting.correlation_id:
                raise DecodeError(
                    waiting.label, "correlation_id", 0, f"is {correlation_id}, due is {waiting.correlation_id}"
                )
            if waiting.future.done():
                return
            waiting.future.set_result(waiting.decode(frame))
        except DecodeError as error:
            _set_exception(
                waiting.future,
                ClientError(ErrorCode.CORRUPT_MESSAGE, f"its answer cannot be read: {error}", subject=self._subject),
            )
            self._fail(f"an answer could not be read: {error}")

    def _on_timeout(self, future: "asyncio.Future[Any]", label: str, timeout_ms: int) -> None:
        # Answers come in order, so that what was sent behind this request is late as well.
        _set_exception(future, timed_out(self._subject, f"no answer to {label} within {timeout_ms} ms"))
        self._fail(f"an earlier request on the same connection, {label}, got no answer within {timeout_ms} ms")

    def _fail(self, reason: str) -> None:
        if self._failure is not None:
            return
        self._failure = disconnected(self._subject, reason)
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()
        while self._in_flight:
            waiting = self._in_flight.popleft()
            waiting.timer.cancel()
            _set_exception(waiting.future, disconnected(self._subject, f"{reason}; {waiting.label} has no answer"))


def _set_exception(future: "asyncio.Future[Any]", error: ClientError) -> None:
    if not future.done():
        future.set_exception(error)
        # Whoever started a request may have been cancelled meanwhile; then nobody is left to hear of its failure.
        future.exception()


def _os_reason(error: OSError) -> str:
    """The operating system's words, without the address, which is said already."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
