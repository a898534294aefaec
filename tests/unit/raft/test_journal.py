"""The journal gives back what was synced, or refuses; never something else."""

import random

import pytest

from controller.raft.barrier import StorageCorrupt, StorageFailed, sync_each
from controller.raft.journal import NO_OP, Entry, Identity, Journal, Standing
from tests.unit.raft.disk import Killed, MemoryDisk

PATH = "journal"
IDENTITY = Identity(1, (1, 2, 3))


def new_journal(disk: MemoryDisk) -> Journal:
    journal = Journal(disk, PATH, IDENTITY)
    journal.create(Standing.VOTER)
    return journal


def reopened(disk: MemoryDisk, identity: Identity = IDENTITY) -> Journal:
    journal = Journal(disk, PATH, identity)
    journal.recover()
    return journal


def fill(journal: Journal, last: int, term: int = 1) -> None:
    for index in range(journal.last.index + 1, last + 1):
        journal.add(b"\x00command %d" % index, index, term)


State = tuple[list[Entry], int, int | None, Standing]


def state(journal: Journal) -> State:
    return list(journal.entries(0, len(journal))), journal.term, journal.voted_for, journal.standing


def recorded(disk: MemoryDisk) -> tuple[bytes, list[tuple[int, State]]]:
    """A file with all kinds of records and syncs between them, and the state after each record by its end."""
    journal = new_journal(disk)
    rng = random.Random(1)
    history = [(journal.size_bytes, state(journal))]
    for step in range(60):
        dice = rng.random()
        if dice < 0.7:
            journal.add(rng.randbytes(rng.randrange(40)), journal.last.index + 1, 1 + step // 10)
        elif dice < 0.8:
            journal.set_term(1 + step // 10, rng.choice([None, 2, 3]))
        elif dice < 0.9 and len(journal) > 4:
            journal.add(b"other", journal.last.index - 2, journal.last.term + 1)
        else:
            sync_each(journal.barrier())
        history.append((journal.size_bytes, state(journal)))
    return disk.read(PATH), history


def expected_at(history: list[tuple[int, State]], cut: int) -> State:
    return [after for end, after in history if end <= cut][-1]


def test_a_journal_comes_back_as_it_was() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 10)
    journal.set_term(2, 3)
    journal.commit_index = 7
    journal.write_commit_hint()
    again = reopened(disk)
    assert state(again) == state(journal)
    assert again.commit_index == 7


def test_a_file_cut_at_any_byte_gives_the_records_before_the_cut_or_is_refused() -> None:
    data, history = recorded(MemoryDisk())
    initial = history[0][0]
    for cut in range(len(data)):
        disk = MemoryDisk()
        disk.put(PATH, data[:cut])
        if cut < initial:
            with pytest.raises(StorageCorrupt):
                reopened(disk)
        else:
            assert state(reopened(disk)) == expected_at(history, cut), f"cut at {cut}"


def test_any_flipped_byte_is_refused_or_taken_for_a_torn_tail() -> None:
    data, history = recorded(MemoryDisk())
    refused = 0
    for place in range(len(data)):
        disk = MemoryDisk()
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        disk.put(PATH, bytes(damaged))
        try:
            recovered = state(reopened(disk))
        except StorageCorrupt:
            refused += 1
        else:
            assert recovered == expected_at(history, place), f"byte {place}"
    assert refused > len(data) // 2


def test_damage_below_what_a_later_record_knows_to_be_synced_is_refused() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 5)
    place = journal.size_bytes - 3
    sync_each(journal.barrier())
    fill(journal, 6)
    damaged = bytearray(disk.read(PATH))
    damaged[place] ^= 1
    disk.put(PATH, bytes(damaged))
    with pytest.raises(StorageCorrupt, match="had been synced"):
        reopened(disk)


def test_a_hole_in_the_unsynced_tail_is_cut_off() -> None:
    """A power loss may keep later sectors of what was never synced and lose earlier ones."""
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 5)
    sync_each(journal.barrier())
    synced = state(journal)
    start = journal.size_bytes
    fill(journal, 8)
    torn = bytearray(disk.read(PATH))
    torn[start : start + 20] = bytes(20)
    disk.put(PATH, bytes(torn))
    again = reopened(disk)
    assert state(again) == synced
    assert again.size_bytes == start == len(disk.read(PATH))


