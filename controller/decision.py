"""What deciding a command takes and gives. The deciding itself is in the modules named after their subjects.

Pure. A decision function gets a `Context` and a command and returns a `Decision`; it reads no clock, no chance and no
configuration but what the context holds, and iterates nothing whose order is not fixed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.config.keys import BROKER_KEYS, TOPIC_KEYS
from cluster.config.values import ConfigError
from cluster.errors import ErrorCode
from cluster.metadata.commands import Stamp
from cluster.metadata.image import BrokerImage, MetadataImage
from cluster.metadata.records import Cause, CausedRecord, MetadataRecord, Rejected, ResourceType
from cluster.metadata.results import CommandFailed, CommandResult, Done

MIN_INSYNC_REPLICAS = "min.insync.replicas"
UNCLEAN_ELECTION = "unclean.leader.election.enable"
NUM_PARTITIONS = "num.partitions"
DEFAULT_REPLICATION_FACTOR = "default.replication.factor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The moment at which a command is decided."""

    image: MetadataImage
    stamp: Stamp
    #: Where the command stands in the Raft log: the offset of the entry that comes of it.
    index: int

    def replace_image(self, image: MetadataImage) -> "Context":
        return Context(image=image, stamp=self.stamp, index=self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The records to become true together, and the answer. A refusal has no records."""

    result: CommandResult = field(default_factory=Done)
    records: tuple[CausedRecord, ...] = ()


def refuse(code: ErrorCode, message: str) -> Decision:
    return Decision(result=CommandFailed(error_code=code, message=message))


def caused(record: MetadataRecord, event: str, rule: str = "", rejected: tuple[Rejected, ...] = ()) -> CausedRecord:
    return CausedRecord(record=record, cause=Cause(event=event, rule=rule, rejected=rejected))


def apply_records(context: Context, records: Iterable[CausedRecord]) -> Context:
    """The same moment, with `records` already true."""
    facts = [item.record for item in records]
    if not facts:
        return context
    image = context.image.apply(facts, context.index, context.image.controller_epoch)
    return context.replace_image(image)


def current_broker(context: Context, broker_id: int, broker_epoch: int) -> BrokerImage | Decision:
    """The broker, if `broker_epoch` names its current incarnation; otherwise the refusal."""
    broker = context.image.brokers.get(broker_id)
    if broker is None:
        return refuse(ErrorCode.BROKER_ID_NOT_REGISTERED, f"broker {broker_id} is not registered")
    if broker.broker_epoch != broker_epoch:
        return refuse(
            ErrorCode.STALE_BROKER_EPOCH,
            f"broker {broker_id} has epoch {broker.broker_epoch} now; epoch {broker_epoch} belongs to another of its "
            "lives",
        )
    return broker


def in_replica_order(replicas: Sequence[int], members: Iterable[int]) -> tuple[int, ...]:
    """Those of `members` that are among `replicas`, in their order."""
    wanted = frozenset(members)
    return tuple([replica for replica in replicas if replica in wanted])


def cluster_number(context: Context, key: str, fallback: int) -> int:
    """A dynamic cluster-wide number, or `fallback`, which comes from the stamp."""
    text = context.image.configs.get((ResourceType.BROKER, ""), {}).get(key)
    return fallback if text is None else _number(key, text, fallback)


def min_insync_replicas(context: Context, topic: str) -> int:
    """What the topic asks for; may exceed its replicas."""
    fallback = cluster_number(context, MIN_INSYNC_REPLICAS, context.stamp.min_insync_replicas)
    text = context.image.topic_config(topic).get(MIN_INSYNC_REPLICAS)
    return fallback if text is None else _number(MIN_INSYNC_REPLICAS, text, fallback)


def unclean_election_allowed(context: Context, topic: str) -> bool:
    image = context.image
    for values in (image.topic_config(topic), image.configs.get((ResourceType.BROKER, ""), {})):
        text = values.get(UNCLEAN_ELECTION)
        if text is not None:
            return text.strip().lower() == "true"
    return context.stamp.unclean_leader_election_enable


def _number(key: str, text: str, fallback: int) -> int:
    """Stored values were validated when they were set, perhaps by another version."""
    known = TOPIC_KEYS.get(key) or BROKER_KEYS[key]
    try:
        value = known.parse(text)
    except ConfigError:
        return fallback
    return value if isinstance(value, int) else fallback
