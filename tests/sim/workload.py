"""Clients of the simulated cluster: producers and consumers on the wire, through connections of the client library.

Owns what a client may conclude from an answer: acknowledged, certainly refused, or unknown; a write without an answer
stays unknown for ever. Producers without idempotence never repeat a batch; idempotent ones repeat it under the same
sequence until its outcome is known or their patience ends, and go on under a new producer id then.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from client.connection import Connection, ConnectionSettings
from client.errors import ClientError
from cluster.errors import ErrorCode
from cluster.ids import Endpoint, TopicPartition
from cluster.records.batch import iterate_batches
from cluster.records.record import NewRecord, build_batch, decode_records
from cluster.wire.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData
from cluster.wire.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from cluster.wire.metadata import MetadataRequest, MetadataRequestTopic
from cluster.wire.produce import PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData
from cluster.wire.schema import Request, Response
from cluster.wire.topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from cluster.wire.transactions import InitProducerIdRequest
from tests.sim.history import History, Outcome, Write
from tests.sim.host import WALL_START_MS, SimClock
from tests.sim.invariants import Observer
from tests.sim.loop import Process, Violation
from tests.sim.scenario import CLIENT_MACHINES, Scenario, TopicPlan
from tests.sim.world import World, bootstrap

ResponseT = TypeVar("ResponseT", bound=Response)

SETTINGS: Final = ConnectionSettings(
    client_id="simulated", connect_timeout_ms=1000, request_timeout_ms=3000, frame_size_max=1 << 24
)
PRODUCE_TIMEOUT_MS: Final = 2000
#: How long an idempotent producer repeats one batch.
PATIENCE_S: Final = 8.0
RETRY_S: Final = 0.05
BATCH_RECORDS_MAX: Final = 5
VALUE_PADDING_MAX: Final = 200
FETCH_WAIT_MS: Final = 300
_NAMES_ONLY: Final = 12
_LATEST: Final = -1

#: After these the batch is certainly in no log.
_REFUSED: Final = (
    ErrorCode.NOT_ENOUGH_REPLICAS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.RECORD_LIST_TOO_LARGE,
    ErrorCode.INVALID_TIMESTAMP,
)
#: After these an idempotent producer cannot go on with its sequences.
_SEQUENCE_LOST: Final = (
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode.UNKNOWN_PRODUCER_ID,
    ErrorCode.INVALID_PRODUCER_EPOCH,
)


class NotSent(Exception):
    """Nothing of a request has left this client."""


@dataclass(frozen=True, slots=True)
class Leader:
    broker_id: int
    epoch: int


class Client:
    """Connections and metadata of one client process."""

    def __init__(self, world: World, process: Process, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.clock = SimClock(world.loop)
        self.name = process.name
        self._endpoints: dict[int, Endpoint] = {}
        self._connections: dict[Endpoint, Connection] = {}
        self._leaders: dict[TopicPartition, Leader] = {}

    def now_s(self) -> float:
        return self.world.loop.time()

    async def pause(self) -> None:
        await asyncio.sleep(self.random.uniform(0.5, 1.5) * RETRY_S)

    async def leader(self, partition: TopicPartition) -> tuple[Connection, Leader]:
        """Raises ClientError while nobody is known to lead, or the leader cannot be connected to."""
        leader = self._leaders.get(partition)
        if leader is None or leader.broker_id < 0:
            await self.refresh(partition.topic)
            leader = self._leaders.get(partition)
        if leader is None or leader.broker_id not in self._endpoints:
            raise ClientError(ErrorCode.LEADER_NOT_AVAILABLE, "nobody leads", subject=str(partition))
        try:
            return await self.connection(self._endpoints[leader.broker_id]), leader
        except ClientError:
            self.forget_leader(partition)
            raise

    def forget_leader(self, partition: TopicPartition) -> None:
        """It is to be asked for again; its epoch is remembered, so that older news are not believed."""
        known = self._leaders.get(partition)
        if known is not None:
            self._leaders[partition] = Leader(-1, known.epoch)

    async def connection(self, endpoint: Endpoint) -> Connection:
        known = self._connections.get(endpoint)
        if known is None or not known.is_open:
            known = self._connections[endpoint] = await Connection.open(endpoint, SETTINGS, self.clock)
        return known

    async def any_connection(self) -> Connection:
        return await self.connection(self.random.choice(bootstrap()))

    async def refresh(self, topic: str) -> None:
        """Ask somebody who leads the partitions of `topic`. Raises ClientError."""
        connection = await self.any_connection()
        request = MetadataRequest(topics=(MetadataRequestTopic(name=topic),), allow_auto_topic_creation=False)
        answer = await connection.call(request, version_max=_NAMES_ONLY)
        for broker in answer.brokers:
            self._endpoints[broker.node_id] = Endpoint(broker.host, broker.port)
        for found in answer.topics:
            for each in found.partitions:
                partition = TopicPartition(topic, each.partition_index)
                known = self._leaders.get(partition)
                if known is None or each.leader_epoch >= known.epoch:
                    self._leaders[partition] = Leader(each.leader_id, each.leader_epoch)

    async def ask_anybody(self, request: Request[ResponseT]) -> ResponseT:
        """Raises ClientError."""
        connection = await self.any_connection()
        return await connection.call(request)


@dataclass(slots=True)
class _Numbering:
    producer_id: int
    producer_epoch: int
    sequences: dict[TopicPartition, int]


class Producer:
    """Writes until it is told to stop; one batch at a time."""

    def __init__(self, client: Client, history: History, partitions: list[TopicPartition], *, idempotent: bool) -> None:
        self._client = client
        self._history = history
        self._partitions = partitions
        self._idempotent = idempotent
        self._numbering: _Numbering | None = None
        self._observer: Observer = client.world.observer
        self.stopping = False
        #: When a write to a partition was last acknowledged.
        self.acknowledged_s: dict[TopicPartition, float] = {}

    async def run(self) -> None:
        client = self._client
        while not self.stopping:
            await asyncio.sleep(client.random.uniform(*client.world.scenario.pause_s))
            partition = client.random.choice(self._partitions)
            if self._idempotent and self._numbering is None and not await self._number():
                continue
            write = self._history.begin(partition, client.random.randint(1, BATCH_RECORDS_MAX), client.now_s())
            client.world.loop.note(client.name, "write", write.values)
            if self._idempotent:
                outcome, offset = await self._write_repeatedly(write)
            else:
                outcome, offset = await self._write_once(write, None)
            self._finish(write, outcome, offset)

    def _finish(self, write: Write, outcome: Outcome, offset: int | None) -> None:
        now_s = self._client.now_s()
        self._client.world.loop.note(self._client.name, outcome, write.values, offset)
        self._observer.count(f"writes {outcome.name}")
        self._history.end(write, outcome, offset, now_s)
        if outcome is Outcome.OK:
            self.acknowledged_s[write.partition] = now_s
            if offset is not None:
                self._check_committed(write, offset)

    def _check_committed(self, write: Write, offset: int) -> None:
        """S13: what is acknowledged is below some leader's high watermark."""
        for committed in self._observer.committed.values():
            if committed.name == str(write.partition) and offset + len(write.values) > committed.end:
                raise Violation(f"S13: {write} acknowledged at {offset}, committed is {committed.end}")

    async def _number(self) -> bool:
        try:
            answer = await self._client.ask_anybody(InitProducerIdRequest(transaction_timeout_ms=60_000))
        except ClientError:
            return False
        if answer.error_code != ErrorCode.NONE:
            return False
        self._numbering = _Numbering(answer.producer_id, answer.producer_epoch, {})
        return True

    async def _write_repeatedly(self, write: Write) -> tuple[Outcome, int | None]:
        numbering = self._numbering
        assert numbering is not None
        deadline_s = self._client.now_s() + PATIENCE_S
        outcome, offset = Outcome.FAIL, None
        while self._client.now_s() < deadline_s:
            attempt, offset = await self._write_once(write, numbering)
            if attempt is Outcome.OK:
                sequence = numbering.sequences.get(write.partition, 0)
                numbering.sequences[write.partition] = sequence + len(write.values)
                return attempt, offset
            if attempt is Outcome.UNKNOWN:
                outcome = Outcome.UNKNOWN
            if self._numbering is None:
                return outcome, None
            await self._client.pause()
        self._numbering = None
        return outcome, None

    async def _write_once(self, write: Write, numbering: _Numbering | None) -> tuple[Outcome, int | None]:
        client, partition = self._client, write.partition
        try:
            connection, _ = await client.leader(partition)
            waiting = connection.start(self._request(write, numbering), version_max=_NAMES_ONLY)
        except ClientError:
            return Outcome.FAIL, None
        try:
            answer = await waiting
        except ClientError:
            client.forget_leader(partition)
            return Outcome.UNKNOWN, None
        return self._judge(partition, answer.responses[0].partition_responses[0])

    def _judge(self, partition: TopicPartition, answer: PartitionProduceResponse) -> tuple[Outcome, int | None]:
        code = ErrorCode(answer.error_code)
        if code is ErrorCode.NONE:
            return Outcome.OK, answer.base_offset
        self._observer.count(f"produce {code.name}")
        if code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            return Outcome.OK, None
        self._client.forget_leader(partition)
        if code in _SEQUENCE_LOST:
            self._numbering = None
            return Outcome.UNKNOWN, None
        return (Outcome.FAIL if code in _REFUSED else Outcome.UNKNOWN), None

    def _request(self, write: Write, numbering: _Numbering | None) -> ProduceRequest:
        padding = self._client.random.randrange(VALUE_PADDING_MAX)
        now_ms = self._client.clock.wall_ms()
        numbers: dict[str, Any] = {}
        if numbering is not None:
            # The same batch has the same bytes: a repetition is not another batch.
            padding = write.values[0] % VALUE_PADDING_MAX
            now_ms = WALL_START_MS + int(write.invoked_s * 1000)
            numbers = {
                "producer_id": numbering.producer_id,
                "producer_epoch": numbering.producer_epoch,
                "base_sequence": numbering.sequences.get(write.partition, 0),
            }
        records = [
            NewRecord(key=b"%d" % value, value=bytes(padding), timestamp=now_ms, headers=()) for value in write.values
        ]
        data = PartitionProduceData(index=write.partition.partition, records=build_batch(records, **numbers))
        topic = TopicProduceData(name=write.partition.topic, partition_data=(data,))
        return ProduceRequest(acks=-1, timeout_ms=PRODUCE_TIMEOUT_MS, topic_data=(topic,))


