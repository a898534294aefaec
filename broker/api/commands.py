"""Asking the controller on a client's behalf: every broker takes every administrative request.

Owns the mapping of what can go wrong on the way to the error that a client hears. Never decides anything itself.
Source: KIP-590 (brokers forward to the controller).
"""

from typing import Final, Protocol, TypeVar, cast

from cluster.errors import ErrorCode, KafkaError
from cluster.metadata.commands import Command, CommandOf
from cluster.metadata.image import MetadataImage
from cluster.metadata.results import AppliedCommand, CommandFailed

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

    async def submit(self, command: Command, timeout_ms: int, wait_applied: bool = False) -> AppliedCommand:
        """Have `command` decided. `wait_applied`: answer when every live broker acts upon the outcome, or soon after.

        Raises KafkaError REQUEST_TIMED_OUT when the outcome is not known in time.
        """
        ...

    async def wait_offset(self, offset: int, timeout_ms: int) -> bool:
        """Whether `image` reached metadata `offset` in time."""
        ...


async def decided(controller: Controller, command: CommandOf[ResultT], timeout_ms: int) -> ResultT | CommandFailed:
    """What the controller answers, once this broker acts upon it too.

    Everything that prevents an answer is a CommandFailed as well; whether the command was carried out is then unknown.
    """
    timeout_ms = min(max(timeout_ms, TIMEOUT_MS_MIN), TIMEOUT_MS_MAX)
    try:
        applied = await controller.submit(cast(Command, command), timeout_ms, wait_applied=True)
    except KafkaError as error:
        return CommandFailed(error_code=error.code, message=error.message)
    if isinstance(applied.result, CommandFailed):
        return applied.result
    if not await controller.wait_offset(applied.offset, timeout_ms):
        return CommandFailed(
            error_code=ErrorCode.REQUEST_TIMED_OUT, message="it is done, but this broker has not heard of it yet"
        )
    return cast(ResultT, applied.result)
