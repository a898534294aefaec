"""Where a consumer stands in each partition, what to fetch next, and what an answer means.

Owns positions, what is read ahead, and the reactions to errors of a fetch: go on elsewhere, later, from another offset,
or tell the user. A state machine: time is passed in, requests are handed out, nothing is sent here. Each partition has
a generation that rises with every seek, so that an answer to an older question is dropped.

Source: KIP-74 (soft limits), KIP-320 and KIP-595 (truncation), KIP-392 (nearest replica), KIP-516 (topic ids).
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from client.errors import ClientError, failure
from client.fetched import ConsumerRecord, FetchedBatches
from client.metadata import Leader
from client.offsets import EARLIEST, LATEST, READ_COMMITTED
from client.retry import STALE_METADATA, TRANSIENT_OR_ABSENT
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID, TopicPartition, Uuid
from cluster.records.batch import NO_LEADER_EPOCH
from cluster.wire.codec import records_view
from cluster.wire.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData

#: What auto.offset.reset means.
RESET_TARGETS: Final[Mapping[str, int | None]] = {"latest": LATEST, "earliest": EARLIEST, "none": None}

#: The last version of Fetch that names topics.
_VERSION_WITH_NAMES: Final = 12
_NO_OFFSET: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class FetcherSettings:
    """The meanings are those of the consumer's configuration."""

    #: LATEST or EARLIEST; None where an unknown position is an error.
    auto_offset_reset: int | None
    isolation_level: int
    fetch_min_bytes: int
    fetch_max_wait_ms: int
    fetch_max_bytes: int
    max_partition_fetch_bytes: int
    check_crcs: bool
    client_rack: str
    retry_backoff_ms: int
    #: How long a replica that was recommended is believed to be the nearest one.
    preferred_replica_ms: int


