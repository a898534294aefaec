"""One node: a parent process that starts its roles as children and keeps them together.

The controller and the broker are processes of their own so that neither's work delays the other's heartbeats. None of
them outlives the parent. A controller that dies is started again, from its journal; a broker that dies takes the node
down with it, as it may have died because its disk failed, and says why in its log.
"""

import logging
import os
import signal
from collections.abc import Callable
from time import monotonic, sleep

from cluster.config.node import NodeConfig
from node.processes import EXIT_REFUSED, SignalQueue, describe_exit, fork, reap

log = logging.getLogger(__name__)

#: A controller that dies more often than this within a minute stops the node.
CONTROLLER_RESTARTS_PER_MINUTE = 5
#: Pause before a controller is started again.
CONTROLLER_RESTART_S = 0.1
#: How long each role may take to stop by itself.
BROKER_STOP_S = 20.0
CONTROLLER_STOP_S = 5.0

RoleMain = Callable[[NodeConfig], int]


class Supervisor:
    """`controller_main` and `broker_main` run in the children; they return the exit code of their process."""

    def __init__(self, config: NodeConfig, controller_main: RoleMain, broker_main: RoleMain) -> None:
        self._config = config
        self._controller_main = controller_main
        self._broker_main = broker_main
        self._controller: int | None = None
        self._broker: int | None = None
        self._restarts: list[float] = []
        self._signals = SignalQueue()

    def run(self) -> int:
        """Start the roles and watch them until a signal or a failure; returns the node's exit code."""
        if self._config.is_controller:
            self._start_controller()
        if self._config.is_broker:
            self._broker = self._fork("broker", self._broker_main)
        while True:
            received = self._signals.wait(1.0)
            if received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                log.info("node %d stops: %s", self._config.node_id, signal.Signals(received).name)
                self._stop()
                return 0
            for pid, code in reap():
                failure = self._on_exit(pid, code)
                if failure is not None:
                    log.critical("node %d stops: %s", self._config.node_id, failure)
                    self._stop()
                    return 1

    def _fork(self, role: str, main: RoleMain) -> int:
        config = self._config
        name = f"{role}-{config.node_id}"
        return fork(name, lambda: main(config), parent_death_signal=signal.SIGKILL)

    def _start_controller(self) -> None:
        self._controller = self._fork("controller", self._controller_main)

    def _on_exit(self, pid: int, code: int) -> str | None:
        """Why the node must stop, None when it goes on."""
        if pid == self._broker:
            self._broker = None
            if code == EXIT_REFUSED:
                return "its broker must not run, for the reason that it gave above"
            return f"its broker ended with {describe_exit(code)}"
        if pid != self._controller:
            return None
        self._controller = None
        if code == EXIT_REFUSED:
            return "its controller must not run, for the reason that it gave above"
        now = monotonic()
        self._restarts = [at for at in self._restarts if at > now - 60.0]
        if len(self._restarts) >= CONTROLLER_RESTARTS_PER_MINUTE:
            return (
                f"its controller ended with {describe_exit(code)}, for the {len(self._restarts) + 1}th time in a minute"
            )
        self._restarts.append(now)
        log.error("controller %d ended with %s and is started again", self._config.node_id, describe_exit(code))
        sleep(CONTROLLER_RESTART_S)
        self._start_controller()
        return None

    def _stop(self) -> None:
        """The broker first: it needs the controllers to hand its leaderships over."""
        self._end(self._broker, BROKER_STOP_S, "broker")
        self._end(self._controller, CONTROLLER_STOP_S, "controller")
        self._broker = self._controller = None

    def _end(self, pid: int | None, patience_s: float, role: str) -> None:
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = monotonic() + patience_s
        while monotonic() < deadline:
            ended = [found for found, _ in reap()]
            if self._controller in ended:
                self._controller = None
            if pid in ended:
                return
            self._signals.wait(min(0.5, deadline - monotonic()))
        log.error("the %s did not stop in %.0f s and is killed", role, patience_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
