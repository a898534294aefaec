"""`blumfeld up`: makes or finds a local cluster, forks its nodes, waits until clients can use it, and watches it."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from cluster.config.properties import parse_assignments
from cluster.host.rng import SystemRng
from cluster.ids import format_uuid
from node.local_cluster import (
    CLUSTER_FILE,
    DEFAULT_PORT,
    HOST,
    ClusterError,
    LocalCluster,
    LocalNode,
    create,
    load,
    reconfigure,
    start_node,
    stop_all,
)
from node.logs import set_up_logging
from node.processes import SignalQueue, describe_exit, fork, prepare_to_fork, reap
from node.readiness import brokers_seen_by
from node.serving import check_ports, load_roles, run_node

DEFAULT_NODES = 3
#: How long a cluster may take until clients can use it.
READY_S = 30.0
#: Lines at the end of a node's log in which the reason of its end is looked for.
LOG_LINES_MAX = 50


def bring_up(
    nodes: int | None, folder: Path | None, port: int | None, assignments: Sequence[str], *, detach: bool
) -> int:
    """The whole command; returns its exit code. Raises ClusterError and ConfigError."""
    began = time.monotonic()
    if detach and folder is None:
        raise ClusterError("a cluster that is left running needs a folder to be found again: add --dir DIR")
    with ExitStack() as stack:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="blumfeld-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = _find_or_create(folder.absolute(), nodes, port, parse_assignments(assignments))
        for node in cluster.nodes:
            check_ports(node.config())
        signals = SignalQueue()
        pids = _fork_nodes(cluster, detach=detach)
        try:
            wait_until_served(cluster, cluster.nodes, lambda node: os.waitpid(pids[node], os.WNOHANG)[0] != 0)
        except ClusterError:
            stop_all(cluster, 5.0)
            raise
        cluster.save()
        count = len(cluster.nodes)
        click.echo(f"{count} node{'s are' if count > 1 else ' is'} up after {time.monotonic() - began:.2f} s")
        click.echo(f"bootstrap servers: {cluster.bootstrap_servers}")
        if detach:
            click.echo(f"stop them with: blumfeld down --dir {folder}")
            return 0
        click.echo("Ctrl-C stops them")
        _watch(cluster, pids, signals)
        return 0


def wait_until_served(
    cluster: LocalCluster, nodes: Sequence[LocalNode], has_ended: Callable[[LocalNode], bool]
) -> float:
    """Return when each of `nodes` is in service and knows it; the seconds that it took. Raises ClusterError.

    `has_ended` says whether the process that was started for a node is gone already.
    """
    began = time.monotonic()
    waiting = list(nodes)
    expected = frozenset(node.node_id for node in nodes)
    while waiting := [n for n in waiting if not expected <= brokers_seen_by(HOST, n.port, cluster.cluster_id)]:
        for node in waiting:
            if has_ended(node):
                raise ClusterError(f"node {node.node_id} ended at once; {node.log_file} says\n{_tail(node)}")
        if time.monotonic() - began > READY_S:
            ids = ", ".join(str(node.node_id) for node in waiting)
            raise ClusterError(f"node {ids} is not in service after {READY_S:.0f} s; see {waiting[0].log_file}")
        time.sleep(0.01)
    return time.monotonic() - began


def start_nodes(cluster: LocalCluster, nodes: Sequence[LocalNode]) -> float:
    """Start nodes that are down and wait until they are in service; the seconds that it took. Raises ClusterError."""
    processes = {node: start_node(node) for node in nodes}
    return wait_until_served(cluster, nodes, lambda node: processes[node].poll() is not None)


def _tail(node: LocalNode) -> str:
    """The last lines of the node's log that say why it ended; if none does, the last lines."""
    try:
        lines = node.log_file.read_text(errors="replace").splitlines()[-LOG_LINES_MAX:]
    except OSError:
        return "  (there is none)"
    reasons = [line for line in lines if " CRITICAL " in line or "cannot start" in line]
    return "\n".join("  " + line for line in (reasons[-2:] or lines[-5:]))


def _find_or_create(folder: Path, nodes: int | None, port: int | None, settings: dict[str, str]) -> LocalCluster:
    if not (folder / CLUSTER_FILE).exists():
        cluster_id = format_uuid(SystemRng().uuid())
        return create(folder, nodes or DEFAULT_NODES, port or DEFAULT_PORT, cluster_id, settings)
    cluster = load(folder)
    if nodes not in (None, len(cluster.nodes)):
        raise ClusterError(f"{folder} holds a cluster of {len(cluster.nodes)} nodes, not {nodes}; leave -n out")
    if port not in (None, cluster.nodes[0].port):
        raise ClusterError(f"{folder} holds a cluster on port {cluster.nodes[0].port}, not {port}; leave --port out")
    running = [str(node.node_id) for node in cluster.nodes if node.pid is not None]
    if running:
        raise ClusterError(f"node {', '.join(running)} runs already; stop it with: blumfeld down --dir {folder}")
    if settings:
        reconfigure(cluster, settings)
    click.echo(f"starting the cluster that {folder} holds")
    return cluster


def _fork_nodes(cluster: LocalCluster, *, detach: bool) -> dict[LocalNode, int]:
    """The pids."""
    load_roles()
    prepare_to_fork()
    return {
        node: fork(
            f"node-{node.node_id}",
            partial(_node_main, node),
            parent_death_signal=None if detach else signal.SIGTERM,
            new_group=True,
        )
        for node in cluster.nodes
    }


def _node_main(node: LocalNode) -> int:
    """What the forked process of one node does."""
    output = os.open(node.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)
    set_up_logging(f"node-{node.node_id}")
    try:
        return run_node(node.config())
    except Exception as error:
        print(f"node {node.node_id} cannot start: {error}", file=sys.stderr)
        return 1


def _watch(cluster: LocalCluster, pids: dict[LocalNode, int], signals: SignalQueue) -> None:
    """Tell of nodes that end, until a signal asks to stop."""
    nodes = {pid: node for node, pid in pids.items()}
    while True:
        received = signals.wait(60.0)
        for pid, code in reap():
            node = nodes.pop(pid, None)
            if node is not None and node.pid is None:
                click.echo(
                    f"node {node.node_id} ended ({describe_exit(code)}); "
                    f"start it again with: blumfeld node start {node.node_id} --dir {cluster.folder}"
                )
        if received in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            click.echo("stopping")
            for node_id in stop_all(cluster):
                click.echo(f"node {node_id} did not stop in time and was killed")
            return
