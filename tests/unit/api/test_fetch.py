"""Fetch: what a consumer sees, when it waits and what wakes it."""

import gc
from pathlib import Path

import pytest

from broker.api.fetch import SMALL_RESPONSE_BYTES, UNSENT_BYTES_MAX
from broker.log.config import LogConfig
from broker.log.validator import AppendOrigin
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID
from cluster.records.batch import iterate_batches
from cluster.records.compression import CompressionType
from cluster.records.record import ControlType, EndTxnMarker, build_end_txn_marker
from cluster.wire.codec import records_view
from cluster.wire.fetch import (
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
    ReplicaState,
)
from tests.unit.api.rig import (
    WALL_MS,
    Broker,
    batch,
    broker_image,
    cluster_image,
    commit,
    partition_image,
    topic_id,
    turn,
)
from tests.unit.broker.wire_rig import on_loop


def broker_with(folder: Path, *, partitions: int = 1, config: LogConfig | None = None) -> Broker:
    """A broker that leads every partition of t, with followers 2 and 3."""
    broker = Broker(folder, cluster_image({"t": [partition_image() for _ in range(partitions)]}))
    for number in range(partitions):
        broker.replicas.add("t", number, config)
    return broker


def put(broker: Broker, *values: str, partition: int = 0, committed: bool = True) -> None:
    """Append one batch for each value."""
    found = broker.replicas.partition("t", partition)
    for value in values:
        found.append(batch(value), 1, WALL_MS)
    if committed:
        commit(found)


def wanted(
    *offsets: int,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 1 << 20,
    partition_max_bytes: int = 1 << 20,
    isolation_level: int = 0,
    current_leader_epoch: int = -1,
    last_fetched_epoch: int = -1,
    session_epoch: int = -1,
) -> FetchRequest:
    """Partition n of t from the n-th offset."""
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=isolation_level,
        session_epoch=session_epoch,
        topics=[
            FetchTopic(
                topic="t",
                topic_id=topic_id("t"),
                partitions=[
                    FetchPartition(
                        partition=number,
                        fetch_offset=offset,
                        partition_max_bytes=partition_max_bytes,
                        current_leader_epoch=current_leader_epoch,
                        last_fetched_epoch=last_fetched_epoch,
                    )
                    for number, offset in enumerate(offsets)
                ],
            )
        ],
    )


def parts(response: FetchResponse) -> list[PartitionData]:
    (topic,) = response.responses
    return list(topic.partitions)


def offsets(data: PartitionData) -> list[int]:
    """Base offsets of the batches, all of which are whole."""
    view = records_view(data.records)
    assert view is not None
    return [header.base_offset for _, header in iterate_batches(view)]


SIZE = len(batch("a"))


# What is seen.


