"""The notation in which message tables are written: typed classes whose annotations are the wire format.

A table reads like Kafka's own:

    class DeletableGroupResult(Struct):
        group_id: str = field("0+")
        error_code: int16 = field("0+")

Every row states its type and the versions that carry it; `field` adds where it may be null, its tag (KIP-482) and its
default. The columns of a class are resolved on first use, so that importing all tables costs next to nothing. This
module knows what the rows mean, never how they look on the wire (`decoder`, `encoder`) or which APIs exist
(`registry`).

Source: the protocol guide; KIP-482 (flexible versions, tagged fields), KIP-893 (nullable structs).
"""

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, TypeVar, Union, dataclass_transform
from typing import get_args as type_arguments
from typing import get_origin as type_origin

from cluster.ids import ZERO_UUID, Uuid, format_uuid
from cluster.seams import Buffer

#: Higher than any version that a header's int16 can carry.
_VERSION_END: Final = 1 << 15


@dataclass(frozen=True, slots=True)
class Fixed:
    """A type of fixed size: its `struct` format character and its size in bytes."""

    code: str
    size: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A type with a length in front of it: "str" (UTF-8), "bytes" (copied) or "records" (passed by reference)."""

    kind: str


# The types of the protocol that Python's own do not name. For a type checker these are int and buffers.
int8 = Annotated[int, Fixed("b", 1)]
int16 = Annotated[int, Fixed("h", 2)]
int32 = Annotated[int, Fixed("i", 4)]
int64 = Annotated[int, Fixed("q", 8)]
uint16 = Annotated[int, Fixed("H", 2)]
uint32 = Annotated[int, Fixed("I", 4)]
float64 = Annotated[float, Fixed("d", 8)]
#: A decoded array is a list. A tuple may be sent; the empty default is one, so that no two messages share a list.
Array = Sequence
#: Record batches. Decoded: one memoryview into the buffer that was decoded, which lives as long as the view. Sent: one
#: buffer, or several that follow each other on the wire. A memoryview must be one of bytes (`format` "B").
Records = Annotated[Union[bytes, bytearray, memoryview, Sequence[Buffer]], Variable("records")]  # noqa: UP007

_NATIVE: Final[dict[object, Fixed | Variable]] = {
    bool: Fixed("?", 1),
    Uuid: Fixed("16s", 16),
    str: Variable("str"),
    bytes: Variable("bytes"),
}


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array of one type."""

    element: "WireType"


WireType = Fixed | Variable | ArrayOf | type["Struct"]


class Column(NamedTuple):
    """One resolved row of a table. `default` may be a Struct class: then every message gets an instance of its own."""

    name: str
    type: WireType
    versions: range
    nullable: range
    tag: int | None
    default: object


class _Row(NamedTuple):
    versions: str
    nullable: str
    tag: int | None
    default: object


_OF_TYPE: Final = object()


def field(versions: str, *, nullable: str = "none", tag: int | None = None, default: object = _OF_TYPE) -> Any:
    """State the versions that carry a field: "3+", "0-7" or "2". Below and above them it keeps its default.

    `nullable` are the versions that may carry None. A field with a `tag` is left out of a message while it equals its
    default; a tagged struct is None then. Where `default` is not stated it is None for an annotation that admits None,
    and otherwise zero, empty, or a struct of defaults.
    """
    return _Row(versions, nullable, tag, default)


def parse_versions(text: str) -> range:
    """The versions named by "3+", "0-7", "2" or "none"."""
    if text == "none":
        return range(0)
    if text.endswith("+"):
        return range(int(text[:-1]), _VERSION_END)
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


@dataclass_transform(kw_only_default=True, eq_default=True)
class StructMeta(type):
    """Turns the rows of a class body into `__slots__`."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> "StructMeta":
        rows = {key: value for key, value in namespace.items() if isinstance(value, _Row)}
        for key in rows:
            del namespace[key]
        namespace["__slots__"] = tuple(rows)
        namespace["rows"] = rows
        return super().__new__(mcs, name, bases, namespace, **options)


class Struct(metaclass=StructMeta):
    """A table's in-memory form: constructed by keyword, compared by value, mutable, not hashable."""

    rows: ClassVar[dict[str, Any]]

    def __init__(self, **values: Any) -> None:
        # The first construction of a class replaces this method by one with a parameter for each field.
        cls = type(self)
        constructor = _compile_constructor(cls)
        setattr(cls, "__init__", constructor)  # noqa: B010  (a type checker must keep the declared signature)
        constructor(self, **values)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self.rows)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self._shown(name)}' for name in self.rows)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if not isinstance(value, Buffer):
            return repr(value)
        # Other bytes may be megabytes, or a password.
        return format_uuid(Uuid(bytes(value))) if self.__annotations__[name] == "Uuid" else f"<{len(value)} bytes>"


def _same(one: object, other: object) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


