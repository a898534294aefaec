"""Keeps the ISR of every partition led here in step with the facts, and answers produce requests that wait too long.

The shell around `Partition.decide_isr`: it looks at the clock, asks the controller, and brings the answer back. One
command is under way at a time and holds the changes of many partitions.
"""

import logging
from typing import Protocol, TypeVar

from broker.replication.manager import ReplicaManager
from broker.replication.partition import Partition
from cluster.errors import KafkaError
from cluster.metadata.commands import AlterPartitions, CommandOf, PartitionAlteration
from cluster.metadata.image import MetadataImage
from cluster.seams import Clock

log = logging.getLogger(__name__)

R = TypeVar("R")

TICK_MS = 50
#: Partitions in one command.
CHANGES_MAX = 1000
SUBMIT_TIMEOUT_MS = 5000
#: Pause after the controller could not be asked.
RETRY_MS = 200


class Controller(Protocol):
    """The link to the controllers, as far as the ISR needs it."""

    async def submit(self, command: CommandOf[R], timeout_ms: int, *, wait_applied: bool = False) -> R:
        """Raises KafkaError when the command failed as a whole, or its outcome is not known in time."""
        ...


class IsrKeeper:
    def __init__(self, *, broker_id: int, replicas: ReplicaManager, controller: Controller, clock: Clock) -> None:
        self._broker_id = broker_id
        self._replicas = replicas
        self._controller = controller
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self._clock.sleep_ms(TICK_MS)
            proposals = self._decide()
            if proposals:
                await self._propose(proposals)

    async def watch_time(self) -> None:
        """Answer produce requests whose time is up, and notice followers that are gone."""
        while True:
            await self._clock.sleep_ms(TICK_MS)
            now_ms = self._clock.now_ms()
            for partition in self._replicas.leaders():
                partition.on_tick(now_ms)

    def _decide(self) -> list[tuple[Partition, PartitionAlteration]]:
        now_ms = self._clock.now_ms()
        image = self._replicas.image
        epochs = {broker.broker_id: broker.broker_epoch for broker in image.brokers.values()}
        proposals = []
        for partition in self._replicas.leaders():
            proposal = partition.decide_isr(now_ms, lambda broker, epoch: _joinable(image, broker, epoch), epochs)
            if proposal is not None:
                proposals.append((partition, proposal))
                if len(proposals) == CHANGES_MAX:
                    break
        return proposals

    async def _propose(self, proposals: list[tuple[Partition, PartitionAlteration]]) -> None:
        """Ask once. What stays without an answer is asked again: until then every ISR that might be true counts."""
        command = AlterPartitions(
            broker_id=self._broker_id,
            broker_epoch=self._replicas.broker_epoch,
            partitions=tuple(proposal for _, proposal in proposals),
        )
        try:
            result = await self._controller.submit(command, SUBMIT_TIMEOUT_MS)
        except KafkaError as error:
            log.warning("%d changes of the ISR are not decided yet: %s", len(proposals), error)
            await self._clock.sleep_ms(RETRY_MS)
            return
        for (partition, proposal), answer in zip(proposals, result.partitions, strict=True):
            partition.on_isr_answer(proposal, answer)
            isr = [member.broker_id for member in proposal.isr]
            log.info("%s-%d: ISR %s proposed, %s", partition.topic, partition.partition, isr, answer.error_code.name)


def _joinable(image: MetadataImage, broker_id: int, broker_epoch: int) -> bool:
    broker = image.brokers.get(broker_id)
    return broker is not None and broker.active and broker.broker_epoch == broker_epoch
