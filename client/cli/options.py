"""What the commands have in common: which cluster, how long to wait, settings of the client.

Owns the options that stand on every command and what follows from them. A flag counts more than `-X`, `-X` more than
the environment, the environment more than the default.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT: Final = "KAFKA_BOOTSTRAP_SERVERS"
DEFAULT_SERVER: Final = "127.0.0.1:19092"
CLUSTER_FILE: Final = "cluster.json"
#: A broker that does not answer for so long is frozen or gone; there is time left then to ask another one.
_CONNECT_MS_MAX: Final = 3_000
_REQUEST_MS_MAX: Final = 30_000
_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?")

HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}


def duration_ms(text: str) -> int | None:
    """Milliseconds of "500ms", "2s", "10m", "1h", "2d"; a bare number is seconds. None when it is none of these."""
    match = _DURATION.fullmatch(text.strip())
    return round(float(match[1]) * _UNITS_MS[match[2] or "s"]) if match else None


def parse_duration(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Callback of an option that takes a length of time; what the command gets are milliseconds."""
    parsed = duration_ms(value)
    if not parsed:
        raise click.BadParameter(f"{value!r} is no duration: it takes 500ms, 2s, 10m, 1h")
    return parsed


def parse_assignments(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Callback of an option that takes `key=value` any number of times; what the command gets are pairs."""
    pairs = []
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{value!r} is no key=value")
        pairs.append((key.strip(), text))
    return tuple(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The cluster that a command speaks to, and how long it may take."""

    bootstrap_servers: str
    timeout_ms: int
    #: Settings of the client, by Kafka's names.
    settings: dict[str, str]

    def config(self, **settings: str | int | bool) -> dict[str, str | int | bool]:
        """The configuration of a client; `settings` give way to what the user set."""
        defaults: dict[str, str | int | bool] = {
            "client.id": "blumfeld-cli",
            "default.api.timeout.ms": self.timeout_ms,
            "socket.connection.setup.timeout.ms": min(self.timeout_ms, _CONNECT_MS_MAX),
            "request.timeout.ms": min(self.timeout_ms, _REQUEST_MS_MAX),
        }
        ours = {name.replace("_", "."): value for name, value in settings.items()}
        return defaults | ours | self.settings | {"bootstrap.servers": self.bootstrap_servers}


def target_options(command: F) -> F:
    """Give a command the options of `Target`, and `target` as its argument."""

    def with_target(
        *args: Any,
        bootstrap_server: tuple[str, ...],
        folder: Path | None,
        timeout_ms: int,
        settings: tuple[tuple[str, str], ...],
        **kwargs: Any,
    ) -> Any:
        return command(*args, target=_target(bootstrap_server, folder, timeout_ms, dict(settings)), **kwargs)

    with_target.__name__, with_target.__doc__ = command.__name__, command.__doc__
    # Options that a command has on its own were attached by decorators below this one.
    with_target.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        option(with_target)
    return with_target  # type: ignore[return-value]


_OPTIONS: Final = (
    click.option(
        "-b",
        "--bootstrap-server",
        multiple=True,
        metavar="HOST:PORT",
        help=f"A broker to ask first; may be repeated or a comma list.  "
        f"[env: {ENVIRONMENT}; default: {DEFAULT_SERVER}]",
    ),
    click.option(
        "--dir", "folder", type=click.Path(path_type=Path), help="The folder of a local cluster, in place of -b."
    ),
    click.option(
        "--timeout",
        "timeout_ms",
        default="10s",
        show_default=True,
        callback=parse_duration,
        metavar="DURATION",
        help="Longest time to wait.",
    ),
    click.option(
        "-X",
        "settings",
        multiple=True,
        callback=parse_assignments,
        metavar="KEY=VALUE",
        help="A setting of the client, by Kafka's name.",
    ),
)


def format_option(*formats: str) -> Callable[[F], F]:
    """How a command prints; the first is the default."""
    return click.option("--format", "style", type=click.Choice(formats), default=formats[0], show_default=True)


def _target(
    bootstrap_server: tuple[str, ...], folder: Path | None, timeout_ms: int, settings: dict[str, str]
) -> Target:
    if bootstrap_server and folder is not None:
        raise click.UsageError("-b and --dir name a cluster each; give one of them")
    if bootstrap_server:
        servers = ",".join(bootstrap_server)
    elif folder is not None:
        servers = servers_of(folder)
    else:
        servers = settings.get("bootstrap.servers") or os.environ.get(ENVIRONMENT) or DEFAULT_SERVER
    rest = {key: value for key, value in settings.items() if key != "bootstrap.servers"}
    return Target(bootstrap_servers=servers, timeout_ms=timeout_ms, settings=rest)


def servers_of(folder: Path) -> str:
    """The bootstrap servers of the local cluster in `folder`. Raises click.ClickException with exit code 3."""
    import json

    try:
        content = json.loads((folder / CLUSTER_FILE).read_text())
        servers = content["bootstrap_servers"]
    except FileNotFoundError:
        raise _no_cluster(f"there is no cluster in {folder} -> make one: blumfeld up --dir {folder}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_cluster(f"{folder / CLUSTER_FILE} cannot be read: {error}") from None
    return servers if isinstance(servers, str) else ",".join(servers)


def _no_cluster(message: str) -> click.ClickException:
    from client.cli.failures import EXIT_NOT_FOUND, CommandFailed

    return CommandFailed(message, EXIT_NOT_FOUND)
