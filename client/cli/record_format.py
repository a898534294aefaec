"""How `consume` prints a record: a format in the style of kcat, or a line of JSON. Pure.

    %t topic      %p partition   %o offset    %T timestamp in ms    %h headers as name=value,name=value
    %k key        %K its length  %s value     %S its length         %% a percent sign      \\n \\t \\r \\0 \\\\
"""

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from client.fetched import ConsumerRecord

Render = Callable[[ConsumerRecord], bytes]

_ESCAPES: Final = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\"}
_LENGTH_OF_NULL: Final = -1


class FormatError(ValueError):
    """A format that has no meaning; says where."""


def _headers(record: ConsumerRecord) -> bytes:
    return b",".join(name.encode() + b"=" + (b"NULL" if value is None else value) for name, value in record.headers)


def _size(data: bytes | None) -> bytes:
    return b"%d" % (_LENGTH_OF_NULL if data is None else len(data))


_TOKENS: Final[dict[str, Render]] = {
    "t": lambda record: record.topic.encode(),
    "p": lambda record: b"%d" % record.partition,
    "o": lambda record: b"%d" % record.offset,
    "T": lambda record: b"%d" % record.timestamp,
    "k": lambda record: record.key or b"",
    "K": lambda record: _size(record.key),
    "s": lambda record: record.value or b"",
    "S": lambda record: _size(record.value),
    "h": _headers,
    "%": lambda record: b"%",
}


def compile_format(text: str) -> Render:
    """What prints a record as `text` says. Raises FormatError."""
    pieces: list[bytes | Render] = []
    position = 0
    while position < len(text):
        mark = text[position]
        if mark not in "%\\":
            pieces.append(mark.encode())
            position += 1
            continue
        follows = text[position + 1 : position + 2]
        known: dict[str, Any] = _TOKENS if mark == "%" else _ESCAPES
        if follows not in known:
            allowed = " ".join(mark + each for each in known)
            raise FormatError(f"{mark + follows!r} at position {position} means nothing; there are {allowed}")
        pieces.append(known[follows])
        position += 2
    merged = _merged(pieces)
    return lambda record: b"".join(piece if isinstance(piece, bytes) else piece(record) for piece in merged)


def _merged(pieces: list[bytes | Render]) -> list[bytes | Render]:
    """Text that stands together as one piece."""
    merged: list[bytes | Render] = []
    for piece in pieces:
        if merged and isinstance(piece, bytes) and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def render_json(record: ConsumerRecord) -> bytes:
    """One line. What is not UTF-8 stands under `..._base64` in place of its plain name."""
    content: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        **_text("key", record.key),
        **_text("value", record.value),
    }
    if record.headers:
        content["headers"] = [{"name": name, **_text("value", value)} for name, value in record.headers]
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _text(name: str, data: bytes | None) -> dict[str, str | None]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
