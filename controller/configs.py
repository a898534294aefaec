"""Configurations of topics and brokers are altered, step by step or as a whole.

The steps for one resource become true together or not at all; resources are decided on their own. What a change means
for partitions follows in the same entry: allowing unclean election elects leaders where there are none, and a lower
min.insync.replicas empties ELRs that are no longer needed.

Pure. Source: KIP-133, KIP-339.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cluster.errors import ErrorCode, KafkaError
from cluster.metadata.commands import (
    ConfigChange,
    ConfigOperation,
    ConfigReplacement,
    IncrementalAlterConfigs,
    ReplaceConfigs,
)
from cluster.metadata.image import ConfigKey, MetadataImage, TopicImage
from cluster.metadata.records import CausedRecord, ConfigRecord, ResourceType
from cluster.metadata.results import AlteredConfigs, ConfigsAltered
from controller.config_rules import elements, known_key, validate
from controller.decision import (
    MIN_INSYNC_REPLICAS,
    UNCLEAN_ELECTION,
    Context,
    Decision,
    apply_records,
    caused,
    refuse,
)
from controller.elections import change_partitions, standing_of

RESOURCES_MAX = 10_000
CHANGES_MAX = 1000


def decide_incremental_alter_configs(context: Context, command: IncrementalAlterConfigs) -> Decision:
    requests = [((item.resource_type, item.resource_name), _Steps(item.changes)) for item in command.resources]
    return _decide(context, requests, command.validate_only)


def decide_replace_configs(context: Context, command: ReplaceConfigs) -> Decision:
    requests = [((item.resource_type, item.resource_name), _Whole(item)) for item in command.resources]
    return _decide(context, requests, command.validate_only)


class _Steps:
    """New values from old ones by steps. Raises KafkaError on the first bad one."""

    def __init__(self, changes: tuple[ConfigChange, ...]) -> None:
        self._changes = changes

    def values(self, kind: ResourceType, old: Mapping[str, str]) -> dict[str, str]:
        keys = [change.key for change in self._changes]
        if len(keys) > CHANGES_MAX or len(set(keys)) < len(keys):
            raise KafkaError(ErrorCode.INVALID_REQUEST, "a key is changed twice, or too many keys are changed at once")
        new = dict(old)
        for change in self._changes:
            if change.operation is ConfigOperation.DELETE:
                # A key that an older version stored may be unknown now, and must be removable.
                if change.key not in new:
                    known_key(kind, change.key)
                new.pop(change.key, None)
                continue
            if change.value is None:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"{change.key}: this operation needs a value")
            value = change.value
            if change.operation is not ConfigOperation.SET:
                value = _combined(kind, change, old.get(change.key))
            validate(kind, change.key, value)
            new[change.key] = value
        return new


class _Whole:
    """New values in place of old ones."""

    def __init__(self, replacement: ConfigReplacement) -> None:
        self._replacement = replacement

    def values(self, kind: ResourceType, old: Mapping[str, str]) -> dict[str, str]:
        configs = self._replacement.configs
        if len(configs) > CHANGES_MAX or len({config.key for config in configs}) < len(configs):
            raise KafkaError(ErrorCode.INVALID_REQUEST, "a key is there twice, or there are too many keys")
        new = {}
        for config in configs:
            if config.value is None:
                known_key(kind, config.key)
                continue
            if old.get(config.key) != config.value:
                validate(kind, config.key, config.value)
            new[config.key] = config.value
        return new


def _combined(kind: ResourceType, change: ConfigChange, old: str | None) -> str:
    """A list with elements appended that it lacks, or without those subtracted."""
    current = elements(kind, change.key, old)
    given = elements(kind, change.key, change.value)
    if change.operation is ConfigOperation.APPEND:
        return ",".join([*current, *(element for element in given if element not in current)])
    return ",".join(element for element in current if element not in given)


def _decide(context: Context, requests: Sequence[tuple[ConfigKey, _Steps | _Whole]], validate_only: bool) -> Decision:
    if len(requests) > RESOURCES_MAX:
        return refuse(ErrorCode.INVALID_REQUEST, f"{len(requests)} resources; {RESOURCES_MAX} are allowed")
    mentions = Counter(resource for resource, _ in requests)
    records: list[CausedRecord] = []
    results: list[AlteredConfigs] = []
    for (kind, name), request in requests:
        try:
            if mentions[(kind, name)] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "the resource is in the request twice")
            _check_resource(context.image, kind, name)
            old = context.image.configs.get((kind, name), {})
            new = request.values(kind, old)
            _check_min_insync(kind, name, old, new)
            records += _difference(kind, name, old, new)
        except KafkaError as error:
            result = AlteredConfigs(
                resource_type=kind, resource_name=name, error_code=error.code, error_message=error.message
            )
        else:
            result = AlteredConfigs(resource_type=kind, resource_name=name)
        results.append(result)
    if validate_only:
        records = []
    records += _consequences(context, records)
    return Decision(result=ConfigsAltered(resources=tuple(results)), records=tuple(records))


def _check_resource(image: MetadataImage, kind: ResourceType, name: str) -> None:
    if kind is ResourceType.TOPIC:
        if image.topic(name) is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name[:250]}")
    elif name and not (name.isascii() and name.isdigit() and len(name) < 11 and int(name) in image.brokers):
        raise KafkaError(ErrorCode.BROKER_ID_NOT_REGISTERED, f"there is no broker {name[:20]!r}")


def _check_min_insync(kind: ResourceType, name: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Brokers and controller must agree on the default: it is set for all brokers and never unset (KIP-966)."""
    if kind is not ResourceType.BROKER:
        return
    if name and MIN_INSYNC_REPLICAS in new:
        raise KafkaError(
            ErrorCode.INVALID_CONFIG,
            f"{MIN_INSYNC_REPLICAS} is the same on all brokers: set it on the default of all brokers, or on topics",
        )
    if not name and MIN_INSYNC_REPLICAS in old and MIN_INSYNC_REPLICAS not in new:
        raise KafkaError(
            ErrorCode.INVALID_CONFIG, f"{MIN_INSYNC_REPLICAS} of all brokers can be changed, but not be removed"
        )


def _difference(kind: ResourceType, name: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[CausedRecord]:
    return [
        caused(
            ConfigRecord(resource_type=kind, resource_name=name, key=key, value=new.get(key)),
            "a client altered the configuration",
        )
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def _consequences(context: Context, records: list[CausedRecord]) -> list[CausedRecord]:
    """Elections that the new configuration calls for."""
    topics: set[str] = set()
    everywhere = False
    for item in records:
        record = item.record
        if isinstance(record, ConfigRecord) and record.key in (UNCLEAN_ELECTION, MIN_INSYNC_REPLICAS):
            if record.resource_type is ResourceType.TOPIC:
                topics.add(record.resource_name)
            else:
                everywhere = everywhere or record.resource_name == ""
    if not topics and not everywhere:
        return []
    after = apply_records(context, records)
    event = f"{UNCLEAN_ELECTION} or {MIN_INSYNC_REPLICAS} was altered"
    chosen = _partitions_of(after.image, None if everywhere else topics)
    return change_partitions(after, chosen, standing_of(after.image), event)


def _partitions_of(image: MetadataImage, topics: set[str] | None) -> Iterable[tuple[TopicImage, int]]:
    for topic, number, _ in image.partitions():
        if topics is None or topic.name in topics:
            yield topic, number
