"""A whole controller: the state machine, its quorum, and the service in front of it, put together and started.

Owns the wiring and the order of starting and stopping, nothing else.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from cluster.config.node import NodeConfig
from cluster.ids import format_uuid
from cluster.metadata.image import MetadataImage
from cluster.seams import Clock, Disk, Net, Quorum, Rng, Spawner, StateMachine
from controller.liveness import LivenessSettings
from controller.machine import ControllerMachine
from controller.metadata_log import MetadataLog
from controller.proposals import Proposer, StampDefaults
from controller.raft.quorum import PySyncObjQuorum
from controller.rebalancer import Rebalancer, RebalanceSettings
from controller.service import ControllerService, MetadataFanOut
from controller.sessions import Sessions

log = logging.getLogger(__name__)


class RunningQuorum(Quorum, Protocol):
    """A quorum that is started and stopped by its owner."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class ControllerServer:
    """One controller process. Construct inside the running event loop; `start` once, `stop` once.

    `quorum` makes the quorum around a state machine; without it there is the real one on `disk`.
    """

    def __init__(
        self,
        *,
        config: NodeConfig,
        net: Net,
        disk: Disk,
        clock: Clock,
        rng: Rng,
        spawner: Spawner,
        quorum: Callable[[StateMachine], RunningQuorum] | None = None,
    ) -> None:
        assert config.controller_bind is not None, "this node is no controller"
        self._listen = config.controller_bind
        self._net = net
        self._spawner = spawner
        self._metadata_log = MetadataLog(clock)
        fan_out = MetadataFanOut(self._metadata_log)
        machine = ControllerMachine(fan_out)
        if quorum is None:
            self._quorum: RunningQuorum = PySyncObjQuorum(
                config.node_id, config.voters, net, disk, clock, rng, spawner, machine
            )
        else:
            self._quorum = quorum(machine)
        proposer = Proposer(self._quorum, clock, rng, stamp_defaults(config))
        self._sessions = Sessions(net, clock, spawner, proposer, liveness_settings(config))
        self._rebalancer = Rebalancer(clock, proposer, rebalance_settings(config))
        fan_out.attach(self._sessions, self._rebalancer)
        self._service = ControllerService(
            net=net,
            clock=clock,
            quorum=self._quorum,
            proposer=proposer,
            metadata_log=self._metadata_log,
            sessions=self._sessions,
            rebalancer=self._rebalancer,
            cluster_id=config.cluster_id or format_uuid(rng.uuid()),
        )

    @property
    def image(self) -> MetadataImage:
        """What this controller has applied."""
        return self._metadata_log.image

    @property
    def is_active(self) -> bool:
        return self._service.is_active

    async def start(self) -> None:
        """Serve, recover from the disk and take part in the quorum. Raises OSError, or what the quorum raises."""
        bound = await self._net.start(self._listen)
        await self._quorum.start()
        self._spawner.spawn(self._service.run(), "controller-role")
        self._spawner.spawn(self._sessions.run(), "controller-leases")
        self._spawner.spawn(self._rebalancer.run(), "controller-balance")
        log.info("controller %d listens on %s", self._quorum.node_id, bound)

    async def stop(self) -> None:
        """Hand over leadership, then end everything."""
        await self._quorum.stop()
        await self._spawner.cancel_all()
        await self._net.stop()


def stamp_defaults(config: NodeConfig) -> StampDefaults:
    properties = config.properties
    return StampDefaults(
        num_partitions=properties.integer("num.partitions"),
        default_replication_factor=properties.integer("default.replication.factor"),
        min_insync_replicas=properties.integer("min.insync.replicas"),
        unclean_leader_election_enable=properties.boolean("unclean.leader.election.enable"),
    )


def liveness_settings(config: NodeConfig) -> LivenessSettings:
    return LivenessSettings(session_timeout_ms=config.properties.integer("broker.session.timeout.ms"))


def rebalance_settings(config: NodeConfig) -> RebalanceSettings:
    properties = config.properties
    return RebalanceSettings(
        enabled=properties.boolean("auto.leader.rebalance.enable"),
        check_interval_ms=properties.integer("leader.imbalance.check.interval.seconds") * 1000,
        imbalance_percentage=properties.integer("leader.imbalance.per.broker.percentage"),
    )
