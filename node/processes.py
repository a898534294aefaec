"""Child processes made by fork, after everything was imported once.

A fork shares the parent's memory until it writes to it, so a node's processes cost a few megabytes each instead of
forty, and start in milliseconds. For that to be sound nothing may have started a thread, an event loop or a gRPC object
before the fork: parents here are single-threaded and do nothing but start, watch and stop their children.
"""

import ctypes
import gc
import logging
import os
import select
import signal
import sys
from collections.abc import Callable

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

#: How a role ends that must not run, having said why.
EXIT_REFUSED = 3

#: Signals that a parent takes over; a child gets the default action back.
_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def prepare_to_fork() -> None:
    """Call once, after the imports and before the first fork: what exists now is never collected, and stays shared."""
    gc.collect()
    gc.freeze()


def fork(name: str, main: Callable[[], int], *, parent_death_signal: int | None, new_group: bool = False) -> int:
    """Run `main` in a child and exit with its result; returns the child's pid.

    `parent_death_signal` is sent to the child when this process dies, however it dies (Linux; elsewhere nothing is).
    `new_group` makes the child the leader of a process group of its own, so that it and its children are signalled
    together.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        if new_group:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for watched in _WATCHED:
            signal.signal(watched, signal.SIG_DFL)
        _set_name(name)
        if parent_death_signal is not None:
            _prctl(_PR_SET_PDEATHSIG, parent_death_signal)
            if os.getppid() != parent:
                os._exit(0)
        code = main()
    except BaseException:
        log.critical("%s failed", name, exc_info=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: nothing of the parent that the child inherited may be unwound here.
        os._exit(code)


class SignalQueue:
    """Takes over this process's termination and child signals and hands them out one at a time."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for watched in _WATCHED:
            signal.signal(watched, lambda number, frame: None)

    def wait(self, timeout_s: float) -> int | None:
        """The next signal, None after `timeout_s`."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, timeout_s))
        return os.read(self._read, 1)[0] if ready else None


def reap() -> list[tuple[int, int]]:
    """(pid, exit code) of children that ended since the last call; a negative code is the signal that killed it."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def describe_exit(code: int) -> str:
    """ "exit code 3", "killed by SIGKILL"."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _set_name(name: str) -> None:
    """What `ps` and `top` show, at most 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def _prctl(option: int, argument: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)
