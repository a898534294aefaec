"""The quorum as its users see it: on an event loop, over streams, with callers that wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster.host.spawner import TaskSpawner
from cluster.ids import Endpoint
from cluster.rpc.raft_pb2 import AppendEntries, Entry, Frame, Message, TimeoutNow
from cluster.seams import NotLeader, Quorum, StreamBroken, UnknownOutcome
from controller.raft.quorum import PySyncObjQuorum
from controller.raft.settings import RaftSettings
from controller.raft.transport import METHOD, StreamTransport, pack_frames, voter_name
from controller.raft.voter import Connected, Disconnected, Received, Silenced
from tests.unit.raft.disk import MemoryDisk
from tests.unit.raft.rig import Checker, ListMachine, SeededRng
from tests.unit.raft.shell import Fabric, LoopClock, MemoryNet, run


class Process:
    """One voter in a process of its own; its disk survives `kill`."""

    def __init__(self, node_id: int, voters: dict[int, Endpoint], fabric: Fabric, disk: MemoryDisk) -> None:
        self.endpoint = voters[node_id]
        self.name = voter_name(node_id)
        self.failures: list[BaseException] = []
        self.roles: list[tuple[int, int | None, bool]] = []
        self.net = MemoryNet(self.name, fabric)
        self.machine = ListMachine(node_id, Checker())
        self.spawner = TaskSpawner(lambda _, error: self.failures.append(error))
        self._fabric = fabric
        self.quorum = PySyncObjQuorum(
            node_id,
            voters,
            self.net,
            disk,
            LoopClock(),
            SeededRng(node_id),
            self.spawner,
            self.machine,
            RaftSettings(snapshot_entries=50),
        )
        quorum = self.quorum
        quorum.on_role_change(lambda: self.roles.append((quorum.term, quorum.leader_id, quorum.is_leader)))

    async def start(self) -> None:
        await self.net.start(self.endpoint)
        await self.quorum.start()

    async def kill(self) -> None:
        self._fabric.kill(self.name, self.endpoint)
        await self.spawner.cancel_all()


class Cluster:
    def __init__(self, size: int) -> None:
        self.fabric = Fabric()
        self.voters = {node_id: Endpoint("host", 9000 + node_id) for node_id in range(1, size + 1)}
        self.disks = {node_id: MemoryDisk() for node_id in self.voters}
        self.processes: dict[int, Process] = {}

    async def start(self, *node_ids: int) -> None:
        for node_id in node_ids or self.voters:
            process = Process(node_id, self.voters, self.fabric, self.disks[node_id])
            self.processes[node_id] = process
            await process.start()

    async def kill(self, node_id: int) -> None:
        await self.processes.pop(node_id).kill()

    async def leader(self) -> Quorum:
        for _ in range(1000):
            for process in self.processes.values():
                if process.quorum.is_leader:
                    return process.quorum
            await asyncio.sleep(0.01)
        raise AssertionError("nobody leads")

    async def end(self) -> None:
        for process in self.processes.values():
            assert process.failures == []
            await process.kill()


def scenario(size: int, story: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        cluster = Cluster(size)
        await cluster.start()
        await story(cluster)
        await cluster.end()

    run(main())


def test_three_voters_elect_replicate_and_survive_their_leader() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        assert await leader.propose(b"a", 1000) == (3, b"1")
        await cluster.kill(leader.node_id)
        clock = LoopClock()
        died_ms = clock.now_ms()
        successor = await cluster.leader()
        assert await successor.propose(b"b", 1000) == (5, b"2")
        assert clock.now_ms() - died_ms < 500
        await cluster.start(leader.node_id)
        await asyncio.sleep(1)
        assert [process.machine.commands for process in cluster.processes.values()] == [[b"a", b"b"]] * 3

    scenario(3, story)


def test_a_lone_voter_keeps_what_it_acknowledged() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        results = await asyncio.gather(*(leader.propose(b"%d" % number, 1000) for number in range(120)))
        assert results[-1][1] == b"120"
        await cluster.kill(1)
        await cluster.start(1)
        leader = await cluster.leader()
        await leader.barrier(1000)
        assert cluster.processes[1].machine.commands == [b"%d" % number for number in range(120)]

    scenario(1, story)


def test_proposals_of_one_moment_share_syncs() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await leader.barrier(1000)
        syncs = cluster.disks[leader.node_id].syncs
        await asyncio.gather(*(leader.propose(b"%d" % number, 1000) for number in range(40)))
        assert cluster.disks[leader.node_id].syncs - syncs < 5

    scenario(3, story)


def test_a_barrier_proves_leadership_and_what_was_acknowledged_before() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        index, _ = await leader.propose(b"a", 1000)
        assert await leader.barrier(1000) > index
        assert leader.applied_index > index

    scenario(3, story)


def test_a_follower_is_not_the_leader_and_says_who_is() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await asyncio.sleep(0.5)
        for process in cluster.processes.values():
            if process.quorum is not leader:
                with pytest.raises(NotLeader) as error:
                    await process.quorum.propose(b"a", 1000)
                assert error.value.leader_id == leader.node_id

    scenario(3, story)


def test_without_a_majority_the_outcome_is_unknown_within_the_timeout() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await leader.propose(b"a", 1000)
        for node_id in list(cluster.processes):
            if node_id != leader.node_id:
                await cluster.kill(node_id)
        with pytest.raises(UnknownOutcome):
            await leader.propose(b"b", 200)
        await asyncio.sleep(3)
        assert not leader.is_leader
        with pytest.raises(NotLeader):
            await leader.propose(b"c", 200)

    scenario(3, story)


def test_a_leader_that_stops_is_succeeded_at_once() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await leader.propose(b"a", 1000)
        await asyncio.sleep(0.3)
        process = cluster.processes[leader.node_id]
        await process.quorum.stop()
        assert not process.quorum.is_leader
        others = [other.quorum for other in cluster.processes.values() if other is not process]
        assert [other.is_leader for other in others].count(True) == 1
        with pytest.raises(NotLeader):
            await leader.propose(b"b", 1000)

    scenario(3, story)


def test_role_changes_are_announced_once_each() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.leader()
        await asyncio.sleep(1)
        for process in cluster.processes.values():
            assert len(process.roles) == len(set(process.roles))
            assert process.roles[-1] == (process.quorum.term, process.quorum.leader_id, process.quorum.is_leader)

    scenario(3, story)


def test_a_failing_disk_ends_the_process() -> None:
    async def main() -> None:
        cluster = Cluster(3)
        await cluster.start()
        leader = await cluster.leader()
        cluster.disks[leader.node_id].sync_error = OSError(5, "input/output error")
        with pytest.raises(UnknownOutcome):
            await leader.propose(b"a", 1000)
        await asyncio.sleep(0.01)
        (failure,) = cluster.processes[leader.node_id].failures
        assert "input/output error" in str(failure)
        with pytest.raises(NotLeader):
            await leader.propose(b"b", 1000)
        await cluster.kill(leader.node_id)
        assert await (await cluster.leader()).barrier(1000) > 0
        await cluster.end()

    run(main())


def test_strangers_and_garbage_are_cut_off() -> None:
    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await asyncio.sleep(0.3)
        endpoint = cluster.voters[leader.node_id]
        role = (leader.term, leader.leader_id, leader.is_leader)
        usurper = Frame(messages=[Message(append_entries=AppendEntries(term=99, entries=[Entry(term=99)]))])
        for name, frame in (
            ("broker-1", usurper.SerializeToString()),
            ("controller-9", usurper.SerializeToString()),
            (voter_name(leader.node_id), usurper.SerializeToString()),
            ("", b""),
            (voter_name(2 if leader.node_id != 2 else 3), b"\x80\x04garbage\xff"),
        ):
            stream = await MemoryNet(name, cluster.fabric).open(endpoint, METHOD, 1000)
            try:
                await stream.send(frame)
            except StreamBroken:
                pass  # it was cut off before it said anything
            with pytest.raises(StreamBroken):
                await stream.recv()
            await asyncio.sleep(0.1)
            assert (leader.term, leader.leader_id, leader.is_leader) == role
        await leader.barrier(1000)

    scenario(3, story)


def test_messages_are_packed_into_as_few_frames_as_fit() -> None:
    messages = [
        Message(append_entries=AppendEntries(term=number, entries=[Entry(command=bytes(1000))])) for number in range(10)
    ]
    frames = pack_frames(messages, 5000)
    assert all(len(frame) <= 5000 for frame in frames)
    unpacked = [message for frame in frames for message in Frame.FromString(frame).messages]
    assert unpacked == messages
    assert len(frames) == 4
    assert pack_frames([], 5000) == []


def test_what_was_said_before_a_connection_was_known_does_not_leave_on_it() -> None:
    """The voter learns of a break before anything new is sent, so a gap is never silent."""

    async def main() -> None:
        fabric = Fabric()
        voters = {1: Endpoint("host", 9001), 2: Endpoint("host", 9002)}
        spawner = TaskSpawner(lambda _name, _error: None)
        transports = {}
        for node_id, endpoint in voters.items():
            net = MemoryNet(voter_name(node_id), fabric)
            transports[node_id] = StreamTransport(
                node_id=node_id,
                voters=voters,
                net=net,
                clock=LoopClock(),
                rng=SeededRng(node_id),
                spawner=spawner,
                settings=RaftSettings(),
                wake=lambda: None,
            )
            await net.start(endpoint)
        for transport in transports.values():
            transport.start()
        await asyncio.sleep(0.5)
        said = {2: [Message(timeout_now=TimeoutNow(term=1))]}
        transports[1].send(said)
        assert transports[1].take_events() == [Connected(2)]
        await asyncio.sleep(0.1)
        assert transports[2].take_events() == [Connected(1)]
        transports[1].send(said)
        await asyncio.sleep(0.1)
        assert transports[2].take_events() == [Received(1, said[2])]
        transports[2].stop()
        await asyncio.sleep(0.1)
        events = transports[1].take_events()
        assert Disconnected(2) in events
        assert Silenced(2) in events
        transports[1].stop()
        await spawner.cancel_all()

    run(main())


def test_an_idle_quorum_hardly_runs() -> None:
    """One round a heartbeat and its answer, not a poll."""

    async def story(cluster: Cluster) -> None:
        leader = await cluster.leader()
        await asyncio.sleep(1)
        rounds = 0
        voter = cluster.processes[leader.node_id].quorum._voter
        original = voter.take_outbox

        def counting() -> dict[int, list[Message]]:
            nonlocal rounds
            rounds += 1
            return original()

        voter.take_outbox = counting  # type: ignore[method-assign]
        await asyncio.sleep(10)
        assert rounds < 450

    scenario(3, story)
