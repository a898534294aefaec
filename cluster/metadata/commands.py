"""Commands: what a broker, an operator or the controller itself asks the cluster's metadata to become.

A command is a wish; deciding is the controller's alone (`controller/machine.py`), and the answer is a result of
`cluster.metadata.results`. Each class here has a message of the same name and fields in `controller.proto`. Nothing in
a command is trusted beyond its types: ids, names and counts are checked where the command is decided.
Source: the requests of KIP-4, KIP-455, KIP-497, KIP-631, KIP-730, KIP-841, KIP-903 and KIP-966.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar, get_args

from cluster.ids import ZERO_UUID, Endpoint, TopicPartition, Uuid
from cluster.metadata.records import Listener, RecoveryState, ResourceType
from cluster.metadata.results import (
    BrokerRegistered,
    ConfigsAltered,
    Done,
    LeadersElected,
    PartitionsAltered,
    PartitionsCreated,
    ProducerIdBlock,
    ShutdownProgress,
    TopicsCreated,
    TopicsDeleted,
)

R_co = TypeVar("R_co", covariant=True)

#: Encoded commands above this are refused before they are proposed.
COMMAND_SIZE_BYTES_MAX = 500 * 1024
#: Results of a client's latest commands that the controller keeps, so that a repeated command is applied once.
#: A client has at most this many sequence numbers between its oldest unanswered command and its newest.
CLIENT_WINDOW = 64


class CommandOf(Generic[R_co]):
    """A command that is answered by an `R_co`, or by `CommandFailed`."""

    __slots__ = ()


class ConfigOperation(IntEnum):
    """What to do with one key (KIP-339); the numbers are the wire's."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class ElectionType(IntEnum):
    """Which leader to elect (KIP-460); the numbers are the wire's."""

    PREFERRED = 0
    UNCLEAN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap(CommandOf[Done]):
    """Make the cluster: the first command. Repeating it with the same id changes nothing."""

    cluster_id: str
    #: Of the feature "blumfeld.version".
    feature_level: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterBroker(CommandOf[BrokerRegistered]):
    """A broker process introduces itself. Idempotent for one incarnation."""

    broker_id: int
    #: Drawn anew by every start of the process.
    incarnation_id: Uuid
    #: "" joins whatever cluster answers.
    cluster_id: str
    listeners: tuple[Listener, ...]
    node_endpoint: Endpoint
    rack: str | None = None
    feature_level_max: int = 1
    #: The broker epoch found in the clean-shutdown marker; -1 without one (KIP-966).
    previous_broker_epoch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfenceBroker(CommandOf[Done]):
    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceBroker(CommandOf[Done]):
    """Take every leadership and ISR membership from a broker that is gone."""

    broker_id: int
    broker_epoch: int
    #: Becomes the event of every record that follows.
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginControlledShutdown(CommandOf[ShutdownProgress]):
    """Move leaderships away from a broker that wants to stop. Repeating it moves what could not move before."""

    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterBroker(CommandOf[Done]):
    """Forget a broker. Its replicas stay assigned to it."""

    broker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Where the replicas of one partition go; the first is the preferred leader."""

    partition: int
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigValue:
    """One key of a new configuration. `value` None means the key's default."""

    key: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to create. With `assignments`, both counts are -1."""

    name: str
    #: -1: the cluster's default.
    partitions: int = -1
    #: -1: the cluster's default.
    replication_factor: int = -1
    assignments: tuple[Assignment, ...] = ()
    configs: tuple[ConfigValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopics(CommandOf[TopicsCreated]):
    topics: tuple[NewTopic, ...]
    #: Answer as if, change nothing.
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicReference:
    """A topic by its name or by its id; exactly one is given."""

    name: str | None = None
    topic_id: Uuid | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopics(CommandOf[TopicsDeleted]):
    topics: tuple[TopicReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPartitions:
    """More partitions for one topic."""

    name: str
    #: The new total.
    count: int
    #: Empty, or one list of replicas for each partition that is new.
    assignments: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitions(CommandOf[PartitionsCreated]):
    topics: tuple[NewPartitions, ...]
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IsrMember:
    """A replica that the leader holds to be in sync, and which incarnation of it (KIP-903)."""

    broker_id: int
    #: -1: not known.
    broker_epoch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAlteration:
    """The ISR that a leader proposes for one partition, and the state that it was computed from."""

    topic_id: Uuid
    partition: int
    leader_epoch: int
    partition_epoch: int
    isr: tuple[IsrMember, ...]
    recovery_state: RecoveryState = RecoveryState.RECOVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class AlterPartitions(CommandOf[PartitionsAltered]):
    """ISR changes by the leader of some partitions (KIP-497). Each partition is decided on its own."""

    broker_id: int
    broker_epoch: int
    partitions: tuple[PartitionAlteration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """One step of an incremental alteration. `value` is None for DELETE only."""

    key: str
    operation: ConfigOperation
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanges:
    """The steps for one resource; either all of them become true or none."""

    resource_type: ResourceType
    resource_name: str
    changes: tuple[ConfigChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalAlterConfigs(CommandOf[ConfigsAltered]):
    resources: tuple[ConfigChanges, ...]
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigReplacement:
    """The whole new configuration of one resource: keys that are not named are removed."""

    resource_type: ResourceType
    resource_name: str
    configs: tuple[ConfigValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceConfigs(CommandOf[ConfigsAltered]):
    """The older AlterConfigs request."""

    resources: tuple[ConfigReplacement, ...]
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectLeaders(CommandOf[LeadersElected]):
    election: ElectionType
    partitions: tuple[TopicPartition, ...] = ()
    #: Instead of `partitions`; partitions that need no election are then left out of the result.
    all_partitions: bool = False
    #: Becomes the event of the records.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateProducerIds(CommandOf[ProducerIdBlock]):
    """A block of producer ids for one broker (KIP-730)."""

    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFeature(CommandOf[Done]):
    """Raise a feature to a level that every registered broker supports."""

    name: str
    level: int


Command = (
    Bootstrap
    | RegisterBroker
    | UnfenceBroker
    | FenceBroker
    | BeginControlledShutdown
    | UnregisterBroker
    | CreateTopics
    | DeleteTopics
    | CreatePartitions
    | AlterPartitions
    | IncrementalAlterConfigs
    | ReplaceConfigs
    | ElectLeaders
    | AllocateProducerIds
    | UpdateFeature
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Time, chance and static defaults, put into a command by the controller that proposes it.

    Deciding reads nothing else of the kind, so that every controller decides the same.
    """

    wall_ms: int
    #: Fresh for every proposal.
    seed: Uuid
    num_partitions: int = 1
    default_replication_factor: int = 1
    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnvelope:
    """What the Raft log holds."""

    stamp: Stamp
    command: Command
    #: Who asked; the zero id means that repeating the command is harmless and nobody keeps count.
    client: Uuid = ZERO_UUID
    #: Counts the client's commands.
    sequence: int = 0
    #: The client is done with every sequence below this one: it has the result, or has given up.
    settled_below: int = 0


def result_type(command: CommandOf[R_co]) -> type[R_co]:
    """The class of the result that answers `command` when it does not fail as a whole."""
    declared: type[R_co] = get_args(type(command).__orig_bases__[0])[0]  # type: ignore[attr-defined]
    return declared
