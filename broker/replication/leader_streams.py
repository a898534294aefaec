"""Serves the replication streams that followers open: the shell around `LeaderSession`."""

import asyncio
import logging
from collections.abc import Callable

from broker.replication.frames import FOLLOW_METHOD, FrameError, decode_follower_frame
from broker.replication.leader_session import LeaderSession, SessionLimits
from broker.replication.partition import Partition
from cluster.ids import TopicIdPartition
from cluster.seams import Clock, Net, Spawner, Stream, StreamBroken

log = logging.getLogger(__name__)

#: How long a high watermark waits for records that it could travel with.
OFFSETS_DELAY_MS = 3


class LeaderStreams:
    """One stream a follower; a newer one of the same broker replaces the older.

    `on_storage_error` is told when a log could not be read.
    """

    def __init__(
        self,
        *,
        net: Net,
        clock: Clock,
        spawner: Spawner,
        find: Callable[[TopicIdPartition], Partition | None],
        limits: SessionLimits,
        on_storage_error: Callable[[OSError], None],
    ) -> None:
        self._clock = clock
        self._spawner = spawner
        self._find = find
        self._limits = limits
        self._on_storage_error = on_storage_error
        self._streams: dict[int, tuple[int, Stream]] = {}
        net.serve_stream(FOLLOW_METHOD, self._serve)

    async def _serve(self, peer: str, stream: Stream) -> None:
        try:
            first = decode_follower_frame(await stream.recv())
        except (StreamBroken, FrameError) as error:
            log.warning("replication stream of %s refused: %s", peer, error)
            return
        broker_id, broker_epoch = first.hello.broker_id, first.hello.broker_epoch
        if (
            not first.HasField("hello")
            or peer != f"broker-{broker_id}"
            or not self._admit(broker_id, broker_epoch, stream)
        ):
            log.warning("replication stream of %s refused: it says broker %d epoch %d", peer, broker_id, broker_epoch)
            return
        log.info("broker %d epoch %d opened its replication stream", broker_id, broker_epoch)
        wake = asyncio.Event()
        session = LeaderSession(
            broker_id=broker_id,
            broker_epoch=broker_epoch,
            find=self._find,
            limits=self._limits,
            wake=wake.set,
            wake_later=lambda: self._wake_later(wake),
        )
        sender = self._spawner.spawn(self._send(session, stream, wake), f"send-to-broker-{broker_id}")
        reason = "it ended"
        try:
            session.on_frame(first, self._clock.now_ms())
            while True:
                session.on_frame(decode_follower_frame(await stream.recv()), self._clock.now_ms())
        except (StreamBroken, FrameError) as error:
            reason = str(error)
        except OSError as error:
            self._on_storage_error(error)
        finally:
            sender.cancel()
            session.close(self._clock.now_ms())
            stream.abort()
            if self._streams.get(broker_id) == (broker_epoch, stream):
                del self._streams[broker_id]
            log.info("replication stream of broker %d closed: %s", broker_id, reason)

    def _admit(self, broker_id: int, broker_epoch: int, stream: Stream) -> bool:
        known = self._streams.get(broker_id)
        if known is not None and known[0] > broker_epoch:
            return False
        self._streams[broker_id] = (broker_epoch, stream)
        if known is not None:
            known[1].abort()
        return True

    def _wake_later(self, wake: asyncio.Event) -> None:
        if not wake.is_set():
            self._clock.call_later_ms(OFFSETS_DELAY_MS, wake.set)

    async def _send(self, session: LeaderSession, stream: Stream, wake: asyncio.Event) -> None:
        try:
            while True:
                await wake.wait()
                wake.clear()
                while (frame := session.next_frame()) is not None:
                    await stream.send(frame)
        except StreamBroken:
            pass
        except OSError as error:
            self._on_storage_error(error)
            stream.abort()
