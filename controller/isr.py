"""Leaders change their ISR, by compare-and-set.

A proposal counts only from the current incarnation of the current leader, for the current leader epoch and partition
epoch; a repeat of one whose outcome its sender does not know is answered with what it became. A replica joins only if
it is unfenced, not shutting down, and the very incarnation that the leader saw catching up.

Pure. Source: KIP-497, KIP-704, KIP-841, KIP-903.
"""

from cluster.errors import ErrorCode
from cluster.metadata.commands import AlterPartitions, PartitionAlteration
from cluster.metadata.image import MetadataImage, PartitionImage
from cluster.metadata.records import CausedRecord, PartitionChangeRecord, RecoveryState
from cluster.metadata.results import AlteredPartition, PartitionsAltered
from controller.decision import Context, Decision, current_broker, in_replica_order, refuse
from controller.elections import Standing, TopicRules, change_partition, rules_of, standing_of

PARTITIONS_MAX = 10_000


def decide_alter_partitions(context: Context, command: AlterPartitions) -> Decision:
    broker = current_broker(context, command.broker_id, command.broker_epoch)
    if isinstance(broker, Decision):
        # KIP-903: for a leader, not being registered and being registered anew are the same.
        return refuse(ErrorCode.STALE_BROKER_EPOCH, f"broker {command.broker_id} is not the current incarnation")
    asked = [(item.topic_id, item.partition) for item in command.partitions]
    if len(asked) > PARTITIONS_MAX or len(set(asked)) < len(asked):
        return refuse(ErrorCode.INVALID_REQUEST, "a partition is there twice, or there are too many of them")
    why_not = standing_of(context.image)
    rules: dict[str, TopicRules] = {}
    records: list[CausedRecord] = []
    results: list[AlteredPartition] = []
    for item in command.partitions:
        result, record = _alter(context, command.broker_id, item, why_not, rules)
        results.append(result)
        if record is not None:
            records.append(record)
    return Decision(result=PartitionsAltered(partitions=tuple(results)), records=tuple(records))


def _alter(
    context: Context, leader: int, item: PartitionAlteration, why_not: Standing, rules: dict[str, TopicRules]
) -> tuple[AlteredPartition, CausedRecord | None]:
    topic = context.image.topics.get(item.topic_id)
    partition = context.image.partition(item.topic_id, item.partition)
    if topic is None or partition is None:
        code = ErrorCode.UNKNOWN_TOPIC_ID if topic is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return _failed(item, code), None
    isr = in_replica_order(partition.replicas, [member.broker_id for member in item.isr])
    code = _refusal(leader, item, partition, isr)
    if code is ErrorCode.INVALID_UPDATE_VERSION and _is_repeat(item, partition, isr):
        return _current(item, partition), None
    if code is ErrorCode.NONE:
        code = _ineligible(context.image, item, why_not, partition)
    if code is not ErrorCode.NONE:
        return _failed(item, code), None
    if topic.name not in rules:
        rules[topic.name] = rules_of(context, topic.name)
    target = isr
    if why_not(leader) is not None and len(isr) > 1:
        # A leader that is shutting down hands over as soon as somebody has caught up.
        target = tuple(member for member in isr if member != leader)
    record = change_partition(
        topic,
        item.partition,
        why_not,
        rules[topic.name],
        _event(leader, partition, isr),
        isr=target,
        recovery_state=item.recovery_state,
    )
    if record is None:
        return _current(item, partition), None
    assert isinstance(record.record, PartitionChangeRecord), "a partition changes by its own record"
    after = partition.changed(record.record)
    if after.leader != leader:
        return _failed(item, ErrorCode.NEW_LEADER_ELECTED), record
    return _current(item, after), record


def _refusal(leader: int, item: PartitionAlteration, partition: PartitionImage, isr: tuple[int, ...]) -> ErrorCode:
    """Why the proposal is out of date or malformed; NONE if it is neither."""
    if item.leader_epoch < partition.leader_epoch:
        return ErrorCode.FENCED_LEADER_EPOCH
    # Differs from Kafka, which answers NOT_CONTROLLER: what is decided here is decided on the committed state, so an
    # epoch that is ahead of it was never given out by this cluster.
    if item.leader_epoch > partition.leader_epoch:
        return ErrorCode.UNKNOWN_LEADER_EPOCH
    if partition.leader != leader:
        return ErrorCode.INVALID_REQUEST
    if item.partition_epoch != partition.partition_epoch:
        return ErrorCode.INVALID_UPDATE_VERSION
    if len(isr) != len(item.isr) or leader not in isr:
        return ErrorCode.INVALID_REQUEST
    recovering = item.recovery_state is RecoveryState.RECOVERING
    if recovering and (partition.recovery_state is RecoveryState.RECOVERED or len(isr) > 1):
        return ErrorCode.INVALID_REQUEST
    return ErrorCode.NONE


def _is_repeat(item: PartitionAlteration, partition: PartitionImage, isr: tuple[int, ...]) -> bool:
    """Whether the proposal became true already: the same leadership, and the ISR that it asks for."""
    return (
        item.partition_epoch < partition.partition_epoch
        and isr == partition.isr
        and len(isr) == len(item.isr)
        and item.recovery_state is partition.recovery_state
    )


def _ineligible(
    image: MetadataImage, item: PartitionAlteration, why_not: Standing, partition: PartitionImage
) -> ErrorCode:
    for member in item.isr:
        broker = image.brokers.get(member.broker_id)
        other_life = broker is None or member.broker_epoch not in (-1, broker.broker_epoch)
        joins = member.broker_id not in partition.isr
        if other_life or (joins and why_not(member.broker_id) is not None):
            return ErrorCode.INELIGIBLE_REPLICA
    return ErrorCode.NONE


def _event(leader: int, partition: PartitionImage, isr: tuple[int, ...]) -> str:
    joined = [str(member) for member in isr if member not in partition.isr]
    left = [str(member) for member in partition.isr if member not in isr]
    changes = []
    if joined:
        changes.append(f"{', '.join(joined)} caught up")
    if left:
        changes.append(f"{', '.join(left)} fell behind")
    return f"leader {leader} altered the ISR: " + ("; ".join(changes) or "it has recovered")


def _current(item: PartitionAlteration, partition: PartitionImage) -> AlteredPartition:
    return AlteredPartition(
        topic_id=item.topic_id,
        partition=item.partition,
        leader=partition.leader,
        leader_epoch=partition.leader_epoch,
        isr=partition.isr,
        recovery_state=partition.recovery_state,
        partition_epoch=partition.partition_epoch,
    )


def _failed(item: PartitionAlteration, code: ErrorCode) -> AlteredPartition:
    return AlteredPartition(topic_id=item.topic_id, partition=item.partition, error_code=code)
