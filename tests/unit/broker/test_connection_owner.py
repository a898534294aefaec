"""The connections of a broker together: their number, idle ones, the log lines about them, and real sockets."""

import asyncio
import logging

import pytest

from broker.api.api_versions import ApiVersionsApi
from broker.api.registry import ApiTable
from broker.connection import ClientConnection, ConnectionLimits
from broker.listener import COMPLAINT_SPAN_MS, COMPLAINTS_MAX, ClientListener, Connections, ListenerLimits
from cluster.config.node import BoundListener
from cluster.host.clock import SystemClock
from cluster.ids import Endpoint
from cluster.metadata.records import Listener
from cluster.seams import Clock
from tests.unit.api.rig import LoopSpawner, StillClock
from tests.unit.broker.wire_rig import Handlers, Transport, heartbeat, on_loop, sync_group

LIMITS = ConnectionLimits(request_bytes=1 << 20, queued_bytes=1 << 20)


def connections(clock: Clock, *, most: int = 100, idle_ms: int = 1000) -> Connections:
    return Connections(limits=ListenerLimits(connection=LIMITS, max_connections=most, max_idle_ms=idle_ms), clock=clock)


class Opened:
    """One more connection of `owner`."""

    def __init__(self, owner: Connections, clock: Clock, handlers: Handlers | None = None) -> None:
        self.transport = Transport()
        self.handlers = handlers or Handlers()
        self.connection = ClientConnection(
            listener="PLAINTEXT",
            table=ApiTable([self.handlers]),
            limits=LIMITS,
            owner=owner,
            clock=clock,
            spawner=LoopSpawner(),
        )
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))


@on_loop
async def test_one_connection_too_many_is_turned_away_and_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    clock = StillClock()
    owner = connections(clock, most=2)
    first, second = Opened(owner, clock), Opened(owner, clock)
    with caplog.at_level(logging.WARNING):
        third = Opened(owner, clock)
    assert third.transport.aborted
    assert not first.transport.closed
    assert len(owner) == 2
    assert "turned away" in caplog.text
    third.connection.connection_lost(None)
    second.connection.connection_lost(None)
    assert not Opened(owner, clock).transport.closed


@on_loop
async def test_idle_connections_are_closed_and_waiting_ones_are_not() -> None:
    """connections.max.idle.ms counts only while the client has nothing to wait for."""
    clock = StillClock()
    owner = connections(clock, idle_ms=1000)
    owner.start()
    idle, waiting, busy = Opened(owner, clock), Opened(owner, clock), Opened(owner, clock)
    waiting.send(sync_group(1))
    for _ in range(8):
        clock.advance(250)
        busy.send(heartbeat(1))
    assert idle.transport.aborted
    assert not waiting.transport.closed
    assert not busy.transport.closed


@on_loop
async def test_a_client_that_never_takes_its_responses_is_closed() -> None:
    clock = StillClock()
    owner = connections(clock, idle_ms=1000)
    owner.start()
    stuck = Opened(owner, clock)
    stuck.send(sync_group(1))
    stuck.connection.pause_writing()
    for _ in range(8):
        clock.advance(250)
    assert stuck.transport.aborted


@on_loop
async def test_complaints_are_few_short_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = StillClock()
    owner = connections(clock)
    with caplog.at_level(logging.WARNING):
        for number in range(COMPLAINTS_MAX + 5):
            owner.complain(f"line {number} " + "x" * 1000)
        assert len(caplog.records) == COMPLAINTS_MAX
        assert all(len(record.getMessage()) < 500 for record in caplog.records)
        clock.advance(COMPLAINT_SPAN_MS + 1)
        owner.complain("later")
    assert "5 lines like this were left out" in caplog.records[-1].getMessage()


@on_loop
async def test_what_a_client_sent_cannot_forge_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    owner = connections(StillClock())
    with caplog.at_level(logging.WARNING):
        owner.complain("topic a\n[ERROR] root \x1b[31m")
    assert caplog.records[0].getMessage() == "topic a?[ERROR] root ?[31m"


@on_loop
async def test_stopping_waits_for_answers_until_its_grace_is_over() -> None:
    clock = StillClock()
    owner = connections(clock)
    owner.start()
    idle, waiting = Opened(owner, clock), Opened(owner, clock)
    waiting.send(sync_group(1))
    stopping = asyncio.ensure_future(owner.stop(100))
    await asyncio.sleep(0)
    assert idle.transport.closed
    waited = waiting.transport.closed
    await stopping
    assert not waited
    assert waiting.transport.aborted
    assert clock.pending == 0


@on_loop
async def test_a_listener_serves_real_sockets() -> None:
    clock = SystemClock()
    owner = connections(clock)
    handlers = Handlers()
    served = ApiTable([handlers])
    table = ApiTable([handlers, ApiVersionsApi(served.advertised)])
    listener = ClientListener(
        listener=BoundListener(
            bind=Endpoint("127.0.0.1", 0), advertised=Listener(name="PLAINTEXT", host="127.0.0.1", port=0)
        ),
        table=lambda: table,
        connections=owner,
        limits=LIMITS,
        clock=clock,
        spawner=LoopSpawner(),
    )
    bound = await listener.bind()
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", bound.port)
    for number in range(3):
        writer.write(heartbeat(number))
        size = int.from_bytes(await reader.readexactly(4), "big")
        assert (await reader.readexactly(size))[:4] == number.to_bytes(4, "big")
    assert len(owner) == 1
    await listener.stop()
    await owner.stop(1000)
    assert await reader.read() == b""
    writer.close()
    assert len(owner) == 0
