"""The controller's methods, and being active."""

import asyncio
from collections.abc import Awaitable, Callable

from cluster.errors import ErrorCode
from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.commands import CreateTopics, NewTopic
from cluster.metadata.messages import (
    HISTORY,
    STATUS,
    SUBMIT,
    HistoryRequest,
    HistoryResponse,
    NotController,
    OutcomeUnknown,
    Overloaded,
    StatusRequest,
    StatusResponse,
    SubmitRequest,
    SubmitResponse,
)
from cluster.metadata.results import AppliedCommand, BrokerRegistered, CommandFailed
from cluster.metadata.serde import codec
from controller.proposals import IN_FLIGHT_MAX
from tests.unit.controller.controllers import VOTERS, Controllers
from tests.unit.controller.fakes import FakeNet, run
from tests.unit.controller.world import registration


class Caller:
    """Somebody who asks controllers."""

    def __init__(self, controllers: Controllers) -> None:
        self._net = FakeNet(controllers.hub, "broker-9")

    async def raw(self, node_id: int, data: bytes) -> object:
        return codec(SubmitResponse).decode(await self._net.call(VOTERS[node_id], SUBMIT, data, 5000)).outcome

    async def submit(self, node_id: int, sequence: int = 1, name: str = "t") -> object:
        topic = NewTopic(name=name, replication_factor=1)
        request = SubmitRequest(
            client=Uuid(b"c" * 16),
            sequence=sequence,
            settled_below=0,
            command=CreateTopics(topics=(topic,)),
            timeout_ms=1000,
        )
        return await self.raw(node_id, codec(SubmitRequest).encode(request))

    async def register(self, node_id: int, broker_id: int) -> object:
        request = SubmitRequest(
            client=ZERO_UUID, sequence=0, settled_below=0, command=registration(broker_id), timeout_ms=1000
        )
        return await self.raw(node_id, codec(SubmitRequest).encode(request))

    async def status(self, node_id: int) -> StatusResponse:
        data = codec(StatusRequest).encode(StatusRequest())
        return codec(StatusResponse).decode(await self._net.call(VOTERS[node_id], STATUS, data, 1000))

    async def history(self, node_id: int, topic: str) -> HistoryResponse:
        data = codec(HistoryRequest).encode(HistoryRequest(topic=topic, partition=-1))
        return codec(HistoryResponse).decode(await self._net.call(VOTERS[node_id], HISTORY, data, 1000))


def story(scenario: Callable[[Controllers, Caller], Awaitable[None]], leader_id: int | None = 100) -> None:
    async def main() -> None:
        controllers = Controllers()
        await controllers.start(leader_id)
        if leader_id is not None:
            await controllers.until(lambda: controllers.servers[leader_id].is_active)
        try:
            await scenario(controllers, Caller(controllers))
        finally:
            await controllers.stop()

    run(main)


def test_the_active_controller_founds_the_cluster_once() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        cluster_id = controllers.image.cluster_id
        assert len(cluster_id) == 22
        controllers.group.elect(101)
        await controllers.until(lambda: controllers.servers[101].is_active)
        assert controllers.image.cluster_id == cluster_id
        assert len(controllers.group.log) == 1

    story(scenario)


def test_a_controller_that_does_not_lead_names_who_does() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        assert await caller.submit(101) == NotController(leader_id=100)

    story(scenario)


def test_without_a_leader_nobody_is_named() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        assert await caller.submit(101) == NotController(leader_id=None)

    story(scenario, leader_id=None)


def test_a_command_is_applied_once_by_whichever_controller() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        registered = await caller.register(100, 1)
        assert isinstance(registered, AppliedCommand)
        assert isinstance(registered.result, BrokerRegistered)
        controllers.group.outcomes_to_lose = 1
        assert await caller.submit(100) == OutcomeUnknown()
        again = await caller.submit(100)
        controllers.group.elect(102)
        await controllers.until(lambda: controllers.servers[102].is_active)
        assert await caller.submit(102) == again

    story(scenario)


def test_nonsense_and_oversized_commands_are_refused_before_the_log() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        length = len(controllers.group.log)
        for data in (b"\xff\xff\xff", b"", bytes(600_000)):
            outcome = await caller.raw(100, data)
            assert isinstance(outcome, AppliedCommand)
            assert isinstance(outcome.result, CommandFailed)
            assert outcome.result.error_code is ErrorCode.INVALID_REQUEST
        assert len(controllers.group.log) == length

    story(scenario)


def test_more_commands_in_flight_than_allowed_are_sent_back() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        calls = [caller.submit(100, sequence=number, name=f"t{number}") for number in range(IN_FLIGHT_MAX + 10)]
        outcomes = await asyncio.gather(*calls)
        assert outcomes.count(Overloaded()) == 10

    story(scenario)


def test_status_tells_who_is_active() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        active, passive = await caller.status(100), await caller.status(101)
        assert (active.active, passive.active) == (True, False)
        assert (active.leader_id, passive.leader_id) == (100, 100)
        assert active.cluster_id == controllers.image.cluster_id
        assert active.metadata_offset == controllers.image.offset
        controllers.group.elect(None)
        assert not (await caller.status(100)).active

    story(scenario)


def test_any_controller_tells_the_history() -> None:
    async def scenario(controllers: Controllers, caller: Caller) -> None:
        await caller.register(100, 1)
        await caller.submit(100)
        assert await caller.history(101, "t") == await caller.history(100, "t")

    story(scenario)
