"""What a seed stands for: a cluster, its configuration, the weather, and when which fault happens.

Owns the drawing of all of that, before anything runs: a run is its scenario, and a scenario can be cut down to the
faults that matter. Each seed draws its own mix of kinds of faults, so that seeds differ in more than their order.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.sim.wire import Weather

NODES: Final = (1, 2, 3)
CLIENT_MACHINES: Final = ("client-1", "client-2")


class FaultKind(StrEnum):
    KILL_BROKER = "kill-broker"
    KILL_CONTROLLER = "kill-controller"
    KILL_NODE = "kill-node"
    KILL_ALL = "kill-all"
    #: In the middle of something: at one of the next changes of the disk.
    CRASH_BROKER = "crash-broker"
    CRASH_CONTROLLER = "crash-controller"
    STOP_BROKER = "stop-broker"
    POWER = "power"
    POWER_ALL = "power-all"
    PAUSE_BROKER = "pause-broker"
    PAUSE_NODE = "pause-node"
    CUT = "cut"
    CUT_ONE_WAY = "cut-one-way"
    ISOLATE = "isolate"
    SLOW_DISK = "slow-disk"
    FULL_DISK = "full-disk"
    SYNC_ERROR = "sync-error"
    CLOCK_JUMP = "clock-jump"


class Target(StrEnum):
    """Whom a fault strikes: a node by its number, or by what it is when the time has come."""

    NODE = "node"
    LEADER = "leader"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`number` is a number of changes for crashes, milliseconds for jumps of the clock; nothing for the others."""

    at_s: float
    kind: FaultKind
    target: Target
    node: int
    other: str
    duration_s: float
    number: int

    def __str__(self) -> str:
        who = self.target if self.target is not Target.NODE else f"node-{self.node}"
        return f"{self.at_s:7.3f} s {self.kind} {who} other={self.other} for {self.duration_s} s, {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    name: str
    partitions: int
    replication_factor: int
    min_insync_replicas: int
    group_commit: bool
    segment_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run. `properties` are keys of server.properties that all nodes share."""

    seed: int
    duration_s: float
    topics: tuple[TopicPlan, ...]
    properties: dict[str, str]
    snapshot_entries: int
    weather: Weather
    sync_s: tuple[float, float]
    producers: int
    idempotent_producers: int
    consumers: int
    pause_s: tuple[float, float]
    faults: tuple[Fault, ...]

    def describe(self) -> str:
        lines = [f"seed {self.seed}: {self.duration_s} s, {self.weather}, syncs {self.sync_s}, {self.properties}"]
        lines += [f"  {topic}" for topic in self.topics]
        return "\n".join(lines + [f"  {fault}" for fault in self.faults])


def draw(seed: int, duration_s: float = 40.0) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(seed)
    topics = tuple(_topic(rng, number) for number in range(rng.choice((1, 2))))
    return Scenario(
        seed=seed,
        duration_s=duration_s,
        topics=topics,
        properties=_properties(rng),
        snapshot_entries=rng.choice((10, 50, 5000)),
        weather=Weather(
            delay_s=rng.choice(((0.0001, 0.0005), (0.0002, 0.002), (0.002, 0.02))),
            slow=rng.choice((0.0, 0.005, 0.02)),
            loss=rng.choice((0.0, 0.0, 0.001, 0.01)),
            reset=rng.choice((0.0, 0.0, 0.0002, 0.001)),
        ),
        sync_s=rng.choice(((0.0002, 0.001), (0.0005, 0.005), (0.005, 0.04))),
        producers=rng.choice((1, 2)),
        idempotent_producers=rng.choice((1, 2)),
        consumers=rng.choice((1, 2)),
        pause_s=rng.choice(((0.005, 0.03), (0.02, 0.1), (0.05, 0.4))),
        faults=_faults(rng, duration_s),
    )


def _topic(rng: random.Random, number: int) -> TopicPlan:
    replication_factor = rng.choice((2, 3, 3, 3))
    return TopicPlan(
        name=f"topic-{number}",
        partitions=rng.choice((1, 2, 3)),
        replication_factor=replication_factor,
        min_insync_replicas=rng.choice((1, 2, 2)),
        group_commit=rng.random() < 0.5,
        segment_bytes=rng.choice((1500, 4096, 1 << 20)),
    )


def _properties(rng: random.Random) -> dict[str, str]:
    return {
        "broker.session.timeout.ms": rng.choice(("1000", "2000", "4000")),
        "broker.heartbeat.interval.ms": rng.choice(("200", "500")),
        "replica.lag.time.max.ms": rng.choice(("1000", "3000", "10000")),
        "replica.high.watermark.checkpoint.interval.ms": rng.choice(("200", "1000", "5000")),
        "log.flush.offset.checkpoint.interval.ms": rng.choice(("500", "3000", "60000")),
        "log.index.interval.bytes": rng.choice(("64", "4096")),
        "log.retention.check.interval.ms": rng.choice(("1000", "300000")),
        "log.retention.ms": "-1",
        # A producer that is forgotten because a clock jumped may repeat itself, as with Kafka.
        "producer.id.expiration.ms": str(2**31 - 1),
        "leader.imbalance.check.interval.seconds": rng.choice(("3", "300")),
        "replica.fetch.max.bytes": rng.choice(("4096", "1048576")),
    }


def _faults(rng: random.Random, duration_s: float) -> tuple[Fault, ...]:
    kinds = rng.sample(list(FaultKind), rng.randint(2, 7))
    gap_s = rng.choice((0.8, 2.0, 5.0))
    faults = []
    at_s = 2.0
    while (at_s := at_s + rng.uniform(0.2, 1.8) * gap_s) < duration_s - 1.0:
        kind = rng.choice(kinds)
        node = rng.choice(NODES)
        others = [f"node-{other}" for other in NODES if other != node]
        faults.append(
            Fault(
                at_s=round(at_s, 3),
                kind=kind,
                target=rng.choice((Target.NODE, Target.LEADER, Target.LEADER, Target.CONTROLLER)),
                node=node,
                other=rng.choice([*others, *others, *CLIENT_MACHINES]),
                duration_s=rng.choice((0.02, 0.3, 1.0, 3.0, 6.0)),
                number=_number(rng, kind),
            )
        )
    return tuple(faults)


def _number(rng: random.Random, kind: FaultKind) -> int:
    if kind is FaultKind.CLOCK_JUMP:
        return rng.choice((-1, 1)) * rng.choice((1000, 3_600_000, 86_400_000 * 5))
    if kind in (FaultKind.CRASH_BROKER, FaultKind.CRASH_CONTROLLER):
        return rng.choice((1, 2, 3, 5, 8, 20, 50))
    return 0
