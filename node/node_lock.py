"""The lock by which a running node owns its folder; it also tells others the node's process group."""

import fcntl
import os
import time
from pathlib import Path

LOCK_FILE = "node.lock"

#: Somebody who asks `owner` holds the lock for an instant.
_ATTEMPTS = 20
_PAUSE_S = 0.01


class NodeRunning(Exception):
    """Another process runs a node on this folder."""


def take(folder: Path) -> int:
    """Own `folder` until this process and every child of it have ended; returns the descriptor that must stay open.

    Raises NodeRunning.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    else:
        os.close(descriptor)
        raise NodeRunning(f"a node runs on {folder} already (pid {owner(folder)})")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def owner(folder: Path) -> int | None:
    """Pid, which is also the process group, of the node that runs on `folder`; None when none does."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None
