"""A snapshot is whole or it is none, on the disk and on the way."""

import random

import pytest

from controller.raft.barrier import StorageCorrupt, StorageFailed, sync_each
from controller.raft.snapshot import IncomingSnapshot, Snapshot, SnapshotStore, decode_snapshot, encode_snapshot
from tests.unit.raft.disk import Killed, MemoryDisk

PATH = "snapshot"
SOURCE = (1, 7, 30, 6)


def snapshot(last_index: int = 30) -> Snapshot:
    return Snapshot(last_index=last_index, last_term=6, state=b"some state " * 20)


def test_a_snapshot_comes_back_as_it_was() -> None:
    store = SnapshotStore(MemoryDisk(), PATH, 1000)
    assert store.load() is None
    sync_each(store.save(snapshot()))
    assert store.load() == snapshot()


def test_any_damage_is_refused() -> None:
    data = encode_snapshot(snapshot())
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(ValueError):
            decode_snapshot(bytes(damaged))
        with pytest.raises(ValueError):
            decode_snapshot(data[:place])
    with pytest.raises(ValueError):
        decode_snapshot(data + b"x")


def test_an_unreadable_snapshot_is_not_taken_for_none() -> None:
    disk = MemoryDisk()
    disk.put(PATH, encode_snapshot(snapshot())[:-1])
    with pytest.raises(StorageCorrupt):
        SnapshotStore(disk, PATH, 1000).load()


def test_saving_that_dies_anywhere_leaves_the_old_snapshot_or_the_new() -> None:
    for step in range(1, 6):
        disk = MemoryDisk()
        store = SnapshotStore(disk, PATH, 1000)
        sync_each(store.save(snapshot(10)))
        disk.die_at = disk.steps + step
        try:
            sync_each(store.save(snapshot(20)))
        except Killed:
            disk.power_loss(random.Random(step), scatter=True)
        loaded = store.load()
        assert loaded is not None
        assert loaded.last_index in (10, 20)


def test_a_state_beyond_the_limit_is_not_saved() -> None:
    with pytest.raises(StorageFailed):
        sync_each(SnapshotStore(MemoryDisk(), PATH, 10).save(snapshot()))


def test_chunks_make_the_file_again() -> None:
    data = encode_snapshot(snapshot())
    incoming = IncomingSnapshot(1000)
    whole = None
    for offset in range(0, len(data), 50):
        assert whole is None
        whole = incoming.add(SOURCE, offset, len(data), data[offset : offset + 50])
    assert whole == data


def test_a_missing_repeated_or_foreign_chunk_drops_what_was_received() -> None:
    data = encode_snapshot(snapshot())
    for source, offset in ((SOURCE, 100), (SOURCE, 25), ((2, 7, 30, 6), 50)):
        incoming = IncomingSnapshot(1000)
        incoming.add(SOURCE, 0, len(data), data[:50])
        with pytest.raises(ValueError):
            incoming.add(source, offset, len(data), data[offset : offset + 50])
        with pytest.raises(ValueError):
            incoming.add(SOURCE, 50, len(data), data[50:100])


def test_an_announced_size_beyond_the_limit_is_refused_at_the_first_chunk() -> None:
    with pytest.raises(ValueError):
        IncomingSnapshot(1000).add(SOURCE, 0, 1 << 40, b"x")
