"""Topics are created, extended and deleted.

Each topic of a request is decided on its own; what earlier topics of the same request became is seen by later ones.
A topic made again under a deleted name begins above every leader epoch that the name ever had, because clients ignore
metadata whose leader epoch falls.

Pure. Source: KIP-4, KIP-195, KIP-464, KIP-516, KIP-525.
"""

import hashlib
import re
from collections import Counter

from cluster.errors import ErrorCode, KafkaError
from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.commands import (
    Assignment,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    NewPartitions,
    NewTopic,
    TopicReference,
)
from cluster.metadata.image import MetadataImage, TopicImage
from cluster.metadata.records import (
    CausedRecord,
    ConfigRecord,
    PartitionRecord,
    RemoveTopicRecord,
    ResourceType,
    TopicRecord,
)
from cluster.metadata.results import (
    CreatedTopic,
    DeletedTopic,
    ExtendedTopic,
    PartitionsCreated,
    TopicsCreated,
    TopicsDeleted,
)
from controller.config_rules import validate
from controller.decision import (
    DEFAULT_REPLICATION_FACTOR,
    NUM_PARTITIONS,
    Context,
    Decision,
    caused,
    cluster_number,
    refuse,
)
from controller.placement import Candidate, place

#: New partitions of one request.
PARTITIONS_MAX = 10_000
#: Topics that one request creates, extends or deletes.
TOPICS_MAX = 10_000
NAME_CHARS_MAX = 249
REPLICAS_MAX = 32_767
_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def decide_create_topics(context: Context, command: CreateTopics) -> Decision:
    names = [topic.name for topic in command.topics]
    if len(names) > TOPICS_MAX:
        return refuse(ErrorCode.POLICY_VIOLATION, f"{len(names)} topics in one request; {TOPICS_MAX} are allowed")
    twice = _repeated(names)
    wanted = sum(_partitions_wanted(context, topic) for topic in command.topics)
    if wanted > PARTITIONS_MAX:
        return _too_many(wanted)
    records: list[CausedRecord] = []
    results: list[CreatedTopic] = []
    collisions = _collision_keys(context.image)
    for position, topic in enumerate(command.topics):
        try:
            if topic.name in twice:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"topic {topic.name} is in the request twice")
            _check_name(context, topic.name, collisions)
            created, facts = _create_topic(context, topic, _draw_id(context, position))
        except KafkaError as error:
            results.append(CreatedTopic(name=topic.name, error_code=error.code, error_message=error.message))
            continue
        collisions[_collision_key(topic.name)] = topic.name
        records += facts
        results.append(created)
    if command.validate_only:
        results = [
            CreatedTopic(
                name=result.name,
                error_code=result.error_code,
                error_message=result.error_message,
                partitions=result.partitions,
                replication_factor=result.replication_factor,
            )
            for result in results
        ]
        records = []
    return Decision(result=TopicsCreated(topics=tuple(results)), records=tuple(records))


def decide_create_partitions(context: Context, command: CreatePartitions) -> Decision:
    names = [topic.name for topic in command.topics]
    wanted = 0
    for topic in command.topics:
        known = context.image.topic(topic.name)
        wanted += max(0, topic.count - (len(known.partitions) if known else 0))
    if len(names) > TOPICS_MAX or wanted > PARTITIONS_MAX:
        return _too_many(wanted)
    records: list[CausedRecord] = []
    results: list[ExtendedTopic] = []
    twice = _repeated(names)
    for position, topic in enumerate({topic.name: topic for topic in command.topics}.values()):
        try:
            if topic.name in twice:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"topic {topic.name} is in the request twice")
            records += _extend_topic(context, topic, _seed(context, position))
        except KafkaError as error:
            results.append(ExtendedTopic(name=topic.name, error_code=error.code, error_message=error.message))
        else:
            results.append(ExtendedTopic(name=topic.name))
    if command.validate_only:
        records = []
    return Decision(result=PartitionsCreated(topics=tuple(results)), records=tuple(records))


