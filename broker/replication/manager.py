"""All replicas of this broker: each gets its role from the metadata, and requests find them here.

Owns the table of replicas and the opening and deleting of their logs. Never waits: streams, syncs and the controller
are others' work (`FollowerStreams`, `GroupCommit`, `IsrKeeper`). An OSError of a log other than a full disk ends the
process: there is one log directory, and after such an error nothing that it holds can be vouched for.
"""

import errno
import logging
from collections.abc import Callable, Iterator

from broker.log.log_dir import LogDir
from broker.log.partition_log import AppendInfo
from broker.log.reader import LogSlice
from broker.log.scan import LogCorrupt
from broker.replication.flusher import SyncFailed
from broker.replication.follower_streams import FollowerStreams
from broker.replication.group_commit import GroupCommit
from broker.replication.partition import FollowerRole, LeaderRole, Partition
from broker.topic_configs import TopicConfigs
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID, TopicIdPartition, TopicPartition, Uuid
from cluster.metadata.delta import MetadataDelta, PartitionDelta, RemovedReplica, delta_of
from cluster.metadata.image import MetadataImage, PartitionImage, TopicImage
from cluster.seams import Clock

log = logging.getLogger(__name__)

#: Errors of a disk that is full: unless a sync failed, nothing is lost, and space may come back.
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
#: How long all appends are refused after one met a full disk. The batches that are on their way behind it would not
#: follow it, which an idempotent producer takes for lost records: it starts a new epoch, and repeats what may be there.
FULL_DISK_PAUSE_MS = 1000


