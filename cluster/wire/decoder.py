"""Generates the function that reads one message at one version: straight-line, one unpack for each run of fixed fields.

A generated `decode(buffer, position)` returns (message, position behind it). It reads the buffer in place and copies
every field out of it except records. It trusts nothing: a length that runs over the end ends in an exception, at the
latest in the caller's comparison of the final position with the size of the buffer; an array's count is compared with
the bytes that remain before anything is made; whatever goes wrong is a `DecodeError`.
"""

from collections.abc import Callable
from functools import cache
from struct import error as struct_error
from typing import Any, Final, NamedTuple, assert_never

from cluster.seams import Buffer
from cluster.wire.primitives import ArrayUnpackers, DecodeError, decode_uvarint, failing_field, skip_tags
from cluster.wire.schema import (
    ArrayOf,
    Column,
    Fixed,
    Message,
    Struct,
    Variable,
    WireType,
    class_name,
    columns,
    default_expression,
)
from cluster.wire.source import Source

Decoder = Callable[[Buffer, int], tuple[Any, int]]

#: By a type's kind: the format of its length in versions that are not flexible, and the expression that reads it.
_LENGTH_CODES: Final = {"str": "h", "bytes": "i", "records": "i"}
_SLICES: Final = {
    "str": 'str(buffer[position:stop], "utf-8")',
    "bytes": "bytes(buffer[position:stop])",
    "records": "view[position:stop]",
}
_array_unpackers: Final = cache(ArrayUnpackers)


def compile_decoder(cls: type[Message], version: int) -> Decoder:
    """The decoder of `cls` at `version`, which must be one of its versions. Takes around a millisecond."""
    assert version in cls.versions, (cls, version)
    return _Generator(cls, version).generate()


class _RunField(NamedTuple):
    fixed: Fixed
    target: str
    path: tuple[str, ...]


