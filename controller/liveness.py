"""Which brokers are alive: leases, suspicion, probes. Decides what to propose; the metadata decides what is.

- A heartbeat renews a broker's lease. When the lease runs out, the broker is fenced.
- A broken session makes a broker suspect at once: it is probed at its endpoint, and fenced when nobody or another
  incarnation answers. When the same incarnation answers, the lease goes on, and so do the probes until it is back.
- A controller that has just become active grants every unfenced broker a fresh lease, and soon probes those that did
  not open a session.
- When this process itself was late, leases are extended: it cannot tell who was silent from what it did not hear.
- A fenced broker that heartbeats is unfenced when it holds the metadata of its own fencing or registration.

State machine: events and `now_ms` (monotonic) in, effects out. Every effect is safe to repeat, and is repeated while
the metadata does not show it. Differs from Kafka, which knows leases only: noticing death by its broken stream is what
makes failover take less than a second.
"""

from dataclasses import dataclass

from cluster.ids import Endpoint, Uuid
from cluster.metadata.image import BrokerImage, MetadataImage
from cluster.metadata.messages import Heartbeat, HeartbeatAnswer

_RIVAL = "another incarnation asks to be registered"
_STOPPED = "its controlled shutdown is complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSettings:
    """Times in ms; `tick_ms` is how often `on_tick` is promised."""

    session_timeout_ms: int = 2000
    connect_grace_ms: int = 300
    probe_interval_ms: int = 300
    repeat_ms: int = 500
    tick_ms: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Ask who is at `endpoint`, and report with `on_probe`."""

    broker_id: int
    broker_epoch: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeFence:
    broker_id: int
    broker_epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeUnfence:
    broker_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeShutdown:
    """Begin or continue the broker's controlled shutdown, and report with `on_shutdown_progress`."""

    broker_id: int
    broker_epoch: int


Effect = Probe | ProposeFence | ProposeUnfence | ProposeShutdown


class _Watched:
    """What is known of one incarnation of a broker beyond the metadata."""

    def __init__(self, broker: BrokerImage, lease_until_ms: int, catch_up_offset: int) -> None:
        self.broker = broker
        self.lease_until_ms = lease_until_ms
        #: Number of its open session.
        self.session: int | None = None
        self.applied_offset = -1
        #: A fenced broker is unfenced when it has applied this.
        self.catch_up_offset = catch_up_offset
        self.wants_shutdown = False
        #: Set when it leads nothing any more: the offset at which that can be seen.
        self.idle_offset: int | None = None
        self.was_allowed_to_stop = False
        self.is_probed = False
        self.probe_at_ms = 0
        #: Why it is probed, for the record of its fencing.
        self.suspicion = ""
        #: Until then the same is not proposed for it again.
        self.quiet_until_ms: dict[type, int] = {}


