"""The log of one partition: what is appended, read, cut off and forgotten.

Owns the segments, the offsets, and what is derived from the batches: indexes, leader epochs, producer states, aborted
transactions. Synchronous; syncs of the disk are planned here and carried out by whoever may wait for them. Never reads
a clock, never decides who leads or what is committed: leader epoch, time and high watermark come with the calls.
An OSError from any method means that the disk failed; LogCorrupt, that this log must not be served any more.
Source: KIP-101, KIP-107 (log start), KIP-392, KIP-966, as far as they concern a log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from broker.log import lookup, names, replay
from broker.log.checkpoints import render_epochs
from broker.log.config import LogConfig
from broker.log.epochs import EpochEnd, LeaderEpochs
from broker.log.files import FileCache
from broker.log.lookup import TimestampOffset
from broker.log.producer_state import CompletedTxn, ProducerStates
from broker.log.reader import LogReader, LogSlice
from broker.log.retention import SegmentFacts, count_deletable
from broker.log.segment import RELATIVE_MAX, Segment
from broker.log.segments import SegmentList
from broker.log.tail import BatchTail
from broker.log.txn_index import AbortedTxn
from broker.log.validator import AppendOrigin, check_batches
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition, Uuid
from cluster.records import batch
from cluster.records.batch import BatchHeader, TimestampType
from cluster.records.record import decode_records, parse_end_txn_marker
from cluster.seams import File
from cluster.storage import replace_file

_NO_BATCHES: Final = "an append holds at least one batch"


class AppendInfo(NamedTuple):
    """Where batches stand in the log; both offsets inclusive."""

    base_offset: int
    last_offset: int
    #: -1 unless the broker's time counts (LogAppendTime).
    log_append_time: int
    #: The batch was there already: the offsets are those of the first time, nothing was written.
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushPlan:
    """What must be synced before `mark_flushed`, in this order: `files`, the files at `paths`, the names in `folders`.

    `files` stay open until then, or until the next plan is made. A file at `paths` is opened for its sync; a missing
    one was removed meanwhile.
    """

    end_offset: int
    files: tuple[File, ...]
    paths: tuple[str, ...]
    folders: tuple[str, ...]
    #: Changes to files and names that the plan covers.
    changes: int
    #: Truncations before the plan was made; a plan of an earlier one says nothing about the log as it is.
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParts:
    """A loaded log, for the constructor. The last segment is active."""

    segments: SegmentList
    epochs: LeaderEpochs
    producers: ProducerStates
    log_start_offset: int
    log_end_offset: int
    recovery_point: int
    #: Sealed segments that may not be on disk yet; their files are open.
    unsynced: tuple[Segment, ...] = ()
    #: Small files and folders whose content and names may not be on disk yet.
    unsynced_paths: tuple[str, ...] = ()
    unsynced_folders: tuple[str, ...] = ()


class PartitionLog:
    """Made by `recovery.create_log` and `recovery.load_log`.

    `before_recovery_point_falls` is called with the log while its recovery point is already lower and the files still
    whole; when it returns, no checkpoint on disk may claim more.
    """

    def __init__(
        self,
        partition: TopicPartition,
        topic_id: Uuid,
        folder: str,
        files: FileCache,
        config: LogConfig,
        parts: LogParts,
        before_recovery_point_falls: Callable[["PartitionLog"], None],
    ) -> None:
        self.partition = partition
        self.topic_id = topic_id
        self.folder = folder
        self.config = config
        self.epochs = parts.epochs
        self.producers = parts.producers
        #: 0 <= log_start_offset <= log_end_offset; never decreases but by truncation.
        self.log_start_offset = parts.log_start_offset
        #: The offset that the next record gets.
        self.log_end_offset = parts.log_end_offset
        #: Everything below is on disk: durable_end. At most log_end_offset; decreases only by truncation.
        self.recovery_point = parts.recovery_point
        #: Nothing may be asked of it any more; its files may be gone.
        self.closed = False
        self._files = files
        self._disk = files.disk
        self._segments = parts.segments
        self._tail = BatchTail()
        self._reader = LogReader(self._segments, self._tail, self.epochs)
        self._before_recovery_point_falls = before_recovery_point_falls
        self._generation = 0
        self._unsynced = list(parts.unsynced)
        #: Path of a file or folder that awaits its sync -> number of its last change.
        self._unsynced_paths: dict[str, int] = {}
        self._unsynced_folders: dict[str, int] = {}
        self._changes = 0
        self._epochs_written = -1
        self._removed: list[str] = []
        #: A plan is being carried out: its files must stay open, also those of segments that go.
        self._flushing = False
        self._retired: list[File] = []
        for segment in parts.unsynced:
            self._await_index_sync(segment)
        for path in parts.unsynced_paths:
            self._await_sync(path)
        for unsynced_folder in parts.unsynced_folders:
            self._await_folder_sync(unsynced_folder)

    def __repr__(self) -> str:
        return f"<PartitionLog {self.partition} {self.log_start_offset}..{self.log_end_offset}>"

    # --- What it holds

    @property
    def durable_end_offset(self) -> int:
        """Exclusive: what a power loss leaves. The recovery point by another name."""
        return self.recovery_point

    @property
    def latest_epoch(self) -> int:
        """The leader epoch of the last record, or of the last leader that began here; -1 without one."""
        return self.epochs.latest

    @property
    def size_bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    @property
    def segment_count(self) -> int:
        return len(self._segments)

    @property
    def unflushed_records(self) -> int:
        return self.log_end_offset - self.recovery_point

    def update_config(self, config: LogConfig) -> None:
        """Apply changed settings; those of segments count from the next segment on."""
        self.config = config
        if config.compacted:
            for segment in self._segments:
                segment.dense = False

    # --- Appending

    def start_epoch(self, leader_epoch: int) -> None:
        """A leader begins: what is appended from now on is of `leader_epoch`, also if nothing ever is."""
        self.epochs.assign(leader_epoch, self.log_end_offset)

    def append_as_leader(
        self,
        batches: bytearray | memoryview,
        leader_epoch: int,
        now_ms: int,
        *,
        origin: AppendOrigin = AppendOrigin.CLIENT,
        transaction_verified: bool = False,
    ) -> AppendInfo:
        """Check, stamp and append whole batches: one of a client, one or more of a coordinator.

        `batches` must be writable and is changed in place; the log keeps no reference to it. `now_ms` is wall time.
        `transaction_verified`: the coordinator has confirmed the producer's open transaction for this partition.
        Raises KafkaError (RecordsRejected for single records) with the log unchanged, also after a failed write.
        """
        assert leader_epoch >= self.epochs.latest, f"epoch {leader_epoch} after {self.epochs.latest}"
        buffer, checked, append_time = check_batches(batches, self.config, now_ms, origin)
        first = checked[0][1]
        if first.producer_id >= 0:
            duplicate = self._check_producer(buffer, checked, origin, transaction_verified)
            if duplicate is not None:
                return duplicate
        base_offset = next_offset = self.log_end_offset
        max_timestamp = first.max_timestamp
        for position, header in checked:
            batch.stamp(buffer, next_offset, leader_epoch, position)
            next_offset += header.last_offset_delta + 1
            max_timestamp = max(max_timestamp, header.max_timestamp)
        if self._must_roll(len(buffer), next_offset - 1, max_timestamp):
            self.roll()
        self._segments.active.append(buffer)
        for position, header in checked:
            self._count(buffer, position, header, self.log_end_offset, leader_epoch)
        return AppendInfo(base_offset, next_offset - 1, append_time, False)

    def append_as_follower(self, batches: bytearray | memoryview | bytes) -> AppendInfo:
        """Append whole batches as the leader has them, offsets and epochs included.

        They must go on where this log ends (behind a gap only on compacted topics) and their epochs must not fall.
        Raises KafkaError(CORRUPT_MESSAGE) when bytes are damaged and KafkaError(OFFSET_OUT_OF_RANGE) when they do not
        continue the log, both with nothing appended. After an OSError a prefix of whole batches may be appended.
        """
        checked = list(batch.iterate_batches(batches))
        assert checked, _NO_BATCHES
        self._check_follower_batches(batches, checked)
        view = memoryview(batches)
        at = 0
        while at < len(checked):
            start, first = checked[at]
            if self._must_roll(first.size, first.last_offset, first.max_timestamp):
                self.roll(first.base_offset)
            run = at + 1
            end = start + first.size
            # The first batch of a segment comes alone: what may follow it depends on it.
            while run < len(checked) and self._segments.active.size:
                _, header = checked[run]
                if self._must_roll(end - start + header.size, header.last_offset, header.max_timestamp):
                    break
                end += header.size
                run += 1
            self._segments.active.append(view[start:end])
            for position, header in checked[at:run]:
                self._count(batches, position, header, header.base_offset, header.leader_epoch)
            at = run
        return AppendInfo(checked[0][1].base_offset, self.log_end_offset - 1, batch.NO_TIMESTAMP, False)

    def _check_follower_batches(
        self, batches: bytearray | memoryview | bytes, checked: list[tuple[int, BatchHeader]]
    ) -> None:
        expected, epoch = self.log_end_offset, self.epochs.latest
        for position, header in checked:
            if not batch.checksum_matches(batches, header, position) or header.last_offset_delta < 0:
                raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"the batch at offset {header.base_offset} is damaged")
            gap_allowed = self.config.compacted and header.base_offset > expected
            if (header.base_offset != expected and not gap_allowed) or header.leader_epoch < epoch:
                raise KafkaError(
                    ErrorCode.OFFSET_OUT_OF_RANGE,
                    f"a batch at offset {header.base_offset} of epoch {header.leader_epoch} "
                    f"does not follow offset {expected} of epoch {epoch}",
                )
            expected, epoch = header.next_offset, header.leader_epoch

    def _check_producer(
        self,
        buffer: bytearray | memoryview,
        checked: list[tuple[int, BatchHeader]],
        origin: AppendOrigin,
        transaction_verified: bool,
    ) -> AppendInfo | None:
        """Raise the error for which idempotent batches are refused; an answer when it is a duplicate."""
        if origin is AppendOrigin.CLIENT:
            header = checked[0][1]
            known = self.producers.find_duplicate(header)
            if known is not None:
                append_time = batch.NO_TIMESTAMP
                if self.config.message_timestamp_type is TimestampType.LOG_APPEND_TIME:
                    append_time = known.timestamp
                return AppendInfo(known.first_offset, known.last_offset, append_time, True)
            self.producers.check(header, transaction_verified=transaction_verified)
            return None
        for position, header in checked:
            if header.is_control:
                marker = parse_end_txn_marker(decode_records(buffer, header, position))
                if marker is not None:
                    self.producers.check_marker(header, marker)
        return None

    def _must_roll(self, size: int, last_offset: int, max_timestamp: int) -> bool:
        active = self._segments.active
        if last_offset - active.base_offset > RELATIVE_MAX:
            return True
        if active.size == 0:
            return False
        config = self.config
        return (
            active.size + size > config.segment_bytes
            or active.index_bytes >= config.segment_index_bytes
            # Differs from Kafka: a segment without timestamps does not roll by time, its files' age is not asked for.
            or (
                active.first_timestamp is not None
                and active.first_timestamp >= 0
                and max_timestamp - active.first_timestamp > config.segment_ms
            )
        )

    def _count(
        self, buffer: bytearray | memoryview | bytes, position: int, header: BatchHeader, base_offset: int, epoch: int
    ) -> None:
        """Let a batch that was just written to the active segment take effect."""
        segment = self._segments.active
        last_offset = base_offset + header.last_offset_delta
        self._tail.append(base_offset, segment.size)
        segment.note(header, last_offset)
        self.log_end_offset = last_offset + 1
        if epoch > self.epochs.latest:
            self.epochs.assign(epoch, base_offset)
        if header.producer_id >= 0:
            completed = replay.count_batch(
                self.producers, header, base_offset, partial(decode_records, buffer, header, position)
            )
            self._index_completed(segment, completed)

    def _index_completed(self, segment: Segment, completed: CompletedTxn | None) -> None:
        if completed is not None and completed.aborted:
            replay.index_completed(segment, self.producers, completed)
            self._await_sync(segment.txn_index.path)

    def roll(self, base_offset: int | None = None) -> None:
        """Seal the active segment and begin a new one at the end of the log, or further on behind a gap.

        An empty active segment is left as it is, or moved to `base_offset`.
        """
        if base_offset is None:
            base_offset = self.log_end_offset
        assert base_offset >= self.log_end_offset
        old = self._segments.active
        if base_offset == old.base_offset:
            return
        new = self._new_segment(base_offset)
        new.create()
        if old.size == 0:
            self._remove_segment(self._segments.pop_last())
        else:
            try:
                old.seal()
            except OSError:
                # The old segment goes on, perhaps beyond this offset: no segment may begin here.
                new.release()
                self._disk.unlink(new.path(names.LOG_SUFFIX))
                raise
            self._unsynced.append(old)
            self._await_index_sync(old)
        self._segments.append(new)
        self._tail.clear()
        self.log_end_offset = base_offset
        self._await_sync(replay.write_snapshot(self._disk, self.folder, base_offset, self.producers))

    def _new_segment(self, base_offset: int) -> Segment:
        return Segment(
            self._files,
            self.folder,
            base_offset,
            size=0,
            has_txn_index=False,
            interval_bytes=self.config.index_interval_bytes,
            dense=self._segments.active.dense,
        )

    # --- Reading

    def read(
        self, offset: int, max_bytes: int, limit_offset: int | None = None, *, min_one_batch: bool = True
    ) -> LogSlice:
        """Whole batches from the one that holds `offset` on, all of one segment and at most `max_bytes` of them.

        No batch reaches `limit_offset` (exclusive; None: the end of the log). The first batch is returned also when
        it alone is larger, if `min_one_batch`. Nothing to read is an empty slice. Raises KafkaError
        (OFFSET_OUT_OF_RANGE) for an offset below the log start or above the log end.
        """
        end_offset = self.log_end_offset
        if not self.log_start_offset <= offset <= end_offset:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"offset {offset} of {self.partition} is not in {self.log_start_offset}..{end_offset}",
            )
        limit = end_offset if limit_offset is None or limit_offset > end_offset else limit_offset
        return self._reader.read(offset, max_bytes, limit, end_offset, min_one_batch=min_one_batch)

    def end_offset_for_epoch(self, epoch: int) -> EpochEnd:
        """See `LeaderEpochs.end_offset_for`."""
        return self.epochs.end_offset_for(epoch, self.log_end_offset)

    def earliest_offset(self) -> TimestampOffset:
        offset = self.log_start_offset
        return TimestampOffset(offset, leader_epoch=self.epochs.epoch_of(offset))

    def latest_offset(self, limit_offset: int) -> TimestampOffset:
        """`limit_offset` (high watermark or last stable offset) and the epoch at it."""
        return TimestampOffset(limit_offset, leader_epoch=self.epochs.epoch_of(limit_offset))

    def offset_for_timestamp(self, timestamp: int) -> TimestampOffset | None:
        """The first record whose timestamp is at least `timestamp`; it may lie above the high watermark."""
        return lookup.first_since(self._segments, timestamp, self.log_start_offset)

    def offset_of_max_timestamp(self) -> TimestampOffset | None:
        """The first record with the largest timestamp; it may lie above the high watermark."""
        return lookup.largest(self._segments, self.log_start_offset)

    # --- Transactions

    def last_stable_offset(self, high_watermark: int) -> int:
        """Below it every transaction is decided and replicated; at most `high_watermark`."""
        unstable = self.producers.first_unstable_offset
        return high_watermark if unstable is None else min(unstable, high_watermark)

    def on_high_watermark(self, high_watermark: int) -> None:
        """Everything below `high_watermark` is replicated."""
        self.producers.on_high_watermark(high_watermark)

    def aborted_transactions(self, first_offset: int, end_offset: int) -> list[AbortedTxn]:
        """Those with records in `first_offset <= offset < end_offset`, by first offset."""
        found = []
        for segment in self._segments.from_offset(first_offset):
            for aborted in segment.txn_index.entries():
                if aborted.last_offset >= first_offset and aborted.first_offset < end_offset:
                    found.append(aborted)
                if aborted.last_stable_offset >= end_offset:
                    return sorted(found, key=lambda entry: entry.first_offset)
        return sorted(found, key=lambda entry: entry.first_offset)

    def expire_producers(self, now_ms: int) -> int:
        """Forget producers that are idle for longer than the configuration allows; returns how many."""
        return self.producers.remove_expired(now_ms, self.config.producer_id_expiration_ms)

    # --- Cutting off and forgetting

    def truncate_to(self, offset: int) -> int:
        """Drop every batch that reaches `offset` or lies above it; returns the new log end offset."""
        if offset >= self.log_end_offset:
            # An epoch that began here without a record must not outlive its leader.
            self.epochs.truncate_from_end(self.log_end_offset)
            return self.log_end_offset
        if offset < self._segments.first.base_offset:
            self.truncate_fully_and_start_at(offset)
            return offset
        segment = self._segments.floor(offset)
        found = segment.locate(offset)
        position, end_offset = (found[0], found[1].base_offset) if found is not None else (segment.size, offset)
        self._begin_truncation(end_offset)
        while self._segments.active is not segment:
            self._remove_segment(self._segments.pop_last())
        segment.activate(position)
        if segment in self._unsynced:
            self._unsynced.remove(segment)
        self.log_end_offset = end_offset
        self.log_start_offset = min(self.log_start_offset, end_offset)
        self.epochs.truncate_from_end(end_offset)
        segment.txn_index.truncate(end_offset)
        self._await_sync(segment.txn_index.path)
        self._truncate_producers()
        return end_offset

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Drop everything; the next record gets `offset`."""
        self._begin_truncation(min(offset, self._segments.first.base_offset))
        new = self._new_segment(offset)
        while len(self._segments):
            self._remove_segment(self._segments.pop_last())
        for left_over in replay.snapshot_offsets(self._disk, self.folder):
            self._disk.unlink(replay.snapshot_path(self.folder, left_over))
        new.create()
        self._segments.append(new)
        self._await_folder_sync(self.folder)
        self.log_start_offset = self.log_end_offset = offset
        self.epochs.clear()
        self.producers = ProducerStates()

    def _begin_truncation(self, offset: int) -> None:
        if self.recovery_point > offset:
            self.recovery_point = offset
            self._before_recovery_point_falls(self)
        self._generation += 1
        self._tail.clear()
        self._reader.forget()

    def _remove_segment(self, segment: Segment) -> None:
        if segment in self._unsynced:
            self._unsynced.remove(segment)
        self._close_file(segment)
        self._removed += segment.remove()
        for suffix in names.COMPANION_SUFFIXES:
            self._unsynced_paths.pop(segment.path(suffix), None)
        self._await_folder_sync(self.folder)

    def _truncate_producers(self) -> None:
        end_offset = self.log_end_offset
        for snapshot_offset in replay.snapshot_offsets(self._disk, self.folder):
            if snapshot_offset > end_offset:
                self._disk.unlink(replay.snapshot_path(self.folder, snapshot_offset))
        if not self.producers.knows_nothing_from(end_offset):
            self.producers = replay.restore_producers(
                self._files, self.folder, self._segments, end_offset, snapshot_max=end_offset
            )

    def increment_log_start_offset(self, offset: int) -> bool:
        """Forget the records below `offset`; their segments go with the next `delete_old_segments`.

        The caller answers for `offset` being at most the high watermark. Returns whether anything changed. Raises
        KafkaError(OFFSET_OUT_OF_RANGE) for an offset above the log end.
        """
        if offset > self.log_end_offset:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"offset {offset} is above the log end {self.log_end_offset}"
            )
        if offset <= self.log_start_offset:
            return False
        self.log_start_offset = offset
        self.epochs.truncate_from_start(offset)
        return True

    def delete_old_segments(self, now_ms: int, high_watermark: int) -> int:
        """Remove the segments that retention or the log start let go; returns how many.

        Their files stay, renamed, until `take_removed_files` and whoever unlinks them.
        """
        facts = [
            SegmentFacts(
                segment.base_offset,
                self._segments.end_of(segment, self.log_end_offset),
                segment.size,
                segment.max_timestamp if self.config.retention_ms >= 0 else batch.NO_TIMESTAMP,
            )
            for segment in self._segments
        ]
        count = count_deletable(
            facts,
            self.config,
            now_ms=now_ms,
            log_start_offset=self.log_start_offset,
            high_watermark=high_watermark,
        )
        if count == 0:
            return 0
        if count == len(facts):
            self.roll()
        self.increment_log_start_offset(facts[count - 1].next_offset)
        for _ in range(count):
            self._remove_segment(self._segments.pop_first())
        self._reader.forget()
        return count

    def take_removed_files(self) -> list[str]:
        """Paths of files that nobody needs any more, for unlinking after `file_delete_delay_ms`; each is told once."""
        removed, self._removed = self._removed, []
        return removed

    # --- Syncing

    def flush_plan(self) -> FlushPlan:
        """What must reach the disk so that everything appended so far is durable; one plan at a time.

        Cheap when little has changed.
        """
        self._end_flush()
        self._flushing = True
        if self._epochs_written != self.epochs.version:
            path = f"{self.folder}/{names.LEADER_EPOCH_CHECKPOINT}"
            replace_file(self._disk, path, render_epochs(self.epochs.entries), durable=False)
            self._epochs_written = self.epochs.version
            self._await_sync(path)
        return FlushPlan(
            end_offset=self.log_end_offset,
            files=(*(segment.file for segment in self._unsynced), self._segments.active.file),
            paths=tuple(self._unsynced_paths),
            folders=tuple(self._unsynced_folders),
            changes=self._changes,
            generation=self._generation,
        )

    def mark_flushed(self, plan: FlushPlan) -> bool:
        """Everything in `plan` was synced. False, and nothing changes, when the log was truncated or closed since."""
        self._end_flush()
        if plan.generation != self._generation:
            return False
        self.recovery_point = max(self.recovery_point, plan.end_offset)
        for waiting in (self._unsynced_paths, self._unsynced_folders):
            for path in [path for path, change in waiting.items() if change <= plan.changes]:
                del waiting[path]
        for segment in [segment for segment in self._unsynced if self._is_covered(segment, plan)]:
            self._unsynced.remove(segment)
            segment.release()
        return True

    def _is_covered(self, segment: Segment, plan: FlushPlan) -> bool:
        """Whether all of a sealed segment is on disk: it may have grown after the sync of its file had begun."""
        return segment.file in plan.files and self._segments.end_of(segment, self.log_end_offset) <= plan.end_offset

    def _await_sync(self, path: str) -> None:
        """The content of the file at `path` has changed, and perhaps its name is new."""
        self._changes += 1
        self._unsynced_paths[path] = self._changes
        self._unsynced_folders[self.folder] = self._changes

    def _await_folder_sync(self, folder: str) -> None:
        self._changes += 1
        self._unsynced_folders[folder] = self._changes

    def _await_index_sync(self, segment: Segment) -> None:
        self._await_sync(segment.path(names.INDEX_SUFFIX))
        self._await_sync(segment.path(names.TIME_INDEX_SUFFIX))

    def closing_plan(self) -> FlushPlan:
        """Write out everything that a clean start wants to find; nothing may be appended from now on."""
        active = self._segments.active
        active.write_indexes()
        self._await_index_sync(active)
        self._await_sync(replay.write_snapshot(self._disk, self.folder, self.log_end_offset, self.producers))
        return self.flush_plan()

    def close(self) -> None:
        """Close the files, whether or not a closing plan was carried out; those of a plan under way when it ends."""
        self.closed = True
        self._generation += 1
        self._unsynced.clear()
        for segment in self._segments:
            self._close_file(segment)

    def _close_file(self, segment: Segment) -> None:
        file = segment.detach()
        if file is not None:
            self._retired.append(file)
        if not self._flushing:
            self._end_flush()

    def _end_flush(self) -> None:
        self._flushing = False
        while self._retired:
            self._retired.pop().close()
