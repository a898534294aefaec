"""Where a frame starts and ends: an int32 size and as many bytes, checked before anybody makes room for them.

Nothing here copies or keeps bytes. A size that no client of Kafka can have sent is usually another protocol talking to
the wrong port, so the error says which.

Source: the protocol guide.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from cluster.seams import Buffer

SIZE_SIZE: Final = 4
_SIZE: Final = Struct(">i")


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The frame is not complete: come back when at least `size_bytes` bytes follow the position asked for."""

    size_bytes: int


class Frame(NamedTuple):
    """A complete frame: its content is `buffer[start:end]`, the next one starts at `end`."""

    start: int
    end: int


class FrameError(Exception):
    """This is not, or no longer, a sequence of frames: the connection can only be closed. Says what was seen."""


_STRANGERS: Final = (
    (b"\x16\x03", "a TLS client on a PLAINTEXT listener"),
    (b"\x15\x03", "a TLS alert on a PLAINTEXT listener"),
    (b"GET ", "an HTTP client"),
    (b"POST", "an HTTP client"),
    (b"PUT ", "an HTTP client"),
    (b"HEAD", "an HTTP client"),
    (b"DELE", "an HTTP client"),
    (b"OPTI", "an HTTP client"),
    (b"CONN", "an HTTP client"),
    (b"HTTP", "an HTTP server"),
    (b"PRI ", "an HTTP/2 or gRPC client"),
    (b"PROX", "a PROXY protocol header"),
    (b"\r\n\r\n", "a PROXY protocol header"),
    (b"SSH-", "an SSH client"),
)


def find_frame(buffer: Buffer, position: int, end: int, size_max: int, size_min: int = 1) -> Frame | NeedMore:
    """The frame that starts with its size at `position`, where `buffer` is filled up to `end`.

    `size_min` and `size_max` are inclusive bounds of the size; a minimum of 0 is for the bare tokens of SASL. Raises
    FrameError as soon as the size is there and outside of them.
    """
    available = end - position
    if available < SIZE_SIZE:
        return NeedMore(SIZE_SIZE)
    start = position + SIZE_SIZE
    (size,) = _SIZE.unpack_from(buffer, position)
    if not size_min <= size <= size_max:
        raise FrameError(_explain(bytes(buffer[position:start]), size, size_max))
    if available < SIZE_SIZE + size:
        return NeedMore(SIZE_SIZE + size)
    return Frame(start, start + size)


def _explain(seen: bytes, size: int, size_max: int) -> str:
    for prefix, stranger in _STRANGERS:
        if seen.startswith(prefix):
            return f"this is {stranger}: the first bytes are {seen!r}"
    if size > size_max:
        return f"a frame of {size} bytes is larger than the limit of {size_max}"
    return f"a frame of {size} bytes is impossible"
