"""Random values of every metadata class, within what its message can hold."""

import types
from dataclasses import is_dataclass
from enum import IntEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from cluster.ids import Endpoint, TopicPartition, Uuid
from cluster.metadata import commands, image, messages, records, results, snapshot
from cluster.rpc import controller_pb2

_MODULES = (records, image, snapshot, commands, results, messages)


def value_classes() -> list[type]:
    """Every class that has a message; the image itself travels as its snapshot."""
    found: list[type] = [Endpoint, TopicPartition]
    for module in _MODULES:
        found += [
            cls
            for cls in vars(module).values()
            if is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == module.__name__
        ]
    return [cls for cls in found if cls is not image.MetadataImage]


_KNOWN: dict[type, st.SearchStrategy[Any]] = {}


def values(cls: type) -> st.SearchStrategy[Any]:
    if cls not in _KNOWN:
        _KNOWN[cls] = _values(cls)
    return _KNOWN[cls]


def _values(cls: type) -> st.SearchStrategy[Any]:
    descriptor = controller_pb2.DESCRIPTOR.message_types_by_name[cls.__name__]
    fields = {name: _field(hint, descriptor.fields_by_name[name]) for name, hint in get_type_hints(cls).items()}
    return st.builds(cls, **fields)


def _field(hint: Any, field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (types.UnionType, Union):
        options = [st.none() if arg is types.NoneType else _field(arg, field) for arg in get_args(hint)]
        return st.one_of(options)
    if get_origin(hint) is tuple:
        return st.lists(_field(get_args(hint)[0], field), max_size=3).map(tuple)
    if hint is Uuid:
        return st.binary(min_size=16, max_size=16)
    if hint is bool:
        return st.booleans()
    if hint is int:
        bits = 63 if field.type == FieldDescriptor.TYPE_INT64 else 31
        return st.integers(-(2**bits), 2**bits - 1)
    if hint is str:
        return st.text(max_size=20)
    if hint is bytes:
        return st.binary(max_size=20)
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return values(hint)
