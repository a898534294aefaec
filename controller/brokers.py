"""Brokers come, go and fall silent: registration, fencing, controlled shutdown.

- A broker epoch is the offset of the entry that registered it; whoever acts for a broker names it (KIP-903).
- A new incarnation registers only over a fenced one, so that it has left every ISR before it can be unfenced. One that
  does not bring the epoch of its predecessor from a clean-shutdown marker may have lost the tail of its logs: it leaves
  the eligible leader replicas too (KIP-966).
- Fencing is one entry, however many partitions follow from it.

Pure. Source: KIP-631, KIP-841, KIP-903, KIP-966.
"""

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID
from cluster.metadata.commands import (
    BeginControlledShutdown,
    Bootstrap,
    FenceBroker,
    RegisterBroker,
    UnfenceBroker,
    UnregisterBroker,
)
from cluster.metadata.image import PartitionImage
from cluster.metadata.records import (
    NO_LEADER,
    BrokerRegistrationChangeRecord,
    CausedRecord,
    ClusterRecord,
    ConfigRecord,
    FeatureLevelRecord,
    RegisterBrokerRecord,
    ResourceType,
    UnregisterBrokerRecord,
)
from cluster.metadata.results import BrokerRegistered, Done, ShutdownProgress
from controller.decision import MIN_INSYNC_REPLICAS, Context, Decision, apply_records, caused, current_broker, refuse
from controller.elections import (
    FENCED,
    NOT_REGISTERED,
    SHUTTING_DOWN,
    Standing,
    TopicRules,
    change_partition,
    change_partitions,
    rules_of,
    standing_of,
)
from controller.features import BLUMFELD_VERSION, supported_by_software

LISTENERS_MAX = 16
BROKER_ID_MAX = 2**31 - 1


def decide_bootstrap(context: Context, command: Bootstrap) -> Decision:
    """The cluster's id and feature level; they are given once."""
    current = context.image.cluster_id
    if current == command.cluster_id and current:
        return Decision(result=Done())
    if current:
        return refuse(
            ErrorCode.INCONSISTENT_CLUSTER_ID,
            f"the cluster is {current} already and cannot become {command.cluster_id}",
        )
    if not command.cluster_id:
        return refuse(ErrorCode.INVALID_REQUEST, "a cluster needs an id")
    if not supported_by_software(command.feature_level):
        return refuse(ErrorCode.INVALID_REQUEST, f"{BLUMFELD_VERSION} has no level {command.feature_level}")
    event = "the cluster was founded"
    # Brokers hold back the high watermark, and the controller keeps eligible leaders, by the same number of replicas:
    # two ideas of it would lose records. So it becomes the cluster's, and is a node's static affair no more (KIP-966).
    min_insync = ConfigRecord(
        resource_type=ResourceType.BROKER,
        resource_name="",
        key=MIN_INSYNC_REPLICAS,
        value=str(context.stamp.min_insync_replicas),
    )
    return Decision(
        records=(
            caused(ClusterRecord(cluster_id=command.cluster_id), event),
            caused(FeatureLevelRecord(name=BLUMFELD_VERSION, level=command.feature_level), event),
            caused(min_insync, event, "the founding controller's configuration becomes the cluster's"),
        )
    )