class Consumer:
    """Reads every partition from its beginning, one after the other, for as long as it is left to."""

    def __init__(self, client: Client, history: History, partitions: list[TopicPartition]) -> None:
        self._client = client
        self._history = history
        self._partitions = partitions
        self._observer: Observer = client.world.observer
        self.positions = dict.fromkeys(partitions, 0)
        self.logs: dict[TopicPartition, list[int]] = {partition: [] for partition in partitions}
        self.latest: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        while True:
            partition = self._client.random.choice(self._partitions)
            try:
                if self._client.random.random() < 0.2:
                    await self.ask_latest(partition)
                else:
                    await self.fetch(partition)
            except ClientError:
                self._client.forget_leader(partition)
                await self._client.pause()

    async def read_all(self, timeout_s: float) -> bool:
        """Whether everything up to the end of each partition could be read in time."""
        deadline_s = self._client.now_s() + timeout_s
        for partition in self._partitions:
            self.latest.pop(partition, None)
            while partition not in self.latest or self.positions[partition] < self.latest[partition]:
                if self._client.now_s() > deadline_s:
                    return False
                try:
                    if partition not in self.latest:
                        await self.ask_latest(partition)
                    else:
                        await self.fetch(partition)
                except ClientError:
                    self._client.forget_leader(partition)
                    await self._client.pause()
        return True

    async def ask_latest(self, partition: TopicPartition) -> None:
        """S11: the end of the log as one client is told it never goes back."""
        connection, leader = await self._client.leader(partition)
        asked = ListOffsetsPartition(
            partition_index=partition.partition, current_leader_epoch=leader.epoch, timestamp=_LATEST
        )
        request = ListOffsetsRequest(
            replica_id=-1, topics=(ListOffsetsTopic(name=partition.topic, partitions=(asked,)),)
        )
        answer = (await connection.call(request)).topics[0].partitions[0]
        if answer.error_code != ErrorCode.NONE:
            await self._on_error(partition, answer.error_code)
            return
        before = self.latest.get(partition, 0)
        if answer.offset < before:
            raise Violation(
                f"stale-hw: {self._client.name} heard that {partition} ends at {before}, then {answer.offset}"
            )
        self.latest[partition] = answer.offset

    async def fetch(self, partition: TopicPartition) -> None:
        connection, leader = await self._client.leader(partition)
        position = self.positions[partition]
        asked = FetchPartition(
            partition=partition.partition,
            current_leader_epoch=leader.epoch,
            fetch_offset=position,
            partition_max_bytes=self._client.random.choice((1, 1000, 1 << 20)),
        )
        request = FetchRequest(
            max_wait_ms=FETCH_WAIT_MS, min_bytes=1, topics=(FetchTopic(topic=partition.topic, partitions=(asked,)),)
        )
        answer: FetchResponse = await connection.call(request, version_max=_NAMES_ONLY)
        found: PartitionData = answer.responses[0].partitions[0]
        if found.error_code != ErrorCode.NONE:
            await self._on_error(partition, found.error_code)
            return
        records = found.records or b""
        assert isinstance(records, bytes | bytearray | memoryview)
        self._take(partition, bytes(records))

    async def _on_error(self, partition: TopicPartition, error_code: int) -> None:
        code = ErrorCode(error_code)
        self._observer.count(f"fetch {code.name}")
        if code is ErrorCode.OFFSET_OUT_OF_RANGE:
            raise Violation(
                f"lost-write: {self._client.name} has read {partition} up to {self.positions[partition]}, "
                "which is out of range now"
            )
        self._client.forget_leader(partition)
        await self._client.pause()

    def _take(self, partition: TopicPartition, data: bytes) -> None:
        expected = self.positions[partition]
        for at, header in iterate_batches(data):
            self._check_committed(partition, header.next_offset)
            for record in decode_records(data, header, at):
                offset = record.offset
                if offset < expected:
                    continue
                if offset != expected:
                    raise Violation(f"gap: {partition} goes on at {offset} after {expected}")
                assert record.key is not None
                self._history.on_read(partition, offset, int(record.key))
                self.logs[partition].append(int(record.key))
                expected = offset + 1
        self.positions[partition] = expected

    def _check_committed(self, partition: TopicPartition, end: int) -> None:
        for committed in self._observer.committed.values():
            if committed.name == str(partition) and end > committed.end:
                raise Violation(f"dirty-read: {partition} was read up to {end}, committed is {committed.end}")


