"""Generates the function that writes one message at one version: straight-line, one pack for each run of fixed fields.

A generated `encode(message, parts, buffers)` appends small pieces of bytes to `parts`. Records pass through by
reference: the pieces before them are joined into one buffer and moved to `buffers`, and the records follow there. What
is in `parts` in the end belongs behind `buffers`. A value that its field cannot carry raises `EncodeError`; fields that
the version does not know are left out silently.
"""

from collections.abc import Callable
from functools import cache
from struct import error as struct_error
from typing import Any, Final, NamedTuple, assert_never

from cluster.seams import Buffer
from cluster.wire.primitives import (
    UVARINT,
    ArrayPackers,
    EncodeError,
    encode_tags,
    encode_uvarint,
    failing_field,
    put_records,
    records_size,
)
from cluster.wire.schema import (
    ArrayOf,
    Column,
    Fixed,
    Message,
    Struct,
    Variable,
    WireType,
    columns,
    default_expression,
)
from cluster.wire.source import Source

Encoder = Callable[[Any, list[Buffer], list[Buffer]], None]

_LENGTH_CODES: Final = {"str": "h", "bytes": "i", "records": "i"}
_array_packers: Final = cache(ArrayPackers)


def compile_encoder(cls: type[Message], version: int) -> Encoder:
    """The encoder of `cls` at `version`, which must be one of its versions. Takes around a millisecond."""
    assert version in cls.versions, (cls, version)
    return _Generator(cls, version).generate()


class _Due(NamedTuple):
    code: str
    #: The expression of the value.
    value: str
    path: tuple[str, ...]


