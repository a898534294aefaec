"""How the synchronous core of a voter waits for the disk without knowing how waiting is done.

Whatever must not go on before a file has reached the disk is a generator of files: it yields the file, and its driver
syncs it and resumes. So the same code runs on an event loop, on a simulated disk, and with a driver that never syncs,
which is how the tests prove that the barrier matters. Owns no file.
"""

from collections.abc import Iterator
from typing import Final

from cluster.seams import Buffer, Disk, File

#: What a file is called until it is whole; a leftover of a crash is overwritten.
TEMPORARY_SUFFIX: Final = ".tmp"

#: Yields each file that must be synced before the generator is resumed.
Barrier = Iterator[File]


class StorageFailed(Exception):
    """The disk failed under the quorum. Nothing about the file is known any more: the process must end."""


class StorageCorrupt(Exception):
    """What is on the disk is not what was written. The voter must not start; the message says what to do."""


def sync_each(barrier: Barrier) -> None:
    """Drive `barrier` to its end, blocking. Raises StorageFailed."""
    for file in barrier:
        try:
            file.sync()
        except OSError as error:
            raise StorageFailed(f"sync of {file.path}: {error}") from error


def write_aside(disk: Disk, path: str, content: list[Buffer]) -> File:
    """Write `content` next to `path`, to be synced and then passed to `put_in_place`. Raises StorageFailed."""
    try:
        file = disk.open(path + TEMPORARY_SUFFIX, create=True)
        try:
            file.truncate(0)
            file.pwrite(content, 0)
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise StorageFailed(f"writing {path}{TEMPORARY_SUFFIX}: {error}") from error
    return file


def put_in_place(disk: Disk, path: str) -> None:
    """Make the synced file beside `path` the file at `path`, durably. Raises StorageFailed."""
    try:
        disk.rename(path + TEMPORARY_SUFFIX, path)
        disk.fsync_dir(path.rpartition("/")[0])
    except OSError as error:
        raise StorageFailed(f"replacing {path}: {error}") from error
