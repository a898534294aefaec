"""The contract of the Net seam. Every adapter must pass it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster.ids import Endpoint
from cluster.net.grpc_net import GrpcNet
from cluster.seams import Net, Stream, StreamBroken, Unavailable
from tests.sim.loop import SimLoop
from tests.sim.net import SimNet
from tests.sim.wire import Network

ANY_PORT = Endpoint("127.0.0.1", 0)

Scenario = Callable[[Net, Net], Awaitable[None]]
Run = Callable[[Scenario], None]


async def _converse(scenario: Scenario, server: Net, client: Net) -> None:
    try:
        await asyncio.wait_for(scenario(server, client), 10)
    finally:
        await client.stop()
        await server.stop()


def _run_over_grpc(scenario: Scenario) -> None:
    async def main() -> None:
        await _converse(scenario, GrpcNet("broker-1"), GrpcNet("broker-2"))

    asyncio.run(main())


def _run_simulated(scenario: Scenario) -> None:
    loop = SimLoop()
    network = Network(loop, seed=1)
    server, client = (
        SimNet(name, loop, network, loop.new_process(name, ANY_PORT.host)) for name in ("broker-1", "broker-2")
    )
    loop.run_until_complete(_converse(scenario, server, client))
    loop.dispose()


@pytest.fixture(params=[_run_over_grpc, _run_simulated], ids=["grpc", "simulated"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario with (server, client); it starts the server itself, after registering handlers."""
    chosen: Run = request.param
    return chosen


def test_a_call_is_answered_and_the_handler_hears_who_asks(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        async def echo(peer: str, request: bytes) -> bytes:
            return peer.encode() + b":" + request

        server.serve_call("t.T/Echo", echo)
        endpoint = await server.start(ANY_PORT)
        assert await client.call(endpoint, "t.T/Echo", b"hello", 1000) == b"broker-2:hello"

    run(scenario)


def test_a_call_that_fails_in_any_way_is_unavailable(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        async def broken(peer: str, request: bytes) -> bytes:
            raise ValueError("inside")

        async def stuck(peer: str, request: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        server.serve_call("t.T/Broken", broken)
        server.serve_call("t.T/Stuck", stuck)
        endpoint = await server.start(ANY_PORT)
        for method, peer in (
            ("t.T/Broken", endpoint),
            ("t.T/Stuck", endpoint),
            ("t.T/Absent", endpoint),
            ("t.T/Broken", Endpoint("127.0.0.1", 1)),
        ):
            with pytest.raises(Unavailable):
                await client.call(peer, method, b"", 100)

    run(scenario)


def test_a_stream_carries_messages_both_ways_in_order(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        async def double(peer: str, stream: Stream) -> None:
            while True:
                await stream.send(2 * await stream.recv())

        server.serve_stream("t.T/Double", double)
        stream = await client.open(await server.start(ANY_PORT), "t.T/Double", 1000)
        for number in range(50):
            await stream.send(b"%d," % number)
        assert [await stream.recv() for _ in range(50)] == [b"%d,%d," % (n, n) for n in range(50)]
        stream.abort()

    run(scenario)


def test_abort_on_either_side_breaks_both(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        ended = asyncio.Queue[str]()

        async def listen(peer: str, stream: Stream) -> None:
            try:
                if await stream.recv() == b"end it":
                    stream.abort()
                await stream.recv()
            except StreamBroken:
                ended.put_nowait("broken")

        server.serve_stream("t.T/Listen", listen)
        endpoint = await server.start(ANY_PORT)
        by_server = await client.open(endpoint, "t.T/Listen", 1000)
        await by_server.send(b"end it")
        with pytest.raises(StreamBroken):
            await by_server.recv()
        assert await ended.get() == "broken"
        by_client = await client.open(endpoint, "t.T/Listen", 1000)
        await by_client.send(b"go on")
        waiting = asyncio.ensure_future(by_client.recv())
        await asyncio.sleep(0)
        by_client.abort()
        with pytest.raises(StreamBroken):
            await waiting
        with pytest.raises(StreamBroken):
            await by_client.send(b"too late")
        assert await ended.get() == "broken"

    run(scenario)


def test_a_stream_breaks_when_the_handler_returns_or_raises_or_the_server_stops(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        async def short(peer: str, stream: Stream) -> None:
            if await stream.recv() == b"raise":
                raise ValueError("inside")

        async def long(peer: str, stream: Stream) -> None:
            await stream.recv()

        server.serve_stream("t.T/Short", short)
        server.serve_stream("t.T/Long", long)
        endpoint = await server.start(ANY_PORT)
        for message in (b"return", b"raise"):
            stream = await client.open(endpoint, "t.T/Short", 1000)
            await stream.send(message)
            with pytest.raises(StreamBroken):
                await stream.recv()
        stream = await client.open(endpoint, "t.T/Long", 1000)
        await server.stop()
        with pytest.raises(StreamBroken):
            await stream.recv()
        with pytest.raises(Unavailable):
            await client.open(endpoint, "t.T/Long", 300)

    run(scenario)


def test_a_message_over_the_limit_is_refused_at_the_sender(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        async def echo(peer: str, request: bytes) -> bytes:
            return b"%d" % len(request)

        server.serve_call("t.T/Echo", echo)
        endpoint = await server.start(ANY_PORT)
        with pytest.raises(ValueError, match="longer than"):
            await client.call(endpoint, "t.T/Echo", bytes(client.max_message_bytes + 1), 1000)
        assert await client.call(endpoint, "t.T/Echo", bytes(8 * 2**20), 5000) == b"8388608"

    run(scenario)


def test_a_port_in_use_is_an_os_error(run: Run) -> None:
    async def scenario(server: Net, client: Net) -> None:
        endpoint = await server.start(ANY_PORT)
        with pytest.raises(OSError, match="cannot listen"):
            await client.start(endpoint)

    run(scenario)
