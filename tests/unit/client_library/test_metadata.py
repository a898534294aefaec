"""Claims about the metadata cache."""

from client.metadata import Leader, MetadataCache
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, TopicPartition, Uuid
from cluster.wire.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from cluster.wire.produce import LeaderIdAndEpoch, NodeEndpoint

ONE, OTHER = Uuid(b"1" * 16), Uuid(b"2" * 16)
ORDERS = TopicPartition("orders", 0)


def answer(
    leader_id: int, leader_epoch: int, topic_id: Uuid = ONE, error_code: int = ErrorCode.NONE
) -> MetadataResponse:
    return MetadataResponse(
        brokers=[MetadataResponseBroker(node_id=number, host="h", port=9000 + number) for number in (1, 2)],
        topics=[
            MetadataResponseTopic(
                error_code=error_code,
                name="orders",
                topic_id=topic_id,
                partitions=[
                    MetadataResponsePartition(partition_index=0, leader_id=leader_id, leader_epoch=leader_epoch)
                ],
            )
        ],
    )


def test_a_leader_epoch_never_goes_back() -> None:
    """KIP-320: the answer of a broker that lags behind does not undo what is known."""
    cache = MetadataCache()
    cache.apply(answer(2, 5))
    cache.apply(answer(1, 4))
    assert cache.leader(ORDERS) == Leader(2, 5)
    cache.apply(answer(1, 6))
    assert cache.leader(ORDERS) == Leader(1, 6)


def test_a_topic_that_was_made_again_starts_with_new_epochs() -> None:
    cache = MetadataCache()
    cache.apply(answer(2, 5))
    cache.apply(answer(1, 0, OTHER))
    assert cache.leader(ORDERS) == Leader(1, 0)
    assert (cache.topic_name(ONE), cache.topic_name(OTHER)) == (None, "orders")


def test_without_topic_ids_the_latest_answer_counts() -> None:
    cache = MetadataCache()
    cache.apply(answer(2, 5, ZERO_UUID))
    cache.apply(answer(1, 0, ZERO_UUID))
    assert cache.leader(ORDERS) == Leader(1, 0)


def test_a_partition_whose_leader_nobody_knows_has_none() -> None:
    cache = MetadataCache()
    assert cache.leader(ORDERS) is None
    for leader_id in (-1, 3):
        cache.apply(answer(leader_id, 1, OTHER))
        assert cache.leader(ORDERS) is None


def test_a_topic_with_an_error_is_forgotten_and_its_error_kept() -> None:
    cache = MetadataCache()
    cache.apply(answer(1, 1))
    cache.apply(answer(1, 1, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
    assert (cache.topics, cache.leader(ORDERS)) == ({}, None)
    assert cache.errors == {"orders": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    cache.apply(answer(1, 1))
    assert cache.errors == {}


def test_a_hint_moves_the_leader_forward_only() -> None:
    """KIP-951."""
    cache = MetadataCache()
    cache.apply(answer(1, 3))
    node = NodeEndpoint(node_id=7, host="new", port=1)
    assert not cache.apply_hint(ORDERS, LeaderIdAndEpoch(leader_id=7, leader_epoch=3), [node])
    assert not cache.apply_hint(ORDERS, None, [])
    assert cache.apply_hint(ORDERS, LeaderIdAndEpoch(leader_id=7, leader_epoch=4), [node])
    assert cache.leader(ORDERS) == Leader(7, 4)
    assert not cache.apply_hint(ORDERS, LeaderIdAndEpoch(leader_id=9, leader_epoch=5), [])


def test_topics_that_are_no_longer_followed_leave_nothing_behind() -> None:
    cache = MetadataCache()
    cache.apply(answer(1, 3))
    cache.forget_topics([])
    assert (cache.topics, cache.topic_name(ONE)) == ({}, None)
