"""Runs scenarios: `python -m tests.sim.run --seed N`. Prints the seed, what happened, and the violation if any.

A run has two phases. In the first the faults of the scenario strike while clients write and read; in the second all of
them are taken back, and within thirty simulated seconds every partition must have its leader (L1) and its full ISR
(L2), take writes (L3) and have equal replicas (L4). At the end everything that was acknowledged must be there.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.ids import TopicIdPartition
from tests.sim.faults import Injector
from tests.sim.history import History
from tests.sim.loop import PROCESS, Violation
from tests.sim.scenario import Scenario, draw
from tests.sim.workload import Workload
from tests.sim.world import World

START_S = 30.0
RECOVERY_S = 30.0
#: Every so many seeds one runs twice, and must leave the same trace.
REPEAT_EVERY = 20


@dataclass(slots=True)
class Result:
    """What came of one run. `violation` is None when nothing was wrong."""

    seed: int
    violation: BaseException | None
    trace: int
    steps: int
    simulated_s: float
    cpu_s: float
    messages: int
    history: History
    coverage: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = "ok" if self.violation is None else f"VIOLATION {self.violation}"
        return (
            f"seed {self.seed}: {self.simulated_s:.1f} s in {self.cpu_s:.1f} s of processor time, {self.steps} steps, "
            f"{self.messages} messages, {self.history.acknowledged} acknowledged, {self.history.reads} read, "
            f"trace {self.trace:08x}: {verdict}"
        )


def run(scenario: Scenario) -> Result:
    """Run one scenario to its end or to its first violation."""
    began_s = time.process_time()
    world = World(scenario)
    workload = Workload(world)
    violation: BaseException | None = None
    try:
        world.loop.run_until_complete(_story(world, workload))
    except Violation as error:
        violation = error
    except Exception as error:
        violation = error
    result = Result(
        seed=scenario.seed,
        violation=violation,
        trace=world.loop.trace,
        steps=world.loop.steps,
        simulated_s=world.loop.time(),
        cpu_s=time.process_time() - began_s,
        messages=world.network.messages,
        history=workload.history,
        coverage=dict(sorted(world.observer.coverage.items())),
    )
    world.loop.dispose()
    return result


async def _story(world: World, workload: Workload) -> None:
    world.start()
    if not await workload.create_topics(START_S):
        raise Violation(f"L0: no topics {START_S} s after the start")
    workload.start()
    injector = Injector(world)
    await injector.run()
    await world.wait_for(lambda: world.loop.time() >= world.scenario.duration_s, world.scenario.duration_s)
    await injector.heal()
    await _recover(world, workload)


async def _recover(world: World, workload: Workload) -> None:
    healed_s = world.loop.time()
    observer = world.observer

    def led() -> bool:
        return all(state.leader >= 0 for _, _, state in observer.image.partitions())

    def whole() -> bool:
        return all(set(state.isr) == set(state.replicas) for _, _, state in observer.image.partitions())

    if not await world.wait_for(led, RECOVERY_S):
        raise Violation(f"L1: no leader {RECOVERY_S} s after all faults: {_state(world)}")
    if not await world.wait_for(whole, healed_s + RECOVERY_S - world.loop.time()):
        raise Violation(f"L2: the ISR is not whole {RECOVERY_S} s after all faults: {_state(world)}")
    if not await world.wait_for(lambda: workload.written_since(healed_s), healed_s + RECOVERY_S - world.loop.time()):
        raise Violation(f"L3: no write is acknowledged {RECOVERY_S} s after all faults: {_state(world)}")
    await workload.stop_writing()
    if not await world.wait_for(lambda: _equal(world), RECOVERY_S):
        raise Violation(f"L4: replicas differ {RECOVERY_S} s after the last write")
    logs = await workload.read_all(RECOVERY_S)
    if logs is None:
        raise Violation(f"L4: not everything can be read within {RECOVERY_S} s")
    workload.history.check_complete(logs)


def _equal(world: World) -> bool:
    """Whether every replica holds all that is committed."""
    observer = world.observer
    for topic, number, state in observer.image.partitions():
        for broker_id in state.replicas:
            broker = observer.brokers.get(broker_id)
            watched = None if broker is None else broker.replicas.get(TopicIdPartition(topic.topic_id, number))
            if watched is None or watched.mirror.verified < observer.committed[watched.partition.key].end:
                return False
    return True


def _state(world: World) -> str:
    image = world.observer.image
    partitions = [f"{topic.name}-{number}: {state}" for topic, number, state in image.partitions()]
    return "; ".join([*(str(broker) for broker in image.brokers.values()), *partitions])


class _Names(logging.Filter):
    """Puts virtual time and the process into each line of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        process = PROCESS.get()
        record.process_name = "world" if process is None else process.name
        try:
            record.at_s = asyncio.get_running_loop().time()
        except RuntimeError:
            record.at_s = 0.0
        return True


def _show_log() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(at_s)10.4f %(process_name)-13s %(message)s"))
    handler.addFilter(_Names())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Simulate clusters under faults.")
    parser.add_argument("--seed", type=int, required=True, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many seeds from there on")
    parser.add_argument("--duration", type=float, default=40.0, help="simulated seconds with faults")
    parser.add_argument("--log", action="store_true", help="what the servers log, in virtual time")
    parser.add_argument("--verbose", action="store_true", help="the scenario, and what the run came by")
    options = parser.parse_args(arguments)
    if options.log:
        _show_log()
    else:
        logging.disable(logging.CRITICAL)
    failed = []
    for seed in range(options.seed, options.seed + options.count):
        scenario = draw(seed, options.duration)
        if options.verbose:
            print(scenario.describe(), flush=True)
        result = run(scenario)
        print(result, flush=True)
        if options.verbose:
            print("  ", ", ".join(f"{what}: {count}" for what, count in result.coverage.items()))
        if result.violation is None and seed % REPEAT_EVERY == 0:
            again = run(scenario)
            if (again.trace, again.steps) != (result.trace, result.steps):
                print(f"seed {seed}: NOT DETERMINISTIC, trace {again.trace:08x} the second time", flush=True)
                failed.append(seed)
        if result.violation is not None:
            failed.append(seed)
    if failed:
        print(f"failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
