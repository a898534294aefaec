"""DescribeLogDirs (35): how large the replicas of this broker are, and how much room is left.

Versions 1-4: 3 a top-level error (KIP-784), 4 sizes of the disk (KIP-827), of which only the free part is known.
There is one log directory, and replicas never move between directories (KIP-113).
"""

from collections.abc import Iterable
from typing import Protocol

from broker.api.answers import RequestContext
from broker.api.registry import serves
from broker.replication.partition import Partition
from cluster.errors import ErrorCode
from cluster.wire.log_dirs import (
    DESCRIBE_LOG_DIRS,
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)


class Replicas(Protocol):
    """The replicas of this broker, as far as describing them needs."""

    def partitions(self) -> Iterable[Partition]: ...

    def on_storage_error(self, error: OSError) -> None: ...


class DiskSpace(Protocol):
    def free_bytes(self) -> int:
        """Raises OSError."""
        ...


class LogDirsApi:
    """`log_dir` is the directory's path, for people."""

    def __init__(self, *, log_dir: str, replicas: Replicas, disk: DiskSpace) -> None:
        self._log_dir = log_dir
        self._replicas = replicas
        self._disk = disk

    @serves(DESCRIBE_LOG_DIRS, "1-4")
    def describe_log_dirs(self, request: DescribeLogDirsRequest, context: RequestContext) -> DescribeLogDirsResponse:
        wanted = None
        if request.topics is not None:
            wanted = {(topic.topic, number) for topic in request.topics for number in topic.partitions}
        by_topic: dict[str, list[DescribeLogDirsPartition]] = {}
        for partition in self._replicas.partitions():
            if wanted is None or (partition.topic, partition.partition) in wanted:
                by_topic.setdefault(partition.topic, []).append(_described(partition))
        result = DescribeLogDirsResult(
            log_dir=self._log_dir,
            topics=[DescribeLogDirsTopic(name=name, partitions=by_topic[name]) for name in sorted(by_topic)],
        )
        try:
            result.usable_bytes = self._disk.free_bytes()
        except OSError as error:
            self._replicas.on_storage_error(error)
            result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
        return DescribeLogDirsResponse(results=[result])


def _described(partition: Partition) -> DescribeLogDirsPartition:
    log = partition.log
    return DescribeLogDirsPartition(
        partition_index=partition.partition,
        partition_size=log.size_bytes,
        offset_lag=max(partition.high_watermark - log.log_end_offset, 0),
    )
