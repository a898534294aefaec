"""Load on a cluster: records produced and read as fast as one client can, timed.

Two drivers of librdkafka: its own `rdkafka_performance`, a C program that leaves most of the machine to the cluster,
where the environment variable RDKAFKA_PERFORMANCE names one; else confluent-kafka, whose Python costs more than many a
broker. Never judges: a record that fails is an error.
"""

import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

PROGRAM = os.environ.get("RDKAFKA_PERFORMANCE")
_TIMEOUT_S = 600
_PRODUCED = re.compile(r"(\d+) delivered \(offset -?\d+, (\d+) failed\) in (\d+)ms")
_CONSUMED = re.compile(r"(\d+) messages \(\d+ bytes\) consumed in (\d+)ms")
#: A reader takes what it is given as fast as it can be sent.
_READER = {"fetch.message.max.bytes": "10000000", "queued.max.messages.kbytes": "200000", "check.crcs": "false"}

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Records:
    """How many, and how large each is in bytes."""

    count: int
    size: int

    @property
    def megabytes(self) -> float:
        return self.count * self.size / 1e6


@contextmanager
def topic(bootstrap: str, partitions: int) -> Iterator[str]:
    """A new topic with three replicas, two of which must have a record before it is acknowledged."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = NewTopic(name, num_partitions=partitions, replication_factor=3, config={"min.insync.replicas": "2"})
    admin.create_topics([new])[name].result(20)
    try:
        yield name
    finally:
        admin.delete_topics([name])[name].result(20)


def produce(bootstrap: str, name: str, partitions: int, records: Records, settings: Settings) -> float:
    """Seconds until the last of `records` is acknowledged by all. Raises RuntimeError when one fails."""
    settings = {"queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1_000_000, **settings}
    if PROGRAM is None:
        return _produce(bootstrap, name, partitions, records, settings)
    text = _run(bootstrap, settings, "-P", "-t", name, "-a", "-1", "-s", str(records.size), "-c", str(records.count))
    delivered, failed, milliseconds = _last(_PRODUCED, text)
    if delivered != records.count or failed:
        raise RuntimeError(f"{delivered} records of {records.count} were acknowledged: {text[-1000:]}")
    return milliseconds / 1000


def acknowledge_one(bootstrap: str) -> None:
    """Return when one record of a new topic is acknowledged by all."""
    with topic(bootstrap, 1) as name:
        _produce(bootstrap, name, 1, Records(1, 100), {})


def read(bootstrap: str, name: str, records: Records) -> float:
    """Seconds to read the first `records` of partition 0."""
    if PROGRAM is None:
        return _read(bootstrap, name, records)
    text = _run(bootstrap, _READER, "-C", "-t", name, "-p", "0", "-o", "beginning", "-c", str(records.count))
    count, milliseconds = _last(_CONSUMED, text)
    if count < records.count:
        raise RuntimeError(f"{count} records of {records.count} were read: {text[-1000:]}")
    return milliseconds / 1000


def _run(bootstrap: str, settings: Settings, *arguments: str) -> str:
    assert PROGRAM is not None
    options = [word for key, value in settings.items() for word in ("-X", f"{key}={value}")]
    command = [PROGRAM, "-b", bootstrap, *arguments, *options]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return finished.stdout + finished.stderr


def _last(pattern: re.Pattern[str], text: str) -> tuple[int, ...]:
    """The numbers of the last line that fits: earlier ones tell of progress."""
    lines = pattern.findall(text)
    if not lines:
        raise RuntimeError(f"{PROGRAM} says: {text[-1000:]}")
    return tuple(map(int, lines[-1]))


def _produce(bootstrap: str, name: str, partitions: int, records: Records, settings: Settings) -> float:
    failed: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "delivery.report.only.error": True,
            "on_delivery": lambda error, message: failed.append(str(error)),
            **settings,
        }
    )
    producer.list_topics(name, timeout=10)
    payload = bytes(records.size)
    send = producer.produce
    began = time.monotonic()
    for number in range(records.count):
        try:
            send(name, payload, partition=number % partitions)
        except BufferError:
            producer.poll(0.05)
            send(name, payload, partition=number % partitions)
    left = producer.flush(_TIMEOUT_S)
    seconds = time.monotonic() - began
    if failed or left:
        raise RuntimeError(f"{len(failed) + left} records failed, such as: {failed[:1]}")
    return seconds


def _read(bootstrap: str, name: str, records: Records) -> float:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "auto.offset.reset": "earliest", **_READER})
    consumer.assign([TopicPartition(name, 0, 0)])
    count, began = 0, time.monotonic()
    try:
        while count < records.count:
            messages = consumer.consume(10_000, 10.0)
            if not messages:
                raise RuntimeError(f"{count} records of {records.count} were read")
            count += len(messages)
        return time.monotonic() - began
    finally:
        consumer.close()
