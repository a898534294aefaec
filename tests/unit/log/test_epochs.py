"""The epochs of a log answer where two logs part (KIP-101, KIP-279)."""

from hypothesis import given
from hypothesis import strategies as st

from broker.log.epochs import EpochEnd, LeaderEpochs

#: The leader epoch of each offset of a log, never falling.
logs = st.lists(st.integers(0, 6), max_size=30).map(sorted)


def epochs_of(log: list[int]) -> LeaderEpochs:
    epochs = LeaderEpochs()
    for offset, epoch in enumerate(log):
        if epoch > epochs.latest:
            epochs.assign(epoch, offset)
    return epochs


@given(log=logs, asked=st.integers(0, 8))
def test_the_end_of_an_epoch_is_behind_its_last_record(log: list[int], asked: int) -> None:
    answer = epochs_of(log).end_offset_for(asked, len(log))
    if not log or asked > log[-1]:
        assert answer == EpochEnd(-1, -1)
    else:
        below = [epoch for epoch in log if epoch <= asked]
        assert answer == EpochEnd(below[-1] if below else asked, len(below))


@given(log=logs, end=st.integers(0, 30))
def test_cutting_the_end_leaves_the_epochs_of_what_is_left(log: list[int], end: int) -> None:
    epochs = epochs_of(log)
    epochs.truncate_from_end(end)
    assert epochs.entries == epochs_of(log[:end]).entries


@given(log=logs.filter(len), data=st.data())
def test_cutting_the_start_keeps_the_epoch_of_every_offset_left(log: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(log) - 1))
    epochs = epochs_of(log)
    epochs.truncate_from_start(start)
    assert [epochs.epoch_of(offset) for offset in range(start, len(log))] == log[start:]
    assert epochs.entries[0][1] >= start


class History:
    """Two replicas through a succession of leaders; a record is (epoch, offset), which one leader alone can write."""

    def __init__(self, rounds: list[tuple[int, int, int]]) -> None:
        self.logs: list[list[tuple[int, int]]] = [[], []]
        self.leader = 0
        for epoch, (leader, appended, copied) in enumerate(rounds):
            self.leader = leader
            log = self.logs[leader]
            log += [(epoch, len(log) + number) for number in range(appended)]
            if copied:
                common = self.common_prefix()
                self.logs[1 - leader] = log[: common + copied]
        self.epoch = len(rounds) - 1

    def common_prefix(self) -> int:
        pairs = list(zip(*self.logs, strict=False))
        return next((offset for offset, (one, other) in enumerate(pairs) if one != other), len(pairs))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_asking_until_the_epochs_agree_cuts_exactly_what_the_leader_lacks(rounds: list[tuple[int, int, int]]) -> None:
    """KIP-279: also after elections that followed each other faster than replication."""
    history = History(rounds)
    leader_log, follower_log = history.logs[history.leader], history.logs[1 - history.leader]
    leader = epochs_of([epoch for epoch, _ in leader_log])
    if leader.latest < history.epoch:
        leader.assign(history.epoch, len(leader_log))  # as a leader does before it appends
    follower = epochs_of([epoch for epoch, _ in follower_log])
    end = len(follower_log)
    for _ in range(len(rounds) + 1):
        answer = leader.end_offset_for(follower.latest, len(leader_log))
        if not end or (answer.epoch == follower.latest and answer.end_offset >= end):
            break
        end = min(answer.end_offset, follower.end_offset_for(answer.epoch, end).end_offset)
        follower.truncate_from_end(end)
    assert end == history.common_prefix()


def test_a_new_leader_replaces_an_epoch_that_wrote_nothing() -> None:
    epochs = LeaderEpochs([(1, 0), (2, 5)])
    epochs.assign(4, 5)
    assert epochs.entries == [(1, 0), (4, 5)]


def test_an_epoch_keeps_its_first_start() -> None:
    epochs = LeaderEpochs([(1, 0)])
    version = epochs.version
    epochs.assign(1, 7)
    assert epochs.entries == [(1, 0)]
    assert epochs.version == version


def test_every_change_is_counted() -> None:
    epochs = LeaderEpochs([(1, 0), (2, 5), (3, 9)])
    seen = {epochs.version}
    epochs.truncate_from_end(9)
    seen.add(epochs.version)
    epochs.truncate_from_start(2)
    seen.add(epochs.version)
    epochs.clear()
    seen.add(epochs.version)
    assert len(seen) == 4
