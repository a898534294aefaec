"""Three controllers in memory, for tests of the service and of those who use it."""

import asyncio

from cluster.config.node import node_config
from cluster.config.properties import BrokerProperties
from cluster.ids import Endpoint
from cluster.metadata.image import MetadataImage
from cluster.seams import StateMachine
from controller.server import ControllerServer, RunningQuorum
from tests.unit.controller.fakes import FakeNet, Group, Hub, LoopClock, SeededRng, Spawner
from tests.unit.raft.disk import MemoryDisk

VOTERS = {100 + n: Endpoint("controller", 9100 + n) for n in range(3)}


class Controllers:
    """`start` them, `elect` one, `kill` one; `image` is what they agreed upon."""

    def __init__(self, **keys: str) -> None:
        self.hub = Hub()
        self.group = Group()
        self.clock = LoopClock()
        self.spawners = {node_id: Spawner() for node_id in VOTERS}
        self.nets = {node_id: FakeNet(self.hub, f"controller-{node_id}") for node_id in VOTERS}
        self._keys = {key.replace("_", "."): value for key, value in keys.items()}
        self.servers = {node_id: self._server(node_id) for node_id in VOTERS}

    def _server(self, node_id: int) -> ControllerServer:
        voters = ",".join(f"{other}@{endpoint}" for other, endpoint in VOTERS.items())
        keys = {
            "node.id": str(node_id),
            "process.roles": "controller",
            "listeners": f"CONTROLLER://{VOTERS[node_id]}",
            "controller.quorum.voters": voters,
            **self._keys,
        }

        def quorum(machine: StateMachine) -> RunningQuorum:
            return self.group.join(node_id, machine)

        return ControllerServer(
            config=node_config(BrokerProperties.of(keys)),
            net=self.nets[node_id],
            disk=MemoryDisk(),
            clock=self.clock,
            rng=SeededRng(node_id),
            spawner=self.spawners[node_id],
            quorum=quorum,
        )

    async def start(self, leader_id: int | None = 100) -> None:
        for server in self.servers.values():
            await server.start()
        if leader_id is not None:
            self.group.elect(leader_id)

    async def kill(self, node_id: int) -> None:
        """As by kill -9; if it led, nobody leads."""
        del self.group.members[node_id]
        self.hub.kill(self.nets[node_id])
        await self.spawners[node_id].cancel_all()
        if self.group.leader_id == node_id:
            self.group.leader_id = None

    async def stop(self) -> None:
        for node_id, spawner in self.spawners.items():
            await spawner.cancel_all()
            await self.nets[node_id].stop()
            assert spawner.failures == []

    @property
    def image(self) -> MetadataImage:
        """That of a surviving controller."""
        node_id = min(self.group.members)
        return self.servers[node_id].image

    async def until(self, condition: object, within_ms: int = 5000) -> int:
        """Wait until `condition()`; returns the virtual ms that it took."""
        assert callable(condition)
        began = self.clock.now_ms()
        while not condition():
            assert self.clock.now_ms() - began < within_ms, "it did not happen in time"
            await asyncio.sleep(0.001)
        return self.clock.now_ms() - began
