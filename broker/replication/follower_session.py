"""The follower's half of one replication stream: the partitions that it follows at one leader broker.

A state machine: frames in, frames out. It truncates where the leader's log says so, appends what is pushed, and owes
an acknowledgement for each partition that grew. Never waits; never sends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from broker.replication.frames import FrameError, decode_leader_frame, encode_frame
from broker.replication.partition import FollowerRole, Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicIdPartition
from cluster.rpc.replication_pb2 import FollowerFrame, Hello, Refusal, Subscribe

#: Refusals after which the same subscription is tried again later: either side waits for newer metadata.
RETRY_MS = 50


@dataclass(frozen=True, slots=True)
class _Followed:
    """One subscription."""

    handle: int
    partition: Partition
    leader_epoch: int


class FollowerSession:
    """`wake` is called when `next_frame` or `take_unsynced` has something.

    `retry_later(key)` asks for `follow` after a while; so does `on_bad_batches(partition, error)`, when what the leader
    sent of that partition is damaged or does not follow its log.
    """

    def __init__(
        self,
        *,
        leader_id: int,
        broker_id: int,
        broker_epoch: int,
        wake: Callable[[], None],
        retry_later: Callable[[TopicIdPartition], None],
        on_bad_batches: Callable[[Partition, KafkaError], None],
    ) -> None:
        self.leader_id = leader_id
        self._wake = wake
        self._retry_later = retry_later
        self._on_bad_batches = on_bad_batches
        self._next_handle = 1
        self._by_handle: dict[int, _Followed] = {}
        self._by_key: dict[TopicIdPartition, _Followed] = {}
        self._hello: Hello | None = Hello(broker_id=broker_id, broker_epoch=broker_epoch)
        self._subscribe: list[Subscribe] = []
        self._unsubscribe: list[int] = []
        #: Handle -> end offset, the acknowledgements that are due.
        self._acknowledge: dict[int, int] = {}
        #: Partitions under group commit that grew and wait for their disk.
        self._unsynced: dict[int, _Followed] = {}

    def follow(self, partition: Partition) -> None:
        """Subscribe, or subscribe again after the role changed."""
        role = partition.role
        if not isinstance(role, FollowerRole) or role.leader != self.leader_id:
            return
        known = self._by_key.get(partition.key)
        if known is not None and known.leader_epoch == role.leader_epoch:
            return
        self.unfollow(partition.key)
        followed = _Followed(self._next_handle, partition, role.leader_epoch)
        self._next_handle += 1
        self._by_handle[followed.handle] = followed
        self._by_key[partition.key] = followed
        log = partition.log
        self._subscribe.append(
            Subscribe(
                handle=followed.handle,
                topic_id=partition.topic_id,
                partition=partition.partition,
                leader_epoch=role.leader_epoch,
                end_offset=log.log_end_offset,
                last_epoch=log.latest_epoch,
                acked_offset=partition.counted_end_offset,
            )
        )
        if partition.counted_end_offset < log.log_end_offset:
            self._unsynced[followed.handle] = followed
        self._wake()

    def unfollow(self, key: TopicIdPartition) -> None:
        followed = self._by_key.pop(key, None)
        if followed is None:
            return
        self._forget(followed)
        before = len(self._subscribe)
        self._subscribe = [request for request in self._subscribe if request.handle != followed.handle]
        if len(self._subscribe) == before:
            self._unsubscribe.append(followed.handle)
            self._wake()

    @property
    def has_unsynced(self) -> bool:
        return bool(self._unsynced)

    def on_frame(self, frame: bytes) -> None:
        """What the leader sent. Raises FrameError and OSError."""
        header, payload = decode_leader_frame(frame)
        position = 0
        for handle, high_watermark, log_start, length in zip(
            header.handles, header.high_watermarks, header.log_start_offsets, header.lengths, strict=True
        ):
            followed = self._by_handle.get(handle)
            if followed is not None and self._is_current(followed):
                self._append(followed, payload[position : position + length], high_watermark, log_start)
            position += length
        for refusal in header.refusals:
            self._on_refusal(refusal)
        if self._acknowledge or self._unsynced:
            self._wake()

    def _append(self, followed: _Followed, batches: memoryview, high_watermark: int, log_start: int) -> None:
        partition = followed.partition
        try:
            partition.append_from_leader(batches, high_watermark, log_start)
        except KafkaError as error:
            # The other partitions of the stream have nothing to do with it.
            self.unfollow(partition.key)
            self._on_bad_batches(partition, error)
            return
        if len(batches):
            self._owe_acknowledgement(followed)

    def next_frame(self) -> bytes | None:
        """The next frame to send; None when nothing is due."""
        hello, self._hello = self._hello, None
        acknowledge, self._acknowledge = self._acknowledge, {}
        if hello is None and not (acknowledge or self._subscribe or self._unsubscribe):
            return None
        frame = FollowerFrame(
            hello=hello,
            subscribe=self._subscribe,
            unsubscribe=self._unsubscribe,
            ack_handles=acknowledge.keys(),
            ack_offsets=acknowledge.values(),
        )
        self._subscribe, self._unsubscribe = [], []
        return encode_frame(frame)

    def take_unsynced(self) -> list[Partition]:
        """Partitions whose log must reach the disk before it is acknowledged; `on_synced` follows for them."""
        unsynced, self._unsynced = self._unsynced, {}
        return [followed.partition for followed in unsynced.values()]

    def on_synced(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            followed = self._by_key.get(partition.key)
            if followed is not None and self._is_current(followed):
                self._acknowledge[followed.handle] = partition.counted_end_offset
        if self._acknowledge:
            self._wake()

    def _owe_acknowledgement(self, followed: _Followed) -> None:
        if followed.partition.config.group_commit:
            self._unsynced[followed.handle] = followed
        else:
            self._acknowledge[followed.handle] = followed.partition.log.log_end_offset

    @staticmethod
    def _is_current(followed: _Followed) -> bool:
        role = followed.partition.role
        return isinstance(role, FollowerRole) and role.leader_epoch == followed.leader_epoch

    def _forget(self, followed: _Followed) -> None:
        self._by_handle.pop(followed.handle, None)
        self._acknowledge.pop(followed.handle, None)
        self._unsynced.pop(followed.handle, None)

    def _on_refusal(self, refusal: Refusal) -> None:
        followed = self._by_handle.get(refusal.handle)
        if followed is None:
            return
        partition = followed.partition
        self._forget(followed)
        del self._by_key[partition.key]
        if not self._is_current(followed):
            return
        if refusal.diverging and partition.log.latest_epoch >= 0:
            partition.truncate(_known(_truncation_offset(partition, refusal)))
            self.follow(partition)
        elif refusal.diverging or refusal.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            start = refusal.diverging_end_offset if refusal.diverging else refusal.log_start_offset
            partition.start_over(_known(start))
            self.follow(partition)
        else:
            self._retry_later(partition.key)


def _known(offset: int) -> int:
    """`offset`, which a log is to be cut to. Raises FrameError when the leader did not say one."""
    if offset < 0:
        raise FrameError("a refusal that does not say where the log is to be cut")
    return offset


def _truncation_offset(partition: Partition, refusal: Refusal) -> int:
    """Where to cut: at the end of the last epoch that both logs have, as far as both have it (KIP-279).

    The next subscription shows whether that was enough; each round goes back by at least one epoch, so it ends.
    """
    _, own_end_offset = partition.log.end_offset_for_epoch(refusal.diverging_epoch)
    return min(refusal.diverging_end_offset, own_end_offset)