class Workload:
    """All clients of a run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(world.scenario.seed * 104_729 + 2)
        self.history = History()
        self.partitions = partitions_of(world.scenario)
        self.producers: list[Producer] = []
        self.consumers: list[Consumer] = []
        self._writing: list[asyncio.Task[Any]] = []
        self._number = 0

    def client(self) -> tuple[Client, Process]:
        self._number += 1
        machine = CLIENT_MACHINES[self._number % len(CLIENT_MACHINES)]
        process = self._world.loop.new_process(f"client-{self._number}", machine)
        return Client(self._world, process, self._random.randrange(1 << 30)), process

    def start(self) -> None:
        scenario = self._world.scenario
        for number in range(scenario.producers + scenario.idempotent_producers):
            client, process = self.client()
            idempotent = number < scenario.idempotent_producers
            producer = Producer(client, self.history, self.partitions, idempotent=idempotent)
            self.producers.append(producer)
            self._writing.append(self._run(process, producer.run()))
        for _ in range(scenario.consumers):
            client, process = self.client()
            consumer = Consumer(client, self.history, self.partitions)
            self.consumers.append(consumer)
            self._run(process, consumer.run())

    async def stop_writing(self) -> None:
        """Returns when every write has ended."""
        for producer in self.producers:
            producer.stopping = True
        await asyncio.gather(*self._writing)

    def written_since(self, since_s: float) -> bool:
        """Whether somebody had a write acknowledged, in each partition."""
        return all(
            any(producer.acknowledged_s.get(partition, -1.0) > since_s for producer in self.producers)
            for partition in self.partitions
        )

    async def create_topics(self, timeout_s: float) -> bool:
        """Whether all topics of the scenario exist."""
        client, process = self.client()
        done = False

        async def create() -> None:
            nonlocal done
            deadline_s = client.now_s() + timeout_s
            missing = {topic.name for topic in self._world.scenario.topics}
            while missing and client.now_s() < deadline_s:
                request = CreateTopicsRequest(
                    topics=tuple(_creatable(topic) for topic in self._world.scenario.topics if topic.name in missing),
                    timeout_ms=2000,
                )
                try:
                    answer = await client.ask_anybody(request)
                except ClientError:
                    await client.pause()
                    continue
                made = (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS)
                missing -= {topic.name for topic in answer.topics if topic.error_code in made}
                await client.pause()
            done = not missing

        await self._run(process, create())
        return done

    async def read_all(self, timeout_s: float) -> dict[TopicPartition, list[int]] | None:
        """Every partition from its beginning, by a client that has seen nothing before; None when it takes longer."""
        client, process = self.client()
        consumer = Consumer(client, History(), self.partitions)
        consumer._history = self.history
        complete = False

        async def read() -> None:
            nonlocal complete
            complete = await consumer.read_all(timeout_s)

        await self._run(process, read())
        return consumer.logs if complete else None

    def _run(self, process: Process, work: Any) -> "asyncio.Task[Any]":
        loop = self._world.loop
        task = loop.spawn(process, work, process.name)

        def done(_task: "asyncio.Task[Any]") -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                loop.failure = loop.failure or error

        task.add_done_callback(done)
        return task


def _creatable(topic: TopicPlan) -> CreatableTopic:
    configs = {
        "min.insync.replicas": str(topic.min_insync_replicas),
        "segment.bytes": str(topic.segment_bytes),
        "message.timestamp.after.max.ms": str((1 << 63) - 1),
    }
    if topic.group_commit:
        configs["flush.messages"] = "1"
    return CreatableTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        configs=tuple(CreatableTopicConfig(name=name, value=value) for name, value in configs.items()),
    )


def partitions_of(scenario: Scenario) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for topic in scenario.topics for number in range(topic.partitions)]
