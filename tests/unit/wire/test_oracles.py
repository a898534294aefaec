"""Our bytes are the bytes of two codecs that others wrote, field by field, for every version that they know."""

import datetime
import importlib
import io
import uuid
from enum import Enum
from typing import Any

import kio.index
import pytest
from kio.serial import entity_reader, entity_writer

from cluster.ids import ZERO_UUID
from cluster.wire.api_versions import ApiVersionsResponse
from cluster.wire.codec import decode_message, encode_message
from cluster.wire.registry import APIS
from cluster.wire.schema import Column, Request, Response, Struct, columns
from tests.unit.wire.samples import random_messages

pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated:DeprecationWarning")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)
_KAFKA_PYTHON_MODULES = ("admin", "consumer", "metadata", "producer", "sasl")

#: Keys that kafka-python has no messages for.
_UNKNOWN_TO_KAFKA_PYTHON = {68, 69}
_TABLES: list[type[Request[Any]] | type[Response]] = [
    message for api in APIS.values() for message in (api.request, api.response)
]


def _plain(value: Any) -> Any:
    """An oracle's value as the integer, string or bytes that travels."""
    match value:
        case Enum():
            return value.value
        case datetime.timedelta():
            return value // _MILLISECOND
        case datetime.datetime():
            return (value - _EPOCH) // _MILLISECOND
        case uuid.UUID():
            return value.bytes
        case set():
            return sum(1 << bit for bit in value)
        case memoryview():
            return bytes(value)
        case _:
            return value


def _their_field(theirs: object, name: str) -> Any:
    spellings = (
        name,
        name.removesuffix("_ms"),
        name.removeprefix("cluster_").removeprefix("topic_"),
        name.replace("enable_2pc", "enable2_pc"),
    )
    for spelling in spellings:
        if hasattr(theirs, spelling):
            return getattr(theirs, spelling)
    raise AssertionError(f"{type(theirs).__name__} has no {name}")


def _assert_same(ours: Struct, theirs: object, version: int) -> None:
    for column in columns(type(ours)):
        if version in column.versions:
            _assert_same_value(getattr(ours, column.name), _their_field(theirs, column.name), column, version)


def _assert_same_value(ours: Any, theirs: Any, column: Column, version: int) -> None:
    if isinstance(ours, Struct):
        _assert_same(ours, theirs, version)
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), column
        for our_item, their_item in zip(ours, theirs, strict=True):
            _assert_same_value(our_item, their_item, column, version)
    elif ours is None:
        # They have a struct of defaults for a tag that is absent.
        assert theirs is None or column.tag is not None, column
    elif ours == ZERO_UUID:
        assert theirs is None or _plain(theirs) == ZERO_UUID, column
    else:
        # Their sets of bits do not know a sign.
        bits = isinstance(theirs, set) and isinstance(ours, int)
        assert _plain(theirs) == (ours & 0xFFFFFFFF if bits else ours), column


@pytest.mark.parametrize("cls", _TABLES, ids=lambda cls: cls.__name__)
def test_kio_reads_and_writes_the_same_bytes(cls: type[Request[Any]] | type[Response]) -> None:
    load: Any = kio.index.load_request_schema if issubclass(cls, Request) else kio.index.load_response_schema
    known = 0
    for version in cls.versions:
        try:
            schema = load(cls.api.key, version)
        except kio.index.UnknownEntity:
            continue
        known += 1
        read, write = entity_reader(schema), entity_writer(schema)
        for message in random_messages(cls, version, 3):
            data = encode_message(message, version)
            theirs, size = read(data, 0)
            assert size == len(data)
            _assert_same(message, theirs, version)
            out = io.BytesIO()
            write(out, theirs)
            assert out.getvalue() == data, version
            assert decode_message(cls, version, out.getvalue()) == message
    assert known > 0


@pytest.mark.parametrize(
    "cls", [cls for cls in _TABLES if cls.api.key not in _UNKNOWN_TO_KAFKA_PYTHON], ids=lambda cls: cls.__name__
)
def test_kafka_python_reads_and_writes_the_same_bytes(cls: type[Request[Any]] | type[Response]) -> None:
    modules = [importlib.import_module(f"kafka.protocol.{name}") for name in _KAFKA_PYTHON_MODULES]
    (their_cls,) = {getattr(module, cls.__name__) for module in modules if hasattr(module, cls.__name__)}
    for version in cls.versions:
        for message in random_messages(cls, version, 3):
            if isinstance(message, ApiVersionsResponse):
                # They read one with an error as version 0, whichever it is (KIP-511).
                message.error_code = 0
            data = encode_message(message, version)
            theirs = their_cls.decode(data, version=version)
            _assert_same(message, theirs, version)
            theirs._header = None
            assert theirs.encode(version=version) == data, version
