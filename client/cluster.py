"""A client's way into a cluster: connections by broker, metadata kept fresh, and calls that find their broker.

Owns the pool of connections and the metadata cache of one client. Everything that has to reach "any broker", "the
controller" or "the leader of orders/0" passes here; what is asked, and what an error inside an answer means, is the
caller's. Attempts have a deadline for all of them together and pauses between them.

Source: KIP-302 and KIP-899 (bootstrap again when every known broker is gone), KIP-580 (back-off), KIP-951.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from enum import Enum, auto
from typing import Any, Final, TypeVar

from client.config import ClientConfig
from client.connection import Connection, ConnectionSettings
from client.errors import ClientError, disconnected, failure
from client.metadata import Broker, MetadataCache, TopicMetadata
from client.retry import STALE_METADATA, TRANSIENT, TRANSIENT_OR_ABSENT, Backoff, Deadline
from cluster.errors import ErrorCode, KafkaError
from cluster.host.clock import SystemClock
from cluster.ids import Endpoint, TopicPartition
from cluster.seams import Clock, Rng
from cluster.wire.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

T = TypeVar("T")

#: How long one address may stay silent before the next one is tried beside it.
_NEXT_ADDRESS_MS_MAX: Final = 250


class Channel(Enum):
    """What a connection is for. A broker works on one request of a connection at a time, and a fetch may wait."""

    MAIN = auto()
    FETCH = auto()


class Cluster:
    """Used by one event loop. Close it to close its connections.

    With `auto_create`, asking for the metadata of a tracked topic may create it, where brokers allow that.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        auto_create: bool = False,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.config = config
        self._auto_create = auto_create
        self.clock: Clock = clock or SystemClock()
        self.rng: Rng = rng or _system_rng()
        self.metadata = MetadataCache()
        self._settings = ConnectionSettings(
            client_id=config.client_id,
            connect_timeout_ms=config.socket_connection_setup_timeout_ms,
            request_timeout_ms=config.request_timeout_ms,
            frame_size_max=config.receive_message_max_bytes,
        )
        self._connections: dict[tuple[Endpoint, Channel], Connection] = {}
        self._opening: dict[tuple[Endpoint, Channel], asyncio.Task[Connection]] = {}
        self._topics: set[str] = set()
        self._stale = True
        self._refreshed_ms = 0
        self._refresh_wanted = asyncio.Event()
        self._refresher: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._closed = False

    async def close(self) -> None:
        """Idempotent. Requests under way fail."""
        self._closed = True
        tasks: list[asyncio.Task[Any]] = [*self._opening.values()]
        if self._refresher is not None:
            tasks.append(self._refresher)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.abort()
        self._connections.clear()

    # Attempts.

    def deadline(self, timeout_ms: int | None = None) -> Deadline:
        """By default default.api.timeout.ms from now."""
        return Deadline(self.clock, self.config.default_api_timeout_ms if timeout_ms is None else timeout_ms)

    def backoff(self) -> Backoff:
        return Backoff(self.config.retry_backoff_ms, self.config.retry_backoff_max_ms, self.rng)

    async def retrying(
        self,
        attempt: Callable[[], Awaitable[T]],
        deadline: Deadline,
        retry_on: Collection[ErrorCode] = TRANSIENT,
    ) -> T:
        """What `attempt` returns, after as many attempts as it takes while it raises an error of `retry_on`.

        Raises the error of the last attempt.
        """
        backoff = self.backoff()
        while True:
            try:
                return await attempt()
            except KafkaError as error:
                if error.code in STALE_METADATA:
                    self._stale = True
                delay_ms = backoff.next_ms()
                if error.code not in retry_on:
                    raise
                if deadline.remaining_ms() <= delay_ms:
                    raise _given_up(error, deadline) from error
            await self.clock.sleep_ms(delay_ms)

    # Connections.

    async def open(self, timeout_ms: int) -> None:
        """One round over the bootstrap servers: for callers that want to hear at once that nobody is there.

        Raises ClientError.
        """
        deadline = self.deadline(timeout_ms)
        await self._ask_metadata([], deadline, allow_auto_topic_creation=False)

    async def connection(self, node_id: int, channel: Channel = Channel.MAIN) -> Connection:
        """The connection to a broker, opened when there is none. Raises ClientError."""
        broker = self.metadata.brokers.get(node_id)
        if broker is None:
            self._stale = True
            raise ClientError(
                ErrorCode.NETWORK_EXCEPTION, "the metadata does not name this broker", subject=f"broker {node_id}"
            )
        return await self._connection_to(broker.endpoint, channel)

    def ready_connection(self, node_id: int, channel: Channel = Channel.MAIN) -> Connection | None:
        """The connection to a broker if it is open."""
        broker = self.metadata.brokers.get(node_id)
        if broker is None:
            return None
        connection = self._connections.get((broker.endpoint, channel))
        return connection if connection is not None and connection.is_open else None

    async def any_connection(self) -> Connection:
        """A connection to whichever broker answers first: one that is open, a known one, a bootstrap server.

        Raises ClientError when none can be reached.
        """
        ready = [
            connection
            for (_, channel), connection in self._connections.items()
            if connection.is_open and channel is Channel.MAIN
        ]
        if ready:
            return min(ready, key=lambda connection: connection.in_flight)
        known = [broker.endpoint for broker in self.metadata.brokers.values()]
        endpoints = list(dict.fromkeys((*self._shuffled(known), *self._shuffled(self.config.bootstrap_servers))))
        return await self._first_of(endpoints)

    async def controller_connection(self, deadline: Deadline) -> Connection:
        """The connection to the broker that takes administrative requests. Raises ClientError."""
        await self.refresh_if_stale(deadline)
        if self.metadata.controller_id not in self.metadata.brokers:
            return await self.any_connection()
        return await self.connection(self.metadata.controller_id)

    async def leader_connection(self, partition: TopicPartition, deadline: Deadline) -> tuple[Connection, int]:
        """(connection to the leader, its epoch). Raises ClientError, also where the topic or its leader is unknown."""
        topic = await self.topic(partition.topic, deadline)
        if partition.partition not in topic.partitions:
            self._stale = True
            topic = await self.topic(partition.topic, deadline)
        return await self.connection(self.leader_of(topic, partition.partition)), (
            topic.partitions[partition.partition].leader_epoch
        )

    def leader_of(self, topic: TopicMetadata, number: int) -> int:
        """The id of a partition's leader. Raises ClientError; metadata counts as stale where there is none."""
        subject = f"{topic.name}/{number}"
        partition = topic.partitions.get(number)
        if partition is None:
            raise failure(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, subject)
        if partition.leader_id not in self.metadata.brokers:
            self._stale = True
            raise failure(ErrorCode.LEADER_NOT_AVAILABLE, subject)
        return partition.leader_id

    # Metadata.

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever metadata changed or could not be had."""
        self._listeners.append(listener)

    def track(self, topics: Iterable[str]) -> None:
        """Include these topics in every refresh from now on, and no others."""
        self._topics = set(topics)
        self.metadata.forget_topics(self._topics)

    def request_refresh(self) -> None:
        """Ask for metadata soon, in the background; requests that come together are answered together."""
        self._stale = True
        self._refresh_wanted.set()
        self.keep_fresh()

    def keep_fresh(self) -> None:
        """Ask for metadata in the background from now on, whenever it is old or `request_refresh` was called."""
        if self._refresher is None and not self._closed:
            self._refresher = asyncio.get_running_loop().create_task(self._refresh_forever(), name="metadata refresher")

    async def refresh(self, deadline: Deadline) -> None:
        """Ask for brokers and all tracked topics now, once. Raises ClientError."""
        names = sorted(self._topics)
        response = await self._ask_metadata(names, deadline, allow_auto_topic_creation=self._auto_create)
        self.metadata.apply(response)
        self._stale = False
        self._refreshed_ms = self.clock.now_ms()
        self._notify()

    async def refresh_if_stale(self, deadline: Deadline) -> None:
        """Raises ClientError."""
        if self._stale or self.clock.now_ms() - self._refreshed_ms >= self.config.metadata_max_age_ms:
            await self.refresh(deadline)

    async def topic(self, name: str, deadline: Deadline) -> TopicMetadata:
        """A tracked topic, asked for when it is unknown. Raises ClientError with the code that brokers answer."""
        self._topics.add(name)
        if name not in self.metadata.topics:
            self._stale = True
        await self.refresh_if_stale(deadline)
        topic = self.metadata.topics.get(name)
        if topic is None:
            raise failure(self.metadata.errors.get(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), name)
        return topic

    async def wait_for_topic(self, name: str, deadline: Deadline) -> TopicMetadata:
        """A topic that may be about to come into being: asked for until it is there. Raises ClientError."""
        return await self.retrying(lambda: self.topic(name, deadline), deadline, TRANSIENT_OR_ABSENT)

    async def describe_topics(self, names: Collection[str] | None, deadline: Deadline) -> MetadataResponse:
        """Metadata of `names`, or of all topics for None, past the cache. Never creates. Raises ClientError."""
        response = await self.retrying(
            lambda: self._ask_metadata(names, deadline, allow_auto_topic_creation=False), deadline
        )
        self.metadata.cluster_id = response.cluster_id
        return response

    async def _ask_metadata(
        self, names: Collection[str] | None, deadline: Deadline, *, allow_auto_topic_creation: bool
    ) -> MetadataResponse:
        connection = await self.any_connection()
        topics = None if names is None else [MetadataRequestTopic(name=name) for name in names]
        response = await connection.call(
            MetadataRequest(topics=topics, allow_auto_topic_creation=allow_auto_topic_creation),
            timeout_ms=deadline.cap(self.config.request_timeout_ms),
        )
        if response.error_code != ErrorCode.NONE:
            raise failure(response.error_code, "metadata")
        if not response.brokers:
            connection.abort("it knows no brokers")
            raise disconnected(f"broker {connection.endpoint}", "it knows no brokers yet")
        return response

    async def _refresh_forever(self) -> None:
        backoff = self.backoff()
        while True:
            age_left_ms = self._refreshed_ms + self.config.metadata_max_age_ms - self.clock.now_ms()
            try:
                async with asyncio.timeout(max(0.0, age_left_ms / 1000)):
                    await self._refresh_wanted.wait()
            except TimeoutError:
                pass
            self._refresh_wanted.clear()
            try:
                await self.refresh(self.deadline(self.config.request_timeout_ms))
                self._refresh_wanted.clear()
                backoff.reset()
            except KafkaError:
                # Whoever needs the metadata has a deadline of its own; until then it is asked for again.
                self._refresh_wanted.set()
                self._notify()
            # Between two answers there is a pause, so that a partition without a leader is not a reason for a storm.
            await self.clock.sleep_ms(backoff.next_ms())

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    # The pool.

    async def _connection_to(self, endpoint: Endpoint, channel: Channel) -> Connection:
        key = (endpoint, channel)
        connection = self._connections.get(key)
        if connection is not None and connection.is_open:
            return connection
        if self._closed:
            raise disconnected(f"broker {endpoint}", "this client is closed")
        task = self._opening.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open(key), name=f"connect to {endpoint}")
            self._opening[key] = task
            task.add_done_callback(lambda done: self._on_opened(key, done))
        # Several callers may wait for the same connection: one that gives up must not take it from the others.
        return await asyncio.shield(task)

    async def _open(self, key: tuple[Endpoint, Channel]) -> Connection:
        connection = await Connection.open(key[0], self._settings, self.clock)
        self._connections[key] = connection
        return connection

    def _on_opened(self, key: tuple[Endpoint, Channel], task: "asyncio.Task[Connection]") -> None:
        self._opening.pop(key, None)
        if not task.cancelled():
            # Its failure was told to those who waited; there may be none left.
            task.exception()

    async def _first_of(self, endpoints: list[Endpoint]) -> Connection:
        """The first connection that opens. Addresses are tried one after the other, a silent one beside the next."""
        waiting = list(endpoints)
        pending: set[asyncio.Task[Connection]] = set()
        failures: list[BaseException] = []
        loop = asyncio.get_running_loop()
        patience_ms = min(_NEXT_ADDRESS_MS_MAX, self.config.socket_connection_setup_timeout_ms // 4)
        try:
            while waiting or pending:
                if waiting:
                    pending.add(loop.create_task(self._connection_to(waiting.pop(0), Channel.MAIN)))
                done, pending = await asyncio.wait(
                    pending,
                    timeout=patience_ms / 1000 if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    failures.append(error)
        finally:
            for task in pending:
                task.cancel()
        raise _nobody_there(endpoints, failures)

    def _shuffled(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        rest = list(endpoints)
        return [rest.pop(self.rng.randint(0, len(rest) - 1)) for _ in range(len(rest))]


def brokers_of(response: MetadataResponse) -> list[Broker]:
    """The brokers of a response, by id."""
    brokers = (Broker(broker.node_id, Endpoint(broker.host, broker.port), broker.rack) for broker in response.brokers)
    return sorted(brokers, key=lambda broker: broker.node_id)


def _system_rng() -> Rng:
    from cluster.host.rng import SystemRng  # imports more than the rest of a short command needs

    return SystemRng()


def _given_up(error: KafkaError, deadline: Deadline) -> ClientError:
    told = error if isinstance(error, ClientError) else ClientError(error.code, error.message)
    return told.with_message(f"{told.message}; given up after {deadline.timeout_ms} ms")


def _nobody_there(endpoints: list[Endpoint], failures: list[BaseException]) -> ClientError:
    for error in failures:
        if not isinstance(error, ClientError):
            raise error
    reasons = dict.fromkeys(error.message for error in failures if isinstance(error, ClientError))
    return ClientError(
        ErrorCode.NETWORK_EXCEPTION,
        "; ".join(reasons),
        subject=", ".join(map(str, endpoints)),
        advice="check that the cluster runs and that these are its addresses",
    )
