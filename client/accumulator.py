"""Records on their way: batches by partition, what may be sent when, and what an answer changes.

Owns everything about a producer that must not go wrong: the order of batches, the sequence numbers that make a retry
idempotent, the memory that records take, and their deadlines. A state machine: time is passed in, a batch that is over
is handed back, and nothing is sent here. A batch waits in its partition's queue, goes to `unacked` when it is first
sent, with a sequence number, and stays there, in that order, until it is acknowledged or given up.

Order is kept by one rule: while a partition has a batch to be sent again, only its oldest unacknowledged batch is sent.
Source: KIP-98 and KIP-360 (sequences, a new epoch after a gap), KIP-91 (delivery timeout).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.records import batch as record_batch
from cluster.records.batch import BatchHeader
from cluster.records.compression import CompressionType
from cluster.records.record import BatchBuilder, NewRecord

#: What a record takes besides its key, value and headers, at most.
_RECORD_OVERHEAD_MAX: Final = 32
_HEADER_OVERHEAD_MAX: Final = 10
_SEQUENCE_END: Final = 1 << 31
_EPOCH_MAX: Final = (1 << 15) - 2

#: The broker has not written the batch, because it did not expect its sequence number.
_NOT_EXPECTED: Final = frozenset(
    {
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.UNKNOWN_PRODUCER_ID,
        ErrorCode.INVALID_PRODUCER_EPOCH,
    }
)


class ProducerId(NamedTuple):
    """Who numbers the batches. A new epoch starts to count from 0 again."""

    producer_id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulatorSettings:
    """The meanings are those of the producer's configuration."""

    batch_size: int
    linger_ms: int
    buffer_memory: int
    delivery_timeout_ms: int
    retries: int
    max_in_flight: int
    compression: CompressionType
    idempotent: bool


class Batch:
    """Records of one partition that are sent together. `number` is unique and rises with the age of batches."""

    __slots__ = (
        "_buffer",
        "_builder",
        "_stamped",
        "attempts",
        "created_ms",
        "in_flight",
        "number",
        "partition",
        "retry_at_ms",
        "size_bytes",
    )

    def __init__(self, number: int, partition: TopicPartition, compression: CompressionType, now_ms: int) -> None:
        self.number = number
        self.partition = partition
        self.created_ms = now_ms
        #: How often it was sent.
        self.attempts = 0
        self.in_flight = False
        self.retry_at_ms = 0
        #: Memory that its records take: an upper bound.
        self.size_bytes = 0
        self._builder = BatchBuilder(compression=compression)
        self._buffer: bytearray | None = None
        self._stamped: tuple[ProducerId, int] | None = None

    @property
    def record_count(self) -> int:
        return self._builder.record_count

    @property
    def encoded(self) -> bytearray:
        """The batch as it goes on the wire; from the first call on nothing can be appended."""
        if self._buffer is None:
            self._buffer = self._builder.build()
        return self._buffer

    @property
    def builder_size_bytes(self) -> int:
        """Uncompressed, with the header."""
        return self._builder.size_bytes

    def append(self, record: NewRecord, size_bytes: int) -> int:
        """The place of the record in the batch, from 0."""
        assert self._buffer is None, "the batch was sent"
        self._builder.append(record)
        self.size_bytes += size_bytes
        return self._builder.record_count - 1

    def number_as(self, producer: ProducerId, base_sequence: int) -> None:
        """Put producer and sequence into the header."""
        if self._stamped == (producer, base_sequence):
            return
        self._stamped = (producer, base_sequence)
        buffer = self.encoded
        header = BatchHeader._make(record_batch.HEADER.unpack_from(buffer))._replace(
            producer_id=producer.producer_id, producer_epoch=producer.epoch, base_sequence=base_sequence
        )
        record_batch.HEADER.pack_into(buffer, 0, *header)
        record_batch.seal(buffer, 0, len(buffer))


class Appended(NamedTuple):
    """Where a record went. `is_new` when it opened the batch, `is_full` when it filled it."""

    batch: Batch
    #: In the batch, from 0.
    place: int
    is_new: bool
    is_full: bool


class _Partition:
    """What is known of one partition's stream of batches."""

    __slots__ = ("has_gap", "must_renumber", "next_sequence", "producer", "queue", "unacked")

    def __init__(self) -> None:
        #: Never sent; the last one is open.
        self.queue: deque[Batch] = deque()
        #: Sent and not acknowledged, oldest first. Sequence numbers ascend without gaps.
        self.unacked: deque[Batch] = deque()
        #: Whose numbers the batches in `unacked` have.
        self.producer: ProducerId | None = None
        self.next_sequence = 0
        #: A batch was given up of which the broker may or may not have the sequence number.
        self.has_gap = False
        #: The sequence starts again with a new epoch, as soon as nothing is in flight.
        self.must_renumber = False


