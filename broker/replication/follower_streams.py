"""Keeps a replication stream to every broker that leads a partition followed here; the shell of `FollowerSession`."""

import asyncio
import logging
from collections.abc import Callable

from broker.replication.flusher import Flusher
from broker.replication.follower_session import RETRY_MS, FollowerSession
from broker.replication.frames import FOLLOW_METHOD, FrameError
from broker.replication.partition import FollowerRole, Partition
from cluster.errors import KafkaError
from cluster.ids import Endpoint, TopicIdPartition
from cluster.seams import Clock, Net, Spawner, Stream, StreamBroken, Task, Unavailable

log = logging.getLogger(__name__)

OPEN_TIMEOUT_MS = 1000
RECONNECT_MS = 50
#: Pause before a leader that sent nonsense, for one partition or on the whole stream, is asked again.
BAD_DATA_PAUSE_MS = 1000


class FollowerStreams:
    """`broker_epoch()` is that of this broker's registration in the metadata that its replicas act upon.

    `endpoint_of(broker_id)` is None while that broker is not registered; `on_storage_error` ends the replica.
    """

    def __init__(
        self,
        *,
        net: Net,
        clock: Clock,
        spawner: Spawner,
        flusher: Flusher,
        broker_id: int,
        broker_epoch: Callable[[], int],
        endpoint_of: Callable[[int], Endpoint | None],
        on_storage_error: Callable[[OSError], None],
    ) -> None:
        self.net = net
        self.clock = clock
        self.flusher = flusher
        self.broker_id = broker_id
        self.broker_epoch = broker_epoch
        self.endpoint_of = endpoint_of
        self.on_storage_error = on_storage_error
        self.spawner = spawner
        #: By leader broker. A link without partitions ends itself.
        self._links: dict[int, _Link] = {}
        self._leader_of: dict[TopicIdPartition, int] = {}

    def follow(self, partition: Partition) -> None:
        """Follow the leader that `partition`'s role names; leave any earlier one. Call after every change of role."""
        role = partition.role
        leader = role.leader if isinstance(role, FollowerRole) and role.leader >= 0 else None
        if self._leader_of.get(partition.key) != leader:
            self.unfollow(partition.key)
        if leader is None:
            return
        link = self._links.get(leader)
        if link is None:
            link = self._links[leader] = _Link(self, leader)
            link.task = self.spawner.spawn(link.run(), f"follow-broker-{leader}")
        self._leader_of[partition.key] = leader
        link.follow(partition)

    def unfollow(self, key: TopicIdPartition) -> None:
        leader = self._leader_of.pop(key, None)
        if leader is not None and (link := self._links.get(leader)) is not None:
            link.unfollow(key)
            if not link.partitions:
                link.stop()
                del self._links[leader]

    def reopen(self) -> None:
        """This broker was registered anew: what it says under its old broker epoch counts for nothing."""
        for link in self._links.values():
            link.reopen()


class _Link:
    """The stream to one leader, opened again and again."""

    def __init__(self, owner: FollowerStreams, leader_id: int) -> None:
        self._owner = owner
        self._leader_id = leader_id
        self.partitions: dict[TopicIdPartition, Partition] = {}
        self.task: Task | None = None
        self._session: FollowerSession | None = None
        self._stream: Stream | None = None
        self._wake = asyncio.Event()

    def follow(self, partition: Partition) -> None:
        self.partitions[partition.key] = partition
        if self._session is not None:
            self._session.follow(partition)

    def unfollow(self, key: TopicIdPartition) -> None:
        self.partitions.pop(key, None)
        if self._session is not None:
            self._session.unfollow(key)

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def reopen(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    async def run(self) -> None:
        owner = self._owner
        while True:
            pause_ms = RECONNECT_MS
            endpoint = owner.endpoint_of(self._leader_id)
            if endpoint is not None:
                try:
                    stream = await owner.net.open(endpoint, FOLLOW_METHOD, OPEN_TIMEOUT_MS)
                except Unavailable:
                    pass
                else:
                    pause_ms = await self._converse(stream)
            await owner.clock.sleep_ms(pause_ms)

    async def _converse(self, stream: Stream) -> int:
        """Use `stream` until it breaks; returns the pause before the next one."""
        owner = self._owner
        log.info("replication stream to broker %d opened, %d partitions", self._leader_id, len(self.partitions))
        self._session = session = FollowerSession(
            leader_id=self._leader_id,
            broker_id=owner.broker_id,
            broker_epoch=owner.broker_epoch(),
            wake=self._wake.set,
            retry_later=self._retry_later,
            on_bad_batches=self._on_bad_batches,
        )
        self._stream = stream
        self._wake.set()
        for partition in tuple(self.partitions.values()):
            session.follow(partition)
        sender = owner.spawner.spawn(self._send(session, stream), f"acknowledge-to-broker-{self._leader_id}")
        pause_ms, reason = RECONNECT_MS, ""
        try:
            while True:
                session.on_frame(await stream.recv())
        except StreamBroken as error:
            reason = str(error)
        except FrameError as error:
            pause_ms, reason = BAD_DATA_PAUSE_MS, f"broker {self._leader_id} broke the protocol: {error}"
        except OSError as error:
            pause_ms, reason = BAD_DATA_PAUSE_MS, f"the log failed: {error}"
            owner.on_storage_error(error)
        finally:
            self._session = self._stream = None
            sender.cancel()
            stream.abort()
            log.info("replication stream to broker %d closed: %s", self._leader_id, reason)
        return pause_ms

    async def _send(self, session: FollowerSession, stream: Stream) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (frame := session.next_frame()) is not None:
                    await stream.send(frame)
                if session.has_unsynced:
                    unsynced = session.take_unsynced()
                    await self._owner.flusher.flush(unsynced)
                    session.on_synced(unsynced)
        except StreamBroken:
            pass
        except OSError as error:
            self._owner.on_storage_error(error)
            stream.abort()

    def _on_bad_batches(self, partition: Partition, error: KafkaError) -> None:
        name = partition.log.partition
        log.error("%s: broker %d sent what cannot be appended: %s", name, self._leader_id, error)
        self._retry_later(partition.key, BAD_DATA_PAUSE_MS)

    def _retry_later(self, key: TopicIdPartition, delay_ms: int = RETRY_MS) -> None:
        def retry() -> None:
            partition = self.partitions.get(key)
            if partition is not None and self._session is not None:
                self._session.follow(partition)

        self._owner.clock.call_later_ms(delay_ms, retry)
