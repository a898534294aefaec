"""Nodes are killed with kill -9 under a steady load; nothing that was acknowledged is lost.

How long the load stood still is printed, and never judged: that is the machine's business as well.
"""

import itertools
import statistics
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.e2e.harness import Cluster, Load, read_all, running_cluster, wait_for

ROUNDS = 30
PARTITIONS = 3


def test_thirty_kills_lose_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Victims in turn: the leader of a partition, the active controller, a follower, two nodes one after the other."""
    cluster.create_topic("orders", partitions=PARTITIONS)
    silences: dict[str, list[float]] = {}
    with Load(cluster.bootstrap, "orders", PARTITIONS) as load:
        for round_number, kind in zip(
            range(ROUNDS), itertools.cycle(("leader", "controller", "follower", "two")), strict=False
        ):
            cluster.wait_full_isr("orders")
            victims = _victims(cluster, kind, round_number % PARTITIONS)
            killed_at = time.monotonic()
            for victim in victims:
                cluster.kill(victim)
                _wait_for_progress(load)
                cluster.start(victim)
                cluster.wait_full_isr("orders")
            silences.setdefault(kind, []).append(load.longest_silence(killed_at))
    load.check()
    with capsys.disabled():
        print(f"\n{ROUNDS} kills, {len(load.times)} acknowledged, 0 lost; longest silence of each round:")
        for kind, seconds in silences.items():
            median, longest = statistics.median(seconds), max(seconds)
            print(f"  {kind:10} median {median:.2f} s, longest {longest:.2f} s of {len(seconds)}")


def _victims(cluster: Cluster, kind: str, partition: int) -> list[int]:
    leader = cluster.leader("orders", partition)
    others = [node.node_id for node in cluster.local.nodes if node.node_id != leader]
    match kind:
        case "leader":
            return [leader]
        case "controller":
            return [cluster.active_controller()]
        case "follower":
            return others[:1]
    return [leader, others[0]]


def _wait_for_progress(load: Load) -> None:
    """Return when records that were sent after this call were acknowledged."""
    before = len(load.times)
    wait_for(lambda: len(load.times) > before + load.per_second // 2 or None, "progress without the killed node", 60)


def test_a_paused_leader_acknowledges_nothing_and_is_cut_to_the_truth(cluster: Cluster) -> None:
    cluster.create_topic("paused", partitions=1)
    with Load(cluster.bootstrap, "paused", 1) as load:
        cluster.wait_full_isr("paused")
        leader = cluster.leader("paused")
        cluster.pause(leader)
        began = time.monotonic()
        wait_for(lambda: cluster.leader("paused") != leader or None, "another leader")
        _wait_for_progress(load)
        while time.monotonic() < began + 15:
            _wait_for_progress(load)
        cluster.resume(leader)
        cluster.wait_full_isr("paused")
    load.check()
    _wait_for_equal_logs(cluster, "paused-0")


def test_below_min_insync_replicas_writes_are_refused_and_reads_go_on(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        cluster.create_topic("t", partitions=1)
        with Load(cluster.bootstrap, "t", 1) as load:
            cluster.wait_full_isr("t")
            leader = cluster.leader("t")
        committed = read_all(cluster.bootstrap, "t", 1)
        others = [node.node_id for node in cluster.local.nodes if node.node_id != leader]
        for victim in others:
            cluster.kill(victim)
        survivor = f"127.0.0.1:{cluster.node(leader).port}"
        wait_for(lambda: _produce_once(survivor, "t") == "NOT_ENOUGH_REPLICAS" or None, "refusal")
        assert read_all(survivor, "t", 1) == committed
        cluster.start(*others)
        cluster.wait_full_isr("t")
        wait_for(lambda: _produce_once(cluster.bootstrap, "t") is None or None, "acknowledgement")
        stored = read_all(cluster.bootstrap, "t", 1)
        assert stored[0][: len(committed[0])] == committed[0]
        load.check_stored(committed)
        _wait_for_equal_logs(cluster, "t-0")


def _produce_once(bootstrap: str, topic: str) -> str | None:
    """The name of the error, None after an acknowledgement; without a single retry."""
    answers: list[str | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "retries": 0, "request.timeout.ms": 3000})
    producer.produce(
        topic, b"once", partition=0, on_delivery=lambda error, message: answers.append(error.name() if error else None)
    )
    producer.flush(20)
    return answers[0] if answers else "undecided"


def test_all_nodes_killed_at_once_and_started_again_have_everything(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        cluster.create_topic("t", partitions=PARTITIONS)
        with Load(cluster.bootstrap, "t", PARTITIONS) as load:
            for _ in range(3):
                _wait_for_progress(load)
                for node in cluster.local.nodes:
                    cluster.kill(node.node_id)
                cluster.start(1, 2, 3)
            _wait_for_progress(load)
        load.check()


def _wait_for_equal_logs(cluster: Cluster, folder: str) -> None:
    """Byte for byte: nothing is written any more, so every log ends at the high watermark."""

    def equal() -> bool | None:
        logs = [
            b"".join(path.read_bytes() for path in sorted((node.folder / "data" / folder).glob("*.log")))
            for node in cluster.local.nodes
        ]
        return logs[0] == logs[1] == logs[2] or None

    wait_for(equal, f"equal logs of {folder}")
