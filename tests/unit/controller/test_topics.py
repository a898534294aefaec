"""Topics are created, extended and deleted (KIP-4, KIP-195, KIP-464, KIP-516)."""

import pytest

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Uuid
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
    CommandFailed,
    CreatedTopic,
    DeletedTopic,
    ExtendedTopic,
    PartitionsCreated,
    TopicsCreated,
    TopicsDeleted,
)
from tests.unit.controller.world import World


def _world() -> World:
    world = World()
    world.start(1, 2, 3)
    return world


def _create(world: World, *topics: NewTopic, validate_only: bool = False) -> tuple[CreatedTopic, ...]:
    result = world.do(CreateTopics(topics=topics, validate_only=validate_only))
    assert isinstance(result, TopicsCreated)
    return result.topics


def _error(world: World, topic: NewTopic) -> ErrorCode:
    before = world.image
    (result,) = _create(world, topic)
    assert world.image is before
    assert result.error_message
    assert (result.topic_id, result.partitions, result.replication_factor) == (ZERO_UUID, -1, -1)
    return result.error_code


def _extend(world: World, topic: NewPartitions, validate_only: bool = False) -> ExtendedTopic:
    result = world.do(CreatePartitions(topics=(topic,), validate_only=validate_only))
    assert isinstance(result, PartitionsCreated)
    return result.topics[0]


def _delete(world: World, *topics: TopicReference) -> tuple[DeletedTopic, ...]:
    result = world.do(DeleteTopics(topics=topics))
    assert isinstance(result, TopicsDeleted)
    return result.topics


