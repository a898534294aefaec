"""ListOffsets and OffsetForLeaderEpoch."""

from pathlib import Path

import pytest

from broker.api.offsets import EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, MAX_TIMESTAMP
from cluster.errors import ErrorCode
from cluster.records.record import NewRecord, build_batch
from cluster.wire.list_offsets import (
    EpochEndOffset,
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsTopic,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from tests.unit.api.rig import WALL_MS, Broker, batch, cluster_image, commit, partition_image


def broker_with(folder: Path) -> Broker:
    """t-0: two records a batch at 0, 2 and 4, of timestamps 10 apart; committed."""
    broker = Broker(folder, cluster_image({"t": [partition_image()], "elsewhere": [partition_image(leader=2)]}))
    partition = broker.replicas.add("t", 0)
    for at in (0, 20, 40):
        records = [NewRecord(None, b"a", WALL_MS + at), NewRecord(None, b"b", WALL_MS + at + 10)]
        partition.append(build_batch(records), 1, WALL_MS)
    commit(partition)
    return broker


def asked(timestamp: int, *, epoch: int = -1, isolation_level: int = 0, topic: str = "t") -> ListOffsetsRequest:
    item = ListOffsetsPartition(partition_index=0, timestamp=timestamp, current_leader_epoch=epoch)
    return ListOffsetsRequest(
        replica_id=-1, isolation_level=isolation_level, topics=[ListOffsetsTopic(name=topic, partitions=[item])]
    )


def found(broker: Broker, request: ListOffsetsRequest, version: int = 9) -> ListOffsetsPartitionResponse:
    (topic,) = broker.ask(request, version).topics
    (partition,) = topic.partitions
    assert isinstance(partition, ListOffsetsPartitionResponse)
    return partition


def test_latest_is_the_high_watermark(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    broker.replicas.partition("t", 0).append(batch("not committed"), 1, WALL_MS)
    answer = found(broker, asked(LATEST))
    assert (answer.error_code, answer.offset, answer.timestamp, answer.leader_epoch) == (0, 6, -1, 5)


def test_earliest_is_the_log_start_not_0(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    broker.replicas.partition("t", 0).delete_records(3)
    for timestamp in (EARLIEST, EARLIEST_LOCAL):
        answer = found(broker, asked(timestamp))
        assert (answer.offset, answer.timestamp, answer.leader_epoch) == (3, -1, 5)


@pytest.mark.parametrize(
    ("at", "offset", "timestamp"), [(0, 0, 0), (-1000, 0, 0), (1, 1, 10), (11, 2, 20), (30, 3, 30), (50, 5, 50)]
)
def test_by_time_the_answer_is_the_record_itself(tmp_path: Path, at: int, offset: int, timestamp: int) -> None:
    answer = found(broker_with(tmp_path), asked(WALL_MS + at))
    assert (answer.offset, answer.timestamp, answer.leader_epoch) == (offset, WALL_MS + timestamp, 5)


def test_a_time_after_every_record_has_no_offset_and_no_error(tmp_path: Path) -> None:
    answer = found(broker_with(tmp_path), asked(WALL_MS + 51))
    assert (answer.error_code, answer.offset, answer.timestamp, answer.leader_epoch) == (0, -1, -1, -1)


def test_records_that_are_not_committed_are_not_found_by_time(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    partition = broker.replicas.partition("t", 0)
    partition.append(build_batch([NewRecord(None, b"new", WALL_MS + 90)]), 1, WALL_MS)
    assert found(broker, asked(WALL_MS + 60)).offset == -1
    assert found(broker, asked(MAX_TIMESTAMP)).offset == -1
    commit(partition)
    assert found(broker, asked(WALL_MS + 60)).offset == 6


def test_the_largest_timestamp_is_found(tmp_path: Path) -> None:
    """KIP-734."""
    answer = found(broker_with(tmp_path), asked(MAX_TIMESTAMP), 7)
    assert (answer.offset, answer.timestamp) == (5, WALL_MS + 50)


def test_there_is_no_tiered_storage_to_find_anything_in(tmp_path: Path) -> None:
    """KIP-1005."""
    answer = found(broker_with(tmp_path), asked(LATEST_TIERED), 9)
    assert (answer.error_code, answer.offset) == (0, -1)


@pytest.mark.parametrize(
    ("timestamp", "version"), [(MAX_TIMESTAMP, 6), (EARLIEST_LOCAL, 7), (LATEST_TIERED, 8), (-6, 9)]
)
def test_special_timestamps_of_later_versions_are_unsupported(tmp_path: Path, timestamp: int, version: int) -> None:
    assert found(broker_with(tmp_path), asked(timestamp), version).error_code == ErrorCode.UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    ("version", "code"), [(5, ErrorCode.OFFSET_NOT_AVAILABLE), (4, ErrorCode.LEADER_NOT_AVAILABLE)]
)
def test_a_new_leader_does_not_tell_a_high_watermark_that_may_lag(
    tmp_path: Path, version: int, code: ErrorCode
) -> None:
    """KIP-207."""
    broker = broker_with(tmp_path)
    partition = broker.replicas.partition("t", 0)
    partition.append(batch("written, not known to be committed"), 1, WALL_MS)
    partition.on_image(partition_image(epoch=6), 0)
    assert found(broker, asked(LATEST), version).error_code == code
    assert found(broker, asked(WALL_MS + 51), version).error_code == code
    assert found(broker, asked(WALL_MS), version).offset == 0
    assert found(broker, asked(EARLIEST), version).error_code == ErrorCode.NONE
    commit(partition)
    assert found(broker, asked(LATEST), version).offset == 7


@pytest.mark.parametrize(
    ("epoch", "code"), [(5, 0), (4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH)]
)
def test_a_client_with_another_leader_epoch_is_told(tmp_path: Path, epoch: int, code: int) -> None:
    """KIP-320."""
    assert found(broker_with(tmp_path), asked(LATEST, epoch=epoch)).error_code == code


def test_unknown_and_foreign_partitions(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    assert found(broker, asked(LATEST, topic="absent")).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert found(broker, asked(LATEST, topic="elsewhere")).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_a_partition_asked_for_twice_is_an_invalid_request(tmp_path: Path) -> None:
    request = asked(LATEST)
    request.topics = [*request.topics, *request.topics]
    response = broker_with(tmp_path).ask(request, 9)
    assert [topic.partitions[0].error_code for topic in response.topics] == [ErrorCode.INVALID_REQUEST] * 2


def test_a_log_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    (log_file,) = tmp_path.glob("t-0/*.log")
    log_file.write_bytes(log_file.read_bytes()[:20])
    assert found(broker, asked(WALL_MS)).error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.replicas.partition("t", 0).offline_reason is not None


# OffsetForLeaderEpoch.


def end_of(broker: Broker, leader_epoch: int, *, current: int = -1, topic: str = "t") -> EpochEndOffset:
    item = OffsetForLeaderPartition(partition=0, leader_epoch=leader_epoch, current_leader_epoch=current)
    request = OffsetForLeaderEpochRequest(topics=[OffsetForLeaderTopic(topic=topic, partitions=[item])])
    (answer,) = broker.ask(request, 4).topics[0].partitions
    assert isinstance(answer, EpochEndOffset)
    return answer


def test_an_epoch_ends_where_the_next_one_begins_and_the_latest_at_the_log_end(tmp_path: Path) -> None:
    """KIP-320: the log end, not the high watermark."""
    broker = broker_with(tmp_path)
    partition = broker.replicas.partition("t", 0)
    partition.on_image(partition_image(epoch=8), 0)
    partition.append(batch("a"), 1, WALL_MS)
    ends = {epoch: (end_of(broker, epoch).leader_epoch, end_of(broker, epoch).end_offset) for epoch in (5, 7, 8, 9)}
    assert ends == {5: (5, 6), 7: (5, 6), 8: (8, 7), 9: (-1, -1)}


def test_epochs_are_asked_of_the_leader(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    assert end_of(broker, 5, current=4).error_code == ErrorCode.FENCED_LEADER_EPOCH
    assert end_of(broker, 5, topic="elsewhere").error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert end_of(broker, 5, topic="absent").error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
