"""What `consume` does: records out, until the end, the count or Ctrl-C. Imported when it runs."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Final, assert_never

import click

from client.cli.options import Target
from client.cli.output import count
from client.cli.position import AtOffset, Beginning, End, Last, Position, Since
from client.cli.record_format import Render
from client.cluster import Cluster
from client.config import consumer_config
from client.consumer import Consumer
from client.errors import ClientError, failure
from client.fetched import ConsumerRecord
from cluster.errors import ErrorCode
from cluster.ids import TopicPartition

_POLL_MS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to read. `partitions` empty is all, `limit` None is no limit."""

    topic: str
    position: Position
    partitions: tuple[int, ...]
    limit: int | None
    exit_at_end: bool
    committed: bool


async def consume(target: Target, wanted: Wanted, render: Render, *, quiet: bool) -> None:
    config = target.config(
        isolation_level="read_committed" if wanted.committed else "read_uncommitted",
        allow_auto_create_topics=False,
        # What was asked for is read or refused; it is never replaced by something else.
        auto_offset_reset="none",
        max_poll_records=5000,
    )
    out = sys.stdout.buffer
    printed = 0
    async with Consumer(config, cluster=await _opened(target, config)) as consumer:
        partitions = await _partitions(consumer, wanted)
        ends = await consumer.end_offsets(partitions)
        starts = await _starts(consumer, wanted.position, ends)
        consumer.assign(partitions)
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
        if not wanted.exit_at_end and sys.stdout.isatty() and not quiet:
            click.echo(f"reading {wanted.topic}; end with Ctrl-C", err=True)
        try:
            while not _is_done(printed, wanted, await _positions(consumer, partitions), ends):
                room = None if wanted.limit is None else wanted.limit - printed
                printed += _print(await consumer.poll(_POLL_MS), room, wanted, ends, render, out)
        except asyncio.CancelledError:
            if not quiet:
                click.echo(f"interrupted: {count(printed, 'record')} of {wanted.topic}", err=True)
            raise


async def _opened(target: Target, config: dict[str, str | int | bool]) -> Cluster:
    """A cluster that answers, told at once if there is none. Raises KafkaError."""
    cluster = Cluster(consumer_config(config))
    try:
        await cluster.open(target.timeout_ms)
    except BaseException:
        await cluster.close()
        raise
    return cluster


async def _partitions(consumer: Consumer, wanted: Wanted) -> list[TopicPartition]:
    """Those to be read. Raises KafkaError where there is no such topic or partition."""
    there = (await consumer.partitions_for(wanted.topic)).partitions
    for number in wanted.partitions:
        if number not in there:
            raise failure(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                f"{wanted.topic}/{number}",
                f"the topic has {count(len(there), 'partition')}, numbered from 0",
            )
    return [TopicPartition(wanted.topic, number) for number in wanted.partitions or there]


async def _starts(
    consumer: Consumer, position: Position, ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Where to begin in each partition. Raises KafkaError."""
    match position:
        case End():
            return dict(ends)
        case Beginning():
            return await consumer.beginning_offsets(list(ends))
        case AtOffset(offset=offset):
            await _check_offset(consumer, offset, ends)
            return dict.fromkeys(ends, offset)
        case Last(records=records):
            beginnings = await consumer.beginning_offsets(list(ends))
            return {partition: max(beginnings[partition], end - records) for partition, end in ends.items()}
        case Since(timestamp_ms=timestamp_ms):
            found = await consumer.offsets_for_times(dict.fromkeys(ends, timestamp_ms))
            offsets = {}
            for partition, end in ends.items():
                first = found[partition]
                offsets[partition] = end if first is None else first.offset
            return offsets
        case _:
            assert_never(position)


async def _check_offset(consumer: Consumer, offset: int, ends: Mapping[TopicPartition, int]) -> None:
    """Raises ClientError where a partition does not reach, or no longer reaches, that offset."""
    beginnings = await consumer.beginning_offsets(list(ends))
    for partition, end in ends.items():
        begin = beginnings[partition]
        if not begin <= offset <= end:
            holds = f"offsets {begin} to {end - 1}" if begin < end else f"no records; the next one gets offset {end}"
            raise ClientError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"there is no offset {offset}: the partition holds {holds}",
                subject=f"{partition.topic}/{partition.partition}",
                advice="choose another offset, --from beginning, or another partition with -p",
            )


async def _positions(consumer: Consumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    return {partition: await consumer.position(partition) for partition in partitions}


def _is_done(
    printed: int, wanted: Wanted, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> bool:
    if wanted.limit is not None and printed >= wanted.limit:
        return True
    return wanted.exit_at_end and all(positions[partition] >= end for partition, end in ends.items())


def _print(
    records: list[ConsumerRecord],
    room: int | None,
    wanted: Wanted,
    ends: Mapping[TopicPartition, int],
    render: Render,
    out: IO[bytes],
) -> int:
    """How many were printed: those up to the limit and, with -e, those that were there at the beginning."""
    if wanted.exit_at_end:
        records = [record for record in records if record.offset < ends[TopicPartition(*record[:2])]]
    if room is not None:
        del records[room:]
    if records:
        out.write(b"".join(map(render, records)))
        out.flush()
    return len(records)
