"""Bytes that are not a message end in DecodeError, never in another exception or in memory for what they promise."""

import random
import tracemalloc

import pytest

from cluster.wire.api_versions import ApiVersionsRequest, ApiVersionsResponse
from cluster.wire.codec import decode_message, encode_message
from cluster.wire.configs import AlterConfigsRequest
from cluster.wire.fetch import FetchRequest, FetchResponse
from cluster.wire.groups import HeartbeatRequest, ListGroupsRequest
from cluster.wire.metadata import MetadataRequest, MetadataRequestTopic
from cluster.wire.primitives import DecodeError
from cluster.wire.produce import ProduceRequest
from cluster.wire.schema import Message
from tests.unit.wire.samples import MESSAGES, random_messages

#: Cuts and mutations are tried at this many places of a message, spread evenly.
_PLACES = 60
_LYING_LENGTH = b"\xff\xff\xff\xff\x07"


def _places(data: bytes) -> range:
    return range(0, len(data), max(1, len(data) // _PLACES))


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_truncated_message_is_refused(cls: type[Message]) -> None:
    for version in {cls.versions[0], cls.versions[-1]}:
        (message,) = random_messages(cls, version, 1)
        data = encode_message(message, version)
        for cut in _places(data):
            with pytest.raises(DecodeError):
                decode_message(cls, version, data[:cut])


def test_a_message_cut_at_any_byte_is_refused() -> None:
    for cls in (FetchRequest, FetchResponse, MetadataRequest, AlterConfigsRequest):
        for version in cls.versions:
            (message,) = random_messages(cls, version, 1)
            data = encode_message(message, version)[-300:]
            prefix = encode_message(message, version)[:-300]
            for cut in range(len(data)):
                with pytest.raises(DecodeError):
                    decode_message(cls, version, prefix + data[:cut])


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_mutated_message_is_read_or_refused(cls: type[Message]) -> None:
    rng = random.Random(cls.__name__)
    for version in {cls.versions[0], cls.versions[-1]}:
        (message,) = random_messages(cls, version, 1)
        data = encode_message(message, version)
        for place in _places(data):
            for garbage in (_LYING_LENGTH, b"\xff" * 4, b"\x80\x00", rng.randbytes(1), rng.randbytes(3)):
                _read_or_refuse(cls, version, data[:place] + garbage + data[place + len(garbage) :])
                _read_or_refuse(cls, version, data[:place] + garbage + data[place:])


def _read_or_refuse(cls: type[Message], version: int, data: bytes) -> None:
    try:
        decode_message(cls, version, data)
    except DecodeError:
        pass


@pytest.mark.parametrize(
    ("cls", "version", "data"),
    [
        (MetadataRequest, 1, b"\x7f\xff\xff\xff"),
        (MetadataRequest, 9, _LYING_LENGTH),
        (ListGroupsRequest, 4, _LYING_LENGTH),
        (ProduceRequest, 9, b"\x00\x00\x01\x00\x00\x00\x01" + _LYING_LENGTH),
        (ApiVersionsRequest, 3, _LYING_LENGTH),
        (ApiVersionsResponse, 3, b"\x00\x00\x01\x00\x00\x00\x00\x01\x02" + _LYING_LENGTH),
    ],
)
def test_a_length_of_gigabytes_costs_no_memory(cls: type[Message], version: int, data: bytes) -> None:
    _read_or_refuse(cls, version, data)  # compile first
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode_message(cls, version, data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_an_array_is_bounded_by_the_bytes_that_its_elements_need_at_least() -> None:
    nine_topics_in_seven_bytes = b"\x0a" + bytes(7)
    with pytest.raises(DecodeError, match=r"^MetadataRequest v9: topics at byte 1: 9 elements cannot follow$"):
        decode_message(MetadataRequest, 9, nine_topics_in_seven_bytes)


def test_an_error_names_the_field_and_its_offset() -> None:
    data = bytearray(encode_message(MetadataRequest(topics=[MetadataRequestTopic(name="orders")]), 9))
    data[data.index(b"orders")] = 0xFF
    with pytest.raises(DecodeError) as caught:
        decode_message(MetadataRequest, 9, data)
    assert (caught.value.field, caught.value.offset) == ("topics.name", 2)
    assert str(caught.value).startswith("MetadataRequest v9: topics.name at byte 2: 'utf-8' codec can't decode")


def test_truncation_is_reported_at_the_field_that_is_missing() -> None:
    data = encode_message(HeartbeatRequest(group_id="g", generation_id=1, member_id="m"), 4)
    with pytest.raises(DecodeError, match=r"^HeartbeatRequest v4: generation_id at byte 2: truncated$"):
        decode_message(HeartbeatRequest, 4, data[:4])


@pytest.mark.parametrize(("version", "null"), [(3, b"\xff\xff"), (4, b"\x00")])
def test_null_is_refused_where_it_may_not_be(version: int, null: bytes) -> None:
    with pytest.raises(DecodeError, match=r"group_id at byte .: null"):
        decode_message(HeartbeatRequest, version, null + bytes(20))


@pytest.mark.parametrize("length", [b"\xff\xfe", b"\x80\x00"])
def test_a_negative_length_other_than_null_is_refused(length: bytes) -> None:
    with pytest.raises(DecodeError, match="negative length"):
        decode_message(ProduceRequest, 3, length + bytes(20))


def test_bytes_behind_a_message_are_refused() -> None:
    data = encode_message(ListGroupsRequest(), 5) + b"\0"
    with pytest.raises(DecodeError, match=r"^ListGroupsRequest v5: at byte 3: 1 bytes too many$"):
        decode_message(ListGroupsRequest, 5, data)


def test_a_varint_longer_than_five_bytes_is_refused() -> None:
    with pytest.raises(DecodeError, match="varint longer than 5 bytes"):
        decode_message(ListGroupsRequest, 5, b"\x80\x80\x80\x80\x80\x01\x01\x00")


def test_a_version_that_the_table_does_not_have_is_refused() -> None:
    for version in (-1, 6, 1000):
        with pytest.raises(DecodeError, match=f"there is no version {version}"):
            decode_message(ListGroupsRequest, version, b"")


UNKNOWN_TAG = b"\x63\x03abc"


def test_unknown_tagged_fields_are_skipped() -> None:
    """KIP-482: a field that a later version tags does not disturb an earlier one."""
    plain = encode_message(MetadataRequest(topics=[MetadataRequestTopic(name="orders")]), 9)
    topic_end = plain.index(b"orders") + len(b"orders")
    assert plain[topic_end] == plain[-1] == 0
    tagged = plain[:topic_end] + b"\x01" + UNKNOWN_TAG + plain[topic_end + 1 : -1] + b"\x02" + UNKNOWN_TAG * 2
    assert decode_message(MetadataRequest, 9, tagged) == decode_message(MetadataRequest, 9, plain)


def test_unknown_tagged_fields_are_skipped_beside_known_ones() -> None:
    request = FetchRequest(cluster_id="golden", max_wait_ms=500, min_bytes=1)
    data = encode_message(request, 12)
    start = data.rindex(b"\x01\x00\x07\x07golden")
    tagged = data[:start] + b"\x02" + data[start + 1 :] + UNKNOWN_TAG
    assert decode_message(FetchRequest, 12, tagged) == request


@pytest.mark.parametrize("size", [b"\x06", b"\x08"])
def test_a_tagged_field_that_does_not_fill_its_size_is_refused(size: bytes) -> None:
    data = encode_message(FetchRequest(cluster_id="golden"), 12).replace(
        b"\x00\x07\x07golden", b"\x00%b\x07golden" % size
    )
    with pytest.raises(DecodeError, match=r"cluster_id|tagged"):
        decode_message(FetchRequest, 12, data + b"\0")


def test_a_tagged_field_that_runs_over_the_end_is_refused() -> None:
    for tag in (b"\x63", b"\x00"):
        data = encode_message(FetchRequest(), 12)[:-1] + b"\x01" + tag + b"\x7f" + b"\x07golden"
        with pytest.raises(DecodeError, match="runs over the end"):
            decode_message(FetchRequest, 12, data)
