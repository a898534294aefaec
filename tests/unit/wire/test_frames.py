"""Where frames start and end, and who does not speak in frames."""

import pytest

from cluster.wire.frames import Frame, FrameError, NeedMore, find_frame

_LIMIT = 100 * 1024 * 1024


def test_frames_follow_each_other() -> None:
    buffer = b"??\x00\x00\x00\x03abc\x00\x00\x00\x01d"
    first = find_frame(buffer, 2, len(buffer), _LIMIT)
    assert first == Frame(6, 9)
    assert find_frame(buffer, 9, len(buffer), _LIMIT) == Frame(13, 14)
    assert find_frame(buffer, 14, len(buffer), _LIMIT) == NeedMore(4)


def test_what_is_missing_is_known_as_soon_as_the_size_is() -> None:
    frame = b"\x00\x00\x00\x03abc"
    wanted = [find_frame(frame, 0, end, _LIMIT) for end in range(len(frame) + 1)]
    assert wanted == [NeedMore(4)] * 4 + [NeedMore(7)] * 3 + [Frame(4, 7)]


def test_only_the_filled_part_of_a_buffer_counts() -> None:
    buffer = memoryview(bytearray(b"\x00\x00\x00\x01x" + bytes(100)))
    assert find_frame(buffer, 0, 4, _LIMIT) == NeedMore(5)
    assert find_frame(buffer, 0, 5, _LIMIT) == Frame(4, 5)


def test_the_limit_is_inclusive_and_comes_before_the_content() -> None:
    assert find_frame(b"\x00\x00\x00\x0a", 0, 4, size_max=10) == NeedMore(14)
    with pytest.raises(FrameError, match="a frame of 11 bytes is larger than the limit of 10"):
        find_frame(b"\x00\x00\x00\x0b", 0, 4, size_max=10)


@pytest.mark.parametrize("size", [0, -1, -(1 << 31)])
def test_a_size_that_is_not_positive_is_refused(size: int) -> None:
    with pytest.raises(FrameError, match=f"a frame of {size} bytes is impossible"):
        find_frame(size.to_bytes(4, "big", signed=True), 0, 4, _LIMIT)


def test_a_bare_sasl_token_may_be_empty() -> None:
    assert find_frame(bytes(4), 0, 4, _LIMIT, size_min=0) == Frame(4, 4)


@pytest.mark.parametrize(
    ("seen", "stranger"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "a TLS client on a PLAINTEXT listener"),
        (b"\x15\x03\x03\x00\x02", "a TLS alert on a PLAINTEXT listener"),
        (b"GET / HTTP/1.1\r\n", "an HTTP client"),
        (b"POST /topics HTTP/1.1\r\n", "an HTTP client"),
        (b"HEAD / HTTP/1.1\r\n", "an HTTP client"),
        (b"PRI * HTTP/2.0\r\n", "an HTTP/2 or gRPC client"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "a PROXY protocol header"),
        (b"\r\n\r\n\x00\r\nQUIT\n", "a PROXY protocol header"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH client"),
    ],
)
def test_another_protocol_on_the_port_is_called_by_its_name(seen: bytes, stranger: str) -> None:
    with pytest.raises(FrameError, match=stranger):
        find_frame(seen, 0, len(seen), _LIMIT)
