"""A first look at speed: what one librdkafka producer gets through a three-node cluster.

    python bench/smoke.py                                   starts a cluster of three nodes, measures, stops it
    python bench/smoke.py --bootstrap 127.0.0.1:9092,...    measures a cluster that runs already, such as Apache Kafka

Every topic has three replicas and min.insync.replicas=2; every record is sent with acks=all. The client shares the
machine with the cluster. Each figure is the median of three runs, behind one that only warms up.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

RUNS = 3
#: name, record size in bytes, records, partitions, producer settings
WORKLOADS = (
    ("1 KiB records, batched", 1024, 300_000, 6, {"linger.ms": 5, "batch.size": 1_000_000}),
    ("100 B records, batched", 100, 1_000_000, 6, {"linger.ms": 5, "batch.size": 1_000_000}),
    ("one record a request", 100, 30_000, 6, {"linger.ms": 0, "batch.num.messages": 1, "max.in.flight": 1000}),
)


@contextmanager
def cluster(bootstrap: str | None) -> Iterator[str]:
    """The given cluster, or one of our own for as long as it is needed."""
    if bootstrap is not None:
        yield bootstrap
        return
    blumfeld = [sys.executable, "-P", "-m", "node.main"]
    with tempfile.TemporaryDirectory() as folder:
        port = 21092
        subprocess.run([*blumfeld, "up", "--dir", folder, "--port", str(port), "--detach"], check=True)
        try:
            yield ",".join(f"127.0.0.1:{port + n}" for n in range(3))
        finally:
            subprocess.run([*blumfeld, "down", "--dir", folder], check=True, stdout=subprocess.DEVNULL)
            for log in sorted(Path(folder).glob("node-*/node.log")):
                if "Traceback" in log.read_text(errors="replace"):
                    print(f"a node had an error:\n{log.read_text(errors='replace')[-4000:]}")


def run(bootstrap: str, size: int, count: int, partitions: int, settings: dict[str, object]) -> float:
    """Seconds from the first record to the last acknowledgement. Raises RuntimeError when one fails."""
    topic = f"smoke-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(topic, num_partitions=partitions, replication_factor=3, config={"min.insync.replicas": "2"})
    admin.create_topics([new])[topic].result(20)
    failed: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, message: failed.append(str(error)),
            **settings,
        }
    )
    producer.list_topics(topic, timeout=10)
    payload = bytes(size)
    produce = producer.produce
    began = time.monotonic()
    for number in range(count):
        try:
            produce(topic, payload, partition=number % partitions)
        except BufferError:
            producer.poll(0.05)
            produce(topic, payload, partition=number % partitions)
    producer.flush(120)
    seconds = time.monotonic() - began
    if failed:
        raise RuntimeError(f"{len(failed)} records failed, such as: {failed[0]}")
    admin.delete_topics([topic])[topic].result(20)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", help="a running cluster")
    arguments = parser.parse_args()
    with cluster(arguments.bootstrap) as bootstrap:
        print(f"{'':26}{'MB/s':>8}{'records/s':>12}   (median of {RUNS}, lowest-highest)")
        for name, size, count, partitions, settings in WORKLOADS:
            run(bootstrap, size, count // 4, partitions, settings)
            seconds = sorted(run(bootstrap, size, count, partitions, settings) for _ in range(RUNS))
            rates = [count / each for each in reversed(seconds)]
            median = statistics.median(rates)
            print(
                f"{name:26}{median * size / 1e6:8.1f}{median:12,.0f}   ({rates[0]:,.0f}-{rates[-1]:,.0f})", flush=True
            )


if __name__ == "__main__":
    main()
