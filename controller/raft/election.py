"""When a voter stands for election, and when it lets another one stand: PreVote and the pace of attempts.

Owns the election deadline and the count of pre-votes. A voter raises its term only after a majority said that it hears
no leader either, so a voter that comes back, starts early or is alone in a partition disturbs nobody; that is what
makes short deadlines safe. The real votes are the library's work.

Source: Ongaro's dissertation, 9.6 (preventing disruptions when a server rejoins the cluster). The answer of a refusing
voter carries its term, for a voter with the better log may be behind in terms.
"""

from typing import Final

from cluster.seams import Rng
from controller.raft.journal import Journal, Standing
from controller.raft.overlay import ControllerRaft
from controller.raft.settings import RaftSettings

#: How often the pace of attempts doubles at most; by then it has reached the ordinary election timeout.
_DOUBLINGS_MAX: Final = 10


class Election:
    """Pure decisions over the library's state; the caller sends the messages."""

    def __init__(self, raft: ControllerRaft, journal: Journal, rng: Rng, settings: RaftSettings, now_ms: int) -> None:
        self._raft = raft
        self._journal = journal
        self._rng = rng
        self._settings = settings
        self._peers = len(list(raft.peers()))
        #: When a leader was last heard on a stream that is not known to be broken, and in which term.
        self._heard_ms: int | None = None
        self._heard_term = 0
        #: Attempts since a leader was heard.
        self._attempts = 0
        #: Who answered the pre-vote that is under way; None when none is.
        self._granted: set[int] | None = None
        self._won = False
        self._term_before_tick = raft.term()
        first = 0 if not self._peers else rng.randint(settings.boot_election_min_ms, settings.boot_election_max_ms)
        raft.set_election_deadline(now_ms + first)

    def on_leader_heard(self, now_ms: int) -> None:
        self._heard_ms = now_ms
        self._heard_term = self._raft.term()
        self._attempts = 0
        self._granted = None
        self._won = False

    def on_connection_lost(self, peer: int, now_ms: int) -> None:
        """A stream to or from `peer` broke. If it was the leader's, it is probably dead."""
        if peer == self._raft.leader_id() and not self._raft.is_leader():
            self._heard_ms = None
            soon = now_ms + self._rng.randint(self._settings.suspicion_min_ms, self._settings.suspicion_max_ms)
            self._raft.set_election_deadline(min(self._raft.election_deadline_ms(), soon))

    def before_tick(self, now_ms: int, connected: int) -> bool:
        """Whether to ask `connected` peers for their pre-votes; keeps the library from standing without them."""
        raft = self._raft
        self._term_before_tick = raft.term()
        if raft.is_leader() or not self._peers or self._won or raft.is_transfer_pending():
            return False
        if raft.election_deadline_ms() > now_ms:
            return False
        raft.forget_leader()
        # The library stands in the first tick after the deadline, so it must not lie in the past during one.
        raft.set_election_deadline(now_ms + self._pace_ms())
        if self._journal.standing is Standing.OBSERVER or not self._is_majority(connected):
            return False
        self._attempts += 1
        self._granted = set()
        return True

    def on_pre_vote_granted(self, peer: int, term: int, now_ms: int) -> None:
        if self._granted is None or term != self._raft.term() or self._raft.is_leader():
            return
        self._granted.add(peer)
        if self._is_majority(len(self._granted)):
            self._granted = None
            self._won = True
            self._raft.set_election_deadline(now_ms - 1)

    def after_tick(self, now_ms: int) -> None:
        """If the library began an election in the tick: it may take as long as the pace of attempts says."""
        self._won = False
        if self._raft.is_candidate() and self._raft.term() != self._term_before_tick:
            self._raft.set_election_deadline(now_ms + self._pace_ms())

    def would_vote(self, term: int, last_log_index: int, last_log_term: int, now_ms: int) -> bool:
        """Whether a voter in `term` with such a log may stand for the next term."""
        raft, last = self._raft, self._journal.last
        if self._journal.standing is Standing.OBSERVER or raft.is_leader() or term < raft.term():
            return False
        if (last_log_term, last_log_index) < (last.term, last.index):
            return False
        if self._hears_leader(now_ms):
            return False
        # Two that stand at the same time split the votes: let the other one finish first.
        pause = self._rng.randint(self._settings.suspicion_min_ms, self._settings.suspicion_max_ms)
        raft.set_election_deadline(max(raft.election_deadline_ms(), now_ms + pause))
        return True

    def _hears_leader(self, now_ms: int) -> bool:
        if self._heard_ms is None or self._heard_term != self._raft.term():
            return False
        return now_ms - self._heard_ms < self._settings.election_timeout_min_ms

    def _is_majority(self, others: int) -> bool:
        """Whether this voter and `others` more are one."""
        return 2 * (others + 1) > self._peers + 1

    def _pace_ms(self) -> int:
        """Time for one attempt: short at first, then as long as an election timeout, and never the same twice."""
        settings = self._settings
        factor = 1 << min(self._attempts, _DOUBLINGS_MAX)
        high = min(settings.suspicion_max_ms * factor, settings.election_timeout_max_ms)
        return self._rng.randint(max(settings.suspicion_min_ms, high // 2), high)
