"""The outside of the controller in memory: virtual time, a network, a quorum. Small and deterministic."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cluster.ids import Endpoint, Uuid
from cluster.seams import (
    CallHandler,
    NotLeader,
    StateMachine,
    Stream,
    StreamBroken,
    StreamHandler,
    Task,
    Unavailable,
    UnknownOutcome,
)

LATENCY_MS = 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while there is work, and jumps to the next timer when there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready: Any = getattr(self, "_ready")  # noqa: B009 - private to asyncio, and unknown to the type checker
        scheduled: Any = getattr(self, "_scheduled")  # noqa: B009
        live = [handle.when() for handle in scheduled if not handle.cancelled()]
        if not ready and live:
            self._now = max(self._now, min(live))
        getattr(super(), "_run_once")()  # noqa: B009


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 600) -> None:
    """Run `scenario` in virtual time; it fails when it takes longer than `limit_s` of that."""

    async def main() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


class LoopClock:
    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + self.now_ms()

    async def sleep_ms(self, delay_ms: float) -> None:
        await asyncio.sleep(delay_ms / 1000)

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_ms / 1000, callback)


class SeededRng:
    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def randint(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def uuid(self) -> Uuid:
        return Uuid(self._random.randbytes(16))


class Spawner:
    """Remembers what failed."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.failures: list[BaseException] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> Task:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.append(task)
        task.add_done_callback(self._on_done)
        return task

    async def cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)


class Pipe:
    """One side of a stream; `other` is the other side."""

    other: "Pipe"

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.broken = False
        self.muted = False

    async def send(self, message: bytes) -> None:
        if self.broken:
            raise StreamBroken("broken")
        await asyncio.sleep(LATENCY_MS / 1000)
        if self.broken:
            raise StreamBroken("broken")
        if not self.muted:
            self.other._inbox.put_nowait(message)

    async def recv(self) -> bytes:
        message = None if self.broken and self._inbox.empty() else await self._inbox.get()
        if message is None:
            raise StreamBroken("broken")
        return message

    def abort(self) -> None:
        """The other side hears of it unless nothing is heard at all."""
        for side in (self,) if self.muted else (self, self.other):
            if not side.broken:
                side.broken = True
                side._inbox.put_nowait(None)


class Hub:
    """Who listens where, and whom nobody hears."""

    def __init__(self) -> None:
        self.nets: dict[Endpoint, FakeNet] = {}

    def kill(self, net: "FakeNet") -> None:
        """As by kill -9: its port is closed and its streams break."""
        self.nets = {endpoint: other for endpoint, other in self.nets.items() if other is not net}
        net.kill()

    def mute(self, net: "FakeNet") -> None:
        """As by a pulled cable: nothing goes in or out, and nothing breaks."""
        net.muted = True
        for pipe in net.pipes:
            pipe.muted = pipe.other.muted = True

    def unmute(self, net: "FakeNet") -> None:
        """The cable is back; streams from before are found broken."""
        net.muted = False
        for pipe in net.pipes:
            if pipe.muted:
                pipe.muted = pipe.other.muted = False
                pipe.abort()


class FakeNet:
    max_message_bytes = 2**26

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self._name = name
        self._calls: dict[str, CallHandler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.pipes: list[Pipe] = []
        self.muted = False
        self.dead = False

    async def call(self, peer: Endpoint, method: str, request: bytes, timeout_ms: int) -> bytes:
        async def ask() -> bytes:
            await asyncio.sleep(LATENCY_MS / 1000)
            server = self._server(peer)
            if server.muted or self.muted:
                await asyncio.Event().wait()
            if method not in server._calls:
                raise Unavailable(f"no {method}")
            answer = await server._calls[method](self._name, request)
            await asyncio.sleep(LATENCY_MS / 1000)
            if server.dead or self.dead:
                raise Unavailable("died")
            return answer

        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await ask()
        except TimeoutError:
            raise Unavailable("timed out") from None
        except ValueError as error:
            raise Unavailable(str(error)) from None

    async def open(self, peer: Endpoint, method: str, timeout_ms: int) -> Stream:
        await asyncio.sleep(LATENCY_MS / 1000)
        server = self._server(peer)
        if server.muted or self.muted:
            await asyncio.sleep(timeout_ms / 1000)
            raise Unavailable("timed out")
        ours, theirs = Pipe(), Pipe()
        ours.other, theirs.other = theirs, ours
        self.pipes.append(ours)
        server.pipes.append(theirs)
        server._tasks.append(asyncio.get_running_loop().create_task(server._serve(method, self._name, theirs)))
        return ours

    def serve_call(self, method: str, handler: CallHandler) -> None:
        self._calls[method] = handler

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        self._streams[method] = handler

    async def start(self, listen: Endpoint) -> Endpoint:
        self._hub.nets[listen] = self
        return listen

    async def stop(self) -> None:
        self._hub.kill(self)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self) -> None:
        self.dead = True
        for pipe in self.pipes:
            pipe.abort()

    def _server(self, peer: Endpoint) -> "FakeNet":
        server = self._hub.nets.get(peer)
        if server is None or self.dead:
            raise Unavailable(f"nobody listens at {peer}")
        return server

    async def _serve(self, method: str, peer: str, stream: Pipe) -> None:
        try:
            await self._streams[method](peer, stream)
        finally:
            stream.abort()


class Group:
    """A quorum whose members agree at once, and whose leader is chosen by the test."""

    def __init__(self) -> None:
        self.members: dict[int, FakeQuorum] = {}
        self.log: list[tuple[int, bytes]] = []
        self.term = 0
        self.leader_id: int | None = None
        #: Outcomes that the leader will not live to tell.
        self.outcomes_to_lose = 0

    def join(self, node_id: int, machine: StateMachine) -> "FakeQuorum":
        self.members[node_id] = FakeQuorum(self, node_id, machine)
        return self.members[node_id]

    def elect(self, node_id: int | None) -> None:
        self.leader_id = node_id
        self.term += 1
        for member in self.members.values():
            member.tell()

    def append(self, command: bytes) -> tuple[int, bytes]:
        self.log.append((self.term, command))
        index = len(self.log)
        results = [member.machine.apply(index, self.term, command) for member in self.members.values()]
        assert len(set(results)) == 1, "the voters disagree"
        return index, results[0]


class FakeQuorum:
    def __init__(self, group: Group, node_id: int, machine: StateMachine) -> None:
        self._group = group
        self.node_id = node_id
        self.machine = machine
        self._callbacks: list[Callable[[], None]] = []

    @property
    def term(self) -> int:
        return self._group.term

    @property
    def leader_id(self) -> int | None:
        return self._group.leader_id

    @property
    def is_leader(self) -> bool:
        return self._group.leader_id == self.node_id

    @property
    def applied_index(self) -> int:
        return len(self._group.log)

    def on_role_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def tell(self) -> None:
        for callback in self._callbacks:
            callback()

    async def start(self) -> None:
        self.tell()

    async def stop(self) -> None:
        if self.is_leader:
            self._group.elect(None)

    async def propose(self, command: bytes, timeout_ms: int) -> tuple[int, bytes]:
        self._check()
        await asyncio.sleep(LATENCY_MS / 1000)
        self._check()
        answer = self._group.append(command)
        if self._group.outcomes_to_lose > 0:
            self._group.outcomes_to_lose -= 1
            raise UnknownOutcome
        return answer

    async def barrier(self, timeout_ms: int) -> int:
        self._check()
        await asyncio.sleep(LATENCY_MS / 1000)
        self._check()
        return self.applied_index

    def _check(self) -> None:
        if not self.is_leader:
            raise NotLeader(self.leader_id)
