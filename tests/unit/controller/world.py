"""A controller machine that checks every invariant after every command, and short ways to say common commands."""

from cluster.ids import Endpoint, Uuid
from cluster.metadata.commands import (
    AlterPartitions,
    Assignment,
    Bootstrap,
    Command,
    CommandEnvelope,
    ConfigValue,
    CreateTopics,
    FenceBroker,
    IsrMember,
    NewTopic,
    PartitionAlteration,
    RegisterBroker,
    Stamp,
    UnfenceBroker,
)
from cluster.metadata.image import MetadataImage, PartitionImage, TopicImage
from cluster.metadata.records import CausedRecord, Listener, MetadataEntry, PartitionChangeRecord
from cluster.metadata.results import AppliedCommand, CommandFailed, CommandResult
from cluster.metadata.serde import codec
from controller.invariants import check_image, check_step
from controller.machine import ControllerMachine

CLUSTER_ID = "wMBf8xL2QJ-q1lqGPcNkVA"


def incarnation(broker_id: int, life: int = 1) -> Uuid:
    return Uuid(bytes([1 + broker_id]) * 15 + bytes([life]))


def registration(
    broker_id: int, life: int = 1, *, previous_epoch: int = -1, rack: str | None = None, cluster_id: str = ""
) -> RegisterBroker:
    return RegisterBroker(
        broker_id=broker_id,
        incarnation_id=incarnation(broker_id, life),
        cluster_id=cluster_id,
        listeners=(Listener(name="PLAINTEXT", host="localhost", port=9092 + broker_id),),
        node_endpoint=Endpoint("localhost", 19092 + broker_id),
        rack=rack,
        previous_broker_epoch=previous_epoch,
    )


class Recorder:
    """Observes a machine."""

    def __init__(self) -> None:
        self.entries: list[MetadataEntry] = []

    def on_entry(self, entry: MetadataEntry, image: MetadataImage) -> None:
        assert image.offset == entry.offset
        self.entries.append(entry)

    def on_snapshot(self, image: MetadataImage) -> None:
        self.entries.clear()


class World:
    """One machine and the position in its log."""

    def __init__(self, **stamp: int | bool) -> None:
        self.recorder = Recorder()
        self.machine = ControllerMachine(self.recorder)
        self.index = 0
        self._min_insync = int(stamp.get("min_insync_replicas", 1))
        self._unclean = bool(stamp.get("unclean_leader_election_enable", False))
        assert not isinstance(self.run(Bootstrap(cluster_id=CLUSTER_ID)), CommandFailed)

    @property
    def image(self) -> MetadataImage:
        return self.machine.image

    @property
    def last_entry(self) -> MetadataEntry:
        return self.recorder.entries[-1]

    def stamp(self) -> Stamp:
        return Stamp(
            wall_ms=1000 * self.index,
            seed=Uuid(self.index.to_bytes(16, "big")),
            default_replication_factor=3,
            min_insync_replicas=self._min_insync,
            unclean_leader_election_enable=self._unclean,
        )

    def run(self, command: Command) -> CommandResult:
        """Apply one command; every invariant is checked before and after."""
        return self.apply(CommandEnvelope(stamp=self.stamp(), command=command)).result

    def apply(self, envelope: CommandEnvelope) -> AppliedCommand:
        before = self.image
        self.index += 1
        answer = self.machine.apply(self.index, 1, codec(CommandEnvelope).encode(envelope))
        check_image(self.image)
        check_step(before, self.image)
        return codec(AppliedCommand).decode(answer)

    def do(self, command: Command) -> CommandResult:
        """Apply a command that must succeed as a whole."""
        result = self.run(command)
        assert not isinstance(result, CommandFailed), result
        return result

    def epoch(self, broker_id: int) -> int:
        return self.image.brokers[broker_id].broker_epoch

    def start(self, *broker_ids: int, racks: dict[int, str] | None = None) -> None:
        """Register and unfence brokers."""
        for broker_id in broker_ids:
            self.do(registration(broker_id, rack=(racks or {}).get(broker_id)))
            self.unfence(broker_id)

    def restart(self, broker_id: int, life: int, *, clean: bool) -> None:
        """Register the next incarnation of a fenced broker; it stays fenced."""
        previous = self.epoch(broker_id) if clean else -1
        self.do(registration(broker_id, life, previous_epoch=previous))

    def unfence(self, broker_id: int) -> CommandResult:
        return self.do(UnfenceBroker(broker_id=broker_id, broker_epoch=self.epoch(broker_id)))

    def fence(self, broker_id: int, reason: str = "its lease ran out") -> CommandResult:
        return self.do(FenceBroker(broker_id=broker_id, broker_epoch=self.epoch(broker_id), reason=reason))

    def create(self, name: str, *replicas: tuple[int, ...], **configs: str) -> TopicImage:
        """A topic with these replicas; configuration keys are written with underscores."""
        topic = NewTopic(
            name=name,
            assignments=tuple(Assignment(partition=n, replicas=ids) for n, ids in enumerate(replicas)),
            configs=tuple(ConfigValue(key=key.replace("_", "."), value=value) for key, value in configs.items()),
        )
        self.do(CreateTopics(topics=(topic,)))
        created = self.image.topic(name)
        assert created is not None
        return created

    def partition(self, name: str, number: int = 0) -> PartitionImage:
        topic = self.image.topic(name)
        assert topic is not None
        return topic.partitions[number]

    def alteration(self, name: str, isr: tuple[int, ...], number: int = 0) -> PartitionAlteration:
        """What the current leader would propose now."""
        topic = self.image.topic(name)
        assert topic is not None
        partition = topic.partitions[number]
        members = tuple(IsrMember(broker_id=member, broker_epoch=self.epoch(member)) for member in isr)
        return PartitionAlteration(
            topic_id=topic.topic_id,
            partition=number,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            isr=members,
        )

    def alter(self, name: str, isr: tuple[int, ...], number: int = 0) -> CommandResult:
        """The current leader proposes `isr`."""
        leader = self.partition(name, number).leader
        return self.do(
            AlterPartitions(
                broker_id=leader,
                broker_epoch=self.epoch(leader),
                partitions=(self.alteration(name, isr, number),),
            )
        )

    def last_change(self) -> CausedRecord:
        """The last partition change of the last entry."""
        changes = [item for item in self.last_entry.records if isinstance(item.record, PartitionChangeRecord)]
        return changes[-1]
