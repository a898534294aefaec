"""The producer: records in, acknowledgements out.

Owns the shell around the accumulator: waits for room and metadata, sends what is ready to the leaders of its
partitions, tells the accumulator what came of it, and wakes whoever waits. Which batch is sent when, and under which
number, is decided there and not here.

Source: KIP-98 (idempotence), KIP-91 (delivery timeout), KIP-480 and KIP-794 (records without a key), KIP-951 (hints).
"""

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from client.accumulator import Accumulator, AccumulatorSettings, Batch, ProducerId, record_size
from client.cluster import Cluster
from client.config import ProducerConfig, Setting, producer_config
from client.errors import ClientError, failure, timed_out
from client.metadata import TopicMetadata
from client.partitioner import StickyPartition, partition_for_key
from client.retry import STALE_METADATA, TRANSIENT, pause_ms
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID, TopicPartition
from cluster.records.compression import CompressionType
from cluster.records.record import NewRecord
from cluster.wire.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from cluster.wire.transactions import InitProducerIdRequest

#: The last version of Produce that names topics.
_VERSION_WITH_NAMES: Final = 12
_TRANSACTION_TIMEOUT_MS: Final = 60_000
_NO_OFFSET: Final = -1

HeaderPairs = Iterable[tuple[str, bytes | None]]


class RecordMetadata(NamedTuple):
    """Where a record is. `offset` is -1 with acks=0, and after a repeated batch that the broker knew already."""

    topic: str
    partition: int
    offset: int
    #: Milliseconds since the Unix epoch; the broker's where the topic says so.
    timestamp: int


@dataclass(slots=True)
class Counters:
    """Records since the producer was made. Each is pending until it is one of the other two."""

    pending: int = 0
    acknowledged: int = 0
    failed: int = 0
    #: Why the first of the failed ones failed.
    first_error: KafkaError | None = None


class _Written(NamedTuple):
    """What the leader answered for a batch."""

    base_offset: int
    log_append_time: int


class Delivery:
    """The acknowledgement of one record, to come: await it for its RecordMetadata.

    Raises the error that the record met; one that nobody awaits is counted and otherwise forgotten.
    """

    __slots__ = ("_outcome", "_partition", "_place", "_timestamp")

    def __init__(
        self, outcome: "asyncio.Future[_Written]", partition: TopicPartition, place: int, timestamp: int
    ) -> None:
        self._outcome = outcome
        self._partition = partition
        self._place = place
        self._timestamp = timestamp

    def done(self) -> bool:
        return self._outcome.done()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        # Several records share an outcome: a task that is cancelled while it waits must not cancel it for the others.
        written = yield from asyncio.shield(self._outcome).__await__()
        offset = written.base_offset
        return RecordMetadata(
            self._partition.topic,
            self._partition.partition,
            offset if offset == _NO_OFFSET else offset + self._place,
            self._timestamp if written.log_append_time < 0 else written.log_append_time,
        )


