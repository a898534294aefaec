"""Asking the controller on a client's behalf: every broker takes every administrative request.

Owns the mapping of what can go wrong on the way to the error that a client hears. Never decides anything itself.
Source: KIP-590 (brokers forward to the controller).
"""

from typing import Final, Protocol, TypeVar

from cluster.errors import KafkaError
from cluster.metadata.commands import CommandOf
from cluster.metadata.image import MetadataImage
from cluster.metadata.results import CommandFailed

ResultT = TypeVar("ResultT")

#: A client's own timeout counts within these bounds: with none at all nothing would ever be decided.
TIMEOUT_MS_MIN: Final = 1000
TIMEOUT_MS_MAX: Final = 300_000


class Controller(Protocol):
    """The link to the controllers, as far as requests need it."""

    @property
    def image(self) -> MetadataImage:
        """The newest metadata that this broker acts upon."""
        ...

    @property
    def broker_epoch(self) -> int:
        """Of this broker's registration; -1 before it has one."""
        ...

    async def submit(self, command: CommandOf[ResultT], timeout_ms: int, *, wait_applied: bool = False) -> ResultT:
        """Have `command` decided. `wait_applied`: answer when every live broker, and this one, acts upon the outcome.

        Raises KafkaError when it failed as a whole, REQUEST_TIMED_OUT when the outcome is not known in time.
        """
        ...


async def decided(controller: Controller, command: CommandOf[ResultT], timeout_ms: int) -> ResultT | CommandFailed:
    """What the controller answers, once the live brokers act upon it.

    After a failure by time it is unknown whether the command was carried out, or will be.
    """
    try:
        return await controller.submit(command, min(max(timeout_ms, TIMEOUT_MS_MIN), TIMEOUT_MS_MAX), wait_applied=True)
    except KafkaError as error:
        return CommandFailed(error_code=error.code, message=error.message)
