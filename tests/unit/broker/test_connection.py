"""One client connection: order of responses, limits, and what it does with bytes that are no requests."""

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.connection import RECEIVE_SIZE, REQUESTS_IN_FLIGHT_MAX, ConnectionLimits
from cluster.errors import ErrorCode
from cluster.wire.api_versions import ApiVersionsRequest, ApiVersionsResponse
from cluster.wire.fetch import FetchResponse
from cluster.wire.headers import decode_response
from tests.unit.api.rig import turn
from tests.unit.broker.wire_rig import (
    LIMITS,
    Client,
    fetch,
    frames,
    heartbeat,
    list_groups,
    on_loop,
    produce,
    sent,
    sync_group,
)

# Order.


@on_loop
async def test_a_request_is_answered_with_its_correlation_id() -> None:
    client = Client()
    client.send(heartbeat(7))
    assert client.answered == [7]


@on_loop
async def test_responses_leave_in_the_order_of_requests() -> None:
    client = Client()
    client.send(sync_group(1, "a") + heartbeat(2) + sync_group(3, "b") + heartbeat(4))
    assert client.handlers.seen == ["a", "g", "b", "g"]
    assert client.answered == []
    client.handlers.held[1].finish()
    await turn()
    assert client.answered == []
    client.handlers.held[0].finish()
    await turn()
    assert client.answered == [1, 2, 3, 4]


@on_loop
async def test_responses_that_come_in_one_turn_leave_in_one_write() -> None:
    client = Client()
    client.send(b"".join(sync_group(number) for number in range(10)))
    for held in client.handlers.held:
        held.finish()
    await turn()
    assert len(client.transport.written) == 1
    assert client.answered == list(range(10))


@on_loop
async def test_a_handler_may_be_a_coroutine() -> None:
    client = Client()
    client.send(list_groups(1) + heartbeat(2))
    await turn()
    assert client.answered == []
    client.handlers.gate.set()
    await client.spawner.join()
    await turn()
    assert client.answered == [1, 2]


@on_loop
async def test_acks_0_has_no_response() -> None:
    client = Client()
    client.send(produce(1, acks=0) + heartbeat(2) + produce(3, acks=0))
    assert client.handlers.seen == ["produce", "g", "produce"]
    assert client.answered == [2]


@on_loop
async def test_a_failed_acks_0_closes_the_connection_after_what_is_ready() -> None:
    client = Client()
    client.send(heartbeat(1) + produce(2, acks=0, topic="broken") + heartbeat(3))
    assert client.answered == [1]
    assert client.transport.closed
    assert client.handlers.seen == ["g", "produce"]


# Bytes.


@on_loop
async def test_requests_may_be_split_at_every_byte() -> None:
    stream = heartbeat(1) + sync_group(2) + produce(3, b"payload") + heartbeat(4)
    for cut in range(len(stream) + 1):
        client = Client()
        client.send(stream[:cut])
        client.send(stream[cut:])
        client.handlers.held[0].finish()
        await turn()
        assert client.answered == [1, 2, 3, 4]
        assert client.handlers.payloads == [b"payload"]


@on_loop
async def test_requests_may_come_byte_by_byte() -> None:
    client = Client()
    for byte in heartbeat(1) + produce(2, b"payload") + heartbeat(3):
        client.send(bytes((byte,)))
    assert client.answered == [1, 2, 3]


@on_loop
async def test_the_payload_is_the_receive_buffer_itself() -> None:
    client = Client()
    client.send(produce(1, b"one") + produce(2, b"two"))
    one, two = client.handlers.payload_owners
    assert isinstance(one, bytearray)
    assert one is two


@on_loop
async def test_a_long_frame_is_received_whole_and_what_follows_it_too() -> None:
    client = Client(ConnectionLimits(request_bytes=1 << 20, queued_bytes=1 << 22))
    payloads = [bytes([number]) * (300_000 + number) for number in range(3)]
    client.send(b"".join(produce(number, payload) + heartbeat(10 + number) for number, payload in enumerate(payloads)))
    assert client.handlers.payloads == payloads
    assert client.answered == [0, 10, 1, 11, 2, 12]


@on_loop
async def test_an_announced_size_alone_costs_no_memory() -> None:
    client = Client()
    client.send(produce(1, bytes(1_000_000))[:100])
    assert len(client.connection.get_buffer(-1)) <= RECEIVE_SIZE


