"""Walking over the batches of a log file, and telling a whole batch from what is not one.

Owns the rules that make bytes a batch of this log. Never decides what to do with bytes that are none: recovery does.
"""

import errno
from collections.abc import Iterator
from typing import Final

from crc32c import crc32c

from cluster.records.batch import (
    BATCH_LENGTH_MIN,
    CRC_START,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    BatchHeader,
    checksum_matches,
)
from cluster.seams import File

#: Bytes read at a time when batches are checked.
VERIFY_CHUNK: Final = 1024 * 1024
#: Bytes read at a time when only headers are wanted: about what two index entries lie apart.
WALK_CHUNK: Final = 8 * 1024


class LogCorrupt(OSError):
    """Bytes that must be whole batches are not: the disk does not give back what it was given.

    The partition must not be served from this log.
    """

    def __init__(self, path: str, position: int, offset: int, reason: str) -> None:
        super().__init__(errno.EIO, f"{path}, byte {position}, expected offset {offset}: {reason}")
        self.path = path
        self.position = position
        #: The offset that should have been at `position`: the log is good below it.
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return self.strerror or self.reason


def scan_batches(
    file: File,
    start: int,
    end: int,
    *,
    expected_offset: int,
    dense: bool,
    verify: bool,
    leader_epoch_min: int = -1,
    chunk_size: int = WALK_CHUNK,
) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of every batch in `file[start:end]`; `start` must be where a batch starts.

    The first one must not start below `expected_offset`, and with `dense` must start there, and so on; leader epochs
    must not fall. With `verify` every checksum is computed. Raises LogCorrupt where a batch breaks this or `end` cuts
    it off; what was yielded before is good.
    """
    position = start
    epoch = leader_epoch_min
    chunk = b""
    chunk_start = start
    while position < end:
        at = position - chunk_start
        if at + HEADER_SIZE > len(chunk):
            chunk_start, at = position, 0
            chunk = file.pread(min(chunk_size, end - position), position)
            if len(chunk) < HEADER_SIZE:
                raise LogCorrupt(file.path, position, expected_offset, f"{len(chunk)} bytes hold no batch header")
        header = BatchHeader._make(HEADER.unpack_from(chunk, at))
        fault = _fault(header, end - position, expected_offset, dense, epoch)
        if fault:
            raise LogCorrupt(file.path, position, expected_offset, fault)
        size = header.size
        if verify:
            if at + size > len(chunk) and size <= chunk_size:
                chunk_start, at = position, 0
                chunk = file.pread(min(chunk_size, end - position), position)
            whole = at + size <= len(chunk)
            if not (checksum_matches(chunk, header, at) if whole else _long_checksum_matches(file, position, header)):
                raise LogCorrupt(file.path, position, expected_offset, "the checksum does not match")
        yield position, header
        expected_offset = header.next_offset
        epoch = header.leader_epoch
        position += size


def _fault(header: BatchHeader, remaining: int, expected_offset: int, dense: bool, leader_epoch_min: int) -> str:
    """Why this cannot be the next batch, or nothing."""
    if header.batch_length == 0 and header.magic == 0:
        return "zeros"
    if header.magic != MAGIC:
        return f"magic {header.magic}"
    if not BATCH_LENGTH_MIN <= header.batch_length <= remaining - (HEADER_SIZE - BATCH_LENGTH_MIN):
        return f"batch length {header.batch_length} with {remaining} bytes left"
    if header.base_offset != expected_offset and (dense or header.base_offset < expected_offset):
        return f"base offset {header.base_offset}"
    if header.last_offset_delta < 0:
        return f"last offset delta {header.last_offset_delta}"
    if header.leader_epoch < leader_epoch_min:
        return f"leader epoch {header.leader_epoch} after {leader_epoch_min}"
    return ""


def _long_checksum_matches(file: File, position: int, header: BatchHeader) -> bool:
    """The checksum of a batch longer than a chunk, a piece at a time: its length is not trusted for an allocation."""
    at = position + CRC_START
    end = position + header.size
    checksum = 0
    while at < end:
        piece = file.pread(min(VERIFY_CHUNK, end - at), at)
        if not piece:
            return False
        checksum = crc32c(piece, checksum)
        at += len(piece)
    return checksum == header.crc
