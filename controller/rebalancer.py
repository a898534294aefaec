"""Returns leadership to preferred replicas: now and then everywhere, and soon after a broker came back.

A broker that was unfenced catches up and rejoins its ISRs within seconds; some quick passes move its partitions back
as they become movable. Without them it would idle until the next regular pass. What is to move is decided in
`controller/balancing.py`.
"""

import logging
from dataclasses import dataclass

from cluster.metadata.commands import ElectionType, ElectLeaders
from cluster.metadata.image import MetadataImage
from cluster.seams import Clock, NotLeader, UnknownOutcome
from controller.balancing import partitions_to_move
from controller.proposals import Proposer, TooManyInFlight

log = logging.getLogger(__name__)

PROPOSAL_TIMEOUT_MS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalanceSettings:
    """`enabled` False leaves leadership where failures put it."""

    enabled: bool = True
    check_interval_ms: int = 300_000
    imbalance_percentage: int = 10
    #: After a broker was unfenced, this many passes this far apart; 0 passes wait for the regular one.
    quick_passes: int = 15
    quick_interval_ms: int = 2000


class Rebalancer:
    """Works while this controller is active."""

    def __init__(self, clock: Clock, proposer: Proposer, settings: RebalanceSettings) -> None:
        self._clock = clock
        self._proposer = proposer
        self._settings = settings
        self._image: MetadataImage | None = None
        self._next_check_ms = 0
        self._quick_passes_left = 0

    def activate(self, image: MetadataImage) -> None:
        self._image = image
        self._next_check_ms = self._clock.now_ms() + self._settings.check_interval_ms
        # Brokers may have come back while there was no active controller.
        self._quick_passes_left = self._settings.quick_passes

    def deactivate(self) -> None:
        self._image = None

    def on_image(self, image: MetadataImage) -> None:
        if self._image is None:
            return
        before = self._image.brokers
        self._image = image
        if image.brokers is before:
            return
        for broker_id, broker in image.brokers.items():
            known = before.get(broker_id)
            if broker.active and not (known is not None and known.active):
                self._quick_passes_left = self._settings.quick_passes

    async def run(self) -> None:
        """Runs for ever."""
        while self._settings.enabled:
            await self._clock.sleep_ms(self._settings.quick_interval_ms)
            image = self._image
            if image is None:
                continue
            if self._clock.now_ms() >= self._next_check_ms:
                self._next_check_ms = self._clock.now_ms() + self._settings.check_interval_ms
                await self._pass(image, self._settings.imbalance_percentage, "the regular check of leader balance")
            elif self._quick_passes_left > 0:
                self._quick_passes_left -= 1
                await self._pass(image, 0, "a broker came back")

    async def _pass(self, image: MetadataImage, percentage: int, occasion: str) -> None:
        partitions = partitions_to_move(image, percentage)
        if not partitions:
            return
        log.info("moving %d partitions to their preferred leaders: %s", len(partitions), occasion)
        command = ElectLeaders(
            election=ElectionType.PREFERRED,
            partitions=partitions,
            reason=f"leadership returns to the preferred replica: {occasion}",
        )
        try:
            await self._proposer.propose(command, PROPOSAL_TIMEOUT_MS)
        except (NotLeader, UnknownOutcome, TooManyInFlight) as error:
            log.info("leaders were not moved this time: %r", error)
