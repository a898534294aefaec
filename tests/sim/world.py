"""Machines with a controller and a broker each, as production has them, on the simulated seams.

Owns starting, stopping, killing and restarting them, and what counts as an end that nobody had reason for: a server
that refuses to start, a task that fails, a fail-stop without a fault of the disk. Injects nothing by itself.
"""

import asyncio
import errno
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from broker.server import BrokerServer, StartRefused
from cluster.config.node import NodeConfig, node_config
from cluster.config.properties import BrokerProperties
from cluster.ids import Endpoint, Uuid, format_uuid
from cluster.seams import NetError, StateMachine
from controller.raft.barrier import StorageCorrupt, StorageFailed
from controller.raft.quorum import PySyncObjQuorum
from controller.raft.settings import RaftSettings
from controller.server import ControllerServer
from tests.sim.disk import Medium, SimDisk
from tests.sim.host import SimClock, SimRng, SimSpawner
from tests.sim.invariants import ObservedMachine, Observer
from tests.sim.loop import Process, ProcessExit, SimLoop, Violation
from tests.sim.net import SimNet
from tests.sim.scenario import NODES, Scenario
from tests.sim.tcp import SimTcp
from tests.sim.wire import Network

CLIENT_PORT: Final = 9092
CONTROLLER_PORT: Final = 9093
CLUSTER_ID: Final = format_uuid(Uuid(b"simulated cluste"))
#: Until whoever watches over a process starts it again.
RESTART_S: Final = 0.5

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Running:
    """A process and what it runs on."""

    process: Process
    disk: SimDisk
    clock: SimClock
    server: BrokerServer | ControllerServer


@dataclass(slots=True)
class Machine:
    """`down_until_s` is when it, or a role of it, is meant to be started again."""

    node: int
    name: str
    media: dict[str, Medium]
    config: NodeConfig
    zero_ms: int
    wall_skew_ms: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    #: Roles that are meant to be down.
    held_down: set[str] = field(default_factory=set)
    #: Until then the failures of a disk may be the reason for anything.
    disk_trouble_until_s: float = -1.0


