"""The broker's one connection to the controllers.

Owns finding the active controller, the broker's registration, its session and its watch, and the image that the watch
makes. Commands go through `submit`, which repeats them under one sequence number until their outcome is known. Answers
the controllers' probes. Never acts on an image: that is for whoever was given as `on_image`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cluster.errors import ErrorCode, KafkaError
from cluster.ids import Endpoint, Uuid
from cluster.metadata.commands import CLIENT_WINDOW, Command, CommandOf, RegisterBroker, result_type
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import (
    PROBE,
    SESSION,
    STATUS,
    SUBMIT,
    WATCH,
    Heartbeat,
    HeartbeatAnswer,
    NotController,
    OutcomeUnknown,
    Overloaded,
    ProbeRequest,
    ProbeResponse,
    StatusRequest,
    StatusResponse,
    SubmitRequest,
    SubmitResponse,
    WatchChunk,
    WatchRequest,
)
from cluster.metadata.records import Listener
from cluster.metadata.results import AppliedCommand, CommandFailed
from cluster.metadata.serde import codec
from cluster.metadata.updates import image_after
from cluster.seams import Clock, Net, Rng, Spawner, Stream, StreamBroken, Task, Unavailable

log = logging.getLogger(__name__)

R = TypeVar("R")

#: An assembled WatchUpdate; a longer one is an error of the controller.
UPDATE_BYTES_MAX = 2**30
#: Of registering, after which the process gives up: waiting does not cure these.
_HOPELESS = (ErrorCode.INCONSISTENT_CLUSTER_ID, ErrorCode.INVALID_REGISTRATION, ErrorCode.UNSUPPORTED_VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerIdentity:
    """What the broker says of itself when it registers; see `RegisterBroker`."""

    broker_id: int
    incarnation_id: Uuid
    cluster_id: str
    listeners: tuple[Listener, ...]
    node_endpoint: Endpoint
    rack: str | None = None
    feature_level_max: int = 1
    previous_broker_epoch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Times in ms."""

    heartbeat_interval_ms: int = 500
    #: A controller that does not answer a heartbeat for so long is left.
    answer_timeout_ms: int = 1000
    open_timeout_ms: int = 500
    status_timeout_ms: int = 250
    #: One attempt of a command.
    attempt_timeout_ms: int = 1500
    #: Between attempts of anything; doubled up to the maximum, and spread by chance.
    retry_min_ms: int = 25
    retry_max_ms: int = 400
    #: How long the controller may hold back an answer until all brokers have applied it.
    wait_applied_ms: int = 1000
    register_timeout_ms: int = 10_000
    #: A shutdown waits no longer for controllers that are silent for so long: well above what their elections take.
    silence_ms: int = 2500
    #: How often a broker that waits for its cluster to exist says so.
    complaint_ms: int = 5000


class _Bell:
    """Wakes everybody who waits, and nobody later."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: In the order in which they began to wait.
        self._waiters: dict[asyncio.Future[bool], None] = {}

    def ring(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(True)

    async def wait(self, timeout_ms: int) -> bool:
        """Whether it rang within `timeout_ms`."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None

        def give_up() -> None:
            if not waiter.done():
                waiter.set_result(False)

        timer = self._clock.call_later_ms(timeout_ms, give_up)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiters.pop(waiter, None)


