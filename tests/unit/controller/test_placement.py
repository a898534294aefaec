"""Replicas are spread over racks, brokers and leaders (KIP-631)."""

from collections import Counter

import pytest

from cluster.errors import ErrorCode, KafkaError
from controller.placement import Candidate, Dice, place

GOLDEN = [(1, 2), (2, 0), (0, 1), (1, 0)]
SEEDS = [bytes([number]) * 16 for number in range(20)]


def _brokers(*racks: str | None, fenced: tuple[int, ...] = ()) -> list[Candidate]:
    return [Candidate(number, rack, number not in fenced) for number, rack in enumerate(racks)]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_partition_has_a_broker_twice(seed: bytes) -> None:
    for factor in range(1, 6):
        for replicas in place(_brokers("a", "a", "b", "b", "c"), 30, factor, seed):
            assert len(set(replicas)) == factor


@pytest.mark.parametrize("seed", SEEDS)
def test_every_rack_gets_a_replica_while_there_are_enough_racks(seed: bytes) -> None:
    brokers = _brokers("a", "a", "b", "b", "c", "c")
    for replicas in place(brokers, 60, 3, seed):
        assert {brokers[number].rack for number in replicas} == {"a", "b", "c"}


@pytest.mark.parametrize("racks", [(None,) * 4, ("a", "a", "b", "b"), ("a", "b", "c", "d")])
@pytest.mark.parametrize("seed", SEEDS[:5])
def test_leaders_and_replicas_are_balanced(racks: tuple[str | None, ...], seed: bytes) -> None:
    placed = place(_brokers(*racks), 120, 2, seed)
    assert set(Counter(replicas[0] for replicas in placed).values()) == {30}
    assert set(Counter(number for replicas in placed for number in replicas).values()) == {60}


@pytest.mark.parametrize("racks", [(None,) * 4, ("a", "a", "b", "b")])
def test_the_followers_of_one_leader_differ(racks: tuple[str | None, ...]) -> None:
    """When a broker dies, its partitions go to several others."""
    placed = place(_brokers(*racks), 120, 2, SEEDS[0])
    for leader in range(4):
        assert len({replicas[1] for replicas in placed if replicas[0] == leader}) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fenced_broker_is_used_only_when_needed_and_never_leads(seed: bytes) -> None:
    brokers = _brokers(None, None, None, None, fenced=(3,))
    assert all(3 not in replicas for replicas in place(brokers, 20, 3, seed))
    for replicas in place(brokers, 20, 4, seed):
        assert replicas[-1] == 3


def test_a_rack_of_fenced_brokers_does_not_lead() -> None:
    for replicas in place(_brokers("a", "b", fenced=(1,)), 10, 2, SEEDS[0]):
        assert replicas == (0, 1)


@pytest.mark.parametrize(
    ("brokers", "factor"), [([], 1), (_brokers(None, None), 3), (_brokers(None, None, fenced=(0, 1)), 1)]
)
def test_too_few_brokers_are_an_error_with_counts(brokers: list[Candidate], factor: int) -> None:
    with pytest.raises(KafkaError, match=r"\d broker|registered") as caught:
        place(brokers, 1, factor, SEEDS[0])
    assert caught.value.code is ErrorCode.INVALID_REPLICATION_FACTOR


def test_a_seed_fixes_the_outcome_for_ever() -> None:
    """Voters of different versions must place alike."""
    assert Dice(bytes(16)).below(10**6) == 5603
    assert place(_brokers("a", "b", "c"), 4, 2, bytes(16)) == GOLDEN
