"""Claims about what users get to read when something fails."""

import pytest

from client.errors import disconnected, failure, timed_out
from client.retry import TRANSIENT, TRANSIENT_OR_ABSENT, Backoff, Deadline
from cluster.errors import ErrorCode
from tests.unit.client_library.hand_made import HalfRng, HandClock


def test_an_error_says_what_about_which_thing_why_and_what_to_do() -> None:
    assert str(failure(3, "orders/7")) == (
        "UNKNOWN_TOPIC_OR_PARTITION orders/7: there is no such topic or partition"
        " -> check the name and the number, or create the topic first"
    )
    assert str(timed_out("broker h:1", "no answer")) == (
        "REQUEST_TIMED_OUT broker h:1: no answer -> allow more time, or look at the health of the broker"
    )
    assert str(disconnected("broker h:1", "gone")).startswith("NETWORK_EXCEPTION broker h:1: gone -> check that")


def test_the_broker_s_own_sentence_stands_in_place_of_ours() -> None:
    assert failure(40, "orders", "Unknown topic config name: foo.").message == "Unknown topic config name: foo"
    assert failure(40, "orders", "  ").message == "a configuration key or its value is not valid"
    # This one says nothing: "This server does not host this topic-partition."
    assert failure(3, "orders", "This server does not host this topic-partition.").message.startswith("there is no")


def test_a_code_from_the_future_keeps_its_number() -> None:
    assert str(failure(4711, "orders")).startswith("UNKNOWN_SERVER_ERROR orders: ")
    assert "(error code 4711)" in str(failure(4711))


def test_a_code_without_a_sentence_is_its_name() -> None:
    assert str(failure(ErrorCode.GROUP_MAX_SIZE_REACHED)) == "GROUP_MAX_SIZE_REACHED"


@pytest.mark.parametrize("code", sorted(TRANSIENT_OR_ABSENT | TRANSIENT))
def test_whatever_is_tried_again_is_retriable_in_kafka_s_table(code: ErrorCode) -> None:
    assert code.retriable or code is ErrorCode.BROKER_NOT_AVAILABLE


def test_pauses_double_up_to_their_limit_and_start_again_after_a_success() -> None:
    """KIP-580."""
    backoff = Backoff(100, 500, HalfRng())
    assert [round(backoff.next_ms()) for _ in range(5)] == [100, 200, 400, 500, 500]
    backoff.reset()
    assert round(backoff.next_ms()) == 100


def test_a_deadline_covers_all_attempts() -> None:
    clock = HandClock()
    deadline = Deadline(clock, 1000)
    clock.now = 400
    assert (deadline.remaining_ms(), deadline.cap(500), deadline.cap(900)) == (600, 500, 600)
    clock.now = 2000
    assert (deadline.remaining_ms(), deadline.cap(500)) == (0, 1)
