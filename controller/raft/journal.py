"""The durable memory of one voter: log entries, term, vote, standing and a hint of the commit index, in one file.

Owns the file `journal` and its recovery. One append-only file, so that one fdatasync covers entries and vote in the
order in which they were written; a record goes to the file before it goes to memory. Never decides anything about Raft
except the conflict rule of the paper's AppendEntries, step 3 (an entry that is already there stays, with what follows).

The file is a preamble (who the voter is, how long the file was when it came to be) and records. Every record bears a
checksum, bound to its place in the file, and how far the file was known to be on the disk when it was written. So
recovery can tell a torn tail, which nobody was promised and which is cut off, from damage to what had been synced,
which makes it refuse: a voter that forgets part of its log must not vote.
"""

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

import crc32c

from cluster.seams import Disk, File
from controller.raft.barrier import (
    Barrier,
    StorageCorrupt,
    StorageFailed,
    put_in_place,
    sync_each,
    write_aside,
)

#: The first entry of every log: it is committed everywhere, does nothing, and gives the next entry a predecessor.
FIRST_INDEX: Final = 1
#: The command of an entry that does nothing (the library's command type byte).
NO_OP: Final = b"\x01"

FILE_BYTES_MAX: Final = 1 << 31

_MAGIC: Final = b"BLRAFTJ1"
_PREAMBLE: Final = Struct("<8sIQII")  # magic, checksum, initial end, node id, number of voters
_VOTER: Final = Struct("<I")
_CHECKSUM: Final = Struct("<I")
_CHECKSUM_AT: Final = 12  # where the bytes under the preamble's checksum begin
_VOTERS_MAX: Final = 1000

_RECORD: Final = Struct("<4sIIBQQQ")  # magic, checksum, payload length, type, two numbers, durable end
_RECORD_MAGIC: Final = b"\xabR\x9dj"
_RECORD_CHECKSUM_AT: Final = 8
_PLACE: Final = Struct("<Q")
_CURE: Final = "restore its folder from a copy, or take it away, and this voter learns the log from the others"
_ENTRY: Final = 1
_META: Final = 2
_COMMIT: Final = 3


class Entry(NamedTuple):
    """One log entry, in the order of fields in which the library keeps them."""

    command: bytes
    index: int  # type: ignore[assignment]  # hides tuple.index, for which nobody has a use
    term: int


class Standing(IntEnum):
    """What this voter may do, given what happened to its disk."""

    #: Began with an empty disk and has taken no part yet: votes only while no peer shows that the quorum is older.
    BLANK = 0
    #: A full member.
    VOTER = 1
    #: Began with an empty disk in an older quorum: may have forgotten votes and entries, so it counts for nothing.
    OBSERVER = 2


class Identity(NamedTuple):
    """Whose journal it is. Voters never change while the quorum lives; their addresses may."""

    node_id: int
    voters: tuple[int, ...]


class _Record(NamedTuple):
    kind: int
    first: int
    second: int
    durable: int
    payload: bytes
    end: int


