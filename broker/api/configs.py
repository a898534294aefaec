"""DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44).

DescribeConfigs, versions 0-4: 1 sources and synonyms (KIP-226) where 0 says default or not, 3 types and documentation
(KIP-569). No keys and an empty list of keys both mean all. A broker answers for itself ("" for what is set for all
brokers), not for others. Version 0 is older than what Kafka serves by now, and what sarama sends up to 1.40.
AlterConfigs, versions 0-2, replaces the whole set of a resource. IncrementalAlterConfigs, versions 0-1, changes single
keys (KIP-339). Both are forwarded; either all changes of a resource happen or none.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from broker.api.answers import RequestContext
from broker.api.commands import TIMEOUT_MS_MIN, Controller, decided
from broker.api.config_entries import ConfigEntries, ConfigEntry, ConfigSource
from broker.api.registry import serves
from broker.api.topic_names import is_legal_name
from cluster.errors import ErrorCode, KafkaError
from cluster.metadata.commands import (
    ConfigChange,
    ConfigChanges,
    ConfigOperation,
    ConfigReplacement,
    ConfigValue,
    IncrementalAlterConfigs,
    ReplaceConfigs,
)
from cluster.metadata.records import ResourceType
from cluster.metadata.results import CommandFailed, ConfigsAltered
from cluster.wire.configs import (
    ALTER_CONFIGS,
    DESCRIBE_CONFIGS,
    INCREMENTAL_ALTER_CONFIGS,
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource,
    IncrementalAlterConfigsResponse,
)

#: These requests carry no timeout of their own.
ALTER_TIMEOUT_MS: Final = 30_000
assert ALTER_TIMEOUT_MS >= TIMEOUT_MS_MIN

_ALTERABLE: Final = frozenset(ResourceType)


class ConfigsApi:
    def __init__(self, *, broker_id: int, controller: Controller, entries: ConfigEntries) -> None:
        self._broker_id = broker_id
        self._controller = controller
        self._entries = entries

    @serves(DESCRIBE_CONFIGS, "0-4")
    def describe_configs(self, request: DescribeConfigsRequest, context: RequestContext) -> DescribeConfigsResponse:
        return DescribeConfigsResponse(results=[self._describe(resource, request) for resource in request.resources])

    def _describe(self, resource: DescribeConfigsResource, request: DescribeConfigsRequest) -> DescribeConfigsResult:
        result = DescribeConfigsResult(resource_type=resource.resource_type, resource_name=resource.resource_name)
        try:
            entries = self._entries_of(resource)
        except KafkaError as error:
            result.error_code = error.code
            result.error_message = error.message
            return result
        keys = resource.configuration_keys
        result.configs = [
            _described(entry, synonyms=request.include_synonyms, documentation=request.include_documentation)
            for entry in entries
            if not keys or entry.key.name in keys
        ]
        return result

    def _entries_of(self, resource: DescribeConfigsResource) -> Iterable[ConfigEntry]:
        """Raises KafkaError."""
        image, name = self._controller.image, resource.resource_name
        match resource.resource_type:
            case ResourceType.TOPIC:
                if not is_legal_name(name):
                    raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, "this is no legal topic name")
                if name not in image.topic_ids:
                    raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name}")
                return self._entries.of_topic(image, name)
            case ResourceType.BROKER if name == "":
                return self._entries.of_all_brokers(image)
            case ResourceType.BROKER if name == str(self._broker_id):
                return self._entries.of_broker(image)
            case ResourceType.BROKER:
                raise KafkaError(
                    ErrorCode.INVALID_REQUEST, f"this is broker {self._broker_id}; ask the broker itself, or '' for all"
                )
            case other:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"resources of type {other} have no configuration here")

    @serves(ALTER_CONFIGS, "0-2")
    async def alter_configs(self, request: AlterConfigsRequest, context: RequestContext) -> AlterConfigsResponse:
        command = ReplaceConfigs(
            resources=tuple(
                ConfigReplacement(
                    resource_type=ResourceType(item.resource_type),
                    resource_name=item.resource_name,
                    configs=tuple(ConfigValue(key=config.name, value=config.value) for config in item.configs),
                )
                for item in request.resources
                if item.resource_type in _ALTERABLE
            ),
            validate_only=request.validate_only,
        )
        result = await decided(self._controller, command, ALTER_TIMEOUT_MS)
        return AlterConfigsResponse(responses=_altered(request.resources, result))

    @serves(INCREMENTAL_ALTER_CONFIGS, "0-1")
    async def incremental_alter_configs(
        self, request: IncrementalAlterConfigsRequest, context: RequestContext
    ) -> IncrementalAlterConfigsResponse:
        valid = [item for item in request.resources if item.resource_type in _ALTERABLE and _operations_known(item)]
        command = IncrementalAlterConfigs(
            resources=tuple(
                ConfigChanges(
                    resource_type=ResourceType(item.resource_type),
                    resource_name=item.resource_name,
                    changes=tuple(
                        ConfigChange(
                            key=config.name,
                            operation=ConfigOperation(config.config_operation),
                            value=None if config.config_operation == ConfigOperation.DELETE else config.value,
                        )
                        for config in item.configs
                    ),
                )
                for item in valid
            ),
            validate_only=request.validate_only,
        )
        result = await decided(self._controller, command, ALTER_TIMEOUT_MS)
        return IncrementalAlterConfigsResponse(responses=_altered(request.resources, result))


def _described(entry: ConfigEntry, *, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult:
    result = DescribeConfigsResourceResult(
        name=entry.key.name,
        value=entry.value,
        read_only=entry.read_only,
        is_default=entry.source is ConfigSource.DEFAULT,
        config_source=entry.source,
        is_sensitive=entry.is_sensitive,
        config_type=entry.key.type,
        documentation=entry.key.doc if documentation else None,
    )
    if synonyms:
        result.synonyms = [
            DescribeConfigsSynonym(name=synonym.name, value=synonym.value, source=synonym.source)
            for synonym in entry.synonyms
            if synonym.value is not None or entry.is_sensitive
        ]
    return result


def _operations_known(resource: IncrementalAlterConfigsResource) -> bool:
    known = frozenset(ConfigOperation)
    return all(config.config_operation in known for config in resource.configs)


def _altered(
    resources: Sequence[AlterConfigsResource | IncrementalAlterConfigsResource], result: ConfigsAltered | CommandFailed
) -> list[AlterConfigsResourceResponse]:
    """One answer for each resource, in their order; what the controller was not asked about is at fault itself."""
    answers = {}
    if isinstance(result, ConfigsAltered):
        answers = {
            (item.resource_type, item.resource_name): (item.error_code, item.error_message) for item in result.resources
        }
        missing = (ErrorCode.INVALID_REQUEST, "this resource, or an operation on it, does not exist here")
    else:
        missing = (result.error_code, result.message)
    responses = []
    for item in resources:
        kind = item.resource_type
        answer = answers.get((ResourceType(kind), item.resource_name)) if kind in _ALTERABLE else None
        code, message = answer or missing
        responses.append(
            AlterConfigsResourceResponse(
                error_code=code, error_message=message or None, resource_type=kind, resource_name=item.resource_name
            )
        )
    return responses
