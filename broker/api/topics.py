"""CreateTopics (19), DeleteTopics (20), CreatePartitions (37): any broker takes them, the controller decides.

CreateTopics, versions 2-7: 4 counts of -1 for the cluster's default (KIP-464), 5 the configuration that came of it
(KIP-525), 6 quotas, of which there are none (KIP-599), 7 topic ids (KIP-516). Coordinators make their own topics, so
clients cannot.
DeleteTopics, versions 1-6: 5 messages, 6 by id (KIP-516).
CreatePartitions, versions 0-3: the count is the new total (KIP-195).

An answer leaves when every live broker acts upon the outcome, so that the next request to any of them finds it so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from broker.api.answers import RequestContext
from broker.api.commands import Controller, decided
from broker.api.config_entries import ConfigEntries
from broker.api.registry import serves
from broker.api.topic_names import INTERNAL_TOPICS
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.commands import (
    Assignment,
    ConfigValue,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    NewPartitions,
    NewTopic,
    TopicReference,
)
from cluster.metadata.results import CommandFailed, CreatedTopic
from cluster.wire.topics import (
    CREATE_PARTITIONS,
    CREATE_TOPICS,
    DELETE_TOPICS,
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)

_FIRST_CREATE_VERSION_WITH_CONFIGS: Final = 5
_FIRST_DELETE_VERSION_BY_ID: Final = 6
_FIRST_DELETE_VERSION_WITH_DISABLED: Final = 3

#: Name and id of a topic to delete; None and the zero id stand for what is not given.
Reference = tuple[str | None, Uuid]


class TopicsApi:
    """`deletion_enabled` is delete.topic.enable."""

    def __init__(self, *, controller: Controller, configs: ConfigEntries, deletion_enabled: bool) -> None:
        self._controller = controller
        self._configs = configs
        self._deletion_enabled = deletion_enabled

    @serves(CREATE_TOPICS, "2-7")
    async def create_topics(self, request: CreateTopicsRequest, context: RequestContext) -> CreateTopicsResponse:
        wanted = [topic for topic in request.topics if topic.name not in INTERNAL_TOPICS]
        created: Mapping[str, CreatedTopic] = {}
        failure: CommandFailed | None = None
        if wanted:
            command = CreateTopics(
                topics=tuple(_new_topic(topic) for topic in wanted), validate_only=request.validate_only
            )
            result = await decided(self._controller, command, request.timeout_ms)
            if isinstance(result, CommandFailed):
                failure = result
            else:
                created = {topic.name: topic for topic in result.topics}
        with_configs = context.api_version >= _FIRST_CREATE_VERSION_WITH_CONFIGS
        return CreateTopicsResponse(
            topics=[
                self._created(name, created.get(name), failure, request, with_configs)
                for name in dict.fromkeys(topic.name for topic in request.topics)
            ]
        )

    def _created(
        self,
        name: str,
        topic: CreatedTopic | None,
        failure: CommandFailed | None,
        request: CreateTopicsRequest,
        with_configs: bool,
    ) -> CreatableTopicResult:
        if name in INTERNAL_TOPICS:
            exists = name in self._controller.image.topic_ids
            return CreatableTopicResult(
                name=name,
                error_code=ErrorCode.TOPIC_ALREADY_EXISTS if exists else ErrorCode.INVALID_TOPIC_EXCEPTION,
                error_message=f"Topic '{name}' belongs to the brokers, which create it when it is needed.",
            )
        if topic is None:
            assert failure is not None, "every topic asked for is answered"
            return CreatableTopicResult(name=name, error_code=failure.error_code, error_message=failure.message)
        if topic.error_code is not ErrorCode.NONE:
            return CreatableTopicResult(
                name=name, error_code=topic.error_code, error_message=topic.error_message or None
            )
        configs: Sequence[CreatableTopicConfigs] = ()
        if with_configs:
            given = {}
            if request.validate_only:
                given = {
                    config.name: config.value for item in request.topics if item.name == name for config in item.configs
                }
            configs = self._effective_configs(name, given)
        return CreatableTopicResult(
            name=name,
            topic_id=topic.topic_id,
            num_partitions=topic.partitions,
            replication_factor=topic.replication_factor,
            configs=configs,
        )

    def _effective_configs(self, name: str, given: Mapping[str, str | None]) -> list[CreatableTopicConfigs]:
        """The configuration of a topic; of one that was only validated, what `given` would have made of it."""
        configs = []
        for entry in self._configs.of_topic(self._controller.image, name):
            value = given.get(entry.key.name)
            configs.append(
                CreatableTopicConfigs(
                    name=entry.key.name,
                    value=entry.value if value is None else value,
                    config_source=entry.source if value is None else 1,
                    is_sensitive=entry.is_sensitive,
                )
            )
        return configs

    @serves(DELETE_TOPICS, "1-6")
    async def delete_topics(self, request: DeleteTopicsRequest, context: RequestContext) -> DeleteTopicsResponse:
        if context.api_version >= _FIRST_DELETE_VERSION_BY_ID:
            wanted = [(state.name, state.topic_id) for state in request.topics]
        else:
            wanted = [(name, ZERO_UUID) for name in request.topic_names]
        if not self._deletion_enabled:
            known = context.api_version >= _FIRST_DELETE_VERSION_WITH_DISABLED
            code = ErrorCode.TOPIC_DELETION_DISABLED if known else ErrorCode.INVALID_REQUEST
            return DeleteTopicsResponse(
                responses=_not_deleted(wanted, code, "delete.topic.enable is false on this broker")
            )
        mentions = Counter(wanted)
        unclear = [
            (name, topic_id)
            for (name, topic_id), count in mentions.items()
            if count > 1 or (name is None) == (topic_id == ZERO_UUID)
        ]
        responses = _not_deleted(
            unclear, ErrorCode.INVALID_REQUEST, "a topic is named once, and by its name or by its id"
        )
        clear = [reference for reference in mentions if reference not in unclear]
        if clear:
            responses += await self._delete(clear, request.timeout_ms)
        return DeleteTopicsResponse(responses=responses)

    async def _delete(self, wanted: Sequence[Reference], timeout_ms: int) -> list[DeletableTopicResult]:
        references = tuple(
            TopicReference(name=name) if name is not None else TopicReference(topic_id=topic_id)
            for name, topic_id in wanted
        )
        result = await decided(self._controller, DeleteTopics(topics=references), timeout_ms)
        if isinstance(result, CommandFailed):
            return _not_deleted(wanted, result.error_code, result.message)
        return [
            DeletableTopicResult(
                name=topic.name,
                topic_id=topic.topic_id,
                error_code=topic.error_code,
                error_message=topic.error_message or None,
            )
            for topic in result.topics
        ]

    @serves(CREATE_PARTITIONS, "0-3")
    async def create_partitions(
        self, request: CreatePartitionsRequest, context: RequestContext
    ) -> CreatePartitionsResponse:
        command = CreatePartitions(
            topics=tuple(
                NewPartitions(
                    name=topic.name,
                    count=topic.count,
                    assignments=tuple(tuple(item.broker_ids) for item in topic.assignments or ()),
                )
                for topic in request.topics
            ),
            validate_only=request.validate_only,
        )
        result = await decided(self._controller, command, request.timeout_ms)
        if isinstance(result, CommandFailed):
            return CreatePartitionsResponse(
                results=[
                    CreatePartitionsTopicResult(
                        name=topic.name, error_code=result.error_code, error_message=result.message
                    )
                    for topic in request.topics
                ]
            )
        return CreatePartitionsResponse(
            results=[
                CreatePartitionsTopicResult(
                    name=topic.name, error_code=topic.error_code, error_message=topic.error_message or None
                )
                for topic in result.topics
            ]
        )


def _new_topic(topic: CreatableTopic) -> NewTopic:
    return NewTopic(
        name=topic.name,
        partitions=topic.num_partitions,
        replication_factor=topic.replication_factor,
        assignments=tuple(
            Assignment(partition=item.partition_index, replicas=tuple(item.broker_ids)) for item in topic.assignments
        ),
        configs=tuple(ConfigValue(key=config.name, value=config.value) for config in topic.configs),
    )


def _not_deleted(wanted: Sequence[Reference], code: ErrorCode, message: str) -> list[DeletableTopicResult]:
    return [
        DeletableTopicResult(name=name, topic_id=topic_id, error_code=code, error_message=message)
        for name, topic_id in wanted
    ]
