"""Who leads, and what becomes of ISR and ELR (KIP-460, KIP-704, KIP-966)."""

from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.metadata.commands import Command, ElectionType, ElectLeaders
from cluster.metadata.image import PartitionImage
from cluster.metadata.records import NO_LEADER, RecoveryState
from cluster.metadata.results import ElectedLeader, LeadersElected
from controller.elections import (
    RULE_ELR,
    RULE_ISR,
    RULE_LAST_KNOWN,
    RULE_NONE,
    RULE_PREFERRED,
    RULE_SHUTTING_DOWN,
    RULE_STAYS,
    RULE_UNCLEAN,
    SHUTTING_DOWN,
    Standing,
    elect,
)
from tests.unit.controller.world import World


def _partition(
    leader: int, isr: tuple[int, ...], elr: tuple[int, ...] = (), last: tuple[int, ...] = ()
) -> PartitionImage:
    return PartitionImage(
        replicas=(1, 2, 3), isr=isr, leader=leader, leader_epoch=5, partition_epoch=9, elr=elr, last_known_elr=last
    )


def _alive(*broker_ids: int) -> Standing:
    return lambda broker_id: None if broker_id in broker_ids else "fenced"


def _elect(world: World, election: ElectionType, *names: str) -> tuple[ElectedLeader, ...]:
    result = world.do(ElectLeaders(election=election, partitions=tuple(TopicPartition(name, 0) for name in names)))
    assert isinstance(result, LeadersElected)
    return result.partitions


def test_a_leader_that_is_alive_and_in_sync_stays() -> None:
    election = elect(_partition(2, (1, 2, 3)), (1, 2, 3), (), _alive(1, 2, 3))
    assert (election.leader, election.rule) == (2, RULE_STAYS)


def test_the_first_live_isr_member_in_replica_order_follows_a_dead_leader() -> None:
    election = elect(_partition(1, (1, 3, 2)), (3, 2), (), _alive(2, 3))
    assert (election.leader, election.rule) == (2, RULE_ISR)


def test_the_preferred_leader_takes_over_only_when_asked() -> None:
    partition = _partition(2, (1, 2))
    assert elect(partition, (1, 2), (), _alive(1, 2)).leader == 2
    election = elect(partition, (1, 2), (), _alive(1, 2), preferred=True)
    assert (election.leader, election.rule) == (1, RULE_PREFERRED)


def test_an_eligible_replica_leads_only_when_the_isr_is_empty() -> None:
    partition = _partition(NO_LEADER, (), (2, 3))
    election = elect(partition, (), (2, 3), _alive(1, 3))
    assert (election.leader, election.isr, election.elr, election.rule) == (3, (3,), (2,), RULE_ELR)
    assert elect(_partition(NO_LEADER, (1,), (2,)), (1,), (2,), _alive(2)).leader == NO_LEADER


def test_the_last_known_leader_leads_only_when_isr_and_elr_are_empty() -> None:
    partition = _partition(NO_LEADER, (), (), (3,))
    election = elect(partition, (), (), _alive(1, 2, 3))
    assert (election.leader, election.clean, election.rule) == (3, False, RULE_LAST_KNOWN)
    assert elect(partition, (), (2,), _alive(1, 3)).leader == NO_LEADER


def test_unclean_election_is_the_last_resort_and_needs_permission() -> None:
    partition = _partition(NO_LEADER, (), (2,), (2,))
    assert elect(partition, (), (2,), _alive(3)).rule == RULE_NONE
    election = elect(partition, (), (2,), _alive(3), unclean_allowed=True)
    assert (election.leader, election.isr, election.elr, election.rule) == (3, (3,), (), RULE_UNCLEAN)
    assert elect(partition, (), (2,), _alive(2, 3), unclean_allowed=True).rule == RULE_ELR


def test_a_leader_that_is_shutting_down_stays_while_nobody_can_take_over() -> None:
    def why_not(broker_id: int) -> str | None:
        return SHUTTING_DOWN if broker_id == 1 else "fenced"

    election = elect(_partition(1, (1,)), (1,), (2,), why_not)
    assert (election.leader, election.rule) == (1, RULE_SHUTTING_DOWN)


