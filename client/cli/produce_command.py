"""What `produce` does: lines in, acknowledgements counted. Imported when it runs."""

import asyncio
import sys
from dataclasses import dataclass
from typing import IO, Final

import click

from client.cli.failures import CommandFailed, describe, exit_code_of
from client.cli.options import Target
from client.cli.output import count
from client.cli.standard_input import read_lines
from client.cluster import Cluster
from client.config import PRODUCER_KEYS, producer_config
from client.errors import failure
from client.producer import Producer
from cluster.errors import ErrorCode, KafkaError
from cluster.host.clock import SystemClock

_PROGRESS_MS: Final = 500
#: Below, a rate says more about who types than about what sends.
_RATE_RECORDS_MIN: Final = 1000
#: How long an interrupted command waits for what it has sent.
_LAST_FLUSH_MS: Final = 2000
_WHO_HAS_IT: Final = {-1: "every in-sync replica", 1: "the leader", 0: "nobody (acks=0)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a line becomes a record."""

    topic: str
    separator: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int | None
    tombstones: bool

    def split(self, line: bytes, number: int) -> tuple[bytes | None, bytes | None]:
        """(key, value) of a line. Raises CommandFailed for one without the separator."""
        key, value = self.key, line
        if self.separator is not None:
            before, found, value = line.partition(self.separator)
            if not found:
                raise CommandFailed(f"line {number} has no {self.separator.decode()!r} between key and value")
            key = before
        return key, None if self.tombstones and not value else value


class _Progress:
    """Tells on the standard error how far it is: again and again on a terminal, at the end in any case."""

    def __init__(self, producer: Producer, topic: str, acks: int, *, quiet: bool) -> None:
        self._counters = producer.counters
        self._topic = topic
        self._acks = acks
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._clock = SystemClock()
        self._began_ms = self._told_ms = self._clock.now_ms()
        self.sent = 0

    def tell(self) -> None:
        now_ms = self._clock.now_ms()
        if self._is_terminal and now_ms - self._told_ms >= _PROGRESS_MS:
            self._told_ms = now_ms
            told = f"{self.sent:,} sent, {self._counters.acknowledged:,} acknowledged{self._rate(now_ms)}"
            click.echo(f"\r{told:<70}", nl=False, err=True)

    def conclude(self, ending: str = "") -> None:
        if self._is_terminal and self._told_ms != self._began_ms:
            click.echo("\r" + " " * 70 + "\r", nl=False, err=True)
        if self._quiet and not ending:
            return
        lost = self.sent - self._counters.acknowledged
        missing = f", {lost:,} not" if lost else ""
        click.echo(
            f"{ending}{count(self.sent, 'record')} to {self._topic}: {self._counters.acknowledged:,} acknowledged by "
            f"{_WHO_HAS_IT[self._acks]}{missing}{self._rate(self._clock.now_ms())}",
            err=True,
        )

    def _rate(self, now_ms: int) -> str:
        passed_ms = now_ms - self._began_ms
        if passed_ms < _PROGRESS_MS or self._counters.acknowledged < _RATE_RECORDS_MIN:
            return ""
        return f", {self._counters.acknowledged * 1000 // passed_ms:,} a second"


async def produce(
    target: Target,
    shape: Shape,
    source: IO[bytes],
    settings: dict[str, str],
    *,
    create_topic: bool,
    quiet: bool,
) -> None:
    # The topic is looked up first; what blocks later is an election, and that is waited out as deliveries are.
    given = target.config(max_block_ms=PRODUCER_KEYS["delivery.timeout.ms"].default or "", **settings)
    config = producer_config(given)
    cluster = Cluster(config, auto_create=create_topic)
    producer = Producer(given, cluster=cluster)
    progress = _Progress(producer, shape.topic, config.acks, quiet=quiet)
    try:
        await cluster.open(target.timeout_ms)
        await _find_topic(cluster, producer, shape.topic, create_topic=create_topic)
        if sys.stdin.isatty() and source.fileno() == 0 and not quiet:
            click.echo("a record a line; end with Ctrl-D", err=True)
        await _send_all(producer, shape, source, progress, config.max_request_size)
        await producer.flush()
    except asyncio.CancelledError:
        await _give_up(producer, progress)
        raise
    except BaseException:
        await producer.close(timeout_ms=_LAST_FLUSH_MS)
        if progress.sent:
            progress.conclude("failed: ")
        raise
    await producer.close()
    error = producer.counters.first_error
    progress.conclude("failed: " if error is not None else "")
    if error is not None:
        raise CommandFailed(describe(error), exit_code_of(error))


async def _find_topic(cluster: Cluster, producer: Producer, topic: str, *, create_topic: bool) -> None:
    """A topic that is not there is told at once, and not when a record has waited for it."""
    if create_topic:
        await producer.partitions_for(topic)
        return
    deadline = cluster.deadline()
    try:
        await cluster.retrying(lambda: cluster.topic(topic, deadline), deadline)
    except KafkaError as error:
        if error.code is not ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            raise
        told = describe(failure(error.code, topic)).partition(" -> ")[0]
        raise CommandFailed(
            f"{told} -> make it: blumfeld topic create {topic}; or let the cluster make it: --create-topic",
            exit_code_of(error),
        ) from None


async def _send_all(
    producer: Producer, shape: Shape, source: IO[bytes], progress: _Progress, record_size_max: int
) -> None:
    """Until the input ends, or a record has failed."""
    try:
        async for lines in read_lines(source, record_size_max):
            for line in lines:
                key, value = shape.split(line, progress.sent + 1)
                await producer.send(shape.topic, value, key=key, partition=shape.partition, headers=shape.headers)
                progress.sent += 1
            progress.tell()
            if producer.counters.first_error is not None:
                return
    except ValueError as error:
        raise CommandFailed(f"line {progress.sent + 1}: {error}; records are limited by max.request.size") from None
    except OSError as error:
        raise CommandFailed(f"the input cannot be read: {error}") from None


async def _give_up(producer: Producer, progress: _Progress) -> None:
    """Interrupted: what was read is sent if that is a matter of moments, and what became of it is told."""
    await producer.close(timeout_ms=_LAST_FLUSH_MS)
    progress.conclude("interrupted: ")
