"""What brokers and controllers say to each other over `Net`, and the names of the methods.

Owns the messages only; who sends what when is in `controller/service.py` and `broker/controller_link.py`. Each class
here has a message of the same name and fields in `controller.proto`.
"""

from dataclasses import dataclass

from cluster.ids import Uuid
from cluster.metadata.commands import Command
from cluster.metadata.records import CausedRecord
from cluster.metadata.results import AppliedCommand

#: Call: SubmitRequest -> SubmitResponse.
SUBMIT = "controller.Controller/Submit"
#: Stream to any controller: one WatchRequest, then WatchChunks from the controller for ever.
WATCH = "controller.Controller/Watch"
#: Stream to the active controller: a Heartbeat, its HeartbeatAnswer, and so on.
SESSION = "controller.Controller/Session"
#: Call: StatusRequest -> StatusResponse.
STATUS = "controller.Controller/Status"
#: Call: HistoryRequest -> HistoryResponse.
HISTORY = "controller.Controller/History"
#: Call, answered by brokers: ProbeRequest -> ProbeResponse.
PROBE = "broker.Broker/Probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitRequest:
    """One command of one client; see `CommandEnvelope` for the first three fields."""

    client: Uuid
    sequence: int
    settled_below: int
    command: Command
    #: Answer only when every unfenced broker holds the outcome, or after this long; 0 does not wait.
    wait_applied_ms: int = 0
    #: How long the proposal may take.
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotController:
    """Definitely not applied. `leader_id` is the controller to ask instead, if known."""

    leader_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overloaded:
    """Definitely not applied: too many commands in flight. Ask again a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown:
    """May be applied, now or later, or never. Ask again with the same sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitResponse:
    outcome: AppliedCommand | NotController | Overloaded | OutcomeUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    #: Offset of the last entry that the broker has folded in; -1 for none.
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchUpdate:
    """News for a watcher, cut into WatchChunks. A snapshot, if any, comes before the entries."""

    #: An encoded MetadataSnapshot that replaces all the broker had.
    snapshot: bytes | None = None
    #: Encoded MetadataEntries in order of their offset.
    entries: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchChunk:
    """A piece of an encoded WatchUpdate; `last` marks its end."""

    data: bytes
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A broker is alive. Sent at every interval, and at once when something in it changed."""

    broker_id: int
    incarnation_id: Uuid
    broker_epoch: int
    #: Offset of the last entry that this broker acts upon; -1 for none.
    applied_offset: int
    wants_shutdown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAnswer:
    #: Whether the controller knows this incarnation with this epoch; if not, the broker must register again.
    registered: bool
    fenced: bool
    #: The broker leads nothing any more, and everybody else knows.
    shutdown_allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRequest:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResponse:
    node_id: int
    #: Whether this node is the active controller: it leads and has applied everything that came before.
    active: bool
    leader_id: int | None
    term: int
    applied_index: int
    #: Offset of this node's image.
    metadata_offset: int
    cluster_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRequest:
    """Why is partition `partition` of `topic` as it is? Partition -1 asks about the whole topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryItem:
    """One change and its cause."""

    offset: int
    controller_epoch: int
    timestamp_ms: int
    change: CausedRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryResponse:
    """The newest changes, oldest first; at most HISTORY_ITEMS_MAX."""

    items: tuple[HistoryItem, ...]


HISTORY_ITEMS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """Are you there, and who are you?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResponse:
    broker_id: int
    incarnation_id: Uuid