@on_loop
async def test_a_long_buffer_is_given_back() -> None:
    client = Client()
    client.send(produce(1, bytes(500_000)))
    client.connection.shrink()
    client.send(produce(2, b"small"))
    client.connection.shrink()
    client.send(produce(3, b"small"))
    long, small, last = client.handlers.payload_owners
    assert long is small
    assert isinstance(last, bytearray)
    assert len(last) == RECEIVE_SIZE


@on_loop
async def test_bytes_behind_a_request_are_let_pass() -> None:
    """librdkafka's question about all topics has three bytes too many."""
    client = Client()
    request = heartbeat(1) + b"\0\0\0"
    client.send((len(request) - 4).to_bytes(4, "big") + request[4:] + heartbeat(2))
    assert client.answered == [1, 2]


@on_loop
async def test_a_null_client_id_is_legal() -> None:
    client = Client()
    client.send(sent(ApiVersionsRequest(), 0, 1, None))
    assert client.answered == [1]


@on_loop
async def test_a_handler_learns_who_asks() -> None:
    client = Client()
    client.send(heartbeat(1, version=2))
    (context,) = client.handlers.contexts
    assert context == (2, "c", "PLAINTEXT", "10.0.0.9:50000")


# Strangers.


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a TLS client on a PLAINTEXT listener"),
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP client"),
        (b"\xff\xff\xff\xff", "a frame of -1 bytes"),
        (b"\x00\x00\x00\x00", "a frame of 0 bytes"),
        (b"\x00\x10\x00\x01", "larger than the limit of 1048576"),
        (b"\x00\x00\x00\x03abc", "truncated"),
        (b"\x00\x00\x00\x0a" + b"\x7f\xff\0\0\0\0\0\1\xff\xff", "ApiKey(32767) version 0 is not served"),
        (b"\x00\x00\x00\x0a" + b"\0\0\0\2\0\0\0\1\xff\xff", "Produce version 2 is not served"),
        (b"\x00\x00\x00\x0a" + b"\0\x0c\0\0\0\0\0\1\xff\xff", "HeartbeatRequest v0"),
    ],
)
@on_loop
async def test_bytes_that_are_no_request_close_the_connection_with_one_line(data: bytes, said: str) -> None:
    client = Client()
    client.send(data)
    assert client.transport.closed
    (complaint,) = client.owner.complaints
    assert said in complaint
    assert "10.0.0.9:50000" in complaint


@on_loop
async def test_what_was_answered_before_garbage_still_leaves() -> None:
    client = Client()
    client.send(heartbeat(1) + b"\xff\xff\xff\xff" + heartbeat(2))
    assert client.answered == [1]
    assert client.transport.closed


@on_loop
async def test_a_newer_api_versions_is_answered_in_version_0() -> None:
    """KIP-511: the client learns which version of ApiVersions to ask for."""
    client = Client()
    frame = sent(ApiVersionsRequest(client_software_name="x", client_software_version="1"), 4, 5)
    client.send(frame[:6] + (99).to_bytes(2, "big") + frame[8:])
    (response,) = frames(client.received)
    answer = decode_response(ApiVersionsResponse, 0, response)
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(key.api_key, key.min_version, key.max_version) for key in answer.api_keys] == [(18, 0, 4)]
    assert not client.transport.closed


@on_loop
async def test_a_handler_that_raises_costs_its_client_the_connection_and_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    with caplog.at_level(logging.ERROR):
        client.send(heartbeat(1) + heartbeat(2, "surprise"))
    assert client.answered == [1]
    assert client.transport.closed
    assert "nobody foresaw this" in caplog.text


@on_loop
async def test_a_response_that_cannot_be_encoded_closes_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    with caplog.at_level(logging.ERROR):
        client.send(heartbeat(1) + heartbeat(2, "unspeakable"))
    assert client.answered == [1]
    assert client.transport.closed


