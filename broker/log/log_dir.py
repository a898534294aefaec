"""One log directory: the logs of many partitions, and the files that describe them all.

Owns the lock, whose directory it is, whether the last stop was clean, the checkpoints, and the making and removing of
partitions. Never decides which partitions belong here. Blocks: for start, stop and small files.
Source: KIP-112 (directories), KIP-858 (directory ids), KIP-966 (broker epoch in the clean shutdown file).
"""

from collections.abc import Callable, Mapping
from typing import Final

from broker.log import names
from broker.log.checkpoints import (
    CHECKPOINT_SIZE_MAX,
    MetaProperties,
    parse_clean_shutdown,
    parse_meta_properties,
    parse_offsets,
    render_clean_shutdown,
    render_meta_properties,
    render_offsets,
)
from broker.log.config import LogConfig
from broker.log.files import FileCache
from broker.log.partition_log import FlushPlan, PartitionLog
from broker.log.recovery import LoadContext, create_log, load_log
from broker.log.scan import LogCorrupt
from cluster.ids import TopicPartition, Uuid
from cluster.seams import Disk, File
from cluster.storage import read_file, replace_file

_SMALL_FILE_MAX: Final = 64 * 1024
_OFFSET_CHECKPOINTS: Final = (
    names.RECOVERY_POINT_CHECKPOINT,
    names.HIGH_WATERMARK_CHECKPOINT,
    names.LOG_START_CHECKPOINT,
)


class WrongDirectory(Exception):
    """The directory belongs to another cluster or node, to another process, or does not say to whom."""


