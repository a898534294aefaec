"""InitProducerId (22): a producer id that no other producer of the cluster ever gets.

Versions 0-5: 3 carries the producer's id and epoch (KIP-360), 4 PRODUCER_FENCED (KIP-588), 5 TRANSACTION_ABORTABLE
(KIP-890). A producer without a transactional id gets a new id at every request, with epoch 0. A transactional one is
told that there is no coordinator, for as long as there is none.

Ids come from the controller in blocks, which belong to this broker alone (KIP-730). The next block is asked for before
the current one is used up; what is left of it when the broker stops is never given to anybody.
"""

import asyncio
from typing import Final

from broker.api.answers import Answer, RequestContext
from broker.api.commands import Controller, decided
from broker.api.registry import serves
from cluster.errors import ErrorCode
from cluster.metadata.commands import AllocateProducerIds
from cluster.metadata.results import CommandFailed, ProducerIdBlock
from cluster.records.batch import NO_PRODUCER_EPOCH, NO_PRODUCER_ID
from cluster.seams import Spawner
from cluster.wire.transactions import INIT_PRODUCER_ID, InitProducerIdRequest, InitProducerIdResponse

#: Ids left in a block when the next one is asked for.
PREFETCH_AT: Final = 200
ALLOCATE_TIMEOUT_MS: Final = 5000


class ProducerIds:
    """The ids that this broker may give away."""

    def __init__(self, *, broker_id: int, controller: Controller, spawner: Spawner) -> None:
        self._broker_id = broker_id
        self._controller = controller
        self._spawner = spawner
        #: Ids that were not given away yet, of the current block and of the one fetched ahead.
        self._current = range(0)
        self._ahead = range(0)
        #: Done when the allocation under way is over, well or not.
        self._allocation: asyncio.Future[None] | None = None

    def take(self) -> int | None:
        """The next id; None while there is none here. Sees to it that there will be more."""
        if not self._current:
            self._current, self._ahead = self._ahead, range(0)
        if len(self._current) <= PREFETCH_AT and not self._ahead:
            self._allocate()
        if not self._current:
            return None
        taken, self._current = self._current[0], self._current[1:]
        return taken

    async def wait(self) -> int | None:
        """Like `take`, after one allocation if need be; None when that failed."""
        taken = self.take()
        if taken is None and self._allocation is not None:
            await asyncio.shield(self._allocation)
            taken = self.take()
        return taken

    def _allocate(self) -> None:
        if self._allocation is None:
            self._allocation = asyncio.get_running_loop().create_future()
            self._spawner.spawn(self._fetch_block(self._allocation), "allocation of producer ids")

    async def _fetch_block(self, allocation: asyncio.Future[None]) -> None:
        command = AllocateProducerIds(broker_id=self._broker_id, broker_epoch=self._controller.broker_epoch)
        try:
            block: ProducerIdBlock | CommandFailed = await decided(self._controller, command, ALLOCATE_TIMEOUT_MS)
            if isinstance(block, ProducerIdBlock):
                self._ahead = range(block.first_producer_id, block.first_producer_id + block.count)
        finally:
            self._allocation = None
            allocation.set_result(None)


class ProducerIdsApi:
    def __init__(self, *, producer_ids: ProducerIds) -> None:
        self._producer_ids = producer_ids

    @serves(INIT_PRODUCER_ID, "0-5")
    def init_producer_id(
        self, request: InitProducerIdRequest, context: RequestContext
    ) -> Answer[InitProducerIdResponse]:
        if request.transactional_id is not None:
            code = ErrorCode.COORDINATOR_NOT_AVAILABLE if request.transactional_id else ErrorCode.INVALID_REQUEST
            return _failed(code)
        if (request.producer_id == NO_PRODUCER_ID) != (request.producer_epoch == NO_PRODUCER_EPOCH):
            return _failed(ErrorCode.INVALID_REQUEST)
        taken = self._producer_ids.take()
        if taken is None:
            return self._wait()
        return InitProducerIdResponse(producer_id=taken, producer_epoch=0)

    async def _wait(self) -> InitProducerIdResponse:
        taken = await self._producer_ids.wait()
        if taken is None:
            return _failed(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        return InitProducerIdResponse(producer_id=taken, producer_epoch=0)


def _failed(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=NO_PRODUCER_ID, producer_epoch=NO_PRODUCER_EPOCH)
