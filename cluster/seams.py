"""The only ways in which the core sees the world outside.

Everything in Blumfeld that decides something receives these protocols and nothing else of the operating system: no
module outside the adapters (`cluster/host/`, `cluster/net/`, the process entry points) imports `time`, `random`,
`os`, `socket` or `grpc`. Each protocol has a real adapter and may have a simulated one; the same conformance suite runs
against both. Coroutines of the core run on whatever asyncio event loop they are started on, real or virtual-time.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from cluster.ids import Endpoint, Uuid

Buffer = bytes | bytearray | memoryview


class Timer(Protocol):
    """A pending `Clock.call_later_ms`."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time. Deadlines, leases and timeouts use the monotonic reading; only record timestamps and retention the wall."""

    def now_ms(self) -> int:
        """Monotonic milliseconds; the zero point means nothing and differs between processes."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch. May jump either way: never use it for safety."""
        ...

    async def sleep_ms(self, delay_ms: float) -> None: ...

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> Timer: ...


class Rng(Protocol):
    """Chance. Never used inside a replicated state machine: seeds travel inside commands."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def randint(self, low: int, high: int) -> int:
        """Uniform in [low, high], both inclusive."""
        ...

    def uuid(self) -> Uuid: ...


class NetError(Exception):
    """The other side could not be reached, or went away."""


class Unavailable(NetError):
    """A call has no answer. Whether it was carried out is unknown, always."""


class StreamBroken(NetError):
    """A stream ended. Messages sent on it may or may not have arrived; those received are a prefix of those sent."""


class Stream(Protocol):
    """An ordered, at-most-once, bidirectional sequence of messages that breaks as a whole.

    One task may send while another receives; two tasks must not do the same at the same time.
    """

    async def send(self, message: bytes) -> None:
        """Return when the transport took `message` (flow control). Raises StreamBroken."""
        ...

    async def recv(self) -> bytes:
        """The next message. Raises StreamBroken when there will be none."""
        ...

    def abort(self) -> None:
        """Break the stream on both sides; idempotent, does not wait. A pending send or recv raises StreamBroken."""
        ...


CallHandler = Callable[[str, bytes], Awaitable[bytes]]
StreamHandler = Callable[[str, Stream], Awaitable[None]]


class Net(Protocol):
    """Traffic between nodes (clients speak the Kafka protocol and never pass here).

    One object per process. It was told its own name ("broker-1", "controller-2"); a handler receives the name of the
    caller, proven by its certificate where there are certificates and claimed otherwise. A message is at most
    `max_message_bytes` long; longer ones raise ValueError at the sender.
    """

    max_message_bytes: int

    async def call(self, peer: Endpoint, method: str, request: bytes, timeout_ms: int) -> bytes:
        """One question, one answer. Raises Unavailable."""
        ...

    async def open(self, peer: Endpoint, method: str, timeout_ms: int) -> Stream:
        """Return when the other side's handler runs. Raises Unavailable. A silent peer breaks the stream in seconds."""
        ...

    def serve_call(self, method: str, handler: CallHandler) -> None:
        """From now on; what is not served is Unavailable to the caller, and so is an exception of the handler."""
        ...

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        """From now on. The stream breaks when the handler returns or raises."""
        ...

    async def start(self, listen: Endpoint) -> Endpoint:
        """Serve; returns the endpoint with the port that was bound. Raises OSError when it cannot be."""
        ...

    async def stop(self) -> None:
        """Stop serving and break every stream."""
        ...


class File(Protocol):
    """An open file. Offsets and sizes are bytes. Every failure is an OSError with its errno."""

    path: str

    def size(self) -> int: ...

    def pread(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; shorter only at the end of the file."""
        ...

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write all of `buffers`, one behind the other, at `offset`; returns the bytes written, always their sum.

        On failure a prefix may be in the file. Visible to `pread` at once; on disk only after a sync.
        """
        ...

    def truncate(self, size: int) -> None: ...

    def sync(self) -> None:
        """fdatasync. Blocks: for start, stop and small checkpoints. After a failure nothing about the file is known."""
        ...

    async def sync_async(self) -> None:
        """fdatasync off the event loop. Covers what was written before the call."""
        ...

    def close(self) -> None:
        """Idempotent; does not sync."""
        ...


class Disk(Protocol):
    """A file system below one root; paths are relative to it with `/` between the parts, and never leave it.

    Creations, renames and removals are durable only after `fsync_dir` of the folder. Every failure is an OSError.
    """

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. `create` makes an absent file, empty; without it FileNotFoundError."""
        ...

    def lock(self, path: str) -> File:
        """Make the file at `path` if it is absent, and hold it alone until the returned file is closed.

        Raises BlockingIOError when it is held already, here or in another process. A lock ends with its process.
        """
        ...

    def exists(self, path: str) -> bool: ...

    def listdir(self, path: str) -> list[str]:
        """Names in a folder, sorted."""
        ...

    def is_dir(self, path: str) -> bool: ...

    def mkdir(self, path: str) -> None:
        """Make a folder and its parents; an existing one is no error."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Atomic; replaces a file at `target`. A folder may be renamed to a free name."""
        ...

    def unlink(self, path: str) -> None: ...

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        ...

    def fsync_dir(self, path: str) -> None:
        """Make the names in a folder durable. Blocks."""
        ...

    def free_bytes(self) -> int: ...


class NotLeader(Exception):
    """The proposal was definitely not, and will never be, applied: this voter does not lead."""

    def __init__(self, leader_id: int | None) -> None:
        super().__init__(f"leader is {leader_id}")
        self.leader_id = leader_id


class UnknownOutcome(Exception):
    """The proposal may be applied, now or later, or never. Ask again with the same (client, sequence)."""


class StateMachine(Protocol):
    """What a `Quorum` replicates. Deterministic: equal commands in equal order give equal states on every voter."""

    def apply(self, index: int, term: int, command: bytes) -> bytes:
        """Apply one committed command and return its result. Total: bad input is a result, never an exception."""
        ...

    def snapshot(self) -> bytes:
        """The whole state. `restore(snapshot())` on another voter makes the two equal."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Replace the whole state. Raises ValueError, with the state untouched, when `snapshot` is not one."""
        ...


class Quorum(Protocol):
    """A replicated log of commands (Raft). One object per voter."""

    node_id: int

    @property
    def term(self) -> int:
        """The current Raft term; never decreases, also over restarts."""
        ...

    @property
    def leader_id(self) -> int | None:
        """Who leads as far as this voter knows."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether this voter believes that it leads. Not a lease: only `barrier` proves it."""
        ...

    @property
    def applied_index(self) -> int: ...

    async def propose(self, command: bytes, timeout_ms: int) -> tuple[int, bytes]:
        """Replicate and apply `command`; returns (index, the state machine's result).

        Raises NotLeader (definitely not applied) or UnknownOutcome (leadership lost or time out meanwhile).
        """
        ...

    async def barrier(self, timeout_ms: int) -> int:
        """Commit a no-op in this term and return its index: what was acknowledged before the call is applied here now.

        Raises NotLeader or UnknownOutcome.
        """
        ...

    def on_role_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after `is_leader`, `leader_id` or `term` changed, on the event loop."""
        ...


class Spawner(Protocol):
    """Owner of every task of a process. A task that raises ends the process: fail-stop, with its name and traceback."""

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> "Task": ...

    async def cancel_all(self) -> None:
        """Cancel every task and wait for all of them."""
        ...


class Task(Protocol):
    def cancel(self) -> bool: ...

    def done(self) -> bool: ...
