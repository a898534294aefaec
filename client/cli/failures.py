"""How a command ends: its exit code, and the sentence about what went wrong and what to do next.

0 done, 1 the cluster could not be asked or could not do it, 2 the command itself is wrong, 3 not found or there
already, 4 not allowed, 130 interrupted. (10 unhealthy and 11 data lost belong to the commands about health.)
"""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import IO, Any, Final

import click

from client.errors import ClientError
from cluster.config.values import ConfigError
from cluster.errors import ErrorCode, KafkaError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_DENIED: Final = 4
EXIT_INTERRUPTED: Final = 130

_EXIT_CODES: Final = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: EXIT_NOT_FOUND,
    ErrorCode.UNKNOWN_TOPIC_ID: EXIT_NOT_FOUND,
    ErrorCode.TOPIC_ALREADY_EXISTS: EXIT_NOT_FOUND,
    ErrorCode.OFFSET_OUT_OF_RANGE: EXIT_NOT_FOUND,
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: EXIT_DENIED,
    ErrorCode.GROUP_AUTHORIZATION_FAILED: EXIT_DENIED,
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: EXIT_DENIED,
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: EXIT_DENIED,
    ErrorCode.SASL_AUTHENTICATION_FAILED: EXIT_DENIED,
    ErrorCode.POLICY_VIOLATION: EXIT_DENIED,
    ErrorCode.TOPIC_DELETION_DISABLED: EXIT_DENIED,
    ErrorCode.INVALID_TOPIC_EXCEPTION: EXIT_USAGE,
    ErrorCode.INVALID_PARTITIONS: EXIT_USAGE,
    ErrorCode.INVALID_REPLICATION_FACTOR: EXIT_USAGE,
    ErrorCode.INVALID_CONFIG: EXIT_USAGE,
    ErrorCode.INVALID_REQUEST: EXIT_USAGE,
}

#: What to do next, where a command knows better than the library.
_NEXT_STEPS: Final = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "see what there is: blumfeld topic list",
    ErrorCode.NETWORK_EXCEPTION: "start a cluster here: blumfeld up; or name another one: -b HOST:PORT",
    ErrorCode.REQUEST_TIMED_OUT: "look whether it happened before you try again; allow more time: --timeout 60s",
}


class CommandFailed(click.ClickException):
    """Ends the command with `message` on the standard error and `exit_code`."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        # Click declares it for the class, and reads it from the instance.
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file or sys.stderr)


def exit_code_of(error: KafkaError) -> int:
    """What a command that fails with `error` exits with."""
    return _EXIT_CODES.get(error.code, EXIT_FAILED)


def describe(error: KafkaError) -> str:
    """The line that a command prints for `error`."""
    subject = error.subject if isinstance(error, ClientError) else ""
    step = _NEXT_STEPS.get(error.code)
    if step is None:
        return str(error)
    return str(ClientError(error.code, error.message, subject=subject, advice=step))


def run(command: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end. Raises click.ClickException; exits by itself when it is interrupted."""
    try:
        asyncio.run(command)
    except KafkaError as error:
        raise CommandFailed(describe(error), exit_code_of(error)) from None
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever reads us has enough (`| head`). What is left in buffers must not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