def test_consumers_see_what_is_committed(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    put(broker, "a", "b")
    put(broker, "c", committed=False)
    (data,) = parts(broker.ask(wanted(0), 12))
    assert offsets(data) == [0, 1]
    assert (data.error_code, data.high_watermark, data.last_stable_offset, data.log_start_offset) == (0, 2, 2, 0)


@pytest.mark.parametrize("offset", [2, 3])
def test_between_high_watermark_and_log_end_there_is_nothing_and_no_error(tmp_path: Path, offset: int) -> None:
    broker = broker_with(tmp_path)
    put(broker, "a", "b")
    put(broker, "c", committed=False)
    (data,) = parts(broker.ask(wanted(offset), 12))
    assert (data.error_code, data.records) == (0, b"")


@pytest.mark.parametrize("offset", [-1, 3, 100])
def test_an_offset_outside_of_the_log_is_out_of_range(tmp_path: Path, offset: int) -> None:
    broker = broker_with(tmp_path)
    put(broker, "a", "b")
    (data,) = parts(broker.ask(wanted(offset), 12))
    assert (data.error_code, data.high_watermark, data.partition_index) == (ErrorCode.OFFSET_OUT_OF_RANGE, -1, 0)


def test_records_are_never_null(tmp_path: Path) -> None:
    """librdkafka takes null records for a malformed answer, also beside an error."""
    broker = broker_with(tmp_path)
    for response in (broker.ask(wanted(0), 4), broker.ask(wanted(99), 4)):
        (data,) = parts(response)
        assert data.records == b""


def test_every_partition_asked_for_is_answered_in_order(tmp_path: Path) -> None:
    broker = broker_with(tmp_path, partitions=3)
    put(broker, "a", partition=1)
    answers = parts(broker.ask(wanted(0, 0, 9, 0), 12))
    assert [data.partition_index for data in answers] == [0, 1, 2, 3]
    assert [data.error_code for data in answers] == [0, 0, ErrorCode.OFFSET_OUT_OF_RANGE, 3]


# Sizes.


def test_the_first_batch_is_whole_however_small_the_limits(tmp_path: Path) -> None:
    """KIP-74: a batch larger than the limits must not stop a consumer for ever."""
    broker = broker_with(tmp_path, partitions=2)
    put(broker, "a", "b")
    put(broker, "c", partition=1)
    first, second = parts(broker.ask(wanted(0, 0, max_bytes=1, partition_max_bytes=1), 12))
    assert offsets(first) == [0]
    assert second.records == b""


def test_limits_cut_between_batches(tmp_path: Path) -> None:
    broker = broker_with(tmp_path, partitions=2)
    put(broker, "a", "b", "c")
    put(broker, "d", "e", partition=1)
    first, second = parts(broker.ask(wanted(0, 0, partition_max_bytes=2 * SIZE + 1), 12))
    assert (offsets(first), offsets(second)) == ([0, 1], [0, 1])
    first, second = parts(broker.ask(wanted(0, 0, max_bytes=4 * SIZE), 12))
    assert (offsets(first), offsets(second)) == ([0, 1, 2], [0])


def test_the_broker_limits_a_response_whatever_the_client_asks_for(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"t": [partition_image()]}), {"fetch.max.bytes": "1024"})
    broker.replicas.add("t", 0)
    put(broker, *["x" * 400] * 5)
    (data,) = parts(broker.ask(wanted(0), 12))
    assert offsets(data) == [0, 1]


