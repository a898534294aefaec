"""What an observer knows of logs: a copy of each replica, and the committed log that all of them must agree with.

Owns the comparison of bytes. Reads the files of a replica by itself, from the simulated medium, and never through the
code that is under test; of that it only asks where the log begins, ends and was cut.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.log import names
from broker.log.partition_log import PartitionLog
from cluster.ids import TopicIdPartition
from cluster.records.batch import NO_PRODUCER_ID, BatchHeader, checksum_matches, parse_header
from tests.sim.disk import Medium
from tests.sim.loop import Violation


class StoredBatch(NamedTuple):
    """One batch of a replica, and where its bytes are."""

    header: BatchHeader
    data: bytes
    path: str
    position: int


class Mirror:
    """The observer's copy of one replica's log."""

    def __init__(self, where: str, medium: Medium) -> None:
        self.where = where
        self.medium = medium
        self.batches: list[StoredBatch] = []
        #: Next offset of each batch: grows strictly.
        self.ends: list[int] = []
        #: (epoch, first offset) of each epoch that has records.
        self.epochs: list[tuple[int, int]] = []
        #: Below it the copy was found equal to the committed log.
        self.verified = 0
        #: It may hold what was cut off before the power failed.
        self.suspect = False
        self._segment = ""
        self._position = 0

    @property
    def end(self) -> int:
        return self.ends[-1] if self.ends else 0

    def cut(self, end: int) -> None:
        """Forget the batches that reach beyond `end`, which is where one ends."""
        keep = bisect_right(self.ends, end)
        del self.batches[keep:]
        del self.ends[keep:]
        while self.epochs and self.epochs[-1][1] >= end:
            self.epochs.pop()
        self.verified = min(self.verified, end)
        self._segment = ""
        if self.end != end:
            raise Violation(f"S12: {self.where} was cut to {end}, which is inside of a batch or above its end")

    def follow(self, log: PartitionLog) -> None:
        """Copy what was appended."""
        for segment in log._segments.from_offset(self.end):
            path = segment.path(names.LOG_SUFFIX)
            if path != self._segment:
                self._segment, self._position = path, 0
                if self.batches and self.batches[-1].path == path:
                    self._position = self.batches[-1].position + self.batches[-1].header.size
            fresh = self.medium.content(path, self._position)
            at = 0
            while self._position < segment.size and at < len(fresh):
                header = parse_header(fresh, at)
                data = fresh[at : at + header.size]
                if not checksum_matches(data, header):
                    raise Violation(f"S2: {self.where} holds a damaged batch at offset {header.base_offset}")
                self._add(StoredBatch(header, data, path, self._position))
                at += header.size
                self._position += header.size
        if self.end != log.log_end_offset:
            raise Violation(f"S23: {self.where} ends at {self.end} in its files and at {log.log_end_offset} in memory")

    def index_of(self, offset: int) -> int:
        """Place of the batch that holds `offset`."""
        return bisect_right(self.ends, offset)

    def is_durable(self, place: int) -> bool:
        """Whether the batch there would outlive a power cut."""
        batch = self.batches[place]
        return self.medium.durable(batch.path, batch.position, len(batch.data)) == batch.data

    def _add(self, batch: StoredBatch) -> None:
        header = batch.header
        if header.base_offset != self.end:
            raise Violation(f"gap: {self.where} goes on at {header.base_offset} after {self.end}")
        if self.epochs and header.leader_epoch < self.epochs[-1][0]:
            raise Violation(f"S5: {self.where}: epoch {header.leader_epoch} after {self.epochs[-1][0]}")
        if not self.epochs or header.leader_epoch > self.epochs[-1][0]:
            self.epochs.append((header.leader_epoch, header.base_offset))
        self.batches.append(batch)
        self.ends.append(header.next_offset)


@dataclass(slots=True)
class Committed:
    """The ghost log of a partition: every batch that some high watermark has passed."""

    key: TopicIdPartition
    name: str
    batches: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    #: (producer id, epoch) -> the sequence that must come next.
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)
    producer_epochs: dict[int, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.ends[-1] if self.ends else 0

    def index_of(self, offset: int) -> int:
        return bisect_right(self.ends, offset)

    def common_end(self, mirror: Mirror, start: int) -> int:
        """How far `mirror` is equal to the committed log, from `start` on, where it is known to be."""
        place = self.index_of(start)
        end = start
        while place < len(self.batches) and place < len(mirror.batches):
            if mirror.batches[place].data != self.batches[place]:
                break
            end = self.ends[place]
            place += 1
        return end

    def extend(self, batch: StoredBatch) -> None:
        """A high watermark passes `batch` for the first time."""
        header = batch.header
        if header.base_offset != self.end:
            raise Violation(f"gap: {self.name} is committed from {header.base_offset} after {self.end}")
        if header.producer_id != NO_PRODUCER_ID:
            self._check_producer(header)
        self.batches.append(batch.data)
        self.ends.append(header.next_offset)

    def _check_producer(self, header: BatchHeader) -> None:
        epoch = self.producer_epochs.get(header.producer_id, -1)
        if header.producer_epoch < epoch:
            raise Violation(f"S16: {self.name}: producer epoch {header.producer_epoch} after {epoch}")
        self.producer_epochs[header.producer_id] = header.producer_epoch
        key = (header.producer_id, header.producer_epoch)
        expected = self.sequences.get(key, 0)
        if header.base_sequence != expected:
            raise Violation(
                f"S15: {self.name}: sequence {header.base_sequence} of producer {key} at {header.base_offset}, "
                f"due is {expected}"
            )
        self.sequences[key] = (header.base_sequence + header.record_count) & 0x7FFFFFFF
