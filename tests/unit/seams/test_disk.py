"""What every Disk promises, whichever it is: each implementation runs the whole suite."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.host.disk import HostDisk
from cluster.seams import Disk
from cluster.storage import TEMPORARY_SUFFIX, read_file, replace_file
from tests.sim.disk import Medium, SimDisk

#: Name -> a new, empty disk.
DISKS: dict[str, Callable[[Path], Disk]] = {
    "host": lambda root: HostDisk(str(root / "disk")),
    "simulated": lambda _root: SimDisk(Medium(seed=1)),
}


@pytest.fixture(params=sorted(DISKS))
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DISKS[request.param](tmp_path)


def test_a_file_is_made_only_when_asked_for(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open("a")
    disk.open("a", create=True).close()
    assert disk.exists("a")
    assert disk.open("a").size() == 0


def test_creating_an_existing_file_keeps_its_content(disk: Disk) -> None:
    disk.open("a", create=True).pwrite([b"content"], 0)
    assert disk.open("a", create=True).pread(100, 0) == b"content"


def test_a_write_is_seen_at_once_through_every_open_file(disk: Disk) -> None:
    one, other = disk.open("a", create=True), disk.open("a")
    assert one.pwrite([b"hello"], 0) == 5
    assert other.pread(5, 0) == b"hello"
    assert other.size() == 5


def test_buffers_of_every_kind_are_written_one_behind_the_other(disk: Disk) -> None:
    file = disk.open("a", create=True)
    assert file.pwrite([b"ab", bytearray(b"cd"), memoryview(b"xefx")[1:3], b""], 3) == 6
    assert file.pread(100, 0) == b"\0\0\0abcdef"


def test_more_buffers_than_one_system_call_takes(disk: Disk) -> None:
    file = disk.open("a", create=True)
    assert file.pwrite([b"xy"] * 3_000, 0) == 6_000
    assert file.pread(6_001, 0) == b"xy" * 3_000


def test_a_read_is_short_only_at_the_end(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.pwrite([b"0123456789"], 0)
    assert file.pread(4, 8) == b"89"
    assert file.pread(4, 10) == b""
    assert file.pread(0, 0) == b""


def test_truncation_cuts_and_extends_with_zeros(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.pwrite([b"0123456789"], 0)
    file.truncate(4)
    assert (file.size(), file.pread(10, 0)) == (4, b"0123")
    file.truncate(6)
    assert file.pread(10, 0) == b"0123\0\0"


def test_both_syncs_return_and_leave_the_content(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.pwrite([b"x"], 0)
    file.sync()
    asyncio.run(file.sync_async())
    assert file.pread(2, 0) == b"x"


def test_a_file_may_be_closed_while_it_is_synced(disk: Disk) -> None:
    async def close_during_sync() -> None:
        file = disk.open("a", create=True)
        file.pwrite([b"x" * 100_000], 0)
        syncs = [asyncio.ensure_future(file.sync_async()) for _ in range(3)]
        await asyncio.sleep(0)
        file.close()
        await asyncio.gather(*syncs)

    asyncio.run(close_during_sync())
    assert disk.open("a").size() == 100_000


def test_a_second_close_is_nothing_and_a_closed_file_is_an_error(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.close()
    file.close()
    with pytest.raises(OSError):
        file.pread(1, 0)
    with pytest.raises(OSError):
        file.pwrite([b"x"], 0)
    with pytest.raises(OSError):
        file.sync()
    with pytest.raises(OSError):
        asyncio.run(file.sync_async())


def test_an_open_file_outlives_its_name(disk: Disk) -> None:
    file = disk.open("a", create=True)
    file.pwrite([b"still here"], 0)
    disk.unlink("a")
    assert not disk.exists("a")
    assert file.pread(100, 0) == b"still here"


def test_a_rename_replaces_a_file(disk: Disk) -> None:
    disk.open("old", create=True).pwrite([b"old"], 0)
    disk.open("new", create=True).pwrite([b"new"], 0)
    disk.rename("new", "old")
    assert disk.open("old").pread(9, 0) == b"new"
    assert not disk.exists("new")


def test_a_folder_may_be_renamed_with_what_is_in_it(disk: Disk) -> None:
    disk.mkdir("a/b")
    disk.open("a/b/file", create=True).pwrite([b"x"], 0)
    disk.rename("a", "c")
    assert disk.open("c/b/file").pread(9, 0) == b"x"
    assert not disk.exists("a")


def test_what_is_not_there_cannot_be_renamed_unlinked_or_listed(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "b")
    with pytest.raises(FileNotFoundError):
        disk.unlink("a")
    with pytest.raises(FileNotFoundError):
        disk.listdir("a")


def test_folders_are_made_with_their_parents_and_listed_in_order(disk: Disk) -> None:
    disk.mkdir("a/b")
    disk.mkdir("a/b")
    for name in ("z", "a", "m"):
        disk.open(f"a/{name}", create=True).close()
    assert disk.listdir("a") == ["a", "b", "m", "z"]
    assert disk.listdir("") == ["a"]
    assert disk.is_dir("a/b")
    assert not disk.is_dir("a/z")
    assert not disk.is_dir("nothing")


def test_only_an_empty_folder_is_removed(disk: Disk) -> None:
    disk.mkdir("a")
    disk.open("a/file", create=True).close()
    with pytest.raises(OSError) as caught:
        disk.rmdir("a")
    assert caught.value.errno == errno.ENOTEMPTY
    disk.unlink("a/file")
    disk.rmdir("a")
    assert not disk.exists("a")


def test_names_are_synced_by_folder_and_the_root_is_the_empty_path(disk: Disk) -> None:
    disk.mkdir("a")
    disk.fsync_dir("a")
    disk.fsync_dir("")
    with pytest.raises(FileNotFoundError):
        disk.fsync_dir("b")


def test_a_lock_is_held_by_one_until_it_is_closed(disk: Disk) -> None:
    lock = disk.lock("lock")
    with pytest.raises(BlockingIOError):
        disk.lock("lock")
    lock.close()
    disk.lock("lock").close()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc", "a//b", ".", "a/./b"])
def test_no_path_leaves_the_disk(disk: Disk, path: str) -> None:
    with pytest.raises(AssertionError):
        disk.open(path, create=True)


def test_there_is_room(disk: Disk) -> None:
    assert disk.free_bytes() > 0


@pytest.mark.parametrize("durable", [True, False])
def test_a_replaced_file_has_the_new_content_and_no_leftover(disk: Disk, durable: bool) -> None:
    disk.mkdir("a")
    replace_file(disk, "a/file", b"a longer first content", durable=durable)
    replace_file(disk, "a/file", b"second", durable=durable)
    assert read_file(disk, "a/file", 100) == b"second"
    assert disk.listdir("a") == ["file"]


def test_a_leftover_of_an_interrupted_replacement_does_no_harm(disk: Disk) -> None:
    disk.open("file" + TEMPORARY_SUFFIX, create=True).pwrite([b"half of something much longer"], 0)
    replace_file(disk, "file", b"whole")
    assert read_file(disk, "file", 100) == b"whole"


def test_a_file_is_read_whole_or_not_at_all(disk: Disk) -> None:
    replace_file(disk, "file", b"12345")
    assert read_file(disk, "file", 5) == b"12345"
    assert read_file(disk, "file", 4) is None
    assert read_file(disk, "nothing", 4) is None