async def discover_cluster_id(net: Net, clock: Clock, voters: Mapping[int, Endpoint], settings: LinkSettings) -> str:
    """The id of the cluster that the controllers make up; asks until one of them knows it."""
    question = codec(StatusRequest).encode(StatusRequest())
    asked_ms = told_ms = clock.now_ms()
    while True:
        now_ms = clock.now_ms()
        if now_ms - told_ms >= settings.complaint_ms:
            told_ms = now_ms
            names = ", ".join(f"{controller_id}@{endpoint}" for controller_id, endpoint in voters.items())
            log.warning("no controller of %s has told its cluster for %d s", names, (now_ms - asked_ms) // 1000)
        for endpoint in voters.values():
            try:
                answer = await net.call(endpoint, STATUS, question, settings.status_timeout_ms)
                status = codec(StatusResponse).decode(answer)
            except (Unavailable, ValueError):
                continue
            if status.cluster_id:
                return status.cluster_id
        await clock.sleep_ms(settings.retry_min_ms)


class ControllerLink:
    """Construct before the Net is started; `start` when it is.

    `on_image(new, old)` is called on the event loop after every change of the image, in order; when it returns, the
    broker counts as acting upon `new`.
    """

    def __init__(
        self,
        *,
        net: Net,
        clock: Clock,
        rng: Rng,
        spawner: Spawner,
        voters: Mapping[int, Endpoint],
        identity: BrokerIdentity,
        settings: LinkSettings,
        on_image: Callable[[MetadataImage, MetadataImage], None],
    ) -> None:
        self._net = net
        self._clock = clock
        self._rng = rng
        self._spawner = spawner
        self._voters = dict(sorted(voters.items()))
        self._identity = identity
        self._settings = settings
        self._on_image = on_image
        self._image = MetadataImage()
        self._broker_epoch = -1
        self._controller_id: int | None = None
        self._wants_shutdown = False
        self._shutdown_allowed = False
        #: When a controller last answered a heartbeat.
        self._heard_ms = clock.now_ms()
        self._next_sequence = 1
        self._pending: set[int] = set()
        #: The open streams and whose they are.
        self._watch: tuple[int, Stream] | None = None
        self._session: tuple[int, Stream] | None = None
        self._tasks: list[Task] = []
        #: Rings when anything above changed.
        self._changed = _Bell(clock)
        net.serve_call(PROBE, self._answer_probe)

    @property
    def image(self) -> MetadataImage:
        """What this broker acts upon."""
        return self._image

    @property
    def broker_epoch(self) -> int:
        """-1 until the broker is registered."""
        return self._broker_epoch

    @property
    def is_fenced(self) -> bool:
        """As far as this broker's image knows; an unregistered one is fenced."""
        broker = self._image.brokers.get(self._identity.broker_id)
        return broker is None or broker.broker_epoch != self._broker_epoch or broker.fenced

    @property
    def controller_id(self) -> int | None:
        """The active controller; None while it is looked for."""
        return self._controller_id

    def start(self) -> None:
        self._tasks = [
            self._spawner.spawn(self._find_controllers(), "controller-finder"),
            self._spawner.spawn(self._keep_session(), "controller-session"),
            self._spawner.spawn(self._keep_watch(), "controller-watch"),
        ]

    def stop(self) -> None:
        """Leave the controllers. Without `shut_down` before, they take this for a failure."""
        for task in self._tasks:
            task.cancel()
        self._leave(None)

    async def shut_down(self, timeout_ms: int) -> bool:
        """Ask for a controlled shutdown; returns whether the controllers allow the broker to stop.

        They do when it leads nothing that others could lead, and everybody knows. When the whole cluster stops, the
        controllers may be gone before this broker was heard: silence is no permission, but no reason to wait either.
        """
        self._wants_shutdown = True
        self._changed.ring()
        began_ms = self._clock.now_ms()
        while not self._shutdown_allowed:
            silent_ms = max(self._heard_ms, began_ms) + self._settings.silence_ms
            left_ms = min(began_ms + timeout_ms, silent_ms) - self._clock.now_ms()
            if left_ms <= 0:
                return False
            await self._changed.wait(left_ms)
        return True

    async def wait_offset(self, offset: int, timeout_ms: int) -> bool:
        """Whether the image reached `offset` within `timeout_ms`."""
        return await self._wait_until(lambda: self._image.offset >= offset, timeout_ms)

    async def wait_unfenced(self, timeout_ms: int) -> bool:
        """Whether the broker was admitted to the cluster within `timeout_ms`."""
        return await self._wait_until(lambda: not self.is_fenced, timeout_ms)

    async def submit(self, command: CommandOf[R], timeout_ms: int, *, wait_applied: bool = False) -> R:
        """Have the controllers decide `command`, once, whatever happens on the way.

        With `wait_applied` the answer waits, for a bounded time, until every live broker acts upon the outcome, and
        this one does. Raises KafkaError with the code of a command that failed as a whole, or REQUEST_TIMED_OUT; after
        that the command may yet be applied while it is on its way, but not later.
        """
        deadline_ms = self._clock.now_ms() + timeout_ms
        sequence = await self._take_sequence(deadline_ms)
        try:
            applied = await self._submit(command, sequence, deadline_ms, wait_applied)
        finally:
            self._pending.discard(sequence)
            self._changed.ring()
        if wait_applied:
            await self.wait_offset(applied.offset, self._settings.wait_applied_ms)
        result = applied.result
        if isinstance(result, CommandFailed):
            raise KafkaError(result.error_code, result.message)
        assert isinstance(result, result_type(command)), "a command is answered by its own kind of result"
        return result

    async def _submit(
        self, command: CommandOf[R], sequence: int, deadline_ms: int, wait_applied: bool
    ) -> AppliedCommand:
        assert isinstance(command, Command), "the union is closed"
        wait_ms = self._settings.wait_applied_ms if wait_applied else 0
        attempts = 0
        while (left_ms := deadline_ms - self._clock.now_ms()) > 0:
            controller_id = self._controller_id
            if controller_id is None:
                await self._changed.wait(left_ms)
                continue
            attempt_ms = min(left_ms, self._settings.attempt_timeout_ms)
            request = SubmitRequest(
                client=self._identity.incarnation_id,
                sequence=sequence,
                settled_below=min(self._pending),
                command=command,
                wait_applied_ms=wait_ms,
                timeout_ms=attempt_ms,
            )
            outcome = await self._attempt(controller_id, request, attempt_ms + wait_ms)
            if isinstance(outcome, AppliedCommand):
                return outcome
            await self._clock.sleep_ms(min(self._backoff_ms(attempts), max(left_ms, 1)))
            attempts += 1
        raise KafkaError(ErrorCode.REQUEST_TIMED_OUT, f"{type(command).__name__}: no controller answered in time")

    async def _attempt(self, controller_id: int, request: SubmitRequest, timeout_ms: int) -> AppliedCommand | None:
        """One question to one controller. None: ask again."""
        endpoint = self._voters[controller_id]
        try:
            answer = await self._net.call(endpoint, SUBMIT, codec(SubmitRequest).encode(request), timeout_ms)
            outcome = codec(SubmitResponse).decode(answer).outcome
        except (Unavailable, ValueError) as error:
            log.info("controller %d did not answer: %s", controller_id, error)
            self._forget(controller_id)
            return None
        match outcome:
            case AppliedCommand():
                return outcome
            case NotController(leader_id=leader_id):
                self._forget(controller_id, leader_id)
            case Overloaded() | OutcomeUnknown():
                pass
        return None

    async def _take_sequence(self, deadline_ms: int) -> int:
        """A sequence number, once it is within the window that the controller keeps results for."""

        def in_window() -> bool:
            return not self._pending or self._next_sequence - min(self._pending) < CLIENT_WINDOW

        if not await self._wait_until(in_window, deadline_ms - self._clock.now_ms()):
            raise KafkaError(ErrorCode.REQUEST_TIMED_OUT, "too many commands are waiting for the controller")
        sequence = self._next_sequence
        self._next_sequence += 1
        self._pending.add(sequence)
        return sequence

    async def _find_controllers(self) -> None:
        """Look for the active controller whenever it is not known."""
        attempts = 0
        while True:
            if self._controller_id is not None:
                attempts = 0
                await self._changed.wait(self._settings.retry_max_ms)
                continue
            found = await self._ask_all()
            if found is not None:
                self._set_controller(found)
                continue
            await self._clock.sleep_ms(self._backoff_ms(min(attempts, 2)))
            attempts += 1

    async def _ask_all(self) -> int | None:
        """Ask every controller at once; the first that says it is active wins."""
        questions = [
            asyncio.ensure_future(self._is_active(controller_id, endpoint))
            for controller_id, endpoint in self._voters.items()
        ]
        try:
            for question in asyncio.as_completed(questions):
                found = await question
                if found is not None:
                    return found
            return None
        finally:
            for pending in questions:
                pending.cancel()
            await asyncio.wait(questions)

    async def _is_active(self, controller_id: int, endpoint: Endpoint) -> int | None:
        question = codec(StatusRequest).encode(StatusRequest())
        try:
            answer = await self._net.call(endpoint, STATUS, question, self._settings.status_timeout_ms)
            status = codec(StatusResponse).decode(answer)
        except (Unavailable, ValueError):
            return None
        return controller_id if status.active else None

    def _set_controller(self, controller_id: int) -> None:
        log.info("broker %d: the active controller is %d", self._identity.broker_id, controller_id)
        self._controller_id = controller_id
        self._leave(controller_id)
        self._changed.ring()

    def _leave(self, but: int | None) -> None:
        """Break the streams to controllers other than `but`: one that lost its leadership may be cut off from what
        happens, and would not tell."""
        for held in (self._session, self._watch):
            if held is not None and held[0] != but:
                held[1].abort()

    def _forget(self, controller_id: int, hint: int | None = None) -> None:
        """`controller_id` turned out not to be the active controller; `hint` may be."""
        if self._controller_id != controller_id:
            return
        self._controller_id = None
        if hint is not None and hint in self._voters and hint != controller_id:
            self._set_controller(hint)
        self._changed.ring()

    async def _keep_session(self) -> None:
        """Be registered and keep one session with the active controller."""
        attempts = 0
        while True:
            controller_id = self._controller_id
            if controller_id is None:
                await self._changed.wait(self._settings.retry_max_ms)
                continue
            if self._broker_epoch == -1:
                await self._register()
                continue
            try:
                stream = await self._net.open(self._voters[controller_id], SESSION, self._settings.open_timeout_ms)
                self._session = (controller_id, stream)
                attempts = 0
                await self._beat(stream)
            except (Unavailable, StreamBroken, ValueError) as error:
                log.info("session with controller %d ended: %s", controller_id, error)
                self._forget(controller_id)
            finally:
                if self._session is not None:
                    self._session[1].abort()
                    self._session = None
            await self._clock.sleep_ms(self._backoff_ms(attempts))
            attempts += 1

    async def _beat(self, stream: Stream) -> None:
        """Exchange heartbeats until the stream breaks or the broker must register again."""
        incoming = self._incoming(stream)
        try:
            while True:
                heartbeat = self._heartbeat()
                timer = self._clock.call_later_ms(self._settings.answer_timeout_ms, stream.abort)
                try:
                    await stream.send(codec(Heartbeat).encode(heartbeat))
                    answer = codec(HeartbeatAnswer).decode(await incoming)
                finally:
                    timer.cancel()
                incoming = self._incoming(stream)
                self._heard_ms = self._clock.now_ms()
                if not answer.registered:
                    log.warning("broker %d is not registered with epoch %d", heartbeat.broker_id, self._broker_epoch)
                    self._broker_epoch = -1
                    return
                if answer.shutdown_allowed:
                    self._shutdown_allowed = True
                    self._changed.ring()
                await self._wait_for_news(heartbeat, incoming)
        finally:
            incoming.cancel()
            await asyncio.wait([incoming])
            if not incoming.cancelled():
                incoming.exception()

    def _incoming(self, stream: Stream) -> "asyncio.Task[bytes]":
        """The next message, asked for early: so a session that breaks between heartbeats is noticed at once."""
        incoming = asyncio.ensure_future(stream.recv())
        incoming.add_done_callback(lambda _: self._changed.ring())
        return incoming

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            broker_id=self._identity.broker_id,
            incarnation_id=self._identity.incarnation_id,
            broker_epoch=self._broker_epoch,
            applied_offset=self._image.offset,
            wants_shutdown=self._wants_shutdown,
        )

    async def _wait_for_news(self, sent: Heartbeat, incoming: "asyncio.Task[bytes]") -> None:
        """Return when the next heartbeat is due: the interval is over, or there is something new to say or to hear."""
        in_a_hurry = self._wants_shutdown and not self._shutdown_allowed
        interval_ms = self._settings.heartbeat_interval_ms
        await self._wait_until(
            lambda: incoming.done() or self._heartbeat() != sent, interval_ms // 5 if in_a_hurry else interval_ms
        )
        if incoming.done():
            incoming.result()

    async def _register(self) -> None:
        """Register this incarnation. Raises KafkaError when that cannot succeed, which ends the process."""
        identity = self._identity
        command = RegisterBroker(
            broker_id=identity.broker_id,
            incarnation_id=identity.incarnation_id,
            cluster_id=identity.cluster_id,
            listeners=identity.listeners,
            node_endpoint=identity.node_endpoint,
            rack=identity.rack,
            feature_level_max=identity.feature_level_max,
            previous_broker_epoch=identity.previous_broker_epoch,
        )
        try:
            registered = await self.submit(command, self._settings.register_timeout_ms)
        except KafkaError as error:
            if error.code in _HOPELESS:
                raise
            log.warning("broker %d is not registered yet: %s", identity.broker_id, error)
            await self._clock.sleep_ms(self._backoff_ms(2))
            return
        self._broker_epoch = registered.broker_epoch
        log.info("broker %d registered with epoch %d", identity.broker_id, self._broker_epoch)
        self._changed.ring()

    async def _keep_watch(self) -> None:
        """Keep one watch on the active controller and act upon what it says."""
        while True:
            controller_id = self._controller_id
            if controller_id is None:
                await self._changed.wait(self._settings.retry_max_ms)
                continue
            try:
                stream = await self._net.open(self._voters[controller_id], WATCH, self._settings.open_timeout_ms)
                self._watch = (controller_id, stream)
                await stream.send(codec(WatchRequest).encode(WatchRequest(offset=self._image.offset)))
                while True:
                    self._advance(await _receive_update(stream))
            except Unavailable as error:
                log.info("no watch on controller %d: %s", controller_id, error)
                self._forget(controller_id)
            except (StreamBroken, _Malformed) as error:
                log.info("watch on controller %d ended: %s", controller_id, error)
            finally:
                if self._watch is not None:
                    self._watch[1].abort()
                    self._watch = None
            await self._clock.sleep_ms(self._backoff_ms(0))

    def _advance(self, data: bytes) -> None:
        """Fold an encoded WatchUpdate."""
        old = self._image
        try:
            image = image_after(old, data)
        except ValueError as error:
            raise _Malformed(str(error)) from None
        if image is not old:
            self._image = image
            self._on_image(image, old)
            self._changed.ring()

    async def _answer_probe(self, _peer: str, data: bytes) -> bytes:
        codec(ProbeRequest).decode(data)
        identity = self._identity
        return codec(ProbeResponse).encode(
            ProbeResponse(broker_id=identity.broker_id, incarnation_id=identity.incarnation_id)
        )

    async def _wait_until(self, condition: Callable[[], bool], timeout_ms: int) -> bool:
        deadline_ms = self._clock.now_ms() + timeout_ms
        while not condition():
            left_ms = deadline_ms - self._clock.now_ms()
            if left_ms <= 0:
                return False
            await self._changed.wait(left_ms)
        return True

    def _backoff_ms(self, attempts: int) -> int:
        settings = self._settings
        longest = min(settings.retry_max_ms, settings.retry_min_ms * 2 ** min(attempts, 10))
        return self._rng.randint(longest // 2, longest)


class _Malformed(Exception):
    """A controller sent what is no update."""


async def _receive_update(stream: Stream) -> bytes:
    """The next encoded WatchUpdate, put together from its chunks."""
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            chunk = codec(WatchChunk).decode(await stream.recv())
        except ValueError as error:
            raise _Malformed(str(error)) from None
        size += len(chunk.data)
        if size > UPDATE_BYTES_MAX:
            raise _Malformed(f"an update of more than {UPDATE_BYTES_MAX} bytes")
        pieces.append(chunk.data)
        if chunk.last:
            return b"".join(pieces)
