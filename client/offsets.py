"""Which offset answers to a question about time: the beginning, the end, or a timestamp.

Owns ListOffsets on the client's side: one request for each leader, attempts until the deadline for partitions whose
leader moves. Source: KIP-79, KIP-207 (a new leader that does not know yet), KIP-734 (the maximum timestamp).
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from client.cluster import Cluster
from client.connection import Connection
from client.errors import failure
from client.retry import TRANSIENT, Deadline
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition
from cluster.wire.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

#: In place of a timestamp: the end of the log, its beginning, the record with the largest timestamp.
LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1

#: A topic that is not there is not waited for.
_RETRIED: Final = TRANSIENT | {ErrorCode.UNKNOWN_TOPIC_ID, ErrorCode.INCONSISTENT_TOPIC_ID}


class OffsetAndTimestamp(NamedTuple):
    """What a partition answered. `offset` and `timestamp` are -1 where no record is that late.

    For LATEST the offset is that of the next record to be visible, for EARLIEST of the first one there; both come
    without a timestamp.
    """

    offset: int
    timestamp: int
    leader_epoch: int


async def list_offsets(
    cluster: Cluster, wanted: Mapping[TopicPartition, int], isolation_level: int, deadline: Deadline
) -> dict[TopicPartition, OffsetAndTimestamp | KafkaError]:
    """For each partition the first offset whose timestamp is at least the wanted one, or LATEST, EARLIEST and so on.

    A partition that fails has its error in the result; nothing is raised for it.
    """
    results: dict[TopicPartition, OffsetAndTimestamp | KafkaError] = {}

    async def attempt() -> None:
        remaining = {
            partition: timestamp
            for partition, timestamp in wanted.items()
            if not isinstance(results.get(partition), OffsetAndTimestamp)
        }
        results.update(await _ask_leaders(cluster, remaining, isolation_level, deadline))
        for result in results.values():
            if isinstance(result, KafkaError) and result.code in _RETRIED:
                raise result

    try:
        await cluster.retrying(attempt, deadline, _RETRIED)
    except KafkaError:
        # The deadline passed. The partitions that still fail have their errors in the results.
        pass
    return results


async def _ask_leaders(
    cluster: Cluster, wanted: Mapping[TopicPartition, int], isolation_level: int, deadline: Deadline
) -> dict[TopicPartition, OffsetAndTimestamp | KafkaError]:
    results: dict[TopicPartition, OffsetAndTimestamp | KafkaError] = {}
    by_connection: dict[Connection, list[tuple[TopicPartition, ListOffsetsPartition]]] = {}
    for partition, timestamp in sorted(wanted.items()):
        try:
            connection, leader_epoch = await cluster.leader_connection(partition, deadline)
        except KafkaError as error:
            results[partition] = error
            continue
        question = ListOffsetsPartition(
            partition_index=partition.partition, current_leader_epoch=leader_epoch, timestamp=timestamp
        )
        by_connection.setdefault(connection, []).append((partition, question))
    answers = await asyncio.gather(
        *(_ask(cluster, connection, asked, isolation_level, deadline) for connection, asked in by_connection.items())
    )
    for answer in answers:
        results.update(answer)
    return results


async def _ask(
    cluster: Cluster,
    connection: Connection,
    asked: list[tuple[TopicPartition, ListOffsetsPartition]],
    isolation_level: int,
    deadline: Deadline,
) -> dict[TopicPartition, OffsetAndTimestamp | KafkaError]:
    topics: dict[str, list[ListOffsetsPartition]] = {}
    for partition, question in asked:
        topics.setdefault(partition.topic, []).append(question)
    timeout_ms = deadline.cap(cluster.config.request_timeout_ms)
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level,
        topics=[ListOffsetsTopic(name=name, partitions=questions) for name, questions in topics.items()],
        timeout_ms=timeout_ms,
    )
    try:
        response = await connection.call(request, timeout_ms=timeout_ms)
    except KafkaError as error:
        return {partition: error for partition, _ in asked}
    answers = {
        TopicPartition(topic.name, answer.partition_index): _result(topic.name, answer)
        for topic in response.topics
        for answer in topic.partitions
    }
    missing = failure(ErrorCode.UNKNOWN_SERVER_ERROR, detail="the broker left this partition out of its answer")
    return {partition: answers.get(partition, missing) for partition, _ in asked}


def _result(topic: str, answer: ListOffsetsPartitionResponse) -> OffsetAndTimestamp | KafkaError:
    if answer.error_code != ErrorCode.NONE:
        return failure(answer.error_code, f"{topic}/{answer.partition_index}")
    return OffsetAndTimestamp(answer.offset, answer.timestamp, answer.leader_epoch)
