"""The Disk seam in memory: what was not synced may be lost, torn or turned into noise when the power fails.

Keeps a file system's promises and no more. A write is in the file at once and on the medium after a sync; a name is
there at once and on the medium after `fsync_dir` of its folder. The end of a process loses nothing; a power cut keeps,
of each file, any sectors of what was not synced, and of each folder a prefix of its changes of names. Blocking syncs
cost no virtual time, asynchronous ones do.
"""

import asyncio
import errno
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from cluster.seams import Buffer
from tests.sim.loop import Process, ProcessExit

SECTOR: Final = 512


class Inode:
    """One file: what programs see, and what the medium holds."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = bytearray()
        #: What changed since, in order: (number, offset, data), or (number, size, None) for a truncation.
        self.pending: list[tuple[int, int, bytes | None]] = []
        self.changes = 0
        self.lock: Process | None = None
        self.is_locked = False

    def change(self, offset: int, data: bytes | None) -> None:
        self.changes += 1
        self.pending.append((self.changes, offset, data))
        _apply(self.content, offset, data)

    def sync(self, up_to: int) -> None:
        """Bring the changes up to number `up_to` to the medium."""
        done = 0
        for number, offset, data in self.pending:
            if number > up_to:
                break
            _apply(self.durable, offset, data)
            done += 1
        del self.pending[:done]

    def lose_power(self, rng: random.Random) -> None:
        fate = rng.choice(list(_Fate))
        cut = rng.randint(0, len(self.pending)) if fate is _Fate.PREFIX else len(self.pending)
        for place, (_, offset, data) in enumerate(self.pending):
            if fate is _Fate.LOST or place > cut:
                continue
            if data is None:
                if rng.random() < 0.5:
                    _apply(self.durable, offset, None)
            elif fate is _Fate.PREFIX:
                _apply(self.durable, offset, data if place < cut else data[: rng.randint(0, len(data))])
            else:
                self._scatter(rng, offset, data, noise=fate is _Fate.NOISE)
        self.content = bytearray(self.durable)
        self.pending = []
        self.lock, self.is_locked = None, False

    def _scatter(self, rng: random.Random, offset: int, data: bytes, *, noise: bool) -> None:
        """Keep any sectors of one write; those that did not arrive may read as zeros or anything."""
        at = 0
        while at < len(data):
            size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
            dice = rng.random()
            if dice < 0.5:
                _apply(self.durable, offset + at, data[at : at + size])
            elif noise and dice < 0.6 and offset + at >= len(self.durable):
                _apply(self.durable, offset + at, rng.randbytes(size))
            at += size


class _Fate(Enum):
    """Of what was not synced when the power failed."""

    LOST = auto()
    PREFIX = auto()
    SCATTERED = auto()
    NOISE = auto()


class Folder:
    """One folder; `changes` are the changes of names that are not on the medium yet."""

    def __init__(self) -> None:
        self.entries: dict[str, Inode | Folder] = {}
        self.durable: dict[str, Inode | Folder] = {}
        #: Each maps names to what they mean from then on; None: nothing.
        self.changes: list[dict[str, Inode | Folder | None]] = []

    def change(self, change: "dict[str, Inode | Folder | None]") -> None:
        self.changes.append(change)
        _rename(self.entries, change)

    def sync(self) -> None:
        self.durable = dict(self.entries)
        self.changes = []

    def lose_power(self, rng: random.Random) -> None:
        for change in self.changes[: rng.randint(0, len(self.changes))]:
            _rename(self.durable, change)
        self.entries = dict(self.durable)
        self.changes = []
        for name in sorted(self.entries):
            self.entries[name].lose_power(rng)


def _rename(entries: "dict[str, Inode | Folder]", change: "dict[str, Inode | Folder | None]") -> None:
    for name, target in change.items():
        if target is None:
            entries.pop(name, None)
        else:
            entries[name] = target


def _touches(change: tuple[int, int, bytes | None], offset: int, length: int) -> bool:
    _, at, data = change
    return at < offset + length and (data is None or at + len(data) > offset)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write `data` at `offset`, or without data make `offset` the size."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


@dataclass(slots=True, kw_only=True)
class Health:
    """What is wrong with a machine's medium. Times in seconds."""

    sync_s: tuple[float, float] = (0.0003, 0.004)
    #: Of a sync being fifty times as slow.
    hiccup: float = 0.003
    slowness: float = 1.0
    full: bool = False
    #: The next sync fails.
    sync_fails: bool = False


class Medium:
    """One disk of a machine: it outlives processes and, in part, power cuts."""

    def __init__(self, seed: int) -> None:
        self.root = Folder()
        self.health = Health()
        self.syncs = 0
        self._random = random.Random(seed)

    def lose_power(self) -> None:
        self.root.lose_power(self._random)

    def sync_delay_s(self) -> float:
        health = self.health
        hiccup = 50 if self._random.random() < health.hiccup else 1
        return self._random.uniform(*health.sync_s) * health.slowness * hiccup

    def partial(self, length: int) -> int:
        """How much of a write a full disk takes."""
        return self._random.randint(0, max(0, length - 1))

    def find(self, path: str) -> Inode | Folder | None:
        """What is at `path` as programs see it."""
        node: Inode | Folder | None = self.root
        for part in path.split("/") if path else []:
            if not isinstance(node, Folder):
                return None
            node = node.entries.get(part)
        return node

    def content(self, path: str, offset: int) -> bytes:
        """The bytes from `offset` on of the file at `path`, as programs see it; none where there is no such file."""
        node = self.find(path)
        return bytes(node.content[offset:]) if isinstance(node, Inode) else b""

    def durable(self, path: str, offset: int, length: int) -> bytes:
        """The bytes of the file at `path` that a power cut cannot touch; none where some of them are in question."""
        node: Inode | Folder | None = self.root
        for part in path.split("/"):
            if not isinstance(node, Folder):
                return b""
            node = node.durable.get(part)
        if not isinstance(node, Inode) or any(_touches(change, offset, length) for change in node.pending):
            return b""
        return bytes(node.durable[offset : offset + length])