def test_responses_are_small_while_slow_clients_leave_much_lying(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    put(broker, *["x" * 400_000] * 5)
    request = wanted(0, max_bytes=1 << 24, partition_max_bytes=1 << 24)
    broker.unsent_bytes = UNSENT_BYTES_MAX - (1 << 24)
    assert len(offsets(parts(broker.ask(request, 12))[0])) == 5
    broker.unsent_bytes = 2 * UNSENT_BYTES_MAX
    assert len(offsets(parts(broker.ask(request, 12))[0])) == SMALL_RESPONSE_BYTES // 400_000


@on_loop
async def test_the_records_of_an_answered_fetch_do_not_wait_for_the_collector(tmp_path: Path) -> None:
    """Garbage that holds them would be megabytes for each request."""
    broker = broker_with(tmp_path)
    put(broker, "a")
    gc.collect()
    gc.disable()
    try:
        broker.ask(wanted(0), 12)
        waiting = broker.ask_later(wanted(0, max_wait_ms=500, min_bytes=2 * SIZE), 12)
        put(broker, "b")
        await turn()
        assert offsets(parts(waiting.response)[0]) == [0, 1]
        del waiting
        broker.clock.advance(500)  # it keeps cancelled timers until their time
        assert not any(isinstance(each, PartitionData) for each in gc.get_objects())
    finally:
        gc.enable()


# Waiting.


@on_loop
async def test_an_empty_fetch_waits_for_the_high_watermark_not_for_the_append(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    put(broker, "a", committed=False)
    await turn()
    assert waiting.responses == []
    commit(broker.replicas.partition("t", 0))
    await turn()
    (data,) = parts(waiting.response)
    assert (offsets(data), data.high_watermark) == ([0], 1)
    assert not broker.replicas.partition("t", 0).watchers
    assert broker.clock.pending == 0


@on_loop
async def test_a_fetch_is_answered_empty_when_its_time_is_up(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    broker.clock.advance(499)
    assert waiting.responses == []
    broker.clock.advance(1)
    (data,) = parts(waiting.response)
    assert (data.error_code, data.records, data.high_watermark) == (0, b"", 0)
    assert not broker.replicas.partition("t", 0).watchers


@on_loop
async def test_a_fetch_waits_for_min_bytes_over_all_its_partitions(tmp_path: Path) -> None:
    broker = broker_with(tmp_path, partitions=2)
    put(broker, "a")
    waiting = broker.ask_later(wanted(0, 0, max_wait_ms=500, min_bytes=3 * SIZE), 12)
    put(broker, "b", partition=1)
    await turn()
    assert waiting.responses == []
    put(broker, "c")
    await turn()
    assert [offsets(data) for data in parts(waiting.response)] == [[0, 1], [0]]


@on_loop
async def test_what_is_there_when_time_is_up_is_returned(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500, min_bytes=1000), 12)
    put(broker, "a")
    await turn()
    broker.clock.advance(500)
    (data,) = parts(waiting.response)
    assert offsets(data) == [0]


@on_loop
async def test_many_commits_of_one_turn_cost_one_look(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    reads = broker.replicas.reads
    for value in "abcdef":
        put(broker, value)
    await turn()
    (data,) = parts(waiting.response)
    assert offsets(data) == [0, 1, 2, 3, 4, 5]
    assert broker.replicas.reads == reads + 1


@pytest.mark.parametrize(("max_wait_ms", "min_bytes"), [(0, 1), (500, 0), (-1, 1)])
def test_who_does_not_want_to_wait_is_answered_at_once(tmp_path: Path, max_wait_ms: int, min_bytes: int) -> None:
    (data,) = parts(broker_with(tmp_path).ask(wanted(0, max_wait_ms=max_wait_ms, min_bytes=min_bytes), 12))
    assert data.records == b""


def test_an_error_in_one_partition_is_told_at_once(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    codes = [data.error_code for data in parts(broker.ask(wanted(0, 0, max_wait_ms=500), 12))]
    assert codes == [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


def test_a_fetch_of_nothing_is_answered_at_once(tmp_path: Path) -> None:
    assert broker_with(tmp_path).ask(FetchRequest(max_wait_ms=500, min_bytes=1), 12).responses == []


@on_loop
async def test_a_new_leader_wakes_those_who_wait_on_the_old_one(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    broker.replicas.partition("t", 0).on_image(partition_image(leader=2, epoch=6), 0)
    await turn()
    (data,) = parts(waiting.response)
    assert data.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


@on_loop
async def test_a_log_that_fails_wakes_those_who_wait(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    broker.replicas.partition("t", 0).go_offline("the disk is gone")
    await turn()
    (data,) = parts(waiting.response)
    assert data.error_code == ErrorCode.KAFKA_STORAGE_ERROR


@on_loop
async def test_a_client_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    waiting = broker.ask_later(wanted(0, max_wait_ms=500), 12)
    put(broker, "a")
    waiting.later.abandon()
    await turn()
    assert waiting.responses == []
    assert not broker.replicas.partition("t", 0).watchers
    assert broker.clock.pending == 0


# Epochs, ids, sessions, codecs.


@pytest.mark.parametrize(
    ("epoch", "code"), [(-1, 0), (5, 0), (4, ErrorCode.FENCED_LEADER_EPOCH), (6, ErrorCode.UNKNOWN_LEADER_EPOCH)]
)
def test_a_client_with_another_leader_epoch_is_told(tmp_path: Path, epoch: int, code: int) -> None:
    """KIP-320."""
    (data,) = parts(broker_with(tmp_path).ask(wanted(0, current_leader_epoch=epoch), 12))
    assert data.error_code == code


def test_a_client_that_read_what_was_cut_off_is_told_where_logs_part(tmp_path: Path) -> None:
    """KIP-595: the answer has the diverging epoch and no records."""
    broker = broker_with(tmp_path)
    put(broker, "a", "b")
    partition = broker.replicas.partition("t", 0)
    partition.on_image(partition_image(epoch=8), 0)
    put(broker, "c")
    (same,) = parts(broker.ask(wanted(2, last_fetched_epoch=5), 12))
    assert (offsets(same), same.diverging_epoch) == ([2], None)
    (other,) = parts(broker.ask(wanted(3, last_fetched_epoch=6, max_wait_ms=500), 12))
    assert (other.error_code, other.records) == (0, b"")
    assert other.diverging_epoch is not None
    assert (other.diverging_epoch.epoch, other.diverging_epoch.end_offset) == (5, 2)


def test_topics_are_found_by_id(tmp_path: Path) -> None:
    """KIP-516: from version 13 on the name is not sent."""
    broker = broker_with(tmp_path)
    put(broker, "a")
    request = wanted(0)
    request.topics[0].topic = ""
    response = broker.ask(request, 13)
    assert response.responses[0].topic_id == topic_id("t")
    assert offsets(parts(response)[0]) == [0]
    request.topics[0].topic_id = ZERO_UUID
    assert parts(broker.ask(request, 13))[0].error_code == ErrorCode.UNKNOWN_TOPIC_ID


def test_sessions_are_declined(tmp_path: Path) -> None:
    """KIP-227: session id 0 makes a client send whole requests; an id from elsewhere is not known."""
    broker = broker_with(tmp_path)
    assert broker.ask(wanted(0, session_epoch=0), 12).session_id == 0
    assert broker.ask(wanted(0, session_epoch=1), 12).error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_zstd_is_not_sent_to_clients_that_cannot_read_it(tmp_path: Path) -> None:
    """KIP-110."""
    broker = broker_with(tmp_path, config=LogConfig(compression_type=CompressionType.ZSTD))
    assert parts(broker.ask(wanted(0), 9))[0].error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert parts(broker.ask(wanted(0), 10))[0].error_code == ErrorCode.NONE


def test_the_new_leader_is_named_from_version_16_on(tmp_path: Path) -> None:
    """KIP-951."""
    image = cluster_image({"t": [partition_image(leader=2, epoch=9)]}, brokers=[broker_image(1), broker_image(2)])
    broker = Broker(tmp_path, image)
    broker.replicas.add("t", 0)
    request = wanted(0)
    request.replica_state = ReplicaState()
    response = broker.ask(request, 16)
    (data,) = parts(response)
    assert data.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert data.current_leader is not None
    assert (data.current_leader.leader_id, data.current_leader.leader_epoch) == (2, 9)
    assert [endpoint.host for endpoint in response.node_endpoints] == ["host-2"]
    assert parts(broker.ask(wanted(0), 15))[0].current_leader is None


# Isolation.


def with_transactions(folder: Path) -> Broker:
    """Offset 0 plain, 1 and 2 of an aborted transaction and its marker, 3 of an open one, 4 plain."""
    broker = broker_with(folder)
    log = broker.replicas.partition("t", 0).log
    put(broker, "plain")
    transactional = {"producer_id": 7, "producer_epoch": 0, "transactional": True}
    log.append_as_leader(batch("a", base_sequence=0, **transactional), 5, WALL_MS, transaction_verified=True)
    marker = build_end_txn_marker(
        EndTxnMarker(ControlType.ABORT, 0), producer_id=7, producer_epoch=0, timestamp=WALL_MS
    )
    log.append_as_leader(marker, 5, WALL_MS, origin=AppendOrigin.COORDINATOR)
    log.append_as_leader(batch("b", base_sequence=1, **transactional), 5, WALL_MS, transaction_verified=True)
    put(broker, "plain")
    log.on_high_watermark(broker.replicas.partition("t", 0).high_watermark)
    return broker


def test_read_uncommitted_sees_everything_and_hears_of_no_transaction(tmp_path: Path) -> None:
    (data,) = parts(with_transactions(tmp_path).ask(wanted(0), 12))
    assert offsets(data) == [0, 1, 2, 3, 4]
    assert data.aborted_transactions is None


def test_read_committed_ends_at_the_last_stable_offset_and_lists_what_was_aborted(tmp_path: Path) -> None:
    """KIP-98."""
    (data,) = parts(with_transactions(tmp_path).ask(wanted(0, isolation_level=1), 12))
    assert offsets(data) == [0, 1, 2]
    assert (data.high_watermark, data.last_stable_offset) == (5, 3)
    assert data.aborted_transactions is not None
    assert [(item.producer_id, item.first_offset) for item in data.aborted_transactions] == [(7, 1)]


def test_read_committed_without_records_lists_nothing(tmp_path: Path) -> None:
    (data,) = parts(with_transactions(tmp_path).ask(wanted(3, isolation_level=1), 12))
    assert (data.records, data.aborted_transactions) == (b"", ())


# Failing disks.


def test_a_damaged_log_is_not_served_any_more(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    put(broker, "a")
    (log_file,) = tmp_path.glob("t-0/*.log")
    log_file.write_bytes(log_file.read_bytes()[:20])
    assert parts(broker.ask(wanted(0), 12))[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.replicas.partition("t", 0).offline_reason is not None
    assert parts(broker.ask(wanted(0), 12))[0].error_code == ErrorCode.KAFKA_STORAGE_ERROR
