"""The processes of a node, seen from outside (Linux)."""

from pathlib import Path


def roles(node_pid: int) -> dict[str, int]:
    """Name -> pid of a node's children, such as broker-1."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" (", 1)
        except OSError:
            continue
        name, fields = rest.rsplit(") ", 1)
        state, parent = fields.split()[:2]
        if int(parent) == node_pid and state != "Z":
            found[name] = int(pid)
    return found


def is_running(pid: int) -> bool:
    """A process that ended and was not waited for yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no memory")
