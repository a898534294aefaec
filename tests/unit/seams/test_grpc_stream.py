"""What gRPC raises when the other side is gone is the end of the stream, whichever of its errors it is."""

import asyncio

import grpc.aio
import pytest

from cluster.net.grpc_net import GrpcStream
from cluster.seams import StreamBroken


@pytest.mark.parametrize(
    "error", [grpc.aio.InternalError("write"), grpc.aio.UsageError("done"), grpc.RpcError("reset")]
)
def test_a_library_error_breaks_the_stream(error: Exception) -> None:
    """On the serving side a peer that dies during a write shows as an internal error of the library."""
    ended = []

    async def fail(*_: object) -> None:
        raise error

    async def scenario() -> None:
        stream = GrpcStream(fail, fail, lambda: ended.append(True))
        with pytest.raises(StreamBroken):
            await stream.send(b"x")
        with pytest.raises(StreamBroken):
            await stream.recv()

    asyncio.run(scenario())
    assert ended == [True], "the call is ended once"
