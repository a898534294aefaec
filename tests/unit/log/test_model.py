"""A log against a list: any sequence of appends, reads, truncations, stops and crashes.

The list knows which batches are there, which of them are durable, and what each producer sent last.
"""

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.records.batch import iterate_batches
from tests.unit.log.logs import (
    NOW,
    Broker,
    assert_derived_state_is_a_rebuild,
    idempotent,
    plain,
    read_bytes,
    records_of,
)

values = st.lists(st.binary(max_size=60), min_size=1, max_size=4)


class LogAgainstList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp(prefix="log-model-"))
        self.broker = Broker(self.scratch / "0")
        self.lives = 0
        self.epoch = 0
        #: (value of each record) of every batch.
        self.batches: list[list[bytes]] = []
        self.durable = 0
        self.sequence = 0

    def teardown(self) -> None:
        self.broker.kill()
        shutil.rmtree(self.scratch)

    @initialize(epoch=st.integers(0, 3))
    def start(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def end(self) -> int:
        return sum(map(len, self.batches))

    def end_of(self, count: int) -> int:
        return sum(map(len, self.batches[:count]))

    # --- What happens to it

    @rule(records=values, delta=st.integers(0, 50))
    def append(self, records: list[bytes], delta: int) -> None:
        data = plain(*records, timestamp=NOW + delta)
        assert self.broker.log.append_as_leader(data, self.epoch, NOW).base_offset == self.end
        self.batches.append(records)

    @rule(records=values)
    def append_idempotent(self, records: list[bytes]) -> None:
        data = idempotent(7, self.sequence, *records, epoch=self.epoch)
        again = bytearray(data)
        info = self.broker.log.append_as_leader(data, self.epoch, NOW)
        assert (info.base_offset, info.duplicate) == (self.end, False)
        repeated = self.broker.log.append_as_leader(again, self.epoch, NOW)
        assert (repeated.base_offset, repeated.duplicate) == (self.end, True)
        self.batches.append(records)
        self.sequence += len(records)

    @rule()
    def new_leader(self) -> None:
        self.epoch += 1
        self.sequence = 0
        self.broker.log.start_epoch(self.epoch)

    @rule()
    def roll(self) -> None:
        self.broker.log.roll()

    @rule()
    def flush(self) -> None:
        self.broker.flush()
        self.durable = len(self.batches)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.end))
        kept = 0
        while kept < len(self.batches) and self.end_of(kept + 1) <= offset:
            kept += 1
        assert self.broker.log.truncate_to(offset) == self.end_of(kept)
        del self.batches[kept:]
        self.durable = min(self.durable, kept)
        self.new_leader()

    @rule()
    def stop_and_start(self) -> None:
        self.broker.stop()
        assert self.broker.start().recovery_point == self.end
        self.durable = len(self.batches)

    @rule(seed=st.integers(0, 1 << 30))
    def lose_power(self, seed: int) -> None:
        """The directory as it is, less an arbitrary part of what was not synced, and noise where that was."""
        chance = random.Random(seed)
        self.broker.kill()
        self.lives += 1
        root = self.scratch / str(self.lives)
        shutil.copytree(self.broker.root, root)
        durable_end = self.end_of(self.durable)
        before = sorted(self.broker.folder.glob("*.log"))
        self.broker.root = root
        self.tear(before, durable_end, chance)
        self.broker.start()
        survivors = 0
        log = self.broker.log
        while survivors < len(self.batches) and self.end_of(survivors + 1) <= log.log_end_offset:
            survivors += 1
        assert log.log_end_offset == self.end_of(survivors)
        assert survivors >= self.durable
        del self.batches[survivors:]
        self.new_leader()

    def tear(self, before: list[Path], durable_end: int, chance: random.Random) -> None:
        bases = [int(path.stem) for path in before]
        for number, base in enumerate(bases):
            path = self.broker.folder / before[number].name
            following = bases[number + 1] if number + 1 < len(bases) else self.end
            if following <= durable_end:
                continue
            size = path.stat().st_size
            keep = self.bytes_below(before[number], durable_end)
            cut = chance.randint(keep, size)
            if base >= durable_end and chance.random() < 0.3 and base > 0:
                path.unlink()
                continue
            with path.open("r+b") as file:
                file.truncate(cut)
                if chance.random() < 0.5:
                    file.seek(cut)
                    file.write(bytes(size - cut) if chance.random() < 0.5 else chance.randbytes(size - cut))

    @staticmethod
    def bytes_below(path: Path, offset: int) -> int:
        return sum(header.size for _, header in iterate_batches(path.read_bytes()) if header.base_offset < offset)

    # --- What always holds

    @rule(max_bytes=st.integers(1, 900), data=st.data())
    def read_somewhere(self, max_bytes: int, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, self.end))
        limit = data.draw(st.integers(0, self.end))
        piece = self.broker.log.read(offset, max_bytes, limit)
        flat = [value for batch in self.batches for value in batch]
        records = records_of(piece.data)
        assert [record.value for record in records] == flat[piece.base_offset : piece.next_offset]
        assert piece.next_offset <= max(limit, offset)
        if records:
            assert piece.base_offset <= offset < piece.next_offset

    @invariant()
    def it_is_the_list(self) -> None:
        log = self.broker.log
        assert log.log_end_offset == self.end
        assert log.recovery_point <= log.log_end_offset
        flat = [value for batch in self.batches for value in batch]
        assert [record.value for record in records_of(read_bytes(log, 300))] == flat

    @rule()
    def it_is_a_rebuild(self) -> None:
        assert_derived_state_is_a_rebuild(self.broker)


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
