"""pysyncobj's Raft with its weak parts overridden, and every private name of it that we touch.

Owns nothing but the library object: terms, votes, the commit rule and stepping down stay the library's work. What is
overridden is handed to `Hooks`. Everything else in this package talks to `ControllerRaft` by the plain methods below;
the library object has no state and no properties of ours beyond two collaborators, because the library evaluates every
attribute of its subclass when it is constructed.

Source: pysyncobj 0.3.17, as pinned by `guard`.
"""

# The library's method names are overridden as they are.
# ruff: noqa: N802, N803

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, overload

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.journal import Journal as LibraryJournal
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from controller.raft.guard import Sources
from controller.raft.journal import Entry, Journal
from controller.raft.settings import RaftSettings

_FOLLOWER: Final = 0
_CANDIDATE: Final = 1
_LEADER: Final = 2

#: A message in the library's shape.
LibraryMessage = dict[str, Any]


class Hooks(Protocol):
    """What the overridden parts of the library do instead."""

    def on_library_send(self, peer: int, message: LibraryMessage) -> None:
        """The library wants to say something; nothing leaves before the journal was synced."""
        ...

    def on_append_due(self) -> None:
        """Send every peer what it lacks, or a heartbeat."""
        ...

    def on_apply(self, entry: Entry) -> None:
        """Apply one committed entry. An exception leaves the voter unusable."""
        ...


class _Log(LibraryJournal):  # type: ignore[misc]
    """The library's view of the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._journal.add(command, idx, term)

    @overload
    def __getitem__(self, item: int) -> Entry: ...

    @overload
    def __getitem__(self, item: slice) -> Sequence[Entry]: ...

    def __getitem__(self, item: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(item, slice):
            start, stop, _ = item.indices(len(self._journal))
            return self._journal.entries(start, stop)
        return self._journal.entry(item)

    def __len__(self) -> int:
        return len(self._journal)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self._journal.commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        return self._journal.commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:
        self._journal.set_term(term, votedForNodeId)

    def getCurrentTerm(self) -> int:
        return self._journal.term

    def getVotedForNodeId(self) -> int | None:
        return self._journal.voted_for

    def onOneSecondTimer(self) -> None:
        self._journal.write_commit_hint()

    def _destroy(self) -> None:
        self._journal.close()


class _Port(Transport):  # type: ignore[misc]
    """The library's way out. What comes in is given to `ControllerRaft.deliver`."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(None, None, [])
        self._hooks = hooks

    def send(self, node: Any, message: LibraryMessage) -> bool:
        self._hooks.on_library_send(node.id, message)
        return True


