"""What processes use: processor time and memory, as Linux tells of them in /proc. Elsewhere nothing is known.

Owns finding the processes of a node and adding up. Never starts or stops one.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


class Stat(NamedTuple):
    """Part of /proc/PID/stat."""

    process_group: int
    cpu_s: float


def processes_of(groups: Iterable[int]) -> tuple[int, ...]:
    """Every process that belongs to one of the process groups, or has one of the ids."""
    wanted = set(groups)
    found = []
    for path in _PROC.glob("[0-9]*"):
        pid = int(path.name)
        stat = _stat(pid)
        if stat is not None and (pid in wanted or stat.process_group in wanted):
            found.append(pid)
    return tuple(sorted(found))


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time that the processes have used so far, in seconds."""
    return sum(stat.cpu_s for stat in map(_stat, pids) if stat is not None)


def memory_mb(pids: Iterable[int]) -> float:
    """Proportional memory (PSS: a page shared by n processes counts as 1/n in each) in MB of 2^20 bytes."""
    total_kb = 0
    for pid in pids:
        try:
            found = _PSS.search((_PROC / str(pid) / "smaps_rollup").read_bytes())
        except OSError:
            continue
        total_kb += int(found[1]) if found else 0
    return total_kb / 1024


def _stat(pid: int) -> Stat | None:
    """None for a process that is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program stands in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[2]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
