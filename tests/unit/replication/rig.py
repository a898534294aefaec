"""Replicas of one partition on real logs, joined by real sessions whose frames are carried by hand."""

from pathlib import Path

from broker.log.config import LogConfig
from broker.log.files import FileCache
from broker.log.recovery import create_log
from broker.replication.follower_session import FollowerSession
from broker.replication.frames import decode_follower_frame
from broker.replication.leader_session import LeaderSession, SessionLimits
from broker.replication.partition import Partition, ReplicationConfig
from cluster.errors import ErrorCode
from cluster.host.disk import HostDisk
from cluster.ids import TopicIdPartition, TopicPartition, Uuid
from cluster.metadata.image import PartitionImage
from cluster.records.record import NewRecord, build_batch

TOPIC_ID = Uuid(b"t" * 16)
WALL_MS = 1_700_000_000_000


def image(leader: int, leader_epoch: int, isr: tuple[int, ...] = (1, 2, 3), partition_epoch: int = 0) -> PartitionImage:
    return PartitionImage(
        replicas=(1, 2, 3), isr=isr, leader=leader, leader_epoch=leader_epoch, partition_epoch=partition_epoch
    )


def records(*values: str) -> bytearray:
    return build_batch([NewRecord(key=None, value=value.encode(), timestamp=WALL_MS) for value in values])


def replica(
    folder: Path,
    broker_id: int,
    *,
    min_insync_replicas: int = 1,
    group_commit: bool = False,
    replica_lag_time_max_ms: int = 1000,
    log_config: LogConfig | None = None,
) -> Partition:
    """A new, empty replica with its own disk below `folder`."""
    path = folder / f"broker-{broker_id}"
    path.mkdir(parents=True, exist_ok=True)
    log = create_log(
        FileCache(HostDisk(str(path))), TopicPartition("t", 0), TOPIC_ID, log_config or LogConfig(), lambda log: None
    )
    return Partition(
        topic="t",
        topic_id=TOPIC_ID,
        partition=0,
        broker_id=broker_id,
        log=log,
        high_watermark=0,
        config=ReplicationConfig(
            min_insync_replicas=min_insync_replicas,
            group_commit=group_commit,
            replica_lag_time_max_ms=replica_lag_time_max_ms,
        ),
    )


def content(partition: Partition) -> bytes:
    """Every byte of the log."""
    log = partition.log
    data = b""
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        piece = log.read(offset, 1 << 20)
        data += piece.data
        offset = piece.next_offset
    return data


class Stream:
    """The two sessions between a leader and one follower. Nothing moves until `pump`, and then only who was woken."""

    def __init__(
        self,
        leader: Partition,
        follower: Partition,
        *,
        leader_id: int,
        follower_id: int,
        in_flight_bytes: int = 1 << 20,
    ) -> None:
        self.now_ms = 0
        self.leader_awake = self.follower_awake = True
        self.retries: list[TopicIdPartition] = []
        self.bad_batches: list[tuple[Partition, ErrorCode]] = []
        self.follower = follower
        self.leader_session = LeaderSession(
            broker_id=follower_id,
            broker_epoch=100 + follower_id,
            find=lambda key: leader if key == leader.key else None,
            limits=SessionLimits(frame_bytes=1 << 16, in_flight_bytes=in_flight_bytes),
            wake=self._wake_leader,
            wake_later=self._wake_leader,
        )
        self.follower_session = FollowerSession(
            leader_id=leader_id,
            broker_id=follower_id,
            broker_epoch=100 + follower_id,
            wake=self._wake_follower,
            retry_later=self.retries.append,
            on_bad_batches=lambda partition, error: self.bad_batches.append((partition, error.code)),
        )

    def follow(self) -> "Stream":
        self.follower_session.follow(self.follower)
        return self

    def to_leader(self) -> bool:
        """Carry one frame of the follower; whether there was one."""
        frame = self.follower_session.next_frame()
        if frame is None:
            return False
        self.leader_session.on_frame(decode_follower_frame(frame), self.now_ms)
        return True

    def to_follower(self) -> bool:
        """Carry one frame of the leader; whether there was one."""
        frame = self.leader_session.next_frame()
        if frame is None:
            return False
        self.follower_session.on_frame(frame)
        return True

    def pump(self) -> None:
        """Carry frames until both sides are silent."""
        for _ in range(10_000):
            if not (self.leader_awake or self.follower_awake):
                return
            if self.follower_awake:
                self.follower_awake = self.to_leader()
            if self.leader_awake:
                self.leader_awake = self.to_follower()
        raise AssertionError("the two sides never fall silent")

    def _wake_leader(self) -> None:
        self.leader_awake = True

    def _wake_follower(self) -> None:
        self.follower_awake = True
