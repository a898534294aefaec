"""Each producer's batches are counted once and in order (KIP-98, KIP-360)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.log import producer_state
from broker.log.producer_snapshot import parse_snapshot, render_snapshot
from broker.log.producer_state import WINDOW, ProducerEntry, ProducerStates
from cluster.errors import KafkaError
from cluster.records.batch import BatchHeader, parse_header
from cluster.records.record import ControlType, EndTxnMarker
from tests.unit.log.logs import NOW, idempotent, marker

LAST_SEQUENCE = (1 << 31) - 1


def header(sequence: int, count: int = 1, *, epoch: int = 0, transactional: bool = False, pid: int = 7) -> BatchHeader:
    return parse_header(idempotent(pid, sequence, *[b"x"] * count, epoch=epoch, transactional=transactional))


class Log:
    """Appends to a producer state as a leader does."""

    def __init__(self) -> None:
        self.states = ProducerStates()
        self.end = 0

    def append(self, batch: BatchHeader, *, verified: bool = True) -> str:
        """What the producer hears: "ok", "duplicate" or the name of the error."""
        if self.states.find_duplicate(batch) is not None:
            return "duplicate"
        try:
            self.states.check(batch, transaction_verified=verified)
        except KafkaError as error:
            return error.code.name
        self.states.update(batch, self.end)
        self.end += batch.record_count
        return "ok"

    def end_transaction(self, control_type: ControlType, *, epoch: int = 0, pid: int = 7) -> None:
        batch = parse_header(marker(pid, control_type, epoch=epoch))
        self.states.end_transaction(batch, EndTxnMarker(control_type, 1), self.end)
        self.end += 1


def test_sequences_must_follow_each_other() -> None:
    log = Log()
    assert [log.append(header(sequence, 2)) for sequence in (0, 2, 4)] == ["ok"] * 3
    assert log.append(header(7)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert log.append(header(5)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert log.append(header(6)) == "ok"


def test_the_last_five_batches_are_recognised_and_no_more() -> None:
    log = Log()
    for sequence in range(8):
        log.append(header(sequence))
    answers = [log.append(header(sequence)) for sequence in range(8)]
    assert answers == ["OUT_OF_ORDER_SEQUENCE_NUMBER"] * (8 - WINDOW) + ["duplicate"] * WINDOW


def test_a_batch_with_the_same_start_and_another_length_is_no_duplicate() -> None:
    log = Log()
    log.append(header(0, 2))
    assert log.append(header(0, 3)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert log.append(header(1, 1)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"


def test_sequences_wrap_to_zero_also_inside_a_batch() -> None:
    log = Log()
    assert log.append(header(LAST_SEQUENCE - 1, 2)) == "ok"
    assert log.append(header(0, 1)) == "ok"
    log = Log()
    assert log.append(header(LAST_SEQUENCE, 3)) == "ok"
    assert log.append(header(LAST_SEQUENCE, 3)) == "duplicate"
    assert log.append(header(2, 1)) == "ok"


def test_an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() -> None:
    log = Log()
    log.append(header(0, epoch=3))
    assert log.append(header(1, epoch=2)) == "INVALID_PRODUCER_EPOCH"
    assert log.append(header(1, epoch=4)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert log.append(header(0, epoch=4)) == "ok"
    assert log.append(header(1, epoch=3)) == "INVALID_PRODUCER_EPOCH"


def test_a_producer_that_nothing_is_known_of_may_start_anywhere() -> None:
    """KIP-360."""
    assert Log().append(header(123)) == "ok"


def test_idle_producers_are_forgotten_unless_their_transaction_is_open() -> None:
    log = Log()
    log.append(header(0, pid=1))
    log.append(header(0, pid=2, transactional=True))
    assert log.states.remove_expired(NOW + 99, 100) == 0
    assert log.states.remove_expired(NOW + 100, 100) == 1
    assert list(log.states.entries) == [2]


def test_the_longest_idle_producer_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_state, "PRODUCERS_MAX", 3)
    log = Log()
    log.append(header(0, pid=1, transactional=True))
    for pid in (2, 3):
        log.append(header(0, pid=pid))
    log.append(header(1, pid=2))
    log.append(header(0, pid=4))
    assert sorted(log.states.entries) == [1, 2, 4]


def test_a_transaction_needs_its_coordinators_word_once() -> None:
    """KIP-890: a late batch must not open a transaction that nobody will end."""
    log = Log()
    assert log.append(header(0, transactional=True), verified=False) == "INVALID_TXN_STATE"
    assert log.append(header(0, transactional=True)) == "ok"
    assert log.append(header(1, transactional=True), verified=False) == "ok"
    assert log.append(header(2), verified=False) == "INVALID_TXN_STATE"
    log.end_transaction(ControlType.COMMIT)
    assert log.append(header(2, transactional=True), verified=False) == "INVALID_TXN_STATE"


def test_the_first_unstable_offset_is_that_of_the_oldest_undecided_transaction() -> None:
    log = Log()
    seen = [log.states.first_unstable_offset]
    for pid in (1, 2):
        log.append(header(0, transactional=True, pid=pid))
    seen.append(log.states.first_unstable_offset)
    log.end_transaction(ControlType.COMMIT, pid=1)
    seen.append(log.states.first_unstable_offset)
    log.states.on_high_watermark(3)
    seen.append(log.states.first_unstable_offset)
    log.end_transaction(ControlType.ABORT, pid=2)
    log.states.on_high_watermark(3)
    seen.append(log.states.first_unstable_offset)
    log.states.on_high_watermark(4)
    seen.append(log.states.first_unstable_offset)
    assert seen == [None, 0, 0, 1, 1, None]


def test_a_marker_without_an_open_transaction_ends_none_and_still_fences() -> None:
    log = Log()
    batch = parse_header(marker(7, ControlType.ABORT, epoch=5))
    assert log.states.end_transaction(batch, EndTxnMarker(ControlType.ABORT, 1), 0) is None
    assert log.append(header(0, epoch=4)) == "INVALID_PRODUCER_EPOCH"
    assert log.append(header(0, epoch=5)) == "ok"


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=60
    )
)
def test_accepted_sequences_are_dense_and_epochs_never_fall(attempts: list[tuple[int, int, int, int]]) -> None:
    log = Log()
    accepted: dict[int, list[tuple[int, int, int]]] = {}
    for pid, epoch, sequence, count in attempts:
        if log.append(header(sequence, count, epoch=epoch, pid=pid)) == "ok":
            accepted.setdefault(pid, []).append((epoch, sequence, count))
    for batches in accepted.values():
        for (epoch, sequence, count), (next_epoch, next_sequence, _) in pairwise(batches):
            assert next_epoch >= epoch
            assert next_sequence == (sequence + count if next_epoch == epoch else 0)


# --- Snapshots


def test_a_snapshot_keeps_the_last_batch_the_epochs_and_the_open_transactions() -> None:
    log = Log()
    for sequence in range(3):
        log.append(header(sequence, pid=1))
    log.append(header(0, 2, pid=2, epoch=4, transactional=True))
    log.end_transaction(ControlType.ABORT, pid=3, epoch=6)
    restored = parse_snapshot(render_snapshot(log.states))
    assert restored.entries == {
        pid: ProducerEntry(
            entry.epoch, entry.batches[-1:], entry.coordinator_epoch, entry.last_timestamp, entry.txn_first_offset
        )
        for pid, entry in log.states.entries.items()
    }
    assert restored.first_unstable_offset == 3
    assert render_snapshot(restored) == render_snapshot(log.states)


def test_the_bytes_of_a_snapshot_are_kafkas() -> None:
    states = ProducerStates()
    states.update(header(5, 2), 100)
    content = render_snapshot(states)
    assert content[:2] == b"\x00\x01"
    assert content[6:] == b"".join(
        value.to_bytes(size, "big", signed=True)
        for value, size in ((1, 4), (7, 8), (0, 2), (6, 4), (101, 8), (1, 4), (NOW, 8), (-1, 4), (-1, 8))
    )


def test_a_damaged_snapshot_is_refused_wherever_the_damage_is() -> None:
    states = ProducerStates()
    states.update(header(5, 2), 100)
    content = render_snapshot(states)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(ValueError):
            parse_snapshot(bytes(damaged))
        with pytest.raises(ValueError):
            parse_snapshot(content[:position])
