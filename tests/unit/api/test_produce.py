"""Produce: what is appended, what is refused with which code, and when the answer leaves."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.api.answers import CloseConnection
from broker.log.config import CleanupPolicy, LogConfig
from cluster.errors import ErrorCode
from cluster.records.batch import TimestampType
from cluster.records.compression import CompressionType
from cluster.records.record import NewRecord, build_batch
from cluster.wire.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from tests.unit.api.rig import (
    WALL_MS,
    Broker,
    batch,
    broker_image,
    cluster_image,
    commit,
    partition_image,
)


def one(records: bytes | bytearray | None, *, acks: int = 1, topic: str = "t", partition: int = 0) -> ProduceRequest:
    data = PartitionProduceData(index=partition, records=None if records is None else memoryview(records))
    return ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[TopicProduceData(name=topic, partition_data=[data])])


def only(response: ProduceResponse) -> PartitionProduceResponse:
    (topic,) = response.responses
    (partition,) = topic.partition_responses
    return partition


def alone(folder: Path, config: LogConfig | None = None, **settings: Any) -> Broker:
    """A broker that leads t-0 and is its only replica."""
    broker = Broker(folder, cluster_image({"t": [partition_image(replicas=(1,))]}))
    broker.replicas.add("t", 0, config, **settings)
    return broker


def replicated(folder: Path, *, min_isr: int = 1, isr: tuple[int, ...] = (1, 2, 3)) -> Broker:
    """A broker that leads t-0 and t-1, with followers."""
    broker = Broker(folder, cluster_image({"t": [partition_image(isr=isr), partition_image(isr=isr)]}))
    for number in (0, 1):
        broker.replicas.add("t", number, min_isr=min_isr)
    return broker


# Acknowledgements.


def test_acks_1_is_answered_at_once_with_the_offset(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    broker.ask(one(batch("a", "b")), 7)
    answer = only(broker.ask(one(batch("c")), 7))
    assert (answer.error_code, answer.base_offset, answer.log_append_time_ms, answer.log_start_offset) == (0, 2, -1, 0)


def test_acks_all_is_answered_when_the_isr_has_it(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    waiting = broker.ask_later(one(batch("a"), acks=-1), 9)
    assert waiting.responses == []
    commit(broker.replicas.partition("t", 0))
    assert only(waiting.response).error_code == ErrorCode.NONE


def test_acks_all_of_many_partitions_is_answered_when_all_are_committed(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    request = ProduceRequest(
        acks=-1,
        timeout_ms=1000,
        topic_data=[
            TopicProduceData(
                name="t",
                partition_data=[PartitionProduceData(index=n, records=memoryview(batch("a"))) for n in (0, 1, 9)],
            )
        ],
    )
    waiting = broker.ask_later(request, 9)
    commit(broker.replicas.partition("t", 1))
    assert waiting.responses == []
    commit(broker.replicas.partition("t", 0))
    codes = [answer.error_code for answer in waiting.response.responses[0].partition_responses]
    assert codes == [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


def test_acks_all_without_followers_is_answered_at_once(tmp_path: Path) -> None:
    assert only(alone(tmp_path).ask(one(batch("a"), acks=-1), 9)).error_code == ErrorCode.NONE


def test_acks_all_times_out_with_its_offset(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    waiting = broker.ask_later(one(batch("a"), acks=-1), 9)
    broker.replicas.partition("t", 0).on_tick(broker.clock.now_ms() + 999)
    assert waiting.responses == []
    broker.replicas.partition("t", 0).on_tick(broker.clock.now_ms() + 1000)
    answer = only(waiting.response)
    assert (answer.error_code, answer.base_offset) == (ErrorCode.REQUEST_TIMED_OUT, 0)


def test_acks_all_needs_min_insync_replicas_before_anything_is_written(tmp_path: Path) -> None:
    broker = replicated(tmp_path, min_isr=2, isr=(1,))
    assert only(broker.ask(one(batch("a"), acks=-1), 9)).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
    assert broker.replicas.partition("t", 0).log.log_end_offset == 0
    assert only(broker.ask(one(batch("a"), acks=1), 9)).error_code == ErrorCode.NONE


def test_acks_0_gets_no_response(tmp_path: Path) -> None:
    broker = alone(tmp_path)
    assert broker.call(one(batch("a"), acks=0), 9) is None
    assert broker.replicas.partition("t", 0).log.log_end_offset == 1


def test_a_failed_acks_0_closes_the_connection(tmp_path: Path) -> None:
    broker = alone(tmp_path)
    with pytest.raises(CloseConnection, match="UNKNOWN_TOPIC_OR_PARTITION"):
        broker.call(one(batch("a"), acks=0, topic="absent"), 9)


@pytest.mark.parametrize("acks", [2, -2, 300])
def test_other_acks_are_refused(tmp_path: Path, acks: int) -> None:
    broker = alone(tmp_path)
    answer = only(broker.ask(one(batch("a"), acks=acks), 9))
    assert (answer.error_code, answer.base_offset) == (ErrorCode.INVALID_REQUIRED_ACKS, -1)
    assert broker.replicas.partition("t", 0).log.log_end_offset == 0


def test_a_connection_that_ends_leaves_a_waiting_request_without_effect(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    waiting = broker.ask_later(one(batch("a"), acks=-1), 9)
    waiting.later.abandon()
    commit(broker.replicas.partition("t", 0))
    assert broker.replicas.partition("t", 0).high_watermark == 1


# Order, idempotence.


def test_requests_are_appended_in_the_order_of_their_calls(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    waiting = [broker.ask_later(one(batch(str(n)), acks=-1), 9) for n in range(5)]
    commit(broker.replicas.partition("t", 0))
    assert [only(each.response).base_offset for each in waiting] == [0, 1, 2, 3, 4]


def test_a_duplicate_is_answered_with_the_offset_of_the_original(tmp_path: Path) -> None:
    """KIP-98: a producer that did not hear the first answer learns where its records are."""
    broker = replicated(tmp_path)
    first = batch("a", "b", producer_id=5, producer_epoch=0, base_sequence=0)
    waiting = [broker.ask_later(one(bytearray(first), acks=-1), 9) for _ in range(2)]
    commit(broker.replicas.partition("t", 0))
    assert [(only(w.response).error_code, only(w.response).base_offset) for w in waiting] == [(0, 0), (0, 0)]
    assert broker.replicas.partition("t", 0).log.log_end_offset == 2


def test_a_gap_in_the_sequence_is_refused(tmp_path: Path) -> None:
    broker = alone(tmp_path)
    broker.ask(one(batch("a", producer_id=5, producer_epoch=0, base_sequence=0)), 9)
    answer = only(broker.ask(one(batch("c", producer_id=5, producer_epoch=0, base_sequence=2)), 9))
    assert answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


# What is refused.


def corrupted() -> bytearray:
    data = batch("a")
    data[-1] ^= 1
    return data


def of_magic(magic: int) -> bytearray:
    data = batch("a")
    data[16] = magic
    return data


@pytest.mark.parametrize(
    ("records", "version", "code"),
    [
        (None, 9, ErrorCode.INVALID_RECORD),
        (b"", 9, ErrorCode.INVALID_RECORD),
        (bytearray(10), 9, ErrorCode.CORRUPT_MESSAGE),
        (corrupted(), 9, ErrorCode.CORRUPT_MESSAGE),
        (of_magic(1), 9, ErrorCode.INVALID_RECORD),
        (batch("a") + batch("b"), 9, ErrorCode.INVALID_RECORD),
        (batch("a", compression=CompressionType.ZSTD), 6, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
        (batch("a", compression=CompressionType.ZSTD), 7, ErrorCode.NONE),
        (batch("a", compression=CompressionType.LZ4), 3, ErrorCode.NONE),
        (
            batch("a", transactional=True, producer_id=5, producer_epoch=0, base_sequence=0),
            9,
            ErrorCode.INVALID_TXN_STATE,
        ),
    ],
)
def test_batches_are_judged_as_kafka_does(tmp_path: Path, records: bytes | None, version: int, code: ErrorCode) -> None:
    data = None if records is None else bytearray(records)
    answer = only(alone(tmp_path).ask(one(data), version))
    assert answer.error_code == code
    assert (answer.base_offset == -1) == (code is not ErrorCode.NONE)


def test_a_batch_above_max_message_bytes_is_too_large(tmp_path: Path) -> None:
    answer = only(alone(tmp_path, LogConfig(max_message_bytes=100)).ask(one(batch("x" * 100)), 9))
    assert answer.error_code == ErrorCode.MESSAGE_TOO_LARGE
    assert answer.error_message is not None


def test_records_without_key_are_named_on_a_compacted_topic(tmp_path: Path) -> None:
    """KIP-467: the answer names the records that are at fault."""
    broker = alone(tmp_path, LogConfig(cleanup_policy=frozenset((CleanupPolicy.COMPACT,))))
    records = build_batch([NewRecord(b"k", b"v", WALL_MS), NewRecord(None, b"v", WALL_MS)])
    answer = only(broker.ask(one(records), 9))
    assert answer.error_code == ErrorCode.INVALID_RECORD
    assert [error.batch_index for error in answer.record_errors] == [1]


def test_append_time_is_told_where_it_counts(tmp_path: Path) -> None:
    broker = alone(tmp_path, LogConfig(message_timestamp_type=TimestampType.LOG_APPEND_TIME))
    assert only(broker.ask(one(batch("a")), 9)).log_append_time_ms == broker.clock.wall_ms()


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__transaction_state"])
def test_clients_do_not_write_to_the_topics_of_coordinators(tmp_path: Path, topic: str) -> None:
    broker = Broker(tmp_path, cluster_image({topic: [partition_image(replicas=(1,))]}))
    broker.replicas.add(topic, 0)
    assert only(broker.ask(one(batch("a"), topic=topic), 9)).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


# Somebody else leads.


def test_unknown_partitions_and_topics_are_told_apart_from_other_leaders(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"t": [partition_image(leader=2)]}))
    broker.replicas.add("t", 0)
    assert only(broker.ask(one(batch("a")), 9)).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert only(broker.ask(one(batch("a"), partition=1), 9)).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert only(broker.ask(one(batch("a"), topic="u"), 9)).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_the_new_leader_is_named_with_its_address_on_the_clients_listener(tmp_path: Path) -> None:
    """KIP-951: a producer need not ask for metadata to find the new leader."""
    brokers = [broker_image(1), broker_image(2, listeners=("PLAINTEXT", "EXTERNAL"), rack="b")]
    broker = Broker(tmp_path, cluster_image({"t": [partition_image(leader=2, epoch=9)]}, brokers=brokers))
    response = broker.ask(one(batch("a")), 10, listener="EXTERNAL")
    leader = only(response).current_leader
    assert leader is not None
    assert (leader.leader_id, leader.leader_epoch) == (2, 9)
    assert [(e.node_id, e.host, e.port, e.rack) for e in response.node_endpoints] == [(2, "host-2", 9093, "b")]
    assert only(broker.ask(one(batch("a")), 9)).current_leader is None


def test_no_leader_is_named_that_is_not_certain(tmp_path: Path) -> None:
    """KIP-951: a wrong hint is worse than none."""
    image = cluster_image({"t": [partition_image(leader=2), partition_image(leader=-1), partition_image(leader=1)]})
    fenced = cluster_image({"t": [partition_image(leader=2)]}, brokers=[broker_image(1), broker_image(2, fenced=True)])
    broker = Broker(tmp_path, image)
    for number in (1, 2):
        response = broker.ask(one(batch("a"), partition=number), 10)
        assert only(response).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert only(response).current_leader is None
    broker.controller.image = fenced
    assert broker.ask(one(batch("a")), 10).node_endpoints == ()


def test_a_leader_that_resigns_names_its_successor_to_those_who_wait(tmp_path: Path) -> None:
    broker = replicated(tmp_path)
    waiting = broker.ask_later(one(batch("a"), acks=-1), 10)
    broker.controller.image = cluster_image({"t": [partition_image(leader=3, epoch=6)]})
    broker.replicas.partition("t", 0).on_image(partition_image(leader=3, epoch=6), 0)
    answer = only(waiting.response)
    assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
    assert answer.current_leader is not None
    assert answer.current_leader.leader_id == 3


def test_versions_below_3_are_advertised_and_not_served(tmp_path: Path) -> None:
    """KIP-896 and librdkafka: the range decides which codecs it uses, the versions themselves are long gone."""
    broker = alone(tmp_path)
    route = broker.table[0]
    assert route.advertised == (0, 0, 11)
    assert 2 not in route.versions


def test_nothing_here_needs_an_event_loop(tmp_path: Path) -> None:
    """Appending is synchronous: the order of one connection's requests is the order of its bytes."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert only(alone(tmp_path).ask(one(batch("a")), 9)).base_offset == 0