@given(st.lists(st.binary(max_size=80), max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_a_connection_raise(pieces: list[bytes]) -> None:
    """Whatever comes, it waits for more or closes with a reason."""

    async def main() -> None:
        client = Client()
        client.send(heartbeat(1))
        for piece in pieces:
            client.send(piece)
        assert client.transport.closed == bool(client.owner.complaints)
        assert client.answered[0] == 1

    asyncio.run(main())


# Limits.


@on_loop
async def test_reading_stops_while_too_many_bytes_are_in_flight_and_goes_on_below() -> None:
    client = Client(ConnectionLimits(request_bytes=1 << 20, queued_bytes=200))
    client.send(b"".join(sync_group(number, "x" * 50) for number in range(10)))
    assert not client.transport.reading
    taken = len(client.handlers.held)
    assert 2 <= taken < 10
    finished = 0
    while len(client.answered) < 10:
        assert len(client.handlers.held) - finished <= taken
        client.handlers.held[finished].finish()
        finished += 1
        await turn()
    assert client.answered == list(range(10))
    assert client.transport.reading


@on_loop
async def test_requests_in_flight_are_bounded_in_number_too() -> None:
    client = Client(ConnectionLimits(request_bytes=1 << 20, queued_bytes=1 << 30))
    client.send(sync_group(0) * (REQUESTS_IN_FLIGHT_MAX + 5))
    assert len(client.handlers.held) == REQUESTS_IN_FLIGHT_MAX
    assert not client.transport.reading


@on_loop
async def test_a_client_that_does_not_read_is_not_served_further() -> None:
    client = Client()
    client.handlers.fetched = bytes(10_000)
    client.transport.room = 25_000
    client.send(b"".join(fetch(number) for number in range(10)))
    assert len(client.answered) < 10
    assert not client.transport.reading
    assert len(client.handlers.seen) < 10
    before = len(client.answered)
    client.transport.room = 1 << 30
    client.connection.resume_writing()
    assert before < len(client.answered)
    assert client.answered == list(range(10))
    assert client.transport.reading


@on_loop
async def test_what_slow_clients_leave_lying_is_counted_until_they_take_it_or_go() -> None:
    client = Client()
    client.handlers.fetched = bytes(10_000)
    counts = []
    for leave in (client.connection.resume_writing, client.lose):
        client.transport.room = 1
        client.send(fetch(1))
        counts.append(client.owner.unsent_bytes)
        leave()
        counts.append(client.owner.unsent_bytes)
    assert counts[0] > 10_000
    assert counts == [counts[0], 0, counts[0], 0]


@on_loop
async def test_responses_that_come_while_the_client_does_not_read_wait() -> None:
    client = Client()
    client.send(sync_group(1) + sync_group(2))
    client.connection.pause_writing()
    for held in client.handlers.held:
        held.finish()
    await turn()
    assert client.answered == []
    client.connection.resume_writing()
    assert client.answered == [1, 2]


@on_loop
async def test_records_leave_as_they_were_read() -> None:
    client = Client()
    client.handlers.fetched = bytes(range(256)) * 256
    client.send(fetch(1) + heartbeat(2))
    first, _ = frames(client.received)
    data = decode_response(FetchResponse, 12, first).responses[0].partitions[0]
    assert data.records == client.handlers.fetched


# Ends.


@on_loop
async def test_a_client_that_is_gone_leaves_nothing_behind() -> None:
    client = Client()
    client.send(sync_group(1) + list_groups(2))
    await turn()
    client.lose()
    assert client.handlers.held[0].abandoned
    await asyncio.gather(*client.spawner.tasks, return_exceptions=True)
    assert client.spawner.tasks[0].cancelled()
    assert client.owner.open == []
    client.handlers.held[0].finish()
    await turn()
    assert client.received == b""


@on_loop
async def test_finishing_lets_requests_in_flight_be_answered_and_takes_no_more() -> None:
    client = Client()
    client.send(sync_group(1))
    client.connection.finish()
    assert not client.transport.reading
    assert not client.transport.closed
    client.handlers.held[0].finish()
    await turn()
    assert client.answered == [1]
    assert client.transport.closed


@on_loop
async def test_finishing_an_idle_connection_closes_it() -> None:
    client = Client()
    client.connection.finish()
    assert client.transport.closed


@on_loop
async def test_a_connection_is_idle_while_it_waits_for_its_client_alone() -> None:
    client = Client()
    idle = [client.connection.idle]
    client.send(sync_group(1))
    idle.append(client.connection.idle)
    client.connection.pause_writing()
    idle.append(client.connection.idle)
    assert idle == [True, False, True]


@on_loop
async def test_a_connection_that_is_turned_away_reads_nothing() -> None:
    client = Client(full=True)
    assert client.transport.aborted
    client.connection.buffer_updated(0)
    assert client.handlers.seen == []


def test_the_limits_of_these_tests_are_smaller_than_a_long_frame() -> None:
    assert LIMITS.queued_bytes <= RECEIVE_SIZE < LIMITS.request_bytes
