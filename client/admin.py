"""Administration of a cluster: topics, partitions, configuration, offsets.

Owns the translation between the admin APIs and plain values. A call about several things returns a result or an error
for each; a call about one thing raises its error. Attempts are repeated while the cluster moves; a request whose
answer was lost is sent again, so that "exists already" may then mean that the first one went through, and says so.

Source: KIP-4, KIP-107, KIP-195, KIP-339 (incremental configuration), KIP-525, KIP-700.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from client.cluster import Cluster, brokers_of
from client.config import Setting, client_config
from client.errors import ClientError, failure
from client.metadata import Broker, TopicMetadata, topic_metadata
from client.offsets import READ_UNCOMMITTED, OffsetAndTimestamp, list_offsets
from client.retry import TRANSIENT, TRANSIENT_OR_ABSENT, Deadline
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import TopicPartition, Uuid
from cluster.wire.configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    IncrementalAlterableConfig,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource,
)
from cluster.wire.schema import Request, Response
from cluster.wire.topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicConfigs,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
    CreateTopicsRequest,
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
    DeleteTopicsRequest,
    DeleteTopicState,
)

ResponseT = TypeVar("ResponseT", bound=Response)
ResultT = TypeVar("ResultT")

#: In place of a number: what the cluster's configuration says.
BROKER_DEFAULT: Final = -1
#: In place of an offset for `delete_records`: everything up to the high watermark.
HIGH_WATERMARK: Final = -1
#: A broker gets this much less time than the client waits, so that its "timed out" arrives.
_ANSWER_TRAVELS_MS: Final = 500


class ResourceType(IntEnum):
    """What has a configuration. The numbers are those of the protocol."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    GROUP = 32


class ConfigSource(IntEnum):
    """Where a value comes from. The numbers are those of DescribeConfigs."""

    UNKNOWN = -1
    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