class ReplicaManager:
    """`fail_stop` ends the process, with a sentence that says why; `on_disk_full` hears of every refused write."""

    def __init__(
        self,
        *,
        broker_id: int,
        logs: LogDir,
        configs: TopicConfigs,
        clock: Clock,
        followers: FollowerStreams,
        group_commit: GroupCommit,
        fail_stop: Callable[[str], None],
        on_disk_full: Callable[[OSError], None],
    ) -> None:
        self._broker_id = broker_id
        self._logs = logs
        self._configs = configs
        self._clock = clock
        self._followers = followers
        self._group_commit = group_commit
        self._fail_stop = fail_stop
        self._on_disk_full = on_disk_full
        self._partitions: dict[TopicIdPartition, Partition] = {}
        self._by_name: dict[tuple[str, int], Partition] = {}
        self._image = MetadataImage()
        #: Monotonic time; 0 before a disk was ever full.
        self._refuse_until_ms = 0

    # What requests need.

    @property
    def image(self) -> MetadataImage:
        """The metadata that the replicas act upon."""
        return self._image

    @property
    def broker_epoch(self) -> int:
        """Of this broker's registration in `image`; -1 before the first."""
        broker = self._image.brokers.get(self._broker_id)
        return -1 if broker is None else broker.broker_epoch

    def find(self, key: TopicIdPartition) -> Partition | None:
        return self._partitions.get(key)

    def partition(self, topic: str, number: int) -> Partition:
        """Raises UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER when it is elsewhere, KAFKA_STORAGE_ERROR."""
        found = self._by_name.get((topic, number))
        if found is not None:
            return found
        topic_image = self._image.topic(topic)
        if topic_image is None or not 0 <= number < len(topic_image.partitions):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {topic}-{number}")
        raise self._absent(topic_image, number)

    def partition_by_id(self, topic_id: Uuid, number: int) -> Partition:
        """Like `partition`, with UNKNOWN_TOPIC_ID for an id that no topic has (any more)."""
        found = self._partitions.get(TopicIdPartition(topic_id, number))
        if found is not None:
            return found
        topic_image = self._image.topics.get(topic_id)
        if topic_image is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID, "no topic has this id")
        if not 0 <= number < len(topic_image.partitions):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no partition {topic_image.name}-{number}")
        raise self._absent(topic_image, number)

    def _absent(self, topic: TopicImage, number: int) -> KafkaError:
        damage = self._logs.corrupt.get(TopicPartition(topic.name, number))
        if damage is not None:
            return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the log of {topic.name}-{number} is damaged: {damage}")
        return KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"this broker has no replica of {topic.name}-{number}")

    def append(self, partition: Partition, records: bytearray | memoryview, acks: int, wall_ms: int) -> AppendInfo:
        """Append in place what a client sent. Raises KafkaError."""
        if self._refuse_until_ms and self._clock.now_ms() < self._refuse_until_ms:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the disk of the log directory is full")
        try:
            info = partition.append(records, acks, wall_ms)
        except OSError as error:
            raise self._storage_error(error) from None
        if partition.log.unflushed_records >= partition.log.config.flush_messages:
            self._group_commit.request(partition)
        return info

    def read(
        self, partition: Partition, offset: int, max_bytes: int, limit_offset: int, *, min_one_batch: bool
    ) -> LogSlice:
        """Whole batches from `offset` up to `limit_offset` (exclusive). Raises KafkaError."""
        try:
            return partition.log.read(offset, max_bytes, limit_offset, min_one_batch=min_one_batch)
        except OSError as error:
            raise self._storage_error(error) from None

    def _storage_error(self, error: OSError) -> KafkaError:
        self.on_storage_error(error)
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the log directory failed: {error}")

    def on_storage_error(self, error: OSError) -> None:
        """A log could not be read, written or synced."""
        if isinstance(error, LogCorrupt):
            # The next start reads the whole log, finds the damage, and fetches the partition again from its leader.
            # Until then another replica leads, which the death of this process brings about in the shortest way.
            self._logs.distrust(error.path)
            self._fail_stop(f"a log is damaged: {error}; start this node again, and it fetches the log from its leader")
        elif error.errno in FULL and not isinstance(error, SyncFailed):
            self._refuse_until_ms = self._clock.now_ms() + FULL_DISK_PAUSE_MS
            self._on_disk_full(error)
        else:
            self._fail_stop(f"the log directory failed: {error}")

    # What the broker's own tasks need.

    def partitions(self) -> Iterator[Partition]:
        """Every replica of this broker."""
        yield from tuple(self._partitions.values())

    def leaders(self) -> Iterator[Partition]:
        for partition in self.partitions():
            if isinstance(partition.role, LeaderRole):
                yield partition

    def high_watermarks(self) -> dict[TopicPartition, int]:
        return {p.log.partition: p.high_watermark for p in self._partitions.values()}

    # Metadata.

    def on_image(self, image: MetadataImage) -> None:
        """Act on the next image. Everything is done when this returns; `image` is then what requests see."""
        old, self._image = self._image, image
        delta = delta_of(self._broker_id, old, image)
        if self._broker_id in old.brokers and self.broker_epoch != old.brokers[self._broker_id].broker_epoch:
            self._followers.reopen()
        try:
            for gone in (*delta.to_stop, *delta.to_delete):
                self._remove(gone)
            for change in (*delta.to_lead, *delta.to_follow, *delta.updated):
                self._update(image, change)
            if old.offset < 0:
                self._remove_strays(image)
        except OSError as error:
            self._fail_stop(f"the log directory failed while metadata was applied: {error}")
        self._update_configs(image, delta)

    def _update(self, image: MetadataImage, change: PartitionDelta) -> None:
        key = TopicIdPartition(change.topic_id, change.partition)
        partition = self._partitions.get(key) or self._open(image, change)
        if partition is None:
            return
        old_role = partition.role
        partition.on_image(change.new, self._clock.now_ms())
        if partition.role is not old_role:
            log.info("%s-%d: %s", change.topic, change.partition, _describe(partition))
            self._followers.follow(partition)
            self._vouch(partition)

    def _vouch(self, partition: Partition) -> None:
        """Under group commit a leader counts what it has only from the disk on, also what it had before."""
        if partition.config.group_commit and isinstance(partition.role, LeaderRole):
            self._group_commit.request(partition)

    def _open(self, image: MetadataImage, change: PartitionDelta) -> Partition | None:
        """The replica with its log, which is made if it does not exist; None while the log must not be used."""
        name = TopicPartition(change.topic, change.partition)
        if name in self._logs.corrupt and not self._may_refill(name, change.new):
            return None
        partition_log = self._logs.logs.get(name)
        if partition_log is not None and partition_log.topic_id not in (change.topic_id, ZERO_UUID):
            log.warning("%s: its log is of a deleted topic of the same name and goes", name)
            self._logs.delete_partition(name, partition_log.topic_id)
            partition_log = None
        config = self._configs.log_config(image, change.topic)
        if partition_log is not None:
            partition_log.update_config(config)
        else:
            partition_log = self._logs.create_partition(name, change.topic_id, config)
        partition = Partition(
            topic=change.topic,
            topic_id=change.topic_id,
            partition=change.partition,
            broker_id=self._broker_id,
            log=partition_log,
            high_watermark=self._logs.high_watermarks.get(name, 0),
            config=self._configs.replication_config(image, change.topic),
        )
        self._partitions[partition.key] = partition
        self._by_name[change.topic, change.partition] = partition
        return partition

    def _may_refill(self, name: TopicPartition, state: PartitionImage) -> bool:
        """Whether a damaged log may be replaced by an empty one: others have what it held, and none counts on it."""
        if self._broker_id in (state.leader, *state.isr, *state.elr) or state.leader < 0:
            log.error("%s is offline, its log is damaged: %s", name, self._logs.corrupt[name])
            return False
        damage = self._logs.corrupt[name]
        log.warning("%s: its log is damaged (%s) and is fetched again from broker %d", name, damage, state.leader)
        self._logs.delete_partition(name, ZERO_UUID)
        return True

    def _remove(self, gone: RemovedReplica) -> None:
        partition = self._partitions.pop(gone.topic_id_partition, None)
        log.info("%s-%d: removed", gone.topic, gone.partition)
        if partition is None:
            # Its log is damaged. It must not be in the way of another topic of this name.
            self._logs.delete_partition(TopicPartition(gone.topic, gone.partition), gone.topic_id)
            return
        partition.stop()
        self._followers.unfollow(partition.key)
        del self._by_name[gone.topic, gone.partition]
        self._logs.delete_partition(partition.log.partition, partition.topic_id)

    def _remove_strays(self, image: MetadataImage) -> None:
        """Logs of partitions that went elsewhere or were deleted while this broker was down."""
        for name, stray in tuple(self._logs.logs.items()):
            if (name.topic, name.partition) not in self._by_name:
                log.warning("%s: this broker is no replica of it any more, its log goes", name)
                self._logs.delete_partition(name, stray.topic_id)
        for name in tuple(self._logs.corrupt):
            topic = image.topic(name.topic)
            number = name.partition
            if (
                topic is None
                or number >= len(topic.partitions)
                or (self._broker_id not in topic.partitions[number].replicas)
            ):
                log.warning("%s: this broker is no replica of it any more, what is left of its log goes", name)
                self._logs.delete_partition(name, ZERO_UUID)

    def _update_configs(self, image: MetadataImage, delta: MetadataDelta) -> None:
        changed = set(delta.topic_configs)
        if not (changed or delta.broker_config):
            return
        for partition in self._partitions.values():
            if delta.broker_config or partition.topic in changed:
                partition.log.update_config(self._configs.log_config(image, partition.topic))
                partition.on_config(self._configs.replication_config(image, partition.topic))
                self._vouch(partition)

    def stop(self) -> None:
        """Give up every role; requests that wait hear of it. The logs stay open."""
        for partition in self.partitions():
            self._followers.unfollow(partition.key)
            partition.stop()


def _describe(partition: Partition) -> str:
    """A role, for the log."""
    match partition.role:
        case LeaderRole(leader_epoch=epoch):
            return f"leads epoch {epoch} from offset {partition.log.log_end_offset}"
        case FollowerRole(leader_epoch=epoch, leader=leader):
            return f"follows broker {leader} in epoch {epoch} at offset {partition.log.log_end_offset}"
        case None:
            return "has no role"
