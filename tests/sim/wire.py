"""Connections between processes on machines: delay, loss, cuts, resets, silence.

Owns who listens where, which machines hear each other, and every connection. A connection carries payloads in order in
both directions until it breaks; what breaks it may swallow a suffix of what was on its way. A cut holds payloads back
(as retransmission does) until it heals or somebody's keepalive gives up; a process that is killed resets its
connections at once, a machine without power says nothing.
"""

import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cluster.ids import Endpoint
from tests.sim.loop import Process, SimLoop

#: Between two looks at whether the other side still answers; the second failure in a row breaks a connection.
KEEPALIVE_S: Final = 1.0
_KEEPALIVE_SPREAD_S: Final = 0.3
#: After a cut heals, until what was held back is sent again.
_RETRANSMIT_S: Final = (0.01, 0.6)
_EPHEMERAL_PORT_FIRST: Final = 32768
_GAP_S: Final = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad the network is. Times in seconds, the rest are probabilities for each payload."""

    delay_s: tuple[float, float] = (0.0001, 0.001)
    #: Of being thirty times as slow.
    slow: float = 0.005
    #: Of being lost and sent again.
    loss: float = 0.0
    #: Of breaking the connection.
    reset: float = 0.0


@dataclass(frozen=True, slots=True)
class Listener:
    """`accept(end, hello)` is called on nobody's behalf when a connection arrives."""

    process: Process
    accept: Callable[["End", Any], None]


class End:
    """One side of a connection. `on_data` and `on_broken` are called on nobody's behalf."""

    def __init__(self, network: "Network", process: Process | None, *, keepalive: bool) -> None:
        self.peer: End
        self.process = process
        self.machine = process.machine if process is not None else ""
        self.keepalive = keepalive
        #: Closed here, or told that the other side is gone.
        self.broken = False
        #: Bytes that the other side has not consumed yet.
        self.outstanding = 0
        self.strikes = 0
        self.on_data: Callable[[Any, int], None] = lambda _payload, _size: None
        self.on_broken: Callable[[str], None] = lambda _reason: None
        self.on_consumed: Callable[[], None] = lambda: None
        self._network = network
        self._last_s = 0.0
        self._stalled: list[Callable[[], None]] = []
        self._deaf = False

    def send(self, payload: Any, size: int) -> None:
        """Put `payload` on its way, behind what was sent before."""
        if self.broken or not self._is_running():
            return
        self.outstanding += size
        network = self._network
        if network.chance(network.weather.reset):
            self._travel(lambda: self._reset("reset by the network"), in_order=False)
        self._travel(lambda: self._deliver(payload, size))

    def consumed(self, size: int) -> None:
        """This side has taken up `size` bytes of what the other side sent."""
        self.peer.outstanding -= size
        self.peer.on_consumed()

    def close(self, *, in_order: bool | None = None) -> None:
        """End the connection here and tell the other side, behind what was sent (`in_order`) or ahead of it."""
        if self.broken:
            return
        self.broken = True
        if self._is_running():
            ordered = self._network.chance(0.5) if in_order is None else in_order
            self._travel(lambda: self.peer.fail("closed by the other side"), in_order=ordered)
        self._network.forget_when_over(self)

    def fail(self, reason: str) -> None:
        """The connection turns out to be gone."""
        if not self.broken:
            self.broken = True
            self._network.forget_when_over(self)
            self.on_broken(reason)

    def on_process_death(self) -> None:
        """The operating system of a machine that lives closes what the process had open."""
        self.broken = True
        if self._network.has_power(self.machine):
            self._travel(lambda: self.peer.fail("reset: the process ended"), in_order=self._network.chance(0.5))
        self._network.forget_when_over(self)

    def is_answered(self) -> bool:
        """Whether a keepalive ping would come back."""
        peer, network = self.peer, self._network
        if peer.process is None:
            return True
        cut = network.is_cut(self.machine, peer.machine) or network.is_cut(peer.machine, self.machine)
        return peer.process.alive and not peer.process.paused and not peer.broken and not cut

    def flush(self) -> None:
        """Send again what a cut held back."""
        if self._network.is_cut(self.machine, self.peer.machine):
            return
        stalled, self._stalled = self._stalled, []
        for action in stalled:
            action()

    @property
    def is_stalled(self) -> bool:
        return bool(self._stalled)

    def _is_running(self) -> bool:
        return self.process is not None and self.process.alive

    def _travel(self, action: Callable[[], None], *, in_order: bool = True) -> None:
        network = self._network
        at_s = network.now_s() + network.delay()
        if in_order:
            # Timers of the same instant have no order.
            at_s = self._last_s = max(self._last_s + _GAP_S, at_s)
        network.at(at_s, lambda: self._arrive(action))

    def _arrive(self, action: Callable[[], None]) -> None:
        if self._stalled or self._network.is_cut(self.machine, self.peer.machine):
            self._stalled.append(action)
        else:
            action()

    def _reset(self, reason: str) -> None:
        self._deaf = True
        self.fail(reason)
        self.peer.fail(reason)

    def _deliver(self, payload: Any, size: int) -> None:
        peer, network = self.peer, self._network
        if self._deaf or not network.has_power(peer.machine):
            return
        if peer.broken or peer.process is None or not peer.process.alive:
            # Nobody is there: the operating system says so.
            self._deaf = True
            peer._travel(lambda: self.fail("reset: nobody is there"), in_order=False)
            return
        network.delivered(self.process, peer.process, size)
        peer.on_data(payload, size)


