"""The shells around both halves of a replication stream."""

import asyncio
from pathlib import Path

from broker.replication.flusher import Flusher
from broker.replication.follower_streams import FollowerStreams
from broker.replication.frames import FOLLOW_METHOD, decode_follower_frame, encode_frame
from broker.replication.leader_session import SessionLimits
from broker.replication.leader_streams import LeaderStreams
from cluster.host.disk import HostDisk
from cluster.ids import Endpoint
from cluster.rpc.replication_pb2 import FollowerFrame, Hello, Subscribe
from cluster.seams import Stream, StreamBroken
from tests.unit.controller.fakes import FakeNet, Hub, LoopClock, Spawner, run
from tests.unit.replication.rig import TOPIC_ID, WALL_MS, image, records, replica

LEADER = Endpoint("leader", 1)


class NarrowStream:
    """A stream to a follower that has said `frame`; it takes no message."""

    def __init__(self, frame: bytes) -> None:
        self._frames = [frame]
        self._end = asyncio.get_running_loop().create_future()

    async def send(self, message: bytes) -> None:
        raise ValueError("the message is too long")

    async def recv(self) -> bytes:
        return self._frames.pop() if self._frames else await self._end

    def abort(self) -> None:
        if not self._end.done():
            self._end.set_exception(StreamBroken("aborted"))


class Serving(FakeNet):
    async def serve(self, method: str, peer: str, stream: Stream) -> None:
        await self._streams[method](peer, stream)


def test_a_failure_to_send_does_not_go_unnoticed(tmp_path: Path) -> None:
    """A follower that gets nothing would leave the ISR and never come back."""

    async def scene() -> None:
        partition = replica(tmp_path, 1)
        partition.on_image(image(1, 1), now_ms=0)
        partition.append(records("a"), 1, WALL_MS)
        net, spawner = Serving(Hub(), "broker-1"), Spawner()
        LeaderStreams(
            net=net,
            clock=LoopClock(),
            spawner=spawner,
            find=lambda key: partition,
            limits=SessionLimits(frame_bytes=1 << 20, in_flight_bytes=1 << 20),
            on_storage_error=lambda error: None,
        )
        subscribe = Subscribe(handle=1, topic_id=TOPIC_ID, leader_epoch=1, last_epoch=-1)
        hello = FollowerFrame(hello=Hello(broker_id=2, broker_epoch=102), subscribe=[subscribe])
        stream = NarrowStream(encode_frame(hello))
        spawner.spawn(net.serve(FOLLOW_METHOD, "broker-2", stream), "serve")
        await asyncio.sleep(1)
        assert [str(failure) for failure in spawner.failures] == ["the message is too long"]
        stream.abort()
        await spawner.cancel_all()

    run(scene)


def test_a_broker_that_was_registered_anew_says_so_to_the_leaders_that_it_follows(tmp_path: Path) -> None:
    """Under its old broker epoch it is kept out of every ISR (KIP-903)."""

    async def scene() -> None:
        hub, spawner = Hub(), Spawner()
        leader, follower = FakeNet(hub, "broker-1"), FakeNet(hub, "broker-2")
        heard: asyncio.Queue[int] = asyncio.Queue()

        async def serve(peer: str, stream: Stream) -> None:
            heard.put_nowait(decode_follower_frame(await stream.recv()).hello.broker_epoch)
            await stream.recv()

        leader.serve_stream(FOLLOW_METHOD, serve)
        await leader.start(LEADER)
        broker_epoch = 102
        streams = FollowerStreams(
            net=follower,
            clock=LoopClock(),
            spawner=spawner,
            flusher=Flusher(HostDisk(str(tmp_path))),
            broker_id=2,
            broker_epoch=lambda: broker_epoch,
            endpoint_of=lambda broker_id: LEADER,
            on_storage_error=lambda error: None,
        )
        partition = replica(tmp_path, 2)
        partition.on_image(image(1, 1), now_ms=0)
        streams.follow(partition)
        assert await heard.get() == 102
        broker_epoch = 202
        streams.reopen()
        assert await heard.get() == 202
        await spawner.cancel_all()
        await leader.stop()
        assert spawner.failures == []

    run(scene)
