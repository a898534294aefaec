"""Registration, fencing and controlled shutdown (KIP-631, KIP-841, KIP-903, KIP-966)."""

import pytest

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID
from cluster.metadata.commands import (
    BeginControlledShutdown,
    Bootstrap,
    Command,
    FenceBroker,
    RegisterBroker,
    UnfenceBroker,
    UnregisterBroker,
)
from cluster.metadata.records import NO_LEADER, RegisterBrokerRecord
from cluster.metadata.results import BrokerRegistered, CommandFailed, Done, ShutdownProgress
from tests.unit.controller.world import CLUSTER_ID, World, incarnation, registration


def _code(world: World, command: Command) -> ErrorCode:
    result = world.run(command)
    assert isinstance(result, CommandFailed), result
    assert result.message
    return result.error_code


def _shut_down(world: World, broker_id: int) -> int:
    result = world.do(BeginControlledShutdown(broker_id=broker_id, broker_epoch=world.epoch(broker_id)))
    assert isinstance(result, ShutdownProgress)
    return result.leaders_remaining


def test_the_cluster_is_founded_once() -> None:
    world = World()
    assert world.run(Bootstrap(cluster_id=CLUSTER_ID)) == Done()
    assert _code(world, Bootstrap(cluster_id="another")) is ErrorCode.INCONSISTENT_CLUSTER_ID


def test_a_broker_epoch_is_the_offset_of_its_registration() -> None:
    world = World()
    result = world.do(registration(1))
    assert result == BrokerRegistered(broker_epoch=world.index)
    assert world.last_entry.offset == world.index


def test_a_new_broker_starts_fenced() -> None:
    world = World()
    world.do(registration(1))
    assert world.image.brokers[1].fenced


def test_registering_the_same_incarnation_again_answers_its_epoch_and_changes_nothing() -> None:
    world = World()
    first = world.do(registration(1))
    world.unfence(1)
    before = world.image
    assert world.do(registration(1)) == first
    assert world.image is before


def test_a_second_incarnation_is_refused_while_the_first_is_unfenced() -> None:
    world = World()
    world.start(1)
    assert _code(world, registration(1, life=2)) is ErrorCode.DUPLICATE_BROKER_REGISTRATION


def test_a_second_incarnation_registers_over_a_fenced_one() -> None:
    world = World()
    world.start(1)
    old = world.epoch(1)
    world.fence(1)
    world.restart(1, life=2, clean=True)
    assert world.epoch(1) > old
    assert world.image.brokers[1].incarnation_id == incarnation(1, 2)
    assert world.image.brokers[1].fenced


def test_a_broker_of_another_cluster_is_refused() -> None:
    world = World()
    assert _code(world, registration(1, cluster_id="other")) is ErrorCode.INCONSISTENT_CLUSTER_ID
    world.do(registration(1, cluster_id=CLUSTER_ID))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("broker_id", -1),
        ("incarnation_id", ZERO_UUID),
        ("listeners", ()),
        ("listeners", registration(1).listeners * 2),
    ],
)
def test_a_malformed_registration_is_refused(field: str, value: object) -> None:
    template = registration(1)
    fields = {name: getattr(template, name) for name in RegisterBroker.__dataclass_fields__}
    assert _code(World(), RegisterBroker(**{**fields, field: value})) is ErrorCode.INVALID_REGISTRATION


def test_a_broker_that_does_not_support_the_feature_level_is_refused() -> None:
    template = registration(1)
    fields = {name: getattr(template, name) for name in RegisterBroker.__dataclass_fields__}
    assert _code(World(), RegisterBroker(**{**fields, "feature_level_max": 0})) is ErrorCode.UNSUPPORTED_VERSION


def test_a_stale_epoch_cannot_fence_or_unfence_the_next_incarnation() -> None:
    world = World()
    world.start(1)
    old = world.epoch(1)
    world.fence(1)
    world.restart(1, life=2, clean=True)
    for command in (
        UnfenceBroker(broker_id=1, broker_epoch=old),
        FenceBroker(broker_id=1, broker_epoch=old, reason="late"),
        BeginControlledShutdown(broker_id=1, broker_epoch=old),
    ):
        assert _code(world, command) is ErrorCode.STALE_BROKER_EPOCH
    assert _code(world, UnfenceBroker(broker_id=9, broker_epoch=1)) is ErrorCode.BROKER_ID_NOT_REGISTERED


def test_fencing_moves_leadership_to_the_first_live_isr_member() -> None:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(1, "its session stream broke and the probe found nobody")
    partition = world.partition("t")
    assert (partition.leader, partition.leader_epoch, partition.isr) == (2, 1, (2, 3))
    cause = world.last_change().cause
    assert cause.event == "broker 1 fenced: its session stream broke and the probe found nobody"
    assert cause.rule == "first live ISR member in replica order"
    assert [(item.broker_id, item.reason) for item in cause.rejected] == [(1, "fenced")]


