"""Random messages of every table, from seeds that the names of the tables determine."""

import random
import zlib
from collections.abc import Iterator
from typing import TypeVar

from cluster.wire import consumer_protocol, internal_records
from cluster.wire.registry import APIS
from cluster.wire.schema import ArrayOf, Column, Data, Fixed, Message, Struct, Variable, WireType, columns

StructT = TypeVar("StructT", bound=Struct)
MessageT = TypeVar("MessageT", bound=Message)

#: Every table that stands alone on the wire.
MESSAGES: list[type[Message]] = [
    *(message for api in APIS.values() for message in (api.request, api.response)),
    *(
        table
        for module in (consumer_protocol, internal_records)
        for table in vars(module).values()
        if isinstance(table, type) and issubclass(table, Data) and table is not Data
    ),
]

_STRINGS = ("", "x", "orders", "Zürich €", "数据", "n" * 126, "n" * 127, "ü" * 200)
_BITS = {"b": 7, "h": 15, "i": 31, "q": 63, "H": 16, "I": 32}


def random_messages(cls: type[MessageT], version: int, count: int) -> Iterator[MessageT]:
    """`count` messages, the first with every nullable and tagged field set."""
    rng = random.Random(zlib.crc32(f"{cls.__name__} {version}".encode()))
    for number in range(count):
        yield random_struct(cls, version, rng, complete=number == 0)


def random_struct(cls: type[StructT], version: int, rng: random.Random, *, complete: bool = False) -> StructT:
    """A `cls` with random values in the fields that `version` carries, and defaults in the others."""
    struct = cls()
    for column in columns(cls):
        if version in column.versions:
            setattr(struct, column.name, _random_value(column, version, rng, complete=complete))
    return struct


def _random_value(column: Column, version: int, rng: random.Random, *, complete: bool) -> object:
    if not complete and version in column.nullable and rng.random() < 0.25:
        return None
    if not complete and column.tag is not None and rng.random() < 0.5:
        return column.default
    return _random_of_type(column.name, column.type, version, rng, complete=complete)


def _random_of_type(name: str, wire_type: WireType, version: int, rng: random.Random, *, complete: bool) -> object:
    match wire_type:
        case Fixed(code="?"):
            return rng.random() < 0.5
        case Fixed(code="16s"):
            return rng.randbytes(16)
        case Fixed(code="d"):
            return rng.uniform(-1e9, 1e9)
        case Fixed(code=code):
            return _random_integer(name, code, rng)
        case Variable(kind="str"):
            return rng.choice(_STRINGS)
        case Variable(kind=kind):
            return rng.randbytes(rng.choice((0, 1, 5, 126, 127, 2000 if kind == "records" else 200)))
        case ArrayOf(element=element):
            counts = (1, 2) if complete else (0, 1, 3) if isinstance(element, type) else (0, 1, 3, 130)
            return [_random_of_type(name, element, version, rng, complete=complete) for _ in range(rng.choice(counts))]
        case _:
            return random_struct(wire_type, version, rng, complete=complete)


def _random_integer(name: str, code: str, rng: random.Random) -> int:
    if "error_code" in name:
        return rng.randrange(100)
    bits = _BITS[code]
    if "time" in name:
        # Other codecs turn these into times, which do not reach as far as the integers do.
        return rng.randrange(1, 1 << min(bits, 40))
    return rng.choice((0, 1, 90, rng.randrange(1 << bits), rng.randrange(1 << bits) - ((1 << bits) if bits % 2 else 0)))