class Producer:
    """`Producer({"bootstrap.servers": "host:9092"})` or `Producer(bootstrap_servers="host:9092")`, with `async with`.

    Used by one event loop. Leaving the block flushes, but failures are told by deliveries alone: await them, or look
    at `counters` afterwards. The constructor raises ConfigError.
    """

    def __init__(
        self, config: Mapping[str, Setting] | None = None, /, *, cluster: Cluster | None = None, **settings: Setting
    ) -> None:
        self._config = producer_config({**(config or {}), **settings})
        self._cluster = cluster or Cluster(self._config, auto_create=True)
        self._cluster.subscribe(self._wake_up)
        self._clock = self._cluster.clock
        self._accumulator = Accumulator(_accumulator_settings(self._config))
        self._outcomes: dict[int, asyncio.Future[_Written]] = {}
        self._sticky: dict[str, StickyPartition] = {}
        self._waiting_for_room: deque[asyncio.Future[None]] = deque()
        self._in_flight: dict[int, int] = {}
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._not_before_ms: dict[int, int] = {}
        self._topics_to_come: dict[str, asyncio.Task[TopicMetadata]] = {}
        self._identifying: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False
        self.counters = Counters()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close(timeout_ms=None if exc_type is None else 0)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: HeaderPairs = (),
    ) -> Delivery:
        """Take a record; await the returned delivery to know that it is written, or `flush` for all of them.

        Waits up to max.block.ms for metadata and for room in buffer.memory. Raises ClientError: MESSAGE_TOO_LARGE,
        REQUEST_TIMED_OUT, UNKNOWN_TOPIC_OR_PARTITION and others of the metadata.
        """
        assert not self._closed, "the producer is closed"
        timestamp = self._clock.wall_ms() if timestamp_ms is None else timestamp_ms
        record = NewRecord(key, value, timestamp, tuple(headers))
        size_bytes = record_size(record)
        if size_bytes > self._config.max_request_size:
            raise failure(
                ErrorCode.MESSAGE_TOO_LARGE,
                topic,
                f"the record takes up to {size_bytes} bytes, max.request.size is {self._config.max_request_size}",
            )
        metadata = self._cluster.metadata.topics.get(topic) or await self._wait_for_topic(topic)
        target = TopicPartition(topic, self._choose(metadata, key, partition, size_bytes))
        if self._waiting_for_room or not self._accumulator.has_room(size_bytes):
            await self._wait_for_room(size_bytes)
        appended = self._accumulator.append(target, record, self._clock.now_ms())
        self.counters.pending += 1
        if appended.is_new:
            self._outcomes[appended.batch.number] = asyncio.get_running_loop().create_future()
        delivery = Delivery(self._outcomes[appended.batch.number], target, appended.place, timestamp)
        if appended.is_new or appended.is_full:
            self._start_sender()
            self._wake.set()
            # A loop of sends that never waits would keep the sender from its work.
            await asyncio.sleep(0)
        return delivery

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None = None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: HeaderPairs = (),
    ) -> RecordMetadata:
        """`send`, and the acknowledgement. Raises what either raises."""
        delivery = await self.send(
            topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers
        )
        return await delivery

    async def partitions_for(self, topic: str) -> TopicMetadata:
        """What is known about a topic, waited for up to max.block.ms. Raises ClientError."""
        return self._cluster.metadata.topics.get(topic) or await self._wait_for_topic(topic)

    async def flush(self, *, timeout_ms: int | None = None) -> None:
        """Wait until every record sent before is acknowledged or has failed; failures are told by their deliveries.

        Raises ClientError(REQUEST_TIMED_OUT) after `timeout_ms`; by default delivery.timeout.ms ends the wait.
        """
        outcomes = list(self._outcomes.values())
        if not outcomes:
            return
        self._accumulator.flushes += 1
        self._wake.set()
        try:
            timeout_s = None if timeout_ms is None else timeout_ms / 1000
            _, pending = await asyncio.wait(outcomes, timeout=timeout_s)
        finally:
            self._accumulator.flushes -= 1
        if pending:
            raise timed_out(
                "flush",
                f"{self.counters.pending} records are not acknowledged after {timeout_ms} ms",
                "allow more time",
            )

    async def close(self, *, timeout_ms: int | None = None) -> None:
        """Flush for up to `timeout_ms` (by default as long as deliveries may take), fail what is left, disconnect.

        Idempotent.
        """
        if self._closed:
            return
        try:
            await self.flush(timeout_ms=timeout_ms)
        except ClientError:
            # What could not be sent fails below, record by record.
            pass
        finally:
            self._closed = True
            tasks: list[asyncio.Task[Any]] = [*self._preparing.values(), *self._topics_to_come.values()]
            tasks += [task for task in (self._sender, self._identifying) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._fail_all(timed_out("producer", "it was closed before the broker acknowledged the record"))
            await self._cluster.close()

    # On the way in.

    async def _wait_for_topic(self, topic: str) -> TopicMetadata:
        """All who ask for a topic wait for the same answer, and go on in the order in which they came."""
        waiting = self._topics_to_come.get(topic)
        if waiting is None:
            deadline = self._cluster.deadline(self._config.max_block_ms)
            waiting = asyncio.get_running_loop().create_task(
                self._cluster.wait_for_topic(topic, deadline), name=f"metadata of {topic}"
            )
            self._topics_to_come[topic] = waiting
            waiting.add_done_callback(lambda _: self._topics_to_come.pop(topic))
        return await asyncio.shield(waiting)

    def _choose(self, topic: TopicMetadata, key: bytes | None, partition: int | None, size_bytes: int) -> int:
        if partition is not None:
            if partition not in topic.partitions:
                raise failure(
                    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                    f"{topic.name}/{partition}",
                    f"the topic has {len(topic.partitions)} partitions, numbered from 0",
                )
            return partition
        if key is not None:
            return partition_for_key(key, len(topic.partitions))
        sticky = self._sticky.get(topic.name)
        if sticky is None:
            sticky = self._sticky[topic.name] = StickyPartition(max(1, self._config.batch_size), self._cluster.rng)
        led = [number for number, partition in topic.partitions.items() if partition.leader_id >= 0]
        return sticky.choose(led or list(topic.partitions), size_bytes)

    async def _wait_for_room(self, size_bytes: int) -> None:
        """Those who wait are served in the order in which they came."""
        deadline = self._cluster.deadline(self._config.max_block_ms)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_for_room.append(turn)
        self._accumulator.is_starved = True
        self._wake.set()
        try:
            while self._waiting_for_room[0] is not turn or not self._accumulator.has_room(size_bytes):
                async with asyncio.timeout(deadline.remaining_ms() / 1000):
                    await turn
                index = self._waiting_for_room.index(turn)
                turn = asyncio.get_running_loop().create_future()
                self._waiting_for_room[index] = turn
        except TimeoutError:
            raise timed_out(
                "buffer.memory",
                f"no room for a record of {size_bytes} bytes within {self._config.max_block_ms} ms",
                "send more slowly, raise buffer.memory, or see why the brokers do not keep up",
            ) from None
        finally:
            self._waiting_for_room.remove(turn)
            self._accumulator.is_starved = bool(self._waiting_for_room)
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting_for_room and not self._waiting_for_room[0].done():
            self._waiting_for_room[0].set_result(None)

    # On the way out.

    def _start_sender(self) -> None:
        if self._sender is None:
            self._cluster.keep_fresh()
            self._sender = asyncio.get_running_loop().create_task(self._run(), name="producer sender")
            self._sender.add_done_callback(self._on_sender_done)

    def _on_sender_done(self, sender: "asyncio.Task[None]") -> None:
        if not sender.cancelled() and sender.exception() is not None:
            self._fail_all(failure(ErrorCode.UNKNOWN_SERVER_ERROR, "producer", f"it failed: {sender.exception()!r}"))

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now_ms = self._clock.now_ms()
            for batch in self._accumulator.expire(now_ms):
                self._fail(batch, self._expired(batch))
            self._send_ready(now_ms)
            event_ms = self._accumulator.next_event_ms(now_ms)
            try:
                async with asyncio.timeout(None if event_ms is None else max(0, event_ms - now_ms) / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _wake_up(self) -> None:
        self._wake.set()

    def _send_ready(self, now_ms: int) -> None:
        if self._accumulator.needs_producer_id:
            self._identify()
            return
        by_leader: dict[int, list[TopicPartition]] = {}
        for partition in self._accumulator.ready(now_ms):
            leader = self._cluster.metadata.leader(partition)
            if leader is None:
                self._cluster.request_refresh()
            else:
                by_leader.setdefault(leader.node_id, []).append(partition)
        for node_id, partitions in by_leader.items():
            self._send_to(node_id, partitions, now_ms)

    def _send_to(self, node_id: int, partitions: list[TopicPartition], now_ms: int) -> None:
        """As many requests as may be in flight and as there are batches for."""
        while self._in_flight.get(node_id, 0) < self._config.max_in_flight_requests_per_connection:
            connection = self._cluster.ready_connection(node_id)
            if connection is None or not connection.is_writable:
                self._prepare(node_id, now_ms)
                return
            batches = self._accumulator.drain(partitions, self._config.max_request_size, now_ms)
            if not batches:
                return
            timeout_ms = min(
                self._config.request_timeout_ms,
                *(self._accumulator.remaining_ms(batch, now_ms) for batch in batches),
            )
            request = self._request(batches, timeout_ms)
            has_ids = all(data.topic_id != ZERO_UUID for data in request.topic_data)
            version_max = None if has_ids else _VERSION_WITH_NAMES
            try:
                if self._config.acks == 0:
                    connection.tell(request, version_max=version_max)
                    for batch in batches:
                        self._acknowledge(batch, _Written(_NO_OFFSET, -1))
                    continue
                answer = connection.start(request, timeout_ms=timeout_ms, version_max=version_max)
            except KafkaError as error:
                self._on_lost(batches, error)
                return
            self._in_flight[node_id] = self._in_flight.get(node_id, 0) + 1
            answer.add_done_callback(partial(self._on_answer, node_id, batches))

    def _request(self, batches: list[Batch], timeout_ms: int) -> ProduceRequest:
        topics: dict[str, list[PartitionProduceData]] = {}
        for batch in batches:
            data = PartitionProduceData(index=batch.partition.partition, records=batch.encoded)
            topics.setdefault(batch.partition.topic, []).append(data)
        known = self._cluster.metadata.topics
        return ProduceRequest(
            acks=self._config.acks,
            timeout_ms=timeout_ms,
            topic_data=[
                TopicProduceData(name=name, topic_id=known[name].topic_id, partition_data=data)
                for name, data in topics.items()
            ],
        )

    def _prepare(self, node_id: int, now_ms: int) -> None:
        """See to it that there is a connection that takes bytes."""
        if node_id in self._preparing:
            return
        not_before_ms = self._not_before_ms.get(node_id, 0)
        if now_ms < not_before_ms:
            return
        task = asyncio.get_running_loop().create_task(self._connect(node_id), name=f"producer to broker {node_id}")
        self._preparing[node_id] = task

    async def _connect(self, node_id: int) -> None:
        try:
            connection = await self._cluster.connection(node_id)
            await connection.drained()
        except KafkaError:
            # The leader may have moved away from a broker that cannot be reached; records have their own deadlines.
            self._cluster.request_refresh()
            delay_ms = self._cluster.backoff().next_ms()
            self._not_before_ms[node_id] = self._clock.now_ms() + round(delay_ms)
            self._clock.call_later_ms(delay_ms + 1, self._wake_up)
        finally:
            self._preparing.pop(node_id, None)
            self._wake.set()

    def _identify(self) -> None:
        if self._identifying is None and not self._accumulator.is_empty:
            self._identifying = asyncio.get_running_loop().create_task(self._obtain_producer_id(), name="producer id")

    async def _obtain_producer_id(self) -> None:
        async def attempt() -> ProducerId:
            connection = await self._cluster.any_connection()
            request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS)
            response = await connection.call(request)
            if response.error_code != ErrorCode.NONE:
                raise failure(response.error_code, "producer id")
            return ProducerId(response.producer_id, response.producer_epoch)

        deadline = self._cluster.deadline(self._config.delivery_timeout_ms)
        try:
            self._accumulator.set_producer_id(
                await self._cluster.retrying(attempt, deadline, TRANSIENT | {ErrorCode.REQUEST_TIMED_OUT})
            )
        except KafkaError as error:
            self._fail_all(error)
        finally:
            self._identifying = None
            self._wake.set()

    # What came of it.

    def _on_answer(self, node_id: int, batches: list[Batch], answer: "asyncio.Future[ProduceResponse]") -> None:
        self._in_flight[node_id] -= 1
        self._wake.set()
        if answer.cancelled():
            return
        error = answer.exception()
        if error is not None:
            assert isinstance(error, KafkaError), error
            self._on_lost(batches, error)
            return
        response = answer.result()
        answers = {}
        for topic in response.responses:
            name = topic.name or self._cluster.metadata.topic_name(topic.topic_id)
            for told in topic.partition_responses:
                answers[name, told.index] = told
        for batch in batches:
            # Of a topic that was made again meanwhile the name is not known by the old id; the batch is sent again.
            told_for = answers.get((batch.partition.topic, batch.partition.partition))
            if told_for is None:
                self._on_refused(batch, failure(ErrorCode.UNKNOWN_TOPIC_ID, _subject(batch)), hinted=False)
            elif told_for.error_code in (ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):
                self._acknowledge(batch, _Written(told_for.base_offset, told_for.log_append_time_ms))
            else:
                hinted = self._cluster.metadata.apply_hint(
                    batch.partition, told_for.current_leader, response.node_endpoints
                )
                self._on_refused(batch, _refusal(batch, told_for), hinted=hinted)

    def _on_lost(self, batches: list[Batch], error: KafkaError) -> None:
        """No answer: the batches may or may not be written."""
        for batch in batches:
            self._on_refused(batch, error, hinted=False)

    def _on_refused(self, batch: Batch, error: KafkaError, *, hinted: bool) -> None:
        if error.code in STALE_METADATA and not hinted:
            self._cluster.request_refresh()
        now_ms = self._clock.now_ms()
        delay_ms = 0.0
        if not hinted:
            config, chance = self._config, self._cluster.rng.random()
            delay_ms = pause_ms(max(1, batch.attempts), config.retry_backoff_ms, config.retry_backoff_max_ms, chance)
        if not self._accumulator.on_failed(batch, error.code, now_ms, now_ms + round(delay_ms)):
            self._fail(batch, error)
        self._wake.set()

    def _acknowledge(self, batch: Batch, written: _Written) -> None:
        self._accumulator.on_acknowledged(batch)
        outcome = self._outcomes.pop(batch.number, None)
        if outcome is not None and not outcome.done():
            outcome.set_result(written)
            self.counters.pending -= batch.record_count
            self.counters.acknowledged += batch.record_count
        self._call_next()

    def _fail(self, batch: Batch, error: KafkaError) -> None:
        outcome = self._outcomes.pop(batch.number, None)
        if outcome is not None and not outcome.done():
            outcome.set_exception(error)
            # Whoever does not await a delivery has chosen not to hear of it.
            outcome.exception()
            self.counters.pending -= batch.record_count
            self.counters.failed += batch.record_count
            self.counters.first_error = self.counters.first_error or error
        self._call_next()

    def _fail_all(self, error: KafkaError) -> None:
        for batch in self._accumulator.give_up_all():
            self._fail(batch, error)

    def _expired(self, batch: Batch) -> ClientError:
        tried = f"after {batch.attempts} attempts" if batch.attempts else "without an attempt"
        return timed_out(
            _subject(batch),
            f"not acknowledged within delivery.timeout.ms={self._config.delivery_timeout_ms}, {tried}",
            "look at the health of the partition's leader",
        )


def _subject(batch: Batch) -> str:
    return f"{batch.partition.topic}/{batch.partition.partition}"


def _refusal(batch: Batch, told: PartitionProduceResponse) -> ClientError:
    """What the broker said about the batch, or about the first record of it that is to blame (KIP-467)."""
    details = [told.error_message, *(record.batch_index_error_message for record in told.record_errors)]
    detail = next((detail for detail in details if detail), None)
    return failure(told.error_code, _subject(batch), detail)


def _accumulator_settings(config: ProducerConfig) -> AccumulatorSettings:
    return AccumulatorSettings(
        batch_size=config.batch_size,
        linger_ms=config.linger_ms,
        buffer_memory=config.buffer_memory,
        delivery_timeout_ms=config.delivery_timeout_ms,
        retries=config.retries,
        max_in_flight=config.max_in_flight_requests_per_connection,
        compression=CompressionType[config.compression_type.upper()],
        idempotent=config.enable_idempotence,
    )
