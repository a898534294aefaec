"""Where the replicas of new partitions go: spread over racks, over brokers and over leaders.

Each partition takes its replicas from one rack after the other, beginning one rack further than the partition before
it, and from each rack the next broker in turn. So every rack gets a replica while there are enough racks, every broker
leads as often as its rack's size allows, and the followers of one leader differ. Fenced brokers are used only where a
rack has no active one left, and never as a preferred leader.

Pure; chance comes from a seed. Source: KRaft's striped placer (KIP-631) in outline.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.errors import ErrorCode, KafkaError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered broker. `active` ones are preferred."""

    broker_id: int
    rack: str | None
    active: bool


class Dice:
    """Numbers that follow from a seed, the same on every machine and in every version."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def below(self, limit: int) -> int:
        """0 <= number < limit; even enough for limits far below 2**64."""
        self._count += 1
        digest = hashlib.blake2b(self._seed + self._count.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % limit

    def shuffle(self, items: list[int]) -> None:
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


class _Rack:
    """The brokers of one rack and whose turn it is."""

    def __init__(self, active: list[int], fenced: list[int], dice: Dice) -> None:
        dice.shuffle(active)
        dice.shuffle(fenced)
        self._active = active
        self._fenced = fenced
        self._leads = 0
        self._follows = 0
        self._left: list[int] = []

    @property
    def has_active(self) -> bool:
        return bool(self._active)

    def begin(self, leads: bool) -> None:
        """Line up for one partition. Whole rounds are offset against each other, so that pairs of brokers vary."""
        if leads:
            turn, size = self._leads, len(self._active)
            leader, *rest = _rotated(self._active, turn)
            self._left = [leader, *_rotated(rest, turn // size)]
            self._leads += 1
        else:
            turn, size = self._follows, max(1, len(self._active))
            self._left = _rotated(self._active, turn + turn // size)
            self._follows += 1
        self._left += _rotated(self._fenced, turn)

    def take(self) -> int | None:
        """The next broker that this partition does not have yet, active ones first."""
        return self._left.pop(0) if self._left else None


def _rotated(items: list[int], turn: int) -> list[int]:
    start = turn % len(items) if items else 0
    return items[start:] + items[:start]


def place(
    candidates: Sequence[Candidate], partitions: int, replication_factor: int, seed: bytes
) -> list[tuple[int, ...]]:
    """Replicas for each of `partitions`; the first of each is active.

    Raises KafkaError INVALID_REPLICATION_FACTOR when there are too few brokers, or none that is active.
    """
    active = sum(candidate.active for candidate in candidates)
    if replication_factor > len(candidates):
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replication_factor} time(s): only {len(candidates)} broker(s) are "
            f"registered, {active} of them active.",
        )
    if active == 0:
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to place replicas: none of the {len(candidates)} registered broker(s) is active.",
        )
    dice = Dice(seed)
    names = sorted({candidate.rack or "" for candidate in candidates})
    order = list(range(len(names)))
    dice.shuffle(order)
    racks = [
        _Rack(
            sorted(c.broker_id for c in candidates if c.active and (c.rack or "") == names[position]),
            sorted(c.broker_id for c in candidates if not c.active and (c.rack or "") == names[position]),
            dice,
        )
        for position in order
    ]
    return [_place_one(racks, number, replication_factor) for number in range(partitions)]


def _place_one(racks: list[_Rack], number: int, replication_factor: int) -> tuple[int, ...]:
    first = number % len(racks)
    while not racks[first].has_active:
        first = (first + 1) % len(racks)
    others = [(first + 1 + offset) % len(racks) for offset in range(len(racks) - 1)]
    step = (number // len(racks)) % len(others) if others else 0
    order = [first, *others[step:], *others[:step]]
    for position in order:
        racks[position].begin(leads=position == first)
    replicas: list[int] = []
    while len(replicas) < replication_factor:
        for position in order:
            broker_id = racks[position].take() if len(replicas) < replication_factor else None
            if broker_id is not None:
                replicas.append(broker_id)
    return tuple(replicas)