class Message(Struct):
    """A struct that stands alone on the wire; `flexible` versions use compact lengths and tagged fields (KIP-482)."""

    versions: ClassVar[range]
    flexible: ClassVar[range]


class Data(Message):
    """A message without a header: what coordinators and consumers keep in bytes fields and in internal topics."""

    def __init_subclass__(cls, *, versions: str, flexible: str = "none") -> None:
        cls.versions = parse_versions(versions)
        cls.flexible = parse_versions(flexible)


class Api:
    """One API: its key and name, the versions this codec knows, and the two messages that declare themselves with it.

    Which versions a broker serves is the broker's decision.
    """

    request: type["Request[Any]"]
    response: type["Response"]

    def __init__(self, key: int, name: str, *, versions: str, flexible: str) -> None:
        self.key: Final = key
        self.name: Final = name
        self.versions: Final = parse_versions(versions)
        self.flexible: Final = parse_versions(flexible)

    def __repr__(self) -> str:
        return f"{self.name}({self.key})"


class Response(Message):
    """The answer of an API."""

    api: ClassVar[Api]

    def __init_subclass__(cls, *, api: Api) -> None:
        cls.api, cls.versions, cls.flexible = api, api.versions, api.flexible
        api.response = cls


ResponseT = TypeVar("ResponseT", bound=Response)


class Request(Message, Generic[ResponseT]):
    """The question of an API, typed by its answer."""

    api: ClassVar[Api]

    def __init_subclass__(cls, *, api: Api) -> None:
        cls.api, cls.versions, cls.flexible = api, api.versions, api.flexible
        api.request = cls


def columns(cls: type[Struct]) -> tuple[Column, ...]:
    """The rows of `cls` with their types, in wire order. Costs a few microseconds a row: the callers are compilers."""
    scope = vars(sys.modules[cls.__module__])
    return tuple(_resolve(name, row, eval(cls.__annotations__[name], scope)) for name, row in cls.rows.items())


def _resolve(name: str, row: _Row, annotation: object) -> Column:
    optional = False
    if type_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in type_arguments(annotation) if part is not type(None))
        optional = True
    wire_type = _wire_type(annotation)
    nullable = parse_versions(row.nullable)
    is_tagged_struct = row.tag is not None and isinstance(wire_type, type)
    assert optional == (row.nullable != "none" or is_tagged_struct), f"{name}: annotation and nullable disagree"
    default = row.default
    if default is _OF_TYPE:
        default = None if optional else _zero(wire_type)
    return Column(name, wire_type, parse_versions(row.versions), nullable, row.tag, default)


def _wire_type(annotation: object) -> WireType:
    if annotation in _NATIVE:
        return _NATIVE[annotation]
    if type_origin(annotation) is Annotated:
        wire_type = type_arguments(annotation)[1]
        assert isinstance(wire_type, Fixed | Variable)
        return wire_type
    if type_origin(annotation) is Sequence:
        return ArrayOf(_wire_type(type_arguments(annotation)[0]))
    assert isinstance(annotation, type), annotation
    assert issubclass(annotation, Struct), annotation
    return annotation


def _zero(wire_type: WireType) -> object:
    match wire_type:
        case Fixed(code="?"):
            return False
        case Fixed(code="16s"):
            return ZERO_UUID
        case Fixed(code="d"):
            return 0.0
        case Fixed():
            return 0
        case Variable(kind="str"):
            return ""
        case Variable():
            return b""
        case ArrayOf():
            return ()
        case _:
            return wire_type


def default_expression(column: Column, scope: dict[str, Any]) -> str:
    """Source text for the default of `column`; a class that it needs is added to `scope`."""
    default = column.default
    return f"{class_name(default, scope)}()" if isinstance(default, type) else repr(default)


def class_name(cls: type, scope: dict[str, Any]) -> str:
    """The name of `cls` in `scope`, put there if need be: classes of several modules may share a name."""
    name = base = f"{cls.__module__}.{cls.__qualname__}".replace(".", "_").replace("<locals>", "")
    number = 1
    while scope.setdefault(name, cls) is not cls:
        number += 1
        name = f"{base}_{number}"
    return name


def _compile_constructor(cls: type[Struct]) -> Callable[..., None]:
    scope: dict[str, Any] = {}
    parameters, assignments = [], []
    for column in columns(cls):
        name, default = column.name, default_expression(column, scope)
        if isinstance(column.default, type):
            parameters.append(f"{name}=None")
            assignments.append(f"    self.{name} = {default} if {name} is None else {name}")
        else:
            parameters.append(f"{name}={default}")
            assignments.append(f"    self.{name} = {name}")
    header = f"def __init__(self, {', '.join(['*', *parameters])}):" if parameters else "def __init__(self):"
    exec("\n".join([header, *(assignments or ["    pass"])]), scope)
    constructor: Callable[..., None] = scope["__init__"]
    return constructor
