"""Fetch (1): read record batches, and wait for more.

Versions 4-16.
- A request waits until `min_bytes` are there, `max_wait_ms` has passed, or something must be said at once: an error, a
  divergence. Size limits are soft: the first batch of an answer is always whole (KIP-74), and so are all others.
- Consumers see what is committed; read_committed ones what is decided as well, with the aborted transactions (KIP-98).
- 7 sessions are declined: every answer says session 0, which makes clients send whole requests (KIP-227). 9 leader
  epochs (KIP-320), 10 zstd (KIP-110), 11 closest replica: always the leader for now (KIP-392), 12 divergence
  (KIP-595), 13 topic ids (KIP-516), 16 the new leader beside an error (KIP-951).
- Records are never null, also where there are none: librdkafka takes null for a malformed answer.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from broker.api.answers import Answer, Later, RequestContext
from broker.api.cluster_view import Address, Images, leader_hint
from broker.api.log_access import reading
from broker.api.registry import serves
from broker.log.epochs import UNDEFINED_EPOCH, UNDEFINED_OFFSET
from broker.log.reader import LogSlice
from broker.replication.partition import Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.ids import Uuid
from cluster.records.compression import CompressionType
from cluster.seams import Buffer, Clock, Timer
from cluster.wire.fetch import (
    FETCH,
    AbortedTransaction,
    EpochEndOffset,
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
)

#: A client's own waiting time counts up to here.
WAIT_MS_MAX: Final = 300_000
#: Bytes of responses kept for slow clients, all of them together, from which new responses are small.
UNSENT_BYTES_MAX: Final = 256 * 1024 * 1024
SMALL_RESPONSE_BYTES: Final = 1024 * 1024

_READ_COMMITTED: Final = 1
_FIRST_VERSION_WITH_ZSTD: Final = 10
_FIRST_VERSION_BY_ID: Final = 13
_FIRST_VERSION_WITH_HINTS: Final = 16
_ERRORS_WITH_HINTS: Final = (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH)


class Replicas(Protocol):
    """The replicas of this broker, as far as fetching needs them."""

    def partition(self, topic: str, number: int) -> Partition:
        """Raises KafkaError when it is unknown, elsewhere or offline."""
        ...

    def partition_by_id(self, topic_id: Uuid, number: int) -> Partition:
        """Likewise; UNKNOWN_TOPIC_ID for an id that no topic has."""
        ...

    def read(
        self, partition: Partition, offset: int, max_bytes: int, limit_offset: int, *, min_one_batch: bool
    ) -> LogSlice:
        """Whole batches from the one that holds `offset`, none of which reaches `limit_offset`. Raises KafkaError."""
        ...

    def on_storage_error(self, error: OSError) -> None: ...


class FetchApi:
    """`max_bytes` is fetch.max.bytes, the limit of one answer whatever the client asks for.

    `unsent_bytes` tells how much is kept for clients that do not take their answers.
    """

    def __init__(
        self,
        *,
        broker_id: int,
        replicas: Replicas,
        images: Images,
        clock: Clock,
        max_bytes: int,
        unsent_bytes: Callable[[], int],
    ) -> None:
        self._broker_id = broker_id
        self._replicas = replicas
        self._images = images
        self._clock = clock
        self._max_bytes = max_bytes
        self._unsent_bytes = unsent_bytes

    @serves(FETCH, "4-16")
    def fetch(self, request: FetchRequest, context: RequestContext) -> Answer[FetchResponse]:
        if request.session_epoch > 0:
            return FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        room = max(UNSENT_BYTES_MAX - self._unsent_bytes(), SMALL_RESPONSE_BYTES)
        fetch = _Fetch(self, request, context, min(self._max_bytes, room))
        fetch.read_all()
        if request.max_wait_ms <= 0 or fetch.due:
            return fetch.response()
        fetch.park(self._clock, min(request.max_wait_ms, WAIT_MS_MAX))
        return fetch

    # What a fetch asks for.

    def find(self, topic: FetchTopic, number: int, version: int) -> Partition:
        """Raises KafkaError."""
        if version >= _FIRST_VERSION_BY_ID:
            partition = self._replicas.partition_by_id(topic.topic_id, number)
        else:
            partition = self._replicas.partition(topic.topic, number)
        if version < _FIRST_VERSION_WITH_ZSTD and partition.log.config.compression_type is CompressionType.ZSTD:
            raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"zstd needs version {_FIRST_VERSION_WITH_ZSTD}")
        return partition

    def read(
        self, partition: Partition, offset: int, max_bytes: int, limit_offset: int, min_one_batch: bool
    ) -> LogSlice | None:
        """None when there is nothing to read. Raises KafkaError."""
        log = partition.log
        if limit_offset <= offset <= log.log_end_offset and offset >= log.log_start_offset:
            return None
        replicas = self._replicas
        return reading(
            replicas,
            partition,
            lambda: replicas.read(partition, offset, max_bytes, limit_offset, min_one_batch=min_one_batch),
        )

    def aborted(self, partition: Partition, first_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions of a range, by first offset: some clients rely on that order. Raises KafkaError."""
        log = partition.log
        found = reading(self._replicas, partition, lambda: log.aborted_transactions(first_offset, end_offset))
        return [AbortedTransaction(producer_id=each.producer_id, first_offset=each.first_offset) for each in found]

    def add_hints(self, response: FetchResponse, context: RequestContext) -> None:
        """Say who leads the partitions that are not led here (KIP-951)."""
        image = self._images.image
        addresses: dict[int, Address] = {}
        for topic in response.responses:
            for data in topic.partitions:
                if data.error_code in _ERRORS_WITH_HINTS:
                    hint = leader_hint(image, topic.topic_id, data.partition_index, context.listener, self._broker_id)
                    if hint is not None:
                        leader, epoch, addresses[leader] = hint
                        data.current_leader = LeaderIdAndEpoch(leader_id=leader, leader_epoch=epoch)
        if addresses:
            response.node_endpoints = [
                NodeEndpoint(node_id=a.node_id, host=a.host, port=a.port, rack=a.rack) for a in addresses.values()
            ]


