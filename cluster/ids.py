"""Identifiers that every process shares: topic and incarnation ids, partitions, node endpoints.

Source: KIP-516 (topic ids). A `Uuid` is 16 raw bytes; its text form is unpadded URL-safe base64 (22 characters).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import NamedTuple, NewType

Uuid = NewType("Uuid", bytes)

#: The id that means "none" on the wire.
ZERO_UUID = Uuid(bytes(16))


def format_uuid(uuid: Uuid) -> str:
    """Kafka's text form of `uuid`, 22 characters."""
    return base64.urlsafe_b64encode(uuid).rstrip(b"=").decode("ascii")


def parse_uuid(text: str) -> Uuid:
    """The inverse of `format_uuid`. Raises ValueError when `text` does not hold 16 bytes."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(f"not a Kafka uuid: {text!r}") from error
    if len(raw) != 16:
        raise ValueError(f"not a Kafka uuid: {text!r} holds {len(raw)} bytes, not 16")
    return Uuid(raw)


class TopicPartition(NamedTuple):
    """A partition by the name of its topic; sorts by name, then number."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class TopicIdPartition(NamedTuple):
    """A partition of one incarnation of a topic: a deleted and recreated topic has another id (KIP-516)."""

    topic_id: Uuid
    partition: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process listens. `host` is a name or an address; 0 <= port <= 65535 (0: not yet bound)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
