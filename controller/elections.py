"""Who leads a partition, and what becomes of its ISR and of its eligible leader replicas (ELR).

One function, `change_partition`, makes every change of a partition's state, whatever the occasion, so that the rules
stand in one place:

- A leader is alive (registered, unfenced, not shutting down) and in the ISR. It stays while it is both. One that is
  shutting down stays only while nobody can take over.
- A replica that leaves the ISR while fewer than min.insync.replicas stay goes to the ELR: the high watermark does not
  move below min.insync.replicas, so that it lacks nothing that was acknowledged (KIP-966). One that may have lost its
  tail (an unclean stop) goes nowhere.
- When the ISR is empty, a live member of the ELR leads, alone in the ISR.
- When both are empty, the last known leader leads as soon as it lives: nobody can hold more.
- Unclean election, if the topic allows it, comes last. It says so in the record, and leaves the ELR empty: what its
  members hold is no longer what the leader holds.

Pure. Source: KIP-497, KIP-704, KIP-841, KIP-966 and KRaft's behaviour.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.metadata.commands import ElectionType, ElectLeaders
from cluster.metadata.image import MetadataImage, PartitionImage, TopicImage
from cluster.metadata.records import (
    NO_LEADER,
    CausedRecord,
    PartitionChangeRecord,
    RecoveryState,
    Rejected,
)
from cluster.metadata.results import ElectedLeader, LeadersElected
from controller.decision import (
    Context,
    Decision,
    caused,
    in_replica_order,
    min_insync_replicas,
    refuse,
    unclean_election_allowed,
)

#: Elections of one command.
ELECTIONS_MAX = 10_000

RULE_STAYS = "the leader stays: it is alive and in the ISR"
RULE_SHUTTING_DOWN = "the leader stays although it is shutting down: nobody else can lead"
RULE_PREFERRED = "the preferred leader is alive and in the ISR"
RULE_ISR = "first live ISR member in replica order"
RULE_ELR = "first live eligible leader replica in replica order, because the ISR is empty"
RULE_LAST_KNOWN = "last known leader: ISR and eligible replicas are empty, and nobody can hold more records than it"
RULE_UNCLEAN = "unclean election: first live replica in replica order; acknowledged records may be lost"
RULE_NONE = "no leader: nobody in the ISR or among the eligible replicas is alive"

FENCED = "fenced"
SHUTTING_DOWN = "shutting down"
NOT_REGISTERED = "not registered"

#: Why a broker may not lead; None if it may.
Standing = Callable[[int], str | None]


@dataclass(frozen=True, slots=True)
class TopicRules:
    """What a topic's configuration means for elections."""

    min_insync_replicas: int
    unclean_allowed: bool


@dataclass(frozen=True, slots=True)
class Election:
    """The outcome of `elect`. `isr` and `elr` are those of the partition after the election."""

    leader: int
    isr: tuple[int, ...]
    elr: tuple[int, ...]
    clean: bool
    rule: str


def standing_of(image: MetadataImage, changed: Mapping[int, str | None] | None = None) -> Standing:
    """Who may lead as of `image`; `changed` speaks for brokers whose standing this very command changes."""
    reasons: dict[int, str | None] = {}
    for broker_id, broker in image.brokers.items():
        reasons[broker_id] = FENCED if broker.fenced else SHUTTING_DOWN if broker.in_controlled_shutdown else None
    reasons.update(changed or {})

    def why_not(broker_id: int) -> str | None:
        return reasons.get(broker_id, NOT_REGISTERED)

    return why_not


def rules_of(context: Context, topic: str) -> TopicRules:
    return TopicRules(min_insync_replicas(context, topic), unclean_election_allowed(context, topic))


def elect(
    partition: PartitionImage,
    isr: tuple[int, ...],
    elr: tuple[int, ...],
    why_not: Standing,
    *,
    unclean_allowed: bool = False,
    preferred: bool = False,
) -> Election:
    """Choose the leader of `partition` if `isr` and `elr` were its sets. `preferred` moves a leader that could stay."""
    if preferred and partition.preferred_leader in isr and why_not(partition.preferred_leader) is None:
        return Election(partition.preferred_leader, isr, elr, True, RULE_PREFERRED)
    if partition.leader in isr and why_not(partition.leader) is None:
        return Election(partition.leader, isr, elr, True, RULE_STAYS)
    for replica in partition.replicas:
        if replica in isr and why_not(replica) is None:
            return Election(replica, isr, elr, True, RULE_ISR)
    if partition.leader in isr and why_not(partition.leader) == SHUTTING_DOWN:
        return Election(partition.leader, isr, elr, True, RULE_SHUTTING_DOWN)
    if not isr:
        for replica in partition.replicas:
            if replica in elr and why_not(replica) is None:
                return Election(replica, (replica,), _without(elr, replica), True, RULE_ELR)
        last_known = partition.last_known_elr or (partition.leader,)
        if not elr and last_known[0] in partition.replicas and why_not(last_known[0]) is None:
            return Election(last_known[0], last_known[:1], (), False, RULE_LAST_KNOWN)
    if unclean_allowed:
        for replica in partition.replicas:
            if why_not(replica) is None:
                return Election(replica, (replica,), (), False, RULE_UNCLEAN)
    return Election(NO_LEADER, isr, elr, True, RULE_NONE)


