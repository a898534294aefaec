"""Sessions of brokers with the active controller, and what follows from them.

Runs the effects of `Liveness`: probes brokers, proposes that they be fenced, unfenced or shut down. Knows which
metadata offset every broker has applied, and lets callers wait for it. Decides nothing itself.
"""

import asyncio
import logging
from typing import assert_never

from cluster.ids import Uuid
from cluster.metadata.commands import BeginControlledShutdown, Command, FenceBroker, UnfenceBroker
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import PROBE, Heartbeat, HeartbeatAnswer, ProbeRequest, ProbeResponse
from cluster.metadata.results import AppliedCommand, CommandFailed, ShutdownProgress
from cluster.metadata.serde import codec
from cluster.seams import Clock, Net, NotLeader, Spawner, Stream, StreamBroken, Unavailable, UnknownOutcome
from controller.liveness import Effect, Liveness, LivenessSettings, Probe, ProposeFence, ProposeShutdown, ProposeUnfence
from controller.proposals import Proposer, TooManyInFlight

log = logging.getLogger(__name__)

PROBE_TIMEOUT_MS = 200
PROPOSAL_TIMEOUT_MS = 2000
SESSIONS_MAX = 1000
#: Callers that wait for brokers to apply an offset.
WAITERS_MAX = 1000

_HEARTBEAT = codec(Heartbeat)
_ANSWER = codec(HeartbeatAnswer)


class Sessions:
    """All sessions of this controller; it has some only while it is active."""

    def __init__(
        self, net: Net, clock: Clock, spawner: Spawner, proposer: Proposer, settings: LivenessSettings
    ) -> None:
        self._net = net
        self._clock = clock
        self._spawner = spawner
        self._proposer = proposer
        self._tick_ms = settings.tick_ms
        self._liveness = Liveness(settings)
        self._active = False
        self._streams: dict[int, Stream] = {}
        self._next_session = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def activate(self, image: MetadataImage) -> None:
        """This controller is the active one now, and `image` is up to date."""
        self._active = True
        self._liveness.activate(image, self._clock.now_ms())

    def deactivate(self) -> None:
        """Send the brokers to look for the active controller."""
        self._active = False
        self._liveness.deactivate()
        self._release_waiters()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.abort()

    def on_image(self, image: MetadataImage) -> None:
        self._liveness.on_image(image, self._clock.now_ms())
        self._release_waiters()

    def on_rival(self, broker_id: int, incarnation_id: Uuid) -> None:
        """Another incarnation asks to be registered as `broker_id`."""
        self._run(self._liveness.on_rival(broker_id, incarnation_id, self._clock.now_ms()))

    async def run(self) -> None:
        """The clock of the leases; runs for ever."""
        while True:
            await self._clock.sleep_ms(self._tick_ms)
            if self._active:
                self._run(self._liveness.on_tick(self._clock.now_ms()))

    async def serve_session(self, peer: str, stream: Stream) -> None:
        """The handler of the Session stream. A controller that is not active ends it at once."""
        if not self._active or len(self._streams) >= SESSIONS_MAX:
            return
        session = self._next_session
        self._next_session += 1
        self._streams[session] = stream
        broker_id: int | None = None
        try:
            while True:
                heartbeat = _HEARTBEAT.decode(await stream.recv())
                if session not in self._streams:
                    break
                if peer != f"broker-{heartbeat.broker_id}":
                    log.warning("session of %s is cut off: it speaks for broker %d", peer, heartbeat.broker_id)
                    break
                broker_id = heartbeat.broker_id
                self._run(self._liveness.on_heartbeat(session, heartbeat, self._clock.now_ms()))
                self._release_waiters()
                await stream.send(_ANSWER.encode(self._liveness.answer(heartbeat)))
        except StreamBroken:
            pass
        except ValueError as error:
            log.warning("session of %s is cut off: %s", peer, error)
        finally:
            self._streams.pop(session, None)
            if broker_id is not None:
                self._run(self._liveness.on_session_broken(session, broker_id, self._clock.now_ms()))

    async def wait_applied(self, offset: int, timeout_ms: int) -> None:
        """Return when every unfenced broker has applied `offset`, or after `timeout_ms`."""
        if self._is_applied(offset) or len(self._waiters) >= WAITERS_MAX:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        item = (offset, waiter)
        self._waiters.append(item)
        timer = self._clock.call_later_ms(timeout_ms, lambda: _finish(waiter))
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.remove(item)

    def _is_applied(self, offset: int) -> bool:
        lowest = self._liveness.lowest_applied_offset()
        return lowest is None or lowest >= offset

    def _release_waiters(self) -> None:
        for offset, waiter in self._waiters:
            if self._is_applied(offset):
                _finish(waiter)

    def _run(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Probe():
                    self._spawner.spawn(self._probe(effect), f"probe-{effect.broker_id}")
                case ProposeFence():
                    log.warning("broker %d -> fenced: %s", effect.broker_id, effect.reason)
                    fence = FenceBroker(
                        broker_id=effect.broker_id, broker_epoch=effect.broker_epoch, reason=effect.reason
                    )
                    self._spawner.spawn(self._propose_only(fence), f"fence-{effect.broker_id}")
                case ProposeUnfence():
                    log.info("broker %d -> unfenced: it caught up with the metadata", effect.broker_id)
                    unfence = UnfenceBroker(broker_id=effect.broker_id, broker_epoch=effect.broker_epoch)
                    self._spawner.spawn(self._propose_only(unfence), f"unfence-{effect.broker_id}")
                case ProposeShutdown():
                    self._spawner.spawn(self._shut_down(effect), f"shutdown-{effect.broker_id}")
                case _:
                    assert_never(effect)

    async def _probe(self, probe: Probe) -> None:
        found: Uuid | None = None
        try:
            answer = await self._net.call(
                probe.endpoint, PROBE, codec(ProbeRequest).encode(ProbeRequest()), PROBE_TIMEOUT_MS
            )
            found = codec(ProbeResponse).decode(answer).incarnation_id
        except (Unavailable, ValueError) as error:
            log.info("probe of broker %d at %s: %s", probe.broker_id, probe.endpoint, error)
        now_ms = self._clock.now_ms()
        self._run(self._liveness.on_probe(probe.broker_id, probe.broker_epoch, found, now_ms))

    async def _shut_down(self, effect: ProposeShutdown) -> None:
        command = BeginControlledShutdown(broker_id=effect.broker_id, broker_epoch=effect.broker_epoch)
        applied = await self._propose(command)
        if applied is not None and isinstance(applied.result, ShutdownProgress):
            remaining = applied.result.leaders_remaining
            log.info("broker %d is shutting down: %d of its partitions wait for an heir", effect.broker_id, remaining)
            self._liveness.on_shutdown_progress(effect.broker_id, effect.broker_epoch, remaining, applied.offset)

    async def _propose_only(self, command: Command) -> None:
        await self._propose(command)

    async def _propose(self, command: Command) -> AppliedCommand | None:
        """None when it is not known to be applied; liveness asks again while the metadata does not show it."""
        try:
            applied = await self._proposer.propose(command, PROPOSAL_TIMEOUT_MS)
        except (NotLeader, UnknownOutcome, TooManyInFlight) as error:
            log.info("%s is not known to be applied: %r", type(command).__name__, error)
            return None
        if isinstance(applied.result, CommandFailed):
            log.info("%s is refused: %s", type(command).__name__, applied.result.message)
        return applied


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