class ControllerRaft(SyncObj):  # type: ignore[misc]
    """The library's Raft for one voter. Not thread-safe; never starts a thread, opens no file and no socket."""

    def __init__(
        self,
        node_id: int,
        peers: Iterable[int],
        journal: Journal,
        hooks: Hooks,
        sources: Sources,
        settings: RaftSettings,
    ) -> None:
        self._hooks = hooks
        self._sources = sources
        self._nodes = {peer: Node(peer) for peer in sorted(peers)}
        conf = SyncObjConf(
            autoTick=False,
            journalFile=_Log(journal),
            appendEntriesPeriod=settings.append_entries_period_ms / 1000,
            raftMinTimeout=settings.election_timeout_min_ms / 1000,
            raftMaxTimeout=settings.election_timeout_max_ms / 1000,
            leaderFallbackTimeout=settings.election_timeout_max_ms / 1000,
            connectionTimeout=settings.election_timeout_max_ms / 1000,  # of the library's own transport, unused
            appendEntriesUseBatch=True,
            commandsWaitLeader=False,
            useFork=False,
            dynamicMembershipChange=False,
            password=None,
        )
        with sources:
            super().__init__(Node(node_id), list(self._nodes.values()), conf, transport=_Port(hooks))

    # Overridden

    def _SyncObj__deleteEntriesFrom(self, fromIDx: int) -> None:
        """Nothing: the library would cut a log that does not conflict; `Journal.add` cuts one that does."""

    def _SyncObj__tryLogCompaction(self) -> None:
        """Nothing: snapshots are taken between the ticks, with barriers that a tick cannot wait for."""

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:
        raise AssertionError("the library is given no snapshot file and no chunks")

    def _SyncObj__sendAppendEntries(self) -> None:
        """The library's version floods a peer that needs a snapshot, and sends without any bound."""
        period_s = self.conf.appendEntriesPeriod
        self._SyncObj__newAppendEntriesTime = self._sources.now_s() + period_s
        self._hooks.on_append_due()

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        """The library's version unpickles, and lets a failing command be retried for ever."""
        index = self._SyncObj__raftLastApplied + 1
        entry = self._SyncObj__raftLog[index - self._SyncObj__raftLog[0].index]
        assert entry.index == index, f"the library applies {entry.index} instead of {index}"
        self._hooks.on_apply(entry)

    # Driving it

    def tick(self) -> None:
        with self._sources:
            self.doTick(0)

    def deliver(self, peer: int, message: LibraryMessage) -> None:
        with self._sources:
            self._SyncObj__onMessageReceived(self._nodes[peer], message)

    def connect(self, peer: int) -> None:
        self._SyncObj__onNodeConnected(self._nodes[peer])

    def disconnect(self, peer: int) -> None:
        self._SyncObj__onNodeDisconnected(self._nodes[peer])

    # Reading it

    def peers(self) -> Iterable[int]:
        """Sorted."""
        return self._nodes

    def term(self) -> int:
        return int(self._SyncObj__raftCurrentTerm)

    def commit_index(self) -> int:
        return int(self._SyncObj__raftCommitIndex)

    def last_applied(self) -> int:
        return int(self._SyncObj__raftLastApplied)

    def leader_id(self) -> int | None:
        leader = self._SyncObj__raftLeader
        return None if leader is None else int(leader.id)

    def is_leader(self) -> bool:
        return bool(self._SyncObj__raftState == _LEADER)

    def is_candidate(self) -> bool:
        return bool(self._SyncObj__raftState == _CANDIDATE)

    def is_transfer_pending(self) -> bool:
        """Whether the leader asked this voter to take over at once."""
        return bool(self._SyncObj__transferInProgress)

    # Elections

    def election_deadline_ms(self) -> int:
        return self._sources.milliseconds(self._SyncObj__raftElectionDeadline)

    def set_election_deadline(self, at_ms: int) -> None:
        """A follower or candidate starts an election in the first tick after it."""
        self._SyncObj__raftElectionDeadline = self._sources.seconds(at_ms)

    def forget_leader(self) -> None:
        self._SyncObj__raftLeader = None

    def adopt_term(self, term: int) -> None:
        """Follow nobody in a higher term that another voter is in."""
        assert term > self.term(), f"term {term} is not higher than {self.term()}"
        with self._sources:
            self._SyncObj__setCurrentTerm(term, None)
            self._SyncObj__setState(_FOLLOWER)
            self._SyncObj__raftLeader = None

    def vote_for(self, peer: int) -> None:
        """Give this voter's vote in the current term to `peer`, without telling anybody."""
        with self._sources:
            self._SyncObj__setCurrentTerm(self.term(), peer)

    def hand_over(self) -> None:
        """A leader asks its most up-to-date connected peer to stand at once; nothing when there is none."""
        with self._sources:
            self.transferLeadership()

    # Replication

    def append_due_ms(self) -> int:
        return self._sources.milliseconds(self._SyncObj__newAppendEntriesTime)

    def append_now(self) -> None:
        """A leader sends in its next tick."""
        self._SyncObj__newAppendEntriesTime = 0.0

    def next_index(self, peer: int) -> int:
        return int(self._SyncObj__raftNextIndex[self._nodes[peer]])

    def set_next_index(self, peer: int, index: int) -> None:
        self._SyncObj__raftNextIndex[self._nodes[peer]] = index

    def forget_match(self, peer: int) -> None:
        """What `peer` once held counts no longer."""
        self._SyncObj__raftMatchIndex[self._nodes[peer]] = 0

    def jump(self, index: int) -> None:
        """The state machine holds everything up to `index`, from a snapshot."""
        commit_index = max(self.commit_index(), index)
        self._SyncObj__raftLastApplied = index
        self._SyncObj__raftCommitIndex = commit_index
