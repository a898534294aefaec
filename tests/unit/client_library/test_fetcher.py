"""Claims about where a consumer stands: positions, what is read ahead, errors, transactions, truncation."""

from collections.abc import Sequence

import pytest

from client.errors import ClientError, failure
from client.fetched import ConsumerRecord, FetchedBatches
from client.fetcher import Fetch, Fetcher, FetcherSettings
from client.metadata import Leader
from client.offsets import EARLIEST, LATEST, READ_COMMITTED, READ_UNCOMMITTED
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID, TopicPartition, Uuid
from cluster.records.batch import seal, stamp
from cluster.records.record import ControlType, EndTxnMarker, NewRecord, build_batch, build_end_txn_marker
from cluster.wire.fetch import (
    AbortedTransaction,
    EpochEndOffset,
    FetchableTopicResponse,
    FetchResponse,
    PartitionData,
)

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
ORDERS_ID = Uuid(b"o" * 16)


def fetcher(
    *, reset: int | None = LATEST, committed: bool = False, max_partition: int = 1000, fetch_max: int = 100_000
) -> Fetcher:
    return Fetcher(
        FetcherSettings(
            auto_offset_reset=reset,
            isolation_level=READ_COMMITTED if committed else READ_UNCOMMITTED,
            fetch_min_bytes=1,
            fetch_max_wait_ms=500,
            fetch_max_bytes=fetch_max,
            max_partition_fetch_bytes=max_partition,
            check_crcs=True,
            client_rack="",
            retry_backoff_ms=100,
            preferred_replica_ms=1000,
        )
    )


def at(offset: int, *, partition: TopicPartition = A, committed: bool = False, reset: int | None = LATEST) -> Fetcher:
    """A fetcher that stands at `offset` of `partition`."""
    made = fetcher(committed=committed, reset=reset)
    made.assign([partition])
    made.seek(partition, offset)
    return made


def ask(made: Fetcher, *, epoch: int = 3, now_ms: int = 0, topic_id: Uuid = ORDERS_ID) -> Fetch:
    wanted = [partition for partition, _ in made.fetchable(now_ms)]
    return made.fetch({partition: (Leader(1, epoch), topic_id) for partition in wanted})


def batch(
    base_offset: int, *values: str, epoch: int = 3, producer_id: int = -1, transactional: bool = False
) -> bytearray:
    return build_batch(
        [NewRecord(None, value.encode(), 7) for value in values],
        base_offset=base_offset,
        leader_epoch=epoch,
        producer_id=producer_id,
        producer_epoch=0 if producer_id >= 0 else -1,
        base_sequence=0 if producer_id >= 0 else -1,
        transactional=transactional,
    )


def marker(base_offset: int, producer_id: int, control_type: ControlType) -> bytearray:
    made = build_end_txn_marker(EndTxnMarker(control_type, 0), producer_id=producer_id, producer_epoch=0, timestamp=7)
    stamp(made, base_offset, 3)
    return made


def answer(partition: TopicPartition, *batches: bytes | bytearray, **fields: object) -> FetchResponse:
    data = PartitionData(
        partition_index=partition.partition,
        high_watermark=1000,
        last_stable_offset=900,
        records=memoryview(b"".join(batches)),
    )
    for name, value in fields.items():
        setattr(data, name, value)
    return FetchResponse(responses=[FetchableTopicResponse(topic=partition.topic, partitions=[data])])


def values(records: Sequence[ConsumerRecord]) -> list[tuple[int, str]]:
    return [(record.offset, (record.value or b"").decode()) for record in records]


def test_records_are_taken_in_order_and_the_position_follows() -> None:
    made = at(0)
    assert made.on_response(ask(made), answer(A, batch(0, "a", "b"), batch(2, "c")), 0) == []
    assert values(made.take(2)) == [(0, "a"), (1, "b")]
    assert made.position(A) == 2
    (record,) = made.take(100)
    assert (record.topic, record.partition, record.offset, record.timestamp, record.leader_epoch) == (
        "orders",
        0,
        2,
        7,
        3,
    )
    assert (made.position(A), made.high_watermark(A)) == (3, 1000)


def test_what_is_read_ahead_decides_where_to_fetch_next() -> None:
    made = at(5)
    first = ask(made)
    assert made.fetchable(0) == [], "one question at a time"
    made.on_response(first, answer(A, batch(5, "a", "b", epoch=2)), 0)
    (question,) = ask(made).request.topics[0].partitions
    assert (question.fetch_offset, question.last_fetched_epoch, question.current_leader_epoch) == (7, 2, 3)
    assert made.position(A) == 5


