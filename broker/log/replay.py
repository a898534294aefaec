"""Producer state out of the log: what each batch does to it, and how it is had again from a snapshot and the log.

Owns the files of snapshots in a partition's folder. Never checks sequences: what stands in the log counts.
"""

from collections.abc import Callable
from functools import partial

from broker.log import names
from broker.log.files import FileCache
from broker.log.lookup import records_at
from broker.log.producer_snapshot import SNAPSHOT_SIZE_MAX, parse_snapshot, render_snapshot
from broker.log.producer_state import CompletedTxn, ProducerStates
from broker.log.segment import Segment
from broker.log.segments import SegmentList
from broker.log.txn_index import AbortedTxn
from cluster.records.batch import BatchHeader
from cluster.records.record import Record, parse_end_txn_marker
from cluster.seams import Disk
from cluster.storage import read_file, replace_file


def count_batch(
    states: ProducerStates, header: BatchHeader, base_offset: int, read_records: Callable[[], list[Record]]
) -> CompletedTxn | None:
    """Let a batch that stands in the log at `base_offset` take effect; the transaction it ended, if any.

    `read_records` is called for control batches only.
    """
    if header.producer_id < 0:
        return None
    if not header.is_control:
        states.update(header, base_offset)
        return None
    marker = parse_end_txn_marker(read_records())
    return states.end_transaction(header, marker, base_offset) if marker is not None else None


def index_completed(segment: Segment, states: ProducerStates, completed: CompletedTxn | None) -> None:
    """Keep an aborted transaction for consumers; `segment` holds its marker."""
    if completed is not None and completed.aborted:
        segment.txn_index.append(
            AbortedTxn(
                completed.producer_id,
                completed.first_offset,
                completed.last_offset,
                states.last_stable_offset_after(completed),
            )
        )


def snapshot_path(folder: str, offset: int) -> str:
    return f"{folder}/{names.segment_file(offset, names.SNAPSHOT_SUFFIX)}"


def write_snapshot(disk: Disk, folder: str, offset: int, states: ProducerStates) -> str:
    """Keep the state of a log that ends at `offset`; not synced. Returns the path."""
    path = snapshot_path(folder, offset)
    replace_file(disk, path, render_snapshot(states), durable=False)
    return path


def snapshot_offsets(disk: Disk, folder: str) -> list[int]:
    """The offsets that there are snapshots of, ascending."""
    parsed = (names.parse_segment_file(name) for name in disk.listdir(folder))
    return [found[0] for found in parsed if found is not None and found[1] == names.SNAPSHOT_SUFFIX]


def restore_producers(
    files: FileCache,
    folder: str,
    segments: SegmentList,
    end_offset: int,
    *,
    snapshot_max: int,
    index_from: int | None = None,
) -> ProducerStates:
    """The producer state of the log up to `end_offset`, from the newest usable snapshot and the batches behind it.

    Snapshots above `snapshot_max` are not trusted. Aborted transactions whose marker is at or above `index_from` are
    put into the index of their segment again.
    """
    states, offset = _newest_snapshot(files.disk, folder, segments.first.base_offset, snapshot_max)
    for segment in segments.from_offset(offset):
        if segment.base_offset >= end_offset:
            break
        found = segment.locate(offset)
        if found is None:
            continue
        for position, header in segment.walk(found[0], found[1].base_offset):
            if header.base_offset >= end_offset:
                break
            completed = count_batch(
                states,
                header,
                header.base_offset,
                partial(records_at, segment, position, header),
            )
            if index_from is not None and header.base_offset >= index_from:
                index_completed(segment, states, completed)
    return states


def _newest_snapshot(disk: Disk, folder: str, log_first_offset: int, snapshot_max: int) -> tuple[ProducerStates, int]:
    for offset in reversed(snapshot_offsets(disk, folder)):
        if log_first_offset <= offset <= snapshot_max:
            content = read_file(disk, snapshot_path(folder, offset), SNAPSHOT_SIZE_MAX)
            if content is not None:
                try:
                    return parse_snapshot(content), offset
                except ValueError:
                    continue  # an older one and more of the log give the same
    return ProducerStates(), log_first_offset
