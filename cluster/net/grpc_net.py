"""The real network between nodes: the `Net` seam over gRPC, one HTTP/2 connection for each pair of processes.

Messages are opaque bytes on generic handlers: what they mean is the caller's business. Keepalive pings once a second
break the streams of a peer that fell silent within about two seconds; a peer that died breaks them at once.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from cluster.ids import Endpoint
from cluster.seams import CallHandler, StreamBroken, StreamHandler, Unavailable

#: Request metadata that carries the caller's name.
PEER_KEY = "blumfeld-peer"

_MAX_MESSAGE_BYTES = 64 * 2**20
#: How long a handler may go on after its stream broke.
_HANDLER_END_S = 5.0
_COMMON_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
    ("grpc.http2.max_frame_size", 2**20),
    ("grpc.http2.write_buffer_size", 4 * 2**20),
]
_SERVER_OPTIONS = [
    *_COMMON_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
]
_CHANNEL_OPTIONS = [
    *_COMMON_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.dns_min_time_between_resolutions_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


#: How gRPC says that a stream is over. BaseError is among them for a peer that dies while a message is being written:
#: on the side that serves, that is no RpcError but one of the library's own.
_BREAKS = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError, AttributeError)


class GrpcStream:
    """One side of a stream. `read` and `write` are gRPC's; `end` ends the RPC."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[bytes], Awaitable[None]],
        end: Callable[[], object],
    ) -> None:
        self._read = read
        self._write = write
        self._end = end
        self._broken = False
        #: The tasks inside `recv` and `send`, woken by `abort`.
        self._receiver: asyncio.Task[Any] | None = None
        self._sender: asyncio.Task[Any] | None = None

    async def send(self, message: bytes) -> None:
        if self._broken:
            raise StreamBroken("the stream is broken")
        self._sender = asyncio.current_task()
        try:
            await self._write(message)
        except asyncio.CancelledError:
            self._raise_if_aborted(self._sender)
            raise
        except _BREAKS as error:
            raise self._broke(error) from None
        finally:
            self._sender = None

    async def recv(self) -> bytes:
        if self._broken:
            raise StreamBroken("the stream is broken")
        self._receiver = asyncio.current_task()
        try:
            message = await self._read()
        except asyncio.CancelledError:
            self._raise_if_aborted(self._receiver)
            raise
        except _BREAKS as error:
            raise self._broke(error) from None
        finally:
            self._receiver = None
        if message is grpc.aio.EOF:
            raise self._broke("the other side ended it")
        assert isinstance(message, bytes), "handlers carry raw bytes"
        return message

    def abort(self) -> None:
        if not self._broken:
            self.break_off()
            self._end()

    def break_off(self) -> None:
        """Wake both sides with StreamBroken, for an RPC that has ended already."""
        self._broken = True
        for task in (self._receiver, self._sender):
            if task is not None:
                task.cancel()

    def _raise_if_aborted(self, task: "asyncio.Task[Any] | None") -> None:
        """Turn the cancellation by which `abort` wakes a task into StreamBroken; leave any other one alone."""
        if self._broken and task is not None and task.uncancel() == 0:
            raise StreamBroken("aborted") from None

    def _broke(self, reason: object) -> StreamBroken:
        if not self._broken:
            self._broken = True
            self._end()
        text = reason.details() if isinstance(reason, grpc.aio.AioRpcError) else reason
        return StreamBroken(str(text))


class GrpcNet:
    """The `Net` of one process, known to others as `name`."""

    max_message_bytes = _MAX_MESSAGE_BYTES

    def __init__(self, name: str) -> None:
        self._metadata = ((PEER_KEY, name),)
        self._calls: dict[str, CallHandler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._channels: dict[Endpoint, grpc.aio.Channel] = {}
        self._server: grpc.aio.Server | None = None

    async def call(self, peer: Endpoint, method: str, request: bytes, timeout_ms: int) -> bytes:
        self._check_size(request)
        try:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel(peer).unary_unary(f"/{method}")
            return await ask(request, timeout=timeout_ms / 1000, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{method} at {peer}: {error.details()}") from None

    async def open(self, peer: Endpoint, method: str, timeout_ms: int) -> GrpcStream:
        begin: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel(peer).stream_stream(f"/{method}")
        call = begin(metadata=self._metadata)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                greeting = await call.read()
        except TimeoutError:
            call.cancel()
            raise Unavailable(f"{method} at {peer}: no answer in {timeout_ms} ms") from None
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{method} at {peer}: {error.details()}") from None
        except asyncio.CancelledError:
            call.cancel()
            raise
        if greeting is grpc.aio.EOF:
            call.cancel()
            raise Unavailable(f"{method} at {peer}: refused")
        return GrpcStream(call.read, self._checked(call.write), call.cancel)

    def serve_call(self, method: str, handler: CallHandler) -> None:
        self._calls[f"/{method}"] = handler

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._streams[f"/{method}"] = handler

    async def start(self, listen: Endpoint) -> Endpoint:
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        server.add_generic_rpc_handlers((_Handlers(self._calls, self._streams, self._checked),))
        try:
            port = server.add_insecure_port(str(Endpoint(listen.host or "0.0.0.0", listen.port)))
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {listen} for other nodes: {error}") from None
        await server.start()
        self._server = server
        return Endpoint(listen.host, port)

    async def stop(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    def _channel(self, peer: Endpoint) -> grpc.aio.Channel:
        channel = self._channels.get(peer)
        if channel is None:
            channel = self._channels[peer] = grpc.aio.insecure_channel(str(peer), options=_CHANNEL_OPTIONS)
        return channel

    def _check_size(self, message: bytes) -> None:
        if len(message) > self.max_message_bytes:
            raise ValueError(f"a message of {len(message)} bytes is longer than {self.max_message_bytes}")

    def _checked(self, write: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        def checked(message: bytes) -> Awaitable[None]:
            self._check_size(message)
            return write(message)

        return checked


class _Handlers(grpc.GenericRpcHandler):
    """gRPC's way of asking who serves a method."""

    def __init__(
        self,
        calls: dict[str, CallHandler],
        streams: dict[str, StreamHandler],
        checked: Callable[[Callable[[bytes], Awaitable[None]]], Callable[[bytes], Awaitable[None]]],
    ) -> None:
        self._calls = calls
        self._streams = streams
        self._checked = checked

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        method = handler_call_details.method
        if method in self._calls:
            return grpc.unary_unary_rpc_method_handler(self._unary(self._calls[method]))
        if method in self._streams:
            return grpc.stream_stream_rpc_method_handler(self._bidirectional(self._streams[method]))
        return None

    def _unary(self, handler: CallHandler) -> Any:
        async def run(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return await handler(_peer(context), request)

        return run

    def _bidirectional(self, handler: StreamHandler) -> Any:
        async def run(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            rpc = asyncio.current_task()
            assert rpc is not None, "gRPC runs a handler as a task"
            stream = GrpcStream(context.read, self._checked(context.write), rpc.cancel)
            await context.write(b"")
            # A task of its own: gRPC cancels this one when the connection goes, but the handler is to see StreamBroken.
            inner = asyncio.ensure_future(handler(_peer(context), stream))
            try:
                await asyncio.shield(inner)
            except (asyncio.CancelledError, StreamBroken):
                pass
            finally:
                stream.break_off()
                _, stuck = await asyncio.wait([inner], timeout=_HANDLER_END_S)
                for task in stuck:
                    task.cancel()

        return run


def _peer(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    for key, value in context.invocation_metadata() or ():
        if key == PEER_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""
