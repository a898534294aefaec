"""What is changed in the pysyncobj library before it may run here, and the check that it is the library we know.

Owns every replacement of a module global of the library; the overridden methods are in `overlay`. Importing this module
checks and patches once, and raises UnsupportedLibrary when the installed library is not the one that was read and
tested: the hardening rests on private names, so another version must be read and tested first.

Replaced, because the library reaches them as globals and offers no parameter:

- `monotonicTime`, `random`: time and chance come from the seams, so that a quorum can be simulated and replayed. The
  library reads them only within `Sources`; a read outside is a programmer error.
- `createJournal`: the library would open its own file, which has no checksums and never reaches the disk on purpose.
- `pickle`: commands and messages are opaque bytes here; whatever still asks for a pickle is a mistake or an attack.
"""

from types import ModuleType, TracebackType
from typing import Any, Final, NoReturn

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
from pysyncobj.version import VERSION

from cluster.seams import Clock, Rng

SUPPORTED_VERSION: Final = "0.3.17"

#: Methods that `overlay` overrides or calls by their mangled names.
METHODS: Final = (
    "_SyncObj__deleteEntriesFrom",
    "_SyncObj__doApplyCommand",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onMessageReceived",
    "_SyncObj__onNodeConnected",
    "_SyncObj__onNodeDisconnected",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__tryLogCompaction",
)
#: Instance attributes that `overlay` reads or writes; all of them are set by the library's constructor.
ATTRIBUTES: Final = (
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__raftCommitIndex",
    "_SyncObj__raftCurrentTerm",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftLastApplied",
    "_SyncObj__raftLeader",
    "_SyncObj__raftLog",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftState",
    "_SyncObj__transferInProgress",
)
#: Module globals that are replaced.
GLOBALS: Final = ("createJournal", "monotonicTime", "pickle", "random")

#: The library treats a deadline of 0 as long past, which must hold on a clock that starts at 0 too.
_EPOCH_S: Final = 1.0


class UnsupportedLibrary(ImportError):
    """The installed pysyncobj is not the one that the overlay was written for."""


class Sources:
    """Where the library finds time and chance while one voter runs: `with sources: ...`, never across an await."""

    __slots__ = ("_clock", "_previous", "rng")

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock = clock
        self._previous: Sources | None = None
        self.rng = rng

    def now_s(self) -> float:
        return self.seconds(self._clock.now_ms())

    @staticmethod
    def seconds(at_ms: float) -> float:
        """The library's time for a reading of the clock."""
        return at_ms / 1000 + _EPOCH_S

    @staticmethod
    def milliseconds(at_s: float) -> int:
        """The inverse of `seconds`, rounded."""
        return round((at_s - _EPOCH_S) * 1000)

    def __enter__(self) -> None:
        global _active
        self._previous, _active = _active, self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        global _active
        _active, self._previous = self._previous, None


_active: Sources | None = None


class _Chance:
    """Stands in for the module `random`, of which the library uses one function."""

    @staticmethod
    def random() -> float:
        assert _active is not None, "chance is read outside of Sources"
        return _active.rng.random()


def _now_s() -> float:
    assert _active is not None, "time is read outside of Sources"
    return _active.now_s()


def _refuse_pickle(*_arguments: object, **_options: object) -> NoReturn:
    raise AssertionError("the quorum does not pickle")


def check(library: ModuleType, version: str) -> None:
    """Raise UnsupportedLibrary unless `library` is the version that the overlay knows, with every name it relies on."""
    if version != SUPPORTED_VERSION:
        raise UnsupportedLibrary(
            f"pysyncobj {version} is installed, but the quorum is written for exactly {SUPPORTED_VERSION}: "
            f"install pysyncobj=={SUPPORTED_VERSION}"
        )
    sync_obj: Any = getattr(library, "SyncObj", None)
    missing = [name for name in GLOBALS if not hasattr(library, name)]
    missing += [name for name in METHODS if not callable(getattr(sync_obj, name, None))]
    known = getattr(getattr(getattr(sync_obj, "__init__", None), "__code__", None), "co_names", ())
    missing += [name for name in ATTRIBUTES if name not in known]
    if missing:
        raise UnsupportedLibrary(f"pysyncobj {version} lacks {', '.join(missing)}: not the published library")


def _patch() -> None:
    library = pysyncobj.syncobj
    library.monotonicTime = _now_s
    library.random = _Chance
    library.createJournal = lambda journal: journal
    for name in ("load", "loads", "dump", "dumps"):
        setattr(pysyncobj.pickle, name, _refuse_pickle)
    # The library's journal bound these two by name before the lines above.
    pysyncobj.journal.loads = _refuse_pickle
    pysyncobj.journal.dumps = _refuse_pickle


check(pysyncobj.syncobj, VERSION)
_patch()