def test_a_zero_length_or_foreign_file_is_refused() -> None:
    for content in (b"", b"BLRAFTJ1", b"something else entirely" * 10):
        disk = MemoryDisk()
        disk.put(PATH, content)
        with pytest.raises(StorageCorrupt):
            reopened(disk)


def test_another_voters_journal_is_refused() -> None:
    disk = MemoryDisk()
    new_journal(disk)
    for identity in (Identity(2, (1, 2, 3)), Identity(1, (1, 2, 3, 4))):
        with pytest.raises(StorageCorrupt, match="belongs to voter 1"):
            reopened(disk, identity)


def test_a_failed_write_leaves_the_entry_out_of_memory_and_the_journal_unusable() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 3)
    before = state(journal)
    disk.free = 0
    with pytest.raises(StorageFailed):
        fill(journal, 4)
    assert state(journal) == before
    with pytest.raises(AssertionError):
        journal.add(b"", 4, 1)
    assert state(reopened(disk)) == before


def test_a_failed_sync_is_fail_stop() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 3)
    disk.sync_error = OSError(5, "input/output error")
    with pytest.raises(StorageFailed):
        sync_each(journal.barrier())


def test_an_entry_that_is_there_stays_with_what_follows_it() -> None:
    """Raft paper, AppendEntries step 3: delete only what conflicts."""
    journal = new_journal(MemoryDisk())
    fill(journal, 6)
    before = state(journal)
    journal.add(b"\x00command 3", 3, 1)
    assert state(journal) == before


def test_a_conflicting_entry_cuts_off_what_follows_it_also_on_the_disk() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 6)
    journal.add(b"other", 4, 2)
    assert [entry.index for entry in journal.entries(0, 9)] == [1, 2, 3, 4]
    assert state(reopened(disk)) == state(journal)


def test_a_conflict_with_a_committed_entry_stops_the_voter() -> None:
    journal = new_journal(MemoryDisk())
    fill(journal, 6)
    journal.commit_index = 4
    with pytest.raises(AssertionError, match="conflicts with a committed one"):
        journal.add(b"other", 4, 2)


def test_a_commit_hint_beyond_the_log_is_cut_to_the_log() -> None:
    """Otherwise a leader would apply new entries without asking anybody."""
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 10)
    journal.commit_index = 100
    journal.write_commit_hint()
    assert reopened(disk).commit_index == 10


@pytest.mark.parametrize("power", [False, True])
def test_a_trim_that_dies_anywhere_leaves_the_old_log_or_the_new(power: bool) -> None:
    steps = _steps_of_a_trim()
    for step in range(1, steps + 1):
        disk = MemoryDisk()
        journal = new_journal(disk)
        fill(journal, 50)
        sync_each(journal.barrier())
        disk.die_at = disk.steps + step
        with pytest.raises(Killed):
            sync_each(journal.trim(20))
        disk.die_at = -1
        if power:
            disk.power_loss(random.Random(step), scatter=True)
        again = reopened(disk)
        assert again.first.index in (1, 20)
        assert again.last.index == 50


def _steps_of_a_trim() -> int:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 50)
    sync_each(journal.barrier())
    before = disk.steps
    sync_each(journal.trim(20))
    return disk.steps - before


def test_a_trimmed_journal_keeps_term_vote_and_standing() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    fill(journal, 10)
    journal.set_meta(4, 2, Standing.OBSERVER)
    sync_each(journal.trim(8))
    assert state(reopened(disk)) == state(journal)
    assert (journal.first.index, journal.term, journal.voted_for) == (8, 4, 2)
    sync_each(journal.reset(30, 3))
    assert state(reopened(disk)) == ([Entry(NO_OP, 30, 3)], 4, 2, Standing.OBSERVER)


def test_one_sync_covers_entries_and_vote() -> None:
    disk = MemoryDisk()
    journal = new_journal(disk)
    syncs = disk.syncs
    fill(journal, 20)
    journal.set_term(1, 1)
    sync_each(journal.barrier())
    sync_each(journal.barrier())
    assert disk.syncs == syncs + 1


def test_a_batch_holds_at_least_one_entry_and_no_more_than_fit() -> None:
    journal = new_journal(MemoryDisk())
    for index in range(2, 8):
        journal.add(bytes(10), index, 1)
    assert [entry.index for entry in journal.batch(3, 25)] == [3, 4]
    assert [entry.index for entry in journal.batch(3, 1)] == [3]
    assert list(journal.batch(8, 25)) == []
