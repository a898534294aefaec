"""Where the newest batches of a log start: reads at its end need neither index nor search on disk.

Owns two sorted arrays of bounded length. Never reads the disk; forgetting is always allowed.
"""

from array import array
from bisect import bisect_right
from typing import Final

#: Batches remembered; half of them are forgotten at a time.
TAIL_BATCHES_MAX: Final = 2048


class BatchTail:
    """(base offset, position) of the last batches of the active segment, without gaps up to its end."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._positions = array("q")

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, base_offset: int, position: int) -> None:
        offsets = self._offsets
        if len(offsets) >= TAIL_BATCHES_MAX:
            del offsets[: TAIL_BATCHES_MAX // 2]
            del self._positions[: TAIL_BATCHES_MAX // 2]
        offsets.append(base_offset)
        self._positions.append(position)

    def clear(self) -> None:
        del self._offsets[:]
        del self._positions[:]

    def batch_of(self, offset: int) -> tuple[int, int] | None:
        """(base offset, position) of the last batch that starts at or below `offset`; None when it is not remembered.

        For an offset at or above the end of the log this is the last batch.
        """
        at = bisect_right(self._offsets, offset) - 1
        return (self._offsets[at], self._positions[at]) if at >= 0 else None

    def batch_at(self, position: int) -> tuple[int, int] | None:
        """(base offset, position) of the last batch that starts at or before `position`; None when not remembered."""
        at = bisect_right(self._positions, position) - 1
        return (self._offsets[at], self._positions[at]) if at >= 0 else None

    def batch_after(self, position: int) -> tuple[int, int] | None:
        """(base offset, position) of the first batch that starts behind `position`; None when there is none."""
        at = bisect_right(self._positions, position)
        return (self._offsets[at], self._positions[at]) if at < len(self._positions) else None
