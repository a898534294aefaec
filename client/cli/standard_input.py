"""Lines of standard input, or of a file, while an event loop goes on.

Owns the thread that waits for input: a terminal or a pipe may be silent for hours, and neither may hold up the sending
of records or the end of the command. At most a few pieces are read ahead.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import IO, Final

_PIECE_SIZE: Final = 256 * 1024
_PIECES_AHEAD: Final = 4


async def read_pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    """What `source` brings, as it comes, until its end. Raises OSError."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue(_PIECES_AHEAD)
    read = _reader(source)

    def pump() -> None:
        # The loop may end meanwhile: then nobody listens any more.
        with suppress(RuntimeError, CancelledError):
            while True:
                piece: bytes | OSError
                try:
                    piece = read()
                except OSError as error:
                    piece = error
                asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result()
                if not piece or isinstance(piece, OSError):
                    return

    # A daemon: at the end of the command it may be waiting for input that never comes.
    threading.Thread(target=pump, name="standard input", daemon=True).start()
    while True:
        piece = await pieces.get()
        if isinstance(piece, OSError):
            raise piece
        if not piece:
            return
        yield piece


async def read_lines(source: IO[bytes], line_size_max: int) -> AsyncIterator[list[bytes]]:
    """Lines without their ends, as many at a time as came together; the last may lack its end.

    Raises ValueError for a line of more than `line_size_max` bytes, and OSError.
    """
    rest = b""
    async for piece in read_pieces(source):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if lines:
            yield [line.removesuffix(b"\r") for line in lines]
        if len(rest) > line_size_max:
            raise ValueError(f"a line has more than {line_size_max} bytes")
    if rest:
        yield [rest.removesuffix(b"\r")]


class _Reader:
    """Reads what there is, without Python's buffers: their lock would be held by the thread when the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self) -> bytes:
        return os.read(self._descriptor, _PIECE_SIZE)


class _BufferedReader:
    """For sources that are no files of the operating system."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def __call__(self) -> bytes:
        return self._source.read(_PIECE_SIZE)


def _reader(source: IO[bytes]) -> _Reader | _BufferedReader:
    try:
        return _Reader(source.fileno())
    except OSError:
        return _BufferedReader(source)
