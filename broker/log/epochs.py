"""Which leader epoch wrote which part of a log: the answer to "where do our logs part?".

Owns the list of (epoch, start offset). Never touches a disk: `partition_log` keeps the checkpoint.
Source: KIP-101, KIP-279.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, NamedTuple

#: Kafka's "unknown" for an epoch and for an offset.
UNDEFINED_EPOCH: Final = -1
UNDEFINED_OFFSET: Final = -1


class EpochEnd(NamedTuple):
    """An epoch and the offset behind its last record; both -1 when nothing is known."""

    epoch: int
    end_offset: int


class LeaderEpochs:
    """The epochs of one log. Epochs and start offsets both grow strictly along the list."""

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        #: Counts changes, so that a writer of checkpoints can tell whether one is due.
        self.version = 0
        for epoch, start_offset in entries:
            self.assign(epoch, start_offset)

    @property
    def entries(self) -> list[tuple[int, int]]:
        return list(zip(self._epochs, self._starts, strict=True))

    @property
    def latest(self) -> int:
        return self._epochs[-1] if self._epochs else UNDEFINED_EPOCH

    def assign(self, epoch: int, start_offset: int) -> None:
        """Records from `start_offset` on belong to `epoch`. What was known of that epoch or offset before gives way."""
        assert epoch >= 0
        assert start_offset >= 0
        if self._epochs and epoch == self._epochs[-1] and start_offset >= self._starts[-1]:
            return
        while self._epochs and (self._epochs[-1] >= epoch or self._starts[-1] >= start_offset):
            self._epochs.pop()
            self._starts.pop()
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        self.version += 1

    def epoch_of(self, offset: int) -> int:
        """The epoch that wrote `offset`, or -1."""
        at = bisect_right(self._starts, offset) - 1
        return self._epochs[at] if at >= 0 else UNDEFINED_EPOCH

    def end_offset_for(self, epoch: int, log_end_offset: int) -> EpochEnd:
        """The largest known epoch that is at most `epoch`, and where it ends.

        The latest epoch ends at `log_end_offset`. An epoch beyond the latest is unknown (-1, -1). One below the first
        known ends where that begins: everything of it is gone.
        """
        if epoch < 0 or not self._epochs or epoch > self._epochs[-1]:
            return EpochEnd(UNDEFINED_EPOCH, UNDEFINED_OFFSET)
        if epoch == self._epochs[-1]:
            return EpochEnd(epoch, log_end_offset)
        higher = bisect_right(self._epochs, epoch)
        floor = self._epochs[higher - 1] if higher else epoch
        return EpochEnd(floor, self._starts[higher])

    def truncate_from_end(self, end_offset: int) -> None:
        """Forget every epoch that starts at or above `end_offset`."""
        while self._starts and self._starts[-1] >= end_offset:
            self._epochs.pop()
            self._starts.pop()
            self.version += 1

    def truncate_from_start(self, start_offset: int) -> None:
        """Forget what lies below `start_offset`; the epoch that reaches across it then starts there."""
        last_below = bisect_right(self._starts, start_offset) - 1
        if last_below < 0 or (last_below == 0 and self._starts[0] == start_offset):
            return
        del self._epochs[:last_below]
        del self._starts[:last_below]
        self._starts[0] = start_offset
        self.version += 1

    def clear(self) -> None:
        if self._epochs:
            self._epochs.clear()
            self._starts.clear()
            self.version += 1
