"""Proposals between their call and their outcome.

Owns the queue of those that wait for a place in the log and the table of those that have one. An outcome is told by
what was applied at the proposal's (index, term), never by an answer of a message. Bounded: `waiting_max` and
`in_flight_max`.
"""

from collections import deque
from collections.abc import Callable, Iterator

from cluster.seams import NotLeader, UnknownOutcome
from controller.raft.settings import RaftSettings


class Proposal:
    """A command, or a barrier when `command` is None. `on_done` is called once, when `error` or `result` is final."""

    __slots__ = ("command", "error", "index", "on_done", "result", "term")

    def __init__(self, command: bytes | None, on_done: Callable[["Proposal"], None]) -> None:
        self.command = command
        self.on_done = on_done
        #: Where it is in the log; 0 before it is.
        self.index = 0
        self.term = 0
        self.result = b""
        self.error: NotLeader | UnknownOutcome | None = None


class ProposalTable:
    """Finished proposals are collected by `take_finished`: their callers may hear of them only after a barrier."""

    def __init__(self, settings: RaftSettings) -> None:
        self._settings = settings
        self._waiting: deque[Proposal] = deque()
        self._pending: dict[int, list[Proposal]] = {}
        self._finished: list[Proposal] = []

    @property
    def has_admissible(self) -> bool:
        return bool(self._waiting) and len(self._pending) < self._settings.in_flight_max

    def submit(self, proposal: Proposal) -> None:
        if len(self._waiting) >= self._settings.waiting_max:
            self._finish(proposal, UnknownOutcome("too many proposals are waiting"))
        else:
            self._waiting.append(proposal)

    def withdraw(self, proposal: Proposal) -> None:
        """Nobody waits for it any more. If it is in the log its place there stays taken until it is decided."""
        if not proposal.index and proposal in self._waiting:
            self._waiting.remove(proposal)

    def admissible(self) -> Iterator[list[Proposal]]:
        """Groups that may now be appended, one entry each: a command, or barriers that share one."""
        while self.has_admissible:
            group = [self._waiting.popleft()]
            while group[0].command is None and self._waiting and self._waiting[0].command is None:
                group.append(self._waiting.popleft())
            yield group

    def appended(self, group: list[Proposal], index: int, term: int) -> None:
        for proposal in group:
            proposal.index, proposal.term = index, term
        self._pending[index] = group

    def applied(self, index: int, term: int, result: bytes, leader_id: int | None) -> None:
        """The entry at `index` was applied: it is the proposal's own, or the proposal never will be."""
        for proposal in self._pending.pop(index, ()):
            if proposal.term == term:
                proposal.result = result
                self._finish(proposal, None)
            else:
                self._finish(proposal, NotLeader(leader_id))

    def leadership_lost(self, leader_id: int | None) -> None:
        """What is in the log may still be committed by the next leader; what is not will never be."""
        for index in sorted(self._pending):
            for proposal in self._pending[index]:
                self._finish(proposal, UnknownOutcome(f"leadership was lost before entry {index} was committed"))
        self._pending.clear()
        for proposal in self._waiting:
            self._finish(proposal, NotLeader(leader_id))
        self._waiting.clear()

    def take_finished(self) -> list[Proposal]:
        finished, self._finished = self._finished, []
        return finished

    def _finish(self, proposal: Proposal, error: NotLeader | UnknownOutcome | None) -> None:
        proposal.error = error
        self._finished.append(proposal)
