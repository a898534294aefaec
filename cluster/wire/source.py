"""The source text of one generated function: lines, indentation, fresh names, and the field that each line serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from struct import Struct
from typing import Any


@cache
def _big_endian(codes: str) -> Struct:
    return Struct(f">{codes}")


class Source:
    """A function under construction. `scope` becomes its globals."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        #: For each line the dotted path of the field that it serves; complete when the function is compiled.
        self.fields: list[str] = []
        self._lines: list[str] = []
        self._path: tuple[str, ...] = ()
        self._indent = 0
        self._names = 0

    @property
    def path(self) -> tuple[str, ...]:
        """The field that is being served."""
        return self._path

    def line(self, text: str) -> None:
        self._lines.append("    " * self._indent + text)
        self.fields.append(".".join(self._path))

    @contextmanager
    def block(self, opening: str) -> Iterator[None]:
        """Lines written inside are indented below `opening`."""
        self.line(opening)
        self._indent += 1
        yield
        self._indent -= 1

    @contextmanager
    def at(self, *path: str) -> Iterator[None]:
        """Lines written inside serve the field at `path`."""
        before, self._path = self._path, path
        yield
        self._path = before

    def name(self, prefix: str) -> str:
        """A local name that is not in use yet."""
        self._names += 1
        return f"{prefix}{self._names}"

    def unpacker(self, codes: str) -> str:
        """The name of `unpack_from` for the big-endian format `codes`."""
        name = f"unpack_{_identifier(codes)}"
        self.scope[name] = _big_endian(codes).unpack_from
        return name

    def packer(self, codes: str) -> str:
        """The name of `pack` for the big-endian format `codes`."""
        name = f"pack_{_identifier(codes)}"
        self.scope[name] = _big_endian(codes).pack
        return name

    def compile(self, function: str, filename: str) -> Any:
        """The function named `function` that the lines define."""
        exec(compile("\n".join(self._lines), filename, "exec"), self.scope)
        return self.scope.pop(function)


def _identifier(codes: str) -> str:
    return codes.replace("?", "t").replace("16s", "u")
