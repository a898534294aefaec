"""A broker and its controllers: registration, sessions, commands, failures of either side."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from broker.controller_link import BrokerIdentity, ControllerLink, LinkSettings
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import Endpoint, Uuid
from cluster.metadata.commands import CreateTopics, NewTopic, UnregisterBroker
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import SESSION, Heartbeat
from cluster.metadata.records import NO_LEADER, Listener
from cluster.metadata.results import TopicsCreated
from cluster.metadata.serde import codec
from cluster.seams import StreamBroken
from tests.unit.controller.controllers import VOTERS, Controllers
from tests.unit.controller.fakes import FakeNet, SeededRng, Spawner, run


class Broker:
    """A link and what it was told."""

    def __init__(
        self, controllers: Controllers, broker_id: int, life: int = 1, previous_epoch: int = -1, cluster_id: str = ""
    ) -> None:
        self.broker_id = broker_id
        self.spawner = Spawner()
        self.net = FakeNet(controllers.hub, f"broker-{broker_id}")
        self.endpoint = Endpoint("broker", 9200 + broker_id)
        self.images: list[tuple[MetadataImage, MetadataImage]] = []
        self._hub = controllers.hub
        self.link = ControllerLink(
            net=self.net,
            clock=controllers.clock,
            rng=SeededRng(1000 + broker_id),
            spawner=self.spawner,
            voters=VOTERS,
            identity=BrokerIdentity(
                broker_id=broker_id,
                incarnation_id=Uuid(bytes([broker_id]) * 15 + bytes([life])),
                cluster_id=cluster_id,
                listeners=(Listener(name="PLAINTEXT", host="broker", port=9092),),
                node_endpoint=self.endpoint,
                previous_broker_epoch=previous_epoch,
            ),
            settings=LinkSettings(),
            on_image=lambda new, old: self.images.append((new, old)),
        )

    async def start(self) -> "Broker":
        await self.net.start(self.endpoint)
        self.link.start()
        return self

    async def kill(self) -> None:
        self._hub.kill(self.net)
        await self.spawner.cancel_all()

    async def create(self, name: str, replication_factor: int = 1) -> TopicsCreated:
        topic = NewTopic(name=name, replication_factor=replication_factor)
        return await self.link.submit(CreateTopics(topics=(topic,)), 5000, wait_applied=True)


def story(scenario: Callable[[Controllers], Awaitable[None]], **keys: str) -> None:
    """Run `scenario` on controllers that it starts itself; nothing may have failed in the background."""

    async def main() -> None:
        controllers = Controllers(**keys)
        try:
            await scenario(controllers)
        finally:
            await controllers.stop()

    run(main)


async def _three(controllers: Controllers) -> list[Broker]:
    await controllers.start()
    brokers = [await Broker(controllers, broker_id).start() for broker_id in (1, 2, 3)]
    for broker in brokers:
        assert await broker.link.wait_unfenced(5000)
    return brokers


def _fenced(controllers: Controllers, broker_id: int) -> bool:
    return controllers.image.brokers[broker_id].fenced


def test_a_broker_registers_catches_up_and_is_unfenced() -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start()
        broker = await Broker(controllers, 1).start()
        assert broker.link.is_fenced
        assert await broker.link.wait_unfenced(1000)
        assert broker.link.controller_id == 100
        assert broker.link.broker_epoch == controllers.image.brokers[1].broker_epoch
        assert controllers.image.cluster_id
        await broker.kill()

    story(scenario)


def test_a_cluster_takes_the_configured_id() -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start()
        await controllers.until(lambda: controllers.image.cluster_id == "wMBf8xL2QJ-q1lqGPcNkVA")

    story(scenario, blumfeld_cluster_id="wMBf8xL2QJ-q1lqGPcNkVA")


def test_images_arrive_in_order_without_gaps() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *_) = brokers = await _three(controllers)
        await broker.create("t")
        for (_, old), (new, _) in zip(broker.images[1:], broker.images, strict=False):
            assert old is new
        assert broker.link.image == controllers.image
        for each in brokers:
            await each.kill()

    story(scenario)


def test_a_created_topic_is_known_to_every_broker_when_the_answer_comes() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        created = await brokers[0].create("t", 3)
        assert created.topics[0].error_code is ErrorCode.NONE
        assert all("t" in broker.link.image.topic_ids for broker in brokers)
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_killed_broker_is_fenced_within_milliseconds() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        await brokers[0].create("t", 3)
        leader = controllers.image.topics[controllers.image.topic_ids["t"]].partitions[0].leader
        await brokers[leader - 1].kill()
        assert await controllers.until(lambda: _fenced(controllers, leader)) < 50
        partition = controllers.image.topics[controllers.image.topic_ids["t"]].partitions[0]
        assert partition.leader not in (leader, NO_LEADER)
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_silent_broker_is_fenced_when_its_lease_ends() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        controllers.hub.mute(brokers[0].net)
        took_ms = await controllers.until(lambda: _fenced(controllers, 1))
        assert 1400 <= took_ms <= 2200
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_broken_session_alone_does_not_fence() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        for pipe in list(broker.net.pipes):
            pipe.abort()
        await asyncio.sleep(3)
        assert not _fenced(controllers, 1)
        unfencings = [new for new, old in broker.images if old.brokers.get(1) is not new.brokers.get(1)]
        assert len(unfencings) == 2, "registered, unfenced, and nothing else"
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_brokers_follow_the_controller_and_none_is_fenced() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        epochs = [broker.link.broker_epoch for broker in brokers]
        await controllers.kill(100)
        await asyncio.sleep(0.5)
        controllers.group.elect(101)
        await controllers.until(lambda: all(broker.link.controller_id == 101 for broker in brokers), 500)
        await asyncio.sleep(5)
        assert not any(_fenced(controllers, broker_id) for broker_id in (1, 2, 3))
        assert [broker.link.broker_epoch for broker in brokers] == epochs
        await brokers[0].create("t", 3)
        assert all("t" in broker.link.image.topic_ids for broker in brokers)
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_broker_that_dies_with_its_controller_is_fenced_soon_by_the_next_one() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        await controllers.kill(100)
        await brokers[0].kill()
        controllers.group.elect(101)
        assert await controllers.until(lambda: _fenced(controllers, 1)) < 600
        assert not _fenced(controllers, 2)
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_controller_that_lost_its_leadership_sends_brokers_on() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        controllers.group.elect(102)
        await controllers.until(lambda: all(broker.link.controller_id == 102 for broker in brokers), 100)
        await brokers[1].create("t")
        for broker in brokers:
            await broker.kill()

    story(scenario)


def test_a_command_with_unknown_outcome_is_applied_once() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        controllers.group.outcomes_to_lose = 3
        created = await broker.create("t")
        assert created.topics[0].error_code is ErrorCode.NONE
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_a_command_waits_for_a_controller_and_times_out_without_one() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        controllers.group.elect(None)
        with pytest.raises(KafkaError) as caught:
            await broker.link.submit(CreateTopics(topics=()), 700)
        assert caught.value.code is ErrorCode.REQUEST_TIMED_OUT
        waiting = asyncio.ensure_future(broker.create("t"))
        await asyncio.sleep(1)
        controllers.group.elect(101)
        assert (await waiting).topics[0].error_code is ErrorCode.NONE
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_many_commands_at_once_keep_the_window() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        controllers.group.outcomes_to_lose = 100
        results = await asyncio.gather(*(broker.create(f"t{number}") for number in range(200)))
        assert all(result.topics[0].error_code is ErrorCode.NONE for result in results)
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_a_command_that_fails_as_a_whole_raises_its_code() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        with pytest.raises(KafkaError) as caught:
            await broker.link.submit(UnregisterBroker(broker_id=9), 1000)
        assert caught.value.code is ErrorCode.BROKER_ID_NOT_REGISTERED
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_a_restarted_broker_is_let_in_before_the_lease_of_its_predecessor_ends() -> None:
    async def scenario(controllers: Controllers) -> None:
        (first, *others) = await _three(controllers)
        controllers.hub.mute(first.net)
        second = await Broker(controllers, 1, life=2).start()
        assert await second.link.wait_unfenced(1000)
        assert second.link.broker_epoch > first.link.broker_epoch
        for each in (first, second, *others):
            await each.kill()

    story(scenario)


def test_a_second_broker_of_the_same_id_is_kept_out() -> None:
    async def scenario(controllers: Controllers) -> None:
        (first, *others) = await _three(controllers)
        second = Broker(controllers, 1, life=2)
        second.link.start()
        assert not await second.link.wait_unfenced(3000)
        assert not _fenced(controllers, 1)
        assert not first.link.is_fenced
        for each in (first, second, *others):
            await each.kill()

    story(scenario)


def test_a_broker_of_another_cluster_gives_up() -> None:
    async def scenario(controllers: Controllers) -> None:
        await controllers.start()
        broker = await Broker(controllers, 1, cluster_id="another").start()
        await controllers.until(lambda: broker.spawner.failures)
        (error,) = broker.spawner.failures
        assert isinstance(error, KafkaError)
        assert error.code is ErrorCode.INCONSISTENT_CLUSTER_ID
        await broker.kill()

    story(scenario)


def test_an_unregistered_broker_that_still_runs_registers_again() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        before = broker.link.broker_epoch
        await others[0].link.submit(UnregisterBroker(broker_id=1), 1000)
        await controllers.until(lambda: broker.link.broker_epoch > before)
        assert await broker.link.wait_unfenced(1000)
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_a_controlled_shutdown_moves_leaders_first_and_is_no_failure() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        await brokers[0].create("t", 3)
        leader = controllers.image.topics[controllers.image.topic_ids["t"]].partitions[0].leader
        broker = brokers[leader - 1]
        assert await broker.link.shut_down(2000)
        partition = controllers.image.topics[controllers.image.topic_ids["t"]].partitions[0]
        assert partition.leader not in (leader, NO_LEADER)
        broker.link.stop()
        assert await controllers.until(lambda: _fenced(controllers, leader)) < 50
        await broker.kill()
        again = await Broker(controllers, leader, life=2, previous_epoch=broker.link.broker_epoch).start()
        assert await again.link.wait_unfenced(1000)
        for each in (again, *brokers):
            await each.kill()

    story(scenario)


def test_a_shutdown_does_not_wait_for_controllers_that_are_gone() -> None:
    async def scenario(controllers: Controllers) -> None:
        brokers = await _three(controllers)
        for node_id in VOTERS:
            await controllers.kill(node_id)
        began_ms = controllers.clock.now_ms()
        assert not await brokers[0].link.shut_down(10_000)
        assert controllers.clock.now_ms() - began_ms < 4000
        for each in brokers:
            await each.kill()

    story(scenario)


def test_nobody_speaks_for_another_broker() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        stranger = FakeNet(controllers.hub, "broker-2")
        stream = await stranger.open(VOTERS[100], SESSION, 100)
        heartbeat = Heartbeat(
            broker_id=1,
            incarnation_id=controllers.image.brokers[1].incarnation_id,
            broker_epoch=broker.link.broker_epoch,
            applied_offset=0,
        )
        await stream.send(codec(Heartbeat).encode(heartbeat))
        with pytest.raises(StreamBroken):
            await stream.recv()
        for each in (broker, *others):
            await each.kill()

    story(scenario)


def test_a_fenced_broker_that_comes_back_is_unfenced_again() -> None:
    async def scenario(controllers: Controllers) -> None:
        (broker, *others) = await _three(controllers)
        controllers.hub.mute(broker.net)
        await controllers.until(lambda: _fenced(controllers, 1))
        controllers.hub.unmute(broker.net)
        await controllers.until(lambda: not _fenced(controllers, 1))
        assert await broker.link.wait_unfenced(1000)
        for each in (broker, *others):
            await each.kill()

    story(scenario)
