"""The real file system behind the Disk seam.

Owns file descriptors, partial writes and the threads that wait for the disk. Never retries a failed sync: after one,
nothing is known about what the disk holds.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cluster.seams import Buffer

#: Threads that sync files of one disk at the same time; more of them gain nothing on one device.
SYNC_THREADS: Final = 4
_BUFFERS_MAX: Final = 512  # below every IOV_MAX
_READ_SIZE_MAX: Final = 1 << 30  # the kernel cuts one read off at 2 GiB


class HostFile:
    """A `File` on one descriptor."""

    def __init__(self, path: str, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self.path = path
        self._descriptor = descriptor
        self._threads = threads

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pread(self, length: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, min(length, _READ_SIZE_MAX), offset)
        if len(data) == length or not data:
            return data
        pieces = [data]
        done = len(data)
        while done < length:
            data = os.pread(self._descriptor, min(length - done, _READ_SIZE_MAX), offset + done)
            if not data:
                break
            pieces.append(data)
            done += len(data)
        return b"".join(pieces)

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        if len(buffers) == 1:
            length = len(buffers[0])
            written = os.pwrite(self._descriptor, buffers[0], offset)
            if written == length:
                return written
            # A full disk shows as a short write first; the next one says why.
            return written + self._write_all([memoryview(buffers[0])[written:]], offset + written)
        return self._write_all([memoryview(buffer) for buffer in buffers], offset)

    def _write_all(self, views: list[memoryview], offset: int) -> int:
        total = 0
        while views:
            written = os.pwritev(self._descriptor, views[:_BUFFERS_MAX], offset + total)
            total += written
            whole = 0
            while whole < len(views) and written >= len(views[whole]):
                written -= len(views[whole])
                whole += 1
            del views[:whole]
            if written:
                views[0] = views[0][written:]
        return total

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        if self._descriptor < 0:
            raise OSError(errno.EBADF, "the file is closed", self.path)
        os.fdatasync(self._descriptor)

    async def sync_async(self) -> None:
        # A descriptor of its own: this file may be closed, and its number reused, before the thread is done.
        duplicate = os.dup(self._descriptor)
        await asyncio.wrap_future(self._threads.submit(_sync_and_close, duplicate))

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


class HostDisk:
    """A `Disk` below one folder of the machine, which is made if it is absent."""

    def __init__(self, root: str, sync_threads: int = SYNC_THREADS) -> None:
        self.root = os.path.abspath(root)
        os.makedirs(self.root, exist_ok=True)
        # Threads start with the first asynchronous sync, not here: a process may still want to fork.
        self._threads = ThreadPoolExecutor(sync_threads, thread_name_prefix="disk-sync")

    def close(self) -> None:
        """Wait for the syncs under way and end the threads."""
        self._threads.shutdown()

    def open(self, path: str, *, create: bool = False) -> HostFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return HostFile(path, os.open(self._absolute(path), flags, 0o644), self._threads)

    def lock(self, path: str) -> HostFile:
        file = self.open(path, create=True)
        try:
            fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
        return file

    def exists(self, path: str) -> bool:
        return os.path.lexists(self._absolute(path))

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(self._absolute(path)))

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(self._absolute(path))

    def mkdir(self, path: str) -> None:
        os.makedirs(self._absolute(path), exist_ok=True)

    def rename(self, source: str, target: str) -> None:
        os.rename(self._absolute(source), self._absolute(target))

    def unlink(self, path: str) -> None:
        os.unlink(self._absolute(path))

    def rmdir(self, path: str) -> None:
        os.rmdir(self._absolute(path))

    def fsync_dir(self, path: str) -> None:
        descriptor = os.open(self._absolute(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        usage = os.statvfs(self.root)
        return usage.f_bavail * usage.f_frsize

    def _absolute(self, path: str) -> str:
        """The empty path is the root itself."""
        if not path:
            return self.root
        parts = path.split("/")
        assert not any(part in ("", ".", "..") or "\0" in part for part in parts), f"path leaves the disk: {path!r}"
        return f"{self.root}/{path}"