class Journal:
    """Call `create` or `recover` first; both block. Every method that writes may raise StorageFailed, after which the
    journal must not be used again."""

    def __init__(self, disk: Disk, path: str, identity: Identity) -> None:
        self._disk = disk
        self._path = path
        self._identity = identity
        self._file: File | None = None
        #: Never empty after create or recover; indexes are consecutive.
        self._entries: list[Entry] = []
        self._end = 0
        #: 0 <= _durable <= _end: everything below is on the disk.
        self._durable = 0
        self._commit_written = FIRST_INDEX
        #: first index <= commit_index <= last index; on disk only now and then, so lower after a restart.
        self.commit_index = FIRST_INDEX
        self.term = 0
        self.voted_for: int | None = None
        self.standing = Standing.BLANK

    # What is in it

    @property
    def first(self) -> Entry:
        return self._entries[0]

    @property
    def last(self) -> Entry:
        return self._entries[-1]

    @property
    def size_bytes(self) -> int:
        return self._end

    def __len__(self) -> int:
        return len(self._entries)

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None when the log does not hold it."""
        place = index - self._entries[0].index
        return self._entries[place].term if 0 <= place < len(self._entries) else None

    def entries(self, start: int, stop: int) -> Sequence[Entry]:
        """The library's view: a slice by position, not by index."""
        return self._entries[start:stop]

    def entry(self, position: int) -> Entry:
        """The library's view: by position, not by index; negative counts from the end."""
        return self._entries[position]

    def batch(self, index: int, size_bytes_max: int) -> Sequence[Entry]:
        """Entries from `index` on whose commands together hold at most `size_bytes_max`, but at least one if any."""
        start = index - self._entries[0].index
        assert start >= 0, f"entry {index} was trimmed"
        stop = start
        room = size_bytes_max
        while stop < len(self._entries):
            room -= len(self._entries[stop].command)
            if room < 0 and stop > start:
                break
            stop += 1
        return self._entries[start:stop]

    # What changes it

    def add(self, command: bytes, index: int, term: int) -> None:
        """Append, or keep what is there if it is the same entry, or cut off a conflicting tail and append."""
        last = self._entries[-1]
        if index <= last.index:
            place = index - self._entries[0].index
            if place < 0 or self._entries[place].term == term:
                return
            assert index > self.commit_index, f"entry {index} conflicts with a committed one: {term} over {last}"
            self._append(_ENTRY, index, term, command)
            # On disk the cut is implied: recovery sees a lower index follow.
            del self._entries[place:]
        else:
            assert index == last.index + 1, f"entry {index} leaves a gap after {last.index}"
            self._append(_ENTRY, index, term, command)
        self._entries.append(Entry(command, index, term))

    def set_term(self, term: int, voted_for: int | None) -> None:
        """Terms never fall and a vote in a term never changes."""
        assert term >= self.term, f"the term falls from {self.term} to {term}"
        standing = self.standing
        if voted_for is not None and standing is Standing.BLANK:
            standing = Standing.VOTER
        self.set_meta(term, voted_for, standing)

    def set_meta(self, term: int, voted_for: int | None, standing: Standing) -> None:
        if (term, voted_for, standing) != (self.term, self.voted_for, self.standing):
            self._append(_META, term, _vote_code(voted_for), bytes([standing]))
            self.term, self.voted_for, self.standing = term, voted_for, standing

    def write_commit_hint(self) -> None:
        """Bring the commit index into the file if it moved. It bounds the replay at the next start; no sync needed."""
        if self.commit_index != self._commit_written:
            self._append(_COMMIT, self.commit_index, 0, b"")
            self._commit_written = self.commit_index

    def barrier(self) -> Barrier:
        """When it ends, everything added before is on the disk."""
        if self._durable < self._end:
            end = self._end
            yield self._open_file()
            self._durable = end

    def trim(self, index: int) -> Barrier:
        """Drop the entries below `index`, which the log must hold."""
        place = index - self._entries[0].index
        assert 0 <= place < len(self._entries), f"cannot trim to {index}"
        if place:
            yield from self._rewrite(self._entries[place:])

    def reset(self, index: int, term: int) -> Barrier:
        """Drop the whole log and begin anew behind (index, term), which a snapshot covers."""
        self.commit_index = index
        yield from self._rewrite([Entry(NO_OP, index, term)])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # Start

    def create(self, standing: Standing) -> None:
        """Make the file. Blocks."""
        self.standing = standing
        sync_each(self._rewrite([Entry(NO_OP, FIRST_INDEX, 0)]))

    def recover(self) -> None:
        """Read the file back. Blocks. Raises StorageCorrupt when something that had been synced is damaged."""
        try:
            self._file = self._disk.open(self._path)
            size = self._file.size()
            if size > FILE_BYTES_MAX:
                raise self._corrupt(f"{size} bytes are more than any journal has")
            data = self._file.pread(size, 0)
            position, initial_end = self._read_preamble(data)
            while (record := _read_record(data, position)) is not None:
                self._replay(record, position)
                position = record.end
            self._check_tail(data, position, initial_end)
            if not self._entries:
                raise self._corrupt("no entries")
            self._file.truncate(position)
            # Also what was found whole may have been in memory only.
            self._file.sync()
        except OSError as error:
            raise StorageFailed(f"reading {self._path}: {error}") from error
        self._end = self._durable = position
        self.commit_index = min(max(self.commit_index, self._entries[0].index), self._entries[-1].index)
        self._commit_written = self.commit_index

    def _read_preamble(self, data: bytes) -> tuple[int, int]:
        """Where the records begin and how long the file was from its beginning."""
        if len(data) < _PREAMBLE.size:
            raise self._corrupt(f"cut off in the preamble: {_CURE}")
        magic, checksum, initial_end, node_id, count = _PREAMBLE.unpack_from(data)
        end = _PREAMBLE.size + count * _VOTER.size
        if magic != _MAGIC or count > _VOTERS_MAX or len(data) < end or _checksum(data[_CHECKSUM_AT:end]) != checksum:
            raise self._corrupt(f"not a journal, or its preamble is damaged: {_CURE}")
        voters = tuple(voter for (voter,) in _VOTER.iter_unpack(data[_PREAMBLE.size : end]))
        if Identity(node_id, voters) != self._identity:
            raise self._corrupt(
                f"it belongs to voter {node_id} of {list(voters)}, but this is voter {self._identity.node_id} of "
                f"{list(self._identity.voters)}: correct the configuration, or the data directory"
            )
        return end, initial_end

    def _replay(self, record: _Record, position: int) -> None:
        kind, first, second, _, payload, _ = record
        if kind == _META:
            if len(payload) != 1 or payload[0] > max(Standing):
                raise self._corrupt(f"unknown standing at {position}")
            self.term, self.voted_for, self.standing = first, _vote(second), Standing(payload[0])
        elif kind == _COMMIT:
            self.commit_index = first
        elif not self._entries:
            self._entries.append(Entry(payload, first, second))
        else:
            place = first - self._entries[0].index
            if not 0 < place <= len(self._entries):
                raise self._corrupt(f"entry {first} at {position} does not follow")
            del self._entries[place:]
            self._entries.append(Entry(payload, first, second))

    def _check_tail(self, data: bytes, position: int, initial_end: int) -> None:
        """Raise unless what lies behind the last whole record may be lost: nobody was told that it was on the disk."""
        durable = initial_end
        candidate = data.find(_RECORD_MAGIC, position)
        while candidate >= 0:
            record = _read_record(data, candidate)
            if record is not None:
                durable = max(durable, record.durable)
            candidate = data.find(_RECORD_MAGIC, candidate + 1)
        if position < durable:
            raise self._corrupt(f"damaged at byte {position}, although {durable} bytes had been synced: {_CURE}")

    def _corrupt(self, reason: str) -> StorageCorrupt:
        return StorageCorrupt(f"raft journal {self._path}: {reason}")

    # The file

    def _open_file(self) -> File:
        assert self._file is not None, "the journal is not open"
        return self._file

    def _append(self, kind: int, first: int, second: int, payload: bytes) -> None:
        record = _write_record(kind, first, second, self._durable, payload, self._end)
        try:
            self._open_file().pwrite([record], self._end)
        except OSError as error:
            # A prefix of the record may be in the file; nothing may be written behind it.
            self.close()
            raise StorageFailed(f"writing {self._path}: {error}") from error
        self._end += len(record)

    def _rewrite(self, entries: list[Entry]) -> Barrier:
        """Replace the file by one that holds `entries` and everything else as it is."""
        voters = b"".join(map(_VOTER.pack, self._identity.voters))
        position = _PREAMBLE.size + len(voters)
        commit_index = max(self.commit_index, entries[0].index)
        records = []
        for kind, first, second, payload in (
            (_META, self.term, _vote_code(self.voted_for), bytes([self.standing])),
            *((_ENTRY, entry.index, entry.term, entry.command) for entry in entries),
            (_COMMIT, commit_index, 0, b""),
        ):
            record = _write_record(kind, first, second, position, payload, position)
            records.append(record)
            position += len(record)
        body = _PREAMBLE.pack(_MAGIC, 0, position, self._identity.node_id, len(self._identity.voters)) + voters
        preamble = body[:8] + _CHECKSUM.pack(_checksum(body[_CHECKSUM_AT:])) + body[_CHECKSUM_AT:]
        file = write_aside(self._disk, self._path, [preamble, *records])
        yield file
        file.close()
        put_in_place(self._disk, self._path)
        self.close()
        self._file = self._disk.open(self._path)
        self._entries = entries
        self._end = self._durable = position
        self.commit_index = self._commit_written = commit_index


