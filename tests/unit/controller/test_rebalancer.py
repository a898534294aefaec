"""Leadership returns to preferred replicas."""

import asyncio

from cluster.ids import TopicPartition
from cluster.metadata.commands import AlterPartitions
from cluster.metadata.image import MetadataImage
from controller.balancing import MOVES_MAX, partitions_to_move
from controller.machine import ControllerMachine
from controller.proposals import Proposer, StampDefaults
from controller.rebalancer import Rebalancer, RebalanceSettings
from tests.unit.controller.fakes import Group, LoopClock, SeededRng, run
from tests.unit.controller.world import World


def _away(partitions: int = 1) -> World:
    """Broker 1 is preferred, was away, and is back in sync without leading."""
    world = World()
    world.start(1, 2)
    world.create("t", *[(1, 2)] * partitions)
    world.fence(1)
    world.unfence(1)
    for number in range(partitions):
        world.alter("t", (1, 2), number)
    return world


def test_what_the_preferred_leader_could_lead_is_to_move() -> None:
    assert partitions_to_move(_away().image, 0) == (TopicPartition("t", 0),)


def test_a_preferred_leader_out_of_sync_is_left_alone() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.fence(1)
    assert partitions_to_move(world.image, 0) == ()
    world.unfence(1)
    assert partitions_to_move(world.image, 0) == ()


def test_an_imbalance_up_to_the_percentage_is_tolerated() -> None:
    world = _away(10)
    assert len(partitions_to_move(world.image, 99)) == 10
    assert partitions_to_move(world.image, 100) == ()


def test_one_pass_moves_a_bounded_number() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", *[(1, 2)] * (MOVES_MAX + 5))
    world.fence(1)
    world.unfence(1)
    items = tuple(world.alteration("t", (1, 2), number) for number in range(MOVES_MAX + 5))
    world.do(AlterPartitions(broker_id=2, broker_epoch=world.epoch(2), partitions=items))
    assert len(partitions_to_move(world.image, 0)) == MOVES_MAX


class _Observer:
    def __init__(self) -> None:
        self.rebalancer: Rebalancer | None = None

    def on_entry(self, entry: object, image: MetadataImage) -> None:
        assert self.rebalancer is not None
        self.rebalancer.on_image(image)

    def on_snapshot(self, image: MetadataImage) -> None:
        pass


def _leader(machine: ControllerMachine) -> int:
    topic = machine.image.topic("t")
    assert topic is not None
    return topic.partitions[0].leader


def _rig(settings: RebalanceSettings) -> tuple[ControllerMachine, Rebalancer]:
    """A rebalancer over a machine in the state of `_away`."""
    observer = _Observer()
    machine = ControllerMachine(observer)
    machine.restore(_away().machine.snapshot())
    group = Group()
    quorum = group.join(1, machine)
    group.elect(1)
    proposer = Proposer(quorum, LoopClock(), SeededRng(), StampDefaults())
    observer.rebalancer = Rebalancer(LoopClock(), proposer, settings)
    return machine, observer.rebalancer


def test_a_quick_pass_follows_a_new_controller_or_a_returned_broker() -> None:
    async def scenario() -> None:
        machine, rebalancer = _rig(RebalanceSettings())
        running = asyncio.ensure_future(rebalancer.run())
        rebalancer.activate(machine.image)
        await asyncio.sleep(3)
        assert _leader(machine) == 1
        running.cancel()

    run(scenario)


def test_without_quick_passes_the_regular_check_does_it() -> None:
    async def scenario() -> None:
        machine, rebalancer = _rig(RebalanceSettings(quick_passes=0, check_interval_ms=60_000))
        running = asyncio.ensure_future(rebalancer.run())
        rebalancer.activate(machine.image)
        await asyncio.sleep(55)
        assert _leader(machine) == 2
        await asyncio.sleep(10)
        assert _leader(machine) == 1
        running.cancel()

    run(scenario)


def test_a_controller_that_is_not_active_moves_nothing() -> None:
    async def scenario() -> None:
        machine, rebalancer = _rig(RebalanceSettings(check_interval_ms=1000))
        running = asyncio.ensure_future(rebalancer.run())
        rebalancer.activate(machine.image)
        rebalancer.deactivate()
        await asyncio.sleep(100)
        assert _leader(machine) == 2
        running.cancel()

    run(scenario)


def test_switched_off_it_ends() -> None:
    async def scenario() -> None:
        _, rebalancer = _rig(RebalanceSettings(enabled=False))
        await rebalancer.run()

    run(scenario)
