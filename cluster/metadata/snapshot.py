"""A `MetadataImage` as one flat value that can be encoded: equal images give equal snapshots, byte for byte.

Also the controller's whole replicated state, which is the image and what each client has been answered. Pure.
"""

from dataclasses import dataclass

from cluster.ids import Uuid
from cluster.metadata.image import BrokerImage, ConfigKey, MetadataImage, TopicImage
from cluster.metadata.records import ConfigRecord, FeatureLevelRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedTopic:
    """A name whose next topic begins at `leader_epoch`."""

    name: str
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSnapshot:
    """Everything is sorted by its key, except `removed_topics`: oldest first."""

    offset: int
    controller_epoch: int
    cluster_id: str
    features: tuple[FeatureLevelRecord, ...]
    brokers: tuple[BrokerImage, ...]
    topics: tuple[TopicImage, ...]
    configs: tuple[ConfigRecord, ...]
    next_producer_id: int
    removed_topics: tuple[RemovedTopic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledResult:
    """An encoded AppliedCommand, as it was answered."""

    sequence: int
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSnapshot:
    client: Uuid
    settled_below: int
    #: In order of sequence.
    results: tuple[SettledResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSnapshot:
    metadata: MetadataSnapshot
    #: The client that was heard least lately comes first.
    clients: tuple[ClientSnapshot, ...]


def snapshot_of(image: MetadataImage) -> MetadataSnapshot:
    return MetadataSnapshot(
        offset=image.offset,
        controller_epoch=image.controller_epoch,
        cluster_id=image.cluster_id,
        features=tuple(FeatureLevelRecord(name=name, level=image.features[name]) for name in sorted(image.features)),
        brokers=tuple(image.brokers[broker_id] for broker_id in sorted(image.brokers)),
        topics=tuple(image.topics[image.topic_ids[name]] for name in sorted(image.topic_ids)),
        configs=tuple(
            ConfigRecord(resource_type=kind, resource_name=name, key=key, value=values[key])
            for (kind, name), values in sorted(image.configs.items(), key=lambda item: item[0])
            for key in sorted(values)
        ),
        next_producer_id=image.next_producer_id,
        removed_topics=tuple(
            RemovedTopic(name=name, leader_epoch=epoch) for name, epoch in image.removed_topics.items()
        ),
    )


def image_of(snapshot: MetadataSnapshot) -> MetadataImage:
    """The inverse of `snapshot_of`. Raises ValueError when a key is there twice."""
    configs: dict[ConfigKey, dict[str, str]] = {}
    for config in snapshot.configs:
        if config.value is None:
            raise ValueError(f"a snapshot holds {config.key} of {config.resource_name!r} without a value")
        configs.setdefault((config.resource_type, config.resource_name), {})[config.key] = config.value
    image = MetadataImage(
        offset=snapshot.offset,
        controller_epoch=snapshot.controller_epoch,
        cluster_id=snapshot.cluster_id,
        features={feature.name: feature.level for feature in snapshot.features},
        brokers={broker.broker_id: broker for broker in snapshot.brokers},
        topics={topic.topic_id: topic for topic in snapshot.topics},
        topic_ids={topic.name: topic.topic_id for topic in snapshot.topics},
        configs=configs,
        next_producer_id=snapshot.next_producer_id,
        removed_topics={removed.name: removed.leader_epoch for removed in snapshot.removed_topics},
    )
    if len(image.brokers) < len(snapshot.brokers):
        raise ValueError("a snapshot holds a broker twice")
    if len(image.topics) < len(snapshot.topics) or len(image.topic_ids) < len(snapshot.topics):
        raise ValueError("a snapshot holds a topic twice")
    return image
