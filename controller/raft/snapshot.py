"""The state machine's snapshot as a file, and as the pieces in which a leader sends it.

Owns the file `snapshot`, its layout and its replacement, and the assembly of a received one. A snapshot that cannot be
read is never taken for none: the voter refuses to start, because it would lead with an empty state. Never looks into
the state itself.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

import crc32c

from cluster.seams import Disk, File
from controller.raft.barrier import Barrier, StorageCorrupt, StorageFailed, put_in_place, write_aside

_MAGIC: Final = b"BLRAFTS1"
_HEADER: Final = Struct("<8sIQQQ")  # magic, checksum of the rest, last index, last term, length of the state
_CHECKSUM: Final = Struct("<I")
_CHECKSUM_AT: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state after the entry (last_index, last_term) was applied."""

    last_index: int
    last_term: int
    state: bytes


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The file's content, which is also what travels to another voter."""
    head = _HEADER.pack(_MAGIC, 0, snapshot.last_index, snapshot.last_term, len(snapshot.state))
    checksum = crc32c.crc32c(snapshot.state, crc32c.crc32c(head[_CHECKSUM_AT:]))
    return head[:8] + _CHECKSUM.pack(checksum) + head[_CHECKSUM_AT:] + snapshot.state


def decode_snapshot(data: bytes) -> Snapshot:
    """The inverse of `encode_snapshot`. Raises ValueError unless `data` is one whole, undamaged snapshot."""
    if len(data) < _HEADER.size:
        raise ValueError(f"a snapshot of {len(data)} bytes has no header")
    magic, checksum, last_index, last_term, length = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("not a snapshot")
    if length != len(data) - _HEADER.size:
        raise ValueError(f"the snapshot's state has {len(data) - _HEADER.size} bytes instead of {length}")
    if crc32c.crc32c(memoryview(data)[_CHECKSUM_AT:]) != checksum:
        raise ValueError("the snapshot's checksum is wrong")
    return Snapshot(last_index=last_index, last_term=last_term, state=data[_HEADER.size :])


class SnapshotStore:
    """The one snapshot of a voter on its disk."""

    def __init__(self, disk: Disk, path: str, size_bytes_max: int) -> None:
        self._disk = disk
        self._path = path
        self._size_bytes_max = size_bytes_max

    def load(self) -> Snapshot | None:
        """None when there is none. Raises StorageCorrupt when there is one that cannot be read. Blocks."""
        try:
            if not self._disk.exists(self._path):
                return None
            file = self._disk.open(self._path)
            try:
                size = file.size()
                if size > self._size_bytes_max + _HEADER.size:
                    raise StorageCorrupt(f"raft snapshot {self._path}: {size} bytes exceed {self._size_bytes_max}")
                data = file.pread(size, 0)
            finally:
                file.close()
        except OSError as error:
            raise StorageFailed(f"reading {self._path}: {error}") from error
        try:
            return decode_snapshot(data)
        except ValueError as error:
            raise StorageCorrupt(
                f"raft snapshot {self._path}: {error}: restore this voter's data directory from a copy, or empty it so "
                "that it learns the state from the others"
            ) from error

    def save(self, snapshot: Snapshot) -> Barrier:
        """Replace the snapshot; the old one stays until the new one is whole on the disk."""
        if len(snapshot.state) > self._size_bytes_max:
            raise StorageFailed(f"a state of {len(snapshot.state)} bytes exceeds {self._size_bytes_max}")
        file = write_aside(self._disk, self._path, [encode_snapshot(snapshot)])
        yield file
        file.close()
        put_in_place(self._disk, self._path)

    def open(self) -> File:
        """The file for sending; it stays what it is when a newer snapshot takes its place. Raises StorageFailed."""
        try:
            return self._disk.open(self._path)
        except OSError as error:
            raise StorageFailed(f"opening {self._path}: {error}") from error


class IncomingSnapshot:
    """Puts the chunks of one snapshot together: they must come in order, of one leader and one term."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_bytes_max = size_bytes_max + _HEADER.size
        self._source: tuple[int, ...] = ()
        self._size = 0
        self._received = 0
        self._chunks: list[bytes] = []

    def clear(self) -> None:
        self._source = ()
        self._received = 0
        self._chunks = []

    def add(self, source: tuple[int, ...], offset: int, size: int, data: bytes) -> bytes | None:
        """The whole file once it is whole, else None. `source` names leader, term and snapshot.

        Raises ValueError, with everything received so far dropped, when the chunk does not fit.
        """
        if offset == 0:
            self.clear()
            self._source, self._size = source, size
        fits = source == self._source and size == self._size and offset == self._received
        if not fits or size > self._size_bytes_max or offset + len(data) > size or not data:
            self.clear()
            raise ValueError(f"chunk at {offset} of {size} bytes from {source} does not fit")
        self._chunks.append(data)
        self._received += len(data)
        if self._received < size:
            return None
        whole = b"".join(self._chunks)
        self.clear()
        return whole
