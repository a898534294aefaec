"""`blumfeld produce`: lines of standard input become records."""

from typing import IO

import click

from client.cli.options import HELP_OPTIONS, Target, parse_assignments, target_options


@click.command(context_settings=HELP_OPTIONS)
@click.argument("topic")
@click.option("-k", "--key-separator", metavar="TEXT", help="A line is key, TEXT, value; without it there are no keys.")
@click.option("--key", metavar="TEXT", help="The key of every record.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    callback=parse_assignments,
    metavar="NAME=VALUE",
    help="Of every record; may be repeated.",
)
@click.option(
    "-p", "--partition", type=click.IntRange(min=0), metavar="N", help="Send to this one; by default the key decides."
)
@click.option("--acks", type=click.Choice(["all", "1", "0"]), default="all", show_default=True)
@click.option(
    "-z",
    "--compression",
    type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]),
    default="none",
    show_default=True,
)
@click.option("--file", "source", type=click.File("rb"), default="-", help="Read this file, not the standard input.")
@click.option("--tombstones", is_flag=True, help="An empty value is null: it deletes its key from a compacted topic.")
@click.option("--create-topic", is_flag=True, help="Let the cluster make the topic if it is not there.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails.")
@target_options
def produce(
    topic: str,
    key_separator: str | None,
    key: str | None,
    headers: tuple[tuple[str, str], ...],
    partition: int | None,
    acks: str,
    compression: str,
    source: IO[bytes],
    tombstones: bool,
    create_topic: bool,
    quiet: bool,
    target: Target,
) -> None:
    """Send every line of the standard input as a record, and say how many were acknowledged.

    Nothing is lost silently: the command succeeds only when every record was acknowledged as --acks asks. It stops at
    the first one that is not.

    \b
      echo hello | blumfeld produce orders
      blumfeld produce users -k : --file users.txt        lines like  anna:{"age": 7}
      seq 1000000 | blumfeld produce numbers -z lz4 -X batch.size=262144
    """
    from client.cli import failures, produce_command

    if key is not None and key_separator is not None:
        raise click.UsageError("--key and -k give a key each; choose one of them")
    if key_separator == "":
        raise click.UsageError("-k needs a text that separates key and value")
    shape = produce_command.Shape(
        topic=topic,
        separator=None if key_separator is None else key_separator.encode(),
        key=None if key is None else key.encode(),
        headers=tuple((name, value.encode()) for name, value in headers),
        partition=partition,
        tombstones=tombstones,
    )
    settings = {"acks": acks, "compression.type": compression}
    failures.run(produce_command.produce(target, shape, source, settings, create_topic=create_topic, quiet=quiet))
