"""The consumer of partitions that its user assigns: positions, records, offsets.

Owns the shell around the fetcher: one fetch under way to each broker, on connections of their own, offsets looked up
where a position is unknown, and whoever waits for records woken. Reads ahead of `poll` while the user works on what it
returned. Does not commit offsets: that belongs to groups.

Source: KIP-41 (max.poll.records), KIP-79 (offsets for times), KIP-320 (truncation), KIP-392 (nearest replica).
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from client.cluster import Channel, Cluster
from client.config import ConsumerConfig, Setting, consumer_config
from client.errors import failure, timed_out
from client.fetched import ConsumerRecord
from client.fetcher import RESET_TARGETS, Fetch, Fetcher, FetcherSettings, StaleLeader
from client.metadata import Leader, TopicMetadata
from client.offsets import EARLIEST, LATEST, READ_COMMITTED, READ_UNCOMMITTED, OffsetAndTimestamp, list_offsets
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition, Uuid
from cluster.wire.fetch import FetchResponse


class Consumer:
    """`Consumer({"bootstrap.servers": "host:9092"})` or `Consumer(bootstrap_servers="host:9092")`, with `async with`.

    Used by one event loop. `assign` first; then `poll`, or iterate: `async for record in consumer`. The constructor
    raises ConfigError.
    """

    def __init__(
        self, config: Mapping[str, Setting] | None = None, /, *, cluster: Cluster | None = None, **settings: Setting
    ) -> None:
        self._config = consumer_config({**(config or {}), **settings})
        self._cluster = cluster or Cluster(self._config, auto_create=self._config.allow_auto_create_topics)
        self._cluster.subscribe(self._wake_up)
        self._clock = self._cluster.clock
        self._isolation_level = READ_COMMITTED if self._config.isolation_level == "read_committed" else READ_UNCOMMITTED
        self._fetcher = Fetcher(_fetcher_settings(self._config, self._isolation_level))
        self._busy: set[int] = set()
        self._preparing: dict[int, asyncio.Task[None]] = {}
        self._not_before_ms: dict[int, int] = {}
        self._resolving: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._arrived = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        #: A programmer error in a task of ours: raised by `poll`, where somebody hears it.
        self._crash: BaseException | None = None
        self._iterated: deque[ConsumerRecord] = deque()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        tasks: list[asyncio.Task[Any]] = [*self._preparing.values(), *self._resolving]
        if self._runner is not None:
            tasks.append(self._runner)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()

    # What is read, and where.

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        return self._fetcher.assignment

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions and no others, from where auto.offset.reset says unless `seek` says otherwise."""
        assert not self._closed, "the consumer is closed"
        self._fetcher.assign(partitions)
        self._iterated.clear()
        self._cluster.track({partition.topic for partition in self._fetcher.assignment})
        if self._runner is None:
            self._cluster.keep_fresh()
            self._runner = asyncio.get_running_loop().create_task(self._run(), name="consumer fetcher")
            self._runner.add_done_callback(self._on_done)
        self._moved()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at `offset` >= 0 of an assigned partition."""
        self._fetcher.seek(partition, offset)
        self._moved(partition)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        """Go on at the first record there is; of all assigned partitions if none is named."""
        self._reset(partitions, EARLIEST)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        """Go on with the next record to be written; of all assigned partitions if none is named."""
        self._reset(partitions, LATEST)

    def pause(self, *partitions: TopicPartition) -> None:
        """Return no records of these partitions until `resume`."""
        for partition in partitions:
            self._fetcher.pause(partition)

    def resume(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._fetcher.resume(partition)
        self._moved()

    async def position(self, partition: TopicPartition, *, timeout_ms: int | None = None) -> int:
        """The offset of the next record that `poll` returns, looked up if need be. Raises KafkaError."""
        deadline = self._cluster.deadline(timeout_ms)
        while (offset := self._fetcher.position(partition)) is None:
            self._arrived.clear()
            try:
                async with asyncio.timeout(deadline.remaining_ms() / 1000):
                    await self._arrived.wait()
            except TimeoutError:
                subject = f"{partition.topic}/{partition.partition}"
                raise timed_out(subject, f"its position is not known after {deadline.timeout_ms} ms") from None
        return offset

    def high_watermark(self, partition: TopicPartition) -> int | None:
        """The end of what can be read, as of the last fetch; None before the first."""
        return self._fetcher.high_watermark(partition)

    # Records.

    async def poll(self, timeout_ms: int = 0) -> list[ConsumerRecord]:
        """Up to max.poll.records records, in order within each partition; empty when there are none in `timeout_ms`.

        Raises KafkaError for a partition that cannot go on; it does so until the partition is sought or unassigned.
        """
        deadline = self._cluster.deadline(timeout_ms)
        while True:
            self._arrived.clear()
            if self._crash is not None:
                raise self._crash
            records = self._fetcher.take(self._config.max_poll_records)
            # There may be room now to read ahead.
            self._wake.set()
            if records or deadline.remaining_ms() == 0:
                return records
            try:
                async with asyncio.timeout(deadline.remaining_ms() / 1000):
                    await self._arrived.wait()
            except TimeoutError:
                pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConsumerRecord:
        """The next record, waited for without end. `position` runs ahead of it by up to max.poll.records."""
        while not self._iterated:
            self._iterated.extend(await self.poll(self._config.default_api_timeout_ms))
        return self._iterated.popleft()

    # Offsets.

    async def partitions_for(self, topic: str, *, timeout_ms: int | None = None) -> TopicMetadata:
        """What is known about a topic, now. Raises KafkaError."""
        deadline = self._cluster.deadline(timeout_ms)
        return await self._cluster.retrying(lambda: self._cluster.topic(topic, deadline), deadline)

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition], *, timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]:
        """The offset of the first record of each. Raises the KafkaError of any."""
        found = await self._list_offsets(dict.fromkeys(partitions, EARLIEST), timeout_ms)
        return {partition: offset.offset for partition, offset in found.items()}

    async def end_offsets(
        self, partitions: Collection[TopicPartition], *, timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]:
        """The offset behind the last record that can be read of each. Raises the KafkaError of any."""
        found = await self._list_offsets(dict.fromkeys(partitions, LATEST), timeout_ms)
        return {partition: offset.offset for partition, offset in found.items()}

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int], *, timeout_ms: int | None = None
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """The first record of each whose timestamp is at least that many ms since the epoch; None where there is none.

        Raises the KafkaError of any.
        """
        found = await self._list_offsets(times, timeout_ms)
        return {partition: offset if offset.offset >= 0 else None for partition, offset in found.items()}

    async def _list_offsets(
        self, wanted: Mapping[TopicPartition, int], timeout_ms: int | None
    ) -> dict[TopicPartition, OffsetAndTimestamp]:
        results = await list_offsets(self._cluster, wanted, self._isolation_level, self._cluster.deadline(timeout_ms))
        found = {}
        for partition, result in results.items():
            if isinstance(result, KafkaError):
                raise result
            found[partition] = result
        return found

    # The shell.

    def _reset(self, partitions: Collection[TopicPartition], target: int) -> None:
        moved = partitions or self._fetcher.assignment
        for partition in moved:
            self._fetcher.reset(partition, target)
        self._moved(*moved)

    def _moved(self, *partitions: TopicPartition) -> None:
        """Something changed for those who wait; of `partitions` no record that was read ahead counts."""
        if partitions:
            self._iterated = deque(
                record for record in self._iterated if (record.topic, record.partition) not in partitions
            )
        self._wake.set()
        self._arrived.set()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now_ms = self._clock.now_ms()
            resets = self._fetcher.resets_due(now_ms)
            if resets:
                self._resolve(resets)
            self._fetch_ready(now_ms)
            event_ms = self._fetcher.next_event_ms(now_ms)
            try:
                async with asyncio.timeout(None if event_ms is None else max(0, event_ms - now_ms) / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._resolving.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._crash = task.exception()
            self._arrived.set()

    def _fetch_ready(self, now_ms: int) -> None:
        metadata = self._cluster.metadata
        by_node: dict[int, dict[TopicPartition, tuple[Leader, Uuid]]] = {}
        for wanted, replica in self._fetcher.fetchable(now_ms):
            leader = metadata.leader(wanted)
            if leader is None:
                self._cluster.request_refresh()
                continue
            node_id = replica if replica in metadata.brokers and replica is not None else leader.node_id
            by_node.setdefault(node_id, {})[wanted] = (leader, metadata.topics[wanted.topic].topic_id)
        for node_id, partitions in by_node.items():
            if node_id not in self._busy:
                self._fetch_from(node_id, partitions, now_ms)

    def _fetch_from(self, node_id: int, partitions: dict[TopicPartition, tuple[Leader, Uuid]], now_ms: int) -> None:
        connection = self._cluster.ready_connection(node_id, Channel.FETCH)
        if connection is None:
            self._prepare(node_id, now_ms)
            return
        fetch = self._fetcher.fetch(partitions)
        try:
            answer = connection.start(
                fetch.request,
                timeout_ms=self._config.request_timeout_ms + self._config.fetch_max_wait_ms,
                version_max=fetch.version_max,
            )
        except KafkaError as error:
            self._look_up(self._fetcher.on_failure(fetch, error, now_ms), None)
            self._arrived.set()
            return
        self._busy.add(node_id)
        answer.add_done_callback(partial(self._on_answer, node_id, fetch))

    def _on_answer(self, node_id: int, fetch: Fetch, answer: "asyncio.Future[FetchResponse]") -> None:
        self._busy.discard(node_id)
        self._wake.set()
        self._arrived.set()
        if answer.cancelled():
            return
        now_ms = self._clock.now_ms()
        error = answer.exception()
        if error is not None:
            assert isinstance(error, KafkaError), error
            self._look_up(self._fetcher.on_failure(fetch, error, now_ms), None)
            return
        response = answer.result()
        self._look_up(self._fetcher.on_response(fetch, response, now_ms), response)

    def _look_up(self, stale: list[StaleLeader], response: FetchResponse | None) -> None:
        """Believe a hint at the new leader (KIP-951), or ask."""
        for each in stale:
            hint = each.answer.current_leader if each.answer is not None else None
            endpoints = response.node_endpoints if response is not None else ()
            if not self._cluster.metadata.apply_hint(each.partition, hint, endpoints):
                self._cluster.request_refresh()

    def _prepare(self, node_id: int, now_ms: int) -> None:
        if node_id in self._preparing or now_ms < self._not_before_ms.get(node_id, 0):
            return
        task = asyncio.get_running_loop().create_task(self._connect(node_id), name=f"consumer to broker {node_id}")
        task.add_done_callback(self._on_done)
        self._preparing[node_id] = task

    async def _connect(self, node_id: int) -> None:
        try:
            await self._cluster.connection(node_id, Channel.FETCH)
        except KafkaError:
            # Another broker may lead by now. Until then the user hears nothing, as of any other pause.
            self._cluster.request_refresh()
            delay_ms = self._cluster.backoff().next_ms()
            self._not_before_ms[node_id] = self._clock.now_ms() + round(delay_ms)
            self._clock.call_later_ms(delay_ms + 1, self._wake_up)
        finally:
            self._preparing.pop(node_id, None)
            self._wake.set()

    def _resolve(self, resets: dict[TopicPartition, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._look_up_offsets(resets), name="consumer offsets")
        self._resolving.add(task)
        task.add_done_callback(self._on_done)

    async def _look_up_offsets(self, resets: dict[TopicPartition, int]) -> None:
        deadline = self._cluster.deadline(self._config.request_timeout_ms)
        found = await list_offsets(self._cluster, resets, self._isolation_level, deadline)
        unanswered = failure(ErrorCode.OFFSET_NOT_AVAILABLE)
        for partition, target in resets.items():
            result = found.get(partition, unanswered)
            if isinstance(result, KafkaError):
                self._fetcher.on_offset_failed(partition, target, result, self._clock.now_ms())
            else:
                self._fetcher.on_offset(partition, target, result.offset)
        self._moved()


def _fetcher_settings(config: ConsumerConfig, isolation_level: int) -> FetcherSettings:
    return FetcherSettings(
        auto_offset_reset=RESET_TARGETS[config.auto_offset_reset],
        isolation_level=isolation_level,
        fetch_min_bytes=config.fetch_min_bytes,
        fetch_max_wait_ms=config.fetch_max_wait_ms,
        fetch_max_bytes=config.fetch_max_bytes,
        max_partition_fetch_bytes=config.max_partition_fetch_bytes,
        check_crcs=config.check_crcs,
        client_rack=config.client_rack,
        retry_backoff_ms=config.retry_backoff_ms,
        preferred_replica_ms=config.metadata_max_age_ms,
    )
