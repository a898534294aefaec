"""Runs one node: reads its configuration, takes its folder, imports everything once, and forks its roles."""

import importlib
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from cluster.config.node import NodeConfig, node_config
from cluster.config.properties import BrokerProperties, parse_assignments, parse_properties
from cluster.config.values import ConfigError
from cluster.host.disk import HostDisk
from cluster.ids import Endpoint
from node import node_lock
from node.logs import set_up_logging
from node.processes import prepare_to_fork

log = logging.getLogger(__name__)


def serve_node(file: Path | None, assignments: Sequence[str]) -> int:
    """Run the node until it is told to stop; returns its exit code. Raises ConfigError, NodeRunning and OSError."""
    values: dict[str, str] = {}
    if file is not None:
        try:
            values = parse_properties(file.read_text(), str(file))
        except FileNotFoundError:
            raise ConfigError(f"there is no file {file}") from None
    values |= parse_assignments(assignments)
    config = node_config(BrokerProperties.of(values))
    set_up_logging(f"node-{config.node_id}")
    load_roles()
    prepare_to_fork()
    return run_node(config)


def load_roles() -> None:
    """Import what the children will need, so that they share it."""
    importlib.import_module("node.roles")


def run_node(config: NodeConfig) -> int:
    """Be the parent process of one node; the roles must have been loaded. Raises ConfigError, NodeRunning, OSError."""
    from node.roles import run_broker, run_controller
    from node.supervisor import Supervisor

    for warning in config.properties.warnings:
        log.warning("%s", warning)
    lock = _take_folder(config)
    try:
        check_ports(config)
        return Supervisor(config, run_controller, run_broker).run()
    finally:
        os.close(lock)


def _take_folder(config: NodeConfig) -> int:
    """Own the log directory; returns the lock. Raises ConfigError and NodeRunning.

    Whose it is must be known before any role starts: a controller with the journal of another cluster would vote.
    """
    from broker.log.log_dir import WrongDirectory, check_owner

    try:
        os.makedirs(config.log_dir, exist_ok=True)
        lock = node_lock.take(Path(config.log_dir))
        try:
            check_owner(HostDisk(config.log_dir), cluster_id=config.cluster_id, node_id=config.node_id)
        except BaseException:
            os.close(lock)
            raise
    except WrongDirectory as error:
        raise ConfigError(f"log.dir={config.log_dir}: {error}") from None
    except OSError as error:
        raise ConfigError(f"log.dir={config.log_dir} cannot be used: {error.strerror}") from None
    return lock


def check_ports(config: NodeConfig) -> None:
    """Raises OSError that names the first port that is taken, before anything is started."""
    wanted = [(listener.advertised.name, listener.bind) for listener in config.listeners]
    if config.controller_bind is not None:
        wanted.append(("CONTROLLER", config.controller_bind))
    for name, endpoint in wanted:
        check_port(name, endpoint)


def check_port(name: str, endpoint: Endpoint) -> None:
    """Raises OSError when listener `name` cannot have `endpoint`."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            sentence = f"listener {name} cannot have {endpoint}: {error.strerror}; stop what listens there"
            raise OSError(error.errno, sentence + ", or choose another port") from None
