"""A few seeds of the simulation, on every run of the tests. `make sim SEED=n` runs others, or one of these alone."""

import logging
from collections.abc import Iterator

import pytest

from tests.sim.run import run
from tests.sim.scenario import draw

#: Simulated seconds with faults.
DURATION_S = 15.0


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(1, 11))
def test_nothing_acknowledged_is_lost_whatever_happens(seed: int) -> None:
    """Under the faults of a seed every invariant holds, and the cluster is whole again soon after them."""
    result = run(draw(seed, DURATION_S))
    assert result.violation is None, f"make sim SEED={seed} DURATION={DURATION_S}: {result.violation}"
    assert result.history.acknowledged > 0


def test_a_seed_runs_the_same_way_twice() -> None:
    first, second = run(draw(3, DURATION_S)), run(draw(3, DURATION_S))
    assert (first.trace, first.steps, first.messages) == (second.trace, second.steps, second.messages)
