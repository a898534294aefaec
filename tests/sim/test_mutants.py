"""The simulation finds the mistakes that it is there for: each rule, once broken, is noticed within a few seeds.

A mutant replaces one rule of the servers, or of the disk below them, by a wrong one. Some of them were bugs here; the
others are those that replicated logs are known for.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

import pytest

from broker.log.partition_log import FlushPlan, PartitionLog
from broker.log.segment import Segment
from broker.replication.isr import CommittedIsr, PendingExpand
from broker.replication.leader_session import LeaderSession
from broker.replication.partition import LeaderRole, Partition
from controller.raft import quorum
from controller.raft.barrier import Barrier
from tests.sim.disk import Inode
from tests.sim.run import run
from tests.sim.scenario import draw

Patch = pytest.MonkeyPatch

DURATION_S = 25.0
#: Tried one after the other until the mutant is noticed.
SEEDS = 30


def syncs_do_nothing(patch: Patch) -> None:
    patch.setattr(Inode, "sync", lambda _self, _up_to: None)


def the_journal_is_not_synced(patch: Patch) -> None:
    async def skip(barrier: Barrier) -> None:
        for _ in barrier:
            pass

    patch.setattr(quorum, "_sync_each", skip)


def a_segment_that_grew_during_a_sync_counts_as_synced(patch: Patch) -> None:
    def is_covered(_self: PartitionLog, segment: Segment, plan: FlushPlan) -> bool:
        return segment.file in plan.files

    patch.setattr(PartitionLog, "_is_covered", is_covered)


def the_high_watermark_waits_for_nobody(patch: Patch) -> None:
    def advanced(_current: int, end_offsets: Iterable[int], _isr_size: int, _min_isr: int) -> int:
        return max(end_offsets)

    patch.setattr("broker.replication.partition.advanced_high_watermark", advanced)
    patch.setattr(CommittedIsr, "maximal", property(lambda _self: ()))


def the_high_watermark_moves_below_min_isr(patch: Patch) -> None:
    def advanced(current: int, end_offsets: Iterable[int], _isr_size: int, _min_isr: int) -> int:
        return max(current, min(end_offsets))

    patch.setattr("broker.replication.partition.advanced_high_watermark", advanced)


def a_joiner_is_not_waited_for(patch: Patch) -> None:
    patch.setattr(PendingExpand, "maximal", property(lambda self: self.committed.isr))


def joiners_need_not_have_caught_up(patch: Patch) -> None:
    patch.setattr("broker.replication.partition.may_join", lambda _end, _committed, _start: True)
    patch.setattr(Partition, "_joining", _anybody)


def _anybody(
    _self: Partition,
    role: LeaderRole,
    committed: CommittedIsr,
    joinable: Callable[[int, int], bool],
    _now_ms: int,
) -> int | None:
    candidates = (broker for broker in role.followers if broker not in committed.isr)
    return next((broker for broker in candidates if joinable(broker, role.followers[broker].broker_epoch)), None)


def diverging_logs_are_not_noticed(patch: Patch) -> None:
    patch.setattr(LeaderSession, "_diverges", lambda _self, _partition, _request: False)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("mutate", "found"),
    [
        (syncs_do_nothing, ("S14",)),
        (the_journal_is_not_synced, ("fail-stop: controller", "S20")),
        (a_segment_that_grew_during_a_sync_counts_as_synced, ("S14", "S23")),
        (the_high_watermark_waits_for_nobody, ("S8", "S9")),
        (the_high_watermark_moves_below_min_isr, ("S9",)),
        (a_joiner_is_not_waited_for, ("S8", "S1")),
        (joiners_need_not_have_caught_up, ("S1", "S3")),
        (diverging_logs_are_not_noticed, ("S1", "S2", "S3", "S9", "fail-stop: broker")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_rule_is_noticed(mutate: Callable[[Patch], None], found: tuple[str, ...], monkeypatch: Patch) -> None:
    mutate(monkeypatch)
    violations = (run(draw(seed, DURATION_S)).violation for seed in range(1, SEEDS + 1))
    violation = next((each for each in violations if each is not None), None)
    assert violation is not None, f"{SEEDS} seeds do not find it any more"
    assert str(violation).startswith(found), violation
