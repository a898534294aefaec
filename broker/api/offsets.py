"""ListOffsets (2) and OffsetForLeaderEpoch (23): which offset answers to a time, or to an epoch.

ListOffsets, versions 1-9: 2 isolation level (KIP-98), 4 leader epochs (KIP-320), 5 OFFSET_NOT_AVAILABLE (KIP-207),
7 the largest timestamp (KIP-734), 8 the earliest local offset (KIP-405), 9 the latest tiered one (KIP-1005).
- Latest is the high watermark, or the last stable offset for read_committed. While a new leader's high watermark may
  lag it is not available; versions that do not know that error hear LEADER_NOT_AVAILABLE.
- By time, the answer is the first record at or after it, exactly, among those that the client may read.

OffsetForLeaderEpoch, versions 2-4: where an epoch ends in the leader's log, so that a client notices truncation
(KIP-320). The latest epoch ends at the end of the log, not at the high watermark.
"""

from collections import Counter
from typing import Final, Protocol

from broker.api.answers import RequestContext
from broker.api.log_access import reading
from broker.api.registry import serves
from broker.log.lookup import TimestampOffset
from broker.replication.partition import Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.wire.list_offsets import (
    LIST_OFFSETS,
    OFFSET_FOR_LEADER_EPOCH,
    EpochEndOffset,
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3
EARLIEST_LOCAL: Final = -4
LATEST_TIERED: Final = -5

#: The first version that knows each special timestamp.
_SPECIAL: Final = {LATEST: 1, EARLIEST: 1, MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9}
_FIRST_VERSION_WITH_NOT_AVAILABLE: Final = 5
_READ_COMMITTED: Final = 1
_NOTHING: Final = TimestampOffset(-1)


class Replicas(Protocol):
    """The replicas of this broker, as far as looking up offsets needs them."""

    def partition(self, topic: str, number: int) -> Partition:
        """Raises KafkaError when it is unknown, elsewhere or offline."""
        ...

    def on_storage_error(self, error: OSError) -> None: ...


class OffsetsApi:
    def __init__(self, *, replicas: Replicas) -> None:
        self._replicas = replicas

    @serves(LIST_OFFSETS, "1-9")
    def list_offsets(self, request: ListOffsetsRequest, context: RequestContext) -> ListOffsetsResponse:
        read_committed = request.isolation_level == _READ_COMMITTED
        mentions = Counter((topic.name, item.partition_index) for topic in request.topics for item in topic.partitions)
        return ListOffsetsResponse(
            topics=[
                ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=[
                        self._list_one(topic.name, item, read_committed, context.api_version)
                        if mentions[topic.name, item.partition_index] == 1
                        else _failed(item, ErrorCode.INVALID_REQUEST)
                        for item in topic.partitions
                    ],
                )
                for topic in request.topics
            ]
        )

    def _list_one(
        self, topic: str, item: ListOffsetsPartition, read_committed: bool, version: int
    ) -> ListOffsetsPartitionResponse:
        if item.timestamp < 0 and _SPECIAL.get(item.timestamp, version + 1) > version:
            return _failed(item, ErrorCode.UNSUPPORTED_VERSION)
        try:
            partition = self._replicas.partition(topic, item.partition_index)
            found = self._find(partition, item, read_committed)
        except KafkaError as error:
            code = error.code
            if code is ErrorCode.OFFSET_NOT_AVAILABLE and version < _FIRST_VERSION_WITH_NOT_AVAILABLE:
                code = ErrorCode.LEADER_NOT_AVAILABLE
            return _failed(item, code)
        return ListOffsetsPartitionResponse(
            partition_index=item.partition_index,
            timestamp=found.timestamp,
            offset=found.offset,
            leader_epoch=found.leader_epoch,
        )

    def _find(self, partition: Partition, item: ListOffsetsPartition, read_committed: bool) -> TimestampOffset:
        role = partition.leader_role(item.current_leader_epoch)
        log = partition.log
        timestamp = item.timestamp
        if timestamp in (EARLIEST, EARLIEST_LOCAL):
            return log.earliest_offset()
        if timestamp == LATEST_TIERED:
            return _NOTHING
        if timestamp == LATEST:
            latest = partition.latest_offset(item.current_leader_epoch)
            limit = log.last_stable_offset(latest) if read_committed else latest
            return TimestampOffset(limit, leader_epoch=role.leader_epoch)
        if timestamp == MAX_TIMESTAMP:
            found = reading(self._replicas, partition, log.offset_of_max_timestamp)
        else:
            found = reading(self._replicas, partition, lambda: log.offset_for_timestamp(timestamp))
        high_watermark = partition.high_watermark
        limit = log.last_stable_offset(high_watermark) if read_committed else high_watermark
        if found is not None and found.offset < limit:
            return found
        # Nothing below the limit, which counts only once the limit is known for certain.
        partition.latest_offset(item.current_leader_epoch)
        return _NOTHING

    @serves(OFFSET_FOR_LEADER_EPOCH, "2-4")
    def offset_for_leader_epoch(
        self, request: OffsetForLeaderEpochRequest, context: RequestContext
    ) -> OffsetForLeaderEpochResponse:
        return OffsetForLeaderEpochResponse(
            topics=[
                OffsetForLeaderTopicResult(
                    topic=topic.topic, partitions=[self._end_of_epoch(topic.topic, item) for item in topic.partitions]
                )
                for topic in request.topics
            ]
        )

    def _end_of_epoch(self, topic: str, item: OffsetForLeaderPartition) -> EpochEndOffset:
        try:
            partition = self._replicas.partition(topic, item.partition)
            partition.leader_role(item.current_leader_epoch)
        except KafkaError as error:
            return EpochEndOffset(error_code=error.code, partition=item.partition)
        epoch, end_offset = partition.log.end_offset_for_epoch(item.leader_epoch)
        return EpochEndOffset(partition=item.partition, leader_epoch=epoch, end_offset=end_offset)


def _failed(item: ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(partition_index=item.partition_index, error_code=code)
