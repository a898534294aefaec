"""A disk in memory that loses what was not synced, tears what was being written, and fails or dies on demand.

Keeps the file system's promises and no more: a write is in the file at once and on the disk after `sync`; a name is
there at once and on the disk after `fsync_dir`. `power_loss` decides by chance what of the rest had arrived.
"""

import random
from collections.abc import Sequence

from cluster.seams import Buffer

SECTOR = 512


class Killed(BaseException):
    """The process died in the middle of a call to the disk."""


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = b""
        #: Writes and truncations since the last sync: (offset, data) or (size, None).
        self.pending: list[tuple[int, bytes | None]] = []

    def apply(self, offset: int, data: bytes | None) -> None:
        if data is None:
            del self.content[offset:]
            self.content.extend(bytes(offset - len(self.content)))
        else:
            if len(self.content) < offset:
                self.content.extend(bytes(offset - len(self.content)))
            self.content[offset : offset + len(data)] = data

    def power_loss(self, rng: random.Random, scatter: bool) -> None:
        """Keep a prefix of what was not synced, or with `scatter` any sectors of it."""
        self.content = bytearray(self.durable)
        keep = rng.randint(0, len(self.pending))
        for number, (offset, data) in enumerate(self.pending):
            if data is None:
                if number < keep:
                    self.apply(offset, None)
            elif scatter:
                for start in range(0, len(data), SECTOR):
                    if rng.random() < 0.5:
                        self.apply(offset + start, data[start : start + SECTOR])
            elif number < keep:
                self.apply(offset, data)
            elif number == keep:
                self.apply(offset, data[: rng.randint(0, len(data))])
        self.durable = bytes(self.content)
        self.pending = []


class MemoryFile:
    def __init__(self, disk: "MemoryDisk", path: str, inode: _Inode) -> None:
        self.path = path
        self._disk = disk
        self._inode = inode

    def size(self) -> int:
        return len(self._inode.content)

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(self._inode.content[offset : offset + length])

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(buffers)
        self._disk.spend(len(data))
        self._inode.apply(offset, data)
        self._inode.pending.append((offset, data))
        self._disk.step()
        return len(data)

    def truncate(self, size: int) -> None:
        self._inode.apply(size, None)
        self._inode.pending.append((size, None))
        self._disk.step()

    def sync(self) -> None:
        if self._disk.sync_error is not None:
            raise self._disk.sync_error
        self._inode.durable = bytes(self._inode.content)
        self._inode.pending = []
        self._disk.syncs += 1
        self._disk.step()

    async def sync_async(self) -> None:
        self.sync()

    def close(self) -> None:
        pass


class MemoryDisk:
    """A `Disk`. `free` bytes may still be written; the call number `die_at` raises Killed after it took effect."""

    def __init__(self) -> None:
        self.names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self.folders = {""}
        self.free = 1 << 40
        self.syncs = 0
        self.steps = 0
        self.die_at = -1
        self.sync_error: OSError | None = None

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.die_at:
            raise Killed

    def spend(self, length: int) -> None:
        if length > self.free:
            raise OSError(28, "no space left on device")
        self.free -= length

    def open(self, path: str, *, create: bool = False) -> MemoryFile:
        if path not in self.names:
            if not create:
                raise FileNotFoundError(path)
            self.names[path] = _Inode()
        return MemoryFile(self, path, self.names[path])

    def lock(self, path: str) -> MemoryFile:
        return self.open(path, create=True)

    def exists(self, path: str) -> bool:
        return path in self.names or path in self.folders

    def listdir(self, path: str) -> list[str]:
        return sorted(name.rpartition("/")[2] for name in self.names if name.rpartition("/")[0] == path)

    def is_dir(self, path: str) -> bool:
        return path in self.folders

    def mkdir(self, path: str) -> None:
        self.folders.add(path)

    def rename(self, source: str, target: str) -> None:
        self.names[target] = self.names.pop(source)
        self.step()

    def unlink(self, path: str) -> None:
        del self.names[path]

    def rmdir(self, path: str) -> None:
        self.folders.remove(path)

    def fsync_dir(self, path: str) -> None:
        self._durable_names = dict(self.names)
        self.step()

    def free_bytes(self) -> int:
        return self.free

    # What happens to it

    def power_loss(self, rng: random.Random, scatter: bool) -> None:
        inodes = dict.fromkeys([*self._durable_names.values(), *self.names.values()])
        if rng.random() < 0.5:
            self.names = dict(self._durable_names)
        self._durable_names = dict(self.names)
        for inode in inodes:
            inode.power_loss(rng, scatter)
        self.die_at = -1

    def read(self, path: str) -> bytes:
        return bytes(self.names[path].content)

    def put(self, path: str, content: bytes) -> None:
        """Make `content` the durable content of the file at `path`."""
        inode = self.names[path] = _Inode()
        inode.content, inode.durable = bytearray(content), content
        self._durable_names[path] = inode

    def wipe(self) -> None:
        self.names, self._durable_names = {}, {}