def decide_delete_topics(context: Context, command: DeleteTopics) -> Decision:
    """By name or id. A topic that the request mentions twice stays."""
    if len(command.topics) > TOPICS_MAX:
        return refuse(
            ErrorCode.POLICY_VIOLATION, f"{len(command.topics)} topics in one request; {TOPICS_MAX} are allowed"
        )
    records: list[CausedRecord] = []
    results: list[DeletedTopic] = []
    mentions = Counter(_topic_id(context.image, reference) for reference in command.topics)
    for reference in dict.fromkeys(command.topics):
        try:
            topic = _find(context.image, reference)
            if mentions[topic.topic_id] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"topic {topic.name} is in the request twice")
        except KafkaError as error:
            results.append(
                DeletedTopic(
                    name=reference.name,
                    topic_id=reference.topic_id or ZERO_UUID,
                    error_code=error.code,
                    error_message=error.message,
                )
            )
            continue
        records.append(caused(RemoveTopicRecord(topic_id=topic.topic_id), "a client deleted the topic"))
        results.append(DeletedTopic(name=topic.name, topic_id=topic.topic_id))
    return Decision(result=TopicsDeleted(topics=tuple(results)), records=tuple(records))


def check_topic_name(name: str) -> None:
    """Raises KafkaError INVALID_TOPIC_EXCEPTION with what is wrong with `name`."""
    problem = ""
    if not name:
        problem = "it is empty"
    elif name in (".", ".."):
        problem = "it is '.' or '..'"
    elif len(name) > NAME_CHARS_MAX:
        problem = f"it has {len(name)} characters; {NAME_CHARS_MAX} are allowed"
    elif _LEGAL_NAME.fullmatch(name) is None:
        problem = "only ASCII letters, digits, '.', '_' and '-' are allowed"
    if problem:
        shown = name[:NAME_CHARS_MAX]
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"the topic name {shown!r} is invalid: {problem}")


def _check_name(context: Context, name: str, collisions: dict[str, str]) -> None:
    check_topic_name(name)
    if name in context.image.topic_ids:
        raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
    other = collisions.get(_collision_key(name))
    if other is not None:
        raise KafkaError(
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            f"Topic '{name}' collides with existing topic '{other}': '.' and '_' are the same in metric names.",
        )


def _create_topic(context: Context, topic: NewTopic, topic_id: Uuid) -> tuple[CreatedTopic, list[CausedRecord]]:
    event = "a client created the topic"
    if topic.assignments:
        if topic.partitions != -1 or topic.replication_factor != -1:
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, "a topic takes replica assignments or counts, and this one has both"
            )
        replicas = _assigned(topic.assignments)
        rule = "replicas as the client assigned them"
    else:
        replicas = _placed(context, topic, topic_id)
        rule = "replicas spread over racks and brokers"
    records = [caused(TopicRecord(topic_id=topic_id, name=topic.name), event)]
    epoch = context.image.removed_topics.get(topic.name, 0)
    for number, brokers in enumerate(replicas):
        _check_assignment(context, number, brokers, len(replicas[0]))
        records.append(caused(_partition_record(context, topic_id, number, brokers, epoch), event, rule))
    keys = [config.key for config in topic.configs]
    if len(set(keys)) < len(keys):
        raise KafkaError(ErrorCode.INVALID_CONFIG, "a configuration key is there twice")
    for config in topic.configs:
        if config.value is None:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {config.key}")
        validate(ResourceType.TOPIC, config.key, config.value)
        record = ConfigRecord(
            resource_type=ResourceType.TOPIC, resource_name=topic.name, key=config.key, value=config.value
        )
        records.append(caused(record, event))
    created = CreatedTopic(
        name=topic.name, topic_id=topic_id, partitions=len(replicas), replication_factor=len(replicas[0])
    )
    return created, records


def _extend_topic(context: Context, topic: NewPartitions, seed: bytes) -> list[CausedRecord]:
    known = context.image.topic(topic.name)
    if known is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {topic.name}")
    current = len(known.partitions)
    added = topic.count - current
    if added <= 0:
        raise KafkaError(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {current} partition(s); {topic.count} would not be an increase.",
        )
    replication_factor = len(known.partitions[0].replicas)
    event = "a client added partitions"
    if topic.assignments:
        if len(topic.assignments) != added:
            raise KafkaError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"{added} partition(s) are to be added, but {len(topic.assignments)} assignment(s) are given",
            )
        replicas = list(topic.assignments)
        rule = "replicas as the client assigned them"
    else:
        replicas = place(_candidates(context.image), added, replication_factor, seed)
        rule = "replicas spread over racks and brokers"
    epoch = context.image.removed_topics.get(topic.name, 0)
    records = []
    for offset, brokers in enumerate(replicas):
        _check_assignment(context, current + offset, brokers, replication_factor)
        record = _partition_record(context, known.topic_id, current + offset, brokers, epoch)
        records.append(caused(record, event, rule))
    return records


