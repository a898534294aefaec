"""The `blumfeld` command: finds a subcommand by name and imports nothing else."""

import importlib

import click

#: Subcommand -> module and name of its click command, and its line in the overview. In the order of the overview.
COMMANDS = {
    "demo": ("node.commands:demo", "Three nodes, a killed leader, nothing lost: ten seconds."),
    "up": ("node.commands:up", "Start a cluster on this machine."),
    "down": ("node.commands:down", "Stop a local cluster."),
    "node": ("node.commands:node", "Kill, stop, start, pause, resume a node of a local cluster."),
    "serve": ("node.commands:serve", "Run one node from a server.properties."),
    "topic": ("client.cli.topic:topic", "Create, list, describe, delete topics."),
    "produce": ("client.cli.produce:produce", "Send lines of standard input as records."),
    "consume": ("client.cli.consume:consume", "Print records."),
}


class LazyGroup(click.Group):
    """A command group that imports a subcommand when it is called, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command), f"{module}:{name} is a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="blumfeld", prog_name="blumfeld")
def main() -> None:
    """A replicated event log that speaks the Kafka protocol.

    \b
      blumfeld up                                    three nodes on this machine
      blumfeld topic create orders -p 3 -r 3         a topic with three copies of everything
      echo hello | blumfeld produce orders
      blumfeld consume orders --from beginning -e
    """


if __name__ == "__main__":
    main(prog_name="blumfeld")
