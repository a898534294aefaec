"""Claims about records on their way: when they go, in which order, under which numbers."""

import pytest

from client.accumulator import Accumulator, AccumulatorSettings, Batch, ProducerId, record_size
from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.records.batch import BatchHeader, checksum_matches, parse_header
from cluster.records.compression import CompressionType
from cluster.records.record import NewRecord, decode_records

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
PRODUCER = ProducerId(7, 0)
LARGE = 1 << 20


def accumulator(*, idempotent: bool = True, **changes: int) -> Accumulator:
    settings = {
        "batch_size": 200,
        "linger_ms": 10,
        "buffer_memory": 10_000,
        "delivery_timeout_ms": 1000,
        "retries": 100,
        "max_in_flight": 5,
    } | changes
    made = Accumulator(AccumulatorSettings(compression=CompressionType.NONE, idempotent=idempotent, **settings))
    if idempotent:
        made.set_producer_id(PRODUCER)
    return made


def record(text: str = "v") -> NewRecord:
    return NewRecord(None, text.encode(), 0)


def put_batches(made: Accumulator, count: int, partition: TopicPartition = A, *, records: int = 1) -> None:
    """`count` batches of `records` records."""
    for _ in range(count):
        for _ in range(records - 1):
            made.append(partition, record(), 0)
        made.append(partition, record("x" * 150), 0)


def drain(made: Accumulator, now_ms: int = 0, partition: TopicPartition = A) -> Batch:
    (batch,) = made.drain([partition], LARGE, now_ms)
    return batch


def header(batch: Batch) -> BatchHeader:
    return parse_header(batch.encoded)


def sequence(batch: Batch) -> tuple[int, int]:
    """(epoch, base sequence)."""
    return header(batch).producer_epoch, header(batch).base_sequence


def test_a_batch_lingers_for_company_and_then_goes() -> None:
    made = accumulator()
    assert made.append(A, record(), 100).is_new
    assert not made.append(A, record(), 105).is_new
    assert made.ready(109) == []
    assert made.next_event_ms(105) == 110
    assert made.ready(110) == [A]
    batch = drain(made, 110)
    assert batch.record_count == 2
    assert [found.value for found in decode_records(batch.encoded, header(batch))] == [b"v", b"v"]
    assert made.ready(10_000) == []


def test_a_full_batch_does_not_linger() -> None:
    made = accumulator()
    appended = made.append(A, record("x" * 150), 0)
    assert (appended.is_new, appended.is_full) == (True, True)
    assert made.ready(0) == [A]


@pytest.mark.parametrize("reason", ["flushes", "is_starved"])
def test_nothing_lingers_while_somebody_waits_for_it(reason: str) -> None:
    made = accumulator()
    made.append(A, record(), 0)
    setattr(made, reason, 1)
    assert made.ready(0) == [A]


def test_a_record_larger_than_a_batch_gets_one_of_its_own() -> None:
    made = accumulator()
    made.append(A, record(), 0)
    appended = made.append(A, record("x" * 1000), 0)
    assert (appended.is_new, appended.place) == (True, 0)
    assert [drain(made).record_count, drain(made).record_count] == [1, 1]


def test_batches_of_a_partition_carry_ascending_sequences() -> None:
    """KIP-98."""
    made = accumulator()
    put_batches(made, 2, records=3)
    put_batches(made, 1, B)
    first, other = made.drain([A, B], LARGE, 0)
    second = drain(made)
    assert (sequence(first), sequence(other)) == ((0, 0), (0, 0))
    assert sequence(second) == (0, first.record_count)
    for batch in (first, second, other):
        assert header(batch).producer_id == 7
        assert checksum_matches(batch.encoded, header(batch))


def test_without_idempotence_batches_carry_no_numbers() -> None:
    made = accumulator(idempotent=False)
    put_batches(made, 1)
    batch = drain(made)
    assert (header(batch).producer_id, sequence(batch)) == (-1, (-1, -1))


