"""A fake cluster on a thread of its own, and commands that run against it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator

import click
import pytest
from click.testing import CliRunner, Result

from client.cli.consume import consume
from client.cli.options import ENVIRONMENT
from client.cli.produce import produce
from client.cli.topic import topic
from tests.unit.client_library.fake_cluster import FakeCluster

COMMANDS: dict[str, click.Command] = {"topic": topic, "produce": produce, "consume": consume}

Run = Callable[..., Result]


class ClusterThread:
    """Commands have event loops of their own, so the brokers need one too."""

    def __init__(self, brokers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake cluster")
        self._thread.start()
        self.fake = self._call(self._start(brokers))

    async def _start(self, brokers: int) -> FakeCluster:
        return await FakeCluster(brokers).__aenter__()

    def _call(self, coroutine: Coroutine[None, None, FakeCluster]) -> FakeCluster:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    """Three brokers."""
    cluster = ClusterThread(3)
    try:
        yield cluster.fake
    finally:
        cluster.stop()


@pytest.fixture
def run(fake: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("topic", "list")` runs a command against `fake`; `given` is its standard input."""
    monkeypatch.setenv(ENVIRONMENT, fake.bootstrap_servers)

    def invoke(command: str, *arguments: str, given: str | bytes = b"") -> Result:
        quick = ("-X", "retry.backoff.ms=1", "-X", "retry.backoff.max.ms=2")
        names, rest = (arguments[:1], arguments[1:]) if command == "topic" else ((), arguments)
        return CliRunner().invoke(COMMANDS[command], [*names, *quick, *rest], input=given, prog_name="blumfeld")

    return invoke
