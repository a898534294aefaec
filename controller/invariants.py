"""What is always true of the metadata, as assertions for tests and simulations. Pure.

`check_image` looks at one state, `check_step` at two that follow each other. The names are those of the claims:
monotone epochs, the shape of the ISR, one epoch for each incarnation.
"""

from cluster.metadata.image import MetadataImage, PartitionImage
from cluster.metadata.records import NO_LEADER


def check_image(image: MetadataImage) -> None:
    """Raises AssertionError that names the partition and what is wrong with it."""
    assert set(image.topic_ids.values()) == set(image.topics), "names and ids of topics differ"
    assert len(image.topic_ids) == len(image.topics), "two names for one topic"
    for name, topic_id in image.topic_ids.items():
        assert image.topics[topic_id].name == name, f"{name} names another topic"
    for values in image.configs.values():
        assert values, "an empty configuration is stored"
    for topic, number, partition in image.partitions():
        _check_partition(image, f"{topic.name}-{number}", partition)


def check_step(old: MetadataImage, new: MetadataImage) -> None:
    """Raises AssertionError when `new` cannot come after `old`."""
    assert new.offset >= old.offset, "the offset fell"
    assert new.next_producer_id >= old.next_producer_id, "producer ids were given back"
    assert old.cluster_id in ("", new.cluster_id), "the cluster id changed"
    for topic, number, before in old.partitions():
        after = new.partition(topic.topic_id, number)
        if after is None:
            assert topic.topic_id not in new.topics, f"{topic.name}-{number} vanished from its topic"
            continue
        _check_partition_step(f"{topic.name}-{number}", before, after)
    for name, topic_id in new.topic_ids.items():
        lowest = old.removed_topics.get(name, 0)
        if topic_id not in old.topics:
            for partition in new.topics[topic_id].partitions:
                assert partition.leader_epoch >= lowest, f"{name} began below the leader epochs that its name had"
    _check_registrations(old, new)


def _check_partition(image: MetadataImage, where: str, partition: PartitionImage) -> None:
    replicas, isr, elr = set(partition.replicas), set(partition.isr), set(partition.elr)
    assert partition.replicas, f"{where} has no replicas"
    assert len(replicas) == len(partition.replicas), f"{where} has a replica twice"
    assert len(isr) == len(partition.isr), f"{where}: somebody is in the ISR twice"
    assert len(elr) == len(partition.elr), f"{where}: somebody is in the ELR twice"
    assert isr | elr <= replicas, f"{where}: somebody in the ISR or ELR is no replica"
    assert not isr & elr, f"{where}: ISR and ELR overlap"
    assert partition.leader == NO_LEADER or partition.leader in isr, f"{where}: the leader is not in the ISR"
    assert isr or partition.leader == NO_LEADER, f"{where}: led by somebody with an empty ISR"
    dead = [member for member in sorted(isr) if member not in image.brokers or image.brokers[member].fenced]
    assert not dead, f"{where}: {dead} are in the ISR and not alive"
    if partition.leader == NO_LEADER:
        able = [member for member in sorted(isr or elr) if _active(image, member)]
        assert not able, f"{where} has no leader although {able} could lead"
    else:
        assert not partition.last_known_elr, f"{where}: a last known leader is remembered beside a leader"


def _check_partition_step(where: str, before: PartitionImage, after: PartitionImage) -> None:
    if before == after:
        return
    assert after.partition_epoch > before.partition_epoch, f"{where} changed without a new partition epoch"
    assert after.leader_epoch >= before.leader_epoch, f"{where}: the leader epoch fell"
    if after.leader != before.leader:
        assert after.leader_epoch > before.leader_epoch, f"{where}: a new leader without a new leader epoch"


def _check_registrations(old: MetadataImage, new: MetadataImage) -> None:
    for broker_id, after in new.brokers.items():
        before = old.brokers.get(broker_id)
        if before is None or before.incarnation_id != after.incarnation_id:
            assert after.fenced, f"broker {broker_id}: a new incarnation did not start fenced"
            assert before is None or after.broker_epoch > before.broker_epoch, f"broker {broker_id}: its epoch fell"
        elif before.broker_epoch != after.broker_epoch:
            raise AssertionError(f"broker {broker_id}: one incarnation has two epochs")
        if before is not None and before.fenced and not after.fenced:
            for topic, number, partition in old.partitions():
                where = f"{topic.name}-{number}"
                assert broker_id not in partition.isr, f"broker {broker_id} was unfenced inside the ISR of {where}"


def _active(image: MetadataImage, broker_id: int) -> bool:
    broker = image.brokers.get(broker_id)
    return broker is not None and broker.active
