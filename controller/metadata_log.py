"""The latest entries of the metadata, for brokers that watch and for people who ask why.

Owns a bounded history in memory. Whoever holds less than the history gets a snapshot instead. An entry is encoded
once, when the first watcher needs it. A watcher has no queue: it is sent what it lacks whenever its stream takes more,
so that a slow one costs nothing but its own time, and is cut off when its stream takes nothing for too long.
"""

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import Any

from cluster.ids import Uuid
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import (
    HISTORY_ITEMS_MAX,
    HistoryItem,
    HistoryRequest,
    HistoryResponse,
    WatchChunk,
    WatchRequest,
    WatchUpdate,
)
from cluster.metadata.records import (
    CausedRecord,
    ConfigRecord,
    MetadataEntry,
    PartitionChangeRecord,
    PartitionRecord,
    RemoveTopicRecord,
    ResourceType,
    TopicRecord,
)
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import MetadataSnapshot, snapshot_of
from cluster.seams import Clock, Stream, StreamBroken

log = logging.getLogger(__name__)

#: What the history holds; the newest entry is always there, however many records it has.
ENTRIES_MAX = 10_000
RECORDS_MAX = 20_000
#: Entries are gathered into one update up to about this size.
UPDATE_BYTES = 2**20
CHUNK_BYTES = 2**20
#: A watcher whose stream takes no chunk for this long is cut off.
SEND_TIMEOUT_MS = 5000
WATCHERS_MAX = 1000

_ENTRY = codec(MetadataEntry)
_UPDATE = codec(WatchUpdate)
_CHUNK = codec(WatchChunk)


class _Held:
    """An entry of the history."""

    __slots__ = ("_encoded", "entry")

    def __init__(self, entry: MetadataEntry) -> None:
        self.entry = entry
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = _ENTRY.encode(self.entry)
        return self._encoded


class MetadataLog:
    """Filled by the machine, read by watchers. One event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._image = MetadataImage()
        #: All entries above `_base_offset`, in order.
        self._history: deque[_Held] = deque()
        self._record_count = 0
        self._base_offset = -1
        self._changed: asyncio.Future[None] | None = None
        self._snapshot: tuple[int, bytes] | None = None
        self._watchers = 0

    @property
    def image(self) -> MetadataImage:
        return self._image

    def on_entry(self, entry: MetadataEntry, image: MetadataImage) -> None:
        self._history.append(_Held(entry))
        self._record_count += len(entry.records)
        while len(self._history) > 1 and (len(self._history) > ENTRIES_MAX or self._record_count > RECORDS_MAX):
            dropped = self._history.popleft().entry
            self._base_offset = dropped.offset
            self._record_count -= len(dropped.records)
        self._image = image
        self._wake()

    def on_snapshot(self, image: MetadataImage) -> None:
        """History that was replaced by a snapshot is gone."""
        self._history.clear()
        self._record_count = 0
        self._base_offset = image.offset
        self._image = image
        self._wake()

    def update_after(self, offset: int) -> tuple[int, WatchUpdate] | None:
        """What somebody who holds `offset` lacks, and what is held then; None if nothing is lacking.

        Holding more than there is here means that this controller is behind: it catches up by itself.
        """
        if offset >= self._image.offset:
            return None
        if offset < self._base_offset:
            return self._image.offset, WatchUpdate(snapshot=self._encoded_snapshot())
        lacking = 0
        for held in reversed(self._history):
            if held.entry.offset <= offset:
                break
            lacking += 1
        entries: list[bytes] = []
        size = 0
        for held in islice(self._history, len(self._history) - lacking, None):
            if entries and size + len(held.encoded) > UPDATE_BYTES:
                break
            entries.append(held.encoded)
            size += len(held.encoded)
            offset = held.entry.offset
        return offset, WatchUpdate(entries=tuple(entries))

    async def serve_watch(self, peer: str, stream: Stream) -> None:
        """The handler of the Watch stream."""
        if self._watchers >= WATCHERS_MAX:
            log.warning("watch: %s is refused, there are %d watchers", peer, self._watchers)
            return
        self._watchers += 1
        try:
            request = codec(WatchRequest).decode(await stream.recv())
            # Nothing more is expected: this ends with the stream.
            end = asyncio.ensure_future(stream.recv())
            try:
                await self._push(stream, request.offset, end)
            finally:
                end.cancel()
                await asyncio.wait([end])
                if not end.cancelled():
                    end.exception()
        except StreamBroken:
            pass
        except ValueError as error:
            log.warning("watch: %s is cut off: %s", peer, error)
        finally:
            self._watchers -= 1

    def history(self, request: HistoryRequest) -> HistoryResponse:
        """Changes of one partition, or of a topic; those of deleted topics of the name too."""
        current = self._image.topic_ids.get(request.topic)
        topic_ids = {current} if current is not None else set()
        items: list[HistoryItem] = []
        for held in self._history:
            entry = held.entry
            for change in entry.records:
                record = change.record
                if isinstance(record, TopicRecord) and record.name == request.topic:
                    topic_ids.add(record.topic_id)
                if _concerns(change, request, topic_ids):
                    items.append(
                        HistoryItem(
                            offset=entry.offset,
                            controller_epoch=entry.controller_epoch,
                            timestamp_ms=entry.timestamp_ms,
                            change=change,
                        )
                    )
        return HistoryResponse(items=tuple(items[-HISTORY_ITEMS_MAX:]))

    async def _push(self, stream: Stream, offset: int, end: "asyncio.Future[bytes]") -> None:
        while not end.done():
            found = self.update_after(offset)
            if found is None:
                either: list[asyncio.Future[Any]] = [end, self._change()]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                continue
            offset, update = found
            data = _UPDATE.encode(update)
            for start in range(0, len(data), CHUNK_BYTES):
                piece = data[start : start + CHUNK_BYTES]
                chunk = _CHUNK.encode(WatchChunk(data=piece, last=start + CHUNK_BYTES >= len(data)))
                timer = self._clock.call_later_ms(SEND_TIMEOUT_MS, stream.abort)
                try:
                    await stream.send(chunk)
                finally:
                    timer.cancel()

    def _change(self) -> "asyncio.Future[None]":
        """Done at the next change."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def _encoded_snapshot(self) -> bytes:
        if self._snapshot is None or self._snapshot[0] != self._image.offset:
            self._snapshot = (self._image.offset, codec(MetadataSnapshot).encode(snapshot_of(self._image)))
        return self._snapshot[1]


def _concerns(change: CausedRecord, request: HistoryRequest, topic_ids: set[Uuid]) -> bool:
    match change.record:
        case PartitionRecord() | PartitionChangeRecord() as record:
            return record.topic_id in topic_ids and request.partition in (-1, record.partition)
        case TopicRecord() | RemoveTopicRecord() as record:
            return record.topic_id in topic_ids
        case ConfigRecord() as record:
            return record.resource_type is ResourceType.TOPIC and record.resource_name == request.topic
        case _:
            return False