class _Wanted:
    """One partition of a fetch and what was read of it so far. Watches the partition while the fetch is parked."""

    __slots__ = ("buffers", "data", "next_offset", "parked", "partition", "request", "settled", "size")

    def __init__(self, request: FetchPartition, partition: Partition | None) -> None:
        #: Whose it is, while that is parked. For longer it would be a cycle, and megabytes of records that were sent
        #: would wait for the garbage collector.
        self.parked: _Fetch | None = None
        self.request = request
        self.partition = partition
        self.next_offset = request.fetch_offset
        self.buffers: list[Buffer] = []
        self.size = 0
        self.data = PartitionData(partition_index=request.partition, high_watermark=-1)
        #: An error or a divergence was found, and nothing more is to be read.
        self.settled = False

    def on_append(self) -> None:
        """Consumers see what is committed."""

    def on_high_watermark(self) -> None:
        if self.parked is not None:
            self.parked.on_news(self)

    def on_role_change(self) -> None:
        if self.parked is not None:
            self.parked.on_news(self)

    def fail(self, code: ErrorCode) -> None:
        self.settled = True
        self.buffers.clear()
        self.size = 0
        self.data = PartitionData(partition_index=self.request.partition, error_code=code, high_watermark=-1)


class _Fetch(Later[FetchResponse]):
    """One request: what it wants, what was found, and how much is missing."""

    __slots__ = (
        "_api",
        "_context",
        "_loop",
        "_min_bytes",
        "_news",
        "_read_committed",
        "_room",
        "_settled",
        "_size",
        "_timer",
        "_topics",
    )

    def __init__(self, api: FetchApi, request: FetchRequest, context: RequestContext, max_bytes: int) -> None:
        super().__init__()
        self._api = api
        self._context = context
        self._read_committed = request.isolation_level == _READ_COMMITTED
        #: Bytes that may still be read; negative after a first batch that was larger.
        self._room = min(max(request.max_bytes, 0), max_bytes)
        self._min_bytes = min(request.min_bytes, self._room)
        self._size = 0
        self._settled = False
        self._timer: Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Partitions about which something is new; when there are any, `_on_news_due` is scheduled.
        self._news: dict[_Wanted, None] = {}
        self._topics = [(topic, [self._want(topic, item) for item in topic.partitions]) for topic in request.topics]

    def _want(self, topic: FetchTopic, request: FetchPartition) -> _Wanted:
        try:
            partition = self._api.find(topic, request.partition, self._context.api_version)
        except KafkaError as error:
            wanted = _Wanted(request, None)
            wanted.fail(error.code)
            self._settled = True
            return wanted
        return _Wanted(request, partition)

    @property
    def due(self) -> bool:
        """Whether there is enough to answer."""
        return self._settled or self._size >= self._min_bytes or not any(wanted for _, wanted in self._topics)

    def read_all(self) -> None:
        for _, partitions in self._topics:
            for wanted in partitions:
                if not wanted.settled:
                    self._read(wanted)

    def _read(self, wanted: _Wanted) -> None:
        """Read what there is beyond what was read already."""
        try:
            self._try_read(wanted)
        except KafkaError as error:
            self._size -= wanted.size
            wanted.fail(error.code)
        if wanted.settled:
            self._settled = True

    def _try_read(self, wanted: _Wanted) -> None:
        partition, request, data = wanted.partition, wanted.request, wanted.data
        assert partition is not None, "a partition that was not found is settled"
        partition.leader_role(request.current_leader_epoch)
        log = partition.log
        data.high_watermark = limit = partition.high_watermark
        data.last_stable_offset = log.last_stable_offset(limit)
        data.log_start_offset = log.log_start_offset
        if request.last_fetched_epoch >= 0 and _diverges(partition, request, data):
            wanted.settled = True
            return
        if self._read_committed:
            limit = data.last_stable_offset
        first = self._size == 0
        room = min(self._room, max(request.partition_max_bytes, 0) - wanted.size)
        if room <= 0 and not first:
            return
        found = self._api.read(partition, wanted.next_offset, max(room, 0), limit, first)
        if found is not None and found.data:
            size = len(found.data)
            wanted.buffers.append(found.data)
            wanted.next_offset = found.next_offset
            wanted.size += size
            self._size += size
            self._room -= size

    # Waiting.

    def park(self, clock: Clock, wait_ms: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = clock.call_later_ms(wait_ms, self._finish)
        for _, partitions in self._topics:
            for wanted in partitions:
                if wanted.partition is not None:
                    wanted.parked = self
                    wanted.partition.watchers[wanted] = None

    def on_news(self, wanted: _Wanted) -> None:
        """Something happened to a partition. News of one turn of the event loop are looked at together."""
        if not self._news:
            assert self._loop is not None
            self._loop.call_soon(self._on_news_due)
        self._news[wanted] = None

    def _on_news_due(self) -> None:
        news, self._news = self._news, {}
        if self._timer is None:
            return
        for wanted in news:
            self._read(wanted)
        if self.due:
            self._finish()

    def _finish(self) -> None:
        self.abandon()
        self.complete(self.response())

    def abandon(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, partitions in self._topics:
            for wanted in partitions:
                if wanted.partition is not None:
                    wanted.partition.watchers.pop(wanted, None)
                    wanted.parked = None

    # Answering.

    def response(self) -> FetchResponse:
        response = FetchResponse(
            responses=[
                FetchableTopicResponse(
                    topic=topic.topic, topic_id=topic.topic_id, partitions=[self._data(wanted) for wanted in partitions]
                )
                for topic, partitions in self._topics
            ]
        )
        if self._settled and self._context.api_version >= _FIRST_VERSION_WITH_HINTS:
            self._api.add_hints(response, self._context)
        return response

    def _data(self, wanted: _Wanted) -> PartitionData:
        if self._read_committed and not wanted.settled:
            self._find_aborted(wanted)
        if wanted.buffers:
            wanted.data.records = wanted.buffers
        return wanted.data

    def _find_aborted(self, wanted: _Wanted) -> None:
        wanted.data.aborted_transactions = ()
        if wanted.buffers and wanted.partition is not None:
            try:
                wanted.data.aborted_transactions = self._api.aborted(
                    wanted.partition, wanted.request.fetch_offset, wanted.next_offset
                )
            except KafkaError as error:
                wanted.fail(error.code)


def _diverges(partition: Partition, request: FetchPartition, data: PartitionData) -> bool:
    """Whether the client has read what this log does not hold; then `data` says where they part (KIP-595).

    Raises KafkaError OFFSET_OUT_OF_RANGE when that cannot be told.
    """
    epoch, end_offset = partition.log.end_offset_for_epoch(request.last_fetched_epoch)
    if epoch == UNDEFINED_EPOCH or end_offset == UNDEFINED_OFFSET or request.fetch_offset < data.log_start_offset:
        raise KafkaError(
            ErrorCode.OFFSET_OUT_OF_RANGE,
            f"offset {request.fetch_offset} after epoch {request.last_fetched_epoch} cannot be placed in this log",
        )
    if epoch == request.last_fetched_epoch and end_offset >= request.fetch_offset:
        return False
    data.diverging_epoch = EpochEndOffset(epoch=epoch, end_offset=end_offset)
    return True
