"""One voter of the quorum as a synchronous machine: events and proposals in, messages and outcomes out.

Owns recovery, the rules by which messages reach the library, and the round: take what came in, tick the library, wait
for the disk, only then let anything out. Never waits, sleeps, logs or reads a clock but the one it was given; the
caller drives the barriers (see `barrier`) and carries the messages.

Source: the Raft paper, figure 2, for every rule that restricts what the library would do; Ongaro's dissertation 9.6 for
PreVote and 10.2 for syncing in batches. A rule that departs from the paper says so where it is.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never

from cluster.rpc.raft_pb2 import (
    AppendEntries,
    Message,
    NextNodeIdx,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    SnapshotChunk,
    TimeoutNow,
)
from cluster.seams import Clock, Disk, NotLeader, Rng, StateMachine
from controller.raft.barrier import Barrier, StorageCorrupt, sync_each
from controller.raft.election import Election
from controller.raft.guard import Sources
from controller.raft.journal import FIRST_INDEX, NO_OP, Entry, Identity, Journal, Standing
from controller.raft.overlay import ControllerRaft, LibraryMessage
from controller.raft.proposals import Proposal, ProposalTable
from controller.raft.replication import Replication
from controller.raft.settings import RaftSettings
from controller.raft.snapshot import IncomingSnapshot, Snapshot, SnapshotStore, decode_snapshot

#: The library's command type byte of an entry that carries a command of ours.
_REGULAR: Final = b"\x00"


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream on which this voter sends to `peer` is open."""

    peer: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """That stream broke: a suffix of what was sent may be lost."""

    peer: int


@dataclass(frozen=True, slots=True)
class Silenced:
    """The stream on which `peer` sends to this voter broke."""

    peer: int


@dataclass(frozen=True, slots=True)
class Received:
    """One frame of `peer`, in the order in which they were sent."""

    peer: int
    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class HandOver:
    """This voter is about to stop: if it leads, let the most up-to-date peer lead instead."""


Event = Connected | Disconnected | Silenced | Received | HandOver


class Role(NamedTuple):
    """What others may know about this voter: it is on the disk."""

    term: int
    leader_id: int | None
    is_leader: bool