def decide_register(context: Context, command: RegisterBroker) -> Decision:
    """Idempotent by incarnation: a registration that is repeated answers the epoch that it got."""
    refusal = _check_registration(context, command)
    if refusal is not None:
        return refusal
    previous = context.image.brokers.get(command.broker_id)
    if previous is not None and previous.incarnation_id == command.incarnation_id:
        return Decision(result=BrokerRegistered(broker_epoch=previous.broker_epoch))
    if previous is not None and not previous.fenced:
        return refuse(
            ErrorCode.DUPLICATE_BROKER_REGISTRATION,
            f"broker {command.broker_id} is alive with another incarnation, at {previous.node_endpoint}; stop one of "
            "the two, or wait until its session ends",
        )
    clean = previous is not None and previous.broker_epoch == command.previous_broker_epoch
    how = "a clean" if clean else "an unclean"
    event = (
        f"broker {command.broker_id} registered after {how} stop"
        if previous
        else (f"broker {command.broker_id} registered for the first time")
    )
    register = RegisterBrokerRecord(
        broker_id=command.broker_id,
        incarnation_id=command.incarnation_id,
        broker_epoch=context.index,
        listeners=command.listeners,
        node_endpoint=command.node_endpoint,
        rack=command.rack,
        feature_level_max=command.feature_level_max,
    )
    lost = frozenset() if clean else frozenset((command.broker_id,))
    why_not = standing_of(context.image, {command.broker_id: FENCED})
    changes = _leave(context, command.broker_id, why_not, event, lost)
    return Decision(
        result=BrokerRegistered(broker_epoch=context.index),
        records=(caused(register, event, "a new incarnation starts fenced"), *changes),
    )


def decide_unfence(context: Context, command: UnfenceBroker) -> Decision:
    """The broker may lead and join ISRs; partitions that waited for it get their leader."""
    broker = current_broker(context, command.broker_id, command.broker_epoch)
    if isinstance(broker, Decision):
        return broker
    if not broker.fenced:
        return Decision(result=Done())
    if broker.in_controlled_shutdown:
        return refuse(ErrorCode.INVALID_REQUEST, f"broker {broker.broker_id} is shutting down")
    event = f"broker {broker.broker_id} unfenced: it caught up with the metadata"
    record = BrokerRegistrationChangeRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, fenced=False)
    leaderless = (
        (topic, number)
        for topic, number, partition in context.image.partitions()
        if partition.leader == NO_LEADER and broker.broker_id in partition.replicas
    )
    changes = change_partitions(context, leaderless, standing_of(context.image, {broker.broker_id: None}), event)
    return Decision(records=(caused(record, event), *changes))


def decide_fence(context: Context, command: FenceBroker) -> Decision:
    """The broker leaves every ISR and leads nothing; what it leaves may still be eligible to lead (the ELR)."""
    broker = current_broker(context, command.broker_id, command.broker_epoch)
    if isinstance(broker, Decision):
        return broker
    if broker.fenced:
        return Decision(result=Done())
    event = f"broker {broker.broker_id} fenced: {command.reason}"
    record = BrokerRegistrationChangeRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, fenced=True)
    why_not = standing_of(context.image, {broker.broker_id: FENCED})
    changes = _leave(context, broker.broker_id, why_not, event, frozenset())
    return Decision(records=(caused(record, event), *changes))


def decide_controlled_shutdown(context: Context, command: BeginControlledShutdown) -> Decision:
    """The broker leaves every ISR in which somebody else can go on, and thereby the leadership (KIP-841).

    Repeating the command tries again what could not move. A partition whose other replicas are all on brokers that are
    dead or stopping too is not waited for: in a cluster that stops as a whole, the last broker has no heir.
    """
    # Differs from Kafka: where nobody else can lead, the broker goes on leading until it stops, and hands over to the
    # first replica that catches up; Kafka leaves such a partition without a leader at once.
    broker = current_broker(context, command.broker_id, command.broker_epoch)
    if isinstance(broker, Decision):
        return broker
    event = f"broker {broker.broker_id} is shutting down"
    why_not = standing_of(context.image, {broker.broker_id: FENCED if broker.fenced else SHUTTING_DOWN})
    records: list[CausedRecord] = []
    if not broker.in_controlled_shutdown:
        change = BrokerRegistrationChangeRecord(
            broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, in_controlled_shutdown=True
        )
        records.append(caused(change, event))
    records += _leave(context, broker.broker_id, why_not, event, frozenset(), only_replaceable=True)
    after = apply_records(context, records)
    remaining = sum(
        partition.leader == broker.broker_id
        and any(why_not(other) is None for other in partition.replicas if other != broker.broker_id)
        for _, _, partition in after.image.partitions()
    )
    return Decision(result=ShutdownProgress(leaders_remaining=remaining), records=tuple(records))


