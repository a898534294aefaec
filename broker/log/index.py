"""Sparse indexes of a segment: offset to position, and timestamp to offset.

Owns the entries and the search; an index is a hint, and whoever follows one compares it with the batch that is there.
The entries of the active segment are kept in memory and reach the disk when it is sealed or flushed, because after an
unclean stop they are rebuilt anyway; those of sealed segments are searched in their file.
Source: Kafka's index files: (relative offset i32, position i32) and (timestamp i64, relative offset i32), big endian.
"""

from struct import Struct
from typing import Final, Protocol

from cluster.seams import File

OFFSET_ENTRY: Final = Struct(">ii")
TIME_ENTRY: Final = Struct(">qi")


class Entries(Protocol):
    """Pairs that grow strictly in their first part and do not fall in their second."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> tuple[int, int]: ...


class MemoryEntries:
    """Entries of an index that still grows, in the form that goes to disk."""

    def __init__(self, layout: Struct, content: bytes = b"") -> None:
        """`content` is cut to whole entries."""
        self._layout = layout
        self._size = layout.size
        self._content = bytearray(content[: len(content) // layout.size * layout.size])

    def __len__(self) -> int:
        return len(self._content) // self._size

    def __getitem__(self, number: int) -> tuple[int, int]:
        first, second = self._layout.unpack_from(self._content, number * self._size)
        return first, second

    @property
    def content(self) -> bytes:
        return bytes(self._content)

    def append(self, first: int, second: int) -> None:
        self._content += self._layout.pack(first, second)

    def truncate(self, count: int) -> None:
        """Keep the first `count` entries."""
        del self._content[count * self._size :]


class FileEntries:
    """Entries of an index that no longer grows, read where they are needed."""

    def __init__(self, layout: Struct, file: File) -> None:
        self._layout = layout
        self._file = file
        self._count = file.size() // layout.size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[int, int]:
        first, second = self._layout.unpack(self._file.pread(self._layout.size, number * self._layout.size))
        return first, second


def floor_by_first(entries: Entries, value: int) -> int:
    """The number of the last entry whose first part is at most `value`, or -1."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) >> 1
        if entries[middle][0] <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1
