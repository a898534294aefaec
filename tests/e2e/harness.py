"""Real clusters for tests, and a load whose every acknowledgement is remembered."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from node.local_cluster import LocalCluster, LocalNode, load, signal_node, wait_until_down
from node.up import start_nodes

_BLUMFELD = (sys.executable, "-P", "-m", "node.main")


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on, nor 100 above them."""
    for first in range(20_000 + os.getpid() % 5000, 60_000, 200):
        wanted = [*range(first, first + count), *range(first + 100, first + 100 + count)]
        if all(_is_free(port) for port in wanted):
            return first
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def blumfeld(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line and wait for it."""
    return subprocess.run([*_BLUMFELD, *arguments], capture_output=True, text=True, check=check, timeout=90)


@contextmanager
def running_cluster(folder: Path, *, nodes: int = 3, settings: dict[str, str] | None = None) -> Iterator["Cluster"]:
    """A cluster below `folder`, stopped and checked for tracebacks in the end."""
    options = [f"--set={key}={value}" for key, value in (settings or {}).items()]
    arguments = ["up", "-n", str(nodes), "--dir", str(folder), "--port", str(free_ports(nodes)), "--detach", *options]
    done = blumfeld(*arguments, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster = Cluster(load(folder))
    try:
        yield cluster
    finally:
        blumfeld("down", "--dir", str(folder))


@dataclass
class Cluster:
    local: LocalCluster

    @property
    def bootstrap(self) -> str:
        return self.local.bootstrap_servers

    def node(self, node_id: int) -> LocalNode:
        return self.local.node(node_id)

    def kill(self, node_id: int) -> None:
        signal_node(self.node(node_id), signal.SIGKILL, whole_group=True)
        assert wait_until_down(self.node(node_id), 10)

    def start(self, *node_ids: int) -> None:
        """Start nodes and wait until clients can use them."""
        start_nodes(self.local, [self.node(node_id) for node_id in node_ids])

    def pause(self, node_id: int) -> None:
        signal_node(self.node(node_id), signal.SIGSTOP, whole_group=True)

    def resume(self, node_id: int) -> None:
        signal_node(self.node(node_id), signal.SIGCONT, whole_group=True)

    def create_topic(self, name: str, *, partitions: int = 1, replicas: int = 3, **configs: str) -> None:
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=settings)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_topics([topic], operation_timeout=10)[name].result(20)

    def partitions(self, topic: str) -> dict[int, tuple[int, list[int]]]:
        """Partition -> (leader, ISR), asked of any node that answers."""
        metadata = AdminClient({"bootstrap.servers": self.bootstrap}).list_topics(topic, timeout=10)
        found = metadata.topics[topic].partitions
        return {number: (partition.leader, sorted(partition.isrs)) for number, partition in found.items()}

    def leader(self, topic: str, partition: int = 0) -> int:
        """The leader, once there is one."""
        return wait_for(lambda: found if (found := self.partitions(topic)[partition][0]) > 0 else None, "a leader")

    def wait_full_isr(self, topic: str, size: int = 3, timeout_s: float = 30) -> None:
        wait_for(
            lambda: all(len(isr) == size for _, isr in self.partitions(topic).values()) or None,
            f"{size} replicas in every ISR of {topic}",
            timeout_s,
        )

    def active_controller(self) -> int:
        """The node whose controller leads the quorum, by what its log says last."""
        return wait_for(self._controller_in_logs, "an active controller")

    def _controller_in_logs(self) -> int | None:
        """The node that wrote the youngest line about leading."""
        latest: tuple[str, int] | None = None
        for node in self.local.nodes:
            for line in node.log_file.read_text(errors="replace").splitlines():
                if "-> active: it leads term" in line and (latest is None or line[:23] > latest[0]):
                    latest = (line[:23], node.node_id)
        return None if latest is None else latest[1]


T = TypeVar("T")


def wait_for(probe: Callable[[], T | None], what: str, timeout_s: float = 30.0) -> T:
    """The first answer of `probe` that is not None; errors of a cluster in motion count as none."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = probe()
            if found is not None:
                return found
        except KafkaException as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {timeout_s} s ({last})")


@dataclass
class Load:
    """Numbered records at a steady pace, from one idempotent producer with acks=all, on every partition of a topic."""

    bootstrap: str
    topic: str
    partitions: int
    per_second: int = 500
    #: partition -> [(number, offset)] in the order of the acknowledgements.
    acknowledged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    #: When each acknowledgement came.
    times: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for(lambda: self.times or None, "first acknowledgement")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                "retry.backoff.ms": 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "topic.metadata.refresh.interval.ms": 1000,
                "delivery.timeout.ms": 120_000,
            }
        )
        began = time.monotonic()
        for number in itertools.count():
            if self._stop.is_set():
                break
            partition = number % self.partitions
            producer.produce(self.topic, str(number).encode(), partition=partition, on_delivery=self._on_delivery)
            producer.poll(0)
            while (ahead := began + number / self.per_second - time.monotonic()) > 0:
                producer.poll(min(ahead, 0.01))
        left = producer.flush(60)
        if left:
            self.failed.append(f"{left} records were never decided")

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        value = message.value()
        assert value is not None
        if error is not None:
            self.failed.append(f"{value!r}: {error}")
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self.acknowledged.setdefault(partition, []).append((int(value), offset))
        self.times.append(time.monotonic())

    def longest_silence(self, since: float) -> float:
        """Seconds between two acknowledgements that follow each other, of which the later came after `since`."""
        times = [when for when in self.times if when >= since - 1.0]
        return max((b - a for a, b in itertools.pairwise(times) if b >= since), default=float("inf"))

    def check(self) -> None:
        """Nothing acknowledged is lost, nothing is there twice, and everything is where it was said to be, in order."""
        assert not self.failed, self.failed[:5]
        self.check_stored(read_all(self.bootstrap, self.topic, self.partitions))

    def check_stored(self, stored: dict[int, list[tuple[int, bytes]]]) -> None:
        """Like `check`, of what was read by `read_all`."""
        for partition in range(self.partitions):
            acknowledged = self.acknowledged.get(partition, [])
            numbers = [int(value) for _, value in stored[partition]]
            assert len(set(numbers)) == len(numbers), f"partition {partition} holds a record twice"
            assert numbers == sorted(numbers), f"partition {partition} is out of order"
            missing = set(acknowledged) - {(int(value), offset) for offset, value in stored[partition]}
            assert not missing, f"partition {partition} lost {len(missing)} acknowledged records: {sorted(missing)[:5]}"


def read_all(bootstrap: str, topic: str, partitions: int) -> dict[int, list[tuple[int, bytes]]]:
    """partition -> [(offset, value)], up to the high watermarks of this moment."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False, "auto.offset.reset": "error"}
    )
    try:
        ends = {
            number: wait_for(partial(_watermarks, consumer, topic, number), "watermarks")
            for number in range(partitions)
        }
        found: dict[int, list[tuple[int, bytes]]] = {number: [] for number in range(partitions)}
        consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in ends.items()])
        wanted = sum(high - low for low, high in ends.values())
        deadline = time.monotonic() + 60
        while sum(map(len, found.values())) < wanted:
            assert time.monotonic() < deadline, f"{wanted} records are there, not all of them come"
            for message in consumer.consume(10_000, timeout=1.0):
                error, number, offset, value = message.error(), message.partition(), message.offset(), message.value()
                assert error is None, error
                assert number is not None
                assert offset is not None
                assert value is not None
                found[number].append((offset, value))
        return found
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int] | None:
    found = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5)
    return None if found is None else (int(found[0]), int(found[1]))