def _vote_code(voted_for: int | None) -> int:
    return 0 if voted_for is None else voted_for + 1


def _vote(code: int) -> int | None:
    return code - 1 if code else None


def _checksum(data: bytes, start: int = 0) -> int:
    checksum: int = crc32c.crc32c(data, start)
    return checksum


def _write_record(kind: int, first: int, second: int, durable: int, payload: bytes, position: int) -> bytes:
    head = _RECORD.pack(_RECORD_MAGIC, 0, len(payload), kind, first, second, durable)[_RECORD_CHECKSUM_AT:]
    checksum = _checksum(payload, _checksum(head, _checksum(_PLACE.pack(position))))
    return _RECORD_MAGIC + _CHECKSUM.pack(checksum) + head + payload


def _read_record(data: bytes, position: int) -> _Record | None:
    """The record at `position`; None when there is no whole one."""
    body = position + _RECORD.size
    if body > len(data):
        return None
    magic, checksum, length, kind, first, second, durable = _RECORD.unpack_from(data, position)
    end = body + length
    if magic != _RECORD_MAGIC or end > len(data) or not _ENTRY <= kind <= _COMMIT or durable > position:
        return None
    covered = data[position + _RECORD_CHECKSUM_AT : end]
    if _checksum(covered, _checksum(_PLACE.pack(position))) != checksum:
        return None
    return _Record(kind, first, second, durable, data[body:end], end)
