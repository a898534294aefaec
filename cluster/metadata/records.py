"""Metadata records: the facts that the controller's log is made of, in the order in which they became true.

A record says what changed; its `Cause` says why: which event, which rule, which candidates were passed over. Brokers
and controllers fold records into a `MetadataImage`; nothing else carries cluster metadata. Each class here has a
message of the same name and fields in `controller.proto`. Names and meaning follow KRaft's records (KIP-500, KIP-631,
KIP-966).
"""

from dataclasses import dataclass
from enum import IntEnum

from cluster.ids import Endpoint, Uuid

NO_LEADER = -1


class ResourceType(IntEnum):
    """What a configuration belongs to; the numbers are the wire's."""

    TOPIC = 2
    BROKER = 4


class RecoveryState(IntEnum):
    """Whether a partition's leader was elected cleanly (KIP-704)."""

    RECOVERED = 0
    RECOVERING = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A candidate that a decision passed over."""

    broker_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a record was written, for people: `blumfeld explain` reads these."""

    #: What happened: "broker 1 fenced: its session stream broke and the probe found nobody".
    event: str
    #: What followed from it: "first live ISR member in replica order".
    rule: str = ""
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One advertised client listener of a broker. `name` is upper case, unique within the broker."""

    name: str
    host: str
    port: int
    security_protocol: str = "PLAINTEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """The first record of a cluster: its id, 22 characters of base64."""

    cluster_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLevelRecord:
    name: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterBrokerRecord:
    """A new incarnation of a broker. It starts fenced. `broker_epoch` is the offset of this record's entry."""

    broker_id: int
    incarnation_id: Uuid
    broker_epoch: int
    listeners: tuple[Listener, ...]
    #: Where other nodes reach this broker.
    node_endpoint: Endpoint
    rack: str | None = None
    #: The highest feature level that this broker's software supports.
    feature_level_max: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRegistrationChangeRecord:
    """None means unchanged."""

    broker_id: int
    broker_epoch: int
    fenced: bool | None = None
    in_controlled_shutdown: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterBrokerRecord:
    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRecord:
    """A new topic, without partitions; its PartitionRecords follow in the same entry, in order of their number."""

    topic_id: Uuid
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTopicRecord:
    topic_id: Uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRecord:
    """A new partition, whole. Its partition epoch is 0."""

    topic_id: Uuid
    partition: int
    #: Broker ids in order of preference; the first is the preferred leader.
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    adding_replicas: tuple[int, ...] = ()
    removing_replicas: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionChangeRecord:
    """A change of one partition; None means unchanged. Raises the partition epoch by one.

    A `leader` that is not None raises the leader epoch by one, also when it names the same broker.
    """

    topic_id: Uuid
    partition: int
    replicas: tuple[int, ...] | None = None
    isr: tuple[int, ...] | None = None
    leader: int | None = None
    elr: tuple[int, ...] | None = None
    last_known_elr: tuple[int, ...] | None = None
    adding_replicas: tuple[int, ...] | None = None
    removing_replicas: tuple[int, ...] | None = None
    recovery_state: RecoveryState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRecord:
    """One dynamic configuration; `value` None removes it. `resource_name` "" is the default of all brokers."""

    resource_type: ResourceType
    resource_name: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdsRecord:
    """Ids below `next_producer_id` were given to brokers in blocks and are never given again."""

    next_producer_id: int


MetadataRecord = (
    ClusterRecord
    | FeatureLevelRecord
    | RegisterBrokerRecord
    | BrokerRegistrationChangeRecord
    | UnregisterBrokerRecord
    | TopicRecord
    | RemoveTopicRecord
    | PartitionRecord
    | PartitionChangeRecord
    | ConfigRecord
    | ProducerIdsRecord
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CausedRecord:
    record: MetadataRecord
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataEntry:
    """The records of one applied command; they become true together. A broker never sees half an entry."""

    #: Index of the command in the Raft log. Entries of commands without records are not sent: offsets have gaps.
    offset: int
    #: Raft term of the command, the controller epoch.
    controller_epoch: int
    #: Wall clock of the controller that proposed it.
    timestamp_ms: int
    records: tuple[CausedRecord, ...]
