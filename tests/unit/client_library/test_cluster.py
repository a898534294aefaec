"""Claims about the way into a cluster: bootstrap, pool, metadata, attempts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client.cluster import Channel, Cluster
from client.config import Setting, client_config
from client.errors import ClientError, failure
from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.seams import Clock
from cluster.wire.api_versions import API_VERSIONS
from cluster.wire.metadata import METADATA, MetadataRequest, MetadataResponse
from tests.unit.client_library.fake_cluster import FakeBroker, FakeCluster, Mishap, answer_metadata
from tests.unit.client_library.hand_made import HeldClock

ORDERS = TopicPartition("orders", 0)


def cluster_of(bootstrap_servers: str, clock: Clock | None = None, **settings: Setting) -> Cluster:
    quick: dict[str, Setting] = {"retry_backoff_ms": 1, "retry_backoff_max_ms": 2}
    return Cluster(client_config({"bootstrap_servers": bootstrap_servers, **quick, **settings}), clock=clock)


def run(
    scenario: Callable[[FakeCluster, Cluster], Awaitable[None]], *, brokers: int = 3, clock: Clock | None = None
) -> None:
    async def main() -> None:
        async with FakeCluster(brokers) as fake, asyncio.timeout(10):
            cluster = cluster_of(fake.bootstrap_servers, clock)
            try:
                await scenario(fake, cluster)
            finally:
                await cluster.close()

    asyncio.run(main())


def test_one_living_bootstrap_server_is_enough() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        await fake.brokers[1].stop()
        await fake.brokers[3].stop()
        await cluster.open(5000)
        assert (await cluster.any_connection()).endpoint == fake.brokers[2].endpoint

    run(scenario)


def test_a_silent_bootstrap_server_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        async with FakeCluster(2) as fake, asyncio.timeout(10):
            fake.script(API_VERSIONS, Mishap.SILENCE)
            cluster = cluster_of(fake.bootstrap_servers, socket_connection_setup_timeout_ms=200)
            await cluster.open(5000)
            await cluster.close()

    asyncio.run(main())


def test_when_nobody_is_there_every_address_is_named() -> None:
    async def main() -> None:
        async with FakeCluster(2) as fake:
            servers = fake.bootstrap_servers
        cluster = cluster_of(servers)
        with pytest.raises(ClientError, match="Connection refused -> check that the cluster runs") as raised:
            await cluster.open(5000)
        assert sorted(raised.value.subject.split(", ")) == sorted(servers.split(","))
        await cluster.close()

    asyncio.run(main())


def test_callers_that_need_the_same_connection_share_it_and_channels_do_not() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        await cluster.refresh(cluster.deadline())
        first, second = await asyncio.gather(cluster.connection(2), cluster.connection(2))
        assert first is second is cluster.ready_connection(2)
        assert await cluster.connection(2, Channel.FETCH) is not first

    run(scenario)


def test_a_lost_connection_is_replaced() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        await cluster.refresh(cluster.deadline())
        first = await cluster.connection(2)
        first.abort()
        assert cluster.ready_connection(2) is None
        second = await cluster.connection(2)
        assert second.is_open

    run(scenario)


def test_when_all_known_brokers_are_gone_the_bootstrap_servers_are_asked_again() -> None:
    """KIP-899."""

    async def main() -> None:
        async with FakeCluster(1) as old, FakeCluster(1) as new, asyncio.timeout(10):
            cluster = cluster_of(f"{old.bootstrap_servers},{new.bootstrap_servers}")
            await old.brokers[1].stop()
            await cluster.refresh(cluster.deadline())
            await new.brokers[1].stop()
            await old.brokers[1].start()
            await cluster.retrying(lambda: cluster.refresh(cluster.deadline()), cluster.deadline())
            assert cluster.metadata.brokers[1].endpoint == old.brokers[1].endpoint
            await cluster.close()

    asyncio.run(main())


def test_the_leader_is_found_again_after_it_moved() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        log = fake.add_topic("orders").logs[0]
        deadline = cluster.deadline()
        connection, epoch = await cluster.leader_connection(ORDERS, deadline)
        assert (connection.endpoint, epoch) == (fake.brokers[1].endpoint, 0)
        log.leader, log.leader_epoch = 3, 1

        async def attempt() -> int:
            connection, epoch = await cluster.leader_connection(ORDERS, deadline)
            if connection.endpoint != fake.brokers[3].endpoint:
                raise failure(ErrorCode.NOT_LEADER_OR_FOLLOWER, "orders/0")
            return epoch

        assert await cluster.retrying(attempt, deadline) == 1

    run(scenario)


def test_attempts_end_with_the_deadline_and_the_last_error() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.add_topic("orders", leader=-1)
        deadline = cluster.deadline(20)
        with pytest.raises(ClientError, match="orders/0: the partition has no leader; given up after 20 ms"):
            await cluster.retrying(lambda: cluster.leader_connection(ORDERS, deadline), deadline)
        assert len(fake.asked(METADATA)) > 2

    run(scenario, clock=HeldClock())


def test_an_error_that_no_attempt_cures_is_raised_at_once() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        deadline = cluster.deadline()
        with pytest.raises(ClientError) as raised:
            await cluster.retrying(lambda: cluster.leader_connection(ORDERS, deadline), deadline)
        assert raised.value.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert len(fake.asked(METADATA)) == 1

    run(scenario)


def test_a_partition_that_was_added_is_found_without_a_word_from_outside() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        topic = fake.add_topic("orders")
        await cluster.leader_connection(ORDERS, cluster.deadline())
        topic.logs += fake.add_topic("more", 1).logs
        await cluster.leader_connection(TopicPartition("orders", 1), cluster.deadline())

    run(scenario)


def test_a_topic_that_comes_to_be_is_waited_for() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        def not_yet(broker: FakeBroker, request: MetadataRequest) -> MetadataResponse:
            response = answer_metadata(broker, request)
            if len(fake.asked(METADATA)) == 2:
                fake.add_topic("orders", 4)
            return response

        fake.script(METADATA, not_yet, not_yet)
        assert len((await cluster.wait_for_topic("orders", cluster.deadline())).partitions) == 4
        assert len(fake.asked(METADATA)) == 3

    run(scenario)


def test_a_broker_that_knows_no_brokers_yet_is_not_believed() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        fake.script(METADATA, lambda broker, request: MetadataResponse())
        with pytest.raises(ClientError, match="it knows no brokers yet"):
            await cluster.refresh(cluster.deadline())
        await cluster.refresh(cluster.deadline())
        assert sorted(cluster.metadata.brokers) == [1, 2, 3]

    run(scenario)


def test_background_refreshes_survive_failures_and_tell_their_listeners() -> None:
    async def scenario(fake: FakeCluster, cluster: Cluster) -> None:
        heard = asyncio.Event()
        cluster.subscribe(heard.set)
        fake.script(METADATA, Mishap.CLOSE, Mishap.CLOSE)
        cluster.request_refresh()
        while not cluster.metadata.brokers:
            await heard.wait()
            heard.clear()
        assert len(fake.asked(METADATA)) == 3

    run(scenario)


def test_metadata_is_asked_for_again_when_it_is_old() -> None:
    async def main() -> None:
        async with FakeCluster(1) as fake, asyncio.timeout(10):
            cluster = cluster_of(fake.bootstrap_servers, metadata_max_age_ms=0)
            fake.add_topic("orders")
            for _ in range(3):
                await cluster.topic("orders", cluster.deadline())
            assert len(fake.asked(METADATA)) == 3
            await cluster.close()

    asyncio.run(main())
