"""Produce (0): append record batches.

Versions 3-11. Versions 0-2 are advertised and closed on: they would carry formats that are not stored, but librdkafka
judges a broker's codecs by whether they are in the range (KIP-896 floors).
- One batch of magic 2 for each partition; zstd from version 7 on (KIP-110). Transactions do not exist yet.
- 5 adds log_start_offset (KIP-107), 8 errors of single records (KIP-467), 10 the new leader beside
  NOT_LEADER_OR_FOLLOWER (KIP-951), 11 TRANSACTION_ABORTABLE, which only transactions use (KIP-890).
- acks=0 has no response; an error closes the connection, which is all that the client can notice.
- acks=all is answered when every partition of the request is committed, or failed, or timed out.

Appending happens during the call, so that produce requests of one connection are appended in the order they came in.
"""

from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

from broker.api.answers import Answer, CloseConnection, Later, RequestContext
from broker.api.cluster_view import Address, Images, leader_hint
from broker.api.registry import serves
from broker.api.topic_names import INTERNAL_TOPICS
from broker.log.partition_log import AppendInfo
from broker.log.validator import RecordsRejected
from broker.replication.partition import ACKS_ALL, Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.records.batch import COMPRESSION_MASK, HEADER_SIZE, TRANSACTIONAL_BIT
from cluster.records.compression import CompressionType
from cluster.seams import Clock
from cluster.wire.codec import records_view
from cluster.wire.produce import (
    PRODUCE,
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)

_ACKS: Final = (-1, 0, 1)
_FIRST_VERSION_WITH_ZSTD: Final = 7
_FIRST_VERSION_WITH_HINTS: Final = 10
#: The low byte of a batch's attributes, which holds everything that is looked at here.
_ATTRIBUTES_AT: Final = 22
#: A client's own timeout counts up to here.
_TIMEOUT_MS_MAX: Final = 600_000


class Replicas(Protocol):
    """The replicas of this broker, as far as producing needs them."""

    def partition(self, topic: str, number: int) -> Partition:
        """Raises KafkaError when it is unknown, elsewhere or offline."""
        ...

    def append(self, partition: Partition, records: bytearray | memoryview, acks: int, wall_ms: int) -> AppendInfo:
        """Append in place what a client sent. Raises KafkaError."""
        ...


class ProduceApi:
    def __init__(self, *, broker_id: int, replicas: Replicas, images: Images, clock: Clock) -> None:
        self._broker_id = broker_id
        self._replicas = replicas
        self._images = images
        self._clock = clock

    @serves(PRODUCE, "3-11", advertised_from=0)
    def produce(self, request: ProduceRequest, context: RequestContext) -> Answer[ProduceResponse]:
        acks = request.acks
        pending: _PendingProduce | None = None
        if acks == ACKS_ALL:
            deadline_ms = self._clock.now_ms() + min(max(request.timeout_ms, 0), _TIMEOUT_MS_MAX)
            pending = _PendingProduce(self, context, deadline_ms)
        responses = [
            TopicProduceResponse(
                name=topic.name,
                partition_responses=[
                    self._append(topic.name, data, acks, context.api_version, pending) for data in topic.partition_data
                ],
            )
            for topic in request.topic_data
        ]
        response = ProduceResponse(responses=responses)
        if pending is not None and pending.outstanding:
            pending.response = response
            return pending
        if acks == 0:
            _close_on_error(responses)
            return None
        self.add_hints(response, context)
        return response

    def _append(
        self, topic: str, data: PartitionProduceData, acks: int, version: int, pending: "_PendingProduce | None"
    ) -> PartitionProduceResponse:
        """Append to one partition; with acks=all `pending` hears when it is committed."""
        number = data.index
        try:
            partition = self._replicas.partition(topic, number)
            records = records_view(data.records)
            if records is None:
                raise KafkaError(ErrorCode.INVALID_RECORD, "there is no record batch")
            if len(records) >= HEADER_SIZE and records[_ATTRIBUTES_AT] & (TRANSACTIONAL_BIT | COMPRESSION_MASK):
                _check_attributes(records[_ATTRIBUTES_AT], version)
            if acks not in _ACKS:
                raise KafkaError(ErrorCode.INVALID_REQUIRED_ACKS, f"acks={acks} is none of -1, 0 and 1")
            if topic in INTERNAL_TOPICS:
                raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic} is written by brokers only")
            info = self._replicas.append(partition, records, acks, self._clock.wall_ms())
            response = PartitionProduceResponse(
                index=number,
                base_offset=info.base_offset,
                log_append_time_ms=info.log_append_time,
                log_start_offset=partition.log.log_start_offset,
            )
            if pending is not None:
                pending.wait_for(partition, info.last_offset + 1, response)
            return response
        except KafkaError as error:
            return _failed(number, error)

    def add_hints(self, response: ProduceResponse, context: RequestContext) -> None:
        """Say who leads the partitions that are not led here (KIP-951)."""
        if context.api_version < _FIRST_VERSION_WITH_HINTS:
            return
        addresses: dict[int, Address] = {}
        for topic in response.responses:
            for partition in topic.partition_responses:
                if partition.error_code != ErrorCode.NOT_LEADER_OR_FOLLOWER:
                    continue
                image = self._images.image
                hint = leader_hint(
                    image, image.topic_ids.get(topic.name), partition.index, context.listener, self._broker_id
                )
                if hint is not None:
                    partition.current_leader = LeaderIdAndEpoch(
                        leader_id=hint.leader_id, leader_epoch=hint.leader_epoch
                    )
                    addresses[hint.leader_id] = hint.address
        if addresses:
            response.node_endpoints = [
                NodeEndpoint(node_id=a.node_id, host=a.host, port=a.port, rack=a.rack) for a in addresses.values()
            ]


