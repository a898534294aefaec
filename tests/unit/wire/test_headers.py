"""Headers, sizes, and records that are sent without being copied."""

import pytest

from cluster.errors import ErrorCode
from cluster.wire.api_versions import ApiVersion, ApiVersionsResponse
from cluster.wire.codec import records_view
from cluster.wire.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from cluster.wire.groups import HeartbeatRequest, HeartbeatResponse
from cluster.wire.headers import (
    RequestHeader,
    decode_correlation_id,
    decode_request,
    decode_request_header,
    decode_response,
    encode_request,
    encode_response,
)
from cluster.wire.primitives import DecodeError, EncodeError
from cluster.wire.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from cluster.wire.registry import APIS
from cluster.wire.schema import Records

_LARGE = memoryview(bytes(range(256)) * 64)


def _content(buffers: list[bytes | bytearray | memoryview]) -> bytes:
    sent = b"".join(buffers)
    assert int.from_bytes(sent[:4], "big") == len(sent) - 4
    return sent[4:]


def _fetch_response(*records: Records | None) -> FetchResponse:
    partitions = [PartitionData(partition_index=index, records=each) for index, each in enumerate(records)]
    return FetchResponse(responses=[FetchableTopicResponse(topic="orders", partitions=partitions)])


@pytest.mark.parametrize("client_id", [None, "", "rdkafka", "é"])
@pytest.mark.parametrize("version", [3, 4])
def test_a_request_comes_back_with_its_header(client_id: str | None, version: int) -> None:
    request = HeartbeatRequest(group_id="g", generation_id=7, member_id="m", group_instance_id="i")
    frame = _content(encode_request(request, version, 0x01020304, client_id))
    header = decode_request_header(frame)
    size = 10 + len((client_id or "").encode()) + (version == 4)
    assert header == RequestHeader(12, version, 0x01020304, client_id, size)
    assert decode_request(HeartbeatRequest, version, frame, header.body_offset) == request


def test_the_client_id_never_becomes_compact() -> None:
    """KIP-482: brokers read it before they know whether they know the version."""
    frame = _content(encode_request(HeartbeatRequest(), 4, 1, "abc"))
    assert frame[:14] == b"\x00\x0c\x00\x04\x00\x00\x00\x01\x00\x03abc\x00"


def test_tagged_fields_of_a_header_are_skipped() -> None:
    frame = _content(encode_request(HeartbeatRequest(group_id="g"), 4, 1, "abc"))
    tagged = frame[:13] + b"\x01\x05\x02xx" + frame[14:]
    header = decode_request_header(tagged)
    assert decode_request(HeartbeatRequest, 4, tagged, header.body_offset) == HeartbeatRequest(group_id="g")


def test_the_header_of_an_unknown_api_or_version_can_be_read() -> None:
    header = decode_request_header(b"\x03\xe7\x00\x09\x00\x00\x00\x01\x00\x01x")
    assert header == RequestHeader(999, 9, 1, "x", 11)
    assert decode_request_header(b"\x00\x12\x00\x63\x00\x00\x00\x01\x00\x01x\x00rest").body_offset == 12


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\x00",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x05abc",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\xff\xfe",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01\xff\x00",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01x",
        b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01x\x01\x00\x7f",
    ],
)
def test_a_broken_request_header_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError, match="request header"):
        decode_request_header(frame)


@pytest.mark.parametrize(("version", "header"), [(3, b"\x00\x00\x00\x09"), (4, b"\x00\x00\x00\x09\x00")])
def test_a_flexible_response_has_tagged_fields_in_its_header(version: int, header: bytes) -> None:
    response = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
    frame = _content(encode_response(response, version, 9))
    assert frame.startswith(header + b"\x00\x00\x00\x00\x00\x1b")
    assert decode_correlation_id(frame) == 9
    assert decode_response(HeartbeatResponse, version, frame) == response


