"""One segment: a log file with its offset index and its time index.

Owns the positions inside one file. The active segment, the last of a log, keeps its file open and its indexes in
memory; `seal` writes them out. Never knows about epochs, producers or other segments. Fails with OSError, or with
LogCorrupt when bytes are not what they must be. Source: KIP-33 (time index).
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from broker.log import names
from broker.log.files import FileCache
from broker.log.index import OFFSET_ENTRY, TIME_ENTRY, Entries, FileEntries, MemoryEntries, floor_by_first
from broker.log.scan import VERIFY_CHUNK, scan_batches
from broker.log.txn_index import TxnIndex
from cluster.records.batch import HEADER, HEADER_SIZE, LOG_OVERHEAD, MAGIC, NO_TIMESTAMP, BatchHeader
from cluster.seams import Buffer, File

#: Offsets in an index are relative to the segment's first; positions have the same limit.
RELATIVE_MAX: Final = (1 << 31) - 1
#: A larger index is not one of ours.
INDEX_SIZE_MAX: Final = 1 << 30


class Segment:
    """A segment of the log in `folder`; sealed until `create` or `activate` is called."""

    def __init__(
        self,
        files: FileCache,
        folder: str,
        base_offset: int,
        *,
        size: int,
        has_txn_index: bool,
        interval_bytes: int,
        dense: bool,
    ) -> None:
        self._files = files
        self._folder = folder
        self._interval_bytes = interval_bytes
        self._file: File | None = None
        self._offsets: MemoryEntries | None = None
        self._times: MemoryEntries | None = None
        self._bytes_since_entry = 0
        self._max_timestamp: int | None = None
        self._offset_of_max_timestamp = base_offset
        self.base_offset = base_offset
        #: Whether offsets have no gaps, which only compaction makes.
        self.dense = dense
        #: Bytes of whole batches. After a failed write the file may be longer.
        self.size = size
        #: Bytes from here on were written or checked by this process; earlier ones are checked when they are read.
        self.trusted_from = size
        #: Bytes of the larger of the two indexes, while active.
        self.index_bytes = 0
        #: What `segment.ms` counts from: the timestamp of the first batch; None while there is none.
        self.first_timestamp: int | None = None
        self.txn_index = TxnIndex(files, self.path(names.TXN_INDEX_SUFFIX), exists=has_txn_index)

    def __repr__(self) -> str:
        return f"<Segment {self.path(names.LOG_SUFFIX)}, {self.size} bytes>"

    def path(self, suffix: str) -> str:
        return f"{self._folder}/{names.segment_file(self.base_offset, suffix)}"

    @property
    def active(self) -> bool:
        return self._offsets is not None

    @property
    def file(self) -> File:
        """The log file. Of a sealed segment it may be closed by the next use of another sealed segment."""
        return self._file if self._file is not None else self._files.get(self.path(names.LOG_SUFFIX))

    # --- The life of a segment

    def create(self) -> None:
        """Become the new, empty, active segment; what was in a file of this name is gone."""
        self._hold().truncate(0)
        self.size = self.trusted_from = 0
        self._reset_entries()

    def activate(self, end: int) -> int:
        """Cut the file to `end`, where a batch must end, and become active; returns the next offset.

        The indexes are loaded, cut, and completed by a walk from the last entry to the end; unusable ones are rebuilt.
        """
        file = self._hold()
        if file.size() != end:
            file.truncate(end)
        self.size = end
        self.trusted_from = min(self.trusted_from, end)
        if not self.active:
            self._load_entries()
        next_offset = self._complete_entries() if self._cut_entries() else self.rebuild_indexes()
        header = self._header_at(0)
        self.first_timestamp = header.max_timestamp if header is not None else None
        return next_offset

    def seal(self) -> None:
        """Write the indexes out and stop being active; the log file stays open until `release`."""
        offsets, times = self._entries_in_memory()
        self._index_timestamp(offsets, times)
        for suffix, entries in ((names.INDEX_SUFFIX, offsets), (names.TIME_INDEX_SUFFIX, times)):
            self._write_index(suffix, entries)
        self._offsets = self._times = None

    def write_indexes(self) -> None:
        """Write the indexes out as they are, and stay active."""
        offsets, times = self._entries_in_memory()
        self._write_index(names.INDEX_SUFFIX, offsets)
        self._write_index(names.TIME_INDEX_SUFFIX, times)

    def detach(self) -> File | None:
        """Give up the log file, still open, if it is held; `file` opens it again where it is needed."""
        file, self._file = self._file, None
        return file

    def release(self) -> None:
        """Close the log file if it is held."""
        file = self.detach()
        if file is not None:
            file.close()

    def remove(self) -> list[str]:
        """Rename every file of the segment out of the way; returns their new names, for unlinking at leisure.

        The log file must have been released or detached.
        """
        assert self._file is None
        self._offsets = self._times = None
        removed = []
        # The log goes first: without it the other files mean nothing.
        for suffix in (names.LOG_SUFFIX, *names.COMPANION_SUFFIXES):
            path = self.path(suffix)
            self._files.discard(path)
            try:
                self._files.disk.rename(path, path + names.DELETED_SUFFIX)
            except FileNotFoundError:
                continue
            removed.append(path + names.DELETED_SUFFIX)
        return removed

    def recover(self, leader_epoch_min: int) -> Iterator[tuple[int, BatchHeader]]:
        """Check every byte of the file and rebuild the indexes; (position, header) of every good batch, once counted.

        The segment is active from the first step on. Raises LogCorrupt at the first bad batch, with the segment, not
        the file, ending before it.
        """
        file = self._hold()
        end = file.size()
        self._reset_entries()
        self.size = self.trusted_from = 0
        for position, header in scan_batches(
            file,
            0,
            end,
            expected_offset=self.base_offset,
            dense=self.dense,
            verify=True,
            leader_epoch_min=leader_epoch_min,
            chunk_size=VERIFY_CHUNK,
        ):
            self.note(header, header.last_offset)
            yield position, header

    # --- Writing

    def append(self, buffer: Buffer) -> int:
        """Write whole batches at the end and return their position; `note` must follow for each of them.

        A failed write leaves the segment as it was.
        """
        assert self._file is not None
        position = self.size
        try:
            self._file.pwrite((buffer,), position)
        except OSError:
            self._file.truncate(position)
            raise
        return position

    def note(self, header: BatchHeader, last_offset: int) -> None:
        """Count one batch that now stands at the end, and keep the indexes."""
        if self.first_timestamp is None:
            self.first_timestamp = header.max_timestamp
        if self._max_timestamp is None or header.max_timestamp > self._max_timestamp:
            self._max_timestamp = header.max_timestamp
            self._offset_of_max_timestamp = last_offset
        if self._bytes_since_entry > self._interval_bytes:
            offsets, times = self._entries_in_memory()
            offsets.append(last_offset - self.base_offset, self.size)
            self._index_timestamp(offsets, times)
            self.index_bytes = max(len(offsets) * OFFSET_ENTRY.size, len(times) * TIME_ENTRY.size)
            self._bytes_since_entry = 0
        size = header.batch_length + LOG_OVERHEAD
        self._bytes_since_entry += size
        self.size += size

    def _index_timestamp(self, offsets: MemoryEntries, times: MemoryEntries) -> None:
        last = times[len(times) - 1][0] if len(times) else NO_TIMESTAMP
        if self.max_timestamp > last:
            times.append(self.max_timestamp, self._offset_of_max_timestamp - self.base_offset)

    # --- Looking things up

    @property
    def max_timestamp(self) -> int:
        """The largest timestamp of any batch here; -1 when none has one."""
        if self._max_timestamp is None:
            self._load_max_timestamp()
        assert self._max_timestamp is not None
        return self._max_timestamp

    @property
    def offset_of_max_timestamp(self) -> int:
        """The last offset of the first batch with the largest timestamp."""
        if self._max_timestamp is None:
            self._load_max_timestamp()
        return self._offset_of_max_timestamp

    def walk(self, start: int, expected_offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of the batches from `start` on, where one starts; checksums are not computed."""
        return scan_batches(
            self.file, start, self.size, expected_offset=expected_offset, dense=self.dense, verify=False
        )

    def locate(self, offset: int) -> tuple[int, BatchHeader] | None:
        """(position, header) of the first batch that ends at or above `offset`; None when there is none."""
        start, expected_offset = self._start_for(offset)
        for position, header in self.walk(start, expected_offset):
            if header.last_offset >= offset:
                return position, header
        return None

    def batches_since(self, timestamp: int) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of the batches with a timestamp of at least `timestamp`."""
        times = self._times if self._times is not None else self._sealed_entries(TIME_ENTRY, names.TIME_INDEX_SUFFIX)
        number = floor_by_first(times, timestamp)
        start_offset = self.base_offset
        if number >= 0:
            indexed, relative = times[number]
            start_offset = self.base_offset + relative
            found = self.locate(start_offset)
            if found is None or found[1].last_offset != start_offset or found[1].max_timestamp != indexed:
                self.rebuild_indexes()
                return self.batches_since(timestamp)
        start, expected_offset = self._start_for(start_offset)
        return (
            (position, header)
            for position, header in self.walk(start, expected_offset)
            if header.max_timestamp >= timestamp
        )

    def rebuild_indexes(self) -> int:
        """Make both indexes anew from the batches; returns the next offset. Raises LogCorrupt."""
        was_active = self.active
        end = self.size
        self._reset_entries()
        self.size = 0
        next_offset = self.base_offset
        walk = scan_batches(
            self.file,
            0,
            end,
            expected_offset=self.base_offset,
            dense=self.dense,
            verify=True,
            chunk_size=VERIFY_CHUNK,
        )
        try:
            for _, header in walk:
                self.note(header, header.last_offset)
                next_offset = header.next_offset
        finally:
            self.size = end
        if not was_active:
            self.seal()
        return next_offset

    # --- Internals

    def _hold(self) -> File:
        if self._file is None:
            path = self.path(names.LOG_SUFFIX)
            self._files.discard(path)
            self._file = self._files.disk.open(path, create=True)
        return self._file

    def _reset_entries(self) -> None:
        self._offsets = MemoryEntries(OFFSET_ENTRY)
        self._times = MemoryEntries(TIME_ENTRY)
        self._bytes_since_entry = self.index_bytes = 0
        self._max_timestamp = NO_TIMESTAMP
        self._offset_of_max_timestamp = self.base_offset
        self.first_timestamp = None

    def _entries_in_memory(self) -> tuple[MemoryEntries, MemoryEntries]:
        assert self._offsets is not None, "the segment is sealed"
        assert self._times is not None
        return self._offsets, self._times

    def _write_index(self, suffix: str, entries: MemoryEntries) -> None:
        path = self.path(suffix)
        self._files.discard(path)
        file = self._files.disk.open(path, create=True)
        try:
            content = entries.content
            if content:
                file.pwrite((content,), 0)
            file.truncate(len(content))
        finally:
            file.close()

    def _load_entries(self) -> None:
        contents = []
        for suffix in (names.INDEX_SUFFIX, names.TIME_INDEX_SUFFIX):
            try:
                file = self._files.get(self.path(suffix))
                contents.append(file.pread(min(file.size(), INDEX_SIZE_MAX), 0))
            except FileNotFoundError:
                contents.append(b"")
        self._offsets = MemoryEntries(OFFSET_ENTRY, contents[0])
        self._times = MemoryEntries(TIME_ENTRY, contents[1])

    def _cut_entries(self) -> bool:
        """Drop index entries of batches that are gone; False when what is left does not fit the batches."""
        offsets, times = self._entries_in_memory()
        count = len(offsets)
        while count and offsets[count - 1][1] >= self.size:
            count -= 1
        offsets.truncate(count)
        last_indexed = offsets[count - 1][0] if count else -1
        time_count = len(times)
        # A timestamp is indexed together with an offset that is not below its own, or when the segment is sealed.
        while time_count and times[time_count - 1][1] > last_indexed:
            time_count -= 1
        times.truncate(time_count)
        if count and self._follow(offsets[count - 1]) is None:
            return False
        if not count:
            return True  # they are made from the start
        return bool(time_count) and self._time_entry_fits(times[time_count - 1])

    def _complete_entries(self) -> int:
        """Walk from the last index entry to the end as if the batches there were being appended; the next offset."""
        offsets, times = self._entries_in_memory()
        self._max_timestamp = NO_TIMESTAMP
        self._offset_of_max_timestamp = self.base_offset
        if len(times):
            self._max_timestamp, relative = times[len(times) - 1]
            self._offset_of_max_timestamp = self.base_offset + relative
        self.index_bytes = max(len(offsets) * OFFSET_ENTRY.size, len(times) * TIME_ENTRY.size)
        end = self.size
        indexed = offsets[len(offsets) - 1][1] if len(offsets) else None
        start, next_offset = self._start_for(self.base_offset + RELATIVE_MAX)
        self._bytes_since_entry = 0
        try:
            for position, header in scan_batches(
                self.file, start, end, expected_offset=next_offset, dense=self.dense, verify=True
            ):
                self.size = position
                if position == indexed:
                    self._bytes_since_entry = header.size
                else:
                    self.note(header, header.last_offset)
                next_offset = header.next_offset
        finally:
            self.size = end
        return next_offset

    def _sealed_entries(self, layout: Struct, suffix: str) -> Entries:
        try:
            return FileEntries(layout, self._files.get(self.path(suffix)))
        except FileNotFoundError:
            self.rebuild_indexes()
            return FileEntries(layout, self._files.get(self.path(suffix)))

    def _start_for(self, offset: int) -> tuple[int, int]:
        """(position, base offset) of an indexed batch that starts at or below `offset`, the nearest there is."""
        for _ in range(2):
            entries = (
                self._offsets if self._offsets is not None else self._sealed_entries(OFFSET_ENTRY, names.INDEX_SUFFIX)
            )
            number = floor_by_first(entries, offset - self.base_offset)
            if number < 0:
                return 0, self.base_offset
            entry = entries[number]
            header = self._follow(entry)
            if header is not None:
                return entry[1], header.base_offset
            self.rebuild_indexes()
        raise AssertionError("a rebuilt index does not fit its segment")

    def _follow(self, entry: tuple[int, int]) -> BatchHeader | None:
        """The header of the batch that an offset entry points to; None when it is another batch or none."""
        relative, position = entry
        header = self._header_at(position)
        return header if header is not None and header.last_offset == self.base_offset + relative else None

    def _time_entry_fits(self, entry: tuple[int, int]) -> bool:
        timestamp, relative = entry
        found = self.locate(self.base_offset + relative)
        return (
            found is not None
            and found[1].last_offset == self.base_offset + relative
            and found[1].max_timestamp == timestamp
        )

    def _header_at(self, position: int) -> BatchHeader | None:
        if not 0 <= position <= self.size - HEADER_SIZE:
            return None
        header = BatchHeader._make(HEADER.unpack(self.file.pread(HEADER_SIZE, position)))
        return header if header.magic == MAGIC else None

    def _load_max_timestamp(self) -> None:
        """Of a sealed segment: the last entry of the time index, which sealing put there."""
        times = self._sealed_entries(TIME_ENTRY, names.TIME_INDEX_SUFFIX)
        last = times[len(times) - 1] if len(times) else None
        if last is not None and self._time_entry_fits(last):
            self._max_timestamp = last[0]
            self._offset_of_max_timestamp = self.base_offset + last[1]
        else:
            self.rebuild_indexes()