class _Generator:
    def __init__(self, cls: type[Message], version: int) -> None:
        self._cls = cls
        self._version = version
        self._flexible = version in cls.flexible
        self._source = Source({"uvarint": decode_uvarint, "skip_tags": skip_tags, "new": object.__new__})
        #: Fixed-size fields that are due: they go into one `unpack`.
        self._run: list[_RunField] = []

    def generate(self) -> Decoder:
        source, label = self._source, f"{self._cls.__name__} v{self._version}"
        fields = source.fields

        def fail(failure: Exception, position: int) -> DecodeError:
            reason = str(failure) if isinstance(failure, ValueError) else "truncated"
            return DecodeError(label, failing_field(failure, fields), position, reason)

        source.scope |= {"fail": fail, "DecodeFailure": (IndexError, struct_error, ValueError, OverflowError)}
        with source.block("def decode(buffer, position):"):
            with source.block("try:"):
                source.line("end = len(buffer)")
                source.line("view = memoryview(buffer)")
                self._read_struct("message", self._cls)
                self._flush()
                source.line("return message, position")
            with source.block("except DecodeFailure as failure:"):
                source.line("raise fail(failure, position) from None")
        decoder: Decoder = source.compile("decode", f"<decoder of {label}>")
        return decoder

    def _flush(self) -> None:
        """Unpack the fields that are due."""
        run, self._run = self._run, []
        if not run:
            return
        with self._source.at(*run[0].path):
            match run:
                case [_RunField(fixed=Fixed(code="B"), target=target)]:
                    self._source.line(f"{target} = buffer[position]; position += 1")
                case _:
                    unpack = self._source.unpacker("".join(due.fixed.code for due in run))
                    targets = "".join(f"{due.target}, " for due in run)
                    size = sum(due.fixed.size for due in run)
                    self._source.line(f"{targets}= {unpack}(buffer, position); position += {size}")

    def _due(self, fixed: Fixed, target: str) -> None:
        self._run.append(_RunField(fixed, target, self._source.path))

    def _read_struct(self, target: str, cls: type[Struct]) -> None:
        """Make a `cls` named `target`, a local name, and read it. Fixed fields at its end may still be due."""
        source = self._source
        source.line(f"{target} = new({class_name(cls, source.scope)})")
        tagged = []
        for column in columns(cls):
            with source.at(*source.path, column.name):
                if self._version not in column.versions:
                    source.line(f"{target}.{column.name} = {default_expression(column, source.scope)}")
                elif column.tag is not None:
                    source.line(f"{target}.{column.name} = {default_expression(column, source.scope)}")
                    tagged.append(column)
                else:
                    self._read(f"{target}.{column.name}", column.type, nullable=self._version in column.nullable)
        if self._flexible:
            self._read_tags(target, tagged)

    def _read_tags(self, target: str, tagged: list[Column]) -> None:
        source = self._source
        count, tag, size, stop = (source.name(prefix) for prefix in ("tags", "tag", "size", "stop"))
        self._due(Fixed("B", 1), count)
        self._flush()
        if not tagged:
            source.line(f"if {count}: position = skip_tags(buffer, position - 1)")
            return
        with source.block(f"if {count}:"):
            source.line(f"{count}, position = uvarint(buffer, position - 1)")
            with source.block(f"for _ in range({count}):"):
                source.line(f"{tag}, position = uvarint(buffer, position)")
                source.line(f"{size}, position = uvarint(buffer, position)")
                source.line(f"{stop} = position + {size}")
                source.line(f'if {stop} > end: raise ValueError("a tagged field runs over the end")')
                for column in tagged:
                    with source.at(*source.path, column.name), source.block(f"if {tag} == {column.tag}:"):
                        self._read(f"{target}.{column.name}", column.type, nullable=self._version in column.nullable)
                        self._flush()
                        source.line(f'if position != {stop}: raise ValueError("tag size and content disagree")')
                source.line(f"position = {stop}")

    def _read(self, target: str, wire_type: WireType, *, nullable: bool) -> None:
        """Read one value into `target`, a name or an attribute."""
        match wire_type:
            case Fixed():
                self._due(wire_type, target)
            case Variable():
                self._read_variable(target, wire_type, nullable=nullable)
            case ArrayOf():
                self._read_array(target, wire_type.element, nullable=nullable)
            case type():
                self._read_nested(target, wire_type, nullable=nullable)
            case _:
                assert_never(wire_type)

    def _read_nested(self, target: str, cls: type[Struct], *, nullable: bool) -> None:
        source, nested = self._source, self._source.name("struct")
        if not nullable:
            self._read_struct(nested, cls)
            source.line(f"{target} = {nested}")
            return
        presence = source.name("presence")
        self._due(Fixed("b", 1), presence)
        self._flush()
        with source.block(f"if {presence} < 0:"):
            source.line(f"{target} = None")
        with source.block("else:"):
            self._read_struct(nested, cls)
            self._flush()
            source.line(f"{target} = {nested}")

    def _read_length(self, code: str, *, nullable: bool) -> str:
        """Read a length and return its name. It is >= 0, or -1 for null, which is refused where it may not be."""
        source, length = self._source, self._source.name("length")
        self._due(Fixed("B", 1) if self._flexible else Fixed(code, 2 if code == "h" else 4), length)
        self._flush()
        if self._flexible:
            source.line(f"if {length} > 127: {length}, position = uvarint(buffer, position - 1)")
            source.line(f"{length} -= 1")
        floor = -1 if nullable else 0
        if floor == 0 or not self._flexible:
            source.line(f'if {length} < {floor}: raise ValueError("null" if {length} == -1 else "negative length")')
        return length

    def _read_variable(self, target: str, variable: Variable, *, nullable: bool) -> None:
        source = self._source
        length = self._read_length(_LENGTH_CODES[variable.kind], nullable=nullable)
        read = f"stop = position + {length}; {target} = {_SLICES[variable.kind]}; position = stop"
        if not nullable:
            source.line(read)
            return
        source.line(f"if {length} < 0: {target} = None")
        source.line(f"else: {read}")

    def _read_array(self, target: str, element: WireType, *, nullable: bool) -> None:
        source = self._source
        length = self._read_length("i", nullable=nullable)
        size_min = self._size_min(element)
        source.line(
            f"if {length}{f' * {size_min}' if size_min > 1 else ''} > end - position: "
            f'raise ValueError(f"{{{length}}} elements cannot follow")'
        )
        if isinstance(element, Fixed) and len(element.code) == 1:
            array = f"array_{element.code}" if element.code != "?" else "array_t"
            source.scope[array] = _array_unpackers(element.code)
            read = f"{target} = list({array}[{length}](buffer, position)); position += {element.size} * {length}"
            source.line(f"if {length} < 0: {target} = None" if nullable else f"{read}")
            if nullable:
                source.line(f"else: {read}")
            return
        append, item = source.name("append"), source.name("item")
        source.line(f"{target} = []; {append} = {target}.append" if not nullable else f"{target} = None")
        if nullable:
            source.line(f"if {length} >= 0: {target} = []; {append} = {target}.append")
        with source.block(f"for _ in range({length}):"):
            if isinstance(element, type):
                self._read_struct(item, element)
            else:
                self._read(item, element, nullable=False)
            self._flush()
            source.line(f"{append}({item})")

    def _size_min(self, wire_type: WireType) -> int:
        """The bytes that a value of this type takes at least, never less than 1."""
        match wire_type:
            case Fixed(size=size):
                return size
            case Variable(kind=kind):
                return 1 if self._flexible else 2 if kind == "str" else 4
            case ArrayOf():
                return 1 if self._flexible else 4
            case type():
                sizes = (
                    self._size_min(column.type) if not isinstance(column.type, type) else 1
                    for column in columns(wire_type)
                    if self._version in column.versions and column.tag is None
                )
                return max(1, sum(sizes) + self._flexible)
            case _:
                assert_never(wire_type)
