"""The library is the one that was read and tested, and reaches no clock, chance, file or pickle of its own."""

import threading
from types import ModuleType

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pytest

from controller.raft import guard
from tests.unit.raft.rig import Rig, SeededRng, VirtualClock


def test_another_version_is_refused_with_the_way_out() -> None:
    with pytest.raises(guard.UnsupportedLibrary, match=r"install pysyncobj==0\.3\.17"):
        guard.check(pysyncobj.syncobj, "0.3.18")


def test_a_library_without_a_name_we_rely_on_is_refused() -> None:
    library = ModuleType("library")
    for name in guard.GLOBALS:
        setattr(library, name, None)

    class SyncObj:
        pass

    library.SyncObj = SyncObj  # type: ignore[attr-defined]
    with pytest.raises(guard.UnsupportedLibrary, match="_SyncObj__sendAppendEntries"):
        guard.check(library, guard.SUPPORTED_VERSION)


def test_nothing_is_pickled_or_unpickled() -> None:
    pickle = pysyncobj.pickle
    for function in (pickle.loads, pickle.dumps, pysyncobj.journal.loads, pysyncobj.journal.dumps):
        with pytest.raises(AssertionError, match="does not pickle"):
            function(b"")


def test_time_and_chance_come_from_the_voter_that_runs() -> None:
    early, late = VirtualClock(), VirtualClock()
    late.at_ms = 5000
    outer = guard.Sources(early, SeededRng(1))
    inner = guard.Sources(late, SeededRng(2))
    library = pysyncobj.syncobj
    with outer:
        with inner:
            assert library.monotonicTime() == guard.Sources.seconds(5000)
            assert library.random.random() == SeededRng(2).random()
        assert library.monotonicTime() == guard.Sources.seconds(0)
    with pytest.raises(AssertionError):
        library.monotonicTime()


def test_a_voter_starts_no_thread() -> None:
    before = threading.enumerate()
    Rig().elect()
    assert threading.enumerate() == before