def test_a_batch_that_begins_before_the_position_loses_its_head() -> None:
    made = at(1)
    made.on_response(ask(made), answer(A, batch(0, "a", "b", "c")), 0)
    assert values(made.take(10)) == [(1, "b"), (2, "c")]


def test_offsets_that_compaction_took_are_passed_over() -> None:
    made = at(0)
    tail_gone = batch(0, "a", "b", "c")
    tail_gone[23:27] = (9).to_bytes(4, "big")
    seal(tail_gone, 0, len(tail_gone))
    made.on_response(ask(made), answer(A, tail_gone), 0)
    assert [record.offset for record in made.take(10)] == [0, 1, 2]
    assert made.position(A) == 10


def test_bytes_of_a_batch_that_is_not_whole_are_left_for_the_next_fetch() -> None:
    made = at(0)
    made.on_response(ask(made), answer(A, batch(0, "a"), batch(1, "b")[:-1]), 0)
    assert values(made.take(10)) == [(0, "a")]
    assert ask(made).request.topics[0].partitions[0].fetch_offset == 1


def test_no_more_is_read_ahead_than_allowed() -> None:
    made = fetcher(max_partition=60)
    made.assign([A])
    made.seek(A, 0)
    made.on_response(ask(made), answer(A, batch(0, "a")), 0)
    assert made.fetchable(0) == []
    made.take(1)
    assert [partition for partition, _ in made.fetchable(0)] == [A]
    whole = fetcher(fetch_max=60)
    whole.assign([A, B])
    whole.seek(A, 0)
    whole.seek(B, 0)
    whole.on_response(whole.fetch({A: (Leader(1, 3), ORDERS_ID)}), answer(A, batch(0, "a")), 0)
    assert whole.fetchable(0) == []


def test_partitions_take_turns() -> None:
    made = fetcher()
    made.assign([A, B])
    for partition in (A, B):
        made.seek(partition, 0)
    fetch = ask(made)
    made.on_response(fetch, answer(A, batch(0, "a0", "a1", "a2")), 0)
    made.on_response(fetch, answer(B, batch(0, "b0", "b1", "b2")), 0)
    assert [made.take(1)[0].value for _ in range(4)] == [b"a0", b"b0", b"a1", b"b1"]


def test_an_answer_to_an_older_question_is_dropped() -> None:
    made = at(0)
    fetch = ask(made)
    made.seek(A, 50)
    made.on_response(fetch, answer(A, batch(0, "a")), 0)
    assert made.take(10) == []
    assert ask(made).request.topics[0].partitions[0].fetch_offset == 50
    fetch = ask(made)
    made.assign([B])
    made.on_response(fetch, answer(A, batch(50, "a")), 0)
    assert made.take(10) == []


def test_assigning_again_keeps_the_positions_of_those_that_stay() -> None:
    made = at(7)
    made.assign([A, B])
    assert (made.position(A), made.position(B)) == (7, None)
    assert made.resets_due(0) == {B: LATEST}


def test_what_is_paused_waits_with_what_was_read_ahead() -> None:
    made = at(0)
    made.on_response(ask(made), answer(A, batch(0, "a")), 0)
    made.pause(A)
    assert (made.take(10), made.fetchable(0)) == ([], [])
    made.resume(A)
    assert values(made.take(10)) == [(0, "a")]


def test_an_unknown_position_is_looked_up_once() -> None:
    made = fetcher(reset=EARLIEST)
    made.assign([A])
    assert made.fetchable(0) == []
    assert made.resets_due(0) == {A: EARLIEST}
    assert made.resets_due(0) == {}
    made.on_offset(A, EARLIEST, 12)
    assert made.position(A) == 12


def test_a_look_up_that_failed_is_repeated_unless_nothing_can_cure_it() -> None:
    made = fetcher()
    made.assign([A])
    made.resets_due(0)
    made.on_offset_failed(A, LATEST, failure(ErrorCode.LEADER_NOT_AVAILABLE), 0)
    assert (made.resets_due(99), made.next_event_ms(0)) == ({}, 100)
    assert made.resets_due(100) == {A: LATEST}
    made.on_offset_failed(A, LATEST, failure(ErrorCode.TOPIC_AUTHORIZATION_FAILED), 100)
    for _ in range(2):
        with pytest.raises(KafkaError, match="TOPIC_AUTHORIZATION_FAILED"):
            made.take(10)
    with pytest.raises(KafkaError):
        made.position(A)


def test_a_seek_overtakes_a_look_up() -> None:
    made = fetcher()
    made.assign([A])
    made.resets_due(0)
    made.seek(A, 4)
    made.on_offset(A, LATEST, 99)
    made.on_offset_failed(A, LATEST, failure(ErrorCode.TOPIC_AUTHORIZATION_FAILED), 0)
    assert made.position(A) == 4