def test_who_leaves_an_isr_below_min_insync_becomes_eligible() -> None:
    world = World(min_insync_replicas=2)
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(3)
    assert world.partition("t").elr == (), "two in-sync replicas are enough: the high watermark goes on without 3"
    world.fence(2)
    assert (world.partition("t").isr, world.partition("t").elr) == ((1,), (2,))
    world.fence(1)
    partition = world.partition("t")
    assert (partition.isr, partition.elr, partition.leader) == ((), (1, 2), NO_LEADER)
    assert partition.last_known_elr == (1,)


def test_a_whole_isr_empties_the_elr() -> None:
    world = World(min_insync_replicas=2)
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(3)
    world.fence(2)
    world.restart(2, life=2, clean=True)
    world.unfence(2)
    assert world.partition("t").elr == (2,)
    world.alter("t", (1, 2))
    assert (world.partition("t").isr, world.partition("t").elr) == ((1, 2), ())


def test_the_topic_decides_about_unclean_election() -> None:
    world = World(min_insync_replicas=2)
    world.start(1, 2)
    world.create("safe", (1, 2))
    world.create("loose", (1, 2), unclean_leader_election_enable="true")
    for name in ("safe", "loose"):
        world.alter(name, (1,))
    for life in (2, 3):
        if world.image.brokers[2].fenced:
            world.unfence(2)
        world.fence(2)
        world.restart(2, life, clean=False)
    world.unfence(2)
    world.fence(1)
    assert world.partition("safe").leader == NO_LEADER
    partition = world.partition("loose")
    assert (partition.leader, partition.isr, partition.elr) == (2, (2,), ())
    assert partition.recovery_state is RecoveryState.RECOVERING
    assert world.last_change().cause.rule in (RULE_UNCLEAN, RULE_NONE)


def test_a_preferred_election_moves_leadership_back() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.fence(1)
    (result,) = _elect(world, ElectionType.PREFERRED, "t")
    assert result.error_code is ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert "fenced" in result.error_message
    world.unfence(1)
    (result,) = _elect(world, ElectionType.PREFERRED, "t")
    assert result.error_code is ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
    assert "not in the ISR" in result.error_message
    world.alter("t", (1, 2))
    (result,) = _elect(world, ElectionType.PREFERRED, "t")
    assert result.error_code is ErrorCode.NONE
    assert world.partition("t").leader == 1
    (result,) = _elect(world, ElectionType.PREFERRED, "t")
    assert result.error_code is ErrorCode.ELECTION_NOT_NEEDED


def test_an_unclean_election_on_request_needs_no_configuration() -> None:
    world = World()
    world.start(1, 2)
    world.create("t", (1, 2))
    world.alter("t", (1,))
    world.fence(1)
    (result,) = _elect(world, ElectionType.UNCLEAN, "t")
    assert result.error_code is ErrorCode.NONE
    assert world.partition("t").leader == 2
    (result,) = _elect(world, ElectionType.UNCLEAN, "t")
    assert result.error_code is ErrorCode.ELECTION_NOT_NEEDED
    world.fence(2)
    (result,) = _elect(world, ElectionType.UNCLEAN, "t")
    assert result.error_code is ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE


def test_an_election_for_all_partitions_lists_only_those_that_needed_one() -> None:
    world = World()
    world.start(1, 2)
    world.create("led", (2, 1))
    world.create("moved", (1, 2))
    world.fence(1)
    world.unfence(1)
    world.alter("moved", (1, 2))
    result = world.do(ElectLeaders(election=ElectionType.PREFERRED, all_partitions=True))
    assert result == LeadersElected(partitions=(ElectedLeader(topic="moved", partition=0),))


def test_an_election_of_an_unknown_partition_is_an_error_of_its_own() -> None:
    world = World()
    command: Command = ElectLeaders(election=ElectionType.PREFERRED, partitions=(TopicPartition("no", 0),))
    result = world.do(command)
    assert isinstance(result, LeadersElected)
    assert result.partitions[0].error_code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