class Liveness:
    """Inactive until `activate`; an inactive one ignores events and knows nobody."""

    def __init__(self, settings: LivenessSettings) -> None:
        self._settings = settings
        self._watched: dict[int, _Watched] = {}
        self._active = False
        self._ticked_ms = 0

    def activate(self, image: MetadataImage, now_ms: int) -> None:
        """This controller became the active one, with `image`."""
        self._active = True
        self._watched.clear()
        self._ticked_ms = now_ms
        self.on_image(image, now_ms)
        for watched in self._watched.values():
            watched.probe_at_ms = now_ms + self._settings.connect_grace_ms
            watched.suspicion = "it opened no session with the new controller"

    def deactivate(self) -> None:
        self._active = False
        self._watched.clear()

    def on_image(self, image: MetadataImage, now_ms: int) -> None:
        """The metadata changed: brokers registered, were fenced, were unfenced, or are gone."""
        if not self._active:
            return
        for broker_id in [known for known in self._watched if known not in image.brokers]:
            del self._watched[broker_id]
        for broker_id, broker in image.brokers.items():
            watched = self._watched.get(broker_id)
            if watched is None or watched.broker.broker_epoch != broker.broker_epoch:
                lease_until_ms = now_ms + self._settings.session_timeout_ms
                self._watched[broker_id] = _Watched(broker, lease_until_ms, image.offset)
                continue
            if watched.broker.fenced != broker.fenced:
                watched.quiet_until_ms.clear()
                if broker.fenced:
                    watched.catch_up_offset = image.offset
            watched.broker = broker

    def on_heartbeat(self, session: int, heartbeat: Heartbeat, now_ms: int) -> list[Effect]:
        """A broker spoke on the session with this number; see `answer` for what to tell it."""
        watched = self._current(heartbeat)
        if watched is None:
            return []
        watched.session = session
        watched.lease_until_ms = now_ms + self._settings.session_timeout_ms
        watched.applied_offset = max(watched.applied_offset, heartbeat.applied_offset)
        watched.wants_shutdown = heartbeat.wants_shutdown
        broker = watched.broker
        if watched.wants_shutdown and watched.idle_offset is None:
            shutdown = ProposeShutdown(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch)
            return self._once(watched, shutdown, now_ms)
        stopping = watched.wants_shutdown or broker.in_controlled_shutdown
        if broker.fenced and not stopping and watched.applied_offset >= watched.catch_up_offset:
            unfence = ProposeUnfence(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch)
            return self._once(watched, unfence, now_ms)
        return []

    def answer(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        watched = self._current(heartbeat)
        if watched is None:
            return HeartbeatAnswer(registered=False, fenced=True, shutdown_allowed=False)
        allowed = watched.idle_offset is not None and self._others_applied(heartbeat.broker_id, watched.idle_offset)
        watched.was_allowed_to_stop = watched.was_allowed_to_stop or allowed
        return HeartbeatAnswer(registered=True, fenced=watched.broker.fenced, shutdown_allowed=allowed)

    def on_session_broken(self, session: int, broker_id: int, now_ms: int) -> list[Effect]:
        """The session ended. It means nothing when the broker has opened another one since."""
        watched = self._watched.get(broker_id)
        if watched is None or watched.session != session:
            return []
        watched.session = None
        if watched.broker.fenced:
            return []
        if watched.was_allowed_to_stop:
            return self._fence(watched, _STOPPED, now_ms)
        watched.suspicion = "its session stream broke"
        return self._probe(watched, now_ms)

    def on_rival(self, broker_id: int, incarnation_id: Uuid, now_ms: int) -> list[Effect]:
        """Another incarnation asks to be registered as this broker: is the one that we know still there?"""
        watched = self._watched.get(broker_id)
        if watched is None or watched.broker.fenced or watched.broker.incarnation_id == incarnation_id:
            return []
        if now_ms < watched.probe_at_ms and watched.suspicion == _RIVAL:
            return []
        watched.suspicion = _RIVAL
        return self._probe(watched, now_ms)

    def on_probe(self, broker_id: int, broker_epoch: int, found: Uuid | None, now_ms: int) -> list[Effect]:
        """Who answered the probe: an incarnation, or None for nobody."""
        watched = self._watched.get(broker_id)
        if watched is None or watched.broker.broker_epoch != broker_epoch:
            return []
        watched.is_probed = False
        watched.probe_at_ms = now_ms + self._settings.probe_interval_ms
        if watched.broker.fenced or found == watched.broker.incarnation_id:
            return []
        if found is not None:
            return self._fence(watched, f"{watched.suspicion} and another incarnation answers at its address", now_ms)
        if watched.session is not None or self._is_late(now_ms):
            return []
        return self._fence(watched, f"{watched.suspicion} and the probe found nobody", now_ms)

    def on_shutdown_progress(self, broker_id: int, broker_epoch: int, remaining: int, offset: int) -> None:
        """The broker's controlled shutdown stands at `remaining` leaderships, as of `offset`."""
        watched = self._watched.get(broker_id)
        if watched is not None and watched.broker.broker_epoch == broker_epoch and remaining == 0:
            watched.idle_offset = offset

    def on_tick(self, now_ms: int) -> list[Effect]:
        """Time passed; called every `tick_ms`, or as near to it as this process manages."""
        if not self._active:
            return []
        timeout_ms = self._settings.session_timeout_ms
        is_late = self._is_late(now_ms)
        self._ticked_ms = now_ms
        effects: list[Effect] = []
        for _, watched in sorted(self._watched.items()):
            if is_late:
                watched.lease_until_ms = max(watched.lease_until_ms, now_ms + timeout_ms)
            if watched.broker.fenced:
                continue
            if now_ms >= watched.lease_until_ms:
                effects += self._fence(watched, f"nothing was heard of it for {timeout_ms} ms", now_ms)
            elif watched.session is None and watched.was_allowed_to_stop:
                effects += self._fence(watched, _STOPPED, now_ms)
            elif watched.session is None and now_ms >= watched.probe_at_ms:
                effects += self._probe(watched, now_ms)
        return effects

    def lowest_applied_offset(self) -> int | None:
        """What every unfenced broker has applied; None when there is no such broker."""
        offsets = [watched.applied_offset for watched in self._watched.values() if not watched.broker.fenced]
        return min(offsets, default=None)

    def _is_late(self, now_ms: int) -> bool:
        """Whether this process stood still for so long that what it did not hear means nothing."""
        return now_ms - self._ticked_ms - self._settings.tick_ms > self._settings.session_timeout_ms // 2

    def _current(self, heartbeat: Heartbeat) -> _Watched | None:
        watched = self._watched.get(heartbeat.broker_id)
        if watched is None:
            return None
        broker = watched.broker
        same = (broker.broker_epoch, broker.incarnation_id) == (heartbeat.broker_epoch, heartbeat.incarnation_id)
        return watched if same else None

    def _others_applied(self, broker_id: int, offset: int) -> bool:
        return all(
            watched.applied_offset >= offset
            for other, watched in self._watched.items()
            if other != broker_id and watched.broker.active
        )

    def _fence(self, watched: _Watched, reason: str, now_ms: int) -> list[Effect]:
        broker = watched.broker
        fence = ProposeFence(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, reason=reason)
        return self._once(watched, fence, now_ms)

    def _probe(self, watched: _Watched, now_ms: int) -> list[Effect]:
        if watched.is_probed:
            return []
        watched.is_probed = True
        watched.probe_at_ms = now_ms + self._settings.probe_interval_ms
        broker = watched.broker
        return [Probe(broker_id=broker.broker_id, broker_epoch=broker.broker_epoch, endpoint=broker.node_endpoint)]

    def _once(self, watched: _Watched, proposal: Effect, now_ms: int) -> list[Effect]:
        """The proposal, unless its like was made a moment ago and may still be on its way."""
        kind = type(proposal)
        if now_ms < watched.quiet_until_ms.get(kind, now_ms):
            return []
        watched.quiet_until_ms[kind] = now_ms + self._settings.repeat_ms
        return [proposal]
