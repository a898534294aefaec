"""The controller's state machine: what the Raft log replicates.

Its state is a `MetadataImage` and the table of answered clients, nothing else. A command is applied in two steps:
`decide` makes records and a result from the image and changes nothing, then the records are folded into the image. A
command that cannot be read, is refused, or trips over a programming error is answered with `CommandFailed` and leaves
the image as it was; every voter does the same, because deciding depends on the command and the image alone.

State machine: knows no time, no chance, no disk and no network. What becomes of it is told to one `MetadataObserver`.
"""

from typing import Protocol, assert_never

from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID
from cluster.metadata.commands import (
    AllocateProducerIds,
    AlterPartitions,
    BeginControlledShutdown,
    Bootstrap,
    Command,
    CommandEnvelope,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    ElectLeaders,
    FenceBroker,
    IncrementalAlterConfigs,
    RegisterBroker,
    ReplaceConfigs,
    UnfenceBroker,
    UnregisterBroker,
    UpdateFeature,
)
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import MetadataEntry
from cluster.metadata.results import AppliedCommand, CommandFailed, CommandResult
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import ControllerSnapshot, image_of, snapshot_of
from controller.brokers import (
    decide_bootstrap,
    decide_controlled_shutdown,
    decide_fence,
    decide_register,
    decide_unfence,
    decide_unregister,
)
from controller.clients import ClientTable
from controller.configs import decide_incremental_alter_configs, decide_replace_configs
from controller.decision import Context, Decision, refuse
from controller.elections import decide_elect_leaders
from controller.features import decide_update_feature
from controller.isr import decide_alter_partitions
from controller.producer_ids import decide_allocate_producer_ids
from controller.topics import decide_create_partitions, decide_create_topics, decide_delete_topics

_ENVELOPE = codec(CommandEnvelope)
_APPLIED = codec(AppliedCommand)
_SNAPSHOT = codec(ControllerSnapshot)


class MetadataObserver(Protocol):
    """Hears of every change, in order, on the task that applies."""

    def on_entry(self, entry: MetadataEntry, image: MetadataImage) -> None:
        """`image` is the state right after `entry`."""
        ...

    def on_snapshot(self, image: MetadataImage) -> None:
        """The whole state was replaced."""
        ...


class ControllerMachine:
    """A `StateMachine` of the seams: commands in, results out, both as bytes."""

    def __init__(self, observer: MetadataObserver) -> None:
        self._observer = observer
        self._image = MetadataImage()
        self._clients = ClientTable()

    @property
    def image(self) -> MetadataImage:
        return self._image

    def apply(self, index: int, term: int, command: bytes) -> bytes:
        """Apply an encoded `CommandEnvelope`; returns an encoded `AppliedCommand`. Never raises."""
        try:
            envelope = _ENVELOPE.decode(command)
        except ValueError as error:
            return self._answer(CommandFailed(error_code=ErrorCode.INVALID_REQUEST, message=f"unreadable: {error}"))
        if envelope.client == ZERO_UUID:
            return self._run(index, term, envelope)
        answered = self._clients.find(envelope.client, envelope.sequence)
        if answered is not None:
            return answered
        if self._clients.is_settled(envelope.client, envelope.sequence):
            late = f"sequence {envelope.sequence} is settled: its sender no longer waits for it"
            return self._answer(CommandFailed(error_code=ErrorCode.DUPLICATE_SEQUENCE_NUMBER, message=late))
        self._clients.hear(envelope.client, envelope.sequence, envelope.settled_below)
        result = self._run(index, term, envelope)
        self._clients.remember(envelope.client, envelope.sequence, result)
        return result

    def snapshot(self) -> bytes:
        return _SNAPSHOT.encode(ControllerSnapshot(metadata=snapshot_of(self._image), clients=self._clients.snapshot()))

    def restore(self, snapshot: bytes) -> None:
        state = _SNAPSHOT.decode(snapshot)
        image = image_of(state.metadata)
        clients = ClientTable.restored(state.clients)
        self._image = image
        self._clients = clients
        self._observer.on_snapshot(image)

    def _run(self, index: int, term: int, envelope: CommandEnvelope) -> bytes:
        """Decide, install, tell."""
        context = Context(image=self._image, stamp=envelope.stamp, index=index)
        decision, image = _decide_and_fold(context, envelope.command, term)
        if not decision.records:
            return self._answer(decision.result)
        entry = MetadataEntry(
            offset=index,
            controller_epoch=term,
            timestamp_ms=envelope.stamp.wall_ms,
            records=decision.records,
        )
        self._image = image
        self._observer.on_entry(entry, self._image)
        return self._answer(decision.result)

    def _answer(self, result: CommandResult) -> bytes:
        return _APPLIED.encode(AppliedCommand(offset=self._image.offset, result=result))


def decide(context: Context, command: Command) -> Decision:
    """What `command` means for `context.image`. Total: whatever goes wrong is a refusal."""
    if not context.image.cluster_id and not isinstance(command, Bootstrap):
        return refuse(ErrorCode.NOT_CONTROLLER, "the cluster is not founded yet; ask again")
    try:
        return _dispatch(context, command)
    except KafkaError as error:
        return refuse(error.code, error.message)
    except Exception as error:
        return _tripped(error, command)


def _decide_and_fold(context: Context, command: Command, term: int) -> tuple[Decision, MetadataImage]:
    """The decision, and the image that it makes; both are there before anything of the state is replaced."""
    decision = decide(context, command)
    if not decision.records:
        return decision, context.image
    try:
        return decision, context.image.apply([item.record for item in decision.records], context.index, term)
    except Exception as error:
        return _tripped(error, command), context.image


def _tripped(error: Exception, command: Command) -> Decision:
    """A programming error. The same command and image raise the same on every voter, so that all refuse alike."""
    return refuse(ErrorCode.UNKNOWN_SERVER_ERROR, f"{type(error).__name__} while deciding {type(command).__name__}")


def _dispatch(context: Context, command: Command) -> Decision:
    match command:
        case AlterPartitions():
            return decide_alter_partitions(context, command)
        case FenceBroker():
            return decide_fence(context, command)
        case UnfenceBroker():
            return decide_unfence(context, command)
        case RegisterBroker():
            return decide_register(context, command)
        case BeginControlledShutdown():
            return decide_controlled_shutdown(context, command)
        case UnregisterBroker():
            return decide_unregister(context, command)
        case CreateTopics():
            return decide_create_topics(context, command)
        case CreatePartitions():
            return decide_create_partitions(context, command)
        case DeleteTopics():
            return decide_delete_topics(context, command)
        case IncrementalAlterConfigs():
            return decide_incremental_alter_configs(context, command)
        case ReplaceConfigs():
            return decide_replace_configs(context, command)
        case ElectLeaders():
            return decide_elect_leaders(context, command)
        case AllocateProducerIds():
            return decide_allocate_producer_ids(context, command)
        case UpdateFeature():
            return decide_update_feature(context, command)
        case Bootstrap():
            return decide_bootstrap(context, command)
        case _:
            assert_never(command)
