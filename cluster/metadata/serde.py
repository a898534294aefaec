"""Metadata values to bytes and back: one converter for every class that has a protobuf message of its name.

A codec is compiled once for each class from its type hints and the message's descriptor; the classes and
`controller.proto` are the only places where a field is named. Supported fields: bool, int, str, bytes, Uuid, IntEnum,
each also `| None`; nested classes, also `| None`; tuples of these; `tuple[int, ...] | None`; closed unions of classes,
which are messages with one oneof whose fields bear the members' names in snake case.

Bytes from outside: `decode` raises ValueError that names message and field, and nothing else. Fields that a message
holds and the class does not know are ignored, as protobuf does; of what they mean nothing is assumed.
"""

import re
from collections.abc import Callable
from dataclasses import is_dataclass
from enum import IntEnum
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cluster.ids import Uuid
from cluster.rpc import controller_pb2

T = TypeVar("T")

#: Copies a value into an existing message.
Fill = Callable[[Any, Any], None]
#: Makes a value from a message.
Read = Callable[[Any], Any]


class Codec(Generic[T]):
    """Bytes of one class. Equal values give equal bytes."""

    def __init__(self, cls: type[T], message_name: str) -> None:
        descriptor = controller_pb2.DESCRIPTOR.message_types_by_name[message_name]
        self._message = GetMessageClass(descriptor)
        self._fill, self._read = _compiled(cls, descriptor)
        self._name = message_name

    def encode(self, value: T) -> bytes:
        """Raises ValueError when a number does not fit its field."""
        message = self._message()
        self._fill(message, value)
        return message.SerializeToString()

    def decode(self, data: bytes) -> T:
        """Raises ValueError when `data` is no such message, or holds a value that the class does not allow."""
        try:
            message = self._message.FromString(data)
        except DecodeError as error:
            raise ValueError(f"{self._name}: {error}") from None
        return cast(T, self._read(message))


_CODECS: dict[type, Codec[Any]] = {}
_COMPILED: dict[type, tuple[Fill, Read]] = {}


def codec(cls: type[T]) -> Codec[T]:
    """The codec of `cls`, compiled at the first call."""
    found = _CODECS.get(cls)
    if found is None:
        found = _CODECS[cls] = Codec(cls, cls.__name__)
    return found


def part_codec(cls: type[T], whole: type) -> Codec[T]:
    """A codec that decodes only those fields of `whole` that `cls` has; not for encoding.

    A class inside `cls` may in turn be a part of the one that stands in its place in `whole`.
    """
    return Codec(cls, whole.__name__)


