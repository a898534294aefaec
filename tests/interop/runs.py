"""Runs the clients: each writes its own topic, then each reads the topics of all."""

import os
import time
import traceback
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.harness import wait_for
from tests.interop.clients import CLIENTS
from tests.interop.corpus import Fetched, Record, combinations, corpus
from tests.interop.interface import TIMEOUT_S, Client

#: Clients that run at the same time.
_WORKERS = 2
#: How long a record that nobody acknowledges may be under way.
_ARRIVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster under test."""

    bootstrap: str
    #: The folder of a local cluster; None when the cluster is not ours.
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Written:
    """What one client was asked to write."""

    topic: str
    records: Sequence[Record]
    #: Why it could not, None when all was sent.
    failure: str | None


@dataclass(frozen=True, slots=True)
class Read:
    """What one client read from the topics of all writers."""

    fetched: Sequence[Fetched]
    failure: str | None


def need(missing: str | None) -> None:
    """Skip the test when something is missing; in CI, where nobody would notice, fail it."""
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def write_all(bootstrap: str) -> Mapping[str, Written]:
    """By writer. What nobody acknowledged has had time to arrive."""
    writers = _present()
    with ThreadPoolExecutor(_WORKERS) as pool:
        done = list(pool.map(lambda client: _write(bootstrap, client), writers))
    deadline = time.monotonic() + _ARRIVAL_S
    while any(arrived_counts(bootstrap, w) != sent_counts(w) for w in done if w.failure is None):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return {client.name: written for client, written in zip(writers, done, strict=True)}


def read_all(bootstrap: str, written: Collection[Written]) -> Mapping[str, Read]:
    """By reader."""
    readers = _present()
    topics = [one.topic for one in written if one.failure is None]
    with ThreadPoolExecutor(_WORKERS) as pool:
        done = list(pool.map(lambda client: _read(bootstrap, client, topics), readers))
    return {client.name: read for client, read in zip(readers, done, strict=True)}


def sent_counts(written: Written) -> Counter[int]:
    """Records by partition."""
    return Counter(record.partition for record in written.records)


def arrived_counts(bootstrap: str, written: Written) -> Counter[int]:
    """End offsets by partition, without those that are 0."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    try:
        ends = Counter[int]()
        for number in sent_counts(written):
            partition = confluent_kafka.TopicPartition(written.topic, number)
            _, ends[number] = consumer.get_watermark_offsets(partition, timeout=TIMEOUT_S)
        return +ends
    finally:
        consumer.close()


def _present() -> list[Client]:
    return [client for client in CLIENTS.values() if client.missing() is None]


def _write(bootstrap: str, client: Client) -> Written:
    now_ms = int(time.time() * 1000)
    topic = f"interop-{client.name}-{now_ms}"
    records = [
        record
        for acks, codec in combinations(client.codecs)
        for record in corpus(client.name, acks, codec, client.partition_of(acks, codec), now_ms)
        if client.can_write(record)
    ]
    failure = None
    try:
        client.create_topic(bootstrap, topic)
        wait_for(lambda: _has_leaders(bootstrap, topic) or None, f"leaders of {topic}", TIMEOUT_S)
        client.write(bootstrap, topic, records)
    except Exception:
        failure = traceback.format_exc()
    return Written(topic, records, failure)


def _has_leaders(bootstrap: str, topic: str) -> bool:
    """Asked without the name of the topic, which would make it."""
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=TIMEOUT_S).topics.get(topic)
    return found is not None and all(partition.leader > 0 for partition in found.partitions.values())


def _read(bootstrap: str, client: Client, topics: Sequence[str]) -> Read:
    try:
        return Read(client.read(bootstrap, topics), None)
    except Exception:
        return Read((), traceback.format_exc())
