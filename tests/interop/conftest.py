"""One cluster for all tests. Every client writes its topic once, then every client reads all topics once.

BLUMFELD_INTEROP_BOOTSTRAP=host:port,... names another cluster to run against, such as one of Apache Kafka.
"""

import os
from collections.abc import Iterator, Mapping

import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.harness import running_cluster
from tests.interop.interface import TIMEOUT_S
from tests.interop.runs import Read, Target, Written, read_all, write_all


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The cluster under test: three nodes."""
    bootstrap = os.environ.get("BLUMFELD_INTEROP_BOOTSTRAP")
    if bootstrap:
        yield Target(bootstrap, None)
        return
    folder = tmp_path_factory.mktemp("cluster")
    with running_cluster(folder, settings={"min.insync.replicas": "2", "num.partitions": "4"}) as cluster:
        yield Target(cluster.bootstrap, folder)


@pytest.fixture(scope="session")
def written(target: Target) -> Iterator[Mapping[str, Written]]:
    """By writer, for the clients that this machine has."""
    done = write_all(target.bootstrap)
    yield done
    topics = [written.topic for written in done.values()]
    admin = AdminClient({"bootstrap.servers": target.bootstrap})
    for future in admin.delete_topics(topics).values():
        future.exception(TIMEOUT_S)


@pytest.fixture(scope="session")
def read(target: Target, written: Mapping[str, Written]) -> Mapping[str, Read]:
    """By reader, for the clients that this machine has."""
    return read_all(target.bootstrap, written.values())
