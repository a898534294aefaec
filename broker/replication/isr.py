"""The in-sync replicas of a partition as its leader sees them, and the pure rules about them.

A change of the ISR is proposed to the controller and may or may not have become true until its answer is known. Until
then the leader reckons with every ISR that could be true: the high watermark waits for the *maximal* one. The three
situations are three types. All broker ids are in ascending order. Sources: KIP-497, KIP-841, KIP-903, KIP-966.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedIsr:
    """No change is in flight: the controller has this ISR at this partition epoch."""

    isr: tuple[int, ...]
    partition_epoch: int

    @property
    def maximal(self) -> tuple[int, ...]:
        return self.isr


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingExpand:
    """`joining` was proposed. It must not be left behind any more, and does not count for min.insync.replicas yet."""

    committed: CommittedIsr
    joining: int

    @property
    def isr(self) -> tuple[int, ...]:
        return self.committed.isr

    @property
    def maximal(self) -> tuple[int, ...]:
        return self.proposed

    @property
    def proposed(self) -> tuple[int, ...]:
        return tuple(sorted((*self.committed.isr, self.joining)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingShrink:
    """The departure of `leaving` was proposed. They are still waited for until the controller has confirmed it."""

    committed: CommittedIsr
    leaving: tuple[int, ...]

    @property
    def isr(self) -> tuple[int, ...]:
        return self.committed.isr

    @property
    def maximal(self) -> tuple[int, ...]:
        return self.committed.isr

    @property
    def proposed(self) -> tuple[int, ...]:
        return tuple(broker for broker in self.committed.isr if broker not in self.leaving)


IsrState = CommittedIsr | PendingExpand | PendingShrink


def advanced_high_watermark(current: int, end_offsets: Iterable[int], isr_size: int, min_isr: int) -> int:
    """The high watermark after the replicas of the maximal ISR (the leader among them) reported `end_offsets`.

    It never falls, and stands still while the committed ISR is smaller than min.insync.replicas (KIP-966): what is
    acknowledged is always on that many replicas.
    """
    if isr_size < min_isr:
        return current
    return max(current, min(end_offsets))


def may_join(end_offset: int, high_watermark: int, epoch_start_offset: int) -> bool:
    """Whether a follower holds everything that a new leader could need it for.

    Reaching the high watermark is not enough right after an election, when it may lag: the follower must also hold
    all of the earlier epochs (KIP-497).
    """
    return end_offset >= max(high_watermark, epoch_start_offset)
