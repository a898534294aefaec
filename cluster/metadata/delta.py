"""What changed between two images, as one broker sees it: this is what drives replication.

Pure. Parts are compared by identity, which images of one history share; two equal parts of unrelated images count as
changed, which costs work and nothing else.
"""

from dataclasses import dataclass

from cluster.ids import TopicIdPartition, Uuid
from cluster.metadata.image import MetadataImage, PartitionImage, TopicImage
from cluster.metadata.records import ResourceType


@dataclass(frozen=True, slots=True)
class PartitionDelta:
    """One partition of which the broker is or becomes a replica."""

    topic_id: Uuid
    topic: str
    partition: int
    #: None where the broker held no replica before.
    old: PartitionImage | None
    new: PartitionImage


@dataclass(frozen=True, slots=True)
class RemovedReplica:
    """A partition of which the broker is no replica any more."""

    topic_id: Uuid
    topic: str
    partition: int
    old: PartitionImage

    @property
    def topic_id_partition(self) -> TopicIdPartition:
        return TopicIdPartition(self.topic_id, self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataDelta:
    """Everything is in order of topic name and partition; no partition is in two of the first five."""

    #: The broker leads and did not, or leads in a new leader epoch.
    to_lead: tuple[PartitionDelta, ...] = ()
    #: The broker follows and did not, or follows another leader or leader epoch. There may be no leader.
    to_follow: tuple[PartitionDelta, ...] = ()
    #: Role, leader and leader epoch are as they were; ISR, partition epoch or something else is not.
    updated: tuple[PartitionDelta, ...] = ()
    #: The partition lives on elsewhere.
    to_stop: tuple[RemovedReplica, ...] = ()
    #: The topic is gone.
    to_delete: tuple[RemovedReplica, ...] = ()
    #: Existing topics whose own configuration changed.
    topic_configs: tuple[str, ...] = ()
    #: Whether the broker's own dynamic configuration, or that of all brokers, changed.
    broker_config: bool = False
    #: Brokers that registered, changed or went.
    brokers: tuple[int, ...] = ()


def delta_of(broker_id: int, old: MetadataImage, new: MetadataImage) -> MetadataDelta:
    """What `broker_id` has to do to get from `old` to `new`."""
    to_lead: list[PartitionDelta] = []
    to_follow: list[PartitionDelta] = []
    updated: list[PartitionDelta] = []
    to_stop: list[RemovedReplica] = []
    to_delete: list[RemovedReplica] = []
    for topic, before in _changed_topics(old, new):
        for number, partition in enumerate(topic.partitions):
            known = before.partitions[number] if before is not None and number < len(before.partitions) else None
            if known is partition:
                continue
            held = known if known is not None and broker_id in known.replicas else None
            if broker_id not in partition.replicas:
                if held is not None:
                    to_stop.append(RemovedReplica(topic.topic_id, topic.name, number, held))
                continue
            change = PartitionDelta(topic.topic_id, topic.name, number, held, partition)
            if held is not None and _same_leadership(held, partition):
                updated.append(change)
            elif partition.leader == broker_id:
                to_lead.append(change)
            else:
                to_follow.append(change)
    for topic in _removed_topics(old, new):
        for number, partition in enumerate(topic.partitions):
            if broker_id in partition.replicas:
                to_delete.append(RemovedReplica(topic.topic_id, topic.name, number, partition))
    return MetadataDelta(
        to_lead=tuple(to_lead),
        to_follow=tuple(to_follow),
        updated=tuple(updated),
        to_stop=tuple(to_stop),
        to_delete=tuple(to_delete),
        topic_configs=_changed_topic_configs(old, new),
        broker_config=_broker_config_changed(broker_id, old, new),
        brokers=_changed_brokers(old, new),
    )


def _same_leadership(old: PartitionImage, new: PartitionImage) -> bool:
    return (old.leader, old.leader_epoch) == (new.leader, new.leader_epoch)


def _changed_topics(old: MetadataImage, new: MetadataImage) -> list[tuple[TopicImage, TopicImage | None]]:
    if old.topics is new.topics:
        return []
    changed = [
        (topic, old.topics.get(topic_id))
        for topic_id, topic in new.topics.items()
        if old.topics.get(topic_id) is not topic
    ]
    return sorted(changed, key=lambda pair: pair[0].name)


def _removed_topics(old: MetadataImage, new: MetadataImage) -> list[TopicImage]:
    if old.topics is new.topics:
        return []
    return sorted((topic for topic_id, topic in old.topics.items() if topic_id not in new.topics), key=lambda t: t.name)


def _changed_topic_configs(old: MetadataImage, new: MetadataImage) -> tuple[str, ...]:
    if old.configs is new.configs:
        return ()
    names = {
        name for kind, name in {*old.configs, *new.configs} if kind is ResourceType.TOPIC and name in new.topic_ids
    }
    return tuple(
        sorted(
            name
            for name in names
            if old.configs.get((ResourceType.TOPIC, name)) is not new.configs.get((ResourceType.TOPIC, name))
        )
    )


def _broker_config_changed(broker_id: int, old: MetadataImage, new: MetadataImage) -> bool:
    keys = ((ResourceType.BROKER, ""), (ResourceType.BROKER, str(broker_id)))
    return old.configs is not new.configs and any(old.configs.get(key) is not new.configs.get(key) for key in keys)


def _changed_brokers(old: MetadataImage, new: MetadataImage) -> tuple[int, ...]:
    if old.brokers is new.brokers:
        return ()
    return tuple(
        sorted(
            broker_id
            for broker_id in {*old.brokers, *new.brokers}
            if old.brokers.get(broker_id) is not new.brokers.get(broker_id)
        )
    )
