"""Random histories of a small cluster keep every invariant after every command."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.ids import TopicPartition
from cluster.metadata.commands import (
    AlterPartitions,
    BeginControlledShutdown,
    ConfigChange,
    ConfigChanges,
    ConfigOperation,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    ElectionType,
    ElectLeaders,
    IncrementalAlterConfigs,
    NewPartitions,
    NewTopic,
    TopicReference,
    UnregisterBroker,
)
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import NO_LEADER, ResourceType
from controller.machine import ControllerMachine
from tests.unit.controller.world import Recorder, World, registration

BROKERS = st.integers(0, 4)
NAMES = st.sampled_from(["a", "b", "c.d", "c_d"])
ELECTIONS = st.sampled_from(ElectionType)


class Histories(RuleBasedStateMachine):
    """Every rule is one command, valid or not; `World` checks the invariants around it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(min_insync_replicas=2)
        self.lives = dict.fromkeys(range(5), 1)
        for broker_id in range(3):
            self.world.start(broker_id)
        self.world.create("a", (0, 1, 2), (1, 2, 0))

    @property
    def image(self) -> MetadataImage:
        return self.world.image

    @rule(broker_id=BROKERS, clean=st.booleans(), new_life=st.booleans())
    def register(self, broker_id: int, clean: bool, new_life: bool) -> None:
        if new_life:
            self.lives[broker_id] += 1
        known = self.image.brokers.get(broker_id)
        epoch = known.broker_epoch if known is not None and clean else -1
        self.world.run(registration(broker_id, self.lives[broker_id], previous_epoch=epoch))

    @rule(broker_id=BROKERS)
    def unfence(self, broker_id: int) -> None:
        broker = self.image.brokers.get(broker_id)
        if broker is not None and not broker.in_controlled_shutdown:
            self.world.unfence(broker_id)

    @rule(broker_id=BROKERS)
    def fence(self, broker_id: int) -> None:
        if broker_id in self.image.brokers:
            before = self.image
            self.world.fence(broker_id)
            self._nothing_eligible_is_lost(before, broker_id)

    @rule(broker_id=BROKERS)
    def shut_down(self, broker_id: int) -> None:
        if broker_id in self.image.brokers:
            self.world.do(BeginControlledShutdown(broker_id=broker_id, broker_epoch=self.world.epoch(broker_id)))

    @rule(broker_id=BROKERS)
    def unregister(self, broker_id: int) -> None:
        self.world.run(UnregisterBroker(broker_id=broker_id))

    @rule(name=NAMES, count=st.integers(1, 3), factor=st.integers(1, 5))
    def create(self, name: str, count: int, factor: int) -> None:
        self.world.do(CreateTopics(topics=(NewTopic(name=name, partitions=count, replication_factor=factor),)))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.world.do(DeleteTopics(topics=(TopicReference(name=name),)))

    @rule(name=NAMES, count=st.integers(1, 5))
    def extend(self, name: str, count: int) -> None:
        self.world.do(CreatePartitions(topics=(NewPartitions(name=name, count=count),)))

    @rule(name=NAMES, number=st.integers(0, 2), members=st.sets(BROKERS))
    def alter(self, name: str, number: int, members: set[int]) -> None:
        topic = self.image.topic(name)
        if topic is None or number >= len(topic.partitions) or topic.partitions[number].leader == NO_LEADER:
            return
        partition = topic.partitions[number]
        known = tuple(sorted(members & set(self.image.brokers) | {partition.leader}))
        item = self.world.alteration(name, known, number)
        leader = partition.leader
        self.world.do(AlterPartitions(broker_id=leader, broker_epoch=self.world.epoch(leader), partitions=(item,)))

    @rule(name=NAMES, key=st.sampled_from(["min.insync.replicas", "unclean.leader.election.enable"]), on=st.booleans())
    def configure(self, name: str, key: str, on: bool) -> None:
        value = {"min.insync.replicas": "12"[on], "unclean.leader.election.enable": str(on)}[key]
        change = ConfigChange(key=key, operation=ConfigOperation.SET, value=value)
        changes = ConfigChanges(resource_type=ResourceType.TOPIC, resource_name=name, changes=(change,))
        self.world.do(IncrementalAlterConfigs(resources=(changes,)))

    @rule(name=NAMES, election=ELECTIONS, everything=st.booleans())
    def elect(self, name: str, election: ElectionType, everything: bool) -> None:
        partitions = (TopicPartition(name, 0), TopicPartition(name, 1))
        self.world.do(ElectLeaders(election=election, partitions=partitions, all_partitions=everything))

    @rule()
    def restart_controller(self) -> None:
        image = self.image
        self.world.machine.restore(self.world.machine.snapshot())
        assert self.image == image

    @invariant()
    def a_second_machine_agrees(self) -> None:
        other = ControllerMachine(Recorder())
        other.restore(self.world.machine.snapshot())
        assert other.snapshot() == self.world.machine.snapshot()

    def _nothing_eligible_is_lost(self, before: MetadataImage, broker_id: int) -> None:
        """Fencing keeps everybody who has all that was acknowledged (unless an unclean election was allowed)."""
        for topic, number, old in before.partitions():
            new = self.image.partition(topic.topic_id, number)
            assert new is not None
            if new.recovery_state is old.recovery_state and len(new.isr) < 2 and len(old.isr) + len(old.elr) > 1:
                needed = min(int(before.topic_config(topic.name).get("min.insync.replicas", "2")), len(old.replicas))
                gone = set(old.isr) | set(old.elr)
                kept = set(new.isr) | set(new.elr)
                assert len(new.isr) >= needed or kept >= gone or new.leader not in gone | {NO_LEADER}


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
