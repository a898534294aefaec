"""Where `consume` begins: `beginning`, `end`, an offset, the last so many, a time, a time ago. Pure.

beginning   end   42   -10 (the last ten of each partition)   2026-03-01T12:00:00Z   @1767225600000 (ms)   10m (ago)
"""

from dataclasses import dataclass
from datetime import datetime

from client.cli.options import duration_ms


class PositionError(ValueError):
    """A text that names no place in a log."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first record there is."""


@dataclass(frozen=True, slots=True)
class End:
    """The next record to be written."""


@dataclass(frozen=True, slots=True)
class AtOffset:
    """0 <= offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class Last:
    """So many records before the end of each partition, fewer if there are no more."""

    records: int


@dataclass(frozen=True, slots=True)
class Since:
    """The first record with a timestamp of at least so many ms since the Unix epoch."""

    timestamp_ms: int


Position = Beginning | End | AtOffset | Last | Since


def parse_position(text: str, now_ms: int) -> Position:
    """`now_ms` is the wall clock. A time without a zone is local. Raises PositionError."""
    text = text.strip()
    if text in ("beginning", "earliest"):
        return Beginning()
    if text in ("end", "latest"):
        return End()
    if text.isascii() and text.isdigit():
        return AtOffset(int(text))
    if text.startswith("-") and text[1:].isascii() and text[1:].isdigit():
        return Last(int(text[1:]))
    if text.startswith("@") and text[1:].isascii() and text[1:].isdigit():
        return Since(int(text[1:]))
    ago_ms = duration_ms(text)
    if ago_ms is not None:
        return Since(max(0, now_ms - ago_ms))
    try:
        return Since(round(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise PositionError(
            f"{text!r} is no place to begin: it takes beginning, end, an offset, -N for the last N, "
            "2026-03-01T12:00:00, @MILLISECONDS, or 10m for ten minutes ago"
        ) from None
