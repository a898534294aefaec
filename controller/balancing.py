"""Which partitions should go back to their preferred leaders. Pure. Source: KIP-460 and Kafka's leader balancer."""

from collections import Counter

from cluster.ids import TopicPartition
from cluster.metadata.image import MetadataImage

#: Elections of one pass; the next pass does the rest.
MOVES_MAX = 1000


def partitions_to_move(image: MetadataImage, imbalance_percentage: int) -> tuple[TopicPartition, ...]:
    """Partitions whose preferred leader could lead and does not.

    Those of one broker are left alone while they are at most `imbalance_percentage` of the partitions that prefer it.
    """
    preferred: Counter[int] = Counter()
    movable: dict[int, list[TopicPartition]] = {}
    for topic, number, partition in image.partitions():
        leader = partition.preferred_leader
        preferred[leader] += 1
        broker = image.brokers.get(leader)
        if partition.leader != leader and leader in partition.isr and broker is not None and broker.active:
            movable.setdefault(leader, []).append(TopicPartition(topic.name, number))
    chosen: list[TopicPartition] = []
    for leader, partitions in sorted(movable.items()):
        if len(partitions) * 100 > imbalance_percentage * preferred[leader]:
            chosen += partitions
    return tuple(chosen[:MOVES_MAX])
