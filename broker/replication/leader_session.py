"""The leader's half of one replication stream: which partitions a follower subscribed to, and what it is owed.

A state machine: frames in, frames out. It builds a frame only when the stream can take one, so that whatever was
appended meanwhile, to any partition, leaves together: cost follows rounds, not batches. Never waits; never sends.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.replication.frames import FrameError, encode_frame
from broker.replication.partition import Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicIdPartition, Uuid
from cluster.rpc.replication_pb2 import FollowerFrame, LeaderFrame, Refusal, Subscribe
from cluster.seams import Buffer

#: Partitions that one follower may follow on one stream.
SUBSCRIPTIONS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    #: Soft limit of the batches in one frame: the first of a partition goes whole.
    frame_bytes: int
    #: Bytes sent and not yet acknowledged, from which no more are sent.
    in_flight_bytes: int


class Subscription:
    """One partition of one follower; wakes its session when there is more to send."""

    __slots__ = (
        "_in_flight",
        "data_due",
        "handle",
        "high_watermark_sent",
        "log_start_sent",
        "next_offset",
        "partition",
        "queued",
        "session",
    )

    def __init__(self, session: "LeaderSession", handle: int, partition: Partition, next_offset: int) -> None:
        self.session = session
        self.handle = handle
        self.partition = partition
        #: First offset that was not sent yet.
        self.next_offset = next_offset
        self.high_watermark_sent = -1
        self.log_start_sent = -1
        #: Whether it stands in the session's queue, and whether for records or only for its offsets.
        self.queued = False
        self.data_due = False
        #: (end offset, bytes) of what was sent and not acknowledged.
        self._in_flight: deque[tuple[int, int]] = deque()

    def on_append(self) -> None:
        if not self.data_due:
            self.data_due = True
            self.session.enqueue(self)

    def on_high_watermark(self) -> None:
        if not self.queued:
            self.session.enqueue_offsets(self)

    def on_role_change(self) -> None:
        self.session.on_role_change(self)

    def sent(self, end_offset: int, size: int) -> None:
        self.next_offset = end_offset
        self._in_flight.append((end_offset, size))

    def acknowledged(self, end_offset: int) -> int:
        """Bytes that are no longer in flight."""
        freed = 0
        in_flight = self._in_flight
        while in_flight and in_flight[0][0] <= end_offset:
            freed += in_flight.popleft()[1]
        return freed

    def unacknowledged_bytes(self) -> int:
        return sum(size for _, size in self._in_flight)


class LeaderSession:
    """One follower, identified by its broker id and epoch.

    `find` gives the local replica of a partition. `wake` is called when `next_frame` has something; `wake_later` when
    it has only offsets, which may wait a little for records to travel with.
    """

    def __init__(
        self,
        *,
        broker_id: int,
        broker_epoch: int,
        find: Callable[[TopicIdPartition], Partition | None],
        limits: SessionLimits,
        wake: Callable[[], None],
        wake_later: Callable[[], None],
    ) -> None:
        self.broker_id = broker_id
        self.broker_epoch = broker_epoch
        self._find = find
        self._limits = limits
        self._wake = wake
        self._wake_later = wake_later
        self._subscriptions: dict[int, Subscription] = {}
        self._queue: deque[Subscription] = deque()
        self._refusals: list[Refusal] = []
        #: 0 <= in_flight; data is held back while it is at the limit.
        self._in_flight_bytes = 0

    def on_frame(self, frame: FollowerFrame, now_ms: int) -> None:
        """What the follower says. Raises FrameError when it breaks the protocol."""
        held_back = self._in_flight_bytes >= self._limits.in_flight_bytes
        for handle in frame.unsubscribe:
            self._drop(handle)
        for request in frame.subscribe:
            self._subscribe(request, now_ms)
        if frame.ack_handles:
            self._on_acknowledgements(frame, now_ms)
        if held_back and self._queue:
            self._wake()

    def close(self, now_ms: int) -> None:
        """The stream ended. Of a follower that has opened another one meanwhile, this says nothing."""
        for handle, subscription in tuple(self._subscriptions.items()):
            self._drop(handle)
            watchers = subscription.partition.watchers
            if not any(isinstance(w, Subscription) and w.session.broker_id == self.broker_id for w in watchers):
                subscription.partition.on_follower_gone(self.broker_id, self.broker_epoch, now_ms)

    # What Subscription calls.

    def enqueue(self, subscription: Subscription) -> None:
        if not subscription.queued:
            subscription.queued = True
            self._queue.append(subscription)
        self._wake()

    def enqueue_offsets(self, subscription: Subscription) -> None:
        subscription.queued = True
        self._queue.append(subscription)
        self._wake_later()

    def on_role_change(self, subscription: Subscription) -> None:
        self._drop(subscription.handle)
        self._refuse(subscription.handle, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    # Subscribing.

    def _subscribe(self, request: Subscribe, now_ms: int) -> None:
        if request.handle in self._subscriptions or len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise FrameError(f"handle {request.handle} is in use, or {SUBSCRIPTIONS_MAX} partitions are followed")
        if len(request.topic_id) != 16 or not 0 <= request.acked_offset <= request.end_offset:
            raise FrameError("a subscription with a bad topic id or offset")
        partition = self._find(TopicIdPartition(Uuid(request.topic_id), request.partition))
        if partition is None:
            self._refuse(request.handle, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            return
        try:
            role = partition.leader_role(request.leader_epoch)
        except KafkaError as error:
            self._refuse(request.handle, error.code)
            return
        if self.broker_id not in role.followers:
            self._refuse(request.handle, ErrorCode.UNKNOWN_LEADER_EPOCH)
            return
        if self._diverges(partition, request):
            return
        subscription = Subscription(self, request.handle, partition, request.end_offset)
        self._subscriptions[request.handle] = subscription
        partition.watchers[subscription] = None
        partition.on_follower_end_offset(self.broker_id, self.broker_epoch, request.acked_offset, now_ms)
        subscription.on_append()

    def _diverges(self, partition: Partition, request: Subscribe) -> bool:
        """Refuse a follower whose log is not a prefix of the leader's (KIP-101, KIP-279, KIP-595)."""
        log = partition.log
        if request.end_offset < log.log_start_offset:
            self._refuse(request.handle, ErrorCode.OFFSET_OUT_OF_RANGE, log_start_offset=log.log_start_offset)
            return True
        if request.last_epoch < 0:
            # Nothing in the follower's log, so nothing can differ; but it may begin beyond the leader's end.
            epoch, end_offset = -1, log.log_end_offset
        else:
            epoch, end_offset = log.end_offset_for_epoch(request.last_epoch)
        if epoch == request.last_epoch and request.end_offset <= end_offset:
            return False
        refusal = Refusal(handle=request.handle, diverging=True, diverging_epoch=epoch, diverging_end_offset=end_offset)
        self._refusals.append(refusal)
        self._wake()
        return True

    def _refuse(self, handle: int, code: ErrorCode, log_start_offset: int = -1) -> None:
        self._refusals.append(Refusal(handle=handle, error_code=code, log_start_offset=log_start_offset))
        self._wake()

    def _drop(self, handle: int) -> None:
        subscription = self._subscriptions.pop(handle, None)
        if subscription is None:
            return
        subscription.partition.watchers.pop(subscription, None)
        self._in_flight_bytes -= subscription.unacknowledged_bytes()
        if subscription.queued:
            self._queue.remove(subscription)

    # Acknowledgements.

    def _on_acknowledgements(self, frame: FollowerFrame, now_ms: int) -> None:
        for handle, end_offset in zip(frame.ack_handles, frame.ack_offsets, strict=True):
            subscription = self._subscriptions.get(handle)
            if subscription is None:
                continue
            if end_offset > subscription.next_offset:
                raise FrameError(f"offset {end_offset} is acknowledged, {subscription.next_offset} was not sent yet")
            self._in_flight_bytes -= subscription.acknowledged(end_offset)
            subscription.partition.on_follower_end_offset(self.broker_id, self.broker_epoch, end_offset, now_ms)

    # Sending.

    def next_frame(self) -> bytes | None:
        """The next frame to send, None when nothing is due. Raises OSError when a log cannot be read."""
        limits = self._limits
        if self._in_flight_bytes >= limits.in_flight_bytes and not self._refusals:
            return None
        frame = LeaderFrame()
        payload: list[Buffer] = []
        room = limits.frame_bytes
        for _ in range(len(self._queue)):
            if room <= 0:
                break
            room -= self._add(frame, payload, self._queue.popleft(), room)
        if not frame.handles and not self._refusals:
            return None
        frame.refusals.extend(self._refusals)
        self._refusals.clear()
        return encode_frame(frame, payload)

    def _add(self, frame: LeaderFrame, payload: list[Buffer], subscription: Subscription, room: int) -> int:
        """Put what `subscription` is due into `frame`; returns its bytes. Queues it again when something is left."""
        subscription.queued = False
        partition = subscription.partition
        log = partition.log
        size = 0
        if subscription.next_offset < log.log_start_offset:
            # What it needs next was deleted meanwhile.
            self._drop(subscription.handle)
            self._refuse(subscription.handle, ErrorCode.OFFSET_OUT_OF_RANGE, log.log_start_offset)
            return 0
        if subscription.data_due:
            result = log.read(subscription.next_offset, room, log.log_end_offset, min_one_batch=True)
            size = len(result.data)
            if size:
                payload.append(result.data)
                subscription.sent(result.next_offset, size)
                self._in_flight_bytes += size
            if subscription.next_offset < log.log_end_offset:
                subscription.queued = True
                self._queue.append(subscription)
            else:
                subscription.data_due = False
        high_watermark = partition.high_watermark
        log_start = log.log_start_offset
        if size or (high_watermark, log_start) != (subscription.high_watermark_sent, subscription.log_start_sent):
            frame.handles.append(subscription.handle)
            frame.high_watermarks.append(high_watermark)
            frame.log_start_offsets.append(log_start)
            frame.lengths.append(size)
            subscription.high_watermark_sent = high_watermark
            subscription.log_start_sent = log_start
        return size
