"""Open files of sealed segments: few of them, the least recently used is closed first.

Owns the limit. Never holds the file that is being written, and never syncs.
"""

from collections import OrderedDict
from typing import Final

from cluster.seams import Disk, File

#: Per log directory; a lookup in a sealed segment needs up to three at a time.
OPEN_FILES_MAX: Final = 256


class FileCache:
    """Files of one disk by path. What `get` returns may be closed by the next `get`: use it and let go."""

    def __init__(self, disk: Disk, capacity: int = OPEN_FILES_MAX) -> None:
        assert capacity >= 4
        self.disk = disk
        self._capacity = capacity
        self._files: OrderedDict[str, File] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def get(self, path: str) -> File:
        """Raises FileNotFoundError when there is no such file."""
        file = self._files.get(path)
        if file is not None:
            self._files.move_to_end(path)
            return file
        file = self.disk.open(path)
        self._files[path] = file
        if len(self._files) > self._capacity:
            self._files.popitem(last=False)[1].close()
        return file

    def discard(self, path: str) -> None:
        """Close the file before its name goes to another file or away."""
        file = self._files.pop(path, None)
        if file is not None:
            file.close()

    def discard_folder(self, folder: str) -> None:
        """Close every file in `folder` before it goes away."""
        for path in [path for path in self._files if path.startswith(f"{folder}/")]:
            self.discard(path)

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()