def test_a_time_behind_the_last_record_means_the_end() -> None:
    made = fetcher()
    made.assign([A])
    made.reset(A, 123456)
    assert made.resets_due(0) == {A: 123456}
    made.on_offset(A, 123456, -1)
    assert made.resets_due(0) == {A: LATEST}


@pytest.mark.parametrize("code", [3, 5, 6, 9, 56, 74, 75, 100, 103])
def test_a_leader_that_moved_is_looked_up_after_a_pause(code: int) -> None:
    made = at(0)
    (effect,) = made.on_response(ask(made), answer(A, error_code=code), 0)
    assert effect.partition == A
    assert made.fetchable(99) == []
    assert [partition for partition, _ in made.fetchable(100)] == [A]


def test_a_lost_connection_is_a_reason_to_look_for_the_leader() -> None:
    made = at(0)
    (effect,) = made.on_failure(ask(made), failure(ErrorCode.NETWORK_EXCEPTION), 0)
    assert (effect.partition, effect.answer) == (A, None)
    assert made.next_event_ms(0) == 100


def test_an_offset_that_is_gone_is_replaced_as_configured_after_what_was_read_ahead() -> None:
    made = at(0, reset=EARLIEST)
    made.on_response(ask(made), answer(A, batch(0, "a")), 0)
    made.on_response(ask(made), answer(A, error_code=ErrorCode.OFFSET_OUT_OF_RANGE), 0)
    assert made.resets_due(0) == {}
    assert values(made.take(10)) == [(0, "a")]
    made.on_response(ask(made, now_ms=100), answer(A, error_code=ErrorCode.OFFSET_OUT_OF_RANGE), 100)
    assert made.resets_due(200) == {A: EARLIEST}


def test_without_a_reset_policy_a_lost_position_is_the_user_s_to_cure() -> None:
    made = at(5, reset=None)
    made.on_response(ask(made), answer(A, error_code=ErrorCode.OFFSET_OUT_OF_RANGE), 0)
    with pytest.raises(ClientError, match=r"offset 5 is not in the log, and auto\.offset\.reset=none -> seek to"):
        made.take(1)
    made.seek(A, 0)
    assert made.take(1) == []
    fresh = fetcher(reset=None)
    fresh.assign([A])
    with pytest.raises(ClientError, match="it has none yet"):
        fresh.take(1)


def test_an_error_without_a_cure_comes_after_the_records_before_it() -> None:
    made = at(0)
    made.on_response(ask(made), answer(A, batch(0, "a")), 0)
    made.on_response(ask(made), answer(A, error_code=ErrorCode.TOPIC_AUTHORIZATION_FAILED), 0)
    assert values(made.take(10)) == [(0, "a")]
    with pytest.raises(KafkaError, match="orders/0: this user may not do this with the topic"):
        made.take(10)


def test_a_batch_with_a_wrong_checksum_stops_the_partition_behind_the_good_ones() -> None:
    made = at(0)
    bad = batch(1, "b", "c")
    bad[-2] ^= 1
    made.on_response(ask(made), answer(A, batch(0, "a"), bad, batch(3, "d")), 0)
    assert values(made.take(10)) == [(0, "a")]
    with pytest.raises(
        ClientError, match=r"orders/0 at offset 1: the record batch does not match.*seek to 3"
    ) as raised:
        made.take(10)
    assert raised.value.code is ErrorCode.CORRUPT_MESSAGE
    assert (made.position(A), made.fetchable(0)) == (1, [])
    made.seek(A, 3)
    assert made.fetchable(0) != []


def test_checksums_are_compared_only_where_that_is_asked_for() -> None:
    bad = batch(0, "a")
    bad[17] ^= 1
    fetched = FetchedBatches(A, memoryview(bytes(bad)), None, check_crcs=False)
    assert values(fetched.take(0, 10)[0]) == [(0, "a")]


@pytest.mark.parametrize(("at_byte", "value"), [(16, 1), (23, 0xFF), (11, 3)])
def test_headers_that_are_none_stop_the_partition(at_byte: int, value: int) -> None:
    """An old format, a batch that ends before it starts, a length that cannot be."""
    made = at(0)
    bad = batch(0, "a")
    bad[at_byte] = value
    made.on_response(ask(made), answer(A, bad), 0)
    with pytest.raises(KafkaError, match="orders/0 at offset 0"):
        made.take(10)