def test_nothing_is_sent_before_there_is_a_producer_id() -> None:
    made = Accumulator(
        AccumulatorSettings(
            batch_size=1,
            linger_ms=0,
            buffer_memory=1000,
            delivery_timeout_ms=100,
            retries=1,
            max_in_flight=5,
            compression=CompressionType.NONE,
            idempotent=True,
        )
    )
    made.append(A, record(), 0)
    assert (made.needs_producer_id, made.ready(0)) == (True, [])
    made.set_producer_id(PRODUCER)
    assert made.ready(0) == [A]


def test_a_partition_has_so_many_batches_in_flight_and_no_more() -> None:
    made = accumulator()
    put_batches(made, 7)
    batches = [drain(made) for _ in range(5)]
    assert made.ready(0) == []
    made.on_acknowledged(batches[0])
    assert made.ready(0) == [A]


def test_a_request_takes_one_batch_of_a_partition_up_to_its_size() -> None:
    made = accumulator()
    put_batches(made, 2)
    put_batches(made, 1, B)
    size = len(made.drain([A, B], 1, 0)[0].encoded)
    assert [batch.partition for batch in made.drain([A, B], 2 * size, 0)] == [A, B]


def test_memory_is_taken_by_records_and_given_back_with_their_batch() -> None:
    made = accumulator(buffer_memory=1000)
    put_batches(made, 1)
    used = record_size(record("x" * 150))
    assert made.used_bytes == used
    assert made.has_room(1000 - used)
    assert not made.has_room(1001 - used)
    made.on_acknowledged(drain(made))
    assert made.is_empty
    assert made.has_room(5000), "alone, a record of any size goes"


def test_while_a_batch_is_to_be_sent_again_nothing_behind_it_is_sent() -> None:
    made = accumulator()
    put_batches(made, 4)
    first, second, third = (drain(made) for _ in range(3))
    assert made.on_failed(first, ErrorCode.NOT_LEADER_OR_FOLLOWER, 1, 50)
    assert made.ready(49) == []
    assert made.on_failed(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 1, 50)
    assert made.on_failed(third, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 1, 50)
    sent = []
    while made.ready(60):
        batch = drain(made, 60)
        sent.append(batch)
        made.on_acknowledged(batch)
    assert sent[:3] == [first, second, third]
    assert [sequence(batch) for batch in sent] == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_retry_keeps_its_number() -> None:
    made = accumulator()
    put_batches(made, 1)
    batch = drain(made)
    before = bytes(batch.encoded)
    assert made.on_failed(batch, ErrorCode.NETWORK_EXCEPTION, 0, 0)
    assert bytes(drain(made).encoded) == before
    assert batch.attempts == 2


def test_an_error_that_no_retry_cures_ends_the_batch() -> None:
    made = accumulator()
    put_batches(made, 1)
    assert not made.on_failed(drain(made), ErrorCode.MESSAGE_TOO_LARGE, 0, 0)
    assert made.is_empty


def test_retries_are_counted() -> None:
    made = accumulator(retries=1)
    put_batches(made, 1)
    assert made.on_failed(drain(made), ErrorCode.NETWORK_EXCEPTION, 0, 0)
    assert not made.on_failed(drain(made), ErrorCode.NETWORK_EXCEPTION, 0, 0)


def test_what_follows_a_batch_that_was_given_up_is_numbered_anew_under_a_new_epoch() -> None:
    """KIP-360: the broker expects the sequence of the batch that it will never see."""
    made = accumulator()
    put_batches(made, 4)
    first, second, third = (drain(made) for _ in range(3))
    assert not made.on_failed(first, ErrorCode.MESSAGE_TOO_LARGE, 0, 0)
    assert made.on_failed(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0, 0)
    assert made.ready(0) == [], "the third is in flight under the old numbers"
    assert made.on_failed(third, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0, 0)
    for expected in ((1, 0), (1, 1), (1, 2)):
        batch = drain(made)
        assert sequence(batch) == expected
        assert checksum_matches(batch.encoded, header(batch))
        made.on_acknowledged(batch)


