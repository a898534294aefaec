"""A client connection without a socket: a transport that remembers, and handlers that answer when a test says so."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, cast

from broker.api.answers import Answer, CloseConnection, Later, RequestContext
from broker.api.api_versions import ApiVersionsApi
from broker.api.registry import ApiTable, serves
from broker.connection import ClientConnection, ConnectionLimits, ConnectionOwner
from cluster.seams import Buffer
from cluster.wire.codec import records_view
from cluster.wire.fetch import FETCH, FetchableTopicResponse, FetchRequest, FetchResponse, PartitionData
from cluster.wire.groups import (
    HEARTBEAT,
    LIST_GROUPS,
    SYNC_GROUP,
    HeartbeatRequest,
    HeartbeatResponse,
    ListGroupsRequest,
    ListGroupsResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from cluster.wire.headers import decode_correlation_id, encode_request
from cluster.wire.produce import PRODUCE, PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from cluster.wire.schema import Request
from tests.unit.api.rig import LoopSpawner, StillClock

P = ParamSpec("P")

LIMITS = ConnectionLimits(request_bytes=1 << 20, queued_bytes=1 << 16)


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Transport:
    """What a connection is given: remembers what was written, one item for each call."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.closed = False
        self.aborted = False
        self.protocol: ClientConnection | None = None
        #: Bytes from which it asks for a pause of writing.
        self.room = 1 << 30

    def get_extra_info(self, name: str) -> object:
        return ("10.0.0.9", 50_000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert 0 < low < high

    def write(self, data: Buffer) -> None:
        assert not self.closed
        self.written.append(bytes(data))
        self.room -= len(data)
        if self.room <= 0:
            assert self.protocol is not None
            self.protocol.pause_writing()

    def writelines(self, buffers: Sequence[Buffer]) -> None:
        self.write(b"".join(buffers))

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return len(self.written[-1]) if self.written else 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Owner:
    def __init__(self) -> None:
        self.open: list[ClientConnection] = []
        self.complaints: list[str] = []
        self.full = False
        self.unsent_bytes = 0

    def on_open(self, connection: ClientConnection) -> bool:
        self.open.append(connection)
        return not self.full

    def on_close(self, connection: ClientConnection) -> None:
        self.open.remove(connection)

    def on_unsent(self, change: int) -> None:
        self.unsent_bytes += change

    def complain(self, text: str) -> None:
        self.complaints.append(text)


class Held(Later[SyncGroupResponse]):
    """A SyncGroup that waits for the test."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.abandoned = False

    def finish(self) -> None:
        self.complete(SyncGroupResponse(assignment=self.name.encode()))

    def abandon(self) -> None:
        self.abandoned = True


class Handlers:
    """One API for each kind of answer."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.contexts: list[RequestContext] = []
        self.held: list[Held] = []
        self.payloads: list[bytes] = []
        self.payload_owners: list[object] = []
        self.gate = asyncio.Event()
        self.fetched: bytes = b""

    @serves(HEARTBEAT, "0-4")
    def at_once(self, request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        self.seen.append(request.group_id)
        self.contexts.append(context)
        if request.group_id == "surprise":
            raise RuntimeError("nobody foresaw this")
        if request.group_id == "unspeakable":
            return HeartbeatResponse(error_code=1 << 20)
        return HeartbeatResponse()

    @serves(SYNC_GROUP, "0-5")
    def later(self, request: SyncGroupRequest, context: RequestContext) -> Answer[SyncGroupResponse]:
        self.seen.append(request.group_id)
        self.held.append(Held(request.group_id))
        return self.held[-1]

    @serves(LIST_GROUPS, "0-5")
    async def in_a_task(self, request: ListGroupsRequest, context: RequestContext) -> ListGroupsResponse:
        self.seen.append("list")
        await self.gate.wait()
        return ListGroupsResponse()

    @serves(FETCH, "4-16")
    def large(self, request: FetchRequest, context: RequestContext) -> FetchResponse:
        self.seen.append("fetch")
        return FetchResponse(
            responses=[FetchableTopicResponse(topic="t", partitions=[PartitionData(records=[self.fetched])])]
        )

    @serves(PRODUCE, "3-11", advertised_from=0)
    def silent(self, request: ProduceRequest, context: RequestContext) -> Answer[ProduceResponse]:
        self.seen.append("produce")
        for topic in request.topic_data:
            if topic.name == "broken":
                raise CloseConnection("acks=0 failed")
            for data in topic.partition_data:
                view = records_view(data.records)
                assert view is not None
                self.payloads.append(bytes(view))
                self.payload_owners.append(view.obj)
        return None if request.acks == 0 else ProduceResponse()


class Client:
    """The other end: sends requests, and reads which responses came."""

    def __init__(self, limits: ConnectionLimits = LIMITS, *, full: bool = False) -> None:
        self.transport = Transport()
        self.owner = Owner()
        self.owner.full = full
        self.clock = StillClock()
        self.spawner = LoopSpawner()
        self.handlers = Handlers()
        table = ApiTable([self.handlers])
        table = ApiTable([self.handlers, ApiVersionsApi(table.advertised)])
        self.connection = ClientConnection(
            listener="PLAINTEXT",
            table=table,
            limits=limits,
            owner=cast(ConnectionOwner, self.owner),
            clock=self.clock,
            spawner=self.spawner,
        )
        self.transport.protocol = self.connection
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def send(self, data: bytes) -> None:
        """Let the connection receive `data`, in as many pieces as it has room for; what it does not read waits."""
        while data and self.transport.reading and not self.transport.closed:
            room = self.connection.get_buffer(-1)
            size = min(len(room), len(data))
            assert size > 0, "a connection that reads has room"
            room[:size] = data[:size]
            self.connection.buffer_updated(size)
            data = data[size:]
        self.unread = data

    def lose(self) -> None:
        """The client is gone."""
        self.connection.connection_lost(None)

    @property
    def received(self) -> bytes:
        return b"".join(self.transport.written)

    @property
    def answered(self) -> list[int]:
        """Correlation ids of the responses, in order."""
        return [decode_correlation_id(frame) for frame in frames(self.received)]


def frames(data: bytes) -> list[bytes]:
    """The frames that `data` consists of."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        assert len(data) >= 4 + size, "a response left in part"
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def sent(request: Request[Any], version: int, correlation_id: int, client_id: str | None = "c") -> bytes:
    return b"".join(encode_request(request, version, correlation_id, client_id))


def heartbeat(correlation_id: int, name: str = "g", version: int = 4) -> bytes:
    return sent(HeartbeatRequest(group_id=name), version, correlation_id)


def sync_group(correlation_id: int, name: str = "g") -> bytes:
    return sent(SyncGroupRequest(group_id=name), 5, correlation_id)


def list_groups(correlation_id: int) -> bytes:
    return sent(ListGroupsRequest(), 4, correlation_id)


def fetch(correlation_id: int) -> bytes:
    return sent(FetchRequest(), 12, correlation_id)


def produce(correlation_id: int, payload: bytes = b"x", *, acks: int = 1, topic: str = "t") -> bytes:
    data = PartitionProduceData(records=payload)
    return sent(
        ProduceRequest(acks=acks, topic_data=[TopicProduceData(name=topic, partition_data=[data])]), 9, correlation_id
    )
