"""ISR changes by compare-and-set (KIP-497, KIP-841, KIP-903)."""

from dataclasses import replace

import pytest

from cluster.errors import ErrorCode
from cluster.ids import Uuid
from cluster.metadata.commands import AlterPartitions, BeginControlledShutdown, IsrMember, PartitionAlteration
from cluster.metadata.records import RecoveryState
from cluster.metadata.results import AlteredPartition, CommandFailed, PartitionsAltered
from tests.unit.controller.world import World


def _world() -> World:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    return world


def _propose(world: World, item: PartitionAlteration, sender: int = 1) -> AlteredPartition:
    command = AlterPartitions(broker_id=sender, broker_epoch=world.epoch(sender), partitions=(item,))
    result = world.do(command)
    assert isinstance(result, PartitionsAltered)
    return result.partitions[0]


def test_a_leader_shrinks_and_expands_its_isr() -> None:
    world = _world()
    answer = _propose(world, world.alteration("t", (1, 2)))
    assert (answer.error_code, answer.isr, answer.partition_epoch, answer.leader_epoch) == (
        ErrorCode.NONE,
        (1, 2),
        1,
        0,
    )
    answer = _propose(world, world.alteration("t", (3, 1, 2)))
    assert (answer.isr, answer.partition_epoch) == ((1, 2, 3), 2)
    assert world.last_change().cause.event == "leader 1 altered the ISR: 3 caught up"


def test_a_repeat_of_an_applied_proposal_answers_the_current_state() -> None:
    world = _world()
    proposal = world.alteration("t", (1, 2))
    first = _propose(world, proposal)
    before = world.image
    assert _propose(world, proposal) == first
    assert world.image is before


def test_a_proposal_from_an_older_partition_epoch_is_refused() -> None:
    world = _world()
    stale = world.alteration("t", (1, 3))
    _propose(world, world.alteration("t", (1, 2)))
    assert _propose(world, stale).error_code is ErrorCode.INVALID_UPDATE_VERSION


def test_a_proposal_from_an_older_leader_epoch_is_fenced() -> None:
    world = _world()
    stale = world.alteration("t", (1, 2))
    world.fence(1)
    world.unfence(1)
    assert _propose(world, stale).error_code is ErrorCode.FENCED_LEADER_EPOCH


def test_epochs_from_the_future_are_refused() -> None:
    world = _world()
    item = world.alteration("t", (1, 2))
    assert _propose(world, replace(item, leader_epoch=1)).error_code is ErrorCode.UNKNOWN_LEADER_EPOCH
    assert _propose(world, replace(item, partition_epoch=1)).error_code is ErrorCode.INVALID_UPDATE_VERSION


def test_only_the_leader_may_propose() -> None:
    world = _world()
    assert _propose(world, world.alteration("t", (2, 3)), sender=2).error_code is ErrorCode.INVALID_REQUEST


def test_only_the_current_incarnation_may_propose() -> None:
    world = _world()
    command = AlterPartitions(broker_id=1, broker_epoch=world.epoch(1) - 1, partitions=(world.alteration("t", (1, 2)),))
    result = world.run(command)
    assert isinstance(result, CommandFailed)
    assert result.error_code is ErrorCode.STALE_BROKER_EPOCH


@pytest.mark.parametrize("members", [(2, 3), (1, 9), (1, 1)])
def test_an_isr_without_its_leader_or_with_strangers_or_doubles_is_malformed(members: tuple[int, ...]) -> None:
    world = _world()
    item = replace(
        world.alteration("t", (1, 2)), isr=tuple(IsrMember(broker_id=member, broker_epoch=-1) for member in members)
    )
    assert _propose(world, item).error_code is ErrorCode.INVALID_REQUEST


def test_a_fenced_broker_cannot_join() -> None:
    world = _world()
    world.fence(3)
    assert _propose(world, world.alteration("t", (1, 2, 3))).error_code is ErrorCode.INELIGIBLE_REPLICA


def test_another_incarnation_of_a_joiner_cannot_join() -> None:
    """An empty disk behind a known id is not what the leader saw catching up."""
    world = _world()
    seen = world.epoch(3)
    world.fence(3)
    world.restart(3, life=2, clean=False)
    world.unfence(3)
    item = world.alteration("t", (1, 2))
    members = (*item.isr, IsrMember(broker_id=3, broker_epoch=seen))
    assert _propose(world, replace(item, isr=members)).error_code is ErrorCode.INELIGIBLE_REPLICA


def test_a_leader_in_shutdown_learns_that_another_was_elected() -> None:
    world = _world()
    _propose(world, world.alteration("t", (1,)))
    world.do(BeginControlledShutdown(broker_id=1, broker_epoch=world.epoch(1)))
    assert _propose(world, world.alteration("t", (1, 2))).error_code is ErrorCode.NEW_LEADER_ELECTED
    assert world.partition("t").leader == 2


def test_unknown_topics_and_partitions_are_named_so() -> None:
    world = _world()
    item = world.alteration("t", (1,))
    assert _propose(world, replace(item, topic_id=Uuid(b"x" * 16))).error_code is ErrorCode.UNKNOWN_TOPIC_ID
    assert _propose(world, replace(item, partition=7)).error_code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert _propose(world, replace(item, partition=-1)).error_code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_partitions_of_one_command_are_decided_one_by_one() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2), (1, 2))
    good, bad = world.alteration("t", (1,), 0), replace(world.alteration("t", (1,), 1), leader_epoch=9)
    command = AlterPartitions(broker_id=1, broker_epoch=world.epoch(1), partitions=(good, bad))
    result = world.do(command)
    assert isinstance(result, PartitionsAltered)
    assert [item.error_code for item in result.partitions] == [ErrorCode.NONE, ErrorCode.UNKNOWN_LEADER_EPOCH]


def test_a_partition_twice_in_one_command_is_refused() -> None:
    world = _world()
    item = world.alteration("t", (1,))
    result = world.run(AlterPartitions(broker_id=1, broker_epoch=world.epoch(1), partitions=(item, item)))
    assert isinstance(result, CommandFailed)
    assert result.error_code is ErrorCode.INVALID_REQUEST


def test_recovery_ends_by_the_leaders_word_and_never_begins_by_it() -> None:
    world = World(unclean_leader_election_enable=True)
    world.start(1, 2)
    world.create("t", (1, 2))
    world.alter("t", (1,))
    world.fence(1)
    assert world.partition("t").recovery_state is RecoveryState.RECOVERING
    still = replace(world.alteration("t", (2,)), recovery_state=RecoveryState.RECOVERING)
    assert _propose(world, still, sender=2).recovery_state is RecoveryState.RECOVERING
    assert _propose(world, world.alteration("t", (2,)), sender=2).recovery_state is RecoveryState.RECOVERED
    again = replace(world.alteration("t", (2,)), recovery_state=RecoveryState.RECOVERING)
    assert _propose(world, again, sender=2).error_code is ErrorCode.INVALID_REQUEST
