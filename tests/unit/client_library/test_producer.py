"""Claims about the producer: what is acknowledged is written, once and in order."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client.cluster import Cluster
from client.config import Setting, producer_config
from client.errors import ClientError
from client.partitioner import partition_for_key
from client.producer import Producer, RecordMetadata
from cluster.errors import ErrorCode
from cluster.records.batch import parse_header
from cluster.records.compression import CompressionType
from cluster.seams import Clock
from cluster.wire.metadata import METADATA
from cluster.wire.produce import (
    PRODUCE,
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from cluster.wire.schema import Api
from cluster.wire.transactions import INIT_PRODUCER_ID
from tests.unit.client_library.fake_cluster import Answer, FakeBroker, FakeCluster, Mishap, answer_produce
from tests.unit.client_library.hand_made import HeldClock


def run(
    scenario: Callable[[FakeCluster, Producer], Awaitable[None]],
    *,
    brokers: int = 3,
    versions: dict[Api, range] | None = None,
    clock: Clock | None = None,
    **settings: Setting,
) -> None:
    async def main() -> None:
        async with FakeCluster(brokers, versions) as fake, asyncio.timeout(10):
            defaults: dict[str, Setting] = {"linger.ms": 0, "retry.backoff.ms": 1, "retry.backoff.max.ms": 2}
            given = {name.replace("_", "."): value for name, value in settings.items()}
            config = {"bootstrap.servers": fake.bootstrap_servers} | defaults | given
            cluster = Cluster(producer_config(config), auto_create=True, clock=clock)
            async with Producer(config, cluster=cluster) as producer:
                await scenario(fake, producer)

    asyncio.run(main())


def refusal(code: int, **fields: object) -> Answer:
    """An answer that refuses every batch of a request."""

    def answer(broker: FakeBroker, request: ProduceRequest) -> ProduceResponse:
        return ProduceResponse(
            responses=[
                TopicProduceResponse(
                    name=data.name,
                    topic_id=data.topic_id,
                    partition_responses=[
                        PartitionProduceResponse(index=part.index, error_code=code, base_offset=-1, **fields)  # type: ignore[arg-type]
                        for part in data.partition_data
                    ],
                )
                for data in request.topic_data
            ]
        )

    return answer


def values(fake: FakeCluster, topic: str = "orders", partition: int = 0) -> list[bytes | None]:
    return [value for _, value in fake.topics[topic].logs[partition].records()]


def test_an_acknowledged_record_is_where_its_metadata_says() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders", 3)
        first = await producer.send_and_wait("orders", b"v0", partition=2, timestamp_ms=77)
        second = await producer.send_and_wait("orders", b"v1", partition=2, headers=[("h", None)])
        assert first == RecordMetadata("orders", 2, 0, 77)
        assert second.offset == 1
        assert values(fake, partition=2) == [b"v0", b"v1"]

    run(scenario)


def test_records_that_are_sent_together_share_a_batch_and_have_offsets_of_their_own() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        deliveries = [await producer.send("orders", b"v%d" % number) for number in range(100)]
        await producer.flush()
        assert all(delivery.done() for delivery in deliveries)
        assert [(await delivery).offset for delivery in deliveries] == list(range(100))
        assert len(fake.asked(PRODUCE)) == 1
        assert (producer.counters.acknowledged, producer.counters.pending) == (100, 0)

    run(scenario, linger_ms=1000)


def test_leaving_the_block_sends_what_lingers() -> None:
    async def main() -> None:
        async with FakeCluster() as fake, asyncio.timeout(10):
            fake.add_topic("orders")
            async with Producer(bootstrap_servers=fake.bootstrap_servers, linger_ms=60_000) as producer:
                await producer.send("orders", b"v")
            assert values(fake) == [b"v"]

    asyncio.run(main())


def test_equal_keys_go_to_the_partition_that_their_hash_names() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders", 5)
        for key in (b"a", b"b", b"c", b"a"):
            told = await producer.send_and_wait("orders", b"v", key=key)
            assert told.partition == partition_for_key(key, 5)

    run(scenario)


def test_many_batches_in_flight_arrive_in_order_and_once_whatever_goes_wrong() -> None:
    """KIP-98: closed connections, silence, lost answers and refusals, with five batches in flight."""

    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        busy = refusal(ErrorCode.NOT_ENOUGH_REPLICAS)
        fake.script(
            PRODUCE, answer_produce, Mishap.CLOSE_AFTER, busy, answer_produce, busy, Mishap.CLOSE, Mishap.CLOSE_AFTER
        )
        fake.script(PRODUCE, busy, Mishap.CLOSE_AFTER, answer_produce, busy, busy, Mishap.CLOSE_AFTER)
        sent = [b"%d" % number + b"x" * 100 for number in range(60)]
        for value in sent:
            await producer.send("orders", value)
        await producer.flush()
        assert values(fake) == sent
        assert len(fake.topics["orders"].logs[0].batches) == 30
        assert producer.counters.failed == 0

    run(scenario, batch_size=330, linger_ms=60_000)


def test_the_new_leader_gets_the_records_when_the_old_one_dies() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        log = fake.add_topic("orders").logs[0]
        await producer.send_and_wait("orders", b"before")
        await fake.brokers[1].stop()
        del fake.brokers[1]
        log.leader, log.leader_epoch = 2, 1
        await producer.send_and_wait("orders", b"after")
        assert values(fake) == [b"before", b"after"]

    run(scenario)


def test_a_hint_at_the_new_leader_saves_the_question_for_it() -> None:
    """KIP-951."""

    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        log = fake.add_topic("orders").logs[0]
        await producer.send_and_wait("orders", b"before")
        log.leader, log.leader_epoch = 3, 1
        refuse = refusal(ErrorCode.NOT_LEADER_OR_FOLLOWER, current_leader=LeaderIdAndEpoch(leader_id=3, leader_epoch=1))

        def answer(broker: FakeBroker, request: ProduceRequest) -> ProduceResponse:
            response = refuse(broker, request)
            assert isinstance(response, ProduceResponse)
            endpoint = fake.brokers[3].endpoint
            response.node_endpoints = [NodeEndpoint(node_id=3, host=endpoint.host, port=endpoint.port)]
            return response

        fake.script(PRODUCE, answer)
        questions = len(fake.asked(METADATA))
        await producer.send_and_wait("orders", b"after")
        assert values(fake) == [b"before", b"after"]
        assert len(fake.asked(METADATA)) == questions

    run(scenario)


def test_a_refusal_reaches_the_records_it_is_about_with_the_words_of_the_broker() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders", 2)
        to_blame = BatchIndexAndErrorMessage(batch_index=0, batch_index_error_message="Null key in compacted topic.")
        fake.script(PRODUCE, refusal(ErrorCode.INVALID_RECORD, record_errors=[to_blame]))
        with pytest.raises(ClientError, match="orders/1: Null key in compacted topic -> give every record"):
            await producer.send_and_wait("orders", b"v", partition=1)
        assert (producer.counters.failed, producer.counters.acknowledged) == (1, 0)
        await producer.send_and_wait("orders", b"w", partition=1)
        header = parse_header(fake.topics["orders"].logs[1].batches[0])
        assert (header.producer_epoch, header.base_sequence) == (1, 0)

    run(scenario)


def test_records_that_cannot_be_written_in_time_fail_and_say_how_long_they_tried() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        log = fake.add_topic("orders").logs[0]
        await producer.send_and_wait("orders", b"v")
        log.leader = -1
        with pytest.raises(ClientError, match=r"orders/0: not acknowledged within delivery\.timeout\.ms=60") as raised:
            await producer.send_and_wait("orders", b"v")
        assert raised.value.code is ErrorCode.REQUEST_TIMED_OUT

    run(scenario, clock=HeldClock(), delivery_timeout_ms=60)


def test_a_silent_leader_is_not_waited_for_longer_than_the_delivery_timeout() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        fake.script(PRODUCE, *[Mishap.SILENCE] * 20)
        with pytest.raises(ClientError):
            await producer.send_and_wait("orders", b"v")

    run(scenario, delivery_timeout_ms=30)


def test_sending_waits_for_room_and_goes_on_in_the_order_of_the_calls() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        await asyncio.gather(*(producer.send("orders", b"%03d" % number + b"x" * 500) for number in range(40)))
        await producer.flush()
        assert [(value or b"")[:3] for value in values(fake)] == [b"%03d" % number for number in range(40)]

    run(scenario, buffer_memory=2000, linger_ms=60_000)


def test_sending_gives_up_when_there_is_no_room_in_time() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        await producer.partitions_for("orders")
        fake.topics["orders"].logs[0].leader = -1
        fake.script(PRODUCE, *[refusal(ErrorCode.LEADER_NOT_AVAILABLE)] * 1000)
        await producer.send("orders", b"x" * 800)
        with pytest.raises(ClientError, match=r"buffer\.memory: no room for a record of 832 bytes within 20 ms"):
            await producer.send("orders", b"x" * 800)

    run(scenario, clock=HeldClock(), buffer_memory=1000, max_block_ms=20, delivery_timeout_ms=200)


def test_what_cannot_be_sent_at_all_is_refused_at_the_call() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders", 2)
        with pytest.raises(ClientError, match=r"max\.request\.size is 1000") as raised:
            await producer.send("orders", b"x" * 1000)
        assert raised.value.code is ErrorCode.MESSAGE_TOO_LARGE
        with pytest.raises(ClientError, match="orders/2: the topic has 2 partitions, numbered from 0"):
            await producer.send("orders", b"v", partition=2)
        with pytest.raises(ClientError, match="absent: there is no such topic or partition; given up after 20 ms"):
            await producer.send("absent", b"v")

    run(scenario, clock=HeldClock(), max_request_size=1000, max_block_ms=20)


def test_a_topic_may_come_to_be_by_sending_to_it() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.auto_create = True
        await producer.send_and_wait("fresh", b"v")
        assert values(fake, "fresh") == [b"v"]

    run(scenario)


def test_acks_of_the_leader_alone_carry_no_numbers() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        await producer.send_and_wait("orders", b"v")
        assert fake.asked(PRODUCE)[0].acks == 1
        assert fake.asked(INIT_PRODUCER_ID) == []

    run(scenario, acks="1")


def test_without_acks_nobody_waits_and_nobody_knows_an_offset() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        arrived = fake.appended
        assert (await producer.send_and_wait("orders", b"v")).offset == -1
        await arrived.wait()
        assert values(fake) == [b"v"]

    run(scenario, acks="0")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_are_compressed_as_configured(codec: str) -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        await producer.send_and_wait("orders", b"x" * 1000)
        (batch,) = fake.topics["orders"].logs[0].batches
        assert parse_header(batch).compression == CompressionType[codec.upper()]
        assert len(batch) < 500
        assert values(fake) == [b"x" * 1000]

    run(scenario, compression_type=codec)


def test_the_producer_id_is_asked_for_until_it_is_given() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        fake.script(INIT_PRODUCER_ID, Mishap.CLOSE, Mishap.CLOSE_AFTER)
        await producer.send_and_wait("orders", b"v")
        assert parse_header(fake.topics["orders"].logs[0].batches[0]).producer_id == 1002

    run(scenario)


@pytest.mark.parametrize("highest", [3, 8, 9, 12, 13])
def test_brokers_are_spoken_to_in_their_version(highest: int) -> None:
    """From version 13 on topics have ids in place of names (KIP-516)."""

    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        assert (await producer.send_and_wait("orders", b"v")).offset == 0

    run(scenario, versions={PRODUCE: range(3, highest + 1)})


def test_a_broker_without_topic_ids_is_told_names() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        assert (await producer.send_and_wait("orders", b"v")).offset == 0
        assert fake.asked(PRODUCE)[0].topic_data[0].name == "orders"

    run(scenario, versions={METADATA: range(9)})


def test_closing_without_patience_fails_what_is_left() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        fake.script(PRODUCE, Mishap.SILENCE)
        delivery = await producer.send("orders", b"v")
        await producer.close(timeout_ms=5)
        with pytest.raises(ClientError, match="it was closed before the broker acknowledged"):
            await delivery
        await producer.close()

    run(scenario)


def test_a_delivery_that_is_no_longer_awaited_is_still_delivered() -> None:
    async def scenario(fake: FakeCluster, producer: Producer) -> None:
        fake.add_topic("orders")
        one, other = await producer.send("orders", b"1"), await producer.send("orders", b"2")

        async def wait(delivery: Awaitable[RecordMetadata]) -> int:
            return (await delivery).offset

        task = asyncio.ensure_future(wait(one))
        await asyncio.sleep(0)
        task.cancel()
        await producer.flush()
        assert (await wait(one), await wait(other)) == (0, 1)

    run(scenario, linger_ms=60_000)