def test_what_follows_a_batch_that_was_written_after_all_is_not_sent_twice() -> None:
    """A batch is given up with its outcome unknown; its successor was accepted, so that it cannot be numbered anew."""
    made = accumulator(delivery_timeout_ms=100)
    put_batches(made, 1)
    first = drain(made)
    made.append(A, record("x" * 150), 50)
    second = drain(made, 50)
    assert not made.on_failed(first, ErrorCode.NETWORK_EXCEPTION, 120, 120)
    assert made.on_failed(second, ErrorCode.NETWORK_EXCEPTION, 120, 120)
    assert sequence(drain(made, 120)) == (0, 1), "it is asked for under its own number"
    made.on_acknowledged(second)
    made.append(A, record("x" * 150), 120)
    assert sequence(drain(made, 120)) == (1, 0)


def test_a_leader_that_lost_acknowledged_records_is_reported_and_not_papered_over() -> None:
    made = accumulator()
    put_batches(made, 2)
    made.on_acknowledged(drain(made))
    second = drain(made)
    assert not made.on_failed(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, 0, 0)
    put_batches(made, 1)
    assert sequence(drain(made)) == (1, 0), "later records go on under a new epoch"


def test_a_broker_that_forgot_the_producer_hears_from_a_new_epoch() -> None:
    made = accumulator()
    put_batches(made, 2)
    made.on_acknowledged(drain(made))
    second = drain(made)
    assert made.on_failed(second, ErrorCode.UNKNOWN_PRODUCER_ID, 0, 0)
    assert sequence(drain(made)) == (1, 0)


def test_other_partitions_keep_their_epoch_until_nothing_of_them_is_under_way() -> None:
    made = accumulator()
    put_batches(made, 3, B)
    before = drain(made, partition=B)
    put_batches(made, 1)
    assert not made.on_failed(drain(made), ErrorCode.INVALID_RECORD, 0, 0)
    meanwhile = drain(made, partition=B)
    assert sequence(meanwhile) == (0, 1)
    made.on_acknowledged(before)
    made.on_acknowledged(meanwhile)
    assert sequence(drain(made, partition=B)) == (1, 0)


def test_when_epochs_are_used_up_another_producer_id_is_asked_for() -> None:
    made = accumulator()
    made.set_producer_id(ProducerId(7, 32766))
    put_batches(made, 2)
    assert not made.on_failed(drain(made), ErrorCode.INVALID_RECORD, 0, 0)
    assert (made.needs_producer_id, made.ready(0)) == (True, [])
    made.set_producer_id(ProducerId(8, 0))
    batch = drain(made)
    assert (header(batch).producer_id, sequence(batch)) == (8, (0, 0))


def test_batches_that_waited_too_long_are_given_up_but_not_those_in_flight() -> None:
    """KIP-91."""
    made = accumulator(delivery_timeout_ms=100)
    put_batches(made, 2)
    flying = drain(made)
    put_batches(made, 1, B)
    assert made.expire(99) == []
    assert made.next_event_ms(50) == 100
    assert [batch.partition for batch in made.expire(100)] == [A, B]
    assert not made.on_failed(flying, ErrorCode.NETWORK_EXCEPTION, 100, 100)
    assert made.is_empty


def test_giving_up_everything_leaves_nothing() -> None:
    made = accumulator()
    put_batches(made, 3)
    flying = drain(made)
    assert len(made.give_up_all()) == 3
    assert made.is_empty
    made.on_acknowledged(flying)
    assert not made.on_failed(flying, ErrorCode.NETWORK_EXCEPTION, 0, 0)
    assert made.is_empty


def test_the_size_of_a_record_is_never_underestimated() -> None:
    for new in (
        NewRecord(None, None, 1 << 50),
        NewRecord(b"", b"", 1 << 50, (("", None),)),
        NewRecord(b"k" * 200, b"v" * 70000, 1 << 50, (("ключ", b"x" * 300), ("b", b""))),
    ):
        made = accumulator()
        made.append(A, NewRecord(None, b"", 0), 0)
        before = made.append(A, NewRecord(None, b"", 0), 0).batch.builder_size_bytes
        appended = made.append(A, new, 0)
        grown = appended.batch.builder_size_bytes - (61 if appended.is_new else before)
        assert grown <= record_size(new)
