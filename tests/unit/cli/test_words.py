"""Claims about what commands print, apart from any cluster."""

import pytest

from client.cli.failures import describe, exit_code_of
from client.cli.guarantee import Durability
from client.cli.output import count, table
from client.cli.position import AtOffset, Beginning, End, Last, PositionError, Since, parse_position
from client.cli.record_format import FormatError, compile_format
from client.cli.topic_view import state
from client.errors import failure
from client.metadata import PartitionMetadata
from cluster.errors import ErrorCode


@pytest.mark.parametrize(
    ("copies", "needed", "told"),
    [
        (1, 1, "one copy: records are unavailable while its broker is down, and lost with its disk."),
        (3, 1, "that may be the leader alone: its disk may then take acknowledged records with it"),
        (3, 2, "survives the loss of 1 disk; writes go on with 1 broker down; with 2 down they stop"),
        (5, 3, "survives the loss of 2 disks; writes go on with 2 brokers down; with 3 down they stop"),
        (2, 2, "survives the loss of 1 disk; writes need every replica; with 1 down they stop"),
        (2, 3, "acks=all cannot be written: min.insync.replicas=3 asks for more than the 2 replicas there are."),
    ],
)
def test_a_promise_says_which_loss_is_survived_and_when_writes_stop(copies: int, needed: int, told: str) -> None:
    assert told in Durability(replication_factor=copies, min_insync_replicas=needed).in_words()


def test_a_promise_says_what_power_loss_does() -> None:
    base = {"replication_factor": 3, "min_insync_replicas": 2}
    assert Durability(**base).flush == "os"
    assert Durability(**base, flush_messages=1).flush == "ack"
    assert Durability(**base, flush_messages=100).flush == "interval"
    assert Durability(**base, flush_ms=100).flush == "interval"
    assert "Power loss of its broker may" in Durability(replication_factor=1, min_insync_replicas=1).in_words()
    assert "after the last flush" in Durability(**base, flush_ms=100).in_words()


@pytest.mark.parametrize(
    ("leader", "isr", "needed", "told"),
    [
        (1, (1, 2, 3), 2, "ok"),
        (1, (1, 2), 2, "under-replicated: 3 not in sync, one more loss stops acks=all"),
        (1, (1, 2), 1, "under-replicated: 3 not in sync"),
        (1, (1,), 2, "under min.insync.replicas (1 of 2): acks=all is refused"),
        (-1, (1,), 2, "no leader: it can be neither read nor written"),
    ],
)
def test_the_state_of_a_partition_is_told_in_words(leader: int, isr: tuple[int, ...], needed: int, told: str) -> None:
    assert state(PartitionMetadata(0, leader, 0, (1, 2, 3), isr), needed) == told


def test_columns_line_up_and_nothing_trails() -> None:
    assert table(("A", "LONG"), [("x" * 5, "1"), ("y", "")]) == "A      LONG\nxxxxx  1\ny"


def test_numbers_agree_with_their_nouns() -> None:
    assert (count(1, "record"), count(2000, "record"), count(0, "record")) == ("1 record", "2,000 records", "0 records")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("beginning", Beginning()),
        ("earliest", Beginning()),
        ("end", End()),
        ("latest", End()),
        ("42", AtOffset(42)),
        ("-10", Last(10)),
        ("@1500", Since(1500)),
        ("10m", Since(400_000)),
        ("2h", Since(0)),
        ("1970-01-01T00:10:00+00:00", Since(600_000)),
        ("1970-01-01T00:10:00Z", Since(600_000)),
    ],
)
def test_places_to_begin_are_read(text: str, position: object) -> None:
    assert parse_position(text, 1_000_000) == position


@pytest.mark.parametrize("text", ["", "-", "@", "start", "1970-13-01", "-x", "٣"])
def test_what_is_no_place_to_begin_is_refused(text: str) -> None:
    with pytest.raises(PositionError):
        parse_position(text, 0)


@pytest.mark.parametrize(("text", "told"), [("%q", "'%q' at position 0"), ("ab\\x", r"at position 2"), ("a%", "'%'")])
def test_a_format_without_a_meaning_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        compile_format(text)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ErrorCode.NETWORK_EXCEPTION, 1),
        (ErrorCode.REQUEST_TIMED_OUT, 1),
        (ErrorCode.NOT_ENOUGH_REPLICAS, 1),
        (ErrorCode.INVALID_CONFIG, 2),
        (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 3),
        (ErrorCode.TOPIC_ALREADY_EXISTS, 3),
        (ErrorCode.CLUSTER_AUTHORIZATION_FAILED, 4),
    ],
)
def test_the_exit_code_says_what_kind_of_failure_it_was(code: ErrorCode, expected: int) -> None:
    assert exit_code_of(failure(code)) == expected


def test_a_command_knows_the_next_step_better_than_the_library() -> None:
    assert describe(failure(ErrorCode.NETWORK_EXCEPTION, "broker h:1", "gone")) == (
        "NETWORK_EXCEPTION broker h:1: gone -> start a cluster here: blumfeld up; or name another one: -b HOST:PORT"
    )