class LogDir:
    """Made by `open_log_dir`, which holds the lock until `close`."""

    def __init__(self, disk: Disk, lock: File, meta: MetaProperties, previous_broker_epoch: int | None) -> None:
        self.disk = disk
        self.meta = meta
        #: The epoch of the registration that ended with a clean stop; None after any other stop, and the first time.
        self.previous_broker_epoch = previous_broker_epoch
        self.logs: dict[TopicPartition, PartitionLog] = {}
        #: Partitions that could not be loaded, until they are deleted.
        self.corrupt: dict[TopicPartition, LogCorrupt] = {}
        self._lock = lock
        self._files = FileCache(disk)
        #: What the offset checkpoints on disk say, by name.
        self._checkpoints = {name: _read_offsets(disk, name) for name in _OFFSET_CHECKPOINTS}
        self._closed = False

    @property
    def high_watermarks(self) -> Mapping[TopicPartition, int]:
        """As they were last written: hints, for partitions that may be gone and offsets that may be lost."""
        return self._checkpoints[names.HIGH_WATERMARK_CHECKPOINT]

    def load(self, config_for: Callable[[TopicPartition], LogConfig]) -> None:
        """Open the log of every partition that has a folder here, into `logs` or else `corrupt`.

        Files of corrupt logs stay as they were. Other names are left alone.
        """
        compacted = _read_offsets(self.disk, names.CLEANER_CHECKPOINT)
        for name in self.disk.listdir(""):
            partition = names.parse_partition_folder(name)
            if partition is None or not self.disk.is_dir(name):
                continue
            context = LoadContext(
                config=config_for(partition),
                clean=self.previous_broker_epoch is not None,
                recovery_point=self._checkpoints[names.RECOVERY_POINT_CHECKPOINT].get(partition, 0),
                log_start_offset=self._checkpoints[names.LOG_START_CHECKPOINT].get(partition, 0),
                compacted=partition in compacted,
                before_recovery_point_falls=self._on_recovery_point_falls,
            )
            try:
                self.logs[partition] = load_log(self._files, partition, context)
            except LogCorrupt as error:
                self.corrupt[partition] = error
        for partition, recovery_point in self._checkpoints[names.RECOVERY_POINT_CHECKPOINT].items():
            if recovery_point > 0 and partition not in self.logs and partition not in self.corrupt:
                # An empty log in its place would be taken for the whole of it.
                folder = names.partition_folder(partition)
                self.corrupt[partition] = LogCorrupt(folder, 0, recovery_point, "the folder is gone")

    def create_partition(self, partition: TopicPartition, topic_id: Uuid, config: LogConfig) -> PartitionLog:
        """A new, empty log. Its folder must not exist; a corrupt one goes by `delete_partition` first."""
        assert not self.disk.exists(names.partition_folder(partition)), f"{partition} exists already"
        # A partition of the same name may have been here: what was true of its offsets is not true of these.
        for name in _OFFSET_CHECKPOINTS:
            if partition in self._checkpoints[name]:
                self._write_offsets(name, {p: o for p, o in self._checkpoints[name].items() if p != partition})
        log = create_log(self._files, partition, topic_id, config, self._on_recovery_point_falls)
        self.logs[partition] = log
        return log

    def delete_partition(self, partition: TopicPartition, topic_id: Uuid) -> str:
        """Close the log and rename its folder, if it is there; returns it, for `remove_folder` after a while."""
        log = self.logs.pop(partition, None)
        self.corrupt.pop(partition, None)
        folder = names.partition_folder(partition)
        if log is not None:
            log.close()
        self._files.discard_folder(folder)
        if not self.disk.exists(folder):
            return folder
        target = names.deleted_folder(partition, topic_id)
        if self.disk.exists(target):
            self.remove_folder(target)
        self.disk.rename(folder, target)
        self.disk.fsync_dir("")
        return target

    def distrust(self, path: str) -> None:
        """The log that the file at `path` belongs to is damaged: have the next start check every byte of it.

        A start that knows the leader epochs of a log reads only what may not have been on disk; without them, all.
        """
        checkpoint = f"{path.partition('/')[0]}/{names.LEADER_EPOCH_CHECKPOINT}"
        if self.disk.exists(checkpoint):
            self.disk.unlink(checkpoint)

    def deleted_folders(self) -> list[str]:
        """Folders of deleted partitions that are still here, from this process or an earlier one."""
        return [name for name in self.disk.listdir("") if names.is_deleted_folder(name)]

    def remove_folder(self, folder: str) -> None:
        """Unlink what `delete_partition` renamed."""
        assert names.is_deleted_folder(folder), f"not a deleted partition: {folder}"
        for name in self.disk.listdir(folder):
            self.disk.unlink(f"{folder}/{name}")
        self.disk.rmdir(folder)

    # --- Checkpoints

    def write_recovery_points(self) -> None:
        self._write_offsets(
            names.RECOVERY_POINT_CHECKPOINT,
            {partition: log.recovery_point for partition, log in self.logs.items()},
        )

    def write_log_starts(self) -> None:
        self._write_offsets(
            names.LOG_START_CHECKPOINT,
            {partition: log.log_start_offset for partition, log in self.logs.items() if log.log_start_offset > 0},
        )

    def write_high_watermarks(self, high_watermarks: Mapping[TopicPartition, int]) -> None:
        """`high_watermarks` is the whole new content; a partition that is left out has none any more."""
        self._write_offsets(names.HIGH_WATERMARK_CHECKPOINT, dict(high_watermarks))

    def _write_offsets(self, name: str, offsets: dict[TopicPartition, int]) -> None:
        # What is known of a corrupt log must not be forgotten: it would be cut at the next start instead of refused.
        for partition in self.corrupt.keys() & self._checkpoints[name].keys():
            offsets.setdefault(partition, self._checkpoints[name][partition])
        if offsets != self._checkpoints[name]:
            replace_file(self.disk, name, render_offsets(offsets))
            self._checkpoints[name] = offsets

    def _on_recovery_point_falls(self, log: PartitionLog) -> None:
        if self._checkpoints[names.RECOVERY_POINT_CHECKPOINT].get(log.partition, 0) > log.recovery_point:
            offsets = dict(self._checkpoints[names.RECOVERY_POINT_CHECKPOINT])
            offsets[log.partition] = log.recovery_point
            self._write_offsets(names.RECOVERY_POINT_CHECKPOINT, offsets)

    # --- The end

    def flush(self, log: PartitionLog, plan: FlushPlan) -> bool:
        """Carry out `plan` here and now. A shell that must not block syncs its files asynchronously instead."""
        for file in plan.files:
            file.sync()
        for path in plan.paths:
            try:
                file = self.disk.open(path)
            except FileNotFoundError:
                continue
            try:
                file.sync()
            finally:
                file.close()
        for folder in plan.folders:
            self.disk.fsync_dir(folder)
        return log.mark_flushed(plan)

    def close(self, high_watermarks: Mapping[TopicPartition, int], broker_epoch: int | None) -> None:
        """Make everything durable, and with a broker epoch say that it is. Logs must not be used from now on.

        After an OSError the directory counts as stopped uncleanly; `abandon` releases it.
        """
        for log in self.logs.values():
            self.flush(log, log.closing_plan())
            log.close()
        self.write_recovery_points()
        self.write_log_starts()
        self.write_high_watermarks(high_watermarks)
        if broker_epoch is not None:
            replace_file(self.disk, names.CLEAN_SHUTDOWN, render_clean_shutdown(broker_epoch))
        self.abandon()

    def abandon(self) -> None:
        """Close every file and release the lock without writing anything; idempotent."""
        if not self._closed:
            self._closed = True
            for log in self.logs.values():
                log.close()
            self._files.close()
            self._lock.close()


