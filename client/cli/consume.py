"""`blumfeld consume`: records of a topic on the standard output."""

import click

from client.cli.options import HELP_OPTIONS, Target, target_options


@click.command(context_settings=HELP_OPTIONS)
@click.argument("topic")
@click.option(
    "--from",
    "begin",
    default="end",
    show_default=True,
    metavar="WHERE",
    help="beginning, end, an offset, -N for the last N, 2026-03-01T12:00:00, @MILLISECONDS, 10m for ten minutes ago.",
)
@click.option(
    "-p",
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="N",
    help="Only this one; may be repeated.",
)
@click.option("-n", "--count", "limit", type=click.IntRange(min=1), metavar="N", help="Stop after so many records.")
@click.option("-e", "--exit", "exit_at_end", is_flag=True, help="Stop at the end of what is there now.")
@click.option(
    "-f",
    "--format",
    "template",
    metavar="TEXT",
    help=r"%t topic, %p partition, %o offset, %T time, %k key, %s value, %K %S their lengths, %h headers, \n \t.  "
    r"[default: %s\n]",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each record.")
@click.option("--committed", is_flag=True, help="Leave out records of open and aborted transactions.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but records.")
@target_options
def consume(
    topic: str,
    begin: str,
    partitions: tuple[int, ...],
    limit: int | None,
    exit_at_end: bool,
    template: str | None,
    as_json: bool,
    committed: bool,
    quiet: bool,
    target: Target,
) -> None:
    """Print the records of a topic, in order within each partition, and go on with those to come.

    No group is joined and no offset is committed.

    \b
      blumfeld consume orders                                      what is written from now on
      blumfeld consume orders --from beginning -e                  all there is
      blumfeld consume orders --from -10 -e -p 0                   the last ten of partition 0
      blumfeld consume orders --from 10m -f '%p/%o %k=%s\\n'        since ten minutes ago
      blumfeld consume orders --from beginning -e --json | jq .value
    """
    from client.cli import consume_command, failures
    from client.cli.position import PositionError, parse_position
    from client.cli.record_format import FormatError, compile_format, render_json
    from cluster.host.clock import SystemClock

    if as_json and template is not None:
        raise click.UsageError("--json and -f are two ways to print; choose one of them")
    try:
        render = render_json if as_json else compile_format(template if template is not None else "%s\\n")
        position = parse_position(begin, SystemClock().wall_ms())
    except FormatError as error:
        raise click.BadParameter(str(error), param_hint="-f") from None
    except PositionError as error:
        raise click.BadParameter(str(error), param_hint="--from") from None
    wanted = consume_command.Wanted(
        topic=topic,
        position=position,
        partitions=tuple(dict.fromkeys(partitions)),
        limit=limit,
        exit_at_end=exit_at_end,
        committed=committed,
    )
    failures.run(consume_command.consume(target, wanted, render, quiet=quiet))
