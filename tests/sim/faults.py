"""Carries out the faults of a scenario, and takes all of them back.

Owns what a fault means for the world. Faults that would lose acknowledged data by design are left out when their time
comes: without group commit, a power cut takes what was not synced, so it strikes only while every replica is in sync,
and never all machines at once.
"""

import asyncio
from typing import assert_never

from tests.sim.invariants import Observer
from tests.sim.scenario import NODES, Fault, FaultKind, Target
from tests.sim.world import Machine, World

ROLES = ("controller", "broker")
#: After a fault of a disk is over, it may still be the reason for the end of a process: first it hands over.
DISK_TROUBLE_TAIL_S = 12.0
SLOWNESS = 100.0
#: Nobody dies of these.
_GENTLE = (
    FaultKind.PAUSE_BROKER,
    FaultKind.PAUSE_NODE,
    FaultKind.CUT,
    FaultKind.CUT_ONE_WAY,
    FaultKind.ISOLATE,
    FaultKind.KILL_CONTROLLER,
    FaultKind.CRASH_CONTROLLER,
    FaultKind.STOP_BROKER,
)


class Injector:
    """Runs the schedule of a world's scenario; `heal` ends what is left of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._observer: Observer = world.observer
        self._running: list[asyncio.Task[None]] = []
        #: Machines that lost power, by the epoch of their broker's registration then, until everything is whole again.
        self._fragile: dict[int, int] = {}
        self._cuts: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Start each fault at its time; returns when the last one has begun."""
        world = self._world
        began_s = world.loop.time()
        for fault in world.scenario.faults:
            await asyncio.sleep(max(0.0, began_s + fault.at_s - world.loop.time()))
            self._running.append(world.act(self._carry_out(fault), str(fault)))

    async def heal(self) -> None:
        """Take back everything, and start whatever is not running."""
        world = self._world
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for source, target in self._cuts:
            world.network.heal(source, target)
        self._cuts.clear()
        world.network.weather = type(world.network.weather)()
        for machine in world.machines.values():
            machine.held_down.clear()
            world.power_on(machine)
            for medium in machine.media.values():
                medium.health.full = medium.health.sync_fails = False
                medium.health.slowness = 1.0
            for role in ROLES:
                running = machine.running.get(role)
                if running is not None:
                    running.disk.countdown = None
                    if running.process.paused:
                        world.loop.resume(running.process)
                world.start_role(machine, role)

    async def _carry_out(self, fault: Fault) -> None:
        world = self._world
        machine = world.machines[self._node_of(fault)]
        if not self._may_happen(fault):
            self._observer.count(f"left out: {fault.kind}")
            return
        world.loop.note(fault.kind, machine.name)
        match fault.kind:
            case FaultKind.KILL_BROKER:
                await self._kill([machine], ("broker",), fault)
            case FaultKind.KILL_CONTROLLER:
                await self._kill([machine], ("controller",), fault)
            case FaultKind.KILL_NODE:
                await self._kill([machine], ROLES, fault)
            case FaultKind.KILL_ALL:
                await self._kill(list(world.machines.values()), ROLES, fault)
            case FaultKind.CRASH_BROKER:
                self._crash(machine, "broker", fault)
            case FaultKind.CRASH_CONTROLLER:
                self._crash(machine, "controller", fault)
            case FaultKind.STOP_BROKER:
                await self._stop(machine, fault)
            case FaultKind.POWER:
                await self._power([machine], fault)
            case FaultKind.POWER_ALL:
                await self._power(list(world.machines.values()), fault)
            case FaultKind.PAUSE_BROKER:
                await self._pause(machine, ("broker",), fault)
            case FaultKind.PAUSE_NODE:
                await self._pause(machine, ROLES, fault)
            case FaultKind.CUT:
                await self._cut([(machine.name, fault.other), (fault.other, machine.name)], fault)
            case FaultKind.CUT_ONE_WAY:
                await self._cut([(machine.name, fault.other)], fault)
            case FaultKind.ISOLATE:
                others = [other.name for other in world.machines.values() if other is not machine]
                await self._cut(
                    [pair for other in others for pair in ((machine.name, other), (other, machine.name))], fault
                )
            case FaultKind.SLOW_DISK | FaultKind.FULL_DISK | FaultKind.SYNC_ERROR:
                await self._disk(machine, fault)
            case FaultKind.CLOCK_JUMP:
                self._jump(machine, fault)
            case _:
                assert_never(fault.kind)

    def _node_of(self, fault: Fault) -> int:
        world = self._world
        if fault.target is Target.LEADER:
            leaders = [state.leader for _, _, state in world.observer.image.partitions() if state.leader >= 0]
            return leaders[0] if leaders else fault.node
        if fault.target is Target.CONTROLLER:
            for node in NODES:
                running = world.machines[node].running.get("controller")
                if running is not None and getattr(running.server, "is_active", False):
                    return node
        return fault.node

    def _count(self, fault: Fault) -> None:
        self._observer.count(f"fault {fault.kind}")

    async def _kill(self, machines: list[Machine], roles: tuple[str, ...], fault: Fault) -> None:
        self._count(fault)
        for machine in machines:
            for role in roles:
                machine.held_down.add(role)
                self._world.kill(machine, role)
        await asyncio.sleep(fault.duration_s)
        self._bring_up(machines, roles)

    def _bring_up(self, machines: list[Machine], roles: tuple[str, ...]) -> None:
        for machine in machines:
            for role in roles:
                machine.held_down.discard(role)
                self._world.start_role(machine, role)

    def _crash(self, machine: Machine, role: str, fault: Fault) -> None:
        running = machine.running.get(role)
        if running is not None:
            self._count(fault)
            running.disk.countdown = fault.number

    async def _stop(self, machine: Machine, fault: Fault) -> None:
        self._count(fault)
        machine.held_down.add("broker")
        await self._world.stop_role(machine, "broker")
        await asyncio.sleep(fault.duration_s)
        self._bring_up([machine], ("broker",))

    async def _power(self, machines: list[Machine], fault: Fault) -> None:
        self._count(fault)
        for machine in machines:
            broker = self._observer.image.brokers.get(machine.node)
            self._fragile[machine.node] = -1 if broker is None else broker.broker_epoch
        for machine in machines:
            machine.held_down.update(ROLES)
            self._world.power_off(machine)
        await asyncio.sleep(fault.duration_s)
        for machine in machines:
            self._world.power_on(machine)
        self._bring_up(machines, ROLES)

    def _may_happen(self, fault: Fault) -> bool:
        """Whether `fault` loses nothing that was promised.

        A process that is killed may have lost as much as a machine, for all that the others know. So without group
        commit nobody else may die between a power cut and the time when the replicas that it took are there again;
        nobody may even fall silent when one replica is enough to acknowledge.
        """
        lazy = [topic for topic in self._world.scenario.topics if not topic.group_commit]
        if not lazy or fault.kind in (FaultKind.SLOW_DISK, FaultKind.CLOCK_JUMP):
            return True
        image = self._observer.image
        whole = all(set(state.isr) == set(state.replicas) for _, _, state in image.partitions())
        back = all(
            node in image.brokers and image.brokers[node].broker_epoch > epoch for node, epoch in self._fragile.items()
        )
        if whole and back:
            self._fragile.clear()
        if self._fragile:
            return fault.kind in _GENTLE and all(topic.min_insync_replicas > 1 for topic in lazy)
        if fault.kind is FaultKind.POWER:
            others = sum(not task.done() for task in self._running) > 1
            return whole and not others and not any(map(self._is_dying, self._world.machines.values()))
        return fault.kind is not FaultKind.POWER_ALL

    def _is_dying(self, machine: Machine) -> bool:
        running = machine.running.get("broker")
        return running is None or running.disk.countdown is not None or self._world.has_disk_trouble(machine)

    async def _pause(self, machine: Machine, roles: tuple[str, ...], fault: Fault) -> None:
        self._count(fault)
        paused = [machine.running[role].process for role in roles if role in machine.running]
        for process in paused:
            self._world.loop.pause(process)
        try:
            await asyncio.sleep(fault.duration_s)
        finally:
            for process in paused:
                self._world.loop.resume(process)

    async def _cut(self, pairs: list[tuple[str, str]], fault: Fault) -> None:
        self._count(fault)
        for source, target in pairs:
            self._cuts.append((source, target))
            self._world.network.cut(source, target)
        await asyncio.sleep(fault.duration_s)
        for pair in pairs:
            self._cuts.remove(pair)
            self._world.network.heal(*pair)

    async def _disk(self, machine: Machine, fault: Fault) -> None:
        self._count(fault)
        health = [medium.health for medium in machine.media.values()]
        if fault.kind is FaultKind.SLOW_DISK:
            for each in health:
                each.slowness = SLOWNESS
            await asyncio.sleep(fault.duration_s)
            for each in health:
                each.slowness = 1.0
            return
        now_s = self._world.loop.time()
        machine.disk_trouble_until_s = max(machine.disk_trouble_until_s, now_s + fault.duration_s + DISK_TROUBLE_TAIL_S)
        if fault.kind is FaultKind.SYNC_ERROR:
            health[fault.node % len(health)].sync_fails = True
            await asyncio.sleep(fault.duration_s)
            for each in health:
                each.sync_fails = False
            return
        for each in health:
            each.full = True
        await asyncio.sleep(fault.duration_s)
        for each in health:
            each.full = False

    def _jump(self, machine: Machine, fault: Fault) -> None:
        self._count(fault)
        machine.wall_skew_ms = fault.number
        for running in machine.running.values():
            running.clock.wall_skew_ms = machine.wall_skew_ms