def open_log_dir(disk: Disk, *, cluster_id: str, node_id: int, new_directory_id: Uuid) -> LogDir:
    """Take possession of the directory that is the root of `disk`; an empty one becomes `new_directory_id`.

    The clean shutdown file is read once and is gone, durably, before anything is trusted because of it. Raises
    WrongDirectory.
    """
    try:
        lock = disk.lock(names.LOCK)
    except BlockingIOError as error:
        raise WrongDirectory("another process is using this log directory") from error
    try:
        meta = _own_meta_properties(disk, cluster_id, node_id, new_directory_id)
        return LogDir(disk, lock, meta, _take_clean_shutdown(disk))
    except BaseException:
        lock.close()
        raise


def check_owner(disk: Disk, *, cluster_id: str | None, node_id: int) -> MetaProperties | None:
    """Who the directory says that it belongs to; None when it belongs to nobody yet.

    Raises WrongDirectory when that is another node or another cluster; without a `cluster_id` any cluster will do.
    """
    content = read_file(disk, names.META_PROPERTIES, _SMALL_FILE_MAX)
    if content is None:
        if any(names.parse_partition_folder(name) for name in disk.listdir("")):
            raise WrongDirectory(
                f"there are partitions but no {names.META_PROPERTIES}, so whose they are is unknown: put that file "
                "back, or empty the directory and let this node fetch everything again"
            )
        return None
    try:
        meta = parse_meta_properties(content)
    except ValueError as error:
        raise WrongDirectory(
            f"{names.META_PROPERTIES} cannot be read ({error}), so whose this directory is is unknown: put the file "
            "right, or empty the directory and let this node fetch everything again"
        ) from error
    if meta.node_id != node_id or cluster_id not in (None, meta.cluster_id):
        own = f"node {node_id}" + ("" if cluster_id is None else f" in cluster {cluster_id}")
        raise WrongDirectory(
            f"the directory is of node {meta.node_id} in cluster {meta.cluster_id}, this is {own}: give this node a "
            "directory of its own"
        )
    return meta


def _own_meta_properties(disk: Disk, cluster_id: str, node_id: int, new_directory_id: Uuid) -> MetaProperties:
    meta = check_owner(disk, cluster_id=cluster_id, node_id=node_id)
    if meta is None:
        meta = MetaProperties(cluster_id=cluster_id, node_id=node_id, directory_id=new_directory_id)
        replace_file(disk, names.META_PROPERTIES, render_meta_properties(meta))
    return meta


def _take_clean_shutdown(disk: Disk) -> int | None:
    content = read_file(disk, names.CLEAN_SHUTDOWN, _SMALL_FILE_MAX)
    if not disk.exists(names.CLEAN_SHUTDOWN):
        return None
    disk.unlink(names.CLEAN_SHUTDOWN)
    disk.fsync_dir("")
    try:
        return parse_clean_shutdown(content) if content is not None else None
    except ValueError:
        return None


def _read_offsets(disk: Disk, name: str) -> dict[TopicPartition, int]:
    """An unreadable checkpoint says as little as an absent one."""
    content = read_file(disk, name, CHECKPOINT_SIZE_MAX)
    try:
        return parse_offsets(content) if content is not None else {}
    except ValueError:
        return {}
