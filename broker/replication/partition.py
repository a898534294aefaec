"""One replica of one partition: its role, its high watermark, and the requests that wait for them.

A pure state machine over its log: it is told what happened (an append, an acknowledgement, a new image) and the time,
and answers what follows; it never waits, sends or reads a clock. Its errors are `KafkaError`; an OSError of the log
passes through, and whoever gets it takes the log directory offline. Sources: KIP-101, KIP-207, KIP-497, KIP-966.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from broker.log.partition_log import AppendInfo, PartitionLog
from broker.replication.isr import (
    CommittedIsr,
    IsrState,
    PendingExpand,
    PendingShrink,
    advanced_high_watermark,
    may_join,
)
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicIdPartition, Uuid
from cluster.metadata.commands import IsrMember, PartitionAlteration
from cluster.metadata.image import PartitionImage
from cluster.metadata.results import AlteredPartition
from cluster.records.batch import BatchHeader, parse_header

#: `acks` of a produce request that waits for the whole ISR.
ACKS_ALL = -1

#: A member of the ISR without a stream for this long is not counted on for new writes.
GONE_MS = 2000

#: Error codes of an ISR change after which the controller keeps an ISR that this leader does not know: an image with it
#: is on its way.
_ISR_OVERTAKEN = frozenset(
    (
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.INVALID_UPDATE_VERSION,
        ErrorCode.NEW_LEADER_ELECTED,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    )
)
#: Error codes after which the controller certainly keeps the ISR that it had.
_ISR_REFUSED = frozenset((ErrorCode.INELIGIBLE_REPLICA, ErrorCode.INVALID_REQUEST, ErrorCode.OPERATION_NOT_ATTEMPTED))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationConfig:
    """What a topic's configuration says about replication."""

    min_insync_replicas: int
    #: An offset counts as replicated only when it is on disk (flush.messages=1).
    group_commit: bool
    replica_lag_time_max_ms: int


class Watcher(Protocol):
    """Somebody who wants to know when a partition has more to give. Called synchronously; must not change it."""

    def on_append(self) -> None:
        """The log grew."""
        ...

    def on_high_watermark(self) -> None: ...

    def on_role_change(self) -> None:
        """The replica got another role or leader epoch, or went offline."""
        ...


class FollowerProgress:
    """What a leader knows about one follower."""

    __slots__ = ("broker_epoch", "caught_up_ms", "end_offset", "gone_since_ms", "mark_ms", "mark_offset")

    def __init__(self, now_ms: int) -> None:
        #: Everything below is on the follower (on its disk under group commit); -1 before its first word.
        self.end_offset = -1
        self.broker_epoch = -1
        #: The last time at which it certainly held all that the leader had.
        self.caught_up_ms = now_ms
        #: Log end and time of its previous acknowledgement: reaching this mark later means having been caught up then.
        self.mark_offset = 0
        self.mark_ms = now_ms
        #: Since when it has no stream; None while it has one.
        self.gone_since_ms: int | None = now_ms

    def on_end_offset(self, end_offset: int, leader_end_offset: int, now_ms: int) -> None:
        self.end_offset = end_offset
        if end_offset >= leader_end_offset:
            self.caught_up_ms = now_ms
        elif end_offset >= self.mark_offset:
            self.caught_up_ms = max(self.caught_up_ms, self.mark_ms)
        self.mark_offset = leader_end_offset
        self.mark_ms = now_ms


@dataclass(slots=True)
class ProduceWaiter:
    """An acks=all append whose answer is due when the high watermark reaches `end_offset`."""

    end_offset: int
    deadline_ms: int
    complete: Callable[[ErrorCode], None]


@dataclass(slots=True)
class LeaderRole:
    leader_epoch: int
    #: Log end when the epoch began: below lies what earlier leaders wrote.
    epoch_start_offset: int
    isr: IsrState
    followers: dict[int, FollowerProgress]
    #: In order of `end_offset`.
    waiters: deque[ProduceWaiter]
    #: What the pending state of `isr` waits for an answer to; it is asked again until there is one.
    proposal: PartitionAlteration | None = None
    #: Members of the ISR that have been gone for longer than GONE_MS, as of the last tick.
    gone: int = 0