def test_a_topic_without_numbers_gets_the_cluster_defaults() -> None:
    world = _world()
    (result,) = _create(world, NewTopic(name="t"))
    assert (result.error_code, result.partitions, result.replication_factor) == (ErrorCode.NONE, 1, 3)
    topic = world.image.topic("t")
    assert topic is not None
    assert topic.topic_id == result.topic_id
    partition = topic.partitions[0]
    assert sorted(partition.replicas) == [1, 2, 3]
    assert partition.isr == partition.replicas
    assert partition.leader == partition.replicas[0]


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        (NewTopic(name=""), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name=".."), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="a" * 250), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="a/b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="t\n"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="ünï"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="a.b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (NewTopic(name="a_b"), ErrorCode.TOPIC_ALREADY_EXISTS),
        (NewTopic(name="t", partitions=0), ErrorCode.INVALID_PARTITIONS),
        (NewTopic(name="t", partitions=-2), ErrorCode.INVALID_PARTITIONS),
        (NewTopic(name="t", replication_factor=0), ErrorCode.INVALID_REPLICATION_FACTOR),
        (NewTopic(name="t", replication_factor=4), ErrorCode.INVALID_REPLICATION_FACTOR),
        (NewTopic(name="t", configs=(ConfigValue(key="no.such", value="1"),)), ErrorCode.INVALID_CONFIG),
        (NewTopic(name="t", configs=(ConfigValue(key="retention.ms", value="x"),)), ErrorCode.INVALID_CONFIG),
        (NewTopic(name="t", configs=(ConfigValue(key="retention.ms", value=None),)), ErrorCode.INVALID_CONFIG),
        (
            NewTopic(name="t", partitions=1, assignments=(Assignment(partition=0, replicas=(1,)),)),
            ErrorCode.INVALID_REQUEST,
        ),
        (
            NewTopic(name="t", assignments=(Assignment(partition=1, replicas=(1,)),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            NewTopic(name="t", assignments=(Assignment(partition=0, replicas=()),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            NewTopic(name="t", assignments=(Assignment(partition=0, replicas=(1, 1)),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            NewTopic(name="t", assignments=(Assignment(partition=0, replicas=(9,)),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            NewTopic(
                name="t",
                assignments=(Assignment(partition=0, replicas=(1, 2)), Assignment(partition=1, replicas=(1,))),
            ),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
    ],
)
def test_a_bad_topic_is_refused_and_changes_nothing(topic: NewTopic, code: ErrorCode) -> None:
    world = _world()
    world.create("a_b", (1,))
    assert _error(world, topic) is code


def test_a_name_twice_in_one_request_refuses_both_and_spares_the_others() -> None:
    world = _world()
    results = _create(world, NewTopic(name="t"), NewTopic(name="u"), NewTopic(name="t"))
    codes = [result.error_code for result in results]
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.NONE, ErrorCode.INVALID_REQUEST]
    assert set(world.image.topic_ids) == {"u"}


def test_colliding_names_in_one_request_are_seen() -> None:
    world = _world()
    results = _create(world, NewTopic(name="a.b"), NewTopic(name="a_b"))
    assert [result.error_code for result in results] == [ErrorCode.NONE, ErrorCode.INVALID_TOPIC_EXCEPTION]


def test_too_many_partitions_refuse_the_request() -> None:
    world = _world()
    result = world.run(CreateTopics(topics=(NewTopic(name="a", partitions=6000), NewTopic(name="b", partitions=4001))))
    assert isinstance(result, CommandFailed)
    assert result.error_code is ErrorCode.POLICY_VIOLATION


def test_validation_answers_as_if_and_changes_nothing() -> None:
    world = _world()
    before = world.image
    (result,) = _create(world, NewTopic(name="t", partitions=4), validate_only=True)
    assert (result.error_code, result.partitions, result.topic_id) == (ErrorCode.NONE, 4, ZERO_UUID)
    assert world.image is before


def test_configs_are_stored_with_the_topic_and_go_with_it() -> None:
    world = _world()
    _create(world, NewTopic(name="t", configs=(ConfigValue(key="retention.ms", value="5"),)))
    assert world.image.topic_config("t") == {"retention.ms": "5"}
    _delete(world, TopicReference(name="t"))
    assert world.image.topic_config("t") == {}


def test_fenced_brokers_are_given_replicas_but_are_not_in_the_isr() -> None:
    world = _world()
    world.fence(2)
    (result,) = _create(world, NewTopic(name="t", partitions=6, replication_factor=3))
    assert result.error_code is ErrorCode.NONE
    topic = world.image.topic("t")
    assert topic is not None
    for partition in topic.partitions:
        assert 2 in partition.replicas
        assert 2 not in partition.isr
        assert partition.leader == partition.replicas[0] != 2


def test_a_manual_assignment_to_fenced_brokers_only_is_refused() -> None:
    world = _world()
    world.fence(2)
    topic = NewTopic(name="t", assignments=(Assignment(partition=0, replicas=(2,)),))
    assert _error(world, topic) is ErrorCode.INVALID_REPLICA_ASSIGNMENT


def test_leader_epochs_of_a_name_never_fall() -> None:
    """librdkafka ignores metadata whose leader epoch is below what it has seen for the name."""
    world = _world()
    first = world.create("t", (1, 2))
    world.fence(1)
    assert world.partition("t").leader_epoch == 1
    _delete(world, TopicReference(name="t"))
    second = world.create("t", (2, 3))
    assert second.topic_id != first.topic_id
    assert second.partitions[0].leader_epoch == 2
    _extend(world, NewPartitions(name="t", count=2))
    assert world.partition("t", 1).leader_epoch == 2


def test_topics_are_deleted_by_name_or_id() -> None:
    world = _world()
    by_name, by_id = world.create("a", (1,)), world.create("b", (1,))
    results = _delete(world, TopicReference(name="a"), TopicReference(topic_id=by_id.topic_id))
    assert [(item.name, item.topic_id) for item in results] == [("a", by_name.topic_id), ("b", by_id.topic_id)]
    assert not world.image.topics


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        (TopicReference(name="no"), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (TopicReference(topic_id=Uuid(b"x" * 16)), ErrorCode.UNKNOWN_TOPIC_ID),
        (TopicReference(), ErrorCode.INVALID_REQUEST),
        (TopicReference(name="t", topic_id=Uuid(b"x" * 16)), ErrorCode.INVALID_REQUEST),
    ],
)
def test_deleting_what_is_not_there_is_an_error_of_its_own(reference: TopicReference, code: ErrorCode) -> None:
    world = _world()
    world.create("t", (1,))
    (result,) = _delete(world, reference)
    assert result.error_code is code
    assert "t" in world.image.topic_ids


def test_a_topic_that_is_to_be_deleted_twice_in_one_request_stays() -> None:
    world = _world()
    topic = world.create("t", (1,))
    results = _delete(world, TopicReference(name="t"), TopicReference(topic_id=topic.topic_id))
    assert [item.error_code for item in results] == [ErrorCode.INVALID_REQUEST] * 2
    (result,) = _delete(world, TopicReference(name="t"), TopicReference(name="t"))
    assert result.error_code is ErrorCode.INVALID_REQUEST
    assert "t" in world.image.topic_ids


def test_a_topic_that_is_to_be_extended_twice_in_one_request_is_answered_once() -> None:
    world = _world()
    world.create("t", (1, 2))
    result = world.do(CreatePartitions(topics=(NewPartitions(name="t", count=4), NewPartitions(name="t", count=5))))
    assert isinstance(result, PartitionsCreated)
    assert [topic.error_code for topic in result.topics] == [ErrorCode.INVALID_REQUEST]


def test_partitions_are_added_up_to_a_new_total() -> None:
    world = _world()
    world.create("t", (1, 2))
    assert _extend(world, NewPartitions(name="t", count=4)).error_code is ErrorCode.NONE
    topic = world.image.topic("t")
    assert topic is not None
    assert [len(partition.replicas) for partition in topic.partitions] == [2] * 4


def test_partitions_go_where_they_are_assigned() -> None:
    world = _world()
    world.create("t", (1, 2))
    extended = _extend(world, NewPartitions(name="t", count=3, assignments=((2, 3), (3, 1))))
    assert extended.error_code is ErrorCode.NONE
    assert [world.partition("t", n).replicas for n in range(3)] == [(1, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (NewPartitions(name="no", count=2), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (NewPartitions(name="t", count=1), ErrorCode.INVALID_PARTITIONS),
        (NewPartitions(name="t", count=0), ErrorCode.INVALID_PARTITIONS),
        (NewPartitions(name="t", count=3, assignments=((1, 2),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        (NewPartitions(name="t", count=2, assignments=((1,),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
)
def test_a_bad_extension_is_refused(request_: NewPartitions, code: ErrorCode) -> None:
    world = _world()
    world.create("t", (1, 2))
    result = _extend(world, request_)
    assert result.error_code is code
    assert result.error_message


def test_a_validated_extension_changes_nothing() -> None:
    world = _world()
    world.create("t", (1, 2))
    before = world.image
    assert _extend(world, NewPartitions(name="t", count=2), validate_only=True).error_code is ErrorCode.NONE
    assert world.image is before