class AlterOperation(IntEnum):
    """What to do with a configuration key. APPEND and SUBTRACT are for lists."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class ConfigResource:
    """Something that has a configuration; of brokers `name` is the id, or "" for the default of all."""

    type: ResourceType
    name: str


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One key of a configuration. `value` is None where it is secret or unset."""

    name: str
    value: str | None
    source: ConfigSource
    is_read_only: bool = False
    is_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """One key to be changed. `value` is None with DELETE alone."""

    name: str
    value: str | None
    operation: AlterOperation = AlterOperation.SET


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """A topic to be made. With `assignments` (the brokers of each partition) the two numbers stay at their defaults."""

    name: str
    partitions: int = BROKER_DEFAULT
    replication_factor: int = BROKER_DEFAULT
    configs: Mapping[str, str] = field(default_factory=dict)
    assignments: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedTopic:
    """A topic that was made, or would be. What an old broker does not tell is the zero uuid, -1 or empty."""

    name: str
    topic_id: Uuid
    partitions: int
    replication_factor: int
    configs: tuple[ConfigEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDescription:
    """`brokers` are those that clients can reach, by id."""

    cluster_id: str | None
    controller_id: int
    brokers: tuple[Broker, ...]


class Admin:
    """`Admin({"bootstrap.servers": "host:9092"})` or `Admin(bootstrap_servers="host:9092")`, used with `async with`.

    Every call takes a `timeout_ms` for all its attempts, default.api.timeout.ms when left out, and raises KafkaError.
    The constructor raises ConfigError.
    """

    def __init__(
        self, config: Mapping[str, Setting] | None = None, /, *, cluster: Cluster | None = None, **settings: Setting
    ) -> None:
        self._cluster = cluster or Cluster(client_config({**(config or {}), **settings}))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Idempotent."""
        await self._cluster.close()

    async def open(self, timeout_ms: int) -> None:
        """Reach the cluster now or never: any other call goes on trying until its own deadline."""
        await self._cluster.open(timeout_ms)

    # The cluster.

    async def describe_cluster(self, *, timeout_ms: int | None = None) -> ClusterDescription:
        response = await self._cluster.describe_topics([], self._cluster.deadline(timeout_ms))
        return ClusterDescription(
            cluster_id=response.cluster_id,
            controller_id=response.controller_id,
            brokers=tuple(brokers_of(response)),
        )

    # Topics.

    async def create_topics(
        self, topics: Sequence[NewTopic], *, validate_only: bool = False, timeout_ms: int | None = None
    ) -> dict[str, CreatedTopic | KafkaError]:
        deadline = self._cluster.deadline(timeout_ms)
        request = CreateTopicsRequest(
            topics=[_creatable(topic) for topic in topics],
            timeout_ms=self._broker_timeout_ms(deadline),
            validate_only=validate_only,
        )
        sent = 0

        async def attempt() -> dict[str, CreatedTopic | KafkaError]:
            nonlocal sent
            sent += 1
            response = await self._ask_controller(request, deadline)
            results: dict[str, CreatedTopic | KafkaError] = {}
            for answer in response.topics:
                if answer.error_code != ErrorCode.NONE:
                    results[answer.name] = failure(answer.error_code, answer.name, answer.error_message)
                    continue
                results[answer.name] = CreatedTopic(
                    name=answer.name,
                    topic_id=answer.topic_id,
                    partitions=answer.num_partitions,
                    replication_factor=answer.replication_factor,
                    configs=_entries(answer.configs or ()),
                )
            return _raise_transient(results)

        results = await self._cluster.retrying(attempt, deadline)
        return results if sent == 1 else {name: _perhaps_ours(result) for name, result in results.items()}

    async def create_topic(
        self, topic: NewTopic, *, validate_only: bool = False, timeout_ms: int | None = None
    ) -> CreatedTopic:
        results = await self.create_topics([topic], validate_only=validate_only, timeout_ms=timeout_ms)
        return _only(results, topic.name)

    async def delete_topics(
        self, names: Collection[str], *, timeout_ms: int | None = None
    ) -> dict[str, KafkaError | None]:
        """For each name None, or why the topic was not deleted."""
        deadline = self._cluster.deadline(timeout_ms)
        request = DeleteTopicsRequest(
            topics=[DeleteTopicState(name=name) for name in names],
            topic_names=list(names),
            timeout_ms=self._broker_timeout_ms(deadline),
        )

        async def attempt() -> dict[str, KafkaError | None]:
            response = await self._ask_controller(request, deadline)
            return _raise_transient(
                {
                    answer.name or "": _error_or_none(answer.error_code, answer.name or "", answer.error_message)
                    for answer in response.responses
                }
            )

        return await self._cluster.retrying(attempt, deadline)

    async def list_topics(self, *, internal: bool = False, timeout_ms: int | None = None) -> list[TopicMetadata]:
        """All topics that this user may see, by name; internal ones only when asked for."""
        response = await self._cluster.describe_topics(None, self._cluster.deadline(timeout_ms))
        topics = [topic_metadata(answer) for answer in response.topics if answer.error_code == ErrorCode.NONE]
        return sorted((topic for topic in topics if internal or not topic.is_internal), key=lambda topic: topic.name)

    async def describe_topics(
        self, names: Collection[str], *, timeout_ms: int | None = None
    ) -> dict[str, TopicMetadata | KafkaError]:
        response = await self._cluster.describe_topics(names, self._cluster.deadline(timeout_ms))
        return {
            answer.name: failure(answer.error_code, answer.name) if answer.error_code else topic_metadata(answer)
            for answer in response.topics
            if answer.name is not None
        }

    async def wait_for_topic(self, name: str, *, timeout_ms: int | None = None) -> TopicMetadata:
        """A topic that was just made, once every partition has a leader: brokers learn of it one after the other."""
        deadline = self._cluster.deadline(timeout_ms)

        async def attempt() -> TopicMetadata:
            topic = (await self.describe_topics([name], timeout_ms=deadline.remaining_ms()))[name]
            if isinstance(topic, KafkaError):
                raise topic
            for partition in topic.partitions.values():
                if partition.leader_id < 0:
                    raise failure(ErrorCode.LEADER_NOT_AVAILABLE, f"{name}/{partition.partition}")
            return topic

        return await self._cluster.retrying(attempt, deadline, TRANSIENT_OR_ABSENT)

    async def create_partitions(
        self, topic: str, total: int, *, validate_only: bool = False, timeout_ms: int | None = None
    ) -> None:
        """Raise the number of partitions to `total`. Records of a key may then go to another partition than before."""
        deadline = self._cluster.deadline(timeout_ms)
        request = CreatePartitionsRequest(
            topics=[CreatePartitionsTopic(name=topic, count=total, assignments=None)],
            timeout_ms=self._broker_timeout_ms(deadline),
            validate_only=validate_only,
        )

        async def attempt() -> None:
            response = await self._ask_controller(request, deadline)
            for answer in response.results:
                if answer.error_code != ErrorCode.NONE:
                    raise failure(answer.error_code, answer.name, answer.error_message)

        await self._cluster.retrying(attempt, deadline)

    # Configuration.

    async def describe_configs(
        self,
        resources: Sequence[ConfigResource],
        *,
        names: Collection[str] | None = None,
        timeout_ms: int | None = None,
    ) -> dict[ConfigResource, tuple[ConfigEntry, ...] | KafkaError]:
        """The configuration of each resource, by key; of brokers, what the broker itself says. `names` None is all."""
        deadline = self._cluster.deadline(timeout_ms)
        results: dict[ConfigResource, tuple[ConfigEntry, ...] | KafkaError] = {}
        for node_id, asked in _by_node(resources):
            request = DescribeConfigsRequest(
                resources=[
                    DescribeConfigsResource(
                        resource_type=resource.type,
                        resource_name=resource.name,
                        configuration_keys=None if names is None else list(names),
                    )
                    for resource in asked
                ]
            )
            response = await self._cluster.retrying(partial(self._ask, node_id, request, deadline), deadline)
            for answer in response.results:
                resource = ConfigResource(ResourceType(answer.resource_type), answer.resource_name)
                if answer.error_code != ErrorCode.NONE:
                    results[resource] = failure(answer.error_code, resource.name, answer.error_message)
                    continue
                results[resource] = _entries(answer.configs)
        return results

    async def alter_configs(
        self,
        resource: ConfigResource,
        changes: Iterable[ConfigChange],
        *,
        validate_only: bool = False,
        timeout_ms: int | None = None,
    ) -> None:
        """Change some keys of a configuration and leave the others as they are."""
        deadline = self._cluster.deadline(timeout_ms)
        request = IncrementalAlterConfigsRequest(
            resources=[
                IncrementalAlterConfigsResource(
                    resource_type=resource.type,
                    resource_name=resource.name,
                    configs=[
                        IncrementalAlterableConfig(
                            name=change.name, config_operation=change.operation, value=change.value
                        )
                        for change in changes
                    ],
                )
            ],
            validate_only=validate_only,
        )
        node_id = _node_of(resource)

        async def attempt() -> None:
            if node_id is None:
                response = await self._ask_controller(request, deadline)
            else:
                response = await self._ask(node_id, request, deadline)
            for answer in response.responses:
                if answer.error_code != ErrorCode.NONE:
                    raise failure(answer.error_code, answer.resource_name, answer.error_message)

        await self._cluster.retrying(attempt, deadline)

    # Records.

    async def list_offsets(
        self,
        wanted: Mapping[TopicPartition, int],
        *,
        isolation_level: int = READ_UNCOMMITTED,
        timeout_ms: int | None = None,
    ) -> dict[TopicPartition, OffsetAndTimestamp | KafkaError]:
        """For each partition the offset of a timestamp (ms since the epoch), or of LATEST, EARLIEST, MAX_TIMESTAMP."""
        return await list_offsets(self._cluster, wanted, isolation_level, self._cluster.deadline(timeout_ms))

    async def delete_records(
        self, before: Mapping[TopicPartition, int], *, timeout_ms: int | None = None
    ) -> dict[TopicPartition, int | KafkaError]:
        """Delete every record below an offset, or all for HIGH_WATERMARK. Returns where each log begins now."""
        deadline = self._cluster.deadline(timeout_ms)
        results: dict[TopicPartition, int | KafkaError] = {}
        for partition, offset in sorted(before.items()):
            try:
                results[partition] = await self._cluster.retrying(
                    partial(self._delete_before, partition, offset, deadline), deadline
                )
            except KafkaError as error:
                results[partition] = error
        return results

    async def _delete_before(self, partition: TopicPartition, offset: int, deadline: Deadline) -> int:
        connection, _ = await self._cluster.leader_connection(partition, deadline)
        request = DeleteRecordsRequest(
            topics=[
                DeleteRecordsTopic(
                    name=partition.topic,
                    partitions=[DeleteRecordsPartition(partition_index=partition.partition, offset=offset)],
                )
            ],
            timeout_ms=self._broker_timeout_ms(deadline),
        )
        response = await connection.call(request, timeout_ms=self._request_timeout_ms(deadline))
        for topic in response.topics:
            for answer in topic.partitions:
                if answer.error_code == ErrorCode.NONE:
                    return answer.low_watermark
                raise failure(answer.error_code, f"{partition.topic}/{partition.partition}")
        raise failure(ErrorCode.UNKNOWN_SERVER_ERROR, str(partition), "the broker's answer is empty")

    # Requests.

    def _request_timeout_ms(self, deadline: Deadline) -> int:
        return deadline.cap(self._cluster.config.request_timeout_ms)

    def _broker_timeout_ms(self, deadline: Deadline) -> int:
        return max(1, self._request_timeout_ms(deadline) - _ANSWER_TRAVELS_MS)

    async def _ask_controller(self, request: Request[ResponseT], deadline: Deadline) -> ResponseT:
        connection = await self._cluster.controller_connection(deadline)
        return await connection.call(request, timeout_ms=self._request_timeout_ms(deadline))

    async def _ask(self, node_id: int | None, request: Request[ResponseT], deadline: Deadline) -> ResponseT:
        """Ask one broker, or any for None."""
        if node_id is None:
            connection = await self._cluster.any_connection()
        else:
            await self._cluster.refresh_if_stale(deadline)
            connection = await self._cluster.connection(node_id)
        return await connection.call(request, timeout_ms=self._request_timeout_ms(deadline))


def _creatable(topic: NewTopic) -> CreatableTopic:
    return CreatableTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        assignments=[
            CreatableReplicaAssignment(partition_index=index, broker_ids=list(brokers))
            for index, brokers in enumerate(topic.assignments)
        ],
        configs=[CreatableTopicConfig(name=name, value=value) for name, value in sorted(topic.configs.items())],
    )


def _raise_transient(results: dict[str, ResultT]) -> dict[str, ResultT]:
    """Give the attempt up when all of it has to be repeated; a part that succeeded is never repeated."""
    errors = [result for result in results.values() if isinstance(result, KafkaError)]
    if errors and len(errors) == len(results) and all(error.code in TRANSIENT for error in errors):
        raise errors[0]
    return results


def _perhaps_ours(result: CreatedTopic | KafkaError) -> CreatedTopic | KafkaError:
    if isinstance(result, ClientError) and result.code is ErrorCode.TOPIC_ALREADY_EXISTS:
        return result.with_message(f"{result.message}; it may be from this call, as an earlier answer to it was lost")
    return result


def _only(results: Mapping[str, ResultT | KafkaError], name: str) -> ResultT:
    result = results.get(name)
    if result is None:
        raise failure(ErrorCode.UNKNOWN_SERVER_ERROR, name, "the broker left this topic out of its answer")
    if isinstance(result, KafkaError):
        raise result
    return result


def _error_or_none(number: int, subject: str, detail: str | None) -> KafkaError | None:
    return failure(number, subject, detail) if number != ErrorCode.NONE else None


def _entries(answers: Iterable[CreatableTopicConfigs | DescribeConfigsResourceResult]) -> tuple[ConfigEntry, ...]:
    """Keys and values, by key."""
    entries = (
        ConfigEntry(
            answer.name,
            answer.value,
            _config_source(answer.config_source),
            answer.read_only,
            answer.is_sensitive,
        )
        for answer in answers
    )
    return tuple(sorted(entries, key=lambda entry: entry.name))


def _config_source(number: int) -> ConfigSource:
    try:
        return ConfigSource(number)
    except ValueError:
        return ConfigSource.UNKNOWN


def _node_of(resource: ConfigResource) -> int | None:
    """The broker that has to be asked about its own configuration."""
    if resource.type in (ResourceType.BROKER, ResourceType.BROKER_LOGGER) and resource.name:
        return int(resource.name)
    return None


def _by_node(resources: Sequence[ConfigResource]) -> list[tuple[int | None, list[ConfigResource]]]:
    groups: dict[int | None, list[ConfigResource]] = {}
    for resource in resources:
        groups.setdefault(_node_of(resource), []).append(resource)
    return list(groups.items())