@dataclass(frozen=True, slots=True)
class FollowerRole:
    leader_epoch: int
    #: NO_LEADER while there is none.
    leader: int


class Partition:
    """See the module. `role` is None until the first image, and after the log directory went offline."""

    def __init__(
        self,
        *,
        topic: str,
        topic_id: Uuid,
        partition: int,
        broker_id: int,
        log: PartitionLog,
        high_watermark: int,
        config: ReplicationConfig,
    ) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.partition = partition
        self.log = log
        self.config = config
        #: log_start_offset <= high_watermark <= log_end_offset; never falls while this replica leads.
        self.high_watermark = min(max(high_watermark, log.log_start_offset), log.log_end_offset)
        self.role: LeaderRole | FollowerRole | None = None
        self.image: PartitionImage | None = None
        #: Why this replica cannot serve, in words; None while it can.
        self.offline_reason: str | None = None
        #: In order of arrival; a dict for the sake of that order.
        self.watchers: dict[Watcher, None] = {}
        self._broker_id = broker_id

    @property
    def key(self) -> TopicIdPartition:
        return TopicIdPartition(self.topic_id, self.partition)

    def __repr__(self) -> str:
        return f"<Partition {self.topic}-{self.partition} {self.role} hw={self.high_watermark}>"

    # Roles.

    def on_image(self, image: PartitionImage, now_ms: int) -> None:
        """Take the role that `image` gives this replica. What waited on an earlier leadership is answered."""
        self.image = image
        if self.offline_reason is not None:
            return
        role = self.role
        if image.leader == self._broker_id:
            if isinstance(role, LeaderRole) and role.leader_epoch == image.leader_epoch:
                self._on_isr_committed(role, image.isr, image.partition_epoch)
                self._retain_followers(role, image, now_ms)
                return
            self._resign()
            self._lead(image, now_ms)
            self._tell_role_change()
        elif role != (following := FollowerRole(image.leader_epoch, image.leader)):
            self._resign()
            self.role = following
            self._tell_role_change()

    def go_offline(self, reason: str) -> None:
        """Stop serving for good; requests that wait hear of it."""
        self.offline_reason = reason
        self._resign(ErrorCode.KAFKA_STORAGE_ERROR)
        self.role = None
        self._tell_role_change()

    def stop(self) -> None:
        """Give up the replica, because it or its topic goes away."""
        self._resign()
        self.role = None
        self._tell_role_change()

    def _tell_role_change(self) -> None:
        for watcher in tuple(self.watchers):
            watcher.on_role_change()

    def _tell_high_watermark(self) -> None:
        for watcher in tuple(self.watchers):
            watcher.on_high_watermark()

    def _lead(self, image: PartitionImage, now_ms: int) -> None:
        log = self.log
        log.start_epoch(image.leader_epoch)
        isr = CommittedIsr(isr=tuple(sorted(image.isr)), partition_epoch=image.partition_epoch)
        role = LeaderRole(image.leader_epoch, log.log_end_offset, isr, {}, deque())
        self.role = role
        self._retain_followers(role, image, now_ms)
        self._advance(role)

    def _retain_followers(self, role: LeaderRole, image: PartitionImage, now_ms: int) -> None:
        known = role.followers
        role.followers = {
            broker: known.get(broker) or FollowerProgress(now_ms)
            for broker in image.replicas
            if broker != self._broker_id
        }

    def _resign(self, code: ErrorCode = ErrorCode.NOT_LEADER_OR_FOLLOWER) -> None:
        if isinstance(self.role, LeaderRole):
            waiters, self.role.waiters = self.role.waiters, deque()
            for waiter in waiters:
                waiter.complete(code)

    def leader_role(self, current_leader_epoch: int = -1) -> LeaderRole:
        """The leader's role, for a request that must be served by it; `current_leader_epoch` is the client's (KIP-320).

        Raises NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH.
        """
        role = self.role
        if not isinstance(role, LeaderRole):
            if self.offline_reason is not None:
                raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, self.offline_reason)
            raise KafkaError(
                ErrorCode.NOT_LEADER_OR_FOLLOWER, f"this broker does not lead {self.topic}-{self.partition}"
            )
        if current_leader_epoch >= 0 and current_leader_epoch != role.leader_epoch:
            older = current_leader_epoch < role.leader_epoch
            raise KafkaError(
                ErrorCode.FENCED_LEADER_EPOCH if older else ErrorCode.UNKNOWN_LEADER_EPOCH,
                f"the leader epoch is {role.leader_epoch}, the request says {current_leader_epoch}",
            )
        return role

    # Leader: writing.

    @property
    def min_isr(self) -> int:
        """min.insync.replicas, but never more than there are replicas."""
        replicas = len(self.image.replicas) if self.image is not None else 1
        return min(self.config.min_insync_replicas, replicas)

    def append(self, batches: bytearray | memoryview, acks: int, wall_ms: int) -> AppendInfo:
        """Append what a client sent. For acks=all the caller then waits with `wait_for`.

        Raises NOT_ENOUGH_REPLICAS before anything is written, NOT_LEADER_OR_FOLLOWER, and the validator's errors.
        """
        role = self.leader_role()
        in_sync = len(role.isr.isr) - role.gone
        # The configured number is an upper bound of `min_isr`, and cheaper.
        if acks == ACKS_ALL and in_sync < self.config.min_insync_replicas and in_sync < self.min_isr:
            raise KafkaError(
                ErrorCode.NOT_ENOUGH_REPLICAS,
                f"the ISR of {self.topic}-{self.partition} is {list(role.isr.isr)}, {role.gone} of it are gone, "
                f"and min.insync.replicas is {self.min_isr}",
            )
        info = self.log.append_as_leader(batches, role.leader_epoch, wall_ms)
        if not info.duplicate:
            for watcher in self.watchers:
                watcher.on_append()
            if len(role.isr.maximal) == 1:
                self._advance(role)
        return info

    def wait_for(self, end_offset: int, deadline_ms: int, complete: Callable[[ErrorCode], None]) -> None:
        """Call `complete` once, now or later: when all records below `end_offset` are committed, or never will be."""
        role = self.leader_role()
        if end_offset <= self.high_watermark:
            complete(self._committed_code(role))
            return
        waiter = ProduceWaiter(end_offset, deadline_ms, complete)
        waiters = role.waiters
        if waiters and waiters[-1].end_offset > end_offset:
            # A duplicate of an earlier batch waits for that one: rare, so a sort is cheap enough.
            role.waiters = deque(sorted((*waiters, waiter), key=lambda w: w.end_offset))
        else:
            waiters.append(waiter)

    def on_tick(self, now_ms: int) -> None:
        """Answer what waited too long, see who is gone, and whom there is nothing to wait for."""
        role = self.role
        if not isinstance(role, LeaderRole):
            return
        end_offset = self.log.log_end_offset
        for follower in role.followers.values():
            # While nothing is appended a follower acknowledges nothing: it is caught up all the same.
            if follower.end_offset >= end_offset and follower.gone_since_ms is None:
                follower.caught_up_ms = now_ms
        role.gone = sum(
            1
            for broker in role.isr.isr
            if (progress := role.followers.get(broker)) is not None
            and progress.gone_since_ms is not None
            and now_ms - progress.gone_since_ms > GONE_MS
        )
        if not any(waiter.deadline_ms <= now_ms for waiter in role.waiters):
            return
        waiters, role.waiters = role.waiters, deque()
        for waiter in waiters:
            if waiter.deadline_ms <= now_ms:
                waiter.complete(ErrorCode.REQUEST_TIMED_OUT)
            else:
                role.waiters.append(waiter)

    def _committed_code(self, role: LeaderRole) -> ErrorCode:
        if len(role.isr.isr) < self.min_isr:
            return ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        return ErrorCode.NONE

    # Leader: replication.

    def on_follower_end_offset(self, broker_id: int, broker_epoch: int, end_offset: int, now_ms: int) -> None:
        """A follower holds everything below `end_offset`."""
        role = self.role
        if isinstance(role, LeaderRole) and (progress := role.followers.get(broker_id)) is not None:
            if broker_epoch < progress.broker_epoch:
                # An earlier life of the follower: what it held may be lost (KIP-903).
                return
            progress.broker_epoch = broker_epoch
            progress.gone_since_ms = None
            progress.on_end_offset(end_offset, self.log.log_end_offset, now_ms)
            self._advance(role)

    def on_follower_gone(self, broker_id: int, broker_epoch: int, now_ms: int) -> None:
        """The follower's stream ended."""
        role = self.role
        if isinstance(role, LeaderRole):
            progress = role.followers.get(broker_id)
            if progress is not None and progress.broker_epoch == broker_epoch and progress.gone_since_ms is None:
                progress.gone_since_ms = now_ms

    def on_durable(self) -> None:
        """More of this replica's own log is on disk."""
        if isinstance(self.role, LeaderRole):
            self._advance(self.role)

    def on_config(self, config: ReplicationConfig) -> None:
        """The topic's configuration changed."""
        self.config = config
        if isinstance(self.role, LeaderRole):
            self._advance(self.role)

    @property
    def counted_end_offset(self) -> int:
        """The end of what this replica vouches for."""
        return self.log.durable_end_offset if self.config.group_commit else self.log.log_end_offset

    def _advance(self, role: LeaderRole) -> None:
        lowest = self.counted_end_offset
        followers = role.followers
        for broker in role.isr.maximal:
            if broker != self._broker_id:
                progress = followers.get(broker)
                end_offset = -1 if progress is None else progress.end_offset
                if end_offset < lowest:
                    lowest = end_offset
        new = advanced_high_watermark(self.high_watermark, (lowest,), len(role.isr.isr), self.min_isr)
        if new == self.high_watermark:
            return
        assert new <= self.log.log_end_offset, "nothing beyond the log's end is committed"
        self.high_watermark = new
        self.log.on_high_watermark(new)
        waiters = role.waiters
        if waiters and waiters[0].end_offset <= new:
            code = self._committed_code(role)
            while waiters and waiters[0].end_offset <= new:
                waiters.popleft().complete(code)
        self._tell_high_watermark()

    # Leader: the ISR.

    def decide_isr(
        self, now_ms: int, joinable: Callable[[int, int], bool], broker_epochs: Mapping[int, int]
    ) -> PartitionAlteration | None:
        """A change of the ISR that is due, pending from here on, and told again until it is answered; None if none is.

        `joinable(broker_id, broker_epoch)` says whether a broker's current incarnation may be in an ISR (KIP-841).
        """
        role = self.role
        if not isinstance(role, LeaderRole):
            return None
        if not isinstance(role.isr, CommittedIsr):
            return role.proposal
        committed = role.isr
        pending: PendingExpand | PendingShrink
        joining = self._joining(role, committed, joinable, now_ms)
        if joining is not None:
            pending = PendingExpand(committed=committed, joining=joining)
        else:
            leaving = self._leaving(role, committed, now_ms)
            if not leaving:
                return None
            pending = PendingShrink(committed=committed, leaving=leaving)
        role.isr = pending
        role.proposal = PartitionAlteration(
            topic_id=self.topic_id,
            partition=self.partition,
            leader_epoch=role.leader_epoch,
            partition_epoch=committed.partition_epoch,
            isr=tuple(
                IsrMember(broker_id=broker, broker_epoch=self._epoch_of(role, broker, broker_epochs))
                for broker in pending.proposed
            ),
        )
        return role.proposal

    def _joining(
        self, role: LeaderRole, committed: CommittedIsr, joinable: Callable[[int, int], bool], now_ms: int
    ) -> int | None:
        limit = now_ms - self.config.replica_lag_time_max_ms
        for broker, progress in role.followers.items():
            if (
                broker not in committed.isr
                # Differs from Kafka: one that would have to leave again at once does not join.
                and progress.caught_up_ms >= limit
                and may_join(progress.end_offset, self.high_watermark, role.epoch_start_offset)
                and joinable(broker, progress.broker_epoch)
            ):
                return broker
        return None

    def _leaving(self, role: LeaderRole, committed: CommittedIsr, now_ms: int) -> tuple[int, ...]:
        end_offset = self.log.log_end_offset
        limit = now_ms - self.config.replica_lag_time_max_ms
        return tuple(
            broker
            for broker in committed.isr
            if broker != self._broker_id
            and (progress := role.followers.get(broker)) is not None
            and progress.end_offset < end_offset
            and progress.caught_up_ms < limit
        )

    @staticmethod
    def _epoch_of(role: LeaderRole, broker: int, broker_epochs: Mapping[int, int]) -> int:
        """The incarnation that was judged: the follower's own word where there is one, else the image's."""
        progress = role.followers.get(broker)
        if progress is not None and progress.broker_epoch >= 0:
            return progress.broker_epoch
        return broker_epochs.get(broker, -1)

    def on_isr_answer(self, proposal: PartitionAlteration, answer: AlteredPartition) -> None:
        """The controller's word on `proposal`, or on an identical earlier one.

        Only a refusal that leaves the controller's ISR as this leader knows it ends the pending state.
        """
        role = self.role
        if not isinstance(role, LeaderRole) or role.proposal != proposal:
            return
        if answer.error_code is ErrorCode.NONE and answer.leader_epoch == role.leader_epoch:
            self._on_isr_committed(role, answer.isr, answer.partition_epoch)
        elif answer.error_code in _ISR_REFUSED and not isinstance(role.isr, CommittedIsr):
            role.isr = role.isr.committed
            role.proposal = None
            # A joiner that is not waited for any more may have been the only one to lack something.
            self._advance(role)
        elif answer.error_code in _ISR_OVERTAKEN:
            role.proposal = None

    def _on_isr_committed(self, role: LeaderRole, isr: tuple[int, ...], partition_epoch: int) -> None:
        known = role.isr.partition_epoch if isinstance(role.isr, CommittedIsr) else role.isr.committed.partition_epoch
        if partition_epoch > known:
            role.isr = CommittedIsr(isr=tuple(sorted(isr)), partition_epoch=partition_epoch)
            role.proposal = None
            self._advance(role)

    # Follower.

    def append_from_leader(self, batches: memoryview, leader_high_watermark: int, leader_log_start: int) -> None:
        """Append what the leader pushed (maybe nothing) and take over its offsets."""
        log = self.log
        if len(batches):
            if log.log_start_offset == log.log_end_offset:
                self._begin_with(parse_header(batches))
            log.append_as_follower(batches)
        if leader_log_start > log.log_start_offset:
            log.increment_log_start_offset(min(leader_log_start, log.log_end_offset))
        new = max(min(leader_high_watermark, log.log_end_offset), log.log_start_offset)
        if new > self.high_watermark:
            self.high_watermark = new
            log.on_high_watermark(new)
            self._tell_high_watermark()

    def _begin_with(self, first: BatchHeader) -> None:
        """Make room for a whole first batch in an empty log that starts within it.

        Batches are sent whole, and records are deleted one by one: the log start that comes with the batch hides what
        was deleted.
        """
        if 0 <= first.base_offset < self.log.log_end_offset <= first.last_offset:
            self.start_over(first.base_offset)

    def truncate(self, offset: int) -> None:
        """Cut the log to `offset`, where it and the leader's part ways."""
        if offset < self.log.log_start_offset:
            self.start_over(offset)
            return
        self.log.truncate_to(offset)
        self.high_watermark = min(self.high_watermark, self.log.log_end_offset)

    def start_over(self, offset: int) -> None:
        """Drop the whole log, and begin at `offset`, where the leader's log does."""
        self.log.truncate_fully_and_start_at(offset)
        self.high_watermark = offset

    # Reading.

    def latest_offset(self, current_leader_epoch: int) -> int:
        """The high watermark as ListOffsets tells it. Raises OFFSET_NOT_AVAILABLE while it may lag (KIP-207)."""
        role = self.leader_role(current_leader_epoch)
        if self.high_watermark < role.epoch_start_offset:
            raise KafkaError(
                ErrorCode.OFFSET_NOT_AVAILABLE, "the high watermark has not reached this leader's epoch yet"
            )
        return self.high_watermark

    def delete_records(self, offset: int) -> int:
        """Move the log's start to `offset`, -1 for the high watermark; returns the new start.

        Raises OFFSET_OUT_OF_RANGE beyond the high watermark.
        """
        self.leader_role()
        target = self.high_watermark if offset == -1 else offset
        if not 0 <= target <= self.high_watermark:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, f"the high watermark is {self.high_watermark}")
        if self.log.increment_log_start_offset(target):
            # Followers learn of the new start the way they learn of the high watermark.
            self._tell_high_watermark()
        return self.log.log_start_offset
