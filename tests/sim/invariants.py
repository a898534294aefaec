"""The invariants of replication, checked after every step of every server.

Owns what an omniscient observer remembers: the committed log of each partition, a copy of every replica, who led which
epoch, what every voter applied. Reads the servers' state and changes none of it. The numbers in front of a violation's
text name the invariant: S1 committed data is on the ISR, S2 it never changes, S3 a new leader has it, S4 one leader an
epoch, S5 epochs never fall, S6 the epoch cache fits the log, S7 shape of the ISR, S8 the leader reckons with the true
ISR, S9 the high watermark waits for the ISR, S10 who may join, S12 nothing committed is cut off, S13 an acknowledged
offset is committed, S14 and durable, S15/S16 producers, S20 voters agree, S22 registrations, S23 recovery.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.replication.partition import FollowerRole, LeaderRole, Partition
from broker.server import BrokerServer
from cluster.ids import TopicIdPartition
from cluster.metadata.image import MetadataImage, PartitionImage
from cluster.seams import StateMachine
from controller.invariants import check_image, check_step
from controller.server import ControllerServer
from tests.sim.disk import Medium
from tests.sim.loop import Process, Violation
from tests.sim.replicas import Committed, Mirror

#: Images of the past that voters who lag are compared with.
_IMAGES_KEPT: Final = 2000


@dataclass(slots=True)
class Watched:
    """What was last seen of one replica of a living broker."""

    partition: Partition
    mirror: Mirror
    role: object = None
    isr: object = None
    high_watermark: int = -1
    end: int = -1
    generation: int = -1


@dataclass(slots=True)
class WatchedBroker:
    node: int
    process: Process
    server: BrokerServer
    medium: Medium
    replicas: dict[TopicIdPartition, Watched] = field(default_factory=dict)


@dataclass(slots=True)
class Left:
    """The copy of a replica whose broker is down."""

    mirror: Mirror
    #: Up to here it must come back.
    keep: int
    #: Whether the machine lost power since.
    power: bool


class ObservedMachine:
    """Tells the observer what a voter applied."""

    def __init__(self, inner: StateMachine, node: int, observer: "Observer") -> None:
        self._inner = inner
        self._node = node
        self._observer = observer
        #: What the voter has applied, once its server is there.
        self.image: Callable[[], MetadataImage] = MetadataImage

    def apply(self, index: int, term: int, command: bytes) -> bytes:
        result = self._inner.apply(index, term, command)
        self._observer.on_applied(self._node, index, (term, zlib.crc32(command), zlib.crc32(result)), self.image())
        return result

    def snapshot(self) -> bytes:
        return self._inner.snapshot()

    def restore(self, snapshot: bytes) -> None:
        self._inner.restore(snapshot)


class Observer:
    """See the module. `coverage` counts what the run came by."""

    def __init__(self) -> None:
        self.committed: dict[TopicIdPartition, Committed] = {}
        self.image = MetadataImage()
        self.coverage: dict[str, int] = {}
        self.brokers: dict[int, WatchedBroker] = {}
        self._left: dict[tuple[int, TopicIdPartition], Left] = {}
        self._leaders: dict[tuple[TopicIdPartition, int], Process] = {}
        self._terms: dict[int, int] = {}
        self._applied: dict[int, object] = {}
        self._images: dict[int, MetadataImage] = {}
        self._news: dict[int, list[tuple[int, object, MetadataImage]]] = {}

    def count(self, what: str) -> None:
        self.coverage[what] = self.coverage.get(what, 0) + 1

    # Controllers

    def on_applied(self, node: int, index: int, what: object, image: MetadataImage) -> None:
        """A voter applied a command; `what` identifies it and its result. Judged when its step is over."""
        self._news.setdefault(node, []).append((index, what, image))

    def _judge(self, node: int, index: int, what: object, image: MetadataImage) -> None:
        known = self._applied.setdefault(index, what)
        if known != what:
            raise Violation(f"S20: controller {node} applied {what} as entry {index}, others {known}")
        known_image = self._images.get(image.offset)
        if known_image is not None and known_image != image:
            raise Violation(f"S20: controller {node} has another image as of offset {image.offset}")
        if image.offset > self.image.offset:
            self._on_image(image)

    def on_controller_step(self, node: int, server: ControllerServer) -> None:
        quorum: Any = server._quorum
        if quorum.is_leader and self._terms.setdefault(quorum.term, node) != node:
            raise Violation(f"S20: term {quorum.term} is led by {self._terms[quorum.term]} and {node}")
        for index, what, image in self._news.pop(node, ()):
            self._judge(node, index, what, image)

    def _on_image(self, image: MetadataImage) -> None:
        old, self.image = self.image, image
        self._images[image.offset] = image
        while len(self._images) > _IMAGES_KEPT:
            del self._images[next(iter(self._images))]
        try:
            check_image(image)
            check_step(old, image)
        except AssertionError as error:
            raise Violation(f"S7/S22: {error}") from error
        for topic, number, state in image.partitions():
            before = old.partition(topic.topic_id, number)
            if state != before:
                self._on_partition_change(TopicIdPartition(topic.topic_id, number), before, state)

    def _on_partition_change(self, key: TopicIdPartition, before: PartitionImage | None, state: PartitionImage) -> None:
        if before is not None:
            if state.leader_epoch < before.leader_epoch or state.partition_epoch <= before.partition_epoch:
                raise Violation(f"S5: epochs of {key.partition} fell from {before} to {state}")
            self._count_change(before, state)
        for broker_id in state.isr:
            self._check_member(key, broker_id)
            joined = before is not None and broker_id not in before.isr
            broker = self.image.brokers[broker_id]
            if joined and not broker.active:
                raise Violation(f"S10: broker {broker_id} joined the ISR while {broker}")
        leading = self._current_leader(key, state)
        if leading is not None:
            self._check_maximal(leading, state)

    def _count_change(self, before: PartitionImage, state: PartitionImage) -> None:
        if state.leader != before.leader:
            self.count("elections" if state.leader >= 0 else "leaderless")
        if len(state.isr) < len(before.isr):
            self.count("shrinks")
        if len(state.isr) > len(before.isr):
            self.count("expands")
        if state.elr != before.elr:
            self.count("elr changes")

    def _check_member(self, key: TopicIdPartition, broker_id: int) -> None:
        """S1: whoever is in the ISR, and alive as the one who was admitted, has all that is committed."""
        watched = self._replica(broker_id, key)
        committed = self.committed.get(key)
        if watched is None or committed is None:
            return
        watched.mirror.suspect = False
        end = committed.common_end(watched.mirror, watched.mirror.verified)
        if end < committed.end:
            raise Violation(
                f"S1: {watched.mirror.where} is in the ISR, has {end} of {committed.end} committed offsets "
                f"and ends at {watched.mirror.end}"
            )

    def _replica(self, broker_id: int, key: TopicIdPartition) -> Watched | None:
        """The replica of a living broker that the metadata knows under its current epoch."""
        broker, registered = self.brokers.get(broker_id), self.image.brokers.get(broker_id)
        if broker is None or registered is None or not broker.process.alive:
            return None
        link = broker.server._link
        if link is None or link.broker_epoch != registered.broker_epoch:
            return None
        return broker.replicas.get(key)

    def _current_leader(self, key: TopicIdPartition, state: PartitionImage) -> LeaderRole | None:
        watched = self._replica(state.leader, key)
        role = None if watched is None else watched.partition.role
        return role if isinstance(role, LeaderRole) and role.leader_epoch == state.leader_epoch else None

    def _check_maximal(self, role: LeaderRole, state: PartitionImage) -> None:
        if not set(state.isr) <= set(role.isr.maximal):
            raise Violation(f"S8: the ISR is {state.isr}, its leader reckons with {role.isr}")

    # Brokers

    def on_broker_start(self, node: int, process: Process, server: BrokerServer, medium: Medium) -> None:
        self.brokers[node] = WatchedBroker(node, process, server, medium)

    def on_broker_death(self, node: int, *, power: bool) -> None:
        """Remember what the log held. After a power cut only what was on the medium must come back."""
        broker = self.brokers.pop(node, None)
        if broker is None:
            return
        for key, watched in broker.replicas.items():
            mirror = watched.mirror
            # A process that dies in the middle of a step may have cut its log in that step.
            keep = self._kept(mirror, mirror.end)
            if power:
                places = range(len(mirror.batches))
                lost = next((place for place in places if not mirror.is_durable(place)), None)
                if lost is not None:
                    keep = mirror.batches[lost].header.base_offset
                    self.count("unsynced tails lost to power")
            self._left[node, key] = Left(mirror, keep, power)

    def on_power_loss_of_the_dead(self, node: int) -> None:
        """The machine of a broker that was down already lost power."""
        for (left_node, _), left in self._left.items():
            if left_node == node:
                left.power = True
                places = range(left.mirror.index_of(left.keep - 1) + 1 if left.keep else 0)
                lost = next((place for place in places if not left.mirror.is_durable(place)), None)
                if lost is not None:
                    left.keep = left.mirror.batches[lost].header.base_offset

    def on_broker_step(self, broker: WatchedBroker) -> None:
        replicas = broker.server._replicas
        if replicas is None:
            return
        for key, partition in replicas._partitions.items():
            watched = broker.replicas.get(key)
            if watched is None or watched.partition is not partition:
                watched = broker.replicas[key] = self._on_opened(broker, key, partition)
            log, role = partition.log, partition.role
            if (
                watched.end != log.log_end_offset
                or watched.high_watermark != partition.high_watermark
                or watched.role is not role
                or watched.generation != log._generation
                or (isinstance(role, LeaderRole) and watched.isr is not role.isr)
            ):
                self._on_change(broker, key, watched)
        if broker.server._logs is not None and broker.server._logs.corrupt:
            raise Violation(f"S23: broker {broker.node} found damaged logs: {broker.server._logs.corrupt}")

    def _on_opened(self, broker: WatchedBroker, key: TopicIdPartition, partition: Partition) -> Watched:
        name = f"{partition.topic}-{partition.partition}"
        mirror = Mirror(f"{name} on broker {broker.node}", broker.medium)
        mirror.follow(partition.log)
        self.committed.setdefault(key, Committed(key, name))
        left = self._left.pop((broker.node, key), None)
        if left is not None:
            before, keep = left.mirror, left.keep
            # Truncations may not have reached the medium, while a checkpoint of what was committed later did: what is
            # above the common prefix goes when the leader is asked, and nobody is served before.
            mirror.suspect = left.power
            self.count("recoveries")
            places = before.index_of(keep - 1) + 1 if keep else 0
            for place in range(places):
                if place >= len(mirror.batches) or mirror.batches[place].data != before.batches[place].data:
                    raise Violation(
                        f"S23: {mirror.where} ended at {before.end}, must have kept {keep}, "
                        f"differs at {before.batches[place].header.base_offset} and ends at {mirror.end}"
                    )
        return Watched(partition, mirror, generation=partition.log._generation)

    def _on_change(self, broker: WatchedBroker, key: TopicIdPartition, watched: Watched) -> None:
        partition, mirror, log = watched.partition, watched.mirror, watched.partition.log
        committed = self.committed[key]
        if watched.generation != log._generation:
            self._on_cut(watched, committed)
        mirror.follow(log)
        if not 0 <= partition.high_watermark <= log.log_end_offset:
            raise Violation(f"S9: {mirror.where} ends at {log.log_end_offset}, committed to {partition.high_watermark}")
        self._check_epochs(mirror, log.epochs.entries)
        role = partition.role
        if role is not watched.role:
            self._on_role(broker, key, watched, committed)
        if isinstance(role, LeaderRole):
            if role is watched.role and partition.high_watermark < watched.high_watermark:
                raise Violation(f"S9: the high watermark of {mirror.where} fell while it led")
            self._check_leader(key, watched, role, committed)
        self._commit(watched, committed, is_leader=isinstance(role, LeaderRole))
        watched.role = role
        watched.isr = role.isr if isinstance(role, LeaderRole) else None
        watched.high_watermark = partition.high_watermark
        watched.end, watched.generation = log.log_end_offset, log._generation

    def _on_cut(self, watched: Watched, committed: Committed) -> None:
        mirror, log = watched.mirror, watched.partition.log
        common = committed.common_end(mirror, mirror.verified)
        keep = self._kept(mirror, log.log_end_offset)
        if keep < mirror.end:
            self.count("truncations")
        if keep < common:
            raise Violation(f"S12: {mirror.where} was cut to {keep}, although it was right up to {common}")
        mirror.cut(keep)

    def _kept(self, mirror: Mirror, end: int) -> int:
        """How far the copy is still the log, when both a cut and an append happened in one step."""
        medium = mirror.medium
        place = len(mirror.batches)
        while place and not self._is_there(medium, mirror, place - 1, end):
            place -= 1
        return mirror.ends[place - 1] if place else 0

    @staticmethod
    def _is_there(medium: Medium, mirror: Mirror, place: int, end: int) -> bool:
        batch = mirror.batches[place]
        found = medium.content(batch.path, batch.position)[: len(batch.data)]
        return mirror.ends[place] <= end and found == batch.data

    @staticmethod
    def _check_epochs(mirror: Mirror, entries: list[tuple[int, int]]) -> None:
        if entries == mirror.epochs:
            return
        # A leader that has begun and written nothing yet has an entry too.
        if entries[:-1] == mirror.epochs and entries and entries[-1][1] == mirror.end:
            return
        raise Violation(f"S6: {mirror.where} knows epochs {entries}, its batches are of {mirror.epochs}")

    def _on_role(self, broker: WatchedBroker, key: TopicIdPartition, watched: Watched, committed: Committed) -> None:
        role, before = watched.partition.role, watched.role
        roles = LeaderRole | FollowerRole
        if isinstance(role, roles) and isinstance(before, roles) and role.leader_epoch < before.leader_epoch:
            raise Violation(f"S5: the leader epoch of {watched.mirror.where} fell: {before} to {role}")
        if not isinstance(role, LeaderRole):
            return
        first = self._leaders.setdefault((key, role.leader_epoch), broker.process)
        if first is not broker.process:
            raise Violation(f"S4: epoch {role.leader_epoch} of {committed.name} is led by {first} and {broker.process}")
        state = self.image.partition(key.topic_id, key.partition)
        if state is not None and state.leader_epoch > role.leader_epoch:
            # It slept through its reign, and will soon hear so.
            return
        end = committed.common_end(watched.mirror, watched.mirror.verified)
        if end < committed.end:
            raise Violation(
                f"S3: {watched.mirror.where} leads epoch {role.leader_epoch} with {end} of {committed.end} "
                "committed offsets"
            )

    def _check_leader(self, key: TopicIdPartition, watched: Watched, role: LeaderRole, committed: Committed) -> None:
        partition = watched.partition
        state = self.image.partition(key.topic_id, key.partition)
        if state is not None and self._current_leader(key, state) is role:
            self._check_maximal(role, state)
        if partition.high_watermark <= max(watched.high_watermark, committed.end):
            return
        if len(role.isr.isr) < partition.min_isr:
            raise Violation(f"S9: the high watermark of {watched.mirror.where} moved with an ISR of {role.isr}")
        for broker_id in role.isr.maximal:
            self._check_has(broker_id, key, watched, committed)

    def _check_has(self, broker_id: int, key: TopicIdPartition, leader: Watched, committed: Committed) -> None:
        """S9: a member of the maximal ISR holds what the leader commits; on its medium, under group commit."""
        member = self._replica(broker_id, key)
        if member is None:
            return
        end = leader.partition.high_watermark
        for place in range(committed.index_of(committed.end), leader.mirror.index_of(end - 1) + 1):
            batch = leader.mirror.batches[place]
            mirror = member.mirror
            if place >= len(mirror.batches) or mirror.batches[place].data != batch.data:
                raise Violation(
                    f"S9: {leader.mirror.where} commits up to {end}, {mirror.where} lacks {batch.header.base_offset}"
                )
            if leader.partition.config.group_commit and not mirror.is_durable(place):
                raise Violation(
                    f"S14: {leader.mirror.where} commits up to {end}, of which {mirror.where} would lose "
                    f"{batch.header.base_offset} with its power"
                )

    def _commit(self, watched: Watched, committed: Committed, *, is_leader: bool) -> None:
        """S2: below a high watermark a log is the committed log; a leader makes that longer."""
        mirror, end = watched.mirror, watched.partition.high_watermark
        if mirror.suspect and not is_leader:
            mirror.verified = min(end, committed.common_end(mirror, mirror.verified))
            return
        place = mirror.index_of(mirror.verified)
        while place < len(mirror.batches) and mirror.ends[place] <= end:
            batch = mirror.batches[place]
            if place < len(committed.batches):
                if committed.batches[place] != batch.data:
                    raise Violation(f"S2: {mirror.where} has other committed data at {batch.header.base_offset}")
            elif is_leader:
                committed.extend(batch)
            else:
                raise Violation(f"S9: {mirror.where} follows and knows {end} as committed before any leader")
            mirror.verified = mirror.ends[place]
            place += 1
        if mirror.verified < min(end, mirror.end):
            raise Violation(f"S9: the high watermark {end} of {mirror.where} is inside of a batch")
