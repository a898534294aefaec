"""What generated codecs call: variable-length integers, tag buffers, record payloads, and their two exceptions.

Source: KIP-482 (unsigned varints, tag buffers), the protocol guide's primitive types.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from types import TracebackType
from typing import Any, Final

from cluster.seams import Buffer

#: Kafka's own limit for an unsigned varint: five bytes.
_UVARINT_SHIFT_MAX: Final = 28
#: Record payloads up to this size are copied into the bytes around them: one buffer more costs the transport as much.
RECORDS_COPIED_SIZE_MAX: Final = 1024
#: Packers are cached for arrays up to this length, a few of each: replicas, partitions.
_CACHED_LENGTH_MAX: Final = 32

#: One-byte varints.
UVARINT: Final = tuple(bytes((n,)) for n in range(128))


class DecodeError(Exception):
    """Bytes that are not the message they should be.

    `field` is the dotted path of the field that could not be read ("" where no field is to blame), `offset` the
    position in the buffer at which it starts.
    """

    def __init__(self, message: str, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{message}: {field + ' ' if field else ''}at byte {offset}: {reason}")
        self.field = field
        self.offset = offset
        self.reason = reason


class EncodeError(ValueError):
    """A value that its field cannot carry: None where it must not be, an integer out of range, a string too long."""


def decode_uvarint(buffer: Buffer, position: int) -> tuple[int, int]:
    """The unsigned varint at `position`, and the position behind it. Raises ValueError or IndexError."""
    result = shift = 0
    while True:
        byte = buffer[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > _UVARINT_SHIFT_MAX:
            raise ValueError("varint longer than 5 bytes")


def encode_uvarint(value: int) -> bytes:
    """`value` >= 0 as an unsigned varint."""
    if value < 0x80:
        return UVARINT[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def skip_tags(buffer: Buffer, position: int) -> int:
    """The position behind the tag buffer at `position`. Raises ValueError or IndexError."""
    count, position = decode_uvarint(buffer, position)
    for _ in range(count):
        _tag, position = decode_uvarint(buffer, position)
        size, position = decode_uvarint(buffer, position)
        position += size
        if position > len(buffer):
            raise ValueError(f"a tagged field of {size} bytes runs over the end")
    return position


def encode_tags(tags: list[tuple[int, bytes]]) -> bytes:
    """A tag buffer of (tag, payload) in ascending order of tags."""
    parts = [encode_uvarint(len(tags))]
    for tag, payload in tags:
        parts += (encode_uvarint(tag), encode_uvarint(len(payload)), payload)
    return b"".join(parts)


def records_size(records: Buffer | Sequence[Buffer]) -> int:
    """The size in bytes of a records field, in one buffer or several."""
    return len(records) if isinstance(records, Buffer) else sum(map(len, records))


def put_records(records: Buffer | Sequence[Buffer], size: int, parts: list[Buffer], buffers: list[Buffer]) -> None:
    """Send `records`, `size` > 0 bytes, behind `parts`: by reference to `buffers` unless they are small."""
    pieces: Sequence[Buffer] = (records,) if isinstance(records, Buffer) else records
    if size <= RECORDS_COPIED_SIZE_MAX:
        parts += pieces
        return
    buffers.append(b"".join(parts))
    parts.clear()
    buffers += pieces


class ArrayPackers(dict[int, Callable[..., bytes]]):
    """`pack` functions for a fixed-size prefix and n integers behind it, by n."""

    def __init__(self, prefix: str, code: str) -> None:
        self._prefix, self._code = prefix, code

    def __missing__(self, count: int) -> Callable[..., bytes]:
        pack = Struct(f">{self._prefix}{count}{self._code}").pack
        if count <= _CACHED_LENGTH_MAX:
            self[count] = pack
        return pack


class ArrayUnpackers(dict[int, Callable[[Buffer, int], tuple[Any, ...]]]):
    """`unpack_from` functions for n integers, by n."""

    def __init__(self, code: str) -> None:
        self._code = code

    def __missing__(self, count: int) -> Callable[[Buffer, int], tuple[Any, ...]]:
        unpack = Struct(f">{count}{self._code}").unpack_from
        if count <= _CACHED_LENGTH_MAX:
            self[count] = unpack
        return unpack


def failing_field(failure: BaseException, fields: Sequence[str]) -> str:
    """The field that the generated function was at when it failed; `fields` has one path for each of its lines.

    A straight-line function needs no bookkeeping to say where it is: the interpreter's line number does.
    """
    traceback: TracebackType | None = failure.__traceback__
    assert traceback is not None
    return fields[traceback.tb_lineno - 1]
