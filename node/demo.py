"""`blumfeld demo`: three nodes, a load, the leader killed with kill -9, and an account of what was lost.

Every step is told as it happens. The nodes are processes like those of `blumfeld up`; the client is the one that the
command line uses.
"""

import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from client.admin import Admin, NewTopic
from client.consumer import Consumer
from client.producer import Delivery, Producer
from cluster.errors import KafkaError
from cluster.ids import Endpoint, TopicPartition
from node.local_cluster import CONTROLLER_PORT_OFFSET, DEFAULT_PORT, HOST, LocalCluster, load, signal_node
from node.serving import check_port
from node.up import start_nodes

NODES = 3
TOPIC = "orders"
PARTITION = TopicPartition(TOPIC, 0)
RECORDS_PER_SECOND = 500
#: How long the load runs before the kill, and after the cluster has recovered from it.
LOAD_S = 3.0
RECOVERY_S = 30.0


class DemoFailed(Exception):
    """The demo could not be carried through; the text says what went wrong."""


def run_demo(port: int | None) -> int:
    """The whole demo; returns 0 when nothing was lost. Raises DemoFailed and OSError."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blumfeld-demo-") as folder:
        _tell(began, "starting three nodes, each a controller and a broker")
        blumfeld = [sys.executable, "-P", "-m", "node.main"]
        up = [*blumfeld, "up", "-n", str(NODES), "--dir", folder, "--port", str(port or _free_ports()), "--detach"]
        started = subprocess.run(up, capture_output=True, text=True, check=False)
        if started.returncode:
            raise DemoFailed(started.stderr.strip() or started.stdout.strip())
        try:
            cluster = load(Path(folder))
            _tell(began, f"they are up: {cluster.bootstrap_servers}")
            return asyncio.run(_Demo(cluster, began).run())
        finally:
            subprocess.run([*blumfeld, "down", "--dir", folder], capture_output=True, check=False)


def _free_ports() -> int:
    """The usual first port, or the first of as many that nobody has."""
    for first in range(DEFAULT_PORT, 60_000, 1000):
        try:
            for port in range(first, first + NODES):
                check_port("demo", Endpoint(HOST, port))
                check_port("demo", Endpoint(HOST, port + CONTROLLER_PORT_OFFSET))
        except OSError:
            continue
        return first
    raise DemoFailed("no ports are free on this machine")


def _tell(began: float, text: str) -> None:
    click.echo(f"{time.monotonic() - began:6.2f} s  {text}")


@dataclass
class _Demo:
    cluster: LocalCluster
    began: float
    #: Offset that was acknowledged -> the record.
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    failed: int = 0
    answers: set[asyncio.Task[None]] = field(default_factory=set)
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> int:
        async with (
            Admin(bootstrap_servers=self.cluster.bootstrap_servers) as admin,
            Producer(bootstrap_servers=self.cluster.bootstrap_servers, acks="all", linger_ms=0) as producer,
        ):
            await admin.create_topic(
                NewTopic(name=TOPIC, partitions=1, replication_factor=3, configs={"min.insync.replicas": "2"})
            )
            leader, isr = await self._leader(admin)
            self.tell(f"topic {TOPIC}: 1 partition, 3 replicas, leader node {leader}, in sync {isr}")
            load = asyncio.create_task(self._produce(producer))
            await self._acknowledgements(1)
            self.tell("the first record is acknowledged by the whole in-sync set (acks=all, min.insync.replicas=2)")
            await asyncio.sleep(LOAD_S)
            self.tell(f"{len(self.times)} records acknowledged, {RECORDS_PER_SECOND} a second")
            await self._kill(admin, leader)
            await asyncio.sleep(LOAD_S)
            await self._bring_back(admin, leader)
            await asyncio.sleep(1.0)
            load.cancel()
            await asyncio.wait([load])
            await producer.flush()
        return await self._account()

    def tell(self, text: str) -> None:
        _tell(self.began, text)

    async def _leader(self, admin: Admin) -> tuple[int, list[int]]:
        partition = (await admin.wait_for_topic(TOPIC)).partitions[0]
        return partition.leader_id, sorted(partition.isr)

    async def _produce(self, producer: Producer) -> None:
        start = time.monotonic()
        for number in itertools.count():
            delivery = await producer.send(TOPIC, b"order %d" % number, partition=0)
            answer = asyncio.create_task(self._remember(number, delivery))
            self.answers.add(answer)
            answer.add_done_callback(self.answers.discard)
            await asyncio.sleep(max(0.0, start + number / RECORDS_PER_SECOND - time.monotonic()))

    async def _remember(self, number: int, delivery: Delivery) -> None:
        try:
            written = await delivery
        except KafkaError:
            self.failed += 1
            return
        self.acknowledged[written.offset] = b"order %d" % number
        self.times.append(time.monotonic())
        async with self.progress:
            self.progress.notify_all()

    async def _acknowledgements(self, more: int) -> None:
        """Return when `more` acknowledgements have come than now."""
        wanted = len(self.times) + more
        async with asyncio.timeout(RECOVERY_S), self.progress:
            await self.progress.wait_for(lambda: len(self.times) >= wanted)

    async def _kill(self, admin: Admin, leader: int) -> None:
        self.tell(f"kill -9 node {leader}, its broker and its controller")
        killed = time.monotonic()
        await asyncio.to_thread(signal_node, self.cluster.node(leader), signal.SIGKILL, whole_group=True)
        await self._acknowledgements(RECORDS_PER_SECOND // 2)
        new_leader, isr = await self._leader(admin)
        silence = max(b - a for a, b in itertools.pairwise(t for t in self.times if t > killed - 1.0))
        self.tell(f"writes go on: leader node {new_leader}, in sync {isr}")
        self.tell(f"the longest time without an acknowledgement was {silence:.2f} s")

    async def _bring_back(self, admin: Admin, node_id: int) -> None:
        self.tell(f"starting node {node_id} again, under load")
        await asyncio.to_thread(start_nodes, self.cluster, [self.cluster.node(node_id)])
        isr: list[int] = []
        async with asyncio.timeout(RECOVERY_S):
            while len(isr) < len(self.cluster.nodes):
                _, isr = await self._leader(admin)
                await self._acknowledgements(1)
        self.tell(f"it has caught up: in sync {isr}")

    async def _account(self) -> int:
        self.tell("reading everything back")
        stored: dict[int, bytes] = {}
        async with Consumer(bootstrap_servers=self.cluster.bootstrap_servers, auto_offset_reset="earliest") as consumer:
            consumer.assign([PARTITION])
            end = (await consumer.end_offsets([PARTITION]))[PARTITION]
            async with asyncio.timeout(RECOVERY_S):
                while len(stored) < end:
                    stored.update({r.offset: r.value or b"" for r in await consumer.poll(1000)})
        lost = sum(stored.get(offset) != value for offset, value in self.acknowledged.items())
        values = list(stored.values())
        twice = len(values) - len(set(values))
        misplaced = sum(int(b.split()[1]) < int(a.split()[1]) for a, b in itertools.pairwise(values))
        self.tell(f"{len(self.acknowledged)} records were acknowledged, {len(stored)} are there")
        click.echo(f"\n          lost {lost}   twice {twice}   out of order {misplaced}   refused {self.failed}")
        return 0 if not (lost or twice or misplaced) else 11
