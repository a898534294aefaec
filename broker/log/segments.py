"""The segments of one log in the order of their offsets; the last one is active.

Owns finding the segment of an offset. Never opens a file.
"""

from bisect import bisect_right
from collections.abc import Iterator

from broker.log.segment import Segment


class SegmentList:
    """Never empty once its log is loaded; base offsets grow strictly."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._bases: list[int] = []

    def __len__(self) -> int:
        return len(self._segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._segments)

    @property
    def first(self) -> Segment:
        return self._segments[0]

    @property
    def active(self) -> Segment:
        return self._segments[-1]

    def append(self, segment: Segment) -> None:
        assert not self._bases or segment.base_offset > self._bases[-1]
        self._segments.append(segment)
        self._bases.append(segment.base_offset)

    def pop_first(self) -> Segment:
        del self._bases[0]
        return self._segments.pop(0)

    def pop_last(self) -> Segment:
        del self._bases[-1]
        return self._segments.pop()

    def floor(self, offset: int) -> Segment:
        """The segment that `offset` belongs to; the first one for an offset below all of them."""
        return self._segments[max(bisect_right(self._bases, offset) - 1, 0)]

    def from_offset(self, offset: int) -> list[Segment]:
        """The segment that `offset` belongs to, and all behind it."""
        return self._segments[max(bisect_right(self._bases, offset) - 1, 0) :]

    def end_of(self, segment: Segment, log_end_offset: int) -> int:
        """The base offset of the segment behind `segment`, or `log_end_offset`."""
        at = bisect_right(self._bases, segment.base_offset)
        return self._bases[at] if at < len(self._bases) else log_end_offset
