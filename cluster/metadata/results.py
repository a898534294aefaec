"""Results: what the controller answers to a command.

A command that fails as a whole is answered with `CommandFailed`, whatever it was; otherwise with the result that its
class names. Where a command holds many items, each item has its own error code. Each class here has a message of the
same name and fields in `controller.proto`.
"""

from dataclasses import dataclass

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.records import NO_LEADER, RecoveryState, ResourceType


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFailed:
    """Nothing was changed. `message` says what, why and what to do."""

    error_code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is so now, whether or not it was so before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRegistered:
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownProgress:
    #: Partitions that the broker still leads, and for which another replica is alive but not in the ISR yet.
    leaders_remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTopic:
    name: str
    error_code: ErrorCode = ErrorCode.NONE
    error_message: str = ""
    #: The zero id when the topic was not created or only validated.
    topic_id: Uuid = ZERO_UUID
    #: -1 on errors.
    partitions: int = -1
    #: Of partition 0; -1 on errors.
    replication_factor: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsCreated:
    """One item for each topic asked for, in the order asked."""

    topics: tuple[CreatedTopic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedTopic:
    """Both name and id where the topic was known, otherwise what was asked."""

    name: str | None
    topic_id: Uuid
    error_code: ErrorCode = ErrorCode.NONE
    error_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsDeleted:
    topics: tuple[DeletedTopic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedTopic:
    name: str
    error_code: ErrorCode = ErrorCode.NONE
    error_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsCreated:
    topics: tuple[ExtendedTopic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlteredPartition:
    """The committed state after the alteration. On errors the fields behind `error_code` mean nothing."""

    topic_id: Uuid
    partition: int
    error_code: ErrorCode = ErrorCode.NONE
    leader: int = NO_LEADER
    leader_epoch: int = -1
    isr: tuple[int, ...] = ()
    recovery_state: RecoveryState = RecoveryState.RECOVERED
    partition_epoch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsAltered:
    partitions: tuple[AlteredPartition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlteredConfigs:
    resource_type: ResourceType
    resource_name: str
    error_code: ErrorCode = ErrorCode.NONE
    error_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsAltered:
    resources: tuple[AlteredConfigs, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectedLeader:
    topic: str
    partition: int
    error_code: ErrorCode = ErrorCode.NONE
    error_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadersElected:
    partitions: tuple[ElectedLeader, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdBlock:
    """Ids first_producer_id <= id < first_producer_id + count belong to the asking broker alone, for ever."""

    first_producer_id: int
    count: int


CommandResult = (
    CommandFailed
    | Done
    | BrokerRegistered
    | ShutdownProgress
    | TopicsCreated
    | TopicsDeleted
    | PartitionsCreated
    | PartitionsAltered
    | ConfigsAltered
    | LeadersElected
    | ProducerIdBlock
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedCommand:
    """A result, and the metadata offset at which it can be seen: an image at or beyond `offset` reflects it."""

    offset: int
    result: CommandResult
