"""What the log knows of the producers that wrote to it: duplicates, gaps, fenced epochs, open transactions.

Owns the decision whether a batch continues its producer's sequence, and the last stable offset. Pure: offsets and
times come with the batches, nothing is written. It is always what replaying the log would give.
Source: KIP-98, KIP-360 (no state: any sequence), KIP-890 (verified transactions).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cluster.errors import ErrorCode, KafkaError
from cluster.records.batch import NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, BatchHeader
from cluster.records.record import ControlType, EndTxnMarker

#: Batches of a producer that are recognised when they come again; clients have at most five in flight.
WINDOW: Final = 5
#: Producers remembered per partition; beyond it the one idle for longest is forgotten, as if it had expired.
PRODUCERS_MAX: Final = 100_000
NO_TXN: Final = -1
NO_COORDINATOR_EPOCH: Final = -1
SEQUENCE_MASK: Final = 0x7FFFFFFF


class ProducerBatch(NamedTuple):
    """A batch that was appended. Sequences wrap from 2^31 - 1 to 0."""

    last_sequence: int
    last_offset: int
    #: Last offset less first offset.
    offset_delta: int
    #: The batch's largest timestamp.
    timestamp: int

    @property
    def first_sequence(self) -> int:
        return (self.last_sequence - self.offset_delta) & SEQUENCE_MASK

    @property
    def first_offset(self) -> int:
        return self.last_offset - self.offset_delta


@dataclass(slots=True)
class ProducerEntry:
    """One producer. `batches` holds up to five, oldest first, all of `epoch`."""

    epoch: int = NO_PRODUCER_EPOCH
    batches: list[ProducerBatch] = field(default_factory=list)
    coordinator_epoch: int = NO_COORDINATOR_EPOCH
    last_timestamp: int = NO_TIMESTAMP
    #: First offset of the open transaction, or -1.
    txn_first_offset: int = NO_TXN

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE


class CompletedTxn(NamedTuple):
    """A transaction that a marker at `last_offset` ended."""

    producer_id: int
    first_offset: int
    last_offset: int
    aborted: bool


class ProducerStates:
    """Every producer of one partition, by id."""

    def __init__(self, entries: Iterable[tuple[int, ProducerEntry]] = ()) -> None:
        #: Ordered by last use, the least recent first.
        self.entries: dict[int, ProducerEntry] = dict(entries)
        #: First offset of every open transaction -> producer id, in ascending order.
        self._open: dict[int, int] = {}
        #: Ended transactions whose marker may still be above the high watermark, by first offset.
        self._unreplicated: dict[int, CompletedTxn] = {}
        for first_offset, producer_id in sorted(
            (entry.txn_first_offset, producer_id)
            for producer_id, entry in self.entries.items()
            if entry.txn_first_offset != NO_TXN
        ):
            self._open[first_offset] = producer_id

    # --- Before the append

    def find_duplicate(self, header: BatchHeader) -> ProducerBatch | None:
        """The batch among the last five of this producer and epoch with the same first and last sequence."""
        entry = self.entries.get(header.producer_id)
        if entry is None or entry.epoch != header.producer_epoch:
            return None
        last_sequence = header.last_sequence
        for known in entry.batches:
            if known.last_sequence == last_sequence and known.first_sequence == header.base_sequence:
                return known
        return None

    def check(self, header: BatchHeader, *, transaction_verified: bool) -> None:
        """Raise the KafkaError for which a client's batch must be refused; it must not be a duplicate.

        `transaction_verified`: the coordinator has just said that this partition is part of the open transaction.
        """
        entry = self.entries.get(header.producer_id)
        if entry is not None:
            self._check_sequence(entry, header)
        in_transaction = entry is not None and entry.txn_first_offset != NO_TXN
        if header.is_transactional and not in_transaction and not transaction_verified:
            raise KafkaError(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {header.producer_id} has no transaction here that its coordinator confirms",
            )
        if in_transaction and not header.is_transactional:
            raise KafkaError(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {header.producer_id} sends a batch outside of its open transaction",
            )

    def _check_sequence(self, entry: ProducerEntry, header: BatchHeader) -> None:
        _check_epoch(entry, header)
        if header.producer_epoch != entry.epoch:
            if header.base_sequence != 0 and entry.epoch != NO_PRODUCER_EPOCH:
                raise KafkaError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"producer {header.producer_id} starts epoch {header.producer_epoch} "
                    f"with sequence {header.base_sequence}, not 0",
                )
            return
        expected = (entry.last_sequence + 1) & SEQUENCE_MASK
        if header.base_sequence != expected:
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"producer {header.producer_id} sends sequence {header.base_sequence}, {expected} is next",
            )

    def check_marker(self, header: BatchHeader, marker: EndTxnMarker) -> None:
        """Raise the KafkaError for which the coordinator's marker must be refused: an older epoch of either."""
        entry = self.entries.get(header.producer_id)
        if entry is None:
            return
        _check_epoch(entry, header)
        if marker.coordinator_epoch < entry.coordinator_epoch:
            raise KafkaError(
                ErrorCode.TRANSACTION_COORDINATOR_FENCED,
                f"coordinator epoch {marker.coordinator_epoch} is older than {entry.coordinator_epoch}",
            )

    def has_open_transaction(self, producer_id: int) -> bool:
        entry = self.entries.get(producer_id)
        return entry is not None and entry.txn_first_offset != NO_TXN

    # --- After the append, and on replay

    def update(self, header: BatchHeader, base_offset: int) -> None:
        """Count a data batch that stands in the log at `base_offset`. Batches without a producer id change nothing."""
        if header.producer_id < 0:
            return
        entry = self._entry_for(header.producer_id, header.producer_epoch)
        last_offset = base_offset + header.last_offset_delta
        entry.batches.append(
            ProducerBatch(header.last_sequence, last_offset, header.last_offset_delta, header.max_timestamp)
        )
        if len(entry.batches) > WINDOW:
            del entry.batches[0]
        entry.last_timestamp = header.max_timestamp
        if header.is_transactional and entry.txn_first_offset == NO_TXN:
            entry.txn_first_offset = base_offset
            self._open[base_offset] = header.producer_id

    def end_transaction(self, header: BatchHeader, marker: EndTxnMarker, offset: int) -> CompletedTxn | None:
        """Count a marker that stands in the log at `offset`; returns the transaction it ended, if one was open."""
        entry = self._entry_for(header.producer_id, header.producer_epoch)
        entry.coordinator_epoch = marker.coordinator_epoch
        entry.last_timestamp = header.max_timestamp
        if entry.txn_first_offset == NO_TXN:
            return None
        aborted = marker.control_type is ControlType.ABORT
        completed = CompletedTxn(header.producer_id, entry.txn_first_offset, offset, aborted)
        del self._open[entry.txn_first_offset]
        entry.txn_first_offset = NO_TXN
        self._unreplicated[completed.first_offset] = completed
        return completed

    def _entry_for(self, producer_id: int, epoch: int) -> ProducerEntry:
        entry = self.entries.pop(producer_id, None)
        if entry is None:
            entry = ProducerEntry(epoch)
            if len(self.entries) >= PRODUCERS_MAX:
                self._forget_one()
        elif entry.epoch != epoch:
            entry.epoch = epoch
            entry.batches.clear()
        self.entries[producer_id] = entry
        return entry

    def _forget_one(self) -> None:
        for producer_id, entry in self.entries.items():
            if entry.txn_first_offset == NO_TXN:
                del self.entries[producer_id]
                return

    # --- The last stable offset

    @property
    def first_unstable_offset(self) -> int | None:
        """The lowest offset whose transaction is open, or ended above the high watermark; None without one."""
        first_open = next(iter(self._open), None)
        first_unreplicated = min(self._unreplicated, default=None)
        if first_open is None or (first_unreplicated is not None and first_unreplicated < first_open):
            return first_unreplicated
        return first_open

    def last_stable_offset_after(self, completed: CompletedTxn) -> int:
        """What the last stable offset becomes when `completed` is replicated: the next open transaction's start."""
        return next(iter(self._open), completed.last_offset + 1)

    def on_high_watermark(self, high_watermark: int) -> None:
        """Markers below `high_watermark` are replicated."""
        if self._unreplicated:
            self._unreplicated = {
                first: completed
                for first, completed in self._unreplicated.items()
                if completed.last_offset >= high_watermark
            }

    # --- Growing old

    def remove_expired(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers without an open transaction that have been idle for `expiration_ms`; returns how many."""
        expired = [
            producer_id
            for producer_id, entry in self.entries.items()
            if entry.txn_first_offset == NO_TXN and now_ms - entry.last_timestamp >= expiration_ms
        ]
        for producer_id in expired:
            del self.entries[producer_id]
        return len(expired)

    def knows_nothing_from(self, offset: int) -> bool:
        """Whether no producer's state would be different if the log ended at `offset`."""
        if any(completed.last_offset >= offset for completed in self._unreplicated.values()):
            return False
        return all(
            entry.coordinator_epoch == NO_COORDINATOR_EPOCH
            and (not entry.batches or entry.batches[-1].last_offset < offset)
            for entry in self.entries.values()
        )


def _check_epoch(entry: ProducerEntry, header: BatchHeader) -> None:
    if header.producer_epoch < entry.epoch:
        raise KafkaError(
            ErrorCode.INVALID_PRODUCER_EPOCH,
            f"producer {header.producer_id} has epoch {entry.epoch}, {header.producer_epoch} is fenced",
        )
