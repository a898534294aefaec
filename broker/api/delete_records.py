"""DeleteRecords (21): forget the records of a partition below an offset.

Versions 0-2. Offset -1 means the high watermark, beyond which nothing can be deleted (KIP-107). The log start moves at
once; followers hear of it with the next message of their leader. A topic that is only compacted cannot be cut, and
neither can the coordinators' own.

Differs from Kafka: the answer does not wait for the followers. Their log start follows, and a new leader that has not
heard of it yet serves records that may be gone a moment later, which no client can tell from a late request.
"""

from typing import Protocol

from broker.api.answers import RequestContext
from broker.api.registry import serves
from broker.api.topic_names import INTERNAL_TOPICS
from broker.replication.partition import Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.wire.topics import (
    DELETE_RECORDS,
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)


class Replicas(Protocol):
    """The replicas of this broker, as far as deleting records needs them."""

    def partition(self, topic: str, number: int) -> Partition:
        """Raises KafkaError when it is unknown, elsewhere or offline."""
        ...


class DeleteRecordsApi:
    def __init__(self, *, replicas: Replicas) -> None:
        self._replicas = replicas

    @serves(DELETE_RECORDS, "0-2")
    def delete_records(self, request: DeleteRecordsRequest, context: RequestContext) -> DeleteRecordsResponse:
        return DeleteRecordsResponse(
            topics=[
                DeleteRecordsTopicResult(
                    name=topic.name, partitions=[self._delete(topic.name, item) for item in topic.partitions]
                )
                for topic in request.topics
            ]
        )

    def _delete(self, topic: str, item: DeleteRecordsPartition) -> DeleteRecordsPartitionResult:
        try:
            if topic in INTERNAL_TOPICS:
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic} is written by brokers only")
            partition = self._replicas.partition(topic, item.partition_index)
            partition.leader_role()
            if not partition.log.config.deletes:
                raise KafkaError(ErrorCode.POLICY_VIOLATION, f"{topic} is compacted and not deleted from")
            low_watermark = partition.delete_records(item.offset)
        except KafkaError as error:
            return DeleteRecordsPartitionResult(
                partition_index=item.partition_index, low_watermark=-1, error_code=error.code
            )
        return DeleteRecordsPartitionResult(partition_index=item.partition_index, low_watermark=low_watermark)
