"""CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords."""

from pathlib import Path
from typing import Any

import pytest

from broker.api.commands import TIMEOUT_MS_MAX, TIMEOUT_MS_MIN
from broker.log.config import CleanupPolicy, LogConfig
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID
from cluster.metadata.commands import (
    Assignment,
    ConfigValue,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    NewPartitions,
    NewTopic,
    TopicReference,
)
from cluster.metadata.results import (
    CreatedTopic,
    DeletedTopic,
    ExtendedTopic,
    PartitionsCreated,
    TopicsCreated,
    TopicsDeleted,
)
from cluster.records.record import NewRecord, build_batch
from cluster.wire.topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
    CreateTopicsRequest,
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
    DeleteTopicsRequest,
    DeleteTopicState,
)
from tests.unit.api.rig import WALL_MS, Broker, cluster_image, commit, partition_image, topic_id
from tests.unit.broker.wire_rig import on_loop


def created(name: str, **fields: Any) -> CreatedTopic:
    return CreatedTopic(name=name, topic_id=topic_id(name), partitions=3, replication_factor=2, **fields)


def new(*names: str, timeout_ms: int = 5000, validate_only: bool = False) -> CreateTopicsRequest:
    topics = [CreatableTopic(name=name, num_partitions=-1, replication_factor=-1) for name in names]
    return CreateTopicsRequest(topics=topics, timeout_ms=timeout_ms, validate_only=validate_only)


# CreateTopics.


@on_loop
async def test_a_topic_is_created_by_the_controller_as_it_was_asked_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [TopicsCreated(topics=(created("a"), created("b")))]
    request = CreateTopicsRequest(
        timeout_ms=5000,
        topics=[
            CreatableTopic(
                name="a",
                num_partitions=3,
                replication_factor=2,
                configs=[CreatableTopicConfig(name="retention.ms", value="5")],
            ),
            CreatableTopic(
                name="b",
                num_partitions=-1,
                replication_factor=-1,
                assignments=[CreatableReplicaAssignment(partition_index=0, broker_ids=[2, 1])],
            ),
        ],
    )
    response = await broker.await_answer(request, 7)
    assert broker.controller.commands == [
        CreateTopics(
            topics=(
                NewTopic(
                    name="a",
                    partitions=3,
                    replication_factor=2,
                    configs=(ConfigValue(key="retention.ms", value="5"),),
                ),
                NewTopic(name="b", assignments=(Assignment(partition=0, replicas=(2, 1)),)),
            )
        )
    ]
    assert broker.controller.timeouts == [5000]
    assert [(t.name, t.error_code, t.topic_id, t.num_partitions, t.replication_factor) for t in response.topics] == [
        ("a", 0, topic_id("a"), 3, 2),
        ("b", 0, topic_id("b"), 3, 2),
    ]


@on_loop
async def test_the_configuration_that_came_of_it_is_told_from_version_5_on(tmp_path: Path) -> None:
    """KIP-525."""
    image = cluster_image({"a": [partition_image()]}, topic_configs={"a": {"retention.ms": "5"}})
    broker = Broker(tmp_path, image)
    broker.controller.script = [TopicsCreated(topics=(created("a"),)), TopicsCreated(topics=(created("a"),))]
    (topic,) = (await broker.await_answer(new("a"), 5)).topics
    told = {config.name: (config.value, config.config_source, config.read_only) for config in topic.configs}
    assert told["retention.ms"] == ("5", 1, False)
    assert told["cleanup.policy"] == ("delete", 5, False)
    (older,) = (await broker.await_answer(new("a"), 4)).topics
    assert older.configs == ()


