"""A quorum in one thread and virtual time: voters, links, disks, faults, and the invariants after every round.

The rig is the shell of the voters: it carries frames with a delay, drives their barriers with a delay, breaks links and
kills processes between any two of those steps. Everything follows from the seed.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import replace

from cluster.ids import Uuid
from cluster.rpc.raft_pb2 import Frame, Message
from cluster.seams import NotLeader, Timer
from controller.raft.barrier import Barrier
from controller.raft.journal import Standing
from controller.raft.proposals import Proposal
from controller.raft.settings import RaftSettings
from controller.raft.transport import pack_frames
from controller.raft.voter import Connected, Disconnected, Received, Silenced, Voter
from tests.unit.raft.disk import MemoryDisk

FRAME_BYTES_MAX = 4 * 1024 * 1024


class Violation(AssertionError):
    """An invariant does not hold."""


class VirtualClock:
    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms

    def wall_ms(self) -> int:
        return self.at_ms

    async def sleep_ms(self, delay_ms: float) -> None:
        raise AssertionError("a voter does not sleep")

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a voter sets no timer")


class SeededRng:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def randint(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def uuid(self) -> Uuid:
        return Uuid(self._random.randbytes(16))


class Checker:
    """What must hold over all voters and all time."""

    def __init__(self) -> None:
        self.applied: dict[int, tuple[int, bytes]] = {}
        self.leaders: dict[int, int] = {}
        self.commands: dict[int, list[bytes]] = {}

    def on_applied(self, node_id: int, index: int, term: int, command: bytes) -> None:
        known = self.applied.setdefault(index, (term, command))
        if known != (term, command):
            raise Violation(f"entry {index}: {(term, command)!r} on {node_id}, {known!r} elsewhere")

    def on_role(self, voter: Voter) -> None:
        if voter.role.is_leader:
            known = self.leaders.setdefault(voter.role.term, voter.node_id)
            if known != voter.node_id:
                raise Violation(f"term {voter.role.term} is led by {known} and {voter.node_id}")


class ListMachine:
    """The commands in the order of their application; the result is their count."""

    def __init__(self, node_id: int, checker: Checker) -> None:
        self._node_id = node_id
        self._checker = checker
        self.commands: list[bytes] = []

    def apply(self, index: int, term: int, command: bytes) -> bytes:
        self._checker.on_applied(self._node_id, index, term, command)
        self.commands.append(command)
        return b"%d" % len(self.commands)

    def snapshot(self) -> bytes:
        return b"\n".join([b"list", *self.commands])

    def restore(self, snapshot: bytes) -> None:
        kind, *commands = snapshot.split(b"\n")
        if kind != b"list":
            raise ValueError("not a list")
        self.commands = commands


class Link:
    """One direction between two voters."""

    def __init__(self) -> None:
        self.epoch = 0
        self.is_up = False
        self.last_ms = 0
        #: While held, frames wait; they arrive in order when released, or never when the link breaks first.
        self.is_held = False
        self.held: list[bytes] = []


class Node:
    """A process: gone after a crash, while disk and outcomes stay."""

    def __init__(self, voter: Voter, machine: ListMachine) -> None:
        self.voter = voter
        self.machine = machine
        self.barrier: Barrier | None = None
        self.alarm_ms: int | None = None
        self.is_alive = True


class Call:
    """A proposal as its caller sees it."""

    def __init__(self, command: bytes | None) -> None:
        self.command = command
        self.outcome: str | None = None
        self.index = 0
        self.result = b""

    def on_done(self, proposal: Proposal) -> None:
        assert self.outcome is None, "a proposal has one outcome"
        self.outcome = "ok" if proposal.error is None else type(proposal.error).__name__
        self.index, self.result = proposal.index, proposal.result


class Rig:
    """`size` voters, numbered from 1, all started and connected."""

    def __init__(
        self, seed: int = 1, size: int = 3, settings: RaftSettings | None = None, *, is_synced: bool = True
    ) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.checker = Checker()
        self.settings = settings or RaftSettings()
        #: Whether barriers are honoured. The tests that switch it off prove that they matter.
        self.is_synced = is_synced
        self.latency_ms = (1, 2)
        self.sync_ms = (0, 1)
        self.scatter = True
        self.ids = list(range(1, size + 1))
        self.disks = {node_id: MemoryDisk() for node_id in self.ids}
        self.nodes: dict[int, Node] = {}
        self.calls: list[Call] = []
        #: Drops a message when it says so; for faults that no stream would have.
        self.drop: Callable[[int, int, Message], bool] | None = None
        self.sent_messages = 0
        self._links = {(a, b): Link() for a in self.ids for b in self.ids if a != b}
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        for node_id in self.ids:
            self.start(node_id)

    # Processes

    def start(self, node_id: int, settings: RaftSettings | None = None) -> None:
        machine = ListMachine(node_id, self.checker)
        voter = Voter(
            node_id=node_id,
            voters=self.ids,
            disk=self.disks[node_id],
            clock=self.clock,
            rng=SeededRng(self.random.randrange(1 << 30)),
            machine=machine,
            settings=settings or self.settings,
        )
        voter.start()
        node = self.nodes[node_id] = Node(voter, machine)
        for peer in self.ids:
            if peer != node_id and peer in self.nodes:
                self.connect(node_id, peer)
        self._alarm(node, self.clock.at_ms)

    def crash(self, node_id: int, *, power: bool = False) -> None:
        """Kill the process wherever it is; with `power` the machine too."""
        for peer in self.ids:
            if peer != node_id:
                self.disconnect(node_id, peer)
        node = self.nodes.pop(node_id)
        node.is_alive = False
        node.barrier = None
        self.disks[node_id].die_at = -1
        if power:
            self.disks[node_id].power_loss(self.random, self.scatter)

    def wipe(self, node_id: int) -> None:
        """Start again with an empty disk."""
        if node_id in self.nodes:
            self.crash(node_id)
        self.disks[node_id].wipe()
        self.start(node_id, replace(self.settings, initial=False))

    # Links

    def connect(self, a: int, b: int) -> None:
        for source, target in ((a, b), (b, a)):
            link = self._links[source, target]
            if link.is_up or source not in self.nodes or target not in self.nodes:
                continue
            link.is_up = True
            link.epoch += 1
            self._event(source, Connected(target))

    def disconnect(self, a: int, b: int) -> None:
        for source, target in ((a, b), (b, a)):
            link = self._links[source, target]
            if link.is_up:
                link.is_up, link.is_held, link.held = False, False, []
                link.epoch += 1
                self._event(source, Disconnected(target))
                self._event(target, Silenced(source))

    def reset_link(self, a: int, b: int) -> None:
        self.disconnect(a, b)
        self.connect(a, b)

    def hold(self, source: int, target: int) -> None:
        self._links[source, target].is_held = True

    def release(self, source: int, target: int) -> None:
        link = self._links[source, target]
        held, link.held, link.is_held = link.held, [], False
        for frame in held:
            self._carry(source, target, frame)

    def partition(self, side: set[int]) -> None:
        for a in self.ids:
            for b in self.ids:
                if a < b:
                    self.connect(a, b) if (a in side) == (b in side) else self.disconnect(a, b)

    def heal(self) -> None:
        for source, target in self._links:
            self.release(source, target)
        self.partition(set(self.ids))

    # Time

    def run(self, duration_ms: int, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; True as soon as `until` holds."""
        end = self.clock.at_ms + duration_ms
        if until is not None and until():
            return True
        while self._agenda and self._agenda[0][0] <= end:
            at_ms, _, action = heapq.heappop(self._agenda)
            self.clock.at_ms = max(self.clock.at_ms, at_ms)
            action()
            if until is not None and until():
                return True
        self.clock.at_ms = end
        return False

    # Looking at it

    def leader(self) -> int | None:
        """The leader of the highest term."""
        leading = [(node.voter.role.term, node_id) for node_id, node in self.nodes.items() if node.voter.role.is_leader]
        return max(leading)[1] if leading else None

    def elect(self, timeout_ms: int = 10_000) -> int:
        """Wait until somebody leads and everybody knows."""

        def settled() -> bool:
            leader = self.leader()
            return leader is not None and all(node.voter.role.leader_id == leader for node in self.nodes.values())

        assert self.run(timeout_ms, settled), "nobody was elected"
        leader = self.leader()
        assert leader is not None
        return leader

    def followers(self) -> list[int]:
        return [node_id for node_id in self.ids if node_id != self.leader()]

    def voter(self, node_id: int) -> Voter:
        return self.nodes[node_id].voter

    def commands(self, node_id: int) -> list[bytes]:
        return self.nodes[node_id].machine.commands

    def log(self, node_id: int) -> list[tuple[int, int]]:
        """Index and term of every entry in the log."""
        journal = self.voter(node_id)._journal
        return [(entry.index, entry.term) for entry in journal.entries(0, len(journal))]

    def standing(self, node_id: int) -> Standing:
        return self.voter(node_id)._journal.standing

    def is_converged(self) -> bool:
        voters = [node.voter for node in self.nodes.values()]
        last = {voter._journal.last[1:] for voter in voters}
        applied = {voter.applied_index for voter in voters}
        return self.leader() is not None and len(last) == 1 and applied == {voters[0]._journal.last.index}

    def check_acknowledged(self) -> None:
        """Every command whose caller was told of success is in the final state of the leader exactly once."""
        leader = self.leader()
        assert leader is not None
        final = self.commands(leader)
        if len(set(final)) != len(final):
            raise Violation("a command was applied twice")
        present = set(final)
        lost = [call.command for call in self.calls if call.outcome == "ok" and call.command not in present]
        if lost:
            raise Violation(f"{len(lost)} acknowledged commands are lost, the first {lost[0]!r}")
        refused = [call.command for call in self.calls if call.outcome == "NotLeader" and call.command in present]
        if refused:
            raise Violation(f"{len(refused)} refused commands were applied, the first {refused[0]!r}")
        for node_id, node in self.nodes.items():
            if node.machine.commands != final:
                raise Violation(f"the states of {node_id} and {leader} differ")

    # Doing something with it

    def propose(self, node_id: int, command: bytes) -> Call:
        call = Call(command)
        self.calls.append(call)
        try:
            self.voter(node_id).propose(command, call.on_done)
        except NotLeader:
            call.outcome = "NotLeader"
        self._alarm(self.nodes[node_id], self.clock.at_ms)
        return call

    def inject(self, source: int, target: int, message: Message) -> None:
        """Deliver a message that `source` may never have sent, now."""
        self._event(target, Received(source, [message]))
        self.run(0)

    # The shell of a voter

    def _at(self, at_ms: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._agenda, (at_ms, self._number, action))

    def _event(self, node_id: int, event: Connected | Disconnected | Silenced | Received) -> None:
        node = self.nodes.get(node_id)
        if node is not None:
            node.voter.on_event(event)
            self._alarm(node, self.clock.at_ms)

    def _alarm(self, node: Node, at_ms: int) -> None:
        at_ms = max(at_ms, self.clock.at_ms)
        if node.barrier is None and (node.alarm_ms is None or at_ms < node.alarm_ms):
            node.alarm_ms = at_ms
            self._at(at_ms, lambda: self._ring(node, at_ms))

    def _ring(self, node: Node, at_ms: int) -> None:
        if node.is_alive and node.alarm_ms == at_ms:
            node.alarm_ms = None
            node.barrier = node.voter.round()
            self._advance(node, lambda: self._after_round(node))

    def _advance(self, node: Node, after: Callable[[], None]) -> None:
        """Drive the barrier to its next sync, which takes a while."""
        barrier = node.barrier
        if not node.is_alive or barrier is None:
            return
        file = next(barrier, None)
        if file is None:
            node.barrier = None
            after()
            return

        def synced() -> None:
            if node.is_alive:
                if self.is_synced:
                    file.sync()
                self._advance(node, after)

        delay = self.random.randint(*self.sync_ms)
        self._at(self.clock.at_ms + delay, synced)

    def _after_round(self, node: Node) -> None:
        voter = node.voter
        self.checker.on_role(voter)
        for peer, messages in voter.take_outbox().items():
            self._send(voter.node_id, peer, messages)
        if voter.is_compaction_due:
            node.barrier = voter.compact()
            self._advance(node, lambda: self._rest(node))
        else:
            self._rest(node)

    def _rest(self, node: Node) -> None:
        now_ms = self.clock.at_ms
        self._alarm(node, now_ms if node.voter.has_work else max(node.voter.wake_at_ms, now_ms + 1))

    def _send(self, source: int, target: int, messages: list[Message]) -> None:
        if self.drop is not None:
            messages = [message for message in messages if not self.drop(source, target, message)]
        self.sent_messages += len(messages)
        for frame in pack_frames(messages, FRAME_BYTES_MAX):
            self._carry(source, target, frame)

    def _carry(self, source: int, target: int, frame: bytes) -> None:
        link = self._links[source, target]
        if not link.is_up:
            return
        if link.is_held:
            link.held.append(frame)
            return
        link.last_ms = max(link.last_ms, self.clock.at_ms + self.random.randint(*self.latency_ms))
        epoch = link.epoch

        def arrive() -> None:
            if link.epoch == epoch:
                self._event(target, Received(source, list(Frame.FromString(frame).messages)))

        self._at(link.last_ms, arrive)
