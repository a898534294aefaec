"""The image: the whole cluster metadata as one immutable value, and the fold that makes the next one.

Images share structure: a part that did not change is the same object in the next image, so two images are compared by
identity. Pure; never raises on records that the controller wrote (a record that does not fit is a programmer error).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from cluster.ids import Endpoint, Uuid
from cluster.metadata.records import (
    NO_LEADER,
    BrokerRegistrationChangeRecord,
    ClusterRecord,
    ConfigRecord,
    FeatureLevelRecord,
    Listener,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RecoveryState,
    RegisterBrokerRecord,
    RemoveTopicRecord,
    ResourceType,
    TopicRecord,
    UnregisterBrokerRecord,
)

#: Names of deleted topics whose last leader epoch is remembered; the oldest is forgotten first.
REMOVED_TOPICS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerImage:
    """One registered broker."""

    broker_id: int
    incarnation_id: Uuid
    broker_epoch: int
    listeners: tuple[Listener, ...]
    node_endpoint: Endpoint
    rack: str | None
    feature_level_max: int
    #: A fenced broker leads nothing and is in no ISR.
    fenced: bool
    in_controlled_shutdown: bool

    @property
    def active(self) -> bool:
        """Whether it may lead and join an ISR (KIP-841)."""
        return not self.fenced and not self.in_controlled_shutdown

    def listener(self, name: str) -> Listener | None:
        return next((listener for listener in self.listeners if listener.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionImage:
    """One partition. `leader` is NO_LEADER or in `isr`; `isr` and `elr` are disjoint subsets of `replicas`."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    #: Raised by one at every election, never decreases for a topic's name.
    leader_epoch: int
    #: Raised by one at every change.
    partition_epoch: int
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()
    recovery_state: RecoveryState = RecoveryState.RECOVERED

    @property
    def preferred_leader(self) -> int:
        return self.replicas[0]

    def changed(self, record: PartitionChangeRecord) -> "PartitionImage":
        return PartitionImage(
            replicas=self.replicas if record.replicas is None else record.replicas,
            isr=self.isr if record.isr is None else record.isr,
            leader=self.leader if record.leader is None else record.leader,
            leader_epoch=self.leader_epoch if record.leader is None else self.leader_epoch + 1,
            partition_epoch=self.partition_epoch + 1,
            elr=self.elr if record.elr is None else record.elr,
            last_known_elr=self.last_known_elr if record.last_known_elr is None else record.last_known_elr,
            adding_replicas=self.adding_replicas if record.adding_replicas is None else record.adding_replicas,
            removing_replicas=self.removing_replicas if record.removing_replicas is None else record.removing_replicas,
            recovery_state=self.recovery_state if record.recovery_state is None else record.recovery_state,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicImage:
    """One topic; `partitions[n]` is partition n."""

    topic_id: Uuid
    name: str
    partitions: tuple[PartitionImage, ...] = ()


ConfigKey = tuple[ResourceType, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataImage:
    """All metadata as of `offset`. The mappings are never written after construction; treat them as frozen."""

    #: Offset and controller epoch of the last entry folded in; -1 and 0 before the first.
    offset: int = -1
    controller_epoch: int = 0
    #: "" until the cluster exists.
    cluster_id: str = ""
    features: Mapping[str, int] = field(default_factory=dict)
    brokers: Mapping[int, BrokerImage] = field(default_factory=dict)
    topics: Mapping[Uuid, TopicImage] = field(default_factory=dict)
    topic_ids: Mapping[str, Uuid] = field(default_factory=dict)
    #: Only set keys; an empty inner mapping does not occur.
    configs: Mapping[ConfigKey, Mapping[str, str]] = field(default_factory=dict)
    next_producer_id: int = 0
    #: For each name deleted lately, one more than the highest leader epoch that it had: a topic made again under the
    #: name starts there, because clients ignore metadata whose leader epoch falls.
    removed_topics: Mapping[str, int] = field(default_factory=dict)

    def topic(self, name: str) -> TopicImage | None:
        topic_id = self.topic_ids.get(name)
        return None if topic_id is None else self.topics[topic_id]

    def partition(self, topic_id: Uuid, partition: int) -> PartitionImage | None:
        topic = self.topics.get(topic_id)
        if topic is None or not 0 <= partition < len(topic.partitions):
            return None
        return topic.partitions[partition]

    def topic_config(self, name: str) -> Mapping[str, str]:
        """The topic's own keys, without defaults."""
        return self.configs.get((ResourceType.TOPIC, name), {})

    def broker_config(self, broker_id: int) -> Mapping[str, str]:
        """Dynamic broker configuration: the cluster-wide default overlaid with the broker's own keys."""
        default = self.configs.get((ResourceType.BROKER, ""), {})
        own = self.configs.get((ResourceType.BROKER, str(broker_id)), {})
        return {**default, **own}

    def partitions(self) -> Iterator[tuple[TopicImage, int, PartitionImage]]:
        """Every partition, topics in order of name."""
        for name in sorted(self.topic_ids):
            topic = self.topics[self.topic_ids[name]]
            for number, partition in enumerate(topic.partitions):
                yield topic, number, partition

    def apply(self, records: Sequence[MetadataRecord], offset: int, controller_epoch: int) -> "MetadataImage":
        """The image after one entry. Costs the size of what changed plus a shallow copy of each touched mapping."""
        builder = _Builder(self)
        for record in records:
            builder.fold(record)
        return builder.build(offset, controller_epoch)


class _Builder:
    """Copies a mapping of the base image the first time that it is written."""

    def __init__(self, base: MetadataImage) -> None:
        self._base = base
        self._cluster_id = base.cluster_id
        self._next_producer_id = base.next_producer_id
        self._features = dict(base.features)
        self._brokers: dict[int, BrokerImage] | None = None
        self._topics: dict[Uuid, TopicImage] | None = None
        self._topic_ids: dict[str, Uuid] | None = None
        self._configs: dict[ConfigKey, Mapping[str, str]] | None = None
        self._removed: dict[str, int] | None = None
        #: Partition lists of touched topics, made tuples at the end: a thousand changes of one topic cost one copy.
        self._partitions: dict[Uuid, list[PartitionImage]] = {}

    def fold(self, record: MetadataRecord) -> None:
        match record:
            case PartitionChangeRecord():
                partitions = self._partitions_of(record.topic_id)
                partitions[record.partition] = partitions[record.partition].changed(record)
            case PartitionRecord():
                self._fold_partition(record)
            case TopicRecord():
                self._writable_topics()[record.topic_id] = TopicImage(topic_id=record.topic_id, name=record.name)
                self._writable_topic_ids()[record.name] = record.topic_id
            case RemoveTopicRecord():
                self._fold_remove_topic(record)
            case RegisterBrokerRecord():
                self._fold_register(record)
            case BrokerRegistrationChangeRecord():
                self._fold_registration_change(record)
            case UnregisterBrokerRecord():
                del self._writable_brokers()[record.broker_id]
            case ConfigRecord():
                self._fold_config(record)
            case ProducerIdsRecord():
                self._next_producer_id = record.next_producer_id
            case FeatureLevelRecord():
                self._features[record.name] = record.level
            case ClusterRecord():
                self._cluster_id = record.cluster_id
            case _:
                assert_never(record)

    def build(self, offset: int, controller_epoch: int) -> MetadataImage:
        for topic_id, partitions in self._partitions.items():
            topics = self._writable_topics()
            topics[topic_id] = replace(topics[topic_id], partitions=tuple(partitions))
        base = self._base
        return MetadataImage(
            offset=offset,
            controller_epoch=controller_epoch,
            cluster_id=self._cluster_id,
            features=self._features if self._features != base.features else base.features,
            brokers=base.brokers if self._brokers is None else self._brokers,
            topics=base.topics if self._topics is None else self._topics,
            topic_ids=base.topic_ids if self._topic_ids is None else self._topic_ids,
            configs=base.configs if self._configs is None else self._configs,
            next_producer_id=self._next_producer_id,
            removed_topics=base.removed_topics if self._removed is None else self._removed,
        )

    def _fold_partition(self, record: PartitionRecord) -> None:
        partitions = self._partitions_of(record.topic_id)
        assert record.partition == len(partitions), "partitions of a topic are created in order"
        partitions.append(
            PartitionImage(
                replicas=record.replicas,
                isr=record.isr,
                leader=record.leader,
                leader_epoch=record.leader_epoch,
                partition_epoch=0,
                elr=record.elr,
                last_known_elr=record.last_known_elr,
                adding_replicas=record.adding_replicas,
                removing_replicas=record.removing_replicas,
            )
        )

    def _fold_remove_topic(self, record: RemoveTopicRecord) -> None:
        partitions = self._partitions.pop(record.topic_id, None)
        topic = self._writable_topics().pop(record.topic_id)
        del self._writable_topic_ids()[topic.name]
        if (ResourceType.TOPIC, topic.name) in (self._configs if self._configs is not None else self._base.configs):
            del self._writable_configs()[(ResourceType.TOPIC, topic.name)]
        highest = max((p.leader_epoch for p in partitions or topic.partitions), default=NO_LEADER)
        if self._removed is None:
            self._removed = dict(self._base.removed_topics)
        self._removed.pop(topic.name, None)
        self._removed[topic.name] = highest + 1
        while len(self._removed) > REMOVED_TOPICS_MAX:
            del self._removed[next(iter(self._removed))]

    def _fold_register(self, record: RegisterBrokerRecord) -> None:
        self._writable_brokers()[record.broker_id] = BrokerImage(
            broker_id=record.broker_id,
            incarnation_id=record.incarnation_id,
            broker_epoch=record.broker_epoch,
            listeners=record.listeners,
            node_endpoint=record.node_endpoint,
            rack=record.rack,
            feature_level_max=record.feature_level_max,
            fenced=True,
            in_controlled_shutdown=False,
        )

    def _fold_registration_change(self, record: BrokerRegistrationChangeRecord) -> None:
        brokers = self._writable_brokers()
        broker = brokers[record.broker_id]
        assert broker.broker_epoch == record.broker_epoch, "a registration change names the current incarnation"
        shutdown = record.in_controlled_shutdown
        brokers[record.broker_id] = replace(
            broker,
            fenced=broker.fenced if record.fenced is None else record.fenced,
            in_controlled_shutdown=broker.in_controlled_shutdown if shutdown is None else shutdown,
        )

    def _fold_config(self, record: ConfigRecord) -> None:
        configs = self._writable_configs()
        key = (record.resource_type, record.resource_name)
        values = dict(configs.get(key, {}))
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
        if values:
            configs[key] = values
        else:
            configs.pop(key, None)

    def _partitions_of(self, topic_id: Uuid) -> list[PartitionImage]:
        partitions = self._partitions.get(topic_id)
        if partitions is None:
            topics = self._base.topics if self._topics is None else self._topics
            partitions = self._partitions[topic_id] = list(topics[topic_id].partitions)
        return partitions

    def _writable_brokers(self) -> dict[int, BrokerImage]:
        if self._brokers is None:
            self._brokers = dict(self._base.brokers)
        return self._brokers

    def _writable_topics(self) -> dict[Uuid, TopicImage]:
        if self._topics is None:
            self._topics = dict(self._base.topics)
        return self._topics

    def _writable_topic_ids(self) -> dict[str, Uuid]:
        if self._topic_ids is None:
            self._topic_ids = dict(self._base.topic_ids)
        return self._topic_ids

    def _writable_configs(self) -> dict[ConfigKey, Mapping[str, str]]:
        if self._configs is None:
            self._configs = dict(self._base.configs)
        return self._configs
