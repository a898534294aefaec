"""What a leader sends to one peer: the entries it lacks, a heartbeat, or the snapshot piece by piece.

Owns the files that are being sent. Bounded: at most `batches_max` messages a peer and call; whoever calls leaves out a
peer whose queue is full. Never counts acknowledgements, that is the library's work.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.rpc.raft_pb2 import AppendEntries, Entry, Message, SnapshotChunk
from cluster.seams import File
from controller.raft.barrier import StorageFailed
from controller.raft.journal import FIRST_INDEX, Journal
from controller.raft.overlay import ControllerRaft
from controller.raft.settings import RaftSettings
from controller.raft.snapshot import SnapshotStore


@dataclass(slots=True)
class _Transmission:
    """A snapshot on its way to a peer."""

    file: File
    size: int
    last_index: int
    last_term: int
    offset: int = 0


class Replication:
    """The sending side of AppendEntries; `send` takes a message for a peer."""

    def __init__(
        self,
        raft: ControllerRaft,
        journal: Journal,
        store: SnapshotStore,
        settings: RaftSettings,
        send: Callable[[int, Message], None],
    ) -> None:
        self._raft = raft
        self._journal = journal
        self._store = store
        self._settings = settings
        self._send = send
        self._transmissions: dict[int, _Transmission] = {}
        #: Index and term of the entry that the stored snapshot ends with; none while the whole log is there.
        self.snapshot_last: tuple[int, int] | None = None
        #: Peers whose acknowledgements count for nothing, and the entry whose commit will make them voters again.
        self.observers: dict[int, int] = {}

    def feed(self, peer: int) -> None:
        """Send `peer` what it lacks, within the bounds; a heartbeat if that is nothing."""
        raft, journal = self._raft, self._journal
        budget = self._settings.batches_max
        while budget and raft.next_index(peer) <= journal.first.index and journal.first.index > FIRST_INDEX:
            self._send_chunk(peer)
            budget -= 1
        is_heartbeat = budget == self._settings.batches_max
        while budget and (is_heartbeat or raft.next_index(peer) <= journal.last.index):
            self._send_entries(peer)
            is_heartbeat = False
            budget -= 1

    def lacks_entries(self, peer: int) -> bool:
        return self._raft.next_index(peer) <= self._journal.last.index

    def rewind(self, peer: int, index: int) -> None:
        """`peer` does not hold the entry before its next one: go back to `index`, but not outside of the log."""
        self._raft.set_next_index(peer, max(FIRST_INDEX + 1, min(index, self._journal.last.index + 1)))

    def cancel(self, peer: int) -> None:
        """The next chunk for `peer` is the first again."""
        transmission = self._transmissions.pop(peer, None)
        if transmission is not None:
            transmission.file.close()

    def cancel_all(self) -> None:
        for peer in sorted(self._transmissions):
            self.cancel(peer)

    def _send_entries(self, peer: int) -> None:
        next_index = self._raft.next_index(peer)
        entries = self._journal.batch(next_index, self._settings.batch_bytes_max)
        prev_term = self._journal.term_at(next_index - 1)
        assert prev_term is not None, f"entry {next_index - 1} is not in the log"
        message = AppendEntries(
            term=self._raft.term(),
            commit_index=self._raft.commit_index(),
            prev_log_index=next_index - 1,
            prev_log_term=prev_term,
            entries=[Entry(term=entry.term, command=entry.command) for entry in entries],
            observer_index=self.observers.get(peer, 0),
        )
        self._raft.set_next_index(peer, next_index + len(entries))
        self._send(peer, Message(append_entries=message))

    def _send_chunk(self, peer: int) -> None:
        transmission = self._transmissions.get(peer)
        if transmission is None:
            transmission = self._transmissions[peer] = self._begin()
        try:
            data = transmission.file.pread(self._settings.snapshot_chunk_bytes, transmission.offset)
        except OSError as error:
            raise StorageFailed(f"reading {transmission.file.path}: {error}") from error
        chunk = SnapshotChunk(
            term=self._raft.term(),
            commit_index=self._raft.commit_index(),
            last_index=transmission.last_index,
            last_term=transmission.last_term,
            offset=transmission.offset,
            size=transmission.size,
            data=data,
        )
        transmission.offset += len(data)
        if transmission.offset >= transmission.size:
            self.cancel(peer)
            self._raft.set_next_index(peer, transmission.last_index + 1)
        self._send(peer, Message(snapshot_chunk=chunk))

    def _begin(self) -> _Transmission:
        assert self.snapshot_last is not None, "entries were trimmed without a snapshot"
        file = self._store.open()
        last_index, last_term = self.snapshot_last
        return _Transmission(file=file, size=file.size(), last_index=last_index, last_term=last_term)