class Voter:
    """Call `start` once, then `round` whenever something happened or `wake_at_ms` has come.

    Between two rounds, while none is suspended in its barrier, `compact` may run. After an exception from any of them
    the voter must not be used again: the process ends, and the next start recovers.
    """

    def __init__(
        self,
        *,
        node_id: int,
        voters: Sequence[int],
        disk: Disk,
        clock: Clock,
        rng: Rng,
        machine: StateMachine,
        settings: RaftSettings,
    ) -> None:
        assert node_id in voters, f"voter {node_id} is not among {voters}"
        self.node_id = node_id
        self._peers = sorted(set(voters) - {node_id})
        self._disk = disk
        self._clock = clock
        self._rng = rng
        self._machine = machine
        self._settings = settings
        self._sources = Sources(clock, rng)
        identity = Identity(node_id, tuple(sorted(voters)))
        self._journal = Journal(disk, f"{settings.directory}/journal", identity)
        self._store = SnapshotStore(disk, f"{settings.directory}/snapshot", settings.snapshot_bytes_max)
        self._incoming = IncomingSnapshot(settings.snapshot_bytes_max)
        self._table = ProposalTable(settings)
        self._events: deque[Event] = deque()
        self._connected: set[int] = set()
        self._congested: frozenset[int] = frozenset()
        self._outbox: dict[int, list[Message]] = {}
        #: Who voted for this voter in the term it stands in.
        self._votes: tuple[int, set[int]] = (0, set())
        self._journal_bytes_trimmed = 0
        #: Whether a round or compaction is under way, or failed.
        self._is_busy = False
        #: Whether the current tick told the peers about its commit index.
        self._has_fed = False
        self._raft: ControllerRaft
        self._election: Election
        self._replication: Replication
        self.role = Role(0, None, False)
        self.applied_index = 0

    # Start and end

    def start(self) -> None:
        """Recover from the disk. Blocks. Raises StorageCorrupt or StorageFailed."""
        settings = self._settings
        self._disk.mkdir(settings.directory)
        self._disk.fsync_dir(settings.directory.rpartition("/")[0])
        snapshot = self._recover()
        peers = self._peers
        self._raft = ControllerRaft(self.node_id, peers, self._journal, self, self._sources, settings)
        self._replication = Replication(self._raft, self._journal, self._store, settings, self._send)
        self._election = Election(self._raft, self._journal, self._rng, settings, self._clock.now_ms())
        if snapshot is not None:
            self._raft.jump(snapshot.last_index)
            self._replication.snapshot_last = (snapshot.last_index, snapshot.last_term)
        self._journal_bytes_trimmed = self._journal.size_bytes
        self._publish()

    def _recover(self) -> Snapshot | None:
        """Bring snapshot, journal and state machine into agreement, or refuse."""
        journal, settings = self._journal, self._settings
        snapshot = self._store.load()
        if self._disk.exists(f"{settings.directory}/journal"):
            journal.recover()
        elif snapshot is not None:
            raise StorageCorrupt(
                f"{settings.directory} holds a snapshot but no journal, so this voter's votes are lost: restore the "
                "folder from a copy, or empty it so that the voter learns everything from the others"
            )
        elif not settings.initial and not self._peers:
            raise StorageCorrupt(f"{settings.directory} is empty, and there is no other voter to learn from")
        else:
            journal.create(Standing.BLANK if settings.initial else Standing.OBSERVER)
        covered = FIRST_INDEX if snapshot is None else snapshot.last_index
        if journal.first.index > covered:
            raise StorageCorrupt(f"{settings.directory}: the log begins at {journal.first.index}, after {covered}")
        if snapshot is not None:
            if journal.term_at(covered) != snapshot.last_term:
                # Installing this snapshot was interrupted, or the log behind it was never on the disk.
                if journal.commit_index >= covered:
                    raise StorageCorrupt(f"{settings.directory}: log and snapshot disagree about entry {covered}")
                sync_each(journal.reset(covered, snapshot.last_term))
            self._restore(snapshot)
        return snapshot

    def close(self) -> None:
        """Let go of the files, after a last sync that tells the next start how much was on the disk. Blocks."""
        sync_each(self._journal.barrier())
        self._journal.write_commit_hint()
        sync_each(self._journal.barrier())
        self._replication.cancel_all()
        self._journal.close()

    # What happens to it

    def on_event(self, event: Event) -> None:
        """Taken up in the next round, in order."""
        self._events.append(event)

    def propose(self, command: bytes | None, on_done: Callable[[Proposal], None]) -> Proposal:
        """Replicate `command` (None: a barrier). `on_done` is called at the end of a round.

        Raises NotLeader, and ValueError when `command` is longer than `command_bytes_max`.
        """
        if command is not None and len(command) > self._settings.command_bytes_max:
            raise ValueError(f"a command of {len(command)} bytes exceeds {self._settings.command_bytes_max}")
        if not self.role.is_leader:
            raise NotLeader(self.role.leader_id)
        proposal = Proposal(command, on_done)
        self._table.submit(proposal)
        return proposal

    def withdraw(self, proposal: Proposal) -> None:
        """Nobody waits for `proposal` any more; it may still be applied."""
        self._table.withdraw(proposal)

    def abandon_proposals(self) -> None:
        """There will be no further round."""
        self._table.leadership_lost(None)
        self._tell_finished()

    def set_congested(self, peers: frozenset[int]) -> None:
        """Peers that get no entries for now because what was sent before has not left."""
        self._congested = peers

    @property
    def standing(self) -> Standing:
        """Whether this voter counts, and if not, why."""
        return self._journal.standing

    @property
    def has_work(self) -> bool:
        """Whether a round is due for another reason than the passing of time."""
        return bool(self._events) or self._table.has_admissible

    @property
    def wake_at_ms(self) -> int:
        """When the next round is due although nothing happened."""
        if self._raft.is_leader():
            return self._raft.append_due_ms() + 1
        return self._raft.election_deadline_ms() + 1

    # The round

    def round(self) -> Barrier:
        """One round; when it ends, `take_outbox` and the finished proposals may leave."""
        self._begin()
        while self._events:
            yield from self._take(self._events.popleft())
        # Several entries, one sync: whoever proposed until now is part of this round.
        self._settle_leadership()
        self._append_proposals()
        if not self._peers:
            # A lone voter commits what it holds without asking anybody, so it must hold it on the disk first.
            yield from self._journal.barrier()
        self._tick()
        self._settle_leadership()
        yield from self._journal.barrier()
        self._publish()
        self._is_busy = False
        self._tell_finished()

    def _begin(self) -> None:
        """Refuse to go on after a round that failed: the library may hold half of what happened in it."""
        assert not self._is_busy, "the last round of this voter did not come to its end"
        self._is_busy = True

    def take_outbox(self) -> dict[int, list[Message]]:
        """Messages for each peer, in order; what they vouch for is on the disk."""
        outbox, self._outbox = self._outbox, {}
        return outbox

    def _tick(self) -> None:
        raft, now_ms = self._raft, self._clock.now_ms()
        if self._election.before_tick(now_ms, len(self._connected)):
            last = self._journal.last
            question = PreVote(term=raft.term(), last_log_index=last.index, last_log_term=last.term)
            for peer in self._peers:
                self._send(peer, Message(pre_vote=question))
        commit_index, self._has_fed = raft.commit_index(), False
        raft.tick()
        self._election.after_tick(now_ms)
        if raft.is_leader() and raft.commit_index() != commit_index and not self._has_fed:
            # Followers apply only what they know to be committed.
            self.on_append_due()

    def _append_proposals(self) -> None:
        raft = self._raft
        if not raft.is_leader():
            return
        for group in self._table.admissible():
            command = group[0].command
            self._append(group, NO_OP if command is None else _REGULAR + command)

    def _append(self, group: list[Proposal], command: bytes) -> int:
        """A leader appends an entry of its own; returns its index."""
        index, term = self._journal.last.index + 1, self._raft.term()
        self._journal.add(command, index, term)
        self._table.appended(group, index, term)
        self._raft.append_now()
        return index

    def _settle_leadership(self) -> None:
        raft = self._raft
        if not raft.is_leader() or (self.role.is_leader and raft.term() != self.role.term):
            self._table.leadership_lost(raft.leader_id())
        if not raft.is_leader():
            self._replication.observers.clear()
            self._replication.cancel_all()

    def _tell_finished(self) -> None:
        for proposal in self._table.take_finished():
            proposal.on_done(proposal)

    def _publish(self) -> None:
        self.role = Role(self._raft.term(), self._raft.leader_id(), self._raft.is_leader())
        self.applied_index = self._raft.last_applied()

    # Snapshots

    @property
    def is_compaction_due(self) -> bool:
        applied, last = self._raft.last_applied(), self._replication.snapshot_last
        covered = FIRST_INDEX if last is None else last[0]
        return applied - covered >= self._settings.snapshot_entries or (applied > covered and self._is_journal_large)

    @property
    def _is_journal_large(self) -> bool:
        return self._journal.size_bytes - self._journal_bytes_trimmed >= self._settings.snapshot_journal_bytes

    def compact(self) -> Barrier:
        """Save the state machine's state and drop the log behind it."""
        self._begin()
        index = self._raft.last_applied()
        term = self._journal.term_at(index)
        assert term is not None, f"applied entry {index} is not in the log"
        keep = 0 if self._is_journal_large else self._settings.retained_entries
        yield from self._store.save(Snapshot(last_index=index, last_term=term, state=self._machine.snapshot()))
        self._replication.snapshot_last = (index, term)
        yield from self._journal.trim(max(self._journal.first.index, index - keep))
        self._journal_bytes_trimmed = self._journal.size_bytes
        self._is_busy = False

    def _restore(self, snapshot: Snapshot) -> None:
        try:
            self._machine.restore(snapshot.state)
        except ValueError as error:
            raise StorageCorrupt(
                f"the snapshot that ends at {snapshot.last_index} is whole but not understood: {error}: run the "
                "version that wrote it, or a newer one"
            ) from error

    def _install(self, snapshot: Snapshot) -> Barrier:
        """Replace state and log by a leader's snapshot; an interruption leaves one or the other to recover from."""
        self._restore(snapshot)
        yield from self._store.save(snapshot)
        self._replication.snapshot_last = (snapshot.last_index, snapshot.last_term)
        yield from self._journal.reset(snapshot.last_index, snapshot.last_term)
        self._journal_bytes_trimmed = self._journal.size_bytes
        self._raft.jump(snapshot.last_index)

    # What the library asks for (Hooks)

    def on_library_send(self, peer: int, message: LibraryMessage) -> None:
        kind = message["type"]
        if kind == "next_node_idx":
            reset, next_index = message["reset"], message["next_node_idx"]
            if reset:
                # The committed prefix always matches, so one step back is enough, however far the logs diverged.
                next_index = min(next_index, self._raft.commit_index() + 1)
            self._answer(peer, next_index=next_index, success=message["success"], reset=reset)
        elif kind == "request_vote":
            index, term = message["last_log_index"], message["last_log_term"]
            vote = RequestVote(term=message["term"], last_log_index=index, last_log_term=term)
            self._send(peer, Message(request_vote=vote))
        elif kind == "response_vote":
            self._send(peer, Message(response_vote=ResponseVote(term=message["term"])))
        elif kind == "timeout_now":
            self._send(peer, Message(timeout_now=TimeoutNow(term=message["term"])))
        else:
            raise AssertionError(f"the library sends {kind}")

    def on_append_due(self) -> None:
        self._has_fed = True
        for peer in self._peers:
            if peer in self._connected and peer not in self._congested:
                self._replication.feed(peer)

    def on_apply(self, entry: Entry) -> None:
        result = b""
        if entry.command[:1] == _REGULAR:
            result = self._machine.apply(entry.index, entry.term, entry.command[1:])
        self._table.applied(entry.index, entry.term, result, self._raft.leader_id())

    # What comes in

    def _take(self, event: Event) -> Barrier:
        match event:
            case Connected(peer):
                self._connected.add(peer)
                self._raft.connect(peer)
                self._raft.append_now()
            case Disconnected(peer):
                self._connected.discard(peer)
                self._raft.disconnect(peer)
                self._replication.cancel(peer)
                self._election.on_connection_lost(peer, self._clock.now_ms())
            case Silenced(peer):
                self._incoming.clear()
                self._election.on_connection_lost(peer, self._clock.now_ms())
            case Received(peer, messages):
                for message in messages:
                    yield from self._take_message(peer, message)
            case HandOver():
                self._raft.hand_over()
            case _:
                assert_never(event)

    def _take_message(self, peer: int, message: Message) -> Barrier:
        match message.WhichOneof("body"):
            case "append_entries":
                self._on_append_entries(peer, message.append_entries)
            case "next_node_idx":
                self._on_next_node_idx(peer, message.next_node_idx)
            case "snapshot_chunk":
                yield from self._on_snapshot_chunk(peer, message.snapshot_chunk)
            case "pre_vote":
                self._on_pre_vote(peer, message.pre_vote)
            case "pre_vote_response":
                self._on_pre_vote_response(peer, message.pre_vote_response)
            case "request_vote":
                self._on_request_vote(peer, message.request_vote)
            case "response_vote":
                self._on_response_vote(peer, message.response_vote)
            case "timeout_now":
                if self._journal.standing is not Standing.OBSERVER:
                    term = message.timeout_now.term
                    self._raft.deliver(peer, {"type": "timeout_now", "term": term})
            case None:
                pass  # of a version that knows more messages: as good as lost, which the protocol allows

    def _on_pre_vote(self, peer: int, question: PreVote) -> None:
        self._notice_log(question.last_log_index)
        granted = self._election.would_vote(
            question.term, question.last_log_index, question.last_log_term, self._clock.now_ms()
        )
        answer = PreVoteResponse(term=question.term if granted else self._raft.term(), granted=granted)
        self._send(peer, Message(pre_vote_response=answer))

    def _on_pre_vote_response(self, peer: int, answer: PreVoteResponse) -> None:
        if answer.granted:
            self._election.on_pre_vote_granted(peer, answer.term, self._clock.now_ms())
        elif answer.term > self._raft.term():
            self._raft.adopt_term(answer.term)

    def _on_request_vote(self, peer: int, request: RequestVote) -> None:
        self._notice_log(request.last_log_index)
        if self._journal.standing is Standing.OBSERVER:
            return
        index, term = request.last_log_index, request.last_log_term
        self._raft.deliver(
            peer,
            {"type": "request_vote", "term": request.term, "last_log_index": index, "last_log_term": term},
        )

    def _on_response_vote(self, peer: int, vote: ResponseVote) -> None:
        """The library counts messages; one voter has one vote."""
        if vote.term != self._raft.term():
            return
        if self._votes[0] != vote.term:
            self._votes = (vote.term, set())
        if peer not in self._votes[1]:
            self._votes[1].add(peer)
            self._raft.deliver(peer, {"type": "response_vote", "term": vote.term})

    def _on_append_entries(self, peer: int, message: AppendEntries) -> None:
        if not self._follows(peer, message.term):
            return
        new = self._new_entries(message)
        last_new = message.prev_log_index + len(message.entries)
        library: LibraryMessage = {
            "type": "append_entries",
            "term": message.term,
            # What lies behind the last new entry was not compared with the leader's log.
            "commit_index": min(message.commit_index, last_new),
        }
        if new is None:
            self._raft.deliver(peer, library)
            self._answer(peer, next_index=last_new + 1, success=True)
        else:
            prev_index, prev_term, entries = new
            library |= {"prevLogIdx": prev_index, "prevLogTerm": prev_term, "entries": entries}
            self._raft.deliver(peer, library)
        self._election.on_leader_heard(self._clock.now_ms())
        proof = message.observer_index
        if self._journal.standing is Standing.OBSERVER and 0 < proof <= self._raft.commit_index():
            # A majority without this voter follows this leader. Should it have voted in this term before it lost its
            # disk, it must not vote again, so it has voted for this leader now.
            self._raft.vote_for(peer)
            self._journal.set_meta(message.term, peer, Standing.VOTER)

    def _new_entries(self, message: AppendEntries) -> tuple[int, int, list[Entry]] | None:
        """What `message` has that the log has not, and index and term of the entry before it; None if that is nothing.

        The library would cut the log behind the entry before, so it must not see what the log holds already.
        """
        journal, entries = self._journal, message.entries
        prev_index, prev_term = message.prev_log_index, message.prev_log_term
        held = 0
        if journal.term_at(prev_index) == prev_term:
            while held < len(entries) and journal.term_at(prev_index + 1) == entries[held].term:
                prev_index, prev_term = prev_index + 1, entries[held].term
                held += 1
            if held == len(entries):
                return None
        first = prev_index + 1
        return (
            prev_index,
            prev_term,
            [Entry(entry.command, first + place, entry.term) for place, entry in enumerate(entries[held:])],
        )

    def _on_snapshot_chunk(self, peer: int, chunk: SnapshotChunk) -> Barrier:
        if not self._follows(peer, chunk.term):
            return
        raft = self._raft
        # A chunk proves nothing about this voter's log, so it must not move the commit index.
        beat = {"type": "append_entries", "term": chunk.term, "commit_index": raft.commit_index(), "serialized": None}
        raft.deliver(peer, beat)
        self._election.on_leader_heard(self._clock.now_ms())
        source = (peer, chunk.term, chunk.last_index, chunk.last_term)
        try:
            whole = self._incoming.add(source, chunk.offset, chunk.size, chunk.data)
            snapshot = None if whole is None else decode_snapshot(whole)
        except ValueError:
            self._answer(peer, next_index=0, success=False, restart_snapshot=True)
            return
        if snapshot is None:
            # Tells the leader that this voter is alive, however long the transfer takes.
            self._answer(peer, next_index=0, success=False)
            return
        index = snapshot.last_index
        if index > raft.commit_index() and self._journal.term_at(index) != snapshot.last_term:
            yield from self._install(snapshot)
        self._answer(peer, next_index=index + 1, success=True)

    def _on_next_node_idx(self, peer: int, answer: NextNodeIdx) -> None:
        raft, replication = self._raft, self._replication
        if answer.term > raft.term():
            raft.adopt_term(answer.term)
        if answer.term != raft.term() or not raft.is_leader():
            return
        if answer.success and answer.next_index > self._journal.last.index + 1:
            return  # nobody can hold more than the leader of the term does
        if answer.restart_snapshot:
            replication.cancel(peer)
        if answer.observer:
            self._on_observer(peer, answer)
        else:
            replication.observers.pop(peer, None)
            known = raft.next_index(peer)
            library: LibraryMessage = {"type": "next_node_idx", "next_node_idx": answer.next_index}
            raft.deliver(peer, library | {"success": answer.success, "reset": answer.reset and not answer.success})
            if answer.success:
                # Later entries may be on their way already.
                raft.set_next_index(peer, max(known, answer.next_index))
        if answer.reset and not answer.success:
            replication.rewind(peer, answer.next_index)
        if replication.lacks_entries(peer):
            raft.append_now()

    def _on_observer(self, peer: int, answer: NextNodeIdx) -> None:
        """`peer` lost its disk: what it acknowledged, then or now, counts for nothing until it is a voter again."""
        raft = self._raft
        raft.forget_match(peer)
        if peer not in self._replication.observers:
            self._replication.observers[peer] = self._append([], NO_OP)
        if answer.success:
            raft.set_next_index(peer, max(raft.next_index(peer), answer.next_index))

    def _follows(self, peer: int, term: int) -> bool:
        """Whether to follow `peer` as the leader of `term`. A deposed one is told, or it might go on for ever."""
        raft = self._raft
        if term < raft.term():
            self._answer(peer, next_index=0, success=False)
            return False
        assert term > raft.term() or not raft.is_leader(), f"{peer} leads too in term {term}"
        if self._journal.standing is Standing.BLANK:
            # Somebody was elected without this voter, so the quorum is older than this voter's disk.
            self._become_observer()
        return True

    def _notice_log(self, last_log_index: int) -> None:
        if self._journal.standing is Standing.BLANK and last_log_index > FIRST_INDEX:
            self._become_observer()

    def _become_observer(self) -> None:
        self._journal.set_meta(self._journal.term, self._journal.voted_for, Standing.OBSERVER)

    # What goes out

    def _answer(
        self, peer: int, *, next_index: int, success: bool, reset: bool = False, restart_snapshot: bool = False
    ) -> None:
        answer = NextNodeIdx(
            term=self._raft.term(),
            next_index=next_index,
            success=success,
            reset=reset,
            observer=self._journal.standing is Standing.OBSERVER,
            restart_snapshot=restart_snapshot,
        )
        self._send(peer, Message(next_node_idx=answer))

    def _send(self, peer: int, message: Message) -> None:
        if peer in self._connected:
            self._outbox.setdefault(peer, []).append(message)
