"""Many faults at once: safety at every step, agreement soon after the last one. A failing seed replays by itself."""

import pytest

from tests.unit.raft.storm import storm


@pytest.mark.parametrize("seed", range(20))
def test_no_fault_that_raft_allows_breaks_safety_or_prevents_agreement(seed: int) -> None:
    rig = storm(seed)
    assert sum(call.outcome == "ok" for call in rig.calls) > 0


def test_five_voters_survive_the_same_faults() -> None:
    storm(1, 30_000, size=5)


def test_without_the_sync_before_sending_a_power_loss_breaks_safety() -> None:
    """The storms have teeth: the barrier is all that differs."""
    violations = 0
    for seed in range(10):
        try:
            storm(seed, is_synced=False)
        except AssertionError:  # a Violation, or the voter's own refusal to go on
            violations += 1
    assert violations >= 3, f"only {violations} of 10 seeds notice the missing barrier"


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = storm(3, 5_000), storm(3, 5_000)
    assert first.checker.applied == second.checker.applied
    assert first.sent_messages == second.sent_messages
