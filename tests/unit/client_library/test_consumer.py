"""Claims about the consumer: every record of what is assigned, in order, whatever happens to its leader."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client.config import Setting
from client.consumer import Consumer
from client.errors import ClientError
from client.offsets import OffsetAndTimestamp
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition
from cluster.records.compression import CompressionType
from cluster.records.record import NewRecord, build_batch
from cluster.wire.fetch import FETCH
from cluster.wire.list_offsets import LIST_OFFSETS
from cluster.wire.metadata import METADATA
from cluster.wire.schema import Api
from tests.unit.client_library.fake_cluster import FakeCluster, FakeLog, Mishap

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


def run(
    scenario: Callable[[FakeCluster, Consumer], Awaitable[None]],
    *,
    brokers: int = 3,
    versions: dict[Api, range] | None = None,
    **settings: Setting,
) -> None:
    async def main() -> None:
        async with FakeCluster(brokers, versions) as fake, asyncio.timeout(10):
            defaults: dict[str, Setting] = {"retry.backoff.ms": 1, "retry.backoff.max.ms": 2, "fetch.max.wait.ms": 20}
            given = {name.replace("_", "."): value for name, value in settings.items()}
            earliest: dict[str, Setting] = {"auto.offset.reset": "earliest"}
            config = {"bootstrap.servers": fake.bootstrap_servers} | defaults | earliest | given
            async with Consumer(config) as consumer:
                await scenario(fake, consumer)

    asyncio.run(main())


def fill(log: FakeLog, *values: str, compression: CompressionType = CompressionType.NONE) -> None:
    for value in values:
        log.append(build_batch([NewRecord(b"k", value.encode(), 1000 + log.end)], compression=compression))


async def read(consumer: Consumer, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        found += [(record.value or b"").decode() for record in await consumer.poll(5000)]
    return found


@pytest.mark.parametrize("codec", list(CompressionType))
def test_what_is_in_the_log_is_read_from_the_beginning(codec: CompressionType) -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        topic = fake.add_topic("orders", 2)
        fill(topic.logs[0], "a", "b", compression=codec)
        fill(topic.logs[1], "c", compression=codec)
        consumer.assign([A, B])
        assert sorted(await read(consumer, 3)) == ["a", "b", "c"]
        assert (await consumer.position(A), await consumer.position(B)) == (2, 1)
        assert consumer.high_watermark(A) == 2

    run(scenario)


def test_what_is_written_later_arrives_without_another_question() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        log = fake.add_topic("orders").logs[0]
        fill(log, "old")
        consumer.assign([A])
        assert await consumer.position(A) == 1
        polling = asyncio.create_task(consumer.poll(5000))
        await asyncio.sleep(0)
        fill(log, "new")
        fake.appended.set()
        assert [record.value for record in await polling] == [b"new"]

    run(scenario, auto_offset_reset="latest")


def test_a_poll_returns_no_more_than_max_poll_records() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], *map(str, range(7)))
        consumer.assign([A])
        assert [len(await consumer.poll(5000)) for _ in range(3)] == [3, 3, 1]
        assert await consumer.poll() == []

    run(scenario, max_poll_records=3)


def test_iteration_goes_on_for_ever_and_in_order() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], "a", "b", "c")
        consumer.assign([A])
        found = []
        async for record in consumer:
            found.append(record.value)
            if len(found) == 3:
                break
        assert found == [b"a", b"b", b"c"]

    run(scenario)


def test_seeking_takes_effect_at_once_also_in_the_middle_of_an_iteration() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], *"abcdef")
        consumer.assign([A])
        assert (await anext(consumer)).value == b"a"
        consumer.seek(A, 4)
        assert (await anext(consumer)).value == b"e"
        consumer.seek_to_beginning()
        assert (await anext(consumer)).value == b"a"
        consumer.seek_to_end(A)
        assert await consumer.position(A) == 6

    run(scenario)


def test_offsets_are_told_for_the_ends_and_for_times() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        topic = fake.add_topic("orders", 2)
        fill(topic.logs[0], *"abc")
        topic.logs[1].start = topic.logs[1].end = 9
        assert await consumer.beginning_offsets([A, B]) == {A: 0, B: 9}
        assert await consumer.end_offsets([A, B]) == {A: 3, B: 9}
        found = await consumer.offsets_for_times({A: 1001, B: 0})
        assert found == {A: OffsetAndTimestamp(1, 1001, -1), B: None}
        with pytest.raises(KafkaError):
            await consumer.end_offsets([TopicPartition("absent", 0)])

    run(scenario, allow_auto_create_topics=False)


def test_reading_goes_on_at_the_new_leader() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        log = fake.add_topic("orders").logs[0]
        fill(log, "a")
        consumer.assign([A])
        assert await read(consumer, 1) == ["a"]
        log.leader, log.leader_epoch = 2, 1
        await fake.brokers[1].stop()
        del fake.brokers[1]
        fill(log, "b")
        assert await read(consumer, 1) == ["b"]

    run(scenario)


def test_lost_connections_and_lost_answers_cost_no_record() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fake.script(FETCH, Mishap.CLOSE, Mishap.CLOSE_AFTER, Mishap.CLOSE)
        fake.script(LIST_OFFSETS, Mishap.CLOSE)
        fill(fake.add_topic("orders").logs[0], *"abcdef")
        consumer.assign([A])
        assert await read(consumer, 6) == list("abcdef")

    run(scenario)


def test_a_cut_log_is_read_again_from_the_cut() -> None:
    """KIP-320."""

    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        log = fake.add_topic("orders").logs[0]
        fill(log, "a", "b", "lost")
        consumer.assign([A])
        assert await read(consumer, 3) == ["a", "b", "lost"]
        del log.batches[2:]
        log.end, log.leader_epoch, log.diverged = 2, 1, {0: 2}
        fill(log, "c", "d")
        assert await read(consumer, 2) == ["c", "d"]
        assert await consumer.position(A) == 4

    run(scenario)


def test_deleted_records_are_passed_over_as_configured() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        log = fake.add_topic("orders").logs[0]
        fill(log, "a", "b", "c")
        del log.batches[:2]
        log.start = 2
        consumer.assign([A])
        consumer.seek(A, 0)
        assert await read(consumer, 1) == ["c"]

    run(scenario)


def test_a_partition_that_cannot_go_on_says_so_at_every_poll_until_it_is_sought() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], "a")
        consumer.assign([A])
        for _ in range(2):
            with pytest.raises(ClientError, match=r"auto\.offset\.reset=none") as raised:
                await consumer.poll(5000)
            assert raised.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
        consumer.seek(A, 0)
        assert await read(consumer, 1) == ["a"]

    run(scenario, auto_offset_reset="none")


def test_fetches_travel_on_connections_of_their_own() -> None:
    """A broker works on one request of a connection at a time, and a fetch may wait there for long."""

    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fake.add_topic("orders")
        consumer.assign([A])
        await consumer.position(A)
        while not fake.asked(FETCH):
            await consumer.poll(1)
        async with asyncio.timeout(2):
            assert await consumer.end_offsets([A]) == {A: 0}

    run(scenario, fetch_max_wait_ms=5000)


@pytest.mark.parametrize("highest", [4, 11, 12, 13, 16, 18])
def test_brokers_are_spoken_to_in_their_version(highest: int) -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], "a")
        consumer.assign([A])
        assert await read(consumer, 1) == ["a"]

    run(scenario, versions={FETCH: range(4, highest + 1)})


def test_a_broker_without_topic_ids_is_told_names() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        fill(fake.add_topic("orders").logs[0], "a")
        consumer.assign([A])
        assert await read(consumer, 1) == ["a"]
        assert fake.asked(FETCH)[0].topics[0].topic == "orders"

    run(scenario, versions={METADATA: range(9)})


def test_a_topic_that_is_not_there_is_told_when_it_is_asked_for() -> None:
    async def scenario(fake: FakeCluster, consumer: Consumer) -> None:
        with pytest.raises(ClientError, match="UNKNOWN_TOPIC_OR_PARTITION absent"):
            await consumer.partitions_for("absent")
        fake.add_topic("orders", 4)
        assert len((await consumer.partitions_for("orders")).partitions) == 4

    run(scenario, allow_auto_create_topics=False)
