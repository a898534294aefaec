"""A cluster of fake brokers on the loopback: our own codec, logs in memory, and a script of things that go wrong.

Each broker answers the requests of a connection one after the other, as real ones do. A test may replace the answer to
the next request of an API (`script`), let it go unanswered, or have the connection closed instead.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Endpoint, Uuid
from cluster.records.batch import checksum_matches, iterate_batches, parse_header, stamp
from cluster.records.record import decode_records
from cluster.wire import configs, fetch, list_offsets, metadata, produce, topics, transactions
from cluster.wire.api_versions import API_VERSIONS, ApiVersion, ApiVersionsResponse
from cluster.wire.codec import records_view
from cluster.wire.headers import decode_request, decode_request_header, encode_response
from cluster.wire.registry import APIS
from cluster.wire.schema import Api, Request, Response

SERVED: tuple[Api, ...] = (
    produce.PRODUCE,
    fetch.FETCH,
    list_offsets.LIST_OFFSETS,
    metadata.METADATA,
    API_VERSIONS,
    topics.CREATE_TOPICS,
    topics.DELETE_TOPICS,
    topics.DELETE_RECORDS,
    topics.CREATE_PARTITIONS,
    transactions.INIT_PRODUCER_ID,
    configs.DESCRIBE_CONFIGS,
    configs.INCREMENTAL_ALTER_CONFIGS,
)


class Mishap(Enum):
    """What may happen to a request instead of an answer."""

    SILENCE = auto()
    CLOSE = auto()
    #: The request is carried out, and then the connection is closed.
    CLOSE_AFTER = auto()


Answer = Callable[["FakeBroker", Any], Response]


@dataclass
class FakeLog:
    """One partition: whole batches, as they were stamped."""

    leader: int
    leader_epoch: int = 0
    start: int = 0
    end: int = 0
    batches: list[bytearray] = field(default_factory=list)
    aborted: list[tuple[int, int]] = field(default_factory=list)
    #: (producer id, epoch) -> the sequence that must come next.
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)
    duplicates: dict[tuple[int, int, int], int] = field(default_factory=dict)
    #: Epoch -> where it ended, for epochs that were cut off.
    diverged: dict[int, int] = field(default_factory=dict)
    last_stable: int | None = None

    def append(self, batch: bytearray) -> int:
        """The base offset, or minus an error code."""
        header = parse_header(batch)
        if not checksum_matches(batch, header):
            return -ErrorCode.CORRUPT_MESSAGE
        if header.producer_id >= 0:
            producer = (header.producer_id, header.producer_epoch)
            known = self.duplicates.get((*producer, header.base_sequence))
            if known is not None:
                return known
            if self.sequences.get(producer, 0) != header.base_sequence:
                return -ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            self.sequences[producer] = header.base_sequence + header.record_count
            self.duplicates[(*producer, header.base_sequence)] = self.end
        base = self.end
        stamp(batch, base, self.leader_epoch)
        self.batches.append(batch)
        self.end += header.last_offset_delta + 1
        return base

    def records(self) -> list[tuple[bytes | None, bytes | None]]:
        return [
            (record.key, record.value)
            for batch in self.batches
            for record in decode_records(batch, parse_header(batch))
        ]

    def read(self, offset: int) -> bytes:
        return b"".join(batch for batch in self.batches if parse_header(batch).last_offset >= offset)


@dataclass
class FakeTopic:
    name: str
    topic_id: Uuid
    logs: list[FakeLog]
    configs: dict[str, str] = field(default_factory=dict)
    replication_factor: int = 1
    is_internal: bool = False


class FakeCluster:
    """`async with FakeCluster(3) as fake`. Brokers are numbered from 1; broker 1 is the controller."""

    def __init__(self, brokers: int = 1, versions: Mapping[Api, range] | None = None) -> None:
        self.versions = {api: api.versions for api in SERVED} | dict(versions or {})
        self.brokers = {node_id: FakeBroker(node_id, self) for node_id in range(1, brokers + 1)}
        self.topics: dict[str, FakeTopic] = {}
        self.auto_create = False
        #: (node id, request), in the order of arrival.
        self.requests: list[tuple[int, Request[Any]]] = []
        self.scripts: dict[Api, deque[Answer | Mishap]] = defaultdict(deque)
        self.appended = asyncio.Event()
        self.next_producer_id = 1000

    async def __aenter__(self) -> Self:
        for broker in self.brokers.values():
            await broker.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for broker in self.brokers.values():
            await broker.stop()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(str(broker.endpoint) for broker in self.brokers.values())

    def add_topic(self, name: str, partitions: int = 1, *, leader: int | None = None, rf: int = 1) -> FakeTopic:
        ids = sorted(self.brokers)
        self.topics[name] = FakeTopic(
            name,
            Uuid((len(self.topics) + 1).to_bytes(16, "big")),
            [FakeLog(leader or ids[number % len(ids)]) for number in range(partitions)],
            replication_factor=rf,
        )
        return self.topics[name]

    def script(self, api: Api, *steps: Answer | Mishap) -> None:
        """What the next requests of `api` get, one each; after that the usual answers follow."""
        self.scripts[api].extend(steps)

    def asked(self, api: Api) -> list[Any]:
        """The requests of `api` so far."""
        return [request for _, request in self.requests if request.api is api]

    def topic_of(self, name: str, topic_id: Uuid) -> FakeTopic | None:
        if topic_id != ZERO_UUID:
            return next((topic for topic in self.topics.values() if topic.topic_id == topic_id), None)
        return self.topics.get(name)


class FakeBroker:
    def __init__(self, node_id: int, cluster: FakeCluster) -> None:
        self.node_id = node_id
        self.cluster = cluster
        self.endpoint = Endpoint("127.0.0.1", 0)
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.endpoint.port)
        self.endpoint = Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection, as a death would."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                if not await self._answer(await reader.readexactly(size), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, frame: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        header = decode_request_header(frame)
        api = APIS[header.api_key]
        version = header.api_version
        if api is API_VERSIONS and version not in self.cluster.versions[api]:
            supported = self.cluster.versions[api]
            refusal = ApiVersionsResponse(
                error_code=ErrorCode.UNSUPPORTED_VERSION,
                api_keys=[ApiVersion(api_key=18, min_version=supported.start, max_version=supported.stop - 1)],
            )
            writer.writelines(encode_response(refusal, 0, header.correlation_id))
            return True
        assert version in self.cluster.versions[api], f"{api} v{version} was never offered"
        request: Request[Any] = decode_request(api.request, version, frame, header.body_offset)
        self.cluster.requests.append((self.node_id, request))
        scripts = self.cluster.scripts[api]
        step = scripts.popleft() if scripts else None
        if step is Mishap.CLOSE:
            return False
        if step is Mishap.SILENCE:
            return True
        if callable(step):
            response = step(self, request)
        else:
            handled = _HANDLERS[api](self, request)
            response = await handled if asyncio.iscoroutine(handled) else handled
        if step is Mishap.CLOSE_AFTER:
            return False
        if not (isinstance(request, produce.ProduceRequest) and request.acks == 0):
            writer.writelines(encode_response(response, version, header.correlation_id))
        return True


def answer_versions(broker: FakeBroker, request: Any) -> Response:
    return ApiVersionsResponse(
        api_keys=[
            ApiVersion(api_key=api.key, min_version=versions.start, max_version=versions.stop - 1)
            for api, versions in broker.cluster.versions.items()
            if versions
        ]
    )


def answer_metadata(broker: FakeBroker, request: metadata.MetadataRequest) -> metadata.MetadataResponse:
    cluster = broker.cluster
    names = sorted(cluster.topics) if request.topics is None else [topic.name or "" for topic in request.topics]
    if cluster.auto_create and request.allow_auto_topic_creation:
        for name in names:
            if name not in cluster.topics:
                cluster.add_topic(name)
    return metadata.MetadataResponse(
        brokers=[
            metadata.MetadataResponseBroker(node_id=node_id, host=peer.endpoint.host, port=peer.endpoint.port)
            for node_id, peer in cluster.brokers.items()
        ],
        cluster_id="fake",
        controller_id=1,
        topics=[_topic_metadata(cluster, name) for name in names],
    )


def _topic_metadata(cluster: FakeCluster, name: str) -> metadata.MetadataResponseTopic:
    topic = cluster.topics.get(name)
    if topic is None:
        return metadata.MetadataResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name=name)
    ids = sorted(cluster.brokers)
    partitions = []
    for number, log in enumerate(topic.logs):
        replicas = [(number + step) % len(ids) + 1 for step in range(topic.replication_factor)]
        partitions.append(
            metadata.MetadataResponsePartition(
                error_code=ErrorCode.NONE if log.leader > 0 else ErrorCode.LEADER_NOT_AVAILABLE,
                partition_index=number,
                leader_id=log.leader,
                leader_epoch=log.leader_epoch,
                replica_nodes=replicas,
                isr_nodes=replicas,
            )
        )
    return metadata.MetadataResponseTopic(
        name=name, topic_id=topic.topic_id, is_internal=topic.is_internal, partitions=partitions
    )


def _log(broker: FakeBroker, topic: FakeTopic | None, number: int) -> FakeLog | ErrorCode:
    if topic is None or number >= len(topic.logs):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    log = topic.logs[number]
    return log if log.leader == broker.node_id else ErrorCode.NOT_LEADER_OR_FOLLOWER


def answer_produce(broker: FakeBroker, request: produce.ProduceRequest) -> produce.ProduceResponse:
    responses = []
    for data in request.topic_data:
        topic = broker.cluster.topic_of(data.name, data.topic_id)
        answers = []
        for part in data.partition_data:
            answer = produce.PartitionProduceResponse(index=part.index, base_offset=-1)
            log = _log(broker, topic, part.index)
            if isinstance(log, ErrorCode):
                answer.error_code = log
            else:
                view = records_view(part.records)
                assert view is not None
                result = log.append(bytearray(view))
                answer.error_code, answer.base_offset = (-result, -1) if result < 0 else (0, result)
            answers.append(answer)
        responses.append(
            produce.TopicProduceResponse(name=data.name, topic_id=data.topic_id, partition_responses=answers)
        )
    broker.cluster.appended.set()
    broker.cluster.appended = asyncio.Event()
    return produce.ProduceResponse(responses=responses)


async def answer_fetch(broker: FakeBroker, request: fetch.FetchRequest) -> fetch.FetchResponse:
    response, is_worth_it = _fetch_now(broker, request)
    if is_worth_it or request.max_wait_ms == 0:
        return response
    try:
        async with asyncio.timeout(request.max_wait_ms / 1000):
            await broker.cluster.appended.wait()
    except TimeoutError:
        pass
    return _fetch_now(broker, request)[0]


def _fetch_now(broker: FakeBroker, request: fetch.FetchRequest) -> tuple[fetch.FetchResponse, bool]:
    responses, is_worth_it = [], False
    for asked in request.topics:
        topic = broker.cluster.topic_of(asked.topic, asked.topic_id)
        answers = []
        for part in asked.partitions:
            log = _log(broker, topic, part.partition)
            answer = fetch.PartitionData(partition_index=part.partition, high_watermark=-1)
            if isinstance(log, ErrorCode):
                answer.error_code = log
            else:
                _fill(answer, log, part, committed=request.isolation_level == 1)
            is_worth_it |= bool(answer.error_code or answer.records or answer.diverging_epoch)
            answers.append(answer)
        responses.append(fetch.FetchableTopicResponse(topic=asked.topic, topic_id=asked.topic_id, partitions=answers))
    return fetch.FetchResponse(responses=responses), is_worth_it


def _fill(answer: fetch.PartitionData, log: FakeLog, part: fetch.FetchPartition, *, committed: bool) -> None:
    answer.high_watermark, answer.log_start_offset = log.end, log.start
    answer.last_stable_offset = log.end if log.last_stable is None else log.last_stable
    if part.current_leader_epoch not in (-1, log.leader_epoch):
        is_older = part.current_leader_epoch < log.leader_epoch
        answer.error_code = ErrorCode.FENCED_LEADER_EPOCH if is_older else ErrorCode.UNKNOWN_LEADER_EPOCH
    elif part.last_fetched_epoch in log.diverged and part.fetch_offset > log.diverged[part.last_fetched_epoch]:
        answer.diverging_epoch = fetch.EpochEndOffset(
            epoch=part.last_fetched_epoch, end_offset=log.diverged[part.last_fetched_epoch]
        )
    elif not log.start <= part.fetch_offset <= log.end:
        answer.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
    else:
        answer.records = log.read(part.fetch_offset)
        if committed:
            answer.aborted_transactions = [
                fetch.AbortedTransaction(producer_id=producer_id, first_offset=first)
                for producer_id, first in log.aborted
            ]


def answer_list_offsets(
    broker: FakeBroker, request: list_offsets.ListOffsetsRequest
) -> list_offsets.ListOffsetsResponse:
    results = []
    for asked in request.topics:
        answers = []
        for part in asked.partitions:
            log = _log(broker, broker.cluster.topics.get(asked.name), part.partition_index)
            answer = list_offsets.ListOffsetsPartitionResponse(partition_index=part.partition_index)
            if isinstance(log, ErrorCode):
                answer.error_code = log
            elif part.timestamp == -1:
                answer.offset = log.end
            elif part.timestamp == -2:
                answer.offset = log.start
            else:
                _first_since(answer, log, part.timestamp)
            answers.append(answer)
        results.append(list_offsets.ListOffsetsTopicResponse(name=asked.name, partitions=answers))
    return list_offsets.ListOffsetsResponse(topics=results)


def _first_since(answer: list_offsets.ListOffsetsPartitionResponse, log: FakeLog, timestamp: int) -> None:
    for batch in log.batches:
        for _, header in iterate_batches(batch):
            for record in decode_records(batch, header):
                if record.timestamp >= timestamp:
                    answer.offset, answer.timestamp = record.offset, record.timestamp
                    return


def answer_create_topics(broker: FakeBroker, request: topics.CreateTopicsRequest) -> topics.CreateTopicsResponse:
    cluster = broker.cluster
    results = []
    for asked in request.topics:
        result = topics.CreatableTopicResult(name=asked.name)
        results.append(result)
        rf = 1 if asked.replication_factor < 0 else asked.replication_factor
        if asked.name in cluster.topics:
            result.error_code, result.error_message = ErrorCode.TOPIC_ALREADY_EXISTS, "Topic exists."
        elif rf > len(cluster.brokers):
            result.error_code = ErrorCode.INVALID_REPLICATION_FACTOR
            result.error_message = f"Replication factor {rf} is larger than the {len(cluster.brokers)} brokers."
        else:
            count = 1 if asked.num_partitions < 0 else asked.num_partitions
            given = {config.name: config.value or "" for config in asked.configs}
            if not request.validate_only:
                topic = cluster.add_topic(asked.name, count, rf=rf)
                topic.configs = given
                result.topic_id = topic.topic_id
            result.num_partitions, result.replication_factor = count, rf
            result.configs = [
                topics.CreatableTopicConfigs(name=name, value=value, config_source=1) for name, value in given.items()
            ]
    return topics.CreateTopicsResponse(topics=results)


def answer_delete_topics(broker: FakeBroker, request: topics.DeleteTopicsRequest) -> topics.DeleteTopicsResponse:
    names = [state.name or "" for state in request.topics] or list(request.topic_names)
    return topics.DeleteTopicsResponse(
        responses=[
            topics.DeletableTopicResult(
                name=name,
                error_code=ErrorCode.NONE
                if broker.cluster.topics.pop(name, None)
                else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            )
            for name in names
        ]
    )


def answer_delete_records(broker: FakeBroker, request: topics.DeleteRecordsRequest) -> topics.DeleteRecordsResponse:
    results = []
    for asked in request.topics:
        answers = []
        for part in asked.partitions:
            log = broker.cluster.topics[asked.name].logs[part.partition_index]
            answer = topics.DeleteRecordsPartitionResult(partition_index=part.partition_index, low_watermark=-1)
            if part.offset > log.end:
                answer.error_code = ErrorCode.OFFSET_OUT_OF_RANGE
            else:
                log.start = answer.low_watermark = log.end if part.offset < 0 else part.offset
            answers.append(answer)
        results.append(topics.DeleteRecordsTopicResult(name=asked.name, partitions=answers))
    return topics.DeleteRecordsResponse(topics=results)


def answer_create_partitions(
    broker: FakeBroker, request: topics.CreatePartitionsRequest
) -> topics.CreatePartitionsResponse:
    results = []
    for asked in request.topics:
        result = topics.CreatePartitionsTopicResult(name=asked.name)
        topic = broker.cluster.topics.get(asked.name)
        if topic is None:
            result.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        elif asked.count <= len(topic.logs):
            result.error_code = ErrorCode.INVALID_PARTITIONS
        else:
            topic.logs += [FakeLog(topic.logs[0].leader) for _ in range(asked.count - len(topic.logs))]
        results.append(result)
    return topics.CreatePartitionsResponse(results=results)


def answer_init_producer_id(
    broker: FakeBroker, request: transactions.InitProducerIdRequest
) -> transactions.InitProducerIdResponse:
    broker.cluster.next_producer_id += 1
    return transactions.InitProducerIdResponse(producer_id=broker.cluster.next_producer_id, producer_epoch=0)


def answer_describe_configs(
    broker: FakeBroker, request: configs.DescribeConfigsRequest
) -> configs.DescribeConfigsResponse:
    results = []
    for asked in request.resources:
        result = configs.DescribeConfigsResult(resource_type=asked.resource_type, resource_name=asked.resource_name)
        topic = broker.cluster.topics.get(asked.resource_name)
        if topic is None and asked.resource_type == 2:
            result.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        elif topic is not None:
            defaults = {"min.insync.replicas": ("1", 5), "flush.messages": (str(2**63 - 1), 5)}
            values = defaults | {name: (value, 1) for name, value in topic.configs.items()}
            result.configs = [
                configs.DescribeConfigsResourceResult(name=name, value=value, config_source=source)
                for name, (value, source) in values.items()
                if asked.configuration_keys is None or name in asked.configuration_keys
            ]
        results.append(result)
    return configs.DescribeConfigsResponse(results=results)


def answer_alter_configs(
    broker: FakeBroker, request: configs.IncrementalAlterConfigsRequest
) -> configs.IncrementalAlterConfigsResponse:
    responses = []
    for asked in request.resources:
        topic = broker.cluster.topics[asked.resource_name]
        for change in asked.configs:
            if change.config_operation == 0:
                topic.configs[change.name] = change.value or ""
            else:
                topic.configs.pop(change.name, None)
        responses.append(
            configs.AlterConfigsResourceResponse(resource_type=asked.resource_type, resource_name=asked.resource_name)
        )
    return configs.IncrementalAlterConfigsResponse(responses=responses)


_HANDLERS: dict[Api, Callable[[FakeBroker, Any], Any]] = {
    API_VERSIONS: answer_versions,
    metadata.METADATA: answer_metadata,
    produce.PRODUCE: answer_produce,
    fetch.FETCH: answer_fetch,
    list_offsets.LIST_OFFSETS: answer_list_offsets,
    topics.CREATE_TOPICS: answer_create_topics,
    topics.DELETE_TOPICS: answer_delete_topics,
    topics.DELETE_RECORDS: answer_delete_records,
    topics.CREATE_PARTITIONS: answer_create_partitions,
    transactions.INIT_PRODUCER_ID: answer_init_producer_id,
    configs.DESCRIBE_CONFIGS: answer_describe_configs,
    configs.INCREMENTAL_ALTER_CONFIGS: answer_alter_configs,
}