class _Asked(NamedTuple):
    generation: int
    fetch_offset: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request to one broker, with what is needed to understand the answer. `version_max` None is no limit."""

    request: FetchRequest
    version_max: int | None
    asked: Mapping[TopicPartition, _Asked]
    names: Mapping[Uuid, str]


@dataclass(frozen=True, slots=True)
class StaleLeader:
    """Effect of an answer: what was known about the leader of a partition is not so any more."""

    partition: TopicPartition
    answer: PartitionData | None


class _Partition:
    __slots__ = (
        "buffer",
        "error",
        "generation",
        "high_watermark",
        "in_flight",
        "last_epoch",
        "last_stable_offset",
        "paused",
        "position",
        "preferred_replica",
        "preferred_until_ms",
        "reset",
        "resolving",
        "retry_at_ms",
    )

    def __init__(self) -> None:
        self.generation = 0
        #: Of the next record to be taken; None while `reset` says where that is.
        self.position: int | None = None
        #: Which offset to look up, in place of a timestamp: LATEST, EARLIEST, a time.
        self.reset: int | None = None
        self.resolving = False
        self.buffer: deque[FetchedBatches] = deque()
        #: Leader epoch of the record before `position`, -1 where it is not known.
        self.last_epoch = NO_LEADER_EPOCH
        self.in_flight = False
        self.paused = False
        self.retry_at_ms = 0
        #: What only the user can cure, by a seek.
        self.error: KafkaError | None = None
        self.high_watermark = _NO_OFFSET
        self.last_stable_offset = _NO_OFFSET
        self.preferred_replica: int | None = None
        self.preferred_until_ms = 0

    def move(self, position: int | None, reset: int | None = None) -> None:
        """Go elsewhere: what was read ahead or asked for no longer counts."""
        self.generation += 1
        self.position, self.reset = position, reset
        self.resolving = False
        self.buffer.clear()
        self.last_epoch = NO_LEADER_EPOCH
        self.in_flight = False
        self.retry_at_ms = 0
        self.error = None

    @property
    def buffered_bytes(self) -> int:
        return sum(fetched.size_bytes for fetched in self.buffer)

    @property
    def fetch_offset(self) -> int:
        assert self.position is not None
        return max(self.position, self.buffer[-1].next_offset) if self.buffer else self.position

    @property
    def fetched_epoch(self) -> int:
        return self.buffer[-1].last_epoch if self.buffer else self.last_epoch


class Fetcher:
    """What is read ahead is bounded by fetch.max.bytes and one more answer of every broker."""

    def __init__(self, settings: FetcherSettings) -> None:
        self._settings = settings
        #: Those that got records last stand at the end, so that each has its turn.
        self._partitions: dict[TopicPartition, _Partition] = {}

    # What the user says.

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._partitions)

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these and no others. Those that were read before go on where they are."""
        before = self._partitions
        self._partitions = {}
        for partition in sorted(set(partitions)):
            state = before.get(partition)
            if state is None:
                state = _Partition()
                self._lose_position(partition, state, "it has none yet")
            self._partitions[partition] = state

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at `offset`, 0 <= offset. The partition must be assigned."""
        assert offset >= 0, offset
        self._partitions[partition].move(offset)

    def reset(self, partition: TopicPartition, target: int) -> None:
        """Go on at LATEST, EARLIEST or the first record of a time."""
        self._partitions[partition].move(None, target)

    def pause(self, partition: TopicPartition) -> None:
        """Neither fetch nor hand out records; what was read ahead is kept."""
        self._partitions[partition].paused = True

    def resume(self, partition: TopicPartition) -> None:
        self._partitions[partition].paused = False

    def position(self, partition: TopicPartition) -> int | None:
        """The offset of the next record to be taken; None until it is looked up. Raises the partition's error."""
        state = self._partitions[partition]
        if state.position is None and state.error is not None:
            raise state.error
        return state.position

    def high_watermark(self, partition: TopicPartition) -> int | None:
        """Where the next record to be visible will be, as of the last answer: for read_committed the stable offset."""
        state = self._partitions[partition]
        committed = self._settings.isolation_level == READ_COMMITTED
        offset = state.last_stable_offset if committed else state.high_watermark
        return None if offset == _NO_OFFSET else offset

    # Positions.

    def resets_due(self, now_ms: int) -> dict[TopicPartition, int]:
        """Offsets to be looked up, each handed out once; answer with `on_offset` or `on_offset_failed`."""
        due = {
            partition: state.reset
            for partition, state in self._partitions.items()
            if state.reset is not None and not state.resolving and now_ms >= state.retry_at_ms
        }
        for partition in due:
            self._partitions[partition].resolving = True
        return due

    def on_offset(self, partition: TopicPartition, target: int, offset: int) -> None:
        """The offset of `target` was found; -1 means that no record is that late."""
        state = self._partitions.get(partition)
        if state is None or not state.resolving or state.reset != target:
            return
        if offset < 0:
            state.move(None, LATEST)
        else:
            state.move(offset)

    def on_offset_failed(self, partition: TopicPartition, target: int, error: KafkaError, now_ms: int) -> None:
        state = self._partitions.get(partition)
        if state is None or not state.resolving or state.reset != target:
            return
        state.resolving = False
        state.retry_at_ms = now_ms + self._settings.retry_backoff_ms
        if error.code not in TRANSIENT_OR_ABSENT and error.code is not ErrorCode.REQUEST_TIMED_OUT:
            state.reset, state.error = None, error

    # Fetching.

    def fetchable(self, now_ms: int) -> list[tuple[TopicPartition, int | None]]:
        """(partition, the replica to be asked, None for the leader) of all that want records and may have them."""
        if sum(state.buffered_bytes for state in self._partitions.values()) >= self._settings.fetch_max_bytes:
            return []
        found = []
        for partition, state in self._partitions.items():
            if (
                state.position is not None
                and state.error is None
                and not state.in_flight
                and not state.paused
                and now_ms >= state.retry_at_ms
                and state.buffered_bytes < max(1, self._settings.max_partition_fetch_bytes)
            ):
                replica = state.preferred_replica if now_ms < state.preferred_until_ms else None
                found.append((partition, replica))
        return found

    def next_event_ms(self, now_ms: int) -> int | None:
        """When to look again though nothing happened."""
        waits = (state.retry_at_ms for state in self._partitions.values() if state.retry_at_ms > now_ms)
        return min(waits, default=None)

    def fetch(self, leaders: Mapping[TopicPartition, tuple[Leader, Uuid]]) -> Fetch:
        """One request for the given partitions, all of one broker; they are in flight until the answer is passed in."""
        asked: dict[TopicPartition, _Asked] = {}
        topics: dict[str, FetchTopic] = {}
        for partition, (leader, topic_id) in leaders.items():
            state = self._partitions[partition]
            state.in_flight = True
            asked[partition] = _Asked(state.generation, state.fetch_offset)
            topic = topics.setdefault(
                partition.topic, FetchTopic(topic=partition.topic, topic_id=topic_id, partitions=[])
            )
            assert isinstance(topic.partitions, list)
            topic.partitions.append(
                FetchPartition(
                    partition=partition.partition,
                    current_leader_epoch=leader.leader_epoch,
                    fetch_offset=state.fetch_offset,
                    last_fetched_epoch=state.fetched_epoch,
                    partition_max_bytes=self._settings.max_partition_fetch_bytes,
                )
            )
        request = FetchRequest(
            max_wait_ms=self._settings.fetch_max_wait_ms,
            min_bytes=self._settings.fetch_min_bytes,
            max_bytes=self._settings.fetch_max_bytes,
            isolation_level=self._settings.isolation_level,
            topics=list(topics.values()),
            rack_id=self._settings.client_rack,
        )
        has_ids = all(topic.topic_id != ZERO_UUID for topic in topics.values())
        names = {topic.topic_id: topic.topic for topic in topics.values()}
        return Fetch(request, None if has_ids else _VERSION_WITH_NAMES, asked, names)

    def on_response(self, fetch: Fetch, response: FetchResponse, now_ms: int) -> list[StaleLeader]:
        """Take in an answer; the effects are leaders to be looked up again."""
        if response.error_code != ErrorCode.NONE:
            return self.on_failure(fetch, failure(response.error_code, "fetch"), now_ms)
        effects: list[StaleLeader] = []
        answered = set()
        for topic in response.responses:
            name = topic.topic or fetch.names.get(topic.topic_id, "")
            for answer in topic.partitions:
                partition = TopicPartition(name, answer.partition_index)
                answered.add(partition)
                state = self._current(fetch, partition)
                if state is not None and self._on_answer(partition, state, answer, now_ms):
                    effects.append(StaleLeader(partition, answer))
        for partition in fetch.asked.keys() - answered:
            state = self._current(fetch, partition)
            if state is not None:
                state.retry_at_ms = now_ms + self._settings.retry_backoff_ms
        return effects

    def on_failure(self, fetch: Fetch, error: KafkaError, now_ms: int) -> list[StaleLeader]:
        """There is no answer. The effects are leaders to be looked up again."""
        effects = []
        for partition in fetch.asked:
            state = self._current(fetch, partition)
            if state is not None:
                state.retry_at_ms = now_ms + self._settings.retry_backoff_ms
                state.preferred_replica, state.preferred_until_ms = None, 0
                if error.code is ErrorCode.UNSUPPORTED_VERSION:
                    state.error = error
                effects.append(StaleLeader(partition, None))
        return effects

    def take(self, records_max: int) -> list[ConsumerRecord]:
        """Up to `records_max` records, in order within each partition.

        Raises the KafkaError of a partition as soon as what was read before it is taken, and at every call from then
        on until the user seeks, pauses or reassigns it; the records of others wait meanwhile.
        """
        taken: list[ConsumerRecord] = []
        for state in self._partitions.values():
            if state.error is not None and not state.buffer and not state.paused:
                raise state.error
        for partition, state in list(self._partitions.items()):
            if state.buffer and not state.paused and len(taken) < records_max:
                taken += self._take(partition, state, records_max - len(taken))
        return taken

    def _take(self, partition: TopicPartition, state: _Partition, records_max: int) -> list[ConsumerRecord]:
        taken: list[ConsumerRecord] = []
        while state.buffer and len(taken) < records_max:
            fetched = state.buffer[0]
            assert state.position is not None
            try:
                records, state.position = fetched.take(state.position, records_max - len(taken))
            except KafkaError as error:
                state.error = error
                state.buffer.clear()
                break
            taken += records
            if records:
                state.last_epoch = records[-1].leader_epoch
            if fetched.is_empty:
                state.last_epoch = fetched.last_epoch
                state.buffer.popleft()
        if taken:
            self._partitions[partition] = self._partitions.pop(partition)
        return taken

    def _current(self, fetch: Fetch, partition: TopicPartition) -> _Partition | None:
        """The state of a partition that an answer is for; None when it was moved or dropped since it was asked."""
        state = self._partitions.get(partition)
        asked = fetch.asked.get(partition)
        if state is None or asked is None or state.generation != asked.generation:
            return None
        state.in_flight = False
        return state

    def _on_answer(self, partition: TopicPartition, state: _Partition, answer: PartitionData, now_ms: int) -> bool:
        """Whether the leader has to be looked up again."""
        subject = f"{partition.topic}/{partition.partition}"
        if answer.error_code != ErrorCode.NONE:
            return self._on_error(partition, state, failure(answer.error_code, subject), now_ms)
        state.high_watermark = answer.high_watermark
        state.last_stable_offset = answer.last_stable_offset
        if answer.diverging_epoch is not None:
            self._on_truncated(partition, state, answer.diverging_epoch.end_offset, answer.diverging_epoch.epoch)
            return False
        if answer.preferred_read_replica >= 0:
            state.preferred_replica = answer.preferred_read_replica
            state.preferred_until_ms = now_ms + self._settings.preferred_replica_ms
        data = records_view(answer.records)
        if data is None or not len(data):
            return False
        committed = self._settings.isolation_level == READ_COMMITTED
        try:
            fetched = FetchedBatches(
                partition,
                data,
                (answer.aborted_transactions or ()) if committed else None,
                check_crcs=self._settings.check_crcs,
            )
        except KafkaError as error:
            state.error = ClientError(
                error.code, error.message, subject=f"{subject} at offset {state.fetch_offset}", advice="seek past it"
            )
            return False
        if fetched.next_offset < 0:
            state.error = failure(
                ErrorCode.MESSAGE_TOO_LARGE,
                subject,
                f"the batch at offset {state.fetch_offset} is larger than max.partition.fetch.bytes and the broker "
                "sends no more than that",
            )
            return False
        state.buffer.append(fetched)
        return False

    def _on_error(self, partition: TopicPartition, state: _Partition, error: ClientError, now_ms: int) -> bool:
        state.retry_at_ms = now_ms + self._settings.retry_backoff_ms
        state.preferred_replica, state.preferred_until_ms = None, 0
        if error.code is ErrorCode.OFFSET_OUT_OF_RANGE:
            # What was read ahead may still be taken; then the same question gets the same answer.
            if not state.buffer:
                self._lose_position(partition, state, f"offset {state.position} is not in the log")
            return False
        if error.code not in TRANSIENT_OR_ABSENT:
            state.error = error
        return error.code in STALE_METADATA

    def _on_truncated(self, partition: TopicPartition, state: _Partition, end_offset: int, epoch: int) -> None:
        """The log was cut off before our position: records that we have read are gone, others have their offsets."""
        position = state.position
        assert position is not None
        if end_offset < 0:
            self._lose_position(partition, state, "the log has nothing in common with what was read")
        elif position <= end_offset:
            # Only what was read ahead is gone.
            last_epoch = state.last_epoch
            state.move(position)
            state.last_epoch = last_epoch
        elif self._settings.auto_offset_reset is None:
            state.error = ClientError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"the log was cut off at offset {end_offset}; records up to {position} that were read are gone",
                subject=f"{partition.topic}/{partition.partition}",
                advice=f"undo what came of them and seek to {end_offset}, or set auto.offset.reset",
            )
        else:
            state.move(end_offset)
            state.last_epoch = epoch

    def _lose_position(self, partition: TopicPartition, state: _Partition, reason: str) -> None:
        state.move(None, self._settings.auto_offset_reset)
        if self._settings.auto_offset_reset is None:
            state.error = ClientError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"there is no position to go on from: {reason}, and auto.offset.reset=none",
                subject=f"{partition.topic}/{partition.partition}",
                advice="seek to an offset, the beginning or the end",
            )
