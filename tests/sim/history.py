"""What clients saw: every write with its outcome, every record read; and what must not be in it.

Owns the list of anomalies: lost-write (acknowledged and not there), duplicate, inconsistent-offsets (two values at one
offset), gap, failed-write (refused for certain and there), phantom-read, dirty-read (read before it was committed),
stale-hw (the end of the log went back for one client), ack-order (the order of offsets against that of time). Never
looks into servers.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from cluster.ids import TopicPartition
from tests.sim.loop import Violation


class Outcome(Enum):
    OK = auto()
    #: It certainly did not happen and never will.
    FAIL = auto()
    #: It may have happened, or may yet happen.
    UNKNOWN = auto()


@dataclass(slots=True)
class Write:
    """One batch. `offset` is that of its first value; None without an acknowledgement, or when that named none."""

    partition: TopicPartition
    values: tuple[int, ...]
    invoked_s: float
    outcome: Outcome = Outcome.UNKNOWN
    completed_s: float = -1.0
    offset: int | None = None


@dataclass(slots=True)
class History:
    writes: list[Write] = field(default_factory=list)
    reads: int = 0
    acknowledged: int = 0
    _next_value: int = 0
    _at: dict[tuple[TopicPartition, int], int] = field(default_factory=dict)
    _where: dict[int, tuple[TopicPartition, int]] = field(default_factory=dict)
    _written: dict[int, Write] = field(default_factory=dict)

    def begin(self, partition: TopicPartition, count: int, now_s: float) -> Write:
        """A write of `count` new values."""
        values = tuple(range(self._next_value, self._next_value + count))
        self._next_value += count
        write = Write(partition, values, now_s)
        self.writes.append(write)
        for value in values:
            self._written[value] = write
        return write

    def end(self, write: Write, outcome: Outcome, offset: int | None, now_s: float) -> None:
        write.outcome, write.offset, write.completed_s = outcome, offset, now_s
        if outcome is Outcome.OK:
            self.acknowledged += len(write.values)
            if offset is not None:
                for place, value in enumerate(write.values):
                    self._place(write.partition, offset + place, value, "acknowledged")

    def on_read(self, partition: TopicPartition, offset: int, value: int) -> None:
        self.reads += 1
        write = self._written.get(value)
        if write is None or write.partition != partition:
            raise Violation(f"phantom-read: {value} at {partition}@{offset}, which nobody wrote there")
        if write.outcome is Outcome.FAIL:
            raise Violation(f"failed-write: {value} at {partition}@{offset} was refused at {write.completed_s}")
        self._place(partition, offset, value, "read")

    def check_complete(self, logs: dict[TopicPartition, list[int]]) -> None:
        """`logs` is what is in each partition at the end, from offset 0 on."""
        for partition, values in logs.items():
            for offset, value in enumerate(values):
                self.on_read(partition, offset, value)
        for write in self.writes:
            if write.outcome is Outcome.OK:
                for value in write.values:
                    if value not in self._where or not self._is_in(logs, value):
                        raise Violation(
                            f"lost-write: {value} of {write.partition}, acknowledged at {write.completed_s:.3f} s "
                            f"with offset {write.offset}"
                        )
        self._check_order()

    def _is_in(self, logs: dict[TopicPartition, list[int]], value: int) -> bool:
        partition, offset = self._where[value]
        log = logs.get(partition, [])
        return offset < len(log) and log[offset] == value

    def _place(self, partition: TopicPartition, offset: int, value: int, how: str) -> None:
        there = self._at.setdefault((partition, offset), value)
        if there != value:
            raise Violation(f"inconsistent-offsets: {partition}@{offset} is {there} and, {how}, {value}")
        where = self._where.setdefault(value, (partition, offset))
        if where != (partition, offset):
            raise Violation(f"duplicate: {value} is at {where} and, {how}, at {partition}@{offset}")

    def _check_order(self) -> None:
        """What was acknowledged before another write began has the lower offset."""
        ended = sorted(
            (write for write in self.writes if write.outcome is Outcome.OK and write.offset is not None),
            key=lambda write: write.completed_s,
        )
        begun = sorted(ended, key=lambda write: write.invoked_s)
        highest: dict[TopicPartition, int] = {}
        place = 0
        for write in begun:
            while place < len(ended) and ended[place].completed_s < write.invoked_s:
                earlier = ended[place]
                assert earlier.offset is not None
                highest[earlier.partition] = max(highest.get(earlier.partition, -1), earlier.offset)
                place += 1
            assert write.offset is not None
            if write.offset <= highest.get(write.partition, -1):
                raise Violation(f"ack-order: {write} has a lower offset than one that was acknowledged before it began")