class SimFile:
    """An open file of one process."""

    def __init__(self, disk: "SimDisk", path: str, inode: Inode) -> None:
        self.path = path
        self._disk = disk
        self._inode = inode
        self._is_open = True
        self._holds_lock = False

    def size(self) -> int:
        return len(self._used().content)

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(self._used().content[offset : offset + length])

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        inode = self._used()
        self._disk.on_change()
        data = b"".join(buffers)
        medium = self._disk.medium
        if medium.health.full and offset + len(data) > len(inode.content):
            fits = medium.partial(len(data))
            if fits:
                inode.change(offset, data[:fits])
            raise OSError(errno.ENOSPC, "no space left on device", self.path)
        if data:
            inode.change(offset, data)
        return len(data)

    def truncate(self, size: int) -> None:
        inode = self._used()
        self._disk.on_change()
        if size != len(inode.content):
            inode.change(size, None)

    def sync(self) -> None:
        inode = self._used()
        self._disk.on_change()
        self._sync(inode, inode.changes)

    async def sync_async(self) -> None:
        inode = self._used()
        self._disk.on_change()
        up_to = inode.changes
        await asyncio.sleep(self._disk.medium.sync_delay_s())
        self._sync(inode, up_to)

    def close(self) -> None:
        self._is_open = False
        if self._holds_lock:
            self._holds_lock = False
            self._inode.is_locked = False

    def take_lock(self) -> None:
        inode = self._inode
        if inode.is_locked and (inode.lock is None or inode.lock.alive):
            raise BlockingIOError(errno.EWOULDBLOCK, "the lock is held", self.path)
        inode.is_locked, inode.lock = True, self._disk.process
        self._holds_lock = True

    def _sync(self, inode: Inode, up_to: int) -> None:
        medium = self._disk.medium
        medium.syncs += 1
        if medium.health.sync_fails:
            medium.health.sync_fails = False
            raise OSError(errno.EIO, "input/output error", self.path)
        inode.sync(up_to)

    def _used(self) -> Inode:
        self._disk.check_alive()
        if not self._is_open:
            raise OSError(errno.EBADF, "the file is closed", self.path)
        return self._inode


class SimDisk:
    """A `Disk`: `medium` as one process sees it. Once the process is dead, touching it raises ProcessExit."""

    def __init__(self, medium: Medium, process: Process | None = None) -> None:
        self.medium = medium
        self.process = process
        #: Changes after which `on_countdown` is called, which may end the process; None: never.
        self.countdown: int | None = None

    def check_alive(self) -> None:
        if self.process is not None and not self.process.alive:
            raise ProcessExit

    def on_change(self) -> None:
        """Called before each change; the process may die here, with the change not made."""
        if self.countdown is not None and self.process is not None:
            self.countdown -= 1
            if self.countdown <= 0:
                self.countdown = None
                self.process.crash()
        self.check_alive()

    # Disk

    def open(self, path: str, *, create: bool = False) -> SimFile:
        folder, name = self._parent(path)
        node = folder.entries.get(name)
        if node is None and create:
            self.on_change()
            node = Inode()
            folder.change({name: node})
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, "is a folder", path)
        return SimFile(self, path, node)

    def lock(self, path: str) -> SimFile:
        file = self.open(path, create=True)
        file.take_lock()
        return file

    def exists(self, path: str) -> bool:
        return self._find(path) is not None

    def listdir(self, path: str) -> list[str]:
        return sorted(self._folder(path).entries)

    def is_dir(self, path: str) -> bool:
        return isinstance(self._find(path), Folder)

    def mkdir(self, path: str) -> None:
        folder = self.medium.root
        for part in _parts(path):
            node = folder.entries.get(part)
            if node is None:
                self.on_change()
                node = Folder()
                folder.change({part: node})
            if not isinstance(node, Folder):
                raise FileExistsError(errno.EEXIST, "is a file", path)
            folder = node

    def rename(self, source: str, target: str) -> None:
        folder, name = self._parent(source)
        target_folder, target_name = self._parent(target)
        node = folder.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", source)
        self.on_change()
        if folder is target_folder:
            folder.change({name: None, target_name: node})
        else:
            target_folder.change({target_name: node})
            folder.change({name: None})

    def unlink(self, path: str) -> None:
        folder, name = self._parent(path)
        if not isinstance(folder.entries.get(name), Inode):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self.on_change()
        folder.change({name: None})

    def rmdir(self, path: str) -> None:
        folder, name = self._parent(path)
        if self._folder(path).entries:
            raise OSError(errno.ENOTEMPTY, "folder not empty", path)
        self.on_change()
        folder.change({name: None})

    def fsync_dir(self, path: str) -> None:
        folder = self._folder(path)
        self.on_change()
        folder.sync()

    def free_bytes(self) -> int:
        return 0 if self.medium.health.full else 1 << 40

    def _parent(self, path: str) -> tuple[Folder, str]:
        parts = _parts(path)
        return self._folder("/".join(parts[:-1])), parts[-1]

    def _folder(self, path: str) -> Folder:
        node = self._find(path)
        if not isinstance(node, Folder):
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        return node

    def _find(self, path: str) -> Inode | Folder | None:
        self.check_alive()
        if path:
            _parts(path)
        return self.medium.find(path)


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    assert not any(part in ("", ".", "..") for part in parts), f"path leaves the disk: {path!r}"
    return parts
