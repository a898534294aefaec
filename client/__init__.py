"""The Python client of Kafka-compatible clusters: `Producer`, `Consumer` and `Admin`, on asyncio.

Works against Blumfeld and Apache Kafka alike. The names below are imported when they are first used, so that a command
that lists topics does not pay for the producer.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.admin import Admin as Admin
    from client.consumer import Consumer as Consumer
    from client.errors import ClientError as ClientError
    from client.producer import Producer as Producer

#: Of this library, as it introduces itself to brokers (KIP-511); the distribution has the same.
VERSION = "0.1.0"

_HOMES = {
    "Admin": "client.admin",
    "ClientError": "client.errors",
    "Consumer": "client.consumer",
    "Producer": "client.producer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
