"""Replacing a small file as a whole, so that a crash leaves the old content or the new and never a mixture.

Owns the order of the steps: write aside, sync, rename, sync the folder. Never used for logs.
"""

from typing import Final

from cluster.seams import Buffer, Disk

#: What the file is called until it is whole; a leftover of a crash may be removed at any time.
TEMPORARY_SUFFIX: Final = ".tmp"


def replace_file(disk: Disk, path: str, content: Buffer, *, durable: bool = True) -> None:
    """Make `content` the content of the file at `path`; its folder must exist.

    With `durable` the new content has reached the disk when this returns; without, the old or the new is there after a
    crash of the process, and after a power loss anything: for files that a checksum or the log behind them can vouch
    for. Raises OSError, with the old content still in place unless the very last step failed. Blocks.
    """
    temporary = path + TEMPORARY_SUFFIX
    file = disk.open(temporary, create=True)
    try:
        file.truncate(0)
        file.pwrite([content], 0)
        if durable:
            file.sync()
    finally:
        file.close()
    disk.rename(temporary, path)
    if durable:
        disk.fsync_dir(path.rpartition("/")[0])


def read_file(disk: Disk, path: str, size_bytes_max: int) -> bytes | None:
    """The whole content of the file at `path`; None when there is no such file or it is larger than allowed."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        size = file.size()
        return file.pread(size, 0) if size <= size_bytes_max else None
    finally:
        file.close()
