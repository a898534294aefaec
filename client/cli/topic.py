"""`blumfeld topic`: create, list, describe, alter, add-partitions, delete."""

from typing import Final

import click

from client.cli.options import HELP_OPTIONS, Target, format_option, parse_assignments, target_options

_CONFIG: Final = click.option(
    "--config",
    "configs",
    multiple=True,
    callback=parse_assignments,
    metavar="KEY=VALUE",
    help="A topic key; may be repeated.",
)


@click.group(context_settings=HELP_OPTIONS)
def topic() -> None:
    """Create, list, describe, alter and delete topics."""


@topic.command()
@click.argument("name")
@click.option("-p", "--partitions", type=click.IntRange(min=1), metavar="N", default=3, show_default=True)
@click.option(
    "-r",
    "--replication-factor",
    type=click.IntRange(min=1),
    metavar="N",
    help="Copies of every partition.  [default: 3, or the number of brokers if there are fewer]",
)
@_CONFIG
@click.option("--if-not-exists", is_flag=True, help="Leave a topic of this name as it is, and call that a success.")
@format_option("table", "wide", "json")
@target_options
def create(
    name: str,
    partitions: int,
    replication_factor: int | None,
    configs: tuple[tuple[str, str], ...],
    if_not_exists: bool,
    style: str,
    target: Target,
) -> None:
    """Create a topic, and say what it promises.

    From three copies on, min.insync.replicas=2 is set unless you set it: then acknowledged records survive the loss of
    a disk.

    \b
      blumfeld topic create orders
      blumfeld topic create orders -p 12 -r 3 --config retention.ms=86400000
      blumfeld topic create ledger --config flush.messages=1      on disk before it counts
      blumfeld topic create users --config cleanup.policy=compact
    """
    from client.cli import failures, topic_commands

    failures.run(
        topic_commands.create(target, name, partitions, replication_factor, dict(configs), if_not_exists, style)
    )


@topic.command("list")
@click.option("--internal", is_flag=True, help="Also the topics that the cluster keeps for itself.")
@format_option("table", "json", "kafka")
@target_options
def list_topics(internal: bool, style: str, target: Target) -> None:
    """List topics. `--format kafka` prints names alone.

    \b
      blumfeld topic list
      blumfeld topic list --format kafka | xargs blumfeld topic describe
    """
    from client.cli import failures, topic_commands

    failures.run(topic_commands.list_topics(target, internal, style))


@topic.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@format_option("table", "wide", "json", "kafka")
@target_options
def describe(names: tuple[str, ...], style: str, target: Target) -> None:
    """Describe topics, all of them without a NAME: what they promise, who leads, who is in sync, what they hold.

    \b
      blumfeld topic describe orders
      blumfeld topic describe orders --format kafka       as kafka-topics.sh prints it
    """
    from client.cli import failures, topic_commands

    failures.run(topic_commands.describe(target, names, style))


@topic.command()
@click.argument("name")
@click.option(
    "--set", "changes", multiple=True, callback=parse_assignments, metavar="KEY=VALUE", help="Set a topic key."
)
@click.option("--unset", "removals", multiple=True, metavar="KEY", help="Go back to the cluster's default.")
@target_options
def alter(name: str, changes: tuple[tuple[str, str], ...], removals: tuple[str, ...], target: Target) -> None:
    """Change the configuration of a topic, key by key.

    \b
      blumfeld topic alter orders --set retention.ms=3600000 --unset max.message.bytes
    """
    from client.cli import failures, topic_commands

    if not changes and not removals:
        raise click.UsageError("nothing to change: give --set KEY=VALUE or --unset KEY")
    failures.run(topic_commands.alter(target, name, dict(changes), removals))


@topic.command("add-partitions")
@click.argument("name")
@click.option("--total", type=click.IntRange(min=2), metavar="N", required=True, help="How many there shall be then.")
@target_options
def add_partitions(name: str, total: int, target: Target) -> None:
    """Add partitions to a topic. They cannot be taken away again.

    Records of a key may go to another partition afterwards than before.

    \b
      blumfeld topic add-partitions orders --total 12
    """
    from client.cli import failures, topic_commands

    failures.run(topic_commands.add_partitions(target, name, total))


@topic.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@target_options
def delete(names: tuple[str, ...], target: Target) -> None:
    """Delete topics with everything in them.

    \b
      blumfeld topic delete orders payments
    """
    from client.cli import failures, topic_commands

    failures.run(topic_commands.delete(target, names))
