"""Logs to test with: a log directory that is stopped, killed and damaged, and batches to put into it."""

from pathlib import Path

from broker.log.config import LogConfig
from broker.log.log_dir import LogDir, open_log_dir
from broker.log.partition_log import PartitionLog
from broker.log.replay import restore_producers
from broker.log.segment import Segment
from cluster.host.disk import HostDisk
from cluster.ids import TopicPartition, Uuid
from cluster.records.batch import iterate_batches
from cluster.records.compression import CompressionType
from cluster.records.record import (
    ControlType,
    EndTxnMarker,
    NewRecord,
    Record,
    build_batch,
    build_end_txn_marker,
    decode_records,
)

PARTITION = TopicPartition("orders", 0)
TOPIC_ID = Uuid(bytes(range(16)))
DIRECTORY_ID = Uuid(bytes(range(16, 32)))
CLUSTER = "cluster-of-the-test"
NOW = 1_700_000_000_000
#: Small enough that a few batches fill a segment and nearly every batch is indexed.
SMALL = LogConfig(segment_bytes=600, index_interval_bytes=100)


def open_directory(root: Path) -> LogDir:
    return open_log_dir(HostDisk(str(root)), cluster_id=CLUSTER, node_id=1, new_directory_id=DIRECTORY_ID)


class Broker:
    """The only log of a log directory, over several lives of the process."""

    def __init__(self, root: Path, config: LogConfig = SMALL) -> None:
        self.root = root
        self.config = config
        self.directory = open_directory(root)
        self.directory.create_partition(PARTITION, TOPIC_ID, config)

    @property
    def log(self) -> PartitionLog:
        return self.directory.logs[PARTITION]

    @property
    def folder(self) -> Path:
        return self.root / str(PARTITION)

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.folder.glob("*" + suffix))

    def flush(self) -> None:
        assert self.directory.flush(self.log, self.log.flush_plan())
        self.directory.write_recovery_points()

    def stop(self, broker_epoch: int | None = 5) -> None:
        self.directory.close({PARTITION: self.log.log_end_offset}, broker_epoch)

    def kill(self) -> None:
        self.directory.abandon()

    def start(self) -> PartitionLog:
        """Raises the LogCorrupt for which the log was refused."""
        self.directory = open_directory(self.root)
        self.directory.load(lambda _: self.config)
        if PARTITION in self.directory.corrupt:
            raise self.directory.corrupt[PARTITION]
        return self.log

    def set_config(self, config: LogConfig) -> None:
        self.config = config
        self.log.update_config(config)


def plain(
    *values: bytes, timestamp: int = NOW, key: bytes | None = None, codec: CompressionType = CompressionType.NONE
) -> bytearray:
    """A batch with one record for each value."""
    return build_batch([NewRecord(key, value, timestamp) for value in values], compression=codec)


def idempotent(
    producer_id: int, sequence: int, *values: bytes, epoch: int = 0, transactional: bool = False, timestamp: int = NOW
) -> bytearray:
    return build_batch(
        [NewRecord(None, value, timestamp) for value in values],
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        transactional=transactional,
    )


def marker(
    producer_id: int, control_type: ControlType, *, epoch: int = 0, coordinator_epoch: int = 1, timestamp: int = NOW
) -> bytearray:
    return build_end_txn_marker(
        EndTxnMarker(control_type, coordinator_epoch),
        producer_id=producer_id,
        producer_epoch=epoch,
        timestamp=timestamp,
    )


def records_of(data: bytes) -> list[Record]:
    return [record for position, header in iterate_batches(data) for record in decode_records(data, header, position)]


def read_bytes(log: PartitionLog, max_bytes: int = 1 << 20, limit_offset: int | None = None) -> bytes:
    """Every batch of the log, read as a consumer reads them."""
    pieces: list[bytes] = []
    offset = log.log_start_offset
    while True:
        piece = log.read(offset, max_bytes, limit_offset)
        if not piece.data:
            return b"".join(pieces)
        assert piece.next_offset > offset
        pieces.append(piece.data)
        offset = piece.next_offset


def read_values(log: PartitionLog, max_bytes: int = 1 << 20, limit_offset: int | None = None) -> list[bytes | None]:
    """The value of every record, control records included."""
    return [record.value for record in records_of(read_bytes(log, max_bytes, limit_offset))]


def assert_derived_state_is_a_rebuild(broker: Broker) -> None:
    """Indexes, epochs and producer states are what the batches alone give."""
    log = broker.log
    data = read_bytes(log)
    epochs: list[tuple[int, int]] = []
    for _, header in iterate_batches(data):
        if not epochs or header.leader_epoch != epochs[-1][0]:
            epochs.append((header.leader_epoch, header.base_offset))
    if epochs and log.log_start_offset > epochs[0][1]:
        epochs[0] = (epochs[0][0], log.log_start_offset)
    known = [entry for entry in log.epochs.entries if entry[1] < log.log_end_offset]
    assert known == epochs
    segments = log._segments
    rebuilt = restore_producers(log._files, log.folder, segments, log.log_end_offset, snapshot_max=-1)
    assert {
        producer_id: (entry.epoch, entry.batches[-1:], entry.coordinator_epoch, entry.txn_first_offset)
        for producer_id, entry in log.producers.entries.items()
    } == {
        producer_id: (entry.epoch, entry.batches[-1:], entry.coordinator_epoch, entry.txn_first_offset)
        for producer_id, entry in rebuilt.entries.items()
    }
    for producer_id, entry in log.producers.entries.items():
        window = rebuilt.entries[producer_id].batches
        assert entry.batches == window[len(window) - len(entry.batches) :]
    for segment in segments:
        before = index_content(broker, segment)
        segment.rebuild_indexes()
        assert index_content(broker, segment) == before, segment


def index_content(broker: Broker, segment: Segment) -> tuple[bytes, bytes]:
    if segment.active:
        offsets, times = segment._entries_in_memory()
        return offsets.content, times.content
    return (
        (broker.root / segment.path(".index")).read_bytes(),
        (broker.root / segment.path(".timeindex")).read_bytes(),
    )
