"""How long to try, and how long to wait between two attempts.

Owns deadlines, back-off and the sets of error codes that another attempt may cure. Never sleeps: it only computes.
Source: KIP-580 (exponential back-off with jitter).
"""

from typing import Final

from cluster.errors import ErrorCode
from cluster.seams import Clock, Rng

_GROWTH: Final = 2.0
_JITTER: Final = 0.2

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


class Backoff:
    """Growing pauses between attempts, each up to a fifth shorter or longer so that clients do not march in step."""

    __slots__ = ("_initial_ms", "_max_ms", "_next_ms", "_rng")

    def __init__(self, initial_ms: int, max_ms: int, rng: Rng) -> None:
        self._initial_ms = min(initial_ms, max_ms)
        self._max_ms = max_ms
        self._rng = rng
        self._next_ms = float(self._initial_ms)

    def next_ms(self) -> float:
        """How long to wait now, in milliseconds."""
        delay_ms = self._next_ms
        self._next_ms = min(delay_ms * _GROWTH, float(self._max_ms))
        return delay_ms * (1 - _JITTER + 2 * _JITTER * self._rng.random())

    def reset(self) -> None:
        """After a success."""
        self._next_ms = float(self._initial_ms)
