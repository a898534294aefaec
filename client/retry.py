"""How long to try, and how long to wait between two attempts.

Owns deadlines, back-off and the sets of error codes that another attempt may cure. Never sleeps: it only computes.
Source: KIP-580 (exponential back-off with jitter).
"""

from typing import Final

from cluster.errors import ErrorCode
from cluster.seams import Clock, Rng

_GROWTH: Final = 2.0
_JITTER: Final = 0.2
_DOUBLINGS_MAX: Final = 30

#: What a client knew about brokers and leaders is out of date.
STALE_METADATA: Final = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)

#: A request was not, or not knowingly, carried out, and the same request may succeed elsewhere or later. A topic that
#: is not there is not among them: who asks about one wants to hear that.
TRANSIENT: Final = frozenset(
    {
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.BROKER_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.THROTTLING_QUOTA_EXCEEDED,
    }
)

#: The same for requests about topics that are known to have existed a moment ago, or may come to exist.
TRANSIENT_OR_ABSENT: Final = TRANSIENT | {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.UNKNOWN_TOPIC_ID,
    ErrorCode.INCONSISTENT_TOPIC_ID,
}


class Deadline:
    """A moment on the monotonic clock by which a whole operation, with all its attempts, must be over."""

    __slots__ = ("_at_ms", "_clock", "timeout_ms")

    def __init__(self, clock: Clock, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms
        self._clock = clock
        self._at_ms = clock.now_ms() + timeout_ms

    def remaining_ms(self) -> int:
        """Milliseconds left, never negative."""
        return max(0, self._at_ms - self._clock.now_ms())

    def cap(self, timeout_ms: int) -> int:
        """The part of `timeout_ms` that is left, at least 1."""
        return max(1, min(timeout_ms, self.remaining_ms()))


def pause_ms(attempts: int, initial_ms: int, max_ms: int, chance: float) -> float:
    """How long to wait after so many failed attempts: doubling, and up to a fifth shorter or longer.

    `chance` is in [0, 1); it keeps clients from marching in step.
    """
    grown_ms = min(initial_ms * _GROWTH ** min(attempts - 1, _DOUBLINGS_MAX), max_ms)
    return grown_ms * (1 - _JITTER + 2 * _JITTER * chance)


class Backoff:
    """The pauses between the attempts of one operation."""

    __slots__ = ("_attempts", "_initial_ms", "_max_ms", "_rng")

    def __init__(self, initial_ms: int, max_ms: int, rng: Rng) -> None:
        self._initial_ms = initial_ms
        self._max_ms = max_ms
        self._rng = rng
        self._attempts = 0

    def next_ms(self) -> float:
        """How long to wait now."""
        self._attempts += 1
        return pause_ms(self._attempts, self._initial_ms, self._max_ms, self._rng.random())

    def reset(self) -> None:
        """After a success."""
        self._attempts = 0
