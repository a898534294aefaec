"""The aborted transactions of a segment, in Kafka's .txnindex format.

Owns the entries and their file, which exists only once there is an entry. Consumers that read committed records get
the ones that overlap what they fetch. Source: KIP-98.
"""

from struct import Struct
from typing import Final, NamedTuple

from broker.log.files import FileCache

_ENTRY: Final = Struct(">hqqqq")
_VERSION: Final = 0


class AbortedTxn(NamedTuple):
    """Offsets are inclusive; `last_offset` is that of the marker."""

    producer_id: int
    first_offset: int
    last_offset: int
    #: The last stable offset once the marker was replicated.
    last_stable_offset: int


class TxnIndex:
    """The file at `path`, whose name need not exist."""

    def __init__(self, files: FileCache, path: str, *, exists: bool) -> None:
        self._files = files
        self.path = path
        self.exists = exists

    def entries(self) -> list[AbortedTxn]:
        """In the order of their markers. Entries of another version, and half an entry at the end, are left out."""
        if not self.exists:
            return []
        file = self._files.get(self.path)
        size = file.size()
        content = file.pread(size - size % _ENTRY.size, 0)
        return [AbortedTxn(*fields[1:]) for fields in _ENTRY.iter_unpack(content) if fields[0] == _VERSION]

    def append(self, aborted: AbortedTxn) -> None:
        if not self.exists:
            self._files.disk.open(self.path, create=True).close()
            self.exists = True
        file = self._files.get(self.path)
        size = file.size()
        file.pwrite((_ENTRY.pack(_VERSION, *aborted),), size - size % _ENTRY.size)

    def truncate(self, offset: int) -> None:
        """Forget the transactions whose marker is at or above `offset`."""
        if self.exists:
            kept = sum(entry.last_offset < offset for entry in self.entries())
            self._files.get(self.path).truncate(kept * _ENTRY.size)

    def remove(self) -> None:
        """Forget all, the file included."""
        if self.exists:
            self._files.discard(self.path)
            self._files.disk.unlink(self.path)
            self.exists = False
