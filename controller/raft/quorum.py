"""The controller quorum: the `Quorum` seam over a voter on pysyncobj and streams to the other voters.

Owns the loop that drives the voter, and the waiting of callers for their proposals. Never looks into a command. An
exception in the loop is fail-stop: what the library holds in memory is not trustworthy after one, so it leaves the task
and the spawner ends the process; the next start recovers from the disk.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from cluster.ids import Endpoint
from cluster.seams import Clock, Disk, Net, NotLeader, Rng, Spawner, StateMachine, UnknownOutcome
from controller.raft.barrier import Barrier, StorageFailed
from controller.raft.journal import Standing
from controller.raft.proposals import Proposal
from controller.raft.settings import RaftSettings
from controller.raft.transport import StreamTransport
from controller.raft.voter import HandOver, Role, Voter

log = logging.getLogger(__name__)

_DEFAULTS = RaftSettings()


class PySyncObjQuorum:
    """One voter of the quorum `voters`, which includes `node_id` itself; addresses may change, ids may not.

    The Net must be known as `controller-<node_id>`; construct the quorum before the Net is started. Everything runs on
    one event loop.
    """

    def __init__(
        self,
        node_id: int,
        voters: Mapping[int, Endpoint],
        net: Net,
        disk: Disk,
        clock: Clock,
        rng: Rng,
        spawner: Spawner,
        state_machine: StateMachine,
        settings: RaftSettings = _DEFAULTS,
    ) -> None:
        self.node_id = node_id
        self._clock = clock
        self._spawner = spawner
        self._settings = settings
        self._wake = asyncio.Event()
        self._voter = Voter(
            node_id=node_id,
            voters=sorted(voters),
            disk=disk,
            clock=clock,
            rng=rng,
            machine=state_machine,
            settings=settings,
        )
        self._transport = StreamTransport(
            node_id=node_id,
            voters=voters,
            net=net,
            clock=clock,
            rng=rng,
            spawner=spawner,
            settings=settings,
            wake=self._wake.set,
        )
        self._role = self._voter.role
        self._standing = Standing.VOTER
        self._role_callbacks: list[Callable[[], None]] = []
        self._has_peers = len(voters) > 1
        self._is_stopping = False
        self._ended = asyncio.Event()

    @property
    def term(self) -> int:
        return self._role.term

    @property
    def leader_id(self) -> int | None:
        return self._role.leader_id

    @property
    def is_leader(self) -> bool:
        return self._role.is_leader

    @property
    def applied_index(self) -> int:
        return self._voter.applied_index

    def on_role_change(self, callback: Callable[[], None]) -> None:
        self._role_callbacks.append(callback)

    async def start(self) -> None:
        """Recover from the disk and take part. Raises StorageCorrupt when the voter must not, and StorageFailed."""
        self._voter.start()
        self._role = self._voter.role
        self._transport.start()
        self._spawner.spawn(self._run(), "raft")

    async def stop(self) -> None:
        """Hand the leadership over if there is somebody to take it, and close. Call once, after `start`."""
        if self.is_leader and self._has_peers:
            self._voter.on_event(HandOver())
            self._wake.set()
            await self._wait_until(lambda: not self.is_leader, self._settings.transfer_timeout_ms)
        self._is_stopping = True
        self._wake.set()
        await self._ended.wait()
        self._transport.stop()
        self._voter.close()
        self._announce(Role(self.term, None, False))

    async def propose(self, command: bytes, timeout_ms: int) -> tuple[int, bytes]:
        """See the seam. Raises ValueError when `command` is longer than `command_bytes_max`."""
        proposal = await self._settled(command, timeout_ms)
        return proposal.index, proposal.result

    async def barrier(self, timeout_ms: int) -> int:
        proposal = await self._settled(None, timeout_ms)
        return proposal.index

    async def _settled(self, command: bytes | None, timeout_ms: int) -> Proposal:
        if self._is_stopping or self._ended.is_set():
            raise NotLeader(None)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(_proposal: Proposal) -> None:
            if not waiter.done():
                waiter.set_result(None)

        def give_up() -> None:
            if not waiter.done():
                waiter.set_exception(UnknownOutcome(f"no outcome within {timeout_ms} ms"))

        proposal = self._voter.propose(command, settle)
        self._wake.set()
        timer = self._clock.call_later_ms(timeout_ms, give_up)
        try:
            await waiter
        finally:
            timer.cancel()
            self._voter.withdraw(proposal)
        if proposal.error is not None:
            raise proposal.error
        return proposal

    async def _run(self) -> None:
        voter, transport = self._voter, self._transport
        try:
            while not self._is_stopping:
                for event in transport.take_events():
                    voter.on_event(event)
                voter.set_congested(transport.congested())
                await _sync_each(voter.round())
                transport.send(voter.take_outbox())
                self._announce(voter.role)
                self._tell_standing()
                if voter.is_compaction_due:
                    await _sync_each(voter.compact())
                await self._wait_for_work()
        finally:
            voter.abandon_proposals()
            self._ended.set()

    async def _wait_for_work(self) -> None:
        if self._voter.has_work:
            self._wake.set()
        delay_ms = self._voter.wake_at_ms - self._clock.now_ms()
        timer = self._clock.call_later_ms(max(delay_ms, 1), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        self._wake.clear()
        # Whoever is ready to propose in this turn of the loop becomes part of the same sync.
        await asyncio.sleep(0)

    def _announce(self, role: Role) -> None:
        before, self._role = self._role, role
        if before != self._role:
            log.info("raft: %s -> %s", _describe(before), _describe(self._role))
            for callback in self._role_callbacks:
                callback()

    def _tell_standing(self) -> None:
        before, self._standing = self._standing, self._voter.standing
        if self._standing is Standing.OBSERVER and before is not Standing.OBSERVER:
            log.warning("raft: this voter's disk is younger than the quorum: it counts for nothing until it caught up")
        elif self._standing is Standing.VOTER and before is Standing.OBSERVER:
            log.info("raft: this voter caught up with the quorum and counts again")

    async def _wait_until(self, condition: Callable[[], bool], timeout_ms: int) -> None:
        deadline_ms = self._clock.now_ms() + timeout_ms
        while not condition() and self._clock.now_ms() < deadline_ms and not self._ended.is_set():
            await self._clock.sleep_ms(5)


def _describe(role: Role) -> str:
    return f"term {role.term}, leader {'none' if role.leader_id is None else role.leader_id}"


async def _sync_each(barrier: Barrier) -> None:
    """Drive `barrier` to its end with the syncs off the event loop. Raises StorageFailed."""
    for file in barrier:
        try:
            await file.sync_async()
        except OSError as error:
            raise StorageFailed(f"sync of {file.path}: {error}") from error