def test_api_versions_responses_have_a_header_without_tagged_fields() -> None:
    """KIP-511: a client reads them before it knows the broker."""
    response = ApiVersionsResponse(api_keys=[ApiVersion(api_key=18, min_version=0, max_version=4)])
    frame = _content(encode_response(response, 3, 9))
    assert frame == bytes.fromhex("00000009 0000 02 001200000004 00 00000000 00")
    assert decode_response(ApiVersionsResponse, 3, frame) == response


def test_an_api_versions_response_in_version_0_tells_that_the_version_is_not_supported() -> None:
    """KIP-511."""
    response = ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[ApiVersion(api_key=18, min_version=0, max_version=4)]
    )
    assert decode_response(ApiVersionsResponse, 4, _content(encode_response(response, 0, 1))) == response


def test_other_errors_of_api_versions_keep_their_version() -> None:
    response = ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST, throttle_time_ms=5)
    assert decode_response(ApiVersionsResponse, 4, _content(encode_response(response, 4, 1))) == response


@pytest.mark.parametrize("frame", [b"", b"\x00\x00\x00", b"\x00\x00\x00\x01", b"\x00\x00\x00\x01\x01\x00\x7f"])
def test_a_broken_response_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_response(HeartbeatResponse, 4, frame)


def test_a_response_without_its_correlation_id_is_refused() -> None:
    with pytest.raises(DecodeError, match="correlation_id"):
        decode_correlation_id(b"\x00\x00\x00")


def test_messages_without_records_are_one_piece() -> None:
    for api in APIS.values():
        version = api.versions[-1]
        assert len(encode_request(api.request(), version, 1, "x")) == 1
        assert len(encode_response(api.response(), version, 1)) == 1


@pytest.mark.parametrize("version", [11, 12])
def test_large_records_are_sent_by_reference(version: int) -> None:
    response = _fetch_response(_LARGE, b"", [_LARGE, _LARGE], b"small", None)
    buffers = encode_response(response, version, 1)
    assert [index for index, buffer in enumerate(buffers) if buffer is _LARGE] == [1, 3, 4]
    decoded = decode_response(FetchResponse, version, _content(buffers))
    records = [records_view(partition.records) for partition in decoded.responses[0].partitions]
    assert records == [_LARGE, b"", bytes(_LARGE) * 2, b"small", None]


def test_small_records_are_sent_in_one_piece_with_their_surroundings() -> None:
    assert len(encode_response(_fetch_response(b"x" * 1024, [b"y" * 512, b"z" * 512]), 12, 1)) == 1


def test_records_at_the_end_of_a_message_leave_nothing_behind() -> None:
    response = _fetch_response(_LARGE)
    buffers = encode_response(response, 11, 1)
    assert len(buffers) == 2
    assert buffers[-1] is _LARGE


def test_records_are_read_without_being_copied() -> None:
    data = [TopicProduceData(name="orders", partition_data=[PartitionProduceData(records=_LARGE)])]
    frame = bytearray(_content(encode_request(ProduceRequest(acks=-1, topic_data=data), 9, 1, "x")))
    header = decode_request_header(frame)
    request = decode_request(ProduceRequest, 9, memoryview(frame), header.body_offset)
    records = records_view(request.topic_data[0].partition_data[0].records)
    assert records == _LARGE
    records[0] = 0xEE
    assert frame.count(0xEE) == len(_LARGE) // 256 + 1, "a broker stamps offsets in place"


def test_a_value_that_its_field_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match=r"^HeartbeatRequest v3: generation_id to member_id: "):
        encode_request(HeartbeatRequest(generation_id=1 << 31), 3, 1, "x")
    with pytest.raises(EncodeError, match=r"^HeartbeatRequest v4: group_id: "):
        encode_request(HeartbeatRequest(group_id=None), 4, 1, "x")  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match=r"^HeartbeatRequest v3: group_id: "):
        encode_request(HeartbeatRequest(group_id="x" * 32768), 3, 1, "x")
    with pytest.raises(EncodeError, match="client id"):
        encode_request(HeartbeatRequest(), 3, 1, "x" * 32768)
