"""What a fetch brought for one partition: whole batches, turned into records when somebody takes them.

Owns the reading of batches on the consumer's side: checksums, decompression, what a transaction aborted. Batches are
decoded one at a time, as late as possible, so that what is read ahead stays as small as it was sent. Pure.

Source: KIP-98 (aborted transactions, control batches), KIP-320 (leader epochs of records).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from client.errors import ClientError
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition
from cluster.records.batch import (
    LOG_OVERHEAD,
    NO_LEADER_EPOCH,
    BatchHeader,
    TimestampType,
    checksum_matches,
    parse_header,
)
from cluster.records.record import ControlType, Headers, Record, decode_records, parse_end_txn_marker
from cluster.wire.fetch import AbortedTransaction

#: Of the length in a batch header.
_LENGTH_AT: Final = 8


class ConsumerRecord(NamedTuple):
    """One record as it was read. `key` and `value` are None where the producer sent null."""

    topic: str
    partition: int
    offset: int
    #: Milliseconds since the Unix epoch, -1 for none.
    timestamp: int
    timestamp_type: TimestampType
    key: bytes | None
    value: bytes | None
    headers: Headers
    #: Of the leader that appended it, -1 where it is not told.
    leader_epoch: int


class FetchedBatches:
    """The batches of one answer, to be taken in order.

    `data` is kept as it is until its last batch was taken. Bytes behind the last whole batch are ignored, as brokers
    may cut an answer anywhere. Raises KafkaError, when constructed, if a header is not one.
    """

    def __init__(
        self,
        partition: TopicPartition,
        data: memoryview,
        aborted: Sequence[AbortedTransaction] | None,
        *,
        check_crcs: bool,
    ) -> None:
        """`aborted` is None where records are read whatever becomes of their transaction."""
        self._partition = partition
        self._data = data
        self._check_crcs = check_crcs
        self._batches = deque(_whole_batches(data))
        self._aborted = None if aborted is None else deque(sorted(aborted, key=lambda each: each.first_offset))
        self._aborting: set[int] = set()
        self._records: deque[Record] = deque()
        self._header: BatchHeader | None = None
        self._error: KafkaError | None = None
        #: Bytes that are not taken yet.
        self.size_bytes = sum(header.size for _, header in self._batches)
        last = self._batches[-1][1] if self._batches else None
        #: Where to go on behind these batches; -1 when there is not one whole batch.
        self.next_offset = last.next_offset if last is not None else -1
        self.last_epoch = last.leader_epoch if last is not None else NO_LEADER_EPOCH

    def take(self, position: int, records_max: int) -> tuple[list[ConsumerRecord], int]:
        """Up to `records_max` records from offset `position` on, and the position behind them.

        Returns fewer when nothing is left, or when the next batch cannot be read: the next call raises its KafkaError.
        """
        if self._error is not None:
            raise self._error
        taken: list[ConsumerRecord] = []
        while len(taken) < records_max and not self.is_empty:
            try:
                if not self._records and not self._open_next(position):
                    continue
            except KafkaError as error:
                if not taken:
                    raise
                self._error = error
                break
            header = self._header
            assert header is not None
            while self._records and len(taken) < records_max:
                record = self._records.popleft()
                if record.offset >= position:
                    taken.append(self._consumer_record(record, header))
                    position = record.offset + 1
            if not self._records:
                # Compaction may have taken the last records of a batch: their offsets are behind us all the same.
                position = max(position, header.next_offset)
        return taken, max(position, self.next_offset) if self.is_empty else position

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        return not self._batches and not self._records and self._error is None

    def _open_next(self, position: int) -> bool:
        """Decode the next batch. False when none of its records is to be seen."""
        start, header = self._batches[0]
        records = self._read(start, header) if header.next_offset > position else []
        self._batches.popleft()
        self.size_bytes -= header.size
        self._header = header
        self._records.extend(records)
        return bool(records)

    def _read(self, start: int, header: BatchHeader) -> list[Record]:
        subject = f"{self._partition.topic}/{self._partition.partition} at offset {header.base_offset}"
        if self._check_crcs and not checksum_matches(self._data, header, start):
            raise ClientError(
                ErrorCode.CORRUPT_MESSAGE,
                "the record batch does not match its checksum",
                subject=subject,
                advice=f"suspect the disk of the leader; to read on behind it, seek to {header.next_offset}",
            )
        try:
            return self._visible(start, header)
        except KafkaError as error:
            raise ClientError(
                error.code,
                error.message,
                subject=subject,
                advice=f"its producer wrote it so; to read on behind it, seek to {header.next_offset}",
            ) from error

    def _visible(self, start: int, header: BatchHeader) -> list[Record]:
        if self._aborted is not None:
            while self._aborted and self._aborted[0].first_offset <= header.last_offset:
                self._aborting.add(self._aborted.popleft().producer_id)
        if header.is_control:
            marker = parse_end_txn_marker(decode_records(self._data, header, start)) if self._aborting else None
            if marker is not None and marker.control_type is ControlType.ABORT:
                self._aborting.discard(header.producer_id)
            return []
        if header.is_transactional and header.producer_id in self._aborting:
            return []
        return decode_records(self._data, header, start)

    def _consumer_record(self, record: Record, header: BatchHeader) -> ConsumerRecord:
        return ConsumerRecord(
            self._partition.topic,
            self._partition.partition,
            record.offset,
            record.timestamp,
            header.timestamp_type,
            record.key,
            record.value,
            record.headers,
            header.leader_epoch,
        )


def _whole_batches(data: memoryview) -> list[tuple[int, BatchHeader]]:
    batches: list[tuple[int, BatchHeader]] = []
    position = 0
    while (remaining := len(data) - position) >= LOG_OVERHEAD:
        batch_length = int.from_bytes(data[position + _LENGTH_AT : position + LOG_OVERHEAD], "big", signed=True)
        if batch_length > remaining - LOG_OVERHEAD:
            break
        header = parse_header(data, position)
        if header.last_offset_delta < 0:
            raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"a batch ends {-header.last_offset_delta} before its start")
        batches.append((position, header))
        position += header.size
    return batches
