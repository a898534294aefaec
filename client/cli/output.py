"""How commands print: tables whose columns line up, and JSON. Pure: everything here returns text."""

import json
from collections.abc import Iterable, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns side by side, two spaces apart, with their names above; the last one may have any width."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    widths[-1] = 0
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def count(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def joined(numbers: Iterable[int]) -> str:
    """`1,2,3`, and `-` for none."""
    return ",".join(map(str, numbers)) or "-"