def change_partition(
    topic: TopicImage,
    number: int,
    why_not: Standing,
    rules: TopicRules,
    event: str,
    *,
    isr: tuple[int, ...] | None = None,
    lost: frozenset[int] = frozenset(),
    preferred: bool = False,
    recovery_state: RecoveryState | None = None,
) -> CausedRecord | None:
    """The record that gives the partition the ISR `isr` (None: as it is) and all that follows; None if nothing does.

    `isr` is a subset of the replicas in their order. `lost` replicas do not count as eligible leaders.
    """
    partition = topic.partitions[number]
    target = partition.isr if isr is None else isr
    needed = min(rules.min_insync_replicas, len(partition.replicas))
    elr: tuple[int, ...] = ()
    if len(target) < needed:
        eligible = frozenset(partition.isr).union(partition.elr).difference(target, lost)
        elr = in_replica_order(partition.replicas, eligible) if eligible else ()
    election = elect(partition, target, elr, why_not, unclean_allowed=rules.unclean_allowed, preferred=preferred)
    state = partition.recovery_state if recovery_state is None else recovery_state
    if not election.clean:
        state = RecoveryState.RECOVERING
    final_elr = () if len(election.isr) >= needed else election.elr
    leader = election.leader
    last_known = partition.last_known_elr
    if leader != NO_LEADER:
        last_known = ()
    elif partition.leader != NO_LEADER:
        last_known = (partition.leader,)
    record = PartitionChangeRecord(
        topic_id=topic.topic_id,
        partition=number,
        isr=_changed(election.isr, partition.isr),
        leader=None if leader == partition.leader else leader,
        elr=_changed(final_elr, partition.elr),
        last_known_elr=_changed(last_known, partition.last_known_elr),
        recovery_state=None if state is partition.recovery_state else state,
    )
    if record == PartitionChangeRecord(topic_id=topic.topic_id, partition=number):
        return None
    if record.leader is None:
        return caused(record, event, election.rule)
    return caused(record, event, election.rule, _rejected(partition, election, target, elr, why_not))


def change_partitions(
    context: Context, which: Iterable[tuple[TopicImage, int]], why_not: Standing, event: str
) -> list[CausedRecord]:
    """Elect anew where it is needed, with the ISRs as they are."""
    rules: dict[str, TopicRules] = {}
    records = []
    for topic, number in which:
        if topic.name not in rules:
            rules[topic.name] = rules_of(context, topic.name)
        record = change_partition(topic, number, why_not, rules[topic.name], event)
        if record is not None:
            records.append(record)
    return records


def decide_elect_leaders(context: Context, command: ElectLeaders) -> Decision:
    """KIP-460. Each partition is decided on its own; one that needs no election answers ELECTION_NOT_NEEDED."""
    image = context.image
    wanted = command.partitions
    if command.all_partitions:
        wanted = tuple(TopicPartition(topic.name, number) for topic, number, _ in image.partitions())
    elif len(wanted) > ELECTIONS_MAX:
        return refuse(ErrorCode.INVALID_REQUEST, f"{len(wanted)} elections in one request; {ELECTIONS_MAX} are allowed")
    event = command.reason or f"{command.election.name.lower()} leader election was asked for"
    why_not = standing_of(image)
    records: list[CausedRecord] = []
    results: list[ElectedLeader] = []
    for name, number in dict.fromkeys(wanted):
        if len(records) == ELECTIONS_MAX:
            break
        code, message, record = _elect_one(context, name, number, command.election, why_not, event)
        if record is not None:
            records.append(record)
        if not (command.all_partitions and code is ErrorCode.ELECTION_NOT_NEEDED):
            results.append(ElectedLeader(topic=name, partition=number, error_code=code, error_message=message))
    return Decision(result=LeadersElected(partitions=tuple(results)), records=tuple(records))


def _elect_one(
    context: Context, name: str, number: int, election: ElectionType, why_not: Standing, event: str
) -> tuple[ErrorCode, str, CausedRecord | None]:
    topic = context.image.topic(name)
    if topic is None or not 0 <= number < len(topic.partitions):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {name}-{number}", None
    partition = topic.partitions[number]
    rules = rules_of(context, name)
    if election is ElectionType.PREFERRED:
        preferred = partition.preferred_leader
        if partition.leader == preferred:
            return ErrorCode.ELECTION_NOT_NEEDED, f"broker {preferred} leads already", None
        reason = why_not(preferred) or (None if preferred in partition.isr else "not in the ISR")
        if reason is not None:
            return ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, f"broker {preferred} cannot lead: {reason}", None
        return ErrorCode.NONE, "", change_partition(topic, number, why_not, rules, event, preferred=True)
    if partition.leader != NO_LEADER:
        return ErrorCode.ELECTION_NOT_NEEDED, f"broker {partition.leader} leads", None
    unclean = TopicRules(rules.min_insync_replicas, True)
    if all(why_not(replica) is not None for replica in partition.replicas):
        return ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, "no replica is alive", None
    return ErrorCode.NONE, "", change_partition(topic, number, why_not, unclean, event)


def _without(members: tuple[int, ...], member: int) -> tuple[int, ...]:
    return tuple([other for other in members if other != member])


def _changed(new: tuple[int, ...], old: tuple[int, ...]) -> tuple[int, ...] | None:
    return None if new == old else new


def _rejected(
    partition: PartitionImage, election: Election, isr: tuple[int, ...], elr: tuple[int, ...], why_not: Standing
) -> tuple[Rejected, ...]:
    """Every replica that was not fit to win; those that merely come later in the order are not listed."""
    rejected = []
    for replica in partition.replicas:
        reason = why_not(replica)
        if reason is None and replica not in isr and replica not in elr:
            reason = "not in the ISR"
        if reason is not None and replica != election.leader:
            rejected.append(Rejected(broker_id=replica, reason=reason))
    return tuple(rejected)