class Accumulator:
    """Bounded by `buffer_memory`: ask `has_room` before `append`."""

    def __init__(self, settings: AccumulatorSettings) -> None:
        self._settings = settings
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._producer: ProducerId | None = None
        self._used_bytes = 0
        self._next_number = 0
        #: How many wait for everything to be sent: then nothing lingers.
        self.flushes = 0
        #: Whether somebody waits for room: then nothing lingers either.
        self.is_starved = False

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    @property
    def is_empty(self) -> bool:
        """Whether every record is acknowledged or given up."""
        return self._used_bytes == 0

    @property
    def needs_producer_id(self) -> bool:
        """Whether nothing can be sent before `set_producer_id`."""
        return self._settings.idempotent and self._producer is None

    def has_room(self, size_bytes: int) -> bool:
        """Whether a record of `record_size` bytes fits. When nothing else is there any record does."""
        return self._used_bytes + size_bytes <= self._settings.buffer_memory or self._used_bytes == 0

    def append(self, partition: TopicPartition, record: NewRecord, now_ms: int) -> Appended:
        """Put a record behind the others of its partition."""
        size_bytes = record_size(record)
        state = self._partitions.setdefault(partition, _Partition())
        batch = state.queue[-1] if state.queue else None
        is_new = batch is None or batch.builder_size_bytes + size_bytes > self._settings.batch_size
        if is_new:
            batch = Batch(self._next_number, partition, self._settings.compression, now_ms)
            self._next_number += 1
            state.queue.append(batch)
        assert batch is not None
        place = batch.append(record, size_bytes)
        self._used_bytes += size_bytes
        is_full = len(state.queue) > 1 or batch.builder_size_bytes >= self._settings.batch_size
        return Appended(batch, place, is_new, is_full)

    def ready(self, now_ms: int) -> list[TopicPartition]:
        """Partitions with a batch to be sent now, those whose batch is oldest first."""
        found = []
        for partition, state in self._partitions.items():
            batch = self._sendable(state, now_ms)
            if batch is not None:
                found.append((batch.number, partition))
        return [partition for _, partition in sorted(found)]

    def next_event_ms(self, now_ms: int) -> int | None:
        """When something is ready or overdue that is not so at `now_ms`; None when only an event can change that."""
        events: list[int] = []
        for state in self._partitions.values():
            if state.queue:
                head = state.queue[0]
                events += (head.created_ms + self._settings.linger_ms, self._deadline_ms(head))
            if state.unacked:
                oldest = state.unacked[0]
                events += (oldest.retry_at_ms, self._deadline_ms(oldest))
        return min((event for event in events if event > now_ms), default=None)

    def drain(self, partitions: Iterable[TopicPartition], size_bytes_max: int, now_ms: int) -> list[Batch]:
        """Take one batch of each partition to be sent in one request, at most `size_bytes_max` bytes but at least one.

        Each is in flight from now on, until `on_acknowledged` or `on_failed`.
        """
        drained: list[Batch] = []
        size_bytes = 0
        for partition in partitions:
            state = self._partitions.get(partition)
            batch = self._sendable(state, now_ms) if state is not None else None
            if state is None or batch is None:
                continue
            size_bytes += len(batch.encoded)
            if drained and size_bytes > size_bytes_max:
                break
            self._take(state, batch)
            drained.append(batch)
        return drained

    def on_acknowledged(self, batch: Batch) -> None:
        """The batch is where it should be."""
        self._remove(batch)

    def on_failed(self, batch: Batch, code: ErrorCode, now_ms: int, retry_at_ms: int) -> bool:
        """The batch was not, or not knowingly, written. Whether it will be sent again, at `retry_at_ms` or later.

        False means that it is given up and no longer here.
        """
        state = self._partitions.get(batch.partition)
        if state is None or batch not in state.unacked:
            return False
        batch.in_flight = False
        batch.retry_at_ms = retry_at_ms
        can_retry = batch.attempts <= self._settings.retries and now_ms < self._deadline_ms(batch)
        if self._settings.idempotent and code in _NOT_EXPECTED:
            if state.unacked[0] is not batch:
                # Its predecessor is not written yet, so this one could not be either.
                return can_retry or not self._give_up(batch)
            if not can_retry or (code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER and not state.has_gap):
                # The leader has lost what it acknowledged. That must be heard, not papered over.
                return not self._give_up(batch)
            # A gap before it: neither it nor any batch behind it is written, so they may be numbered anew.
            self._renumber_later(state)
            return True
        if code.retriable and can_retry:
            return True
        return not self._give_up(batch)

    def expire(self, now_ms: int) -> list[Batch]:
        """Give up the batches whose delivery timeout is over, but for those in flight: their answer comes in time."""
        expired = []
        for state in self._partitions.values():
            for batch in (*state.unacked, *state.queue):
                if now_ms < self._deadline_ms(batch):
                    break
                if not batch.in_flight:
                    expired.append(batch)
        for batch in expired:
            self._give_up(batch)
        return expired

    def remaining_ms(self, batch: Batch, now_ms: int) -> int:
        """What is left of the delivery timeout of a batch, at least 1."""
        return max(1, self._deadline_ms(batch) - now_ms)

    def give_up_all(self) -> list[Batch]:
        """Forget every batch, in flight or not, oldest first."""
        batches = [batch for state in self._partitions.values() for batch in (*state.unacked, *state.queue)]
        self._partitions.clear()
        self._used_bytes = 0
        return sorted(batches, key=lambda batch: batch.number)

    def set_producer_id(self, producer: ProducerId) -> None:
        """Number batches as this producer, from 0 in every partition."""
        self._producer = producer

    def _deadline_ms(self, batch: Batch) -> int:
        return batch.created_ms + self._settings.delivery_timeout_ms

    def _sendable(self, state: _Partition, now_ms: int) -> Batch | None:
        """The batch that may go next; None while it has to wait."""
        if self.needs_producer_id:
            return None
        if state.must_renumber and any(batch.in_flight for batch in state.unacked):
            return None
        if any(not batch.in_flight for batch in state.unacked):
            oldest = state.unacked[0]
            return None if oldest.in_flight or now_ms < oldest.retry_at_ms else oldest
        if not state.queue or state.has_gap or len(state.unacked) >= self._settings.max_in_flight:
            return None
        head = state.queue[0]
        is_due = (
            len(state.queue) > 1
            or head.builder_size_bytes >= self._settings.batch_size
            or now_ms >= head.created_ms + self._settings.linger_ms
            or self.flushes > 0
            or self.is_starved
        )
        return head if is_due else None

    def _take(self, state: _Partition, batch: Batch) -> None:
        if state.must_renumber:
            self._renumber(state)
        if state.queue and batch is state.queue[0]:
            state.queue.popleft()
            if self._settings.idempotent:
                self._number(state, batch)
            state.unacked.append(batch)
        batch.in_flight = True
        batch.attempts += 1

    def _number(self, state: _Partition, batch: Batch) -> None:
        if not state.unacked and state.producer != self._producer:
            # The epoch was raised for another partition: this one follows when that cannot confuse its sequence.
            state.producer, state.next_sequence = self._producer, 0
        assert state.producer is not None
        batch.number_as(state.producer, state.next_sequence)
        state.next_sequence = (state.next_sequence + batch.record_count) % _SEQUENCE_END

    def _renumber_later(self, state: _Partition) -> None:
        state.has_gap = False
        state.must_renumber = True
        if state.producer == self._producer and self._producer is not None:
            # The broker takes a higher epoch of a producer without a word from the controller. When epochs are used
            # up, a new producer id is needed.
            raised = self._producer._replace(epoch=self._producer.epoch + 1)
            self._producer = raised if raised.epoch <= _EPOCH_MAX else None

    def _renumber(self, state: _Partition) -> None:
        assert self._producer is not None
        state.must_renumber = False
        state.producer, state.next_sequence = self._producer, 0
        for batch in state.unacked:
            batch.number_as(self._producer, state.next_sequence)
            state.next_sequence = (state.next_sequence + batch.record_count) % _SEQUENCE_END

    def _give_up(self, batch: Batch) -> bool:
        """Always True: the batch is gone."""
        state = self._partitions[batch.partition]
        if self._settings.idempotent and batch in state.unacked:
            state.has_gap = True
        self._remove(batch)
        return True

    def _remove(self, batch: Batch) -> None:
        state = self._partitions.get(batch.partition)
        if state is None:
            return
        batches = state.unacked if batch in state.unacked else state.queue
        if batch not in batches:
            return
        batches.remove(batch)
        self._used_bytes -= batch.size_bytes
        if state.has_gap and not state.unacked:
            self._renumber_later(state)


def record_size(record: NewRecord) -> int:
    """Bytes that a record takes in a batch, at most."""
    size = _RECORD_OVERHEAD_MAX
    if record.key is not None:
        size += len(record.key)
    if record.value is not None:
        size += len(record.value)
    for name, value in record.headers:
        size += _HEADER_OVERHEAD_MAX + len(name.encode()) + (len(value) if value is not None else 0)
    return size
