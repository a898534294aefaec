"""Metadata: which topics, whose addresses, and what a question may create."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.api.answers import Encoded
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID
from cluster.metadata.commands import CreateTopics, NewTopic
from cluster.metadata.image import MetadataImage
from cluster.metadata.results import CreatedTopic, TopicsCreated
from cluster.wire.headers import decode_response
from cluster.wire.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from tests.unit.api.rig import (
    CLUSTER_ID,
    Broker,
    broker_image,
    cluster_image,
    partition_image,
    topic_id,
)
from tests.unit.broker.wire_rig import on_loop

NO_CREATION = {"auto.create.topics.enable": "false"}


def asked(*names: str | None, ids: tuple[Any, ...] = (), **fields: Any) -> MetadataRequest:
    topics = [MetadataRequestTopic(name=name) for name in names]
    topics += [MetadataRequestTopic(name=None, topic_id=each) for each in ids]
    return MetadataRequest(topics=topics, **fields)


def answer(broker: Broker, request: MetadataRequest, version: int, listener: str = "PLAINTEXT") -> MetadataResponse:
    """The response, read as a client reads it."""
    encoded = broker.call(request, version, listener=listener)
    assert isinstance(encoded, Encoded)
    return decode_response(MetadataResponse, version, bytes(4) + encoded.body)


def broker_with(folder: Path, image: MetadataImage) -> Broker:
    return Broker(folder, image, NO_CREATION)


def two_topics() -> MetadataImage:
    return cluster_image({"a": [partition_image()], "b": [partition_image(leader=2), partition_image(leader=3)]})


# Which topics.


@pytest.mark.parametrize(
    ("topics", "version", "names"),
    [([], 0, ["a", "b"]), ([], 1, []), (None, 1, ["a", "b"]), (None, 13, ["a", "b"]), ([], 12, [])],
)
def test_all_topics_are_an_empty_list_in_version_0_and_null_later(
    tmp_path: Path, topics: list[Any] | None, version: int, names: list[str]
) -> None:
    response = answer(broker_with(tmp_path, two_topics()), MetadataRequest(topics=topics), version)
    assert [topic.name for topic in response.topics] == names


@pytest.mark.parametrize("version", range(14))
def test_every_version_tells_brokers_and_leaders(tmp_path: Path, version: int) -> None:
    response = answer(broker_with(tmp_path, two_topics()), asked("b"), version)
    assert [(b.node_id, b.host, b.port) for b in response.brokers] == [
        (1, "host-1", 9092),
        (2, "host-2", 9092),
        (3, "host-3", 9092),
    ]
    (topic,) = response.topics
    assert [p.leader_id for p in topic.partitions] == [2, 3]
    assert [list(p.replica_nodes) for p in topic.partitions] == [[1, 2, 3]] * 2
    if version >= 7:
        assert [p.leader_epoch for p in topic.partitions] == [5, 5]
    if version >= 10:
        assert topic.topic_id == topic_id("b")
    if version >= 2:
        assert response.cluster_id == CLUSTER_ID


def test_an_unknown_topic_is_echoed_with_its_error(tmp_path: Path) -> None:
    (topic,) = answer(broker_with(tmp_path, two_topics()), asked("c"), 9).topics
    assert (topic.name, topic.error_code) == ("c", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 250, "ü"])
def test_an_illegal_name_is_an_invalid_topic(tmp_path: Path, name: str) -> None:
    (topic,) = answer(broker_with(tmp_path, two_topics()), asked(name), 9).topics
    assert topic.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


def test_a_topic_asked_for_twice_is_answered_once(tmp_path: Path) -> None:
    assert len(answer(broker_with(tmp_path, two_topics()), asked("a", "a"), 9).topics) == 1


def test_topics_are_found_by_id(tmp_path: Path) -> None:
    """KIP-516: the answer to an unknown id has no name."""
    response = answer(broker_with(tmp_path, two_topics()), asked(ids=(topic_id("a"), topic_id("gone"))), 12)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [
        ("a", ErrorCode.NONE),
        (None, ErrorCode.UNKNOWN_TOPIC_ID),
    ]


def test_topics_of_coordinators_are_marked(tmp_path: Path) -> None:
    image = cluster_image({"__consumer_offsets": [partition_image()]})
    (topic,) = answer(broker_with(tmp_path, image), MetadataRequest(topics=None), 9).topics
    assert topic.is_internal


# Leaders and addresses.


def test_a_partition_without_leader_stays_in_the_list(tmp_path: Path) -> None:
    """A consumer takes a missing partition for a topic that shrank."""
    image = cluster_image({"t": [partition_image(leader=-1), partition_image()]})
    (topic,) = answer(broker_with(tmp_path, image), asked("t"), 9).topics
    assert topic.error_code == ErrorCode.NONE
    assert [(p.partition_index, p.leader_id, p.error_code) for p in topic.partitions] == [
        (0, -1, ErrorCode.LEADER_NOT_AVAILABLE),
        (1, 1, ErrorCode.NONE),
    ]


def listeners_apart() -> MetadataImage:
    """Broker 2 has no EXTERNAL listener, and leads."""
    brokers = [
        broker_image(1, listeners=("PLAINTEXT", "EXTERNAL")),
        broker_image(2),
        broker_image(3, listeners=("PLAINTEXT", "EXTERNAL")),
    ]
    return cluster_image({"t": [partition_image(leader=2)]}, brokers=brokers)


def test_addresses_are_those_of_the_clients_listener(tmp_path: Path) -> None:
    """KIP-103: a broker that has no such listener is left out, because the client could not reach it."""
    broker = broker_with(tmp_path, listeners_apart())
    response = answer(broker, asked("t"), 9, "EXTERNAL")
    assert [(b.node_id, b.port) for b in response.brokers] == [(1, 9093), (3, 9093)]
    (partition,) = response.topics[0].partitions
    assert (partition.leader_id, partition.error_code) == (-1, ErrorCode.LISTENER_NOT_FOUND)
    assert list(partition.offline_replicas) == [2]
    assert list(partition.replica_nodes) == [1, 2, 3]
    (inside,) = answer(broker, asked("t"), 9).topics[0].partitions
    assert (inside.leader_id, inside.error_code) == (2, ErrorCode.NONE)


def test_older_clients_do_not_know_of_listeners(tmp_path: Path) -> None:
    (partition,) = answer(broker_with(tmp_path, listeners_apart()), asked("t"), 5, "EXTERNAL").topics[0].partitions
    assert partition.error_code == ErrorCode.LEADER_NOT_AVAILABLE


def test_fenced_brokers_are_left_out_and_their_replicas_are_offline(tmp_path: Path) -> None:
    brokers = [broker_image(1), broker_image(2, fenced=True), broker_image(3)]
    image = cluster_image({"t": [partition_image(isr=(1, 3))]}, brokers=brokers)
    response = answer(broker_with(tmp_path, image), asked("t"), 9)
    assert [b.node_id for b in response.brokers] == [1, 3]
    (partition,) = response.topics[0].partitions
    assert (list(partition.isr_nodes), list(partition.offline_replicas)) == ([1, 3], [2])


def test_the_oldest_version_lists_only_replicas_that_can_be_reached(tmp_path: Path) -> None:
    brokers = [broker_image(1), broker_image(2, fenced=True), broker_image(3)]
    image = cluster_image({"t": [partition_image(isr=(1, 3))]}, brokers=brokers)
    (partition,) = answer(broker_with(tmp_path, image), asked("t"), 0).topics[0].partitions
    assert list(partition.replica_nodes) == [1, 3]
    assert (partition.leader_id, partition.error_code) == (1, ErrorCode.REPLICA_NOT_AVAILABLE)


def test_racks_are_null_where_there_are_none(tmp_path: Path) -> None:
    image = cluster_image(brokers=[broker_image(1), broker_image(2, rack="r")])
    assert [b.rack for b in answer(broker_with(tmp_path, image), asked(), 9).brokers] == [None, "r"]


def test_the_controller_is_a_broker_that_the_client_can_reach(tmp_path: Path) -> None:
    """KIP-590: any broker forwards, so this one will do."""
    assert answer(broker_with(tmp_path, two_topics()), asked(), 9).controller_id == 1
    image = cluster_image(brokers=[broker_image(1, fenced=True), broker_image(2)])
    assert answer(broker_with(tmp_path, image), asked(), 9).controller_id == 2
    assert answer(broker_with(tmp_path, cluster_image(brokers=[])), asked(), 9).controller_id == -1


def test_authorized_operations_are_told_to_those_who_ask(tmp_path: Path) -> None:
    """KIP-430."""
    broker = broker_with(tmp_path, two_topics())
    asking = asked("a", include_cluster_authorized_operations=True, include_topic_authorized_operations=True)
    told, quiet = answer(broker, asking, 8), answer(broker, asked("a"), 8)
    assert told.cluster_authorized_operations == 0b1111110100000
    assert told.topics[0].topic_authorized_operations == 0b110111111000
    assert quiet.cluster_authorized_operations == quiet.topics[0].topic_authorized_operations == -(1 << 31)


# Kept answers.


def test_an_answer_is_kept_until_the_metadata_changes(tmp_path: Path) -> None:
    broker = broker_with(tmp_path, two_topics())
    first = broker.call(asked("a"), 9)
    assert broker.call(asked("a"), 9) is first
    assert broker.call(asked("a"), 8) is not first
    assert broker.call(asked("b"), 9) is not first
    broker.controller.image = cluster_image({"a": [partition_image(leader=3)]})
    assert answer(broker, asked("a"), 9).topics[0].partitions[0].leader_id == 3


# Creation.


def creates(broker: Broker, *names: str) -> None:
    """Let the next command create topics."""
    new = cluster_image({name: [partition_image()] for name in (*broker.controller.image.topic_ids, *names)}, offset=2)
    broker.controller.script.append(TopicsCreated(topics=tuple(CreatedTopic(name=name) for name in names)))

    def appear(command: object) -> None:
        broker.controller.image = new

    broker.controller.on_command = appear


@on_loop
async def test_a_missing_topic_is_created_and_told_with_its_leader(tmp_path: Path) -> None:
    broker = Broker(tmp_path, two_topics())
    creates(broker, "new")
    response = await broker.await_answer(asked("a", "new"), 9)
    assert [(topic.name, topic.error_code) for topic in response.topics] == [("a", 0), ("new", 0)]
    assert response.topics[1].partitions[0].leader_id == 1
    assert broker.controller.commands == [CreateTopics(topics=(NewTopic(name="new"),))]


@pytest.mark.parametrize("version", [0, 3, 4])
@on_loop
async def test_up_to_version_3_every_question_allows_creation(tmp_path: Path, version: int) -> None:
    broker = Broker(tmp_path, two_topics())
    creates(broker, "new")
    response = await broker.await_answer(asked("new"), version)
    assert response.topics[0].error_code == ErrorCode.NONE


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        (asked("new", allow_auto_topic_creation=False), {}),
        (asked("new"), NO_CREATION),
        (asked("__consumer_offsets"), {}),
        (asked("not/legal"), {}),
        (asked(ids=(topic_id("new"),)), {}),
        (MetadataRequest(topics=None), {}),
    ],
)
def test_nothing_is_created_without_leave(tmp_path: Path, request_: MetadataRequest, settings: dict[str, str]) -> None:
    broker = Broker(tmp_path, two_topics(), settings)
    answer(broker, request_, 12)
    assert broker.controller.commands == []


@on_loop
async def test_clients_that_ask_for_the_same_topic_at_once_cost_one_command(tmp_path: Path) -> None:
    broker = Broker(tmp_path, two_topics())
    creates(broker, "new")
    responses = await asyncio.gather(*(broker.await_answer(asked("new"), 9) for _ in range(5)))
    assert [response.topics[0].error_code for response in responses] == [0] * 5
    assert len(broker.controller.commands) == 1


@on_loop
async def test_a_client_that_leaves_does_not_end_a_creation_for_others(tmp_path: Path) -> None:
    broker = Broker(tmp_path, two_topics())
    creates(broker, "new")
    leaving = asyncio.ensure_future(broker.await_answer(asked("new"), 9))
    staying = asyncio.ensure_future(broker.await_answer(asked("new"), 9))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).topics[0].error_code == ErrorCode.NONE
    await broker.spawner.join()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (ErrorCode.REQUEST_TIMED_OUT, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        (ErrorCode.INVALID_REPLICATION_FACTOR, ErrorCode.INVALID_REPLICATION_FACTOR),
        (ErrorCode.POLICY_VIOLATION, ErrorCode.POLICY_VIOLATION),
    ],
)
@on_loop
async def test_why_a_topic_was_not_created_is_told_unless_asking_again_helps(
    tmp_path: Path, code: ErrorCode, told: ErrorCode
) -> None:
    broker = Broker(tmp_path, two_topics())
    broker.controller.refuse(code)
    (topic,) = (await broker.await_answer(asked("new"), 9)).topics
    assert (topic.error_code, topic.topic_id) == (told, ZERO_UUID)


@on_loop
async def test_a_topic_that_somebody_else_made_meanwhile_is_no_error(tmp_path: Path) -> None:
    broker = Broker(tmp_path, two_topics())
    creates(broker, "new")
    broker.controller.script = [
        TopicsCreated(topics=(CreatedTopic(name="new", error_code=ErrorCode.TOPIC_ALREADY_EXISTS),))
    ]
    (topic,) = (await broker.await_answer(asked("new"), 9)).topics
    assert topic.error_code == ErrorCode.NONE