class _Generator:
    def __init__(self, cls: type[Message], version: int) -> None:
        self._cls = cls
        self._version = version
        self._flexible = version in cls.flexible
        self._source = Source(
            {
                "UVARINT": UVARINT,
                "uvarint": encode_uvarint,
                "encode_tags": encode_tags,
                "records_size": records_size,
                "put_records": put_records,
            }
        )
        #: Fixed-size values that are due: they go into one `pack`.
        self._run: list[_Due] = []
        #: The name of the function that takes the next piece.
        self._put = "put"

    def generate(self) -> Encoder:
        source, label = self._source, f"{self._cls.__name__} v{self._version}"
        fields = source.fields

        def fail(failure: Exception) -> EncodeError:
            return EncodeError(f"{label}: {failing_field(failure, fields)}: {failure}")

        source.scope |= {"fail": fail, "EncodeFailure": (struct_error, TypeError, AttributeError, UnicodeError)}
        with source.block("def encode(message, parts, buffers):"):
            with source.block("try:"):
                source.line("put = parts.append")
                self._write_struct("message", self._cls)
                self._flush()
            with source.block("except EncodeFailure as failure:"):
                source.line("raise fail(failure) from None")
        encoder: Encoder = source.compile("encode", f"<encoder of {label}>")
        return encoder

    def _flush(self) -> None:
        """Pack the values that are due."""
        run, self._run = self._run, []
        if not run:
            return
        with self._source.at(_span(run)):
            if all((due.code, due.value) == ("B", "0") for due in run):
                self._source.line(f"{self._put}({bytes(len(run))!r})")
            else:
                self._source.line(f"{self._put}({self._pack(run)})")

    def _due(self, code: str, value: str) -> None:
        self._run.append(_Due(code, value, self._source.path))

    def _pack(self, run: list[_Due]) -> str:
        packer = self._source.packer("".join(due.code for due in run))
        return f"{packer}({', '.join(due.value for due in run)})"

    def _write_struct(self, value: str, cls: type[Struct]) -> None:
        source, tagged = self._source, []
        for column in columns(cls):
            if self._version not in column.versions:
                continue
            if column.tag is not None:
                tagged.append(column)
                continue
            with source.at(*source.path, column.name):
                self._write(f"{value}.{column.name}", column.type, nullable=self._version in column.nullable)
        if tagged:
            assert self._flexible, f"{cls.__name__} has tagged fields in a version that is not flexible"
            self._write_tags(value, sorted(tagged, key=lambda column: column.tag or 0))
        elif self._flexible:
            self._due("B", "0")

    def _write_tags(self, value: str, tagged: list[Column]) -> None:
        source, tags = self._source, self._source.name("tags")
        self._flush()
        source.line(f"{tags} = []")
        for column in tagged:
            self._write_tag(f"{value}.{column.name}", column, tags)
        source.line(f'{self._put}(encode_tags({tags}) if {tags} else b"\\0")')

    def _write_tag(self, value: str, column: Column, tags: str) -> None:
        source, pieces, outer = self._source, self._source.name("pieces"), self._put
        if isinstance(column.type, ArrayOf):
            condition = f"{value}" if column.default is not None else f"{value} is not None"
        elif column.default is None:
            condition = f"{value} is not None"
        else:
            condition = f"{value} != {default_expression(column, source.scope)}"
        with source.at(*source.path, column.name), source.block(f"if {condition}:"):
            self._put = source.name("put")
            source.line(f"{pieces} = []; {self._put} = {pieces}.append")
            self._write(value, column.type, nullable=self._version in column.nullable)
            self._flush()
            source.line(f'{tags}.append(({column.tag}, b"".join({pieces})))')
            self._put = outer

    def _write(self, value: str, wire_type: WireType, *, nullable: bool) -> None:
        """Write the value of an expression."""
        match wire_type:
            case Fixed(code=code):
                self._due(code, value)
            case Variable():
                self._write_variable(value, wire_type, nullable=nullable)
            case ArrayOf():
                self._write_array(value, wire_type.element, nullable=nullable)
            case type():
                self._write_nested(value, wire_type, nullable=nullable)
            case _:
                assert_never(wire_type)

    def _write_nested(self, value: str, cls: type[Struct], *, nullable: bool) -> None:
        source, nested = self._source, self._source.name("struct")
        source.line(f"{nested} = {value}")
        if not nullable:
            self._write_struct(nested, cls)
            return
        self._flush()
        with source.block(f"if {nested} is None:"):
            source.line(f'{self._put}(b"\\xff")')
        with source.block("else:"):
            self._due("b", "1")
            self._write_struct(nested, cls)
            self._flush()

    def _write_length(self, length: str, code: str) -> None:
        """Write a length, in front of it whatever is due. Flexible lengths are one more, so that 0 means null."""
        source = self._source
        if not self._flexible:
            self._due(code, length)
            self._flush()
            return
        run = list(self._run)
        self._due("B", length)
        together, self._run = self._run, []
        with source.at(_span(together)):
            piece = self._pack(together) if run else f"UVARINT[{length}]"
            source.line(f"if {length} < 128: {self._put}({piece})")
        with source.block("else:"):
            self._run = run
            self._flush()
            source.line(f"{self._put}(uvarint({length}))")

    def _write_variable(self, value: str, variable: Variable, *, nullable: bool) -> None:
        source, content, length = self._source, self._source.name("content"), self._source.name("length")
        source.line(f"{content} = {value}")
        encode = f"{content} = {content}.encode(); " if variable.kind == "str" else ""
        measure = "records_size" if variable.kind == "records" else "len"
        measured = f"{encode}{length} = {measure}({content}){' + 1' if self._flexible else ''}"
        if nullable:
            source.line(f'if {content} is None: {content} = b""; {length} = {0 if self._flexible else -1}')
            source.line(f"else: {measured}")
        else:
            source.line(measured)
        self._write_length(length, _LENGTH_CODES[variable.kind])
        if variable.kind == "records":
            assert self._put == "put", "records inside a tagged field"
            size, empty = (f"{length} - 1", 1) if self._flexible else (length, 0)
            source.line(f"if {length} > {empty}: put_records({content}, {size}, parts, buffers)")
        else:
            source.line(f"{self._put}({content})")

    def _write_array(self, value: str, element: WireType, *, nullable: bool) -> None:
        source = self._source
        array, length, item = source.name("array"), source.name("length"), source.name("item")
        source.line(f"{array} = {value}")
        measured = f"{length} = len({array}){' + 1' if self._flexible else ''}"
        if nullable:
            source.line(f"if {array} is None: {array} = (); {length} = {0 if self._flexible else -1}")
            source.line(f"else: {measured}")
        else:
            source.line(measured)
        if isinstance(element, Fixed) and len(element.code) == 1:
            self._write_integers(array, length, element.code)
            return
        self._write_length(length, "i")
        with source.block(f"for {item} in {array}:"):
            if isinstance(element, type):
                self._write_struct(item, element)
            else:
                self._write(item, element, nullable=False)
            self._flush()

    def _write_integers(self, array: str, length: str, code: str) -> None:
        """Write what is due, a length and an array of integers: one `pack` where the length takes a fixed size."""
        source, run = self._source, self._run
        self._run = []
        values = "".join(f"{due.value}, " for due in run)
        prefix = "".join(due.code for due in run) + ("B" if self._flexible else "i")
        together = f"{self._put}({self._array_packer(prefix, code)}[len({array})]({values}{length}, *{array}))"
        with source.at(_span([*run, _Due("", "", source.path)])):
            source.line(f"if {length} < 128: {together}" if self._flexible else together)
        if not self._flexible:
            return
        with source.block("else:"):
            self._run = run
            self._flush()
            source.line(f"{self._put}(uvarint({length}))")
            source.line(f"{self._put}({self._array_packer('', code)}[len({array})](*{array}))")

    def _array_packer(self, prefix: str, code: str) -> str:
        name = f"pack_{prefix}_array_{code}".replace("16s", "u").replace("?", "t")
        self._source.scope[name] = _array_packers(prefix, code)
        return name


def _span(run: list[_Due]) -> str:
    """The fields of a run, which one `pack` writes: it does not say which of them it could not."""
    first, last = ".".join(run[0].path), ".".join(run[-1].path)
    return first if first == last else f"{first} to {last}"