class Network:
    """All machines and everything between them."""

    def __init__(self, loop: SimLoop, seed: int, weather: Weather | None = None) -> None:
        self.weather = weather if weather is not None else Weather()
        self.listeners: dict[Endpoint, Listener] = {}
        self.messages = 0
        self._loop = loop
        self._random = random.Random(seed)
        self._cuts: dict[tuple[str, str], int] = {}
        self._dark: set[str] = set()
        self._ends: dict[End, None] = {}
        #: Processes of which the network will hear when they end.
        self._known: dict[Process, None] = {}
        self._context = contextvars.Context()
        self._next_port = _EPHEMERAL_PORT_FIRST
        self._is_ticking = False

    # Faults

    def cut(self, source: str, target: str) -> None:
        """From now on `target` hears nothing of `source`. Cuts add up: each must be healed."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def heal(self, source: str, target: str) -> None:
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
            return
        self._cuts.pop((source, target), None)
        for end in tuple(self._ends):
            if end.is_stalled and (end.machine, end.peer.machine) == (source, target):
                self.at(self.now_s() + self._random.uniform(*_RETRANSMIT_S), end.flush)

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts

    def switch_off(self, machine: str) -> None:
        """The machine falls silent. Its processes must be killed after this, not before."""
        self._dark.add(machine)

    def switch_on(self, machine: str) -> None:
        self._dark.discard(machine)

    def has_power(self, machine: str) -> bool:
        return machine not in self._dark

    # Connections

    def listen(self, endpoint: Endpoint, listener: Listener) -> Endpoint:
        """Returns the endpoint with its port. Raises OSError when the port is taken."""
        if endpoint.port == 0:
            endpoint = Endpoint(endpoint.host, self._free_port(endpoint.host))
        known = self.listeners.get(endpoint)
        if known is not None and known.process.alive:
            raise OSError(98, f"cannot listen on {endpoint}: the port is taken")
        self.listeners[endpoint] = listener
        return endpoint

    def unlisten(self, endpoint: Endpoint, process: Process) -> None:
        known = self.listeners.get(endpoint)
        if known is not None and known.process is process:
            del self.listeners[endpoint]

    def connect(self, process: Process, target: Endpoint, hello: Any, size: int, *, keepalive: bool) -> End:
        """The near end of a connection that is on its way. It breaks when it is refused; silence is not reported."""
        near = End(self, process, keepalive=keepalive)
        far = End(self, None, keepalive=keepalive)
        near.peer, far.peer = far, near
        self._register(near)
        far.machine = target.host
        self.at(self.now_s() + self.delay(), lambda: self._on_connect(near, far, target, hello, size))
        return near

    def forget_when_over(self, end: End) -> None:
        if end.broken and (end.peer.broken or end.peer.process is None):
            self._ends.pop(end, None)
            self._ends.pop(end.peer, None)

    def _on_connect(self, near: End, far: End, target: Endpoint, hello: Any, size: int) -> None:
        if self.is_cut(near.machine, target.host) or not self.has_power(target.host) or near.broken:
            return
        listener = self.listeners.get(target)
        if listener is None or not listener.process.alive:
            if not self.is_cut(target.host, near.machine):
                self.at(self.now_s() + self.delay(), lambda: near.fail(f"nobody listens on {target}"))
            return
        far.process, far.machine = listener.process, listener.process.machine
        self._register(far)
        self.delivered(near.process, far.process, size)
        listener.accept(far, hello)

    def _register(self, end: End) -> None:
        self._ends[end] = None
        assert end.process is not None
        process = end.process
        if process not in self._known:
            self._known[process] = None
            process.on_death.append(lambda: self.on_process_death(process))
        if not self._is_ticking:
            self._is_ticking = True
            self.at(self.now_s() + KEEPALIVE_S, self._tick)

    def on_process_death(self, process: Process) -> None:
        for end in tuple(self._ends):
            if end.process is process:
                end.on_process_death()
        for endpoint, listener in tuple(self.listeners.items()):
            if listener.process is process:
                del self.listeners[endpoint]

    def _tick(self) -> None:
        for end in tuple(self._ends):
            process = end.process
            if not end.keepalive or end.broken or process is None or not process.alive or process.paused:
                continue
            end.strikes = 0 if end.is_answered() else end.strikes + 1
            if end.strikes >= 2:
                self.at(self.now_s() + self._random.uniform(0, _KEEPALIVE_SPREAD_S), _GiveUp(end))
        self._is_ticking = bool(self._ends)
        if self._is_ticking:
            self.at(self.now_s() + KEEPALIVE_S, self._tick)

    def _free_port(self, host: str) -> int:
        while True:
            port, self._next_port = self._next_port, self._next_port + 1
            if Endpoint(host, port) not in self.listeners:
                return port

    # Time and chance

    def now_s(self) -> float:
        return self._loop.time()

    def at(self, at_s: float, action: Callable[[], None]) -> None:
        """Run `action` on nobody's behalf."""
        self._loop.call_at(at_s, action, context=self._context.copy())

    def chance(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def delay(self) -> float:
        weather = self.weather
        delay_s = self._random.uniform(*weather.delay_s)
        if self.chance(weather.slow):
            delay_s *= 30
        if self.chance(weather.loss):
            delay_s += self._random.uniform(0.2, 0.5)
        return delay_s

    def delivered(self, source: Process | None, target: Process, size: int) -> None:
        self.messages += 1
        self._loop.note(source, target, size)


class _GiveUp:
    """A keepalive that has waited long enough."""

    def __init__(self, end: End) -> None:
        self._end = end

    def __call__(self) -> None:
        end = self._end
        if end.process is not None and end.process.alive and not end.broken:
            end.close(in_order=False)
            end.on_broken("keepalive: no answer")