def snake_case(name: str) -> str:
    """The field that stands for class `name` in a oneof."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _compiled(cls: type, descriptor: Descriptor | None) -> tuple[Fill, Read]:
    """How to fill and read the message of a class."""
    assert descriptor is not None, f"{cls.__name__} stands where there is no message"
    if cls not in _COMPILED:
        _COMPILED[cls] = _compile(cls, descriptor)
    return _COMPILED[cls]


def _compile(cls: type, descriptor: Descriptor) -> tuple[Fill, Read]:
    hints = get_type_hints(cls)
    fields = set(descriptor.fields_by_name)
    is_part = cls.__name__ != descriptor.name
    assert set(hints) == fields or (is_part and set(hints) < fields), f"{cls.__name__} and {descriptor.name} differ"
    fills: list[Fill] = []
    reads: list[tuple[str, Read]] = []
    for name, hint in hints.items():
        fill, read = _field(hint, descriptor.fields_by_name[name])
        fills.append(fill)
        reads.append((name, read))

    def fill_all(message: Any, value: Any) -> None:
        for fill in fills:
            fill(message, value)

    def read_all(message: Any) -> Any:
        return cls(**{name: read(message) for name, read in reads})

    return fill_all, read_all


def _field(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    if get_origin(hint) in (UnionType, Union):  # `X | None` is a Union where X is a NewType
        members = tuple(member for member in get_args(hint) if member is not NoneType)
        if len(members) == len(get_args(hint)):
            assert field.message_type is not None, f"{field.full_name} must be a message"
            return _nested(field, *_union(members, field.message_type))
        assert len(members) == 1, f"{field.full_name}: an optional union is not supported"
        return _optional(members[0], field)
    if get_origin(hint) is tuple:
        return _repeated(get_args(hint)[0], field)
    if _is_value_class(hint):
        return _nested(field, *_compiled(hint, field.message_type))
    return _scalar(hint, field)


def _scalar(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    name = field.name
    check = _check(hint, field)

    def fill(message: Any, value: Any) -> None:
        item = getattr(value, name)
        if item:
            setattr(message, name, item)

    def read(message: Any) -> Any:
        return check(getattr(message, name)) if check else getattr(message, name)

    return fill, read


def _optional(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    name = field.name
    if get_origin(hint) is tuple:
        inner_fill, inner_read = _int_list()
    elif _is_value_class(hint):
        inner_fill, inner_read = _compiled(hint, field.message_type)
    else:
        return _optional_scalar(hint, field)

    def fill(message: Any, value: Any) -> None:
        item = getattr(value, name)
        if item is not None:
            nested = getattr(message, name)
            nested.SetInParent()
            inner_fill(nested, item)

    def read(message: Any) -> Any:
        return inner_read(getattr(message, name)) if message.HasField(name) else None

    return fill, read


def _optional_scalar(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    name = field.name
    assert field.has_presence, f"{field.full_name} must be optional"
    check = _check(hint, field)

    def fill(message: Any, value: Any) -> None:
        item = getattr(value, name)
        if item is not None:
            setattr(message, name, item)

    def read(message: Any) -> Any:
        if not message.HasField(name):
            return None
        return check(getattr(message, name)) if check else getattr(message, name)

    return fill, read


def _nested(field: FieldDescriptor, inner_fill: Fill, inner_read: Read) -> tuple[Fill, Read]:
    name = field.name
    full_name = field.full_name

    def fill(message: Any, value: Any) -> None:
        nested = getattr(message, name)
        nested.SetInParent()
        inner_fill(nested, getattr(value, name))

    def read(message: Any) -> Any:
        if not message.HasField(name):
            raise ValueError(f"{full_name} is missing")
        return inner_read(getattr(message, name))

    return fill, read


def _repeated(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    name = field.name
    if get_origin(hint) is tuple:
        inner_fill, inner_read = _int_list()
    elif _is_value_class(hint):
        inner_fill, inner_read = _compiled(hint, field.message_type)
    else:
        return _repeated_scalar(hint, field)

    def fill(message: Any, value: Any) -> None:
        items = getattr(value, name)
        if items:
            add = getattr(message, name).add
            for item in items:
                inner_fill(add(), item)

    def read(message: Any) -> Any:
        return tuple([inner_read(item) for item in getattr(message, name)])

    return fill, read


def _repeated_scalar(hint: Any, field: FieldDescriptor) -> tuple[Fill, Read]:
    name = field.name
    assert hint in (int, str, bytes), f"{field.full_name}: a list of {hint} is not supported"

    def fill(message: Any, value: Any) -> None:
        items = getattr(value, name)
        if items:
            getattr(message, name).extend(items)

    def read(message: Any) -> Any:
        return tuple(getattr(message, name))

    return fill, read


def _int_list() -> tuple[Fill, Read]:
    """A list of numbers in a message of its own."""

    def fill(message: Any, value: Any) -> None:
        message.values.extend(value)

    def read(message: Any) -> Any:
        return tuple(message.values)

    return fill, read


def _union(members: tuple[type, ...], descriptor: Descriptor) -> tuple[Fill, Read]:
    """A closed union: a message with one oneof."""
    (oneof,) = descriptor.oneofs
    names = {member: snake_case(member.__name__) for member in members}
    assert set(names.values()) == set(descriptor.fields_by_name), f"{descriptor.name} and its union differ"
    kind = oneof.name
    full_name = descriptor.full_name
    compiled = {
        member: _compiled(member, descriptor.fields_by_name[name].message_type) for member, name in names.items()
    }
    fills = {member: (name, compiled[member][0]) for member, name in names.items()}
    reads = {name: compiled[member][1] for member, name in names.items()}

    def fill(message: Any, value: Any) -> None:
        name, inner = fills[type(value)]
        nested = getattr(message, name)
        nested.SetInParent()
        inner(nested, value)

    def read(message: Message) -> Any:
        name = message.WhichOneof(kind)
        if name is None:
            raise ValueError(f"{full_name} is empty, or of a kind that this version does not know")
        return reads[name](getattr(message, name))

    return fill, read


def _check(hint: Any, field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """What turns a scalar of a message into the class's type; None where it is that already."""
    full_name = field.full_name
    if hint is Uuid:

        def uuid(raw: bytes) -> Uuid:
            if len(raw) != 16:
                raise ValueError(f"{full_name}: an id has 16 bytes, not {len(raw)}")
            return Uuid(raw)

        return uuid
    if isinstance(hint, type) and issubclass(hint, IntEnum):

        def enumeration(number: int) -> IntEnum:
            try:
                return hint(number)
            except ValueError:
                raise ValueError(f"{full_name}: {number} is no {hint.__name__}") from None

        return enumeration
    assert hint in (bool, int, str, bytes), f"{full_name}: {hint} is not supported"
    return None


def _is_value_class(hint: Any) -> bool:
    return is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"))