@on_loop
async def test_validation_alone_tells_the_configuration_that_would_come_of_it(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [TopicsCreated(topics=(CreatedTopic(name="a", partitions=1, replication_factor=1),))]
    request = new("a", validate_only=True)
    request.topics[0].configs = [CreatableTopicConfig(name="retention.ms", value="5")]
    (topic,) = (await broker.await_answer(request, 7)).topics
    assert topic.topic_id == ZERO_UUID
    assert ("retention.ms", "5", 1) in [(c.name, c.value, c.config_source) for c in topic.configs]
    (command,) = broker.controller.commands
    assert isinstance(command, CreateTopics)
    assert command.validate_only


@on_loop
async def test_every_topic_has_its_own_error(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    refused = CreatedTopic(name="b", error_code=ErrorCode.TOPIC_ALREADY_EXISTS, error_message="it exists")
    broker.controller.script = [TopicsCreated(topics=(created("a"), refused))]
    response = await broker.await_answer(new("a", "b"), 7)
    assert [(t.name, t.error_code, t.error_message) for t in response.topics] == [
        ("a", 0, None),
        ("b", ErrorCode.TOPIC_ALREADY_EXISTS, "it exists"),
    ]
    assert response.topics[1].num_partitions == -1


@on_loop
async def test_a_topic_named_twice_is_answered_once(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    twice = CreatedTopic(name="a", error_code=ErrorCode.INVALID_REQUEST)
    broker.controller.script = [TopicsCreated(topics=(twice, twice))]
    (topic,) = (await broker.await_answer(new("a", "a"), 7)).topics
    assert topic.error_code == ErrorCode.INVALID_REQUEST


@on_loop
async def test_a_controller_that_cannot_be_asked_in_time_is_a_timeout_for_every_topic(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT, "nobody answered")
    response = await broker.await_answer(new("a", "b"), 7)
    assert [(t.error_code, t.error_message) for t in response.topics] == [(7, "nobody answered")] * 2


@pytest.mark.parametrize(("asked", "given"), [(0, TIMEOUT_MS_MIN), (-5, TIMEOUT_MS_MIN), (1 << 31, TIMEOUT_MS_MAX)])
@on_loop
async def test_timeouts_of_clients_have_bounds(tmp_path: Path, asked: int, given: int) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [TopicsCreated(topics=(created("a"),))]
    await broker.await_answer(new("a", timeout_ms=asked), 7)
    assert broker.controller.timeouts == [given]


@on_loop
async def test_clients_do_not_create_the_topics_of_coordinators(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"__consumer_offsets": [partition_image()]}))
    broker.controller.script = [TopicsCreated(topics=(created("a"),))]
    response = await broker.await_answer(new("__consumer_offsets", "a", "__transaction_state"), 7)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [
        ("__consumer_offsets", ErrorCode.TOPIC_ALREADY_EXISTS),
        ("a", ErrorCode.NONE),
        ("__transaction_state", ErrorCode.INVALID_TOPIC_EXCEPTION),
    ]


# DeleteTopics.


@on_loop
async def test_topics_are_deleted_by_name_or_id(tmp_path: Path) -> None:
    """KIP-516."""
    broker = Broker(tmp_path)
    broker.controller.script = [
        TopicsDeleted(
            topics=(
                DeletedTopic(name="a", topic_id=topic_id("a")),
                DeletedTopic(
                    name=None, topic_id=topic_id("b"), error_code=ErrorCode.UNKNOWN_TOPIC_ID, error_message="no"
                ),
            )
        )
    ]
    request = DeleteTopicsRequest(
        timeout_ms=5000, topics=[DeleteTopicState(name="a"), DeleteTopicState(name=None, topic_id=topic_id("b"))]
    )
    response = await broker.await_answer(request, 6)
    assert broker.controller.commands == [
        DeleteTopics(topics=(TopicReference(name="a"), TopicReference(topic_id=topic_id("b"))))
    ]
    assert [(t.name, t.topic_id, t.error_code, t.error_message) for t in response.responses] == [
        ("a", topic_id("a"), 0, None),
        (None, topic_id("b"), ErrorCode.UNKNOWN_TOPIC_ID, "no"),
    ]


@on_loop
async def test_older_versions_name_topics_in_another_field(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [TopicsDeleted(topics=(DeletedTopic(name="a", topic_id=topic_id("a")),))]
    response = await broker.await_answer(DeleteTopicsRequest(topic_names=["a"], timeout_ms=5000), 5)
    assert broker.controller.commands == [DeleteTopics(topics=(TopicReference(name="a"),))]
    assert [(t.name, t.error_code) for t in response.responses] == [("a", 0)]


@pytest.mark.parametrize("state", [DeleteTopicState(name=None), DeleteTopicState(name="a", topic_id=topic_id("a"))])
@on_loop
async def test_a_topic_is_deleted_by_one_of_both(tmp_path: Path, state: DeleteTopicState) -> None:
    broker = Broker(tmp_path)
    response = await broker.await_answer(DeleteTopicsRequest(topics=[state], timeout_ms=5000), 6)
    assert response.responses[0].error_code == ErrorCode.INVALID_REQUEST
    assert broker.controller.commands == []


@on_loop
async def test_a_topic_named_twice_is_not_deleted(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [TopicsDeleted(topics=(DeletedTopic(name="b", topic_id=topic_id("b")),))]
    response = await broker.await_answer(DeleteTopicsRequest(topic_names=["a", "b", "a"], timeout_ms=5000), 5)
    assert [(t.name, t.error_code) for t in response.responses] == [("a", ErrorCode.INVALID_REQUEST), ("b", 0)]
    assert broker.controller.commands == [DeleteTopics(topics=(TopicReference(name="b"),))]


@pytest.mark.parametrize(("version", "code"), [(2, ErrorCode.INVALID_REQUEST), (3, ErrorCode.TOPIC_DELETION_DISABLED)])
@on_loop
async def test_deletion_can_be_forbidden(tmp_path: Path, version: int, code: ErrorCode) -> None:
    broker = Broker(tmp_path, settings={"delete.topic.enable": "false"})
    response = await broker.await_answer(DeleteTopicsRequest(topic_names=["a"], timeout_ms=5000), version)
    assert response.responses[0].error_code == code
    assert broker.controller.commands == []


@on_loop
async def test_a_deletion_without_controller_is_a_timeout(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT)
    response = await broker.await_answer(DeleteTopicsRequest(topic_names=["a"], timeout_ms=5000), 5)
    assert response.responses[0].error_code == ErrorCode.REQUEST_TIMED_OUT


# CreatePartitions.


@on_loop
async def test_partitions_are_added(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [
        PartitionsCreated(
            topics=(
                ExtendedTopic(name="a"),
                ExtendedTopic(name="b", error_code=ErrorCode.INVALID_PARTITIONS, error_message="it has more"),
            )
        )
    ]
    request = CreatePartitionsRequest(
        timeout_ms=5000,
        validate_only=True,
        topics=[
            CreatePartitionsTopic(name="a", count=2, assignments=[CreatePartitionsAssignment(broker_ids=[1, 2])]),
            CreatePartitionsTopic(name="b", count=1, assignments=None),
        ],
    )
    response = await broker.await_answer(request, 3)
    assert broker.controller.commands == [
        CreatePartitions(
            topics=(NewPartitions(name="a", count=2, assignments=((1, 2),)), NewPartitions(name="b", count=1)),
            validate_only=True,
        )
    ]
    assert [(t.name, t.error_code, t.error_message) for t in response.results] == [
        ("a", 0, None),
        ("b", ErrorCode.INVALID_PARTITIONS, "it has more"),
    ]


@on_loop
async def test_adding_partitions_without_controller_is_a_timeout(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT)
    request = CreatePartitionsRequest(timeout_ms=5000, topics=[CreatePartitionsTopic(name="a", count=2)])
    response = await broker.await_answer(request, 3)
    assert response.results[0].error_code == ErrorCode.REQUEST_TIMED_OUT


# DeleteRecords.


def deleting(broker: Broker, offset: int, topic: str = "t") -> tuple[int, int]:
    """(error code, low watermark)."""
    item = DeleteRecordsPartition(partition_index=0, offset=offset)
    request = DeleteRecordsRequest(topics=[DeleteRecordsTopic(name=topic, partitions=[item])], timeout_ms=1000)
    (answer,) = broker.ask(request, 2).topics[0].partitions
    return answer.error_code, answer.low_watermark


def with_records(folder: Path, topic: str = "t", config: LogConfig | None = None) -> Broker:
    broker = Broker(folder, cluster_image({topic: [partition_image()]}))
    partition = broker.replicas.add(topic, 0, config)
    for value in (b"a", b"b", b"c", b"not committed"):
        commit(partition)
        partition.append(build_batch([NewRecord(b"key", value, WALL_MS)]), 1, WALL_MS)
    return broker


def test_records_are_deleted_up_to_an_offset(tmp_path: Path) -> None:
    """KIP-107: -1 means the high watermark."""
    broker = with_records(tmp_path)
    assert deleting(broker, 2) == (0, 2)
    assert deleting(broker, 1) == (0, 2)
    assert deleting(broker, -1) == (0, 3)
    assert broker.replicas.partition("t", 0).log.log_start_offset == 3


def test_what_is_not_committed_cannot_be_deleted(tmp_path: Path) -> None:
    assert deleting(with_records(tmp_path), 4) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1)


def test_compacted_topics_and_those_of_coordinators_are_not_cut(tmp_path: Path) -> None:
    compacted = with_records(tmp_path / "1", config=LogConfig(cleanup_policy=frozenset((CleanupPolicy.COMPACT,))))
    assert deleting(compacted, 1) == (ErrorCode.POLICY_VIOLATION, -1)
    internal = with_records(tmp_path / "2", "__consumer_offsets")
    assert deleting(internal, 1, "__consumer_offsets") == (ErrorCode.INVALID_TOPIC_EXCEPTION, -1)


def test_records_are_deleted_by_the_leader_alone(tmp_path: Path) -> None:
    broker = with_records(tmp_path)
    broker.replicas.partition("t", 0).on_image(partition_image(leader=2, epoch=6), 0)
    assert deleting(broker, 1) == (ErrorCode.NOT_LEADER_OR_FOLLOWER, -1)
    assert deleting(broker, 1, "absent") == (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1)
