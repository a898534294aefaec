"""Speed at a glance: what one librdkafka client gets through a cluster of three nodes, and what that costs them.

    python bench/smoke.py                                   starts a cluster of three nodes, measures, stops it
    python bench/smoke.py --bootstrap 127.0.0.1:9092,...    measures a cluster that runs already, such as Apache Kafka
        --pids 101,102,103                                  its processes (or their groups), to see what they use

Every topic has three replicas and min.insync.replicas=2; every record is sent with acks=all. The client shares the
machine with the cluster. Each figure is the median of the runs, behind one that only warms up. README.md says more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import load
import usage
from load import Records, Settings

PORT = 21092
BATCHED: Settings = {"linger.ms": 5, "batch.size": 1_000_000}
ONE_BY_ONE: Settings = {"linger.ms": 0, "batch.num.messages": 1, "max.in.flight": 1000}


@dataclass(frozen=True, slots=True)
class Workload:
    """Records for a new topic; `reads` times reading them instead of writing them."""

    name: str
    records: Records
    partitions: int
    settings: Settings
    reads: bool = False


WORKLOADS = (
    Workload("1 KiB records, batched", Records(400_000, 1024), 6, BATCHED),
    Workload("100 B records, batched", Records(2_000_000, 100), 6, BATCHED),
    Workload("one record a request", Records(50_000, 100), 1, ONE_BY_ONE),
    Workload("reading 1 KiB records", Records(400_000, 1024), 1, BATCHED, reads=True),
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where it listens, and the process groups of its nodes as far as they are known."""

    bootstrap: str
    groups: tuple[int, ...]


@dataclass(slots=True)
class Figures:
    """One workload's runs."""

    seconds: list[float] = field(default_factory=list)
    #: Processor time of the nodes.
    cpu_s: list[float] = field(default_factory=list)


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Three nodes of this checkout, for as long as they are needed."""
    blumfeld = [sys.executable, "-P", "-m", "node.main"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run([*blumfeld, "up", "--dir", folder, "--port", str(PORT), "--detach"], check=True)
        try:
            content = json.loads((Path(folder) / "cluster.json").read_text())
            cluster = Cluster(content["bootstrap_servers"], tuple(node["pid"] for node in content["nodes"]))
            load.acknowledge_one(cluster.bootstrap)
            print(f"first acknowledged record after {time.monotonic() - began:.2f} s")
            yield cluster
        finally:
            subprocess.run([*blumfeld, "down", "--dir", folder], check=True, stdout=subprocess.DEVNULL)
            for log in sorted(Path(folder).glob("node-*/node.log")):
                if "Traceback" in (text := log.read_text(errors="replace")):
                    print(f"a node had an error:\n{text[-4000:]}")


def measure(cluster: Cluster, workload: Workload, runs: int) -> Figures:
    figures = Figures()
    pids = usage.processes_of(cluster.groups)
    bootstrap, partitions, records = cluster.bootstrap, workload.partitions, workload.records
    with load.topic(bootstrap, partitions) as name:
        warm_up = records if workload.reads else Records(records.count // 4, records.size)
        load.produce(bootstrap, name, partitions, warm_up, workload.settings)
        for _ in range(runs):
            before = usage.cpu_s(pids)
            if workload.reads:
                seconds = load.read(bootstrap, name, records)
            else:
                seconds = load.produce(bootstrap, name, partitions, records, workload.settings)
            figures.seconds.append(seconds)
            figures.cpu_s.append(usage.cpu_s(pids) - before)
    return figures


def show(workload: Workload, figures: Figures) -> None:
    records = workload.records
    seconds, cpu_s = median(figures.seconds), median(figures.cpu_s)
    columns = (
        f"{workload.name:24}",
        f"{records.megabytes / seconds:8,.1f}",
        f"{records.count / seconds:12,.0f}",
        f"({records.count / max(figures.seconds):,.0f}-{records.count / min(figures.seconds):,.0f})".rjust(24),
        f"{cpu_s * 1e3 / records.megabytes:10.2f}",
        f"{cpu_s * 1e6 / records.count:12.2f}",
    )
    print("".join(columns), flush=True)


def show_memory(cluster: Cluster, when: str) -> None:
    nodes = [usage.memory_mb(usage.processes_of([group])) for group in cluster.groups]
    if any(nodes):
        print(f"memory of each node {when}: {', '.join(f'{each:.0f}' for each in nodes)} MB")


def run(cluster: Cluster, runs: int) -> None:
    show_memory(cluster, "idle")
    print(f"{'':24}{'MB/s':>8}{'records/s':>12}{'(lowest-highest)':>24}{'CPU ms/MB':>10}{'CPU us/record':>14}")
    for workload in WORKLOADS:
        show(workload, measure(cluster, workload, runs))
    show_memory(cluster, "after the load")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", help="a running cluster")
    parser.add_argument("--pids", default="", help="the running cluster's processes or process groups, with commas")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    print(f"client: {'confluent-kafka' if load.PROGRAM is None else 'rdkafka_performance'}")
    if options.bootstrap is not None:
        run(Cluster(options.bootstrap, tuple(int(pid) for pid in options.pids.split(",") if pid)), options.runs)
        return
    with own_cluster() as cluster:
        run(cluster, options.runs)


if __name__ == "__main__":
    main()
