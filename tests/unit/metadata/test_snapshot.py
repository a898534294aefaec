"""A snapshot holds the whole image, and equal images give equal bytes."""

import pytest

from cluster.ids import Endpoint, Uuid
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import (
    ClusterRecord,
    ConfigRecord,
    FeatureLevelRecord,
    Listener,
    MetadataRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
    RemoveTopicRecord,
    ResourceType,
    TopicRecord,
)
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import MetadataSnapshot, image_of, snapshot_of


def _broker(broker_id: int) -> RegisterBrokerRecord:
    return RegisterBrokerRecord(
        broker_id=broker_id,
        incarnation_id=Uuid(bytes([broker_id]) * 16),
        broker_epoch=broker_id,
        listeners=(Listener(name="PLAINTEXT", host="h", port=9092),),
        node_endpoint=Endpoint("h", 9000 + broker_id),
    )


def _topic(name: str, number: int) -> list[MetadataRecord]:
    topic_id = Uuid(bytes([number]) * 16)
    return [
        TopicRecord(topic_id=topic_id, name=name),
        PartitionRecord(topic_id=topic_id, partition=0, replicas=(1,), isr=(1,), leader=1, leader_epoch=4),
        ConfigRecord(resource_type=ResourceType.TOPIC, resource_name=name, key="retention.ms", value="5"),
    ]


def _image() -> MetadataImage:
    records: list[MetadataRecord] = [
        ClusterRecord(cluster_id="c"),
        FeatureLevelRecord(name="f", level=1),
        _broker(2),
        _broker(1),
        *_topic("zebra", 1),
        *_topic("ant", 2),
        *_topic("gone", 3),
        RemoveTopicRecord(topic_id=Uuid(bytes([3]) * 16)),
        ConfigRecord(resource_type=ResourceType.BROKER, resource_name="", key="num.partitions", value="3"),
        ProducerIdsRecord(next_producer_id=1000),
    ]
    return MetadataImage().apply(records, 7, 2)


def test_an_image_survives_its_snapshot() -> None:
    image = _image()
    snapshot = codec(MetadataSnapshot).decode(codec(MetadataSnapshot).encode(snapshot_of(image)))
    assert image_of(snapshot) == image
    assert image.removed_topics == {"gone": 5}


def test_the_order_of_history_does_not_show_in_a_snapshot() -> None:
    image = _image()
    other = image_of(snapshot_of(image))
    assert list(other.brokers) != list(image.brokers)
    assert codec(MetadataSnapshot).encode(snapshot_of(other)) == codec(MetadataSnapshot).encode(snapshot_of(image))


def test_a_snapshot_with_a_topic_twice_is_refused() -> None:
    snapshot = snapshot_of(_image())
    twice = MetadataSnapshot(
        offset=snapshot.offset,
        controller_epoch=snapshot.controller_epoch,
        cluster_id=snapshot.cluster_id,
        features=(),
        brokers=(),
        topics=(snapshot.topics[0], snapshot.topics[0]),
        configs=(),
        next_producer_id=0,
        removed_topics=(),
    )
    with pytest.raises(ValueError, match="topic twice"):
        image_of(twice)
