"""A cluster of nodes on this machine, below one folder: its files, its ports, and what one can do to a node.

DIR/cluster.json            cluster_id, bootstrap_servers, nodes
DIR/node-N/server.properties, node.log, data/
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.config.node import NodeConfig, node_config
from cluster.config.properties import BrokerProperties, parse_properties, render_properties
from node import node_lock

CLUSTER_FILE = "cluster.json"
HOST = "127.0.0.1"
#: Client port of the first node of a cluster that names none.
DEFAULT_PORT = 19092
#: A controller listens this far above its node's client port.
CONTROLLER_PORT_OFFSET = 100
NODES_MAX = 99


class ClusterError(Exception):
    """What the user asked for cannot be done; the text says what, why and what to do."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a local cluster."""

    node_id: int
    port: int
    folder: Path

    @property
    def properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log_file(self) -> Path:
        return self.folder / "node.log"

    @property
    def pid(self) -> int | None:
        """Process group of the running node, None when it does not run."""
        return node_lock.owner(self.folder / "data")

    def config(self) -> NodeConfig:
        source = str(self.properties_file)
        return node_config(BrokerProperties.of(parse_properties(self.properties_file.read_text(), source)))


@dataclass(frozen=True, slots=True)
class LocalCluster:
    folder: Path
    cluster_id: str
    nodes: tuple[LocalNode, ...]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def node(self, node_id: int) -> LocalNode:
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise ClusterError(f"there is no node {node_id} in {self.folder}; it has nodes 1 to {len(self.nodes)}")

    def save(self) -> None:
        """Write cluster.json with the pids of this moment."""
        content = {
            "cluster_id": self.cluster_id,
            "bootstrap_servers": self.bootstrap_servers,
            "nodes": [
                {
                    "id": node.node_id,
                    "pid": node.pid,
                    "host": HOST,
                    "port": node.port,
                    "dir": str(node.folder),
                }
                for node in self.nodes
            ],
        }
        temporary = self.folder / f".{CLUSTER_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(self.folder / CLUSTER_FILE)


def create(folder: Path, nodes: int, port: int, cluster_id: str, settings: Mapping[str, str]) -> LocalCluster:
    """Lay out the files of a new cluster. Raises ClusterError when `settings` or the ports cannot be."""
    if not 1 <= nodes <= NODES_MAX or port + CONTROLLER_PORT_OFFSET + nodes > 65535:
        raise ClusterError(f"a cluster has 1 to {NODES_MAX} nodes, on ports up to 65535")
    cluster = LocalCluster(
        folder,
        cluster_id,
        tuple(LocalNode(i, port + i - 1, folder / f"node-{i}") for i in range(1, nodes + 1)),
    )
    for node in cluster.nodes:
        (node.folder / "data").mkdir(parents=True, exist_ok=True)
        _write_properties(node, _base_properties(cluster, node) | dict(settings))
    cluster.save()
    return cluster


def load(folder: Path) -> LocalCluster:
    """The cluster that `folder` holds. Raises ClusterError when there is none."""
    path = folder / CLUSTER_FILE
    try:
        content = json.loads(path.read_text())
        nodes = tuple(LocalNode(node["id"], node["port"], folder / f"node-{node['id']}") for node in content["nodes"])
        return LocalCluster(folder, content["cluster_id"], nodes)
    except FileNotFoundError:
        raise ClusterError(f"{folder} holds no cluster; make one with: blumfeld up --dir {folder}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{path} is not what `blumfeld up` writes: {error!r}") from None


def reconfigure(cluster: LocalCluster, settings: Mapping[str, str]) -> None:
    """Set keys in every node's server.properties."""
    for node in cluster.nodes:
        current = parse_properties(node.properties_file.read_text(), str(node.properties_file))
        _write_properties(node, current | dict(settings))


def _base_properties(cluster: LocalCluster, node: LocalNode) -> dict[str, str]:
    voters = ",".join(f"{n.node_id}@{HOST}:{n.port + CONTROLLER_PORT_OFFSET}" for n in cluster.nodes)
    replicas = min(3, len(cluster.nodes))
    return {
        "node.id": str(node.node_id),
        "process.roles": "controller,broker",
        "blumfeld.cluster.id": cluster.cluster_id,
        "listeners": f"PLAINTEXT://{HOST}:{node.port},CONTROLLER://{HOST}:{node.port + CONTROLLER_PORT_OFFSET}",
        "controller.quorum.voters": voters,
        "log.dir": str(node.folder / "data"),
        "default.replication.factor": str(replicas),
        "min.insync.replicas": "2" if replicas == 3 else "1",
    }


def _write_properties(node: LocalNode, values: Mapping[str, str]) -> None:
    """Raises ConfigError when a value cannot be used."""
    node_config(BrokerProperties.of(values))
    node.properties_file.write_text(render_properties(values))


# What one can do to a node.


def start_node(node: LocalNode) -> "subprocess.Popen[bytes]":
    """Start a node as a process of its own that outlives this one; returns before it is ready.

    Raises ClusterError when it runs already.
    """
    if node.pid is not None:
        raise ClusterError(f"node {node.node_id} runs already (pid {node.pid})")
    with node.log_file.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "node.main", "serve", "-c", str(node.properties_file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def signal_node(node: LocalNode, number: signal.Signals, *, whole_group: bool) -> None:
    """Raises ClusterError when the node does not run."""
    pid = node.pid
    if pid is None:
        raise ClusterError(f"node {node.node_id} does not run; start it with: blumfeld node start {node.node_id}")
    if whole_group:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def wait_until_down(node: LocalNode, timeout_s: float) -> bool:
    """Whether every process of the node ended in time."""
    deadline = time.monotonic() + timeout_s
    while node.pid is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def stop_all(cluster: LocalCluster, timeout_s: float = 30.0) -> list[int]:
    """Ask every running node to stop, together, and wait; returns the ids of those that had to be killed."""
    running = [node for node in cluster.nodes if node.pid is not None]
    for node in running:
        try:
            # A paused node cannot stop.
            signal_node(node, signal.SIGCONT, whole_group=True)
            signal_node(node, signal.SIGTERM, whole_group=False)
        except (ClusterError, ProcessLookupError):
            continue
    killed = []
    deadline = time.monotonic() + timeout_s
    for node in running:
        if not wait_until_down(node, max(0.1, deadline - time.monotonic())):
            signal_node(node, signal.SIGKILL, whole_group=True)
            killed.append(node.node_id)
    return killed
