"""Making a log out of what a folder holds, after a clean stop or any other.

Owns the decision between a torn tail, which is cut, and corruption, which is not: bytes below the recovery point were
on disk once and must still be whole. Everything that the batches imply is rebuilt where it may be stale: indexes,
leader epochs, producer states. Never asks another replica; a log that is refused can be had again from its leader.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.log import names, replay
from broker.log.checkpoints import (
    CHECKPOINT_SIZE_MAX,
    parse_epochs,
    parse_partition_metadata,
    render_partition_metadata,
)
from broker.log.config import LogConfig
from broker.log.epochs import UNDEFINED_EPOCH, LeaderEpochs
from broker.log.files import FileCache
from broker.log.partition_log import LogParts, PartitionLog
from broker.log.producer_state import ProducerStates
from broker.log.scan import LogCorrupt
from broker.log.segment import Segment
from broker.log.segments import SegmentList
from cluster.ids import ZERO_UUID, TopicPartition, Uuid
from cluster.seams import Disk
from cluster.storage import TEMPORARY_SUFFIX, read_file, replace_file

_METADATA_SIZE_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadContext:
    """What is known of a log before its folder is opened."""

    config: LogConfig
    #: The process before wrote everything out and said so.
    clean: bool
    #: Everything below was on disk; 0 when nothing is known.
    recovery_point: int
    #: 0 when nothing is known.
    log_start_offset: int
    #: Whether compaction may have made gaps, now or under earlier settings.
    compacted: bool
    before_recovery_point_falls: Callable[[PartitionLog], None]


def create_log(
    files: FileCache,
    partition: TopicPartition,
    topic_id: Uuid,
    config: LogConfig,
    before_recovery_point_falls: Callable[[PartitionLog], None],
) -> PartitionLog:
    """A new, empty log in a new folder. Its names are durable with its first flush."""
    folder = names.partition_folder(partition)
    files.disk.mkdir(folder)
    metadata_path = f"{folder}/{names.PARTITION_METADATA}"
    replace_file(files.disk, metadata_path, render_partition_metadata(topic_id), durable=False)
    segments = SegmentList()
    first = _unopened_segment(files, folder, 0, config, not config.compacted)
    first.create()
    segments.append(first)
    parts = LogParts(
        segments=segments,
        epochs=LeaderEpochs(),
        producers=ProducerStates(),
        log_start_offset=0,
        log_end_offset=0,
        recovery_point=0,
        unsynced_paths=(metadata_path,),
        unsynced_folders=("", folder),
    )
    return PartitionLog(partition, topic_id, folder, files, config, parts, before_recovery_point_falls)


def load_log(files: FileCache, partition: TopicPartition, context: LoadContext) -> PartitionLog:
    """The log in the folder of `partition`. Its topic id is ZERO_UUID where none can be read.

    Raises LogCorrupt when bytes below the recovery point are damaged or missing; the files are then as they were,
    but for leftovers.
    """
    folder = names.partition_folder(partition)
    dense = not (context.config.compacted or context.compacted)
    segments = _find_segments(files, folder, context.config, dense)
    if not len(segments):
        first = _unopened_segment(files, folder, context.log_start_offset, context.config, dense)
        first.create()
        segments.append(first)
    try:
        parts = _load_parts(files, folder, segments, context)
    except LogCorrupt:
        for segment in segments:
            segment.release()
        raise
    log = PartitionLog(
        partition,
        _load_topic_id(files.disk, folder),
        folder,
        files,
        context.config,
        parts,
        context.before_recovery_point_falls,
    )
    if log.log_start_offset < context.log_start_offset:
        # The tail that was lost reached below the log start: nothing of what is left may be read.
        log.truncate_fully_and_start_at(context.log_start_offset)
    return log


def _load_parts(files: FileCache, folder: str, segments: SegmentList, context: LoadContext) -> LogParts:
    epochs = _load_epochs(files.disk, folder)
    end_offset = _activate_clean(segments, context) if context.clean and epochs is not None else None
    if end_offset is not None and epochs is not None:
        epochs.truncate_from_end(end_offset)
        producers = replay.restore_producers(files, folder, segments, end_offset, snapshot_max=end_offset)
        recovery_point = end_offset
        unsynced: tuple[Segment, ...] = ()
    else:
        # Which leader wrote what stands in the batches too; without a checkpoint all of them are read.
        first = segments.first if epochs is None else segments.floor(context.recovery_point)
        verified_from = first.base_offset
        known = epochs if epochs is not None else LeaderEpochs()
        epochs = LeaderEpochs(entry for entry in known.entries if entry[1] < verified_from)
        end_offset, unsynced = _recover(files.disk, segments, verified_from, epochs, known, context.recovery_point)
        _remove_snapshots_above(files.disk, folder, verified_from)
        producers = replay.restore_producers(
            files, folder, segments, end_offset, snapshot_max=verified_from, index_from=verified_from
        )
        recovery_point = min(context.recovery_point, end_offset)
    log_start_offset = min(max(context.log_start_offset, segments.first.base_offset), end_offset)
    epochs.truncate_from_start(log_start_offset)
    return LogParts(
        segments=segments,
        epochs=epochs,
        producers=producers,
        log_start_offset=log_start_offset,
        log_end_offset=end_offset,
        recovery_point=recovery_point,
        unsynced=unsynced,
        unsynced_folders=() if recovery_point == end_offset else (folder,),
    )


def _activate_clean(segments: SegmentList, context: LoadContext) -> int | None:
    """The log end offset; None when the clean stop was not as clean as it was said to be."""
    active = segments.active
    try:
        end_offset = active.activate(active.size)
    except LogCorrupt:
        return None
    return end_offset if end_offset >= context.recovery_point else None


def _recover(
    disk: Disk,
    segments: SegmentList,
    verified_from: int,
    epochs: LeaderEpochs,
    known_epochs: LeaderEpochs,
    recovery_point: int,
) -> tuple[int, tuple[Segment, ...]]:
    """Check the segments from `verified_from` on; (log end offset, those of them that are sealed).

    `epochs` grows by what the batches say; below the recovery point that must be what `known_epochs` says.
    Cuts the log where its batches stop being whole and drops what lies behind. Raises LogCorrupt, with all files as
    they were, when that is below `recovery_point`.
    """
    end_offset = verified_from
    good: list[Segment] = []
    fault: LogCorrupt | None = None
    for segment in segments.from_offset(verified_from):
        if good and (segment.base_offset != end_offset if segment.dense else segment.base_offset < end_offset):
            fault = LogCorrupt(
                segment.path(names.LOG_SUFFIX), 0, end_offset, f"the segment starts at {segment.base_offset}"
            )
            break
        good.append(segment)
        end_offset = segment.base_offset
        try:
            for position, header in segment.recover(epochs.latest):
                known_epoch = known_epochs.epoch_of(header.base_offset)
                if header.base_offset < recovery_point and known_epoch not in (header.leader_epoch, UNDEFINED_EPOCH):
                    raise LogCorrupt(
                        segment.path(names.LOG_SUFFIX),
                        position,
                        end_offset,
                        f"leader epoch {header.leader_epoch}, was {known_epoch}",
                    )
                if header.leader_epoch > epochs.latest:
                    epochs.assign(header.leader_epoch, header.base_offset)
                end_offset = header.next_offset
        except LogCorrupt as error:
            fault = error
            break
    if end_offset < recovery_point:
        path = good[-1].path(names.LOG_SUFFIX)
        raise fault or LogCorrupt(path, good[-1].size, end_offset, f"the log ends below {recovery_point}")
    while segments.active is not good[-1]:
        dropped = segments.pop_last()
        dropped.release()
        for path in dropped.remove():
            disk.unlink(path)
    for segment in good:
        segment.txn_index.remove()
    for segment in good[:-1]:
        segment.seal()
    good[-1].activate(good[-1].size)
    return end_offset, tuple(good[:-1])


def _find_segments(files: FileCache, folder: str, config: LogConfig, dense: bool) -> SegmentList:
    """The segments that a folder holds, none of them active; leftovers of crashes are removed."""
    found: dict[int, set[str]] = {}
    for name in files.disk.listdir(folder):
        if name.endswith((names.DELETED_SUFFIX, TEMPORARY_SUFFIX)):
            files.disk.unlink(f"{folder}/{name}")
        elif (parsed := names.parse_segment_file(name)) is not None:
            found.setdefault(parsed[0], set()).add(parsed[1])
    segments = SegmentList()
    snapshots = [offset for offset, suffixes in found.items() if names.SNAPSHOT_SUFFIX in suffixes]
    for base_offset, suffixes in sorted(found.items()):
        if names.LOG_SUFFIX in suffixes:
            has_txn_index = names.TXN_INDEX_SUFFIX in suffixes
            segment = _unopened_segment(files, folder, base_offset, config, dense, has_txn_index=has_txn_index)
            segment.size = segment.trusted_from = segment.file.size()
            segments.append(segment)
            continue
        if base_offset == max(snapshots, default=-1):
            suffixes.remove(names.SNAPSHOT_SUFFIX)
        for suffix in sorted(suffixes.intersection(names.COMPANION_SUFFIXES)):
            files.disk.unlink(f"{folder}/{names.segment_file(base_offset, suffix)}")
    return segments


def _unopened_segment(
    files: FileCache, folder: str, base_offset: int, config: LogConfig, dense: bool, *, has_txn_index: bool = False
) -> Segment:
    return Segment(
        files,
        folder,
        base_offset,
        size=0,
        has_txn_index=has_txn_index,
        interval_bytes=config.index_interval_bytes,
        dense=dense,
    )


def _remove_snapshots_above(disk: Disk, folder: str, offset: int) -> None:
    """They may be of batches that were cut off before the process ended, and come back with a crash."""
    for snapshot_offset in replay.snapshot_offsets(disk, folder):
        if snapshot_offset > offset:
            disk.unlink(replay.snapshot_path(folder, snapshot_offset))


def _load_epochs(disk: Disk, folder: str) -> LeaderEpochs | None:
    content = read_file(disk, f"{folder}/{names.LEADER_EPOCH_CHECKPOINT}", CHECKPOINT_SIZE_MAX)
    if content is None:
        return None
    try:
        return LeaderEpochs(parse_epochs(content))
    except ValueError:
        return None


def _load_topic_id(disk: Disk, folder: str) -> Uuid:
    content = read_file(disk, f"{folder}/{names.PARTITION_METADATA}", _METADATA_SIZE_MAX)
    try:
        return parse_partition_metadata(content) if content is not None else ZERO_UUID
    except ValueError:
        return ZERO_UUID
