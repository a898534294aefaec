"""Metadata (3): brokers, topics, leaders.

Versions 0-13.
- An empty list of topics means all of them in version 0 and none later, where null means all.
- Up to version 3 every question about a missing topic may create it; from 4 on the request says so (KIP-361 lets the
  broker forbid it). Questions about all topics or by id never create.
- 5 adds offline replicas (KIP-112), 7 leader epochs (KIP-320), 8 authorized operations (KIP-430), 10 topic ids, 12
  questions by id (KIP-516), 13 an error for the whole answer, which has no use yet (KIP-1102).
- A topic without a leader keeps all its partitions; they say so one by one.

Answers are kept encoded for as long as the image stays the same.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from broker.api.answers import Answer, Encoded, RequestContext, encoded
from broker.api.auto_create import TopicCreator
from broker.api.cluster_view import Images, address_of, controller_id, is_offline, live_brokers
from broker.api.operations import CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS
from broker.api.registry import serves
from broker.api.topic_names import INTERNAL_TOPICS, is_legal_name
from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.image import MetadataImage, PartitionImage, TopicImage
from cluster.metadata.records import NO_LEADER
from cluster.wire.metadata import (
    METADATA,
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

#: Kept answers: their number and their bytes together.
CACHED_ANSWERS_MAX: Final = 256
CACHED_BYTES_MAX: Final = 8 * 1024 * 1024

_FIRST_VERSION_WITH_NONE: Final = 1
_FIRST_VERSION_WITH_LISTENER_ERROR: Final = 6
_FIRST_VERSION_BY_ID: Final = 12

#: Name and id of a topic that is asked about; the name is None when the id counts.
Reference = tuple[str | None, Uuid]
CacheKey = tuple[int, str, bool, bool, tuple[Reference, ...] | None]


class MetadataApi:
    """`creator` is None when auto.create.topics.enable is false."""

    def __init__(self, *, broker_id: int, images: Images, creator: TopicCreator | None) -> None:
        self._broker_id = broker_id
        self._images = images
        self._creator = creator
        self._cached_image: MetadataImage | None = None
        self._cache: dict[CacheKey, Encoded] = {}
        self._cached_bytes = 0

    @serves(METADATA, "0-13")
    def metadata(self, request: MetadataRequest, context: RequestContext) -> Answer[MetadataResponse]:
        image = self._images.image
        references = _references(request, context.api_version)
        if self._creator is not None and request.allow_auto_topic_creation and references:
            missing = [
                name
                for name, _ in references
                if name is not None
                and name not in image.topic_ids
                and name not in INTERNAL_TOPICS
                and is_legal_name(name)
            ]
            if missing:
                return self._create_and_answer(self._creator, missing, request, references, context)
        return self._answer(image, request, references, context)

    async def _create_and_answer(
        self,
        creator: TopicCreator,
        missing: Sequence[str],
        request: MetadataRequest,
        references: tuple[Reference, ...] | None,
        context: RequestContext,
    ) -> MetadataResponse:
        failures = await creator.create(missing)
        response = _Answer(self._images.image, context, self._broker_id).response(request, references)
        for topic in response.topics:
            if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and topic.name in failures:
                topic.error_code = failures[topic.name]
        return response

    def _answer(
        self,
        image: MetadataImage,
        request: MetadataRequest,
        references: tuple[Reference, ...] | None,
        context: RequestContext,
    ) -> Encoded:
        if image is not self._cached_image:
            self._cached_image = image
            self._cache.clear()
            self._cached_bytes = 0
        key = (
            context.api_version,
            context.listener,
            request.include_cluster_authorized_operations,
            request.include_topic_authorized_operations,
            references,
        )
        answer = self._cache.get(key)
        if answer is None:
            response = _Answer(image, context, self._broker_id).response(request, references)
            answer = encoded(response, context.api_version)
            size = len(answer.body)
            if len(self._cache) < CACHED_ANSWERS_MAX and self._cached_bytes + size <= CACHED_BYTES_MAX:
                self._cache[key] = answer
                self._cached_bytes += size
        return answer


def _references(request: MetadataRequest, version: int) -> tuple[Reference, ...] | None:
    """The topics asked about, each once; None for all."""
    topics = request.topics
    if topics is None or (version < _FIRST_VERSION_WITH_NONE and not topics):
        return None
    return tuple(dict.fromkeys(_reference(topic, version) for topic in topics))


def _reference(topic: MetadataRequestTopic, version: int) -> Reference:
    if topic.name is None and version < _FIRST_VERSION_BY_ID:
        # The field is there two versions earlier than its meaning; an empty name is answered as an invalid one.
        return "", ZERO_UUID
    return topic.name, topic.topic_id if topic.name is None else ZERO_UUID


class _Answer:
    """One image for one client."""

    def __init__(self, image: MetadataImage, context: RequestContext, broker_id: int) -> None:
        self._image = image
        self._version = context.api_version
        self._listener = context.listener
        self._broker_id = broker_id

    def response(self, request: MetadataRequest, references: Iterable[Reference] | None) -> MetadataResponse:
        image = self._image
        brokers = live_brokers(image, self._listener)
        if references is None:
            topics = [self._known(image.topics[image.topic_ids[name]]) for name in sorted(image.topic_ids)]
        else:
            topics = [self._topic(name, topic_id) for name, topic_id in references]
        if request.include_topic_authorized_operations:
            for topic in topics:
                topic.topic_authorized_operations = TOPIC_OPERATIONS
        return MetadataResponse(
            brokers=[MetadataResponseBroker(node_id=b.node_id, host=b.host, port=b.port, rack=b.rack) for b in brokers],
            cluster_id=image.cluster_id,
            controller_id=controller_id(brokers, self._broker_id),
            topics=topics,
            cluster_authorized_operations=(
                CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else NOT_ASKED
            ),
        )

    def _topic(self, name: str | None, topic_id: Uuid) -> MetadataResponseTopic:
        if name is None:
            by_id = self._image.topics.get(topic_id)
            if by_id is None:
                return MetadataResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id)
            return self._known(by_id)
        topic = self._image.topic(name)
        if topic is not None:
            return self._known(topic)
        legal = is_legal_name(name)
        code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if legal else ErrorCode.INVALID_TOPIC_EXCEPTION
        return MetadataResponseTopic(error_code=code, name=name, is_internal=name in INTERNAL_TOPICS)

    def _known(self, topic: TopicImage) -> MetadataResponseTopic:
        return MetadataResponseTopic(
            name=topic.name,
            topic_id=topic.topic_id,
            is_internal=topic.name in INTERNAL_TOPICS,
            partitions=[self._partition(number, partition) for number, partition in enumerate(topic.partitions)],
        )

    def _partition(self, number: int, partition: PartitionImage) -> MetadataResponsePartition:
        image, listener = self._image, self._listener
        leader_known = address_of(image, partition.leader, listener) is not None
        replicas: Sequence[int] = partition.replicas
        isr: Sequence[int] = partition.isr
        offline = [replica for replica in replicas if is_offline(image, replica, listener)]
        code = ErrorCode.NONE
        if not leader_known:
            # Older clients do not know that a leader may be there and have no address for them.
            leads_elsewhere = partition.leader in image.brokers and self._version >= _FIRST_VERSION_WITH_LISTENER_ERROR
            code = ErrorCode.LISTENER_NOT_FOUND if leads_elsewhere else ErrorCode.LEADER_NOT_AVAILABLE
        if self._version < _FIRST_VERSION_WITH_NONE:
            # The oldest clients take a listed replica for one that they can reach.
            replicas = [replica for replica in replicas if replica not in offline]
            isr = [replica for replica in isr if replica not in offline]
            if leader_known and (len(replicas) < len(partition.replicas) or len(isr) < len(partition.isr)):
                code = ErrorCode.REPLICA_NOT_AVAILABLE
        return MetadataResponsePartition(
            error_code=code,
            partition_index=number,
            leader_id=partition.leader if leader_known else NO_LEADER,
            leader_epoch=partition.leader_epoch,
            replica_nodes=replicas,
            isr_nodes=isr,
            offline_replicas=offline,
        )
