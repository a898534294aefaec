"""What the `topic` commands do: ask the cluster, print what it says. Imported when one of them runs."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import click

from client.admin import (
    Admin,
    AlterOperation,
    ConfigChange,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)
from client.cli import topic_view
from client.cli.failures import CommandFailed, exit_code_of
from client.cli.failures import describe as describe_error
from client.cli.options import Target
from client.cli.output import as_json, count
from client.cli.topic_view import TopicView
from client.errors import ClientError
from client.metadata import Broker, TopicMetadata
from client.offsets import EARLIEST, LATEST
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition

_REPLICATION_FACTOR: Final = 3
_MIN_INSYNC_REPLICAS: Final = "min.insync.replicas"


async def create(
    target: Target,
    name: str,
    partitions: int,
    replication_factor: int | None,
    configs: dict[str, str],
    if_not_exists: bool,
    style: str,
) -> None:
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        brokers = (await admin.describe_cluster()).brokers
        copies = replication_factor or min(_REPLICATION_FACTOR, len(brokers))
        note = ""
        if copies >= _REPLICATION_FACTOR and _MIN_INSYNC_REPLICAS not in configs:
            # Kafka's default of 1 lets an acknowledged record live on the leader's disk alone.
            configs = {**configs, _MIN_INSYNC_REPLICAS: "2"}
            note = " (from rf)"
        topic = NewTopic(name=name, partitions=partitions, replication_factor=copies, configs=configs)
        try:
            made = await admin.create_topic(topic)
        except KafkaError as error:
            if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS or not if_not_exists:
                raise _explained(error, configs) from None
            click.echo(f"{name} exists already and was left as it is", err=style == "json")
            return
        found = await admin.wait_for_topic(name)
        entries = made.configs or tuple(ConfigEntry(key, value, ConfigSource.TOPIC) for key, value in configs.items())
        view = _view(found, entries, brokers)
        if style == "json":
            click.echo(as_json(topic_view.topic_json(view)))
        else:
            click.echo(topic_view.created(view, wide=style == "wide", note=note))


async def list_topics(target: Target, internal: bool, style: str) -> None:
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        topics = await admin.list_topics(internal=internal)
    if style == "json":
        click.echo(topic_view.list_json(topics))
    elif style == "kafka":
        for topic in topics:
            click.echo(topic.name)
    elif topics:
        click.echo(topic_view.listed(topics))
    else:
        click.echo("no topics yet -> make one: blumfeld topic create orders", err=True)


async def describe(target: Target, names: Sequence[str], style: str) -> None:
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        brokers = (await admin.describe_cluster()).brokers
        errors: list[KafkaError] = []
        found: list[TopicMetadata] = []
        if names:
            for result in (await admin.describe_topics(names)).values():
                if isinstance(result, KafkaError):
                    errors.append(result)
                else:
                    found.append(result)
        else:
            found = await admin.list_topics()
        views = [await _look_at(admin, topic, brokers, with_offsets=style != "kafka") for topic in found]
    if style == "json":
        click.echo(as_json([topic_view.topic_json(view) for view in views]))
    elif style == "kafka":
        for view in views:
            click.echo(topic_view.kafka_described(view))
    else:
        click.echo("\n\n".join(topic_view.described(view, wide=style == "wide") for view in views), nl=bool(views))
    if not views and not errors and style == "table":
        click.echo("no topics yet -> make one: blumfeld topic create orders", err=True)
    _end_with(errors)


async def alter(target: Target, name: str, changes: Mapping[str, str], removals: Collection[str]) -> None:
    wanted = [ConfigChange(key, value) for key, value in changes.items()]
    wanted += [ConfigChange(key, None, AlterOperation.DELETE) for key in removals]
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        try:
            await admin.alter_configs(ConfigResource(ResourceType.TOPIC, name), wanted)
        except KafkaError as error:
            raise _explained(error, [*changes, *removals]) from None
    told = [f"{key}={value}" for key, value in changes.items()] + [f"{key} unset" for key in removals]
    click.echo(f"altered {name}  {' '.join(told)}")


async def add_partitions(target: Target, name: str, total: int) -> None:
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        await admin.create_partitions(name, total)
    click.echo(f"{name} has {count(total, 'partition')} now; records of a key may go to another one than before")


async def delete(target: Target, names: Sequence[str]) -> None:
    async with Admin(target.config()) as admin:
        await admin.open(target.timeout_ms)
        results = await admin.delete_topics(list(dict.fromkeys(names)))
    for name, error in results.items():
        if error is None:
            click.echo(f"deleted {name}")
    _end_with([error for error in results.values() if error is not None])


def _end_with(errors: Sequence[KafkaError]) -> None:
    """Print every error; the first decides about the exit code."""
    for error in errors[:-1]:
        click.echo(describe_error(error), file=sys.stderr)
    if errors:
        raise CommandFailed(describe_error(errors[-1]), exit_code_of(errors[0]))


def _view(topic: TopicMetadata, configs: tuple[ConfigEntry, ...], brokers: Sequence[Broker]) -> TopicView:
    return TopicView(
        topic=topic,
        configs=configs,
        brokers={broker.node_id: broker for broker in brokers},
        starts={},
        ends={},
    )


async def _look_at(admin: Admin, topic: TopicMetadata, brokers: Sequence[Broker], *, with_offsets: bool) -> TopicView:
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    configs = (await admin.describe_configs([resource])).get(resource, ())
    if isinstance(configs, KafkaError):
        raise configs
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    led = [
        TopicPartition(topic.name, partition.partition)
        for partition in topic.partitions.values()
        if partition.leader_id >= 0
    ]
    if with_offsets and led:
        for offsets, target in ((starts, EARLIEST), (ends, LATEST)):
            results = await admin.list_offsets(dict.fromkeys(led, target))
            for partition, found in results.items():
                # A partition that does not tell is shown with a question mark; the others are worth seeing.
                if not isinstance(found, KafkaError):
                    offsets[partition.partition] = found.offset
    return TopicView(
        topic=topic,
        configs=configs,
        brokers={broker.node_id: broker for broker in brokers},
        starts=starts,
        ends=ends,
    )


def _explained(error: KafkaError, keys: Collection[str]) -> Exception:
    """`error`, with the key that was probably meant where one is unknown."""
    if error.code is not ErrorCode.INVALID_CONFIG:
        return error
    from cluster.config.keys import TOPIC_KEYS
    from cluster.config.values import did_you_mean

    hints = [f"{key}{did_you_mean(key, TOPIC_KEYS)}" for key in keys if key not in TOPIC_KEYS]
    told = error if isinstance(error, ClientError) else ClientError(error.code, error.message)
    if not hints or "did you mean" in told.message:
        return told
    return ClientError(error.code, told.message, subject=told.subject, advice=f"not known here: {', '.join(hints)}")