def decide_unregister(context: Context, command: UnregisterBroker) -> Decision:
    """Its replicas stay assigned to it; a broker that is still running registers again."""
    broker = context.image.brokers.get(command.broker_id)
    if broker is None:
        return refuse(ErrorCode.BROKER_ID_NOT_REGISTERED, f"broker {command.broker_id} is not registered")
    event = f"broker {command.broker_id} unregistered by an operator"
    why_not = standing_of(context.image, {command.broker_id: NOT_REGISTERED})
    changes = _leave(context, command.broker_id, why_not, event, frozenset())
    record = UnregisterBrokerRecord(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch)
    return Decision(records=(*changes, caused(record, event)))


def _check_registration(context: Context, command: RegisterBroker) -> Decision | None:
    image = context.image
    if command.cluster_id and command.cluster_id != image.cluster_id:
        return refuse(
            ErrorCode.INCONSISTENT_CLUSTER_ID,
            f"broker {command.broker_id} belongs to cluster {command.cluster_id}, and this is cluster "
            f"{image.cluster_id}: its log.dirs or its controller.quorum.voters are another cluster's",
        )
    names = [listener.name for listener in command.listeners]
    problem = ""
    if not 0 <= command.broker_id <= BROKER_ID_MAX:
        problem = f"{command.broker_id} is no broker id"
    elif command.incarnation_id == ZERO_UUID:
        problem = "an incarnation needs an id"
    elif not 1 <= len(names) <= LISTENERS_MAX:
        problem = f"{len(names)} listeners; 1 to {LISTENERS_MAX} are allowed"
    elif len(set(names)) < len(names):
        problem = "two listeners of the same name"
    elif not all(0 < port < 2**16 for port in (command.node_endpoint.port, *(item.port for item in command.listeners))):
        problem = "a port is outside 1..65535"
    if problem:
        return refuse(ErrorCode.INVALID_REGISTRATION, f"broker {command.broker_id} cannot register: {problem}")
    level = image.features.get(BLUMFELD_VERSION, 0)
    if command.feature_level_max < level:
        return refuse(
            ErrorCode.UNSUPPORTED_VERSION,
            f"the cluster is at {BLUMFELD_VERSION} level {level}, and broker {command.broker_id} supports at most "
            f"{command.feature_level_max}: install a newer release on it",
        )
    return None


def _leave(
    context: Context,
    broker_id: int,
    why_not: Standing,
    event: str,
    lost: frozenset[int],
    *,
    only_replaceable: bool = False,
) -> list[CausedRecord]:
    """Take the broker out of every ISR, and out of the ELR as well where it is `lost`."""
    rules: dict[str, TopicRules] = {}
    records = []
    for topic, number, partition in context.image.partitions():
        in_isr = broker_id in partition.isr
        if not in_isr and not (broker_id in lost and broker_id in partition.elr):
            continue
        if only_replaceable and not _replaceable(partition, broker_id, why_not):
            continue
        if topic.name not in rules:
            rules[topic.name] = rules_of(context, topic.name)
        isr = tuple([member for member in partition.isr if member != broker_id])
        record = change_partition(topic, number, why_not, rules[topic.name], event, isr=isr, lost=lost)
        if record is not None:
            records.append(record)
    return records


def _replaceable(partition: PartitionImage, broker_id: int, why_not: Standing) -> bool:
    """Whether the partition can be led by another broker without this one.

    An eligible replica will do: below min.insync.replicas nothing is acknowledged that it lacks.
    """
    others = [member for member in partition.isr if member != broker_id]
    heirs = others or partition.elr
    return any(why_not(member) is None for member in heirs)