class World:
    """Everything of one run but the faults and the clients."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = SimLoop()
        self.random = random.Random(scenario.seed * 7919 + 1)
        self.network = Network(self.loop, self.random.randrange(1 << 30), scenario.weather)
        self.loop.tcp = SimTcp(self.loop, self.network)
        self.loop.set_exception_handler(self._on_unhandled)
        self.observer = Observer()
        self.machines = {node: self._machine(node) for node in NODES}

    def _machine(self, node: int) -> Machine:
        media = {role: Medium(self.random.randrange(1 << 30)) for role in ("controller", "broker")}
        for medium in media.values():
            medium.health.sync_s = self.scenario.sync_s
        return Machine(
            node=node,
            name=f"node-{node}",
            media=media,
            config=_config(node, self.scenario.properties),
            zero_ms=self.random.randrange(1 << 40),
        )

    def start(self) -> None:
        for machine in self.machines.values():
            self.start_role(machine, "controller")
            self.start_role(machine, "broker")

    # Processes

    def start_role(self, machine: Machine, role: str) -> None:
        """Start a role that is not running, on a machine that has power."""
        if role in machine.running or not self.network.has_power(machine.name):
            return
        process = self.loop.new_process(f"{role}-{machine.node}", machine.name)
        process.crash = lambda: self._crash(machine, role, process)
        disk = SimDisk(machine.media[role], process)
        clock = SimClock(self.loop, machine.zero_ms)
        clock.wall_skew_ms = machine.wall_skew_ms
        self.loop.note("start", process.name)
        server = process.context().run(self._build, machine, role, process, disk, clock)
        machine.running[role] = Running(process, disk, clock, server)
        self.loop.spawn(process, self._run(machine, role, process, server), "main")

    async def _run(
        self, machine: Machine, role: str, process: Process, server: BrokerServer | ControllerServer
    ) -> None:
        try:
            await server.start()
        except (StartRefused, StorageCorrupt, StorageFailed, OSError, ValueError) as error:
            self._end(machine, role, process, f"does not start: {error!r}", error)
        except Exception as error:
            self._end(machine, role, process, f"failed while it started: {error!r}", error)

    def _build(
        self, machine: Machine, role: str, process: Process, disk: SimDisk, clock: SimClock
    ) -> BrokerServer | ControllerServer:
        net = SimNet(
            process.name,
            self.loop,
            self.network,
            process,
            lambda method, error: self._end(machine, role, process, f"{method} raised {error!r}", error),
        )
        rng = SimRng(self.random.randrange(1 << 30))
        spawner = SimSpawner(
            self.loop,
            process,
            lambda task, error: self._end(machine, role, process, f"task {task} failed: {error!r}", error),
        )
        if role == "controller":
            return self._build_controller(machine, process, net, disk, clock, rng, spawner)
        server = BrokerServer(
            config=machine.config,
            net=net,
            disk=disk,
            clock=clock,
            rng=rng,
            spawner=spawner,
            fail_stop=lambda reason: self._fail_stop(machine, process, reason),
        )
        observer, medium = self.observer, machine.media["broker"]
        observer.on_broker_start(machine.node, process, server, medium)
        watched = observer.brokers[machine.node]
        process.on_step = lambda: observer.on_broker_step(watched)
        return server

    def _build_controller(
        self,
        machine: Machine,
        process: Process,
        net: SimNet,
        disk: SimDisk,
        clock: SimClock,
        rng: SimRng,
        spawner: SimSpawner,
    ) -> ControllerServer:
        config, node = machine.config, machine.node
        observed: ObservedMachine | None = None

        def quorum(machine_: StateMachine) -> PySyncObjQuorum:
            nonlocal observed
            observed = ObservedMachine(machine_, node, self.observer)
            settings = RaftSettings(snapshot_entries=self.scenario.snapshot_entries, retained_entries=5)
            return PySyncObjQuorum(node, config.voters, net, disk, clock, rng, spawner, observed, settings)

        server = ControllerServer(
            config=config, net=net, disk=disk, clock=clock, rng=rng, spawner=spawner, quorum=quorum
        )
        assert observed is not None, "the server makes its quorum at once"
        observed.image = lambda: server.image
        process.on_step = lambda: self.observer.on_controller_step(node, server)
        return server

    # Ends

    def kill(self, machine: Machine, role: str) -> bool:
        """kill -9; whether it was running."""
        running = machine.running.get(role)
        if running is None:
            return False
        self.loop.note("kill", running.process.name)
        self._bury(machine, role, running.process, power=False)
        return True

    def power_off(self, machine: Machine) -> None:
        """Pull the plug."""
        self.loop.note("power", machine.name)
        self.network.switch_off(machine.name)
        for role in ("controller", "broker"):
            running = machine.running.get(role)
            if running is not None:
                self._bury(machine, role, running.process, power=True)
        self.observer.on_power_loss_of_the_dead(machine.node)
        for medium in machine.media.values():
            medium.lose_power()

    def power_on(self, machine: Machine) -> None:
        self.network.switch_on(machine.name)

    async def stop_role(self, machine: Machine, role: str) -> None:
        """SIGTERM, and wait until the process has ended by itself."""
        running = machine.running.get(role)
        if running is None:
            return
        process, server = running.process, running.server
        stopped = self.loop.create_future()

        async def stop() -> None:
            try:
                await server.stop()
            except Exception as error:
                self._end(machine, role, process, f"failed while it stopped: {error!r}", error)
            self._bury(machine, role, process, power=False)

        process.on_death.append(lambda: _settle(stopped))
        self.loop.spawn(process, stop(), "stop")
        await stopped

    def _bury(self, machine: Machine, role: str, process: Process, *, power: bool) -> None:
        running = machine.running.get(role)
        if running is not None and running.process is process:
            del machine.running[role]
            if role == "broker":
                self.observer.on_broker_death(machine.node, power=power)
        self.loop.kill(process)
        self._restart_later(machine, role)

    def _crash(self, machine: Machine, role: str, process: Process) -> None:
        """kill -9 in the middle of a step."""
        self.observer.count("crashes in the middle of a step")
        self.loop.note("crash", process.name)
        self._bury(machine, role, process, power=False)

    def _fail_stop(self, machine: Machine, process: Process, reason: str) -> None:
        self._end(machine, "broker", process, f"stopped itself: {reason}", None)
        raise ProcessExit

    def _end(self, machine: Machine, role: str, process: Process, reason: str, error: BaseException | None) -> None:
        """A process ends by itself. Only a disk in trouble is a reason."""
        if not process.alive or isinstance(error, ProcessExit):
            return
        log.warning("%s %s", process.name, reason, exc_info=error)
        if not self.has_disk_trouble(machine) or not _is_storage(error, reason):
            self.fail(f"fail-stop: {process.name} {reason}", error)
        self.observer.count("fail-stops")
        self._bury(machine, role, process, power=False)

    def has_disk_trouble(self, machine: Machine) -> bool:
        return self.loop.time() <= machine.disk_trouble_until_s

    def _restart_later(self, machine: Machine, role: str) -> None:
        """Unless it is meant to be down then."""

        def restart() -> None:
            if role not in machine.held_down:
                self.start_role(machine, role)

        self.network.at(self.loop.time() + RESTART_S, restart)

    def fail(self, text: str, cause: BaseException | None = None) -> None:
        """End the run with a violation; the first one counts."""
        if self.loop.failure is None:
            violation = Violation(text)
            violation.__cause__ = cause
            self.loop.failure = violation

    def _on_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Violation):
            self.loop.failure = self.loop.failure or error
        elif not isinstance(error, ProcessExit | NetError):
            self.fail(f"unhandled: {context.get('message')}: {error!r}", error)

    # Whoever acts upon the world is no process.

    def act(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run `work` on nobody's behalf; its failure ends the run."""
        task: asyncio.Task[None] = self.loop.create_task(work, name=name)

        def done(_task: "asyncio.Task[None]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.loop.failure = self.loop.failure or error

        task.add_done_callback(done)
        return task

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether `condition` came true within `timeout_s`."""
        deadline_s = self.loop.time() + timeout_s
        while not condition():
            if self.loop.time() >= deadline_s:
                return False
            await asyncio.sleep(0.1)
        return True


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _is_storage(error: BaseException | None, reason: str) -> bool:
    if error is None:
        return "damaged" not in reason
    return isinstance(error, StorageFailed) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO))


def _config(node: int, properties: dict[str, str]) -> NodeConfig:
    return node_config(
        BrokerProperties.of(
            {
                "node.id": str(node),
                "blumfeld.cluster.id": CLUSTER_ID,
                "listeners": f"PLAINTEXT://node-{node}:{CLIENT_PORT},CONTROLLER://node-{node}:{CONTROLLER_PORT}",
                "controller.quorum.voters": ",".join(f"{each}@node-{each}:{CONTROLLER_PORT}" for each in NODES),
                **properties,
            }
        )
    )


def bootstrap() -> list[Endpoint]:
    """Where clients find the cluster."""
    return [Endpoint(f"node-{node}", CLIENT_PORT) for node in NODES]