def test_records_of_aborted_transactions_are_not_seen_and_those_of_others_are() -> None:
    """KIP-98."""
    log = (
        batch(0, "plain"),
        batch(1, "aborted", producer_id=7, transactional=True),
        batch(2, "committed", producer_id=8, transactional=True),
        marker(3, 7, ControlType.ABORT),
        batch(4, "second", producer_id=7, transactional=True),
        marker(5, 7, ControlType.COMMIT),
        marker(6, 8, ControlType.COMMIT),
    )
    aborted = [AbortedTransaction(producer_id=7, first_offset=1)]
    made = at(0, committed=True)
    made.on_response(ask(made), answer(A, *log, aborted_transactions=aborted), 0)
    assert values(made.take(10)) == [(0, "plain"), (2, "committed"), (4, "second")]
    assert (made.position(A), made.high_watermark(A)) == (7, 900)


def test_whoever_reads_uncommitted_sees_them_all_but_no_markers() -> None:
    made = at(0)
    log = (batch(0, "aborted", producer_id=7, transactional=True), marker(1, 7, ControlType.ABORT))
    made.on_response(ask(made), answer(A, *log), 0)
    assert values(made.take(10)) == [(0, "aborted")]
    assert made.position(A) == 2


def test_aborted_transactions_count_in_the_order_of_their_offsets() -> None:
    """Brokers exist that list them in another order."""
    log = (
        batch(0, "x", producer_id=7, transactional=True),
        marker(1, 7, ControlType.ABORT),
        batch(2, "y", producer_id=8, transactional=True),
        marker(3, 8, ControlType.ABORT),
        batch(4, "z"),
    )
    aborted = [AbortedTransaction(producer_id=producer, first_offset=first) for producer, first in ((8, 2), (7, 0))]
    made = at(0, committed=True)
    made.on_response(ask(made), answer(A, *log, aborted_transactions=aborted), 0)
    assert values(made.take(10)) == [(4, "z")]


def test_a_log_that_was_cut_off_takes_the_position_back() -> None:
    """KIP-320, KIP-595: the records that were read behind the cut are gone."""
    made = at(0)
    made.on_response(ask(made), answer(A, batch(0, "a", "b", "c", epoch=2)), 0)
    made.take(10)
    made.on_response(ask(made), answer(A, diverging_epoch=EpochEndOffset(epoch=1, end_offset=2)), 0)
    assert made.position(A) == 2
    assert ask(made).request.topics[0].partitions[0].last_fetched_epoch == 1


def test_a_cut_behind_the_position_costs_only_what_was_read_ahead() -> None:
    made = at(0)
    made.on_response(ask(made), answer(A, batch(0, "a", epoch=2), batch(1, "b", "c", epoch=2)), 0)
    made.take(1)
    made.on_response(ask(made), answer(A, diverging_epoch=EpochEndOffset(epoch=2, end_offset=2)), 0)
    assert (made.take(10), made.position(A)) == ([], 1)
    assert ask(made).request.topics[0].partitions[0].last_fetched_epoch == 2


def test_without_a_reset_policy_a_cut_is_told() -> None:
    made = at(0, reset=None)
    made.on_response(ask(made), answer(A, batch(0, "a", "b", "c")), 0)
    made.take(10)
    made.on_response(ask(made), answer(A, diverging_epoch=EpochEndOffset(epoch=1, end_offset=2)), 0)
    with pytest.raises(ClientError, match="cut off at offset 2; records up to 3 that were read are gone"):
        made.take(10)


def test_the_recommended_replica_is_asked_for_a_while_and_given_up_on_any_error() -> None:
    """KIP-392."""
    made = at(0)
    made.on_response(ask(made), answer(A, preferred_read_replica=5), 0)
    assert made.fetchable(0) == [(A, 5)]
    assert made.fetchable(1000) == [(A, None)]
    made.on_response(ask(made), answer(A, error_code=ErrorCode.OFFSET_NOT_AVAILABLE), 0)
    assert made.fetchable(100) == [(A, None)]


def test_topics_go_by_id_where_all_have_one_and_by_name_otherwise() -> None:
    """KIP-516."""
    made = at(0)
    fetch = ask(made)
    assert fetch.version_max is None
    by_id = answer(A, batch(0, "a"))
    by_id.responses[0].topic, by_id.responses[0].topic_id = "", ORDERS_ID
    made.on_response(fetch, by_id, 0)
    assert values(made.take(1)) == [(0, "a")]
    assert ask(made, topic_id=ZERO_UUID).version_max == 12


def test_a_partition_that_the_answer_leaves_out_is_asked_for_again() -> None:
    made = at(0)
    made.on_response(ask(made), FetchResponse(), 0)
    assert made.fetchable(0) == []
    assert made.fetchable(100) != []
