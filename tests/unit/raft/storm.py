"""Random faults for a rig, from a seed: crashes, power losses, partitions, resets, delays, proposals, snapshots."""

import random

from controller.raft.journal import Standing
from controller.raft.settings import RaftSettings
from tests.unit.raft.rig import Rig, Violation

CONVERGENCE_MS = 10_000


def storm(seed: int, duration_ms: int = 60_000, *, size: int = 3, is_synced: bool = True) -> Rig:
    """Run one. Raises Violation when an invariant is broken, also one that shows only after everything healed."""
    rng = random.Random(seed * 7919 + 13)
    settings = RaftSettings(
        # Without syncs a torn snapshot is refused at the next start; here a loss is to be seen, not refused.
        snapshot_entries=rng.choice([5, 20, 100_000]) if is_synced else 100_000,
        retained_entries=rng.choice([0, 3, 10]),
        snapshot_chunk_bytes=rng.choice([40, 4096]),
        batch_bytes_max=rng.choice([60, 200, 65536]),
        batches_max=rng.choice([1, 4]),
        command_bytes_max=50,
        in_flight_max=rng.choice([4, 256]),
    )
    rig = Rig(seed, size, settings, is_synced=is_synced)
    rig.scatter = is_synced and rng.random() < 0.5
    rig.sync_ms = rng.choice([(0, 1), (0, 5), (5, 60)])
    down: set[int] = set()
    whole: set[int] = set()
    number = 0
    while rig.clock.at_ms < duration_ms:
        dice = rng.random()
        if dice < 0.55:
            number = _propose(rig, rng, number)
        elif dice < 0.65:
            a, b = rng.sample(rig.ids, 2)
            rig.reset_link(a, b)
        elif dice < 0.70:
            rig.disconnect(*rng.sample(rig.ids, 2))
        elif dice < 0.73:
            rig.partition(set(rng.sample(rig.ids, rng.randint(1, size // 2))))
        elif dice < 0.75:
            rig.hold(*rng.sample(rig.ids, 2))
        elif dice < 0.82:
            rig.heal()
        elif dice < 0.86:
            _crash(rig, rng, down)
        elif dice < 0.867 and is_synced:
            _wipe(rig, rng, whole)
        elif dice < 0.95:
            if down:
                node_id = rng.choice(sorted(down))
                down.discard(node_id)
                rig.start(node_id)
        else:
            rig.latency_ms = rng.choice([(1, 3), (5, 30), (50, 90), (10, 200)])
        rig.run(rng.choice([10, 20, 50, 200]))
    settle(rig, down)
    return rig


def settle(rig: Rig, down: set[int]) -> None:
    """End all faults and check that the voters agree in time, and on what was promised."""
    rig.latency_ms, rig.sync_ms = (1, 3), (0, 1)
    for node_id in sorted(down):
        rig.start(node_id)
    rig.heal()
    if not rig.run(CONVERGENCE_MS, rig.is_converged):
        roles = {node_id: node.voter.role for node_id, node in rig.nodes.items()}
        raise Violation(f"no convergence {CONVERGENCE_MS} ms after the last fault: {roles}")
    rig.check_acknowledged()


def _propose(rig: Rig, rng: random.Random, number: int) -> int:
    for _ in range(rng.choice([1, 1, 5])):
        leader = rig.leader()
        node_id = leader if leader is not None and rng.random() < 0.8 else rng.choice(sorted(rig.nodes) or [0])
        if node_id:
            rig.propose(node_id, b"c%d" % number)
            number += 1
    return number


def _wipe(rig: Rig, rng: random.Random, whole: set[int]) -> None:
    """One disk at a time: the next is lost only after everybody was a full member again."""
    whole |= {node_id for node_id in rig.nodes if rig.standing(node_id) is Standing.VOTER}
    if rig.nodes and len(whole) == len(rig.ids):
        node_id = rng.choice(sorted(rig.nodes))
        whole.discard(node_id)
        rig.wipe(node_id)


def _crash(rig: Rig, rng: random.Random, down: set[int]) -> None:
    """Mostly a minority, sometimes all; now and then the machine and not just the process."""
    power = rng.random() < 0.6
    if rng.random() < 0.1:
        victims = sorted(rig.nodes)
    elif len(down) < (len(rig.ids) - 1) // 2:
        victims = [rng.choice(sorted(rig.nodes))]
    else:
        return
    for node_id in victims:
        rig.crash(node_id, power=power)
        down.add(node_id)