def _repeated(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _partitions_wanted(context: Context, topic: NewTopic) -> int:
    if topic.assignments:
        return len(topic.assignments)
    if topic.partitions == -1:
        return cluster_number(context, NUM_PARTITIONS, context.stamp.num_partitions)
    return max(0, topic.partitions)


def _placed(context: Context, topic: NewTopic, topic_id: Uuid) -> list[tuple[int, ...]]:
    count = _partitions_wanted(context, topic)
    factor = topic.replication_factor
    if factor == -1:
        factor = cluster_number(context, DEFAULT_REPLICATION_FACTOR, context.stamp.default_replication_factor)
    if topic.partitions < -1 or count < 1:
        raise KafkaError(
            ErrorCode.INVALID_PARTITIONS, f"Number of partitions was set to an invalid value: {topic.partitions}."
        )
    if not 1 <= factor <= REPLICAS_MAX:
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Replication factor must be larger than 0 and at most {REPLICAS_MAX}, or -1 for the default.",
        )
    return place(_candidates(context.image), count, factor, topic_id)


def _assigned(assignments: tuple[Assignment, ...]) -> list[tuple[int, ...]]:
    by_number = {assignment.partition: assignment.replicas for assignment in assignments}
    if sorted(by_number) != list(range(len(assignments))):
        raise KafkaError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "manual assignments must name partitions 0, 1, 2 ... without gaps and each of them once",
        )
    return [by_number[number] for number in range(len(assignments))]


def _check_assignment(context: Context, number: int, replicas: tuple[int, ...], replication_factor: int) -> None:
    problem = ""
    unknown = [broker_id for broker_id in replicas if broker_id not in context.image.brokers]
    if not replicas:
        problem = "it has no replicas"
    elif len(set(replicas)) < len(replicas):
        problem = f"a broker is there twice: {list(replicas)}"
    elif unknown:
        problem = f"broker {unknown[0]} is not registered"
    elif len(replicas) != replication_factor:
        problem = f"it has {len(replicas)} replicas and the others have {replication_factor}"
    elif not any(context.image.brokers[broker_id].active for broker_id in replicas):
        problem = "all its brokers are fenced or shutting down"
    if problem:
        raise KafkaError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"the assignment of partition {number} is invalid: {problem}"
        )


def _partition_record(
    context: Context, topic_id: Uuid, number: int, replicas: tuple[int, ...], leader_epoch: int
) -> PartitionRecord:
    """Active replicas make the ISR; fenced ones join it when they are back."""
    isr = tuple(broker_id for broker_id in replicas if context.image.brokers[broker_id].active)
    return PartitionRecord(
        topic_id=topic_id,
        partition=number,
        replicas=replicas,
        isr=isr,
        leader=isr[0],
        leader_epoch=leader_epoch,
    )


def _candidates(image: MetadataImage) -> list[Candidate]:
    return [
        Candidate(broker_id, image.brokers[broker_id].rack, image.brokers[broker_id].active)
        for broker_id in sorted(image.brokers)
    ]


def _find(image: MetadataImage, reference: TopicReference) -> TopicImage:
    if (reference.name is None) == (reference.topic_id is None):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "a topic to delete is named by its name or by its id")
    if reference.name is not None:
        topic = image.topic(reference.name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {reference.name}")
        return topic
    topic = None if reference.topic_id is None else image.topics.get(reference.topic_id)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID, "no topic has this id")
    return topic


def _topic_id(image: MetadataImage, reference: TopicReference) -> Uuid | None:
    return image.topic_ids.get(reference.name) if reference.name is not None else reference.topic_id


def _seed(context: Context, position: int) -> bytes:
    return hashlib.blake2b(context.stamp.seed + position.to_bytes(4, "big"), digest_size=16).digest()


def _draw_id(context: Context, position: int) -> Uuid:
    """A topic id from the stamp's seed. Like Kafka's, its text has no leading dash, which tools take for a flag."""
    seed = _seed(context, position)
    while seed[0] >> 2 == 62 or Uuid(seed) == ZERO_UUID or Uuid(seed) in context.image.topics:
        seed = hashlib.blake2b(seed, digest_size=16).digest()
    return Uuid(seed)


def _collision_key(name: str) -> str:
    return name.replace(".", "_")


def _collision_keys(image: MetadataImage) -> dict[str, str]:
    return {_collision_key(name): name for name in image.topic_ids}


def _too_many(wanted: int) -> Decision:
    return refuse(
        ErrorCode.POLICY_VIOLATION,
        f"Excessively large number of partitions per request: {wanted}; {PARTITIONS_MAX} are allowed.",
    )
