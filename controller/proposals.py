"""Commands on their way into the log: stamped, encoded, counted.

Owns the stamp, which is where a controller's time, chance and static configuration enter the replicated state, and the
limit of commands in flight.
"""

from dataclasses import dataclass

from cluster.ids import ZERO_UUID, Uuid
from cluster.metadata.commands import Command, CommandEnvelope, Stamp
from cluster.metadata.results import AppliedCommand
from cluster.metadata.serde import codec
from cluster.seams import Clock, Quorum, Rng

IN_FLIGHT_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StampDefaults:
    """This node's static configuration, as far as decisions fall back to it."""

    num_partitions: int = 1
    default_replication_factor: int = 1
    min_insync_replicas: int = 1
    unclean_leader_election_enable: bool = False


class TooManyInFlight(Exception):
    """The proposal was definitely not, and will never be, applied: too many others are in flight."""


class Proposer:
    """Puts commands into the quorum's log. Usable while this voter leads."""

    def __init__(self, quorum: Quorum, clock: Clock, rng: Rng, defaults: StampDefaults) -> None:
        self._quorum = quorum
        self._clock = clock
        self._rng = rng
        self._defaults = defaults
        self._in_flight = 0

    async def propose(
        self,
        command: Command,
        timeout_ms: int,
        *,
        client: Uuid = ZERO_UUID,
        sequence: int = 0,
        settled_below: int = 0,
    ) -> AppliedCommand:
        """Raises NotLeader, UnknownOutcome, TooManyInFlight, or ValueError when the command is too long."""
        if self._in_flight >= IN_FLIGHT_MAX:
            raise TooManyInFlight
        envelope = CommandEnvelope(
            stamp=self._stamp(), command=command, client=client, sequence=sequence, settled_below=settled_below
        )
        encoded = codec(CommandEnvelope).encode(envelope)
        self._in_flight += 1
        try:
            _, result = await self._quorum.propose(encoded, timeout_ms)
        finally:
            self._in_flight -= 1
        return codec(AppliedCommand).decode(result)

    def _stamp(self) -> Stamp:
        defaults = self._defaults
        return Stamp(
            wall_ms=self._clock.wall_ms(),
            seed=self._rng.uuid(),
            num_partitions=defaults.num_partitions,
            default_replication_factor=defaults.default_replication_factor,
            min_insync_replicas=defaults.min_insync_replicas,
            unclean_leader_election_enable=defaults.unclean_leader_election_enable,
        )