class _PendingProduce(Later[ProduceResponse]):
    """An acks=all request, some of whose partitions are not committed yet."""

    __slots__ = ("_api", "_context", "_deadline_ms", "outstanding", "response")

    def __init__(self, api: ProduceApi, context: RequestContext, deadline_ms: int) -> None:
        super().__init__()
        self._api = api
        self._context = context
        self._deadline_ms = deadline_ms
        #: Partitions that are waited for.
        self.outstanding = 0
        #: Complete but for error codes; None until the whole request was appended.
        self.response: ProduceResponse | None = None

    def wait_for(self, partition: Partition, end_offset: int, response: PartitionProduceResponse) -> None:
        """Raises KafkaError when there is nothing to wait for any more."""
        self.outstanding += 1
        try:
            partition.wait_for(end_offset, self._deadline_ms, partial(self._on_committed, response))
        except KafkaError:
            self.outstanding -= 1
            raise

    def _on_committed(self, partition: PartitionProduceResponse, code: ErrorCode) -> None:
        partition.error_code = code
        self.outstanding -= 1
        response = self.response
        if response is not None and not self.outstanding:
            self._api.add_hints(response, self._context)
            self.complete(response)


def _check_attributes(attributes: int, version: int) -> None:
    if attributes & COMPRESSION_MASK == CompressionType.ZSTD and version < _FIRST_VERSION_WITH_ZSTD:
        raise KafkaError(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"zstd needs version {_FIRST_VERSION_WITH_ZSTD} of this request"
        )
    if attributes & TRANSACTIONAL_BIT:
        raise KafkaError(ErrorCode.INVALID_TXN_STATE, "the producer has no transaction with this partition")


def _failed(number: int, error: KafkaError) -> PartitionProduceResponse:
    response = PartitionProduceResponse(
        index=number, error_code=error.code, base_offset=-1, error_message=error.message or None
    )
    if isinstance(error, RecordsRejected):
        response.record_errors = [
            BatchIndexAndErrorMessage(batch_index=item.batch_index, batch_index_error_message=item.message)
            for item in error.record_errors
        ]
    return response


def _close_on_error(responses: Iterable[TopicProduceResponse]) -> None:
    """Raise CloseConnection for the first error of a request that has no response."""
    for topic in responses:
        for partition in topic.partition_responses:
            if partition.error_code:
                code = ErrorCode(partition.error_code)
                raise CloseConnection(
                    f"acks=0 to {topic.name}-{partition.index} failed, {code.name}: {partition.error_message}"
                )
