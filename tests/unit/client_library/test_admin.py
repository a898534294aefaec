"""Claims about administration."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client.admin import (
    HIGH_WATERMARK,
    Admin,
    AlterOperation,
    ConfigChange,
    ConfigResource,
    ConfigSource,
    CreatedTopic,
    NewTopic,
    ResourceType,
)
from client.errors import ClientError
from client.offsets import EARLIEST, LATEST
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition
from cluster.records.record import NewRecord, build_batch
from cluster.wire.list_offsets import LIST_OFFSETS, ListOffsetsRequest, ListOffsetsResponse
from cluster.wire.schema import Api
from cluster.wire.topics import CREATE_TOPICS, DELETE_TOPICS, CreatableTopicResult, CreateTopicsResponse
from tests.unit.client_library.fake_cluster import FakeBroker, FakeCluster, Mishap, answer_list_offsets

ORDERS = ConfigResource(ResourceType.TOPIC, "orders")


def run(
    scenario: Callable[[FakeCluster, Admin], Awaitable[None]],
    *,
    brokers: int = 3,
    versions: dict[Api, range] | None = None,
) -> None:
    async def main() -> None:
        async with (
            FakeCluster(brokers, versions) as fake,
            asyncio.timeout(10),
            Admin({"bootstrap.servers": fake.bootstrap_servers}, retry_backoff_ms=1, retry_backoff_max_ms=2) as admin,
        ):
            await scenario(fake, admin)

    asyncio.run(main())


def test_the_cluster_is_described_with_its_brokers_in_order() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        described = await admin.describe_cluster()
        assert (described.cluster_id, described.controller_id) == ("fake", 1)
        assert [broker.node_id for broker in described.brokers] == [1, 2, 3]

    run(scenario)


def test_a_topic_is_made_as_asked_and_told_as_made() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        wanted = NewTopic(name="orders", partitions=4, replication_factor=2, configs={"retention.ms": "1"})
        created = await admin.create_topic(wanted)
        assert (created.partitions, created.replication_factor) == (4, 2)
        assert created.topic_id == fake.topics["orders"].topic_id
        assert [(entry.name, entry.value, entry.source) for entry in created.configs] == [
            ("retention.ms", "1", ConfigSource.TOPIC)
        ]
        assert fake.requests[-1][0] == 1, "the controller is asked"

    run(scenario)


def test_numbers_that_are_left_out_are_the_broker_s_to_choose() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        await admin.create_topic(NewTopic(name="orders"), validate_only=True)
        (request,) = fake.asked(CREATE_TOPICS)
        assert (request.topics[0].num_partitions, request.topics[0].replication_factor) == (-1, -1)
        assert not fake.topics

    run(scenario)


def test_each_topic_of_a_call_has_its_own_result() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.add_topic("old")
        results = await admin.create_topics([NewTopic(name="old"), NewTopic(name="new")])
        assert isinstance(results["new"], CreatedTopic)
        assert isinstance(results["old"], ClientError)
        assert str(results["old"]) == (
            "TOPIC_ALREADY_EXISTS old: Topic exists -> choose another name, or use the topic that is there"
        )
        deleted = await admin.delete_topics(["old", "absent"])
        assert deleted["old"] is None
        assert isinstance(deleted["absent"], KafkaError)

    run(scenario)


def test_a_topic_whose_creation_went_unheard_is_said_to_be_perhaps_one_s_own() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.script(CREATE_TOPICS, Mishap.CLOSE_AFTER)
        with pytest.raises(ClientError, match="it may be from this call, as an earlier answer to it was lost"):
            await admin.create_topic(NewTopic(name="orders"))

    run(scenario)


def test_a_broker_that_is_not_the_controller_any_more_is_not_the_end() -> None:
    def refuse(broker: FakeBroker, request: object) -> CreateTopicsResponse:
        return CreateTopicsResponse(topics=[CreatableTopicResult(name="orders", error_code=ErrorCode.NOT_CONTROLLER)])

    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.script(CREATE_TOPICS, refuse)
        await admin.create_topic(NewTopic(name="orders"))
        assert len(fake.asked(CREATE_TOPICS)) == 2

    run(scenario)


def test_topics_are_listed_by_name_and_internal_ones_on_request() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        for name in ("b", "a", "__consumer_offsets"):
            fake.add_topic(name).is_internal = name.startswith("__")
        assert [topic.name for topic in await admin.list_topics()] == ["a", "b"]
        assert [topic.name for topic in await admin.list_topics(internal=True)] == ["__consumer_offsets", "a", "b"]

    run(scenario)


def test_describing_never_creates() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.auto_create = True
        results = await admin.describe_topics(["absent"])
        assert isinstance(results["absent"], KafkaError)
        assert not fake.topics

    run(scenario)


def test_a_new_topic_is_waited_for_until_every_partition_has_a_leader() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.add_topic("orders", 2).logs[1].leader = -1
        with pytest.raises(ClientError, match="orders/1: the partition has no leader"):
            await admin.wait_for_topic("orders", timeout_ms=20)
        fake.topics["orders"].logs[1].leader = 2
        assert (await admin.wait_for_topic("orders")).partitions[1].leader_id == 2

    run(scenario)


def test_partitions_are_added_and_never_taken_away() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.add_topic("orders", 2)
        await admin.create_partitions("orders", 5)
        assert len(fake.topics["orders"].logs) == 5
        with pytest.raises(ClientError, match="partitions cannot be taken away"):
            await admin.create_partitions("orders", 3)

    run(scenario)


def test_a_configuration_is_changed_key_by_key() -> None:
    """KIP-339."""

    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        fake.add_topic("orders").configs = {"a": "1", "b": "2"}
        changes = [ConfigChange("a", "9"), ConfigChange("b", None, AlterOperation.DELETE)]
        await admin.alter_configs(ORDERS, changes)
        entries = (await admin.describe_configs([ORDERS]))[ORDERS]
        assert not isinstance(entries, KafkaError)
        assert [(entry.name, entry.value) for entry in entries if entry.source is ConfigSource.TOPIC] == [("a", "9")]

    run(scenario)


def test_a_broker_is_asked_about_itself() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        await admin.describe_configs([ConfigResource(ResourceType.BROKER, "3")])
        assert fake.requests[-1][0] == 3

    run(scenario)


def test_offsets_are_asked_of_every_leader_and_errors_stay_with_their_partition() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        topic = fake.add_topic("orders", 3)
        topic.logs[0].append(build_batch([NewRecord(b"k", b"v", 100), NewRecord(b"k", b"v", 200)]))
        topic.logs[1].start = topic.logs[1].end = 7
        wanted = {TopicPartition("orders", 0): LATEST, TopicPartition("orders", 1): EARLIEST}
        wanted |= {TopicPartition("orders", 9): LATEST, TopicPartition("absent", 0): LATEST}
        results = await admin.list_offsets(wanted)
        told = {
            str(partition): result.code.name if isinstance(result, KafkaError) else result.offset
            for partition, result in results.items()
        }
        absent = "UNKNOWN_TOPIC_OR_PARTITION"
        assert told == {"orders-0": 2, "orders-1": 7, "orders-9": absent, "absent-0": absent}
        (found,) = (await admin.list_offsets({TopicPartition("orders", 0): 101})).values()
        assert not isinstance(found, KafkaError)
        assert (found.offset, found.timestamp) == (1, 200)

    run(scenario)


def test_offsets_are_asked_again_where_the_leader_moved() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        log = fake.add_topic("orders").logs[0]

        def moves(broker: FakeBroker, request: ListOffsetsRequest) -> ListOffsetsResponse:
            log.leader, log.leader_epoch = 2, 1
            return answer_list_offsets(broker, request)

        fake.script(LIST_OFFSETS, moves)
        (found,) = (await admin.list_offsets({TopicPartition("orders", 0): LATEST})).values()
        assert not isinstance(found, KafkaError)
        assert found.offset == 0
        assert [node_id for node_id, request in fake.requests if request.api is LIST_OFFSETS] == [1, 2]

    run(scenario)


def test_records_are_deleted_up_to_an_offset() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        topic = fake.add_topic("orders", 3)
        for log in topic.logs:
            log.end = 10
        before = {TopicPartition("orders", number): offset for number, offset in enumerate((4, HIGH_WATERMARK, 11))}
        results = await admin.delete_records(before)
        first, second, third = results.values()
        assert (first, second) == (4, 10)
        assert isinstance(third, KafkaError)
        assert third.code is ErrorCode.OFFSET_OUT_OF_RANGE

    run(scenario)


def test_old_brokers_are_spoken_to_in_their_versions() -> None:
    async def scenario(fake: FakeCluster, admin: Admin) -> None:
        created = await admin.create_topic(NewTopic(name="orders", partitions=1, replication_factor=1))
        assert (created.partitions, created.configs) == (-1, ())
        assert (await admin.delete_topics(["orders"])) == {"orders": None}

    run(scenario, versions={CREATE_TOPICS: range(2, 3), DELETE_TOPICS: range(1, 2)})
