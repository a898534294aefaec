"""Claims about one connection."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client.connection import Connection, ConnectionSettings
from client.errors import ClientError
from cluster.errors import ErrorCode
from cluster.host.clock import SystemClock
from cluster.ids import Endpoint
from cluster.wire.api_versions import API_VERSIONS
from cluster.wire.fetch import FETCH, FetchRequest
from cluster.wire.list_offsets import ListOffsetsResponse
from cluster.wire.metadata import METADATA, MetadataRequest, MetadataRequestTopic, MetadataResponse
from cluster.wire.produce import PRODUCE
from cluster.wire.schema import Api
from tests.unit.client_library.fake_cluster import FakeCluster, Mishap

SETTINGS = ConnectionSettings(
    client_id="test", connect_timeout_ms=5000, request_timeout_ms=5000, frame_size_max=1_000_000
)


def run(
    scenario: Callable[[FakeCluster, Connection], Awaitable[None]],
    *,
    versions: dict[Api, range] | None = None,
    settings: ConnectionSettings = SETTINGS,
) -> None:
    async def main() -> None:
        async with FakeCluster(versions=versions) as fake, asyncio.timeout(10):
            connection = await Connection.open(fake.brokers[1].endpoint, settings, SystemClock())
            try:
                await scenario(fake, connection)
            finally:
                connection.abort()

    asyncio.run(main())


def test_both_sides_use_the_highest_version_that_they_share() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        assert connection.version_for(METADATA) == 9
        assert connection.version_for(METADATA, version_max=7) == 7
        assert connection.version_for(FETCH) == FETCH.versions.stop - 1

    run(scenario, versions={METADATA: range(1, 10)})


@pytest.mark.parametrize("offered", [range(0), range(20, 25)])
def test_an_api_without_a_common_version_is_refused_by_name(offered: range) -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        with pytest.raises(ClientError, match="no common version of Produce") as raised:
            connection.version_for(PRODUCE)
        assert raised.value.code is ErrorCode.UNSUPPORTED_VERSION

    run(scenario, versions={PRODUCE: offered})


@pytest.mark.parametrize("highest", [0, 1, 2, 3])
def test_a_broker_that_knows_older_versions_of_api_versions_is_asked_again(highest: int) -> None:
    """KIP-511: the refusal comes in version 0 and names what is supported."""

    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        assert connection.version_for(METADATA) == METADATA.versions.stop - 1
        assert len(fake.asked(API_VERSIONS)) == 1

    run(scenario, versions={API_VERSIONS: range(highest + 1)})


def test_requests_are_pipelined_and_answered_each_for_itself() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        names = [f"topic-{number}" for number in range(20)]
        answers = [connection.start(MetadataRequest(topics=[MetadataRequestTopic(name=name)])) for name in names]
        assert connection.in_flight == 20
        assert [(await answer).topics[0].name for answer in answers] == names
        assert connection.in_flight == 0

    run(scenario)


def test_answers_larger_than_the_shared_buffer_arrive_whole_and_so_does_what_follows_them() -> None:
    def answer(broker: object, request: MetadataRequest) -> MetadataResponse:
        return MetadataResponse(cluster_id="x" * len(request.topics or ()) * 1000)

    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        sizes = [0, 30, 200, 1, 65, 64, 64, 0, 300, 10]
        fake.script(METADATA, *[answer] * len(sizes))
        answers = [connection.start(MetadataRequest(topics=[MetadataRequestTopic(name="t")] * size)) for size in sizes]
        assert [len((await answer).cluster_id or "") for answer in answers] == [size * 1000 for size in sizes]

    run(scenario)


def test_a_late_answer_ends_the_connection_and_everything_under_way_on_it() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        fake.script(METADATA, Mishap.SILENCE)
        late = connection.start(MetadataRequest(), timeout_ms=1)
        behind = connection.start(FetchRequest(max_wait_ms=5000))
        with pytest.raises(ClientError) as raised:
            await late
        assert raised.value.code is ErrorCode.REQUEST_TIMED_OUT
        with pytest.raises(ClientError, match="an earlier request on the same connection") as raised:
            await behind
        assert raised.value.code is ErrorCode.NETWORK_EXCEPTION
        assert not connection.is_open
        with pytest.raises(ClientError):
            connection.start(MetadataRequest())

    run(scenario)


def test_a_closed_connection_fails_every_request_under_way_by_name() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        fake.script(METADATA, Mishap.CLOSE)
        first, second = connection.start(MetadataRequest()), connection.start(FetchRequest())
        for answer, name in ((first, "Metadata"), (second, "Fetch")):
            with pytest.raises(ClientError, match=f"closed the connection; {name} v") as raised:
                await answer
            assert raised.value.code is ErrorCode.NETWORK_EXCEPTION

    run(scenario)


def test_a_cancelled_request_leaves_the_connection_in_order() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        connection.start(MetadataRequest(topics=None)).cancel()
        answer = await connection.call(MetadataRequest(topics=[MetadataRequestTopic(name="t")]))
        assert answer.topics[0].name == "t"

    run(scenario)


def test_an_answer_above_the_limit_ends_the_connection_before_it_is_received() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        fake.script(METADATA, lambda broker, request: MetadataResponse(cluster_id="x" * 20000))
        with pytest.raises(ClientError, match="larger than the limit of 10000"):
            await connection.call(MetadataRequest())

    limited = ConnectionSettings(
        client_id="test", connect_timeout_ms=5000, request_timeout_ms=5000, frame_size_max=10000
    )
    run(scenario, settings=limited)


def test_an_answer_that_cannot_be_read_ends_the_connection() -> None:
    async def scenario(fake: FakeCluster, connection: Connection) -> None:
        # An answer of another API, which has nothing of this one.
        fake.script(METADATA, lambda broker, request: ListOffsetsResponse())
        with pytest.raises(ClientError) as raised:
            await connection.call(MetadataRequest())
        assert raised.value.code is ErrorCode.CORRUPT_MESSAGE
        assert not connection.is_open

    run(scenario, versions={METADATA: range(1, 5)})


def test_nobody_at_the_address_is_said_in_the_words_of_the_system() -> None:
    async def main() -> None:
        async with FakeCluster() as fake:
            endpoint = fake.brokers[1].endpoint
        with pytest.raises(ClientError, match=rf"broker {endpoint}: it cannot be reached: Connection refused"):
            await Connection.open(endpoint, SETTINGS, SystemClock())

    asyncio.run(main())


def test_a_listener_that_is_no_broker_is_recognised() -> None:
    async def main() -> None:
        async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(web, "127.0.0.1", 0)
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(ClientError, match="an HTTP server"):
            await Connection.open(endpoint, SETTINGS, SystemClock())
        server.close()

    asyncio.run(main())


def test_a_listener_that_says_nothing_is_given_up() -> None:
    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        hasty = ConnectionSettings(client_id="t", connect_timeout_ms=5, request_timeout_ms=5000, frame_size_max=1000)
        with pytest.raises(ClientError, match="within 5 ms") as raised:
            await Connection.open(endpoint, hasty, SystemClock())
        assert raised.value.code is ErrorCode.NETWORK_EXCEPTION
        server.close()

    asyncio.run(main())
