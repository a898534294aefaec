"""What a topic promises, in words: what is still there after which loss, and when writing stops.

Pure. Speaks of producers with acks=all; with less every topic promises less.
"""

from dataclasses import dataclass
from typing import Final

_NEVER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """What a promise depends on. `flush_messages` and `flush_ms` are 2^63 - 1 where the topic does not set them."""

    replication_factor: int
    min_insync_replicas: int
    flush_messages: int = _NEVER
    flush_ms: int = _NEVER

    @property
    def flush(self) -> str:
        """When records reach the disk: `ack` before they count, `interval`, or `os` when the system likes."""
        if self.flush_messages == 1:
            return "ack"
        return "interval" if self.flush_messages < _NEVER or self.flush_ms < _NEVER else "os"

    def in_words(self) -> str:
        return f"{self._loss_of_brokers()} {self._loss_of_power()}"

    def _loss_of_brokers(self) -> str:
        copies, needed = self.replication_factor, self.min_insync_replicas
        if needed > copies:
            return (
                f"acks=all cannot be written: min.insync.replicas={needed} asks for more than the "
                f"{_number(copies, 'replica')} there are."
            )
        if copies == 1:
            return "one copy: records are unavailable while its broker is down, and lost with its disk."
        if needed == 1:
            return (
                "acks=all counts a record as soon as the in-sync replicas have it, and that may be the leader alone: "
                "its disk may then take acknowledged records with it (min.insync.replicas=2 prevents)."
            )
        spare = copies - needed
        goes_on = f"writes go on with {_number(spare, 'broker')} down" if spare else "writes need every replica"
        return (
            f"acks=all survives the loss of {_number(needed - 1, 'disk')}; {goes_on}; "
            f"with {spare + 1} down they stop and nothing acknowledged is lost."
        )

    def _loss_of_power(self) -> str:
        whose = "its broker" if self.replication_factor == 1 else "every in-sync broker at once"
        match self.flush:
            case "ack":
                return "Records are on disk before they count: power loss loses none."
            case "interval":
                return f"Power loss of {whose} may lose what came after the last flush (flush.messages=1 prevents)."
            case _:
                return f"Power loss of {whose} may lose the last moments (flush.messages=1 prevents)."


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
