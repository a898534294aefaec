"""What a client believes about a cluster: brokers, topics, leaders. A cache that answers fold into.

Pure: receives decoded responses, never asks for one. A partition's leader epoch never goes back while the topic's id
stays, so that the late answer of a broker that lags behind cannot undo what is known. Source: KIP-320 (leader epochs),
KIP-516 (topic ids), KIP-951 (hints at the new leader).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Endpoint, TopicPartition, Uuid
from cluster.wire.metadata import MetadataResponse, MetadataResponsePartition, MetadataResponseTopic

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker as clients reach it."""

    node_id: int
    endpoint: Endpoint
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    """One partition. `leader_id` is -1 while there is none, `leader_epoch` -1 where the broker does not tell."""

    partition: int
    leader_id: int
    leader_epoch: int
    replicas: tuple[int, ...] = ()
    isr: tuple[int, ...] = ()
    offline_replicas: tuple[int, ...] = ()
    error_code: int = ErrorCode.NONE


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """One incarnation of a topic. `topic_id` is the zero uuid where the broker does not tell."""

    name: str
    topic_id: Uuid
    is_internal: bool
    #: By number, ascending.
    partitions: Mapping[int, PartitionMetadata]


@dataclass(frozen=True, slots=True)
class Leader:
    """Where a partition's requests go."""

    node_id: int
    leader_epoch: int


class LeaderHint(Protocol):
    """Who leads now, as an answer with an error may tell."""

    leader_id: int
    leader_epoch: int


class NodeEndpoint(Protocol):
    """Where a node of a hint listens."""

    node_id: int
    host: str
    port: int
    rack: str | None


class MetadataCache:
    """Mutable; bounded by the number of topics that the client asks for."""

    def __init__(self) -> None:
        self.cluster_id: str | None = None
        self.controller_id = -1
        self.brokers: dict[int, Broker] = {}
        self.topics: dict[str, TopicMetadata] = {}
        #: Topics that the last answer about them had an error for, with its code.
        self.errors: dict[str, int] = {}
        self._names: dict[Uuid, str] = {}

    def apply(self, response: MetadataResponse) -> None:
        """Fold in an answer: its brokers replace the known ones, its topics replace those of the same name."""
        self.cluster_id = response.cluster_id
        self.controller_id = response.controller_id
        self.brokers = {
            broker.node_id: Broker(broker.node_id, Endpoint(broker.host, broker.port), broker.rack)
            for broker in response.brokers
        }
        for answer in response.topics:
            if answer.name is None:
                continue
            if answer.error_code != ErrorCode.NONE:
                self._forget(answer.name)
                self.errors[answer.name] = answer.error_code
                continue
            self.errors.pop(answer.name, None)
            self._store(newest(self.topics.get(answer.name), topic_metadata(answer)))

    def forget_topics(self, keep: Iterable[str]) -> None:
        """Drop what is known about all topics but those in `keep`."""
        kept = set(keep)
        for name in [name for name in self.topics if name not in kept]:
            self._forget(name)
        self.errors = {name: code for name, code in self.errors.items() if name in kept}

    def leader(self, partition: TopicPartition) -> Leader | None:
        """None while the topic, the partition, its leader or the leader's address is unknown."""
        known = self._partition(partition)
        if known is None or known.leader_id not in self.brokers:
            return None
        return Leader(known.leader_id, known.leader_epoch)

    def topic_name(self, topic_id: Uuid) -> str | None:
        return self._names.get(topic_id)

    def apply_hint(self, partition: TopicPartition, hint: LeaderHint | None, endpoints: Iterable[NodeEndpoint]) -> bool:
        """Believe an answer that names a newer leader. Whether it told anything new."""
        for node in endpoints:
            self.brokers[node.node_id] = Broker(node.node_id, Endpoint(node.host, node.port), node.rack)
        known = self._partition(partition)
        if known is None or hint is None or hint.leader_id < 0 or hint.leader_epoch <= known.leader_epoch:
            return False
        if hint.leader_id not in self.brokers:
            return False
        topic = self.topics[partition.topic]
        newer = replace(known, leader_id=hint.leader_id, leader_epoch=hint.leader_epoch)
        self._store(replace(topic, partitions={**topic.partitions, partition.partition: newer}))
        return True

    def _partition(self, partition: TopicPartition) -> PartitionMetadata | None:
        topic = self.topics.get(partition.topic)
        return topic.partitions.get(partition.partition) if topic is not None else None

    def _store(self, topic: TopicMetadata) -> None:
        self._forget(topic.name)
        self.topics[topic.name] = topic
        if topic.topic_id != ZERO_UUID:
            self._names[topic.topic_id] = topic.name

    def _forget(self, name: str) -> None:
        known = self.topics.pop(name, None)
        if known is not None:
            self._names.pop(known.topic_id, None)


def topic_metadata(answer: MetadataResponseTopic) -> TopicMetadata:
    """A topic of a response, which must have a name and no error."""
    assert answer.name is not None
    partitions = sorted(map(_partition_metadata, answer.partitions), key=lambda partition: partition.partition)
    return TopicMetadata(
        name=answer.name,
        topic_id=answer.topic_id,
        is_internal=answer.is_internal,
        partitions={partition.partition: partition for partition in partitions},
    )


def _partition_metadata(answer: MetadataResponsePartition) -> PartitionMetadata:
    return PartitionMetadata(
        partition=answer.partition_index,
        leader_id=answer.leader_id,
        leader_epoch=answer.leader_epoch,
        replicas=tuple(answer.replica_nodes),
        isr=tuple(answer.isr_nodes),
        offline_replicas=tuple(answer.offline_replicas),
        error_code=answer.error_code,
    )


def newest(known: TopicMetadata | None, told: TopicMetadata) -> TopicMetadata:
    """`told`, but for the partitions of the same topic of which more recent things are known.

    Without ids a topic cannot be told from its successor, whose epochs start again: then what is told counts.
    """
    if known is None or known.topic_id != told.topic_id or told.topic_id == ZERO_UUID:
        return told
    partitions = dict(told.partitions)
    for number, partition in told.partitions.items():
        before = known.partitions.get(number)
        if before is not None and partition.leader_epoch < before.leader_epoch and partition.leader_epoch >= 0:
            partitions[number] = before
    return replace(told, partitions=partitions)
