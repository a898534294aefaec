"""The streams between the voters of a quorum.

Owns one outgoing stream to every peer, dialled again whenever it breaks, and the incoming streams of the peers. Frames
are carried in order and at most once; what a broken stream loses is a suffix, and its break is always reported. Only
voters of the configured set are heard, by the name that the Net vouches for. Every queue is bounded: an incoming stream
is not read while too many of its frames wait, and a peer that does not take its frames is cut off.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError

from cluster.ids import Endpoint
from cluster.rpc.raft_pb2 import Frame, Message
from cluster.seams import Clock, Net, NetError, Rng, Spawner, Stream, Task
from controller.raft.settings import RaftSettings
from controller.raft.voter import Connected, Disconnected, Event, Received, Silenced

METHOD = "raft.Raft/Stream"

#: Beyond a frame's messages there is little in it; a message alone always fits.
_FRAME_RESERVE_BYTES = 1024

log = logging.getLogger(__name__)


def voter_name(node_id: int) -> str:
    """By which name a voter's Net is known."""
    return f"controller-{node_id}"


class _Link:
    """The outgoing side towards one peer."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        #: The stream of which the voter knows; what it said before must not leave on a later one.
        self.known: Stream | None = None
        self.queue: deque[bytes] = deque()
        self.queue_bytes = 0
        #: Set when there is something to send, or the stream broke.
        self.wake = asyncio.Event()
        #: Set when there is a reason to dial before the pause is over.
        self.dial_now = asyncio.Event()
        self.task: Task | None = None


class _Inbox:
    """How many frames of one peer wait for the voter."""

    def __init__(self) -> None:
        self.frames = 0
        self.has_room = asyncio.Event()
        self.has_room.set()


class StreamTransport:
    """`wake` is called whenever `take_events` has something new."""

    def __init__(
        self,
        *,
        node_id: int,
        voters: Mapping[int, Endpoint],
        net: Net,
        clock: Clock,
        rng: Rng,
        spawner: Spawner,
        settings: RaftSettings,
        wake: Callable[[], None],
    ) -> None:
        self._node_id = node_id
        self._net = net
        self._clock = clock
        self._rng = rng
        self._spawner = spawner
        self._settings = settings
        self._wake = wake
        self._endpoints = {peer: voters[peer] for peer in sorted(voters) if peer != node_id}
        self._names = {voter_name(peer): peer for peer in self._endpoints}
        self._links = {peer: _Link() for peer in self._endpoints}
        self._inboxes = {peer: _Inbox() for peer in self._endpoints}
        self._incoming: dict[int, Stream] = {}
        self._events: deque[tuple[Event, Stream | None]] = deque()
        self._is_running = False
        net.serve_stream(METHOD, self._serve)

    def start(self) -> None:
        self._is_running = True
        for peer, link in self._links.items():
            link.task = self._spawner.spawn(self._dial(peer, link), f"raft-dial-{peer}")

    def stop(self) -> None:
        """Break every stream and stop dialling."""
        self._is_running = False
        for link in self._links.values():
            if link.task is not None:
                link.task.cancel()
            if link.stream is not None:
                link.stream.abort()
        for stream in self._incoming.values():
            stream.abort()

    # To and from the voter

    def take_events(self) -> Sequence[Event]:
        """What happened since the last call, in order."""
        taken = []
        while self._events:
            event, stream = self._events.popleft()
            match event:
                case Connected(peer):
                    self._links[peer].known = stream
                case Received(peer, _):
                    inbox = self._inboxes[peer]
                    inbox.frames -= 1
                    inbox.has_room.set()
                case _:
                    pass
            taken.append(event)
        return taken

    def congested(self) -> frozenset[int]:
        """Peers that should get no entries until their queue is shorter."""
        limit = self._settings.outbox_bytes_max
        return frozenset(peer for peer, link in self._links.items() if link.queue_bytes > limit)

    def send(self, outbox: Mapping[int, Sequence[Message]]) -> None:
        """Queue one voter round's messages; those of a stream that is gone are dropped."""
        for peer, messages in outbox.items():
            link = self._links[peer]
            if link.stream is None or link.stream is not link.known:
                continue
            for frame in pack_frames(messages, self._net.max_message_bytes):
                link.queue.append(frame)
                link.queue_bytes += len(frame)
            if link.queue_bytes > 4 * self._settings.outbox_bytes_max:
                log.warning("raft: cutting off controller %d, which takes no messages", peer)
                link.stream.abort()
            link.wake.set()

    def _report(self, event: Event, stream: Stream | None = None) -> None:
        self._events.append((event, stream))
        self._wake()

    # Incoming

    async def _serve(self, name: str, stream: Stream) -> None:
        peer = self._names.get(name)
        if peer is None or not self._is_running:
            log.warning("raft: refusing %r, which is no other voter of this quorum", name)
            return
        previous = self._incoming.get(peer)
        self._incoming[peer] = stream
        if previous is not None:
            previous.abort()
        # It lives, so there is no reason to wait before dialling it.
        self._links[peer].dial_now.set()
        try:
            await self._read(peer, stream)
        except NetError:
            pass
        except DecodeError as error:
            log.error("raft: undecodable frame from controller %d: %s", peer, error)
        finally:
            if self._incoming.get(peer) is stream:
                del self._incoming[peer]
                self._report(Silenced(peer))

    async def _read(self, peer: int, stream: Stream) -> None:
        inbox = self._inboxes[peer]
        while self._incoming.get(peer) is stream:
            data = await stream.recv()
            while inbox.frames >= self._settings.inbox_frames_max:
                inbox.has_room.clear()
                await inbox.has_room.wait()
            frame = Frame.FromString(data)
            if self._incoming.get(peer) is not stream:
                return
            inbox.frames += 1
            self._report(Received(peer, list(frame.messages)))

    # Outgoing

    async def _dial(self, peer: int, link: _Link) -> None:
        settings = self._settings
        pause_ms = settings.redial_min_ms
        while self._is_running:
            link.dial_now.clear()
            try:
                stream = await self._net.open(self._endpoints[peer], METHOD, settings.dial_timeout_ms)
            except NetError:
                await self._pause(link, self._rng.randint(pause_ms // 2, pause_ms))
                pause_ms = min(2 * pause_ms, settings.redial_max_ms)
                continue
            pause_ms = settings.redial_min_ms
            link.stream = stream
            self._report(Connected(peer), stream)
            try:
                await self._pump(link, stream)
            except NetError as error:
                log.info("raft: stream to controller %d broke: %s", peer, error)
            finally:
                stream.abort()
                link.stream = None
                link.queue.clear()
                link.queue_bytes = 0
                self._report(Disconnected(peer))
            await self._pause(link, self._rng.randint(pause_ms // 2, pause_ms))

    async def _pump(self, link: _Link, stream: Stream) -> None:
        """Send what is queued until the stream breaks. The peer never sends on it: receiving only notices the break."""
        link.wake.clear()
        watch = asyncio.ensure_future(stream.recv())
        watch.add_done_callback(lambda _: link.wake.set())
        try:
            while not watch.done():
                while link.queue:
                    frame = link.queue.popleft()
                    await stream.send(frame)
                    link.queue_bytes -= len(frame)
                    if link.queue_bytes < self._settings.outbox_bytes_max <= link.queue_bytes + len(frame):
                        self._wake()
                await link.wake.wait()
                link.wake.clear()
            watch.result()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _pause(self, link: _Link, pause_ms: int) -> None:
        timer = self._clock.call_later_ms(pause_ms, link.dial_now.set)
        try:
            await link.dial_now.wait()
        finally:
            timer.cancel()


def pack_frames(messages: Sequence[Message], size_bytes_max: int) -> list[bytes]:
    """As few frames as possible, each at most `size_bytes_max` long if its messages are."""
    frames = []
    frame = Frame()
    room = size_bytes_max - _FRAME_RESERVE_BYTES
    for message in messages:
        # A length prefix of five bytes and a tag of one.
        size = message.ByteSize() + 6
        if size > room and frame.messages:
            frames.append(frame.SerializeToString())
            frame = Frame()
            room = size_bytes_max - _FRAME_RESERVE_BYTES
        frame.messages.append(message)
        room -= size
    if frame.messages:
        frames.append(frame.SerializeToString())
    return frames