def test_fencing_a_follower_keeps_leader_and_leader_epoch() -> None:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(3)
    partition = world.partition("t")
    assert (partition.leader, partition.leader_epoch, partition.isr) == (1, 0, (1, 2))


def test_fencing_is_one_entry_for_all_partitions() -> None:
    world = World()
    world.start(1, 2, 3)
    world.create("t", *[(1, 2, 3)] * 50)
    entries = len(world.recorder.entries)
    world.fence(1)
    assert len(world.recorder.entries) == entries + 1
    assert len(world.last_entry.records) == 51


def test_fencing_a_fenced_broker_changes_nothing() -> None:
    world = World()
    world.start(1)
    world.fence(1)
    before = world.image
    world.fence(1)
    assert world.image is before


def test_the_last_isr_member_becomes_eligible_and_leads_again_after_a_clean_stop() -> None:
    world = World()
    world.start(1)
    world.create("t", (1,))
    world.fence(1)
    partition = world.partition("t")
    assert (partition.leader, partition.isr, partition.elr) == (NO_LEADER, (), (1,))
    world.restart(1, life=2, clean=True)
    assert world.partition("t").elr == (1,)
    world.unfence(1)
    partition = world.partition("t")
    assert (partition.leader, partition.isr, partition.elr) == (1, (1,), ())
    assert partition.leader_epoch == 2


def test_an_unclean_stop_takes_a_broker_out_of_the_elr() -> None:
    world = World(min_insync_replicas=2)
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(3)
    world.fence(2)
    assert world.partition("t").elr == (2,)
    world.restart(2, life=2, clean=False)
    assert world.partition("t").elr == ()
    register = world.last_entry.records[0]
    assert isinstance(register.record, RegisterBrokerRecord)
    assert register.cause.event == "broker 2 registered after an unclean stop"


def test_the_last_known_leader_returns_when_nobody_else_can_hold_more() -> None:
    world = World(min_insync_replicas=2)
    world.start(1, 2)
    world.create("t", (1, 2))
    world.fence(2)
    world.fence(1)
    assert world.partition("t").last_known_elr == (1,)
    world.restart(2, life=2, clean=False)
    world.unfence(2)
    assert world.partition("t").leader == NO_LEADER, "2 was not the last leader, and may have lost its tail"
    world.restart(1, life=2, clean=False)
    world.unfence(1)
    partition = world.partition("t")
    assert (partition.leader, partition.isr, partition.elr) == (1, (1,), ())
    assert partition.recovery_state.name == "RECOVERING"


def test_controlled_shutdown_moves_leaders_and_leaves_isrs() -> None:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3), (2, 1, 3))
    assert _shut_down(world, 1) == 0
    assert [world.partition("t", n).leader for n in (0, 1)] == [2, 2]
    assert [world.partition("t", n).isr for n in (0, 1)] == [(2, 3), (2, 3)]
    assert world.image.brokers[1].in_controlled_shutdown


def test_controlled_shutdown_keeps_what_nobody_else_can_lead() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.alter("t", (1,))
    assert _shut_down(world, 1) == 1
    assert world.partition("t").leader == 1


def test_controlled_shutdown_waits_for_nobody_who_is_dead_or_stopping_too() -> None:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3), (2, 3, 1), (3, 1, 2))
    world.fence(1)
    assert [_shut_down(world, broker_id) for broker_id in (2, 3)] == [0, 0]
    assert [world.partition("t", number).leader for number in range(3)] == [3, 3, 3], "it leads until it stops"


def test_a_leader_in_shutdown_hands_over_when_somebody_catches_up() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.alter("t", (1,))
    _shut_down(world, 1)
    world.alter("t", (1, 2))
    partition = world.partition("t")
    assert (partition.leader, partition.isr) == (2, (2,))
    assert _shut_down(world, 1) == 0


def test_a_leader_in_shutdown_is_not_dethroned_for_nobody() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.alter("t", (1,))
    _shut_down(world, 1)
    world.fence(2)
    assert world.partition("t").leader == 1


def test_a_broker_in_shutdown_is_not_unfenced() -> None:
    world = World()
    world.start(1)
    _shut_down(world, 1)
    world.fence(1)
    assert _code(world, UnfenceBroker(broker_id=1, broker_epoch=world.epoch(1))) is ErrorCode.INVALID_REQUEST


def test_an_unregistered_broker_leaves_its_partitions_and_may_come_back_as_new() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.do(UnregisterBroker(broker_id=1))
    assert 1 not in world.image.brokers
    assert world.partition("t").leader == 2
    assert world.partition("t").replicas == (1, 2)
    assert _code(world, UnregisterBroker(broker_id=1)) is ErrorCode.BROKER_ID_NOT_REGISTERED
    world.start(1)
    assert world.partition("t").isr == (2,)
