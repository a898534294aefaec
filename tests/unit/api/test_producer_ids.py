"""InitProducerId, and the blocks that producer ids come from."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.api.producer_ids import PREFETCH_AT
from cluster.errors import ErrorCode
from cluster.metadata.commands import AllocateProducerIds
from cluster.metadata.results import ProducerIdBlock
from cluster.wire.transactions import InitProducerIdRequest, InitProducerIdResponse
from tests.unit.api.rig import Broker
from tests.unit.broker.wire_rig import on_loop


def block(first: int, count: int = 1000) -> ProducerIdBlock:
    return ProducerIdBlock(first_producer_id=first, count=count)


async def new_id(broker: Broker) -> InitProducerIdResponse:
    answer: Any = broker.call(InitProducerIdRequest(), 4)
    response = answer if isinstance(answer, InitProducerIdResponse) else await answer
    assert isinstance(response, InitProducerIdResponse)
    return response


@on_loop
async def test_every_producer_gets_an_id_of_its_own_and_epoch_0(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [block(5000)]
    answers = [await new_id(broker) for _ in range(3)]
    assert [(each.error_code, each.producer_id, each.producer_epoch) for each in answers] == [
        (0, 5000, 0),
        (0, 5001, 0),
        (0, 5002, 0),
    ]
    assert broker.controller.commands == [AllocateProducerIds(broker_id=1, broker_epoch=7)]


@on_loop
async def test_many_that_wait_cost_one_block(tmp_path: Path) -> None:
    """KIP-730."""
    broker = Broker(tmp_path)
    broker.controller.script = [block(0)]
    answers = await asyncio.gather(*(new_id(broker) for _ in range(20)))
    assert sorted(each.producer_id for each in answers) == list(range(20))
    assert len(broker.controller.commands) == 1


@on_loop
async def test_the_next_block_is_there_before_the_last_one_is_used_up(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [block(0), block(7000)]
    taken = [(await new_id(broker)).producer_id for _ in range(1000 - PREFETCH_AT)]
    assert len(broker.controller.commands) == 1
    waits = 0
    for _ in range(PREFETCH_AT + 5):
        answer: Any = broker.call(InitProducerIdRequest(), 4)
        if not isinstance(answer, InitProducerIdResponse):
            waits += 1
            answer = await answer
        taken.append(answer.producer_id)
        await asyncio.sleep(0)
    assert waits == 0
    assert taken == [*range(1000), *range(7000, 7005)]


@on_loop
async def test_without_a_controller_the_client_is_asked_to_come_back(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT)
    answer = await new_id(broker)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        -1,
        -1,
    )
    broker.controller.script = [block(0)]
    assert (await new_id(broker)).error_code == ErrorCode.NONE


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (InitProducerIdRequest(transactional_id=""), ErrorCode.INVALID_REQUEST),
        (InitProducerIdRequest(transactional_id="tx"), ErrorCode.COORDINATOR_NOT_AVAILABLE),
        (InitProducerIdRequest(producer_id=5), ErrorCode.INVALID_REQUEST),
        (InitProducerIdRequest(producer_epoch=5), ErrorCode.INVALID_REQUEST),
    ],
)
def test_requests_that_get_no_id(tmp_path: Path, request_: InitProducerIdRequest, code: ErrorCode) -> None:
    broker = Broker(tmp_path)
    answer = broker.ask(request_, 4)
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (code, -1, -1)
    assert broker.controller.commands == []
