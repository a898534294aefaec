"""The commands that run nodes: `serve`, `up`, `down` and `node ...`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

SET_HELP = "A key of server.properties, as key=value; may be repeated."
FOLDER = click.Path(path_type=Path)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn the errors of configuration and of local clusters into a sentence and exit code 1."""
    from cluster.config.values import ConfigError
    from node.local_cluster import ClusterError
    from node.node_lock import NodeRunning

    try:
        yield
    except BrokenPipeError:
        # Whoever reads what is printed has gone; click knows what to do.
        raise
    except (ClusterError, ConfigError, NodeRunning) as error:
        raise click.ClickException(f"{what}: {error}") from None
    except OSError as error:
        # A sentence of ours, or the system's word and the file that it is about.
        file = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{what}: {file}{error.strerror or error}") from None


@click.command()
@click.option("-c", "--config", "file", type=FOLDER, help="The node's server.properties.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=SET_HELP)
def serve(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Run one node in the foreground, until SIGTERM or Ctrl-C.

    Without a file the node is a cluster of its own on 127.0.0.1:9092, with its data in ./blumfeld-data.

    \b
      blumfeld serve -c server.properties
      blumfeld serve -c server.properties --set broker.rack=b
    """
    from node.serving import serve_node

    with _telling("this node cannot start"):
        sys.exit(serve_node(file, assignments))


@click.command()
@click.option("-n", "--nodes", type=click.IntRange(1, 99), help="Nodes of a new cluster.  [default: 3]")
@click.option("--dir", "folder", type=FOLDER, help="Where it lives; without it a temporary folder.")
@click.option(
    "--port", type=click.IntRange(1, 65000), help="Port of the first node; the others follow.  [default: 19092]"
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=SET_HELP)
@click.option("--detach", is_flag=True, help="Return when the cluster is up, and leave it running.")
def up(nodes: int | None, folder: Path | None, port: int | None, assignments: tuple[str, ...], detach: bool) -> None:
    """Start a cluster on this machine; Ctrl-C stops it.

    Every node is a controller and a broker. On a folder that holds a cluster already, that cluster is started again
    with all of its data.

    \b
      blumfeld up                        three nodes on 127.0.0.1:19092-19094, gone afterwards
      blumfeld up --dir lab --detach     three nodes that stay, until: blumfeld down --dir lab
      blumfeld up -n 1 --set num.partitions=6
    """
    from node.up import bring_up

    with _telling("the cluster cannot start"):
        sys.exit(bring_up(nodes, folder, port, assignments, detach=detach))


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65000), help="Port of the first node; the others follow.  [default: 19092]"
)
def demo(port: int | None) -> None:
    """Show a failover: three nodes, a load, the leader killed with kill -9, and an account of what was lost."""
    from node.demo import DemoFailed, run_demo

    with _telling("the demo failed"):
        try:
            sys.exit(run_demo(port))
        except (DemoFailed, TimeoutError) as error:
            raise click.ClickException(f"the demo failed: {error or 'the cluster took too long'}") from None


@click.command()
@click.option("--dir", "folder", type=FOLDER, required=True, help="The cluster's folder.")
def down(folder: Path) -> None:
    """Stop every node of a local cluster and keep its data."""
    from node.local_cluster import load, stop_all

    with _telling("the cluster cannot be stopped"):
        cluster = load(folder)
        running = [node.node_id for node in cluster.nodes if node.pid is not None]
        killed = stop_all(cluster)
        cluster.save()
    for node_id in running:
        click.echo(f"node {node_id} " + ("did not stop in time and was killed" if node_id in killed else "stopped"))
    if not running:
        click.echo("no node was running")


@click.group()
def node() -> None:
    """Kill, stop, start, pause and resume nodes of a local cluster, and watch what the others do."""


_NODE_ID = click.argument("node_id", metavar="N", type=int)
_DIR = click.option("--dir", "folder", type=FOLDER, required=True, help="The cluster's folder.")


@node.command()
@_NODE_ID
@_DIR
def kill(node_id: int, folder: Path) -> None:
    """Kill node N with SIGKILL, all of its processes: what a crash does."""
    _signal(node_id, folder, signal.SIGKILL, "killed", wait=True)


@node.command()
@_NODE_ID
@_DIR
def stop(node_id: int, folder: Path) -> None:
    """Stop node N the orderly way: its leaderships move first."""
    _signal(node_id, folder, signal.SIGTERM, "stopped", wait=True)


@node.command()
@_NODE_ID
@_DIR
def pause(node_id: int, folder: Path) -> None:
    """Freeze node N with SIGSTOP: it keeps its connections and answers nothing."""
    _signal(node_id, folder, signal.SIGSTOP, "paused", wait=False)


@node.command()
@_NODE_ID
@_DIR
def resume(node_id: int, folder: Path) -> None:
    """Let a paused node N go on."""
    _signal(node_id, folder, signal.SIGCONT, "resumed", wait=False)


@node.command()
@_NODE_ID
@_DIR
def start(node_id: int, folder: Path) -> None:
    """Start node N again, with the data that it had."""
    from node.local_cluster import load
    from node.up import start_nodes

    with _telling(f"node {node_id} cannot start"):
        cluster = load(folder)
        seconds = start_nodes(cluster, [cluster.node(node_id)])
        cluster.save()
    click.echo(f"node {node_id} started in {seconds:.2f} s")


def _signal(node_id: int, folder: Path, number: signal.Signals, done: str, *, wait: bool) -> None:
    from node.local_cluster import ClusterError, load, signal_node, wait_until_down

    with _telling(f"node {node_id} was not {done}"):
        cluster = load(folder)
        found = cluster.node(node_id)
        signal_node(found, number, whole_group=number is not signal.SIGTERM)
        if wait and not wait_until_down(found, 30.0):
            raise ClusterError(f"its processes still run after 30 s; see {found.log_file}")
        cluster.save()
    click.echo(f"node {node_id} {done}")
