"""A whole broker: log directory, replicas, link to the controllers, client listeners, put together and started.

Owns the wiring and the order of starting and stopping, nothing else. On the way up: take the log directory, recover it,
hear what the cluster is, register, act on the metadata, and only then let clients in. On the way down: move leaderships
away, let clients go, write everything out, and say so.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from broker.api.assembly import build_apis
from broker.api.registry import ApiTable
from broker.connection import ConnectionLimits
from broker.controller_link import BrokerIdentity, ControllerLink, LinkSettings, discover_cluster_id
from broker.listener import ClientListener, Connections, ListenerLimits
from broker.log.log_dir import LogDir, WrongDirectory, open_log_dir
from broker.log_keeper import LogKeeper
from broker.replication.flusher import Flusher
from broker.replication.follower_streams import FollowerStreams
from broker.replication.group_commit import GroupCommit
from broker.replication.isr_keeper import IsrKeeper
from broker.replication.leader_session import SessionLimits
from broker.replication.leader_streams import LeaderStreams
from broker.replication.manager import ReplicaManager
from broker.topic_configs import TopicConfigs
from cluster.config.node import NodeConfig
from cluster.ids import Endpoint
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import Listener
from cluster.seams import Clock, Disk, Net, Rng, Spawner

log = logging.getLogger(__name__)

#: Until the cluster has a quorum there is nothing that a broker could do.
ADMISSION_TIMEOUT_MS = 24 * 3600 * 1000
CONTROLLED_SHUTDOWN_MS = 10_000
CONNECTIONS_GRACE_MS = 2000
#: Pause before a broker on a full disk looks again whether others have taken its leaderships.
FULL_DISK_RETRY_MS = 200


class StartRefused(Exception):
    """The broker must not start; the text says why and what to do."""


class BrokerServer:
    """One broker process. Construct inside the running event loop; `start` once, `stop` once.

    `fail_stop` ends the process at once, with a sentence.
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
        fail_stop: Callable[[str], None],
    ) -> None:
        self._config = config
        self._properties = config.properties
        self._net = net
        self._disk = disk
        self._clock = clock
        self._rng = rng
        self._spawner = spawner
        self._fail_stop = fail_stop
        #: Its leaderships are being given away, because its disk is full.
        self._is_leaving = False
        self._link_settings = LinkSettings(
            heartbeat_interval_ms=self._properties.integer("broker.heartbeat.interval.ms")
        )
        self._configs = TopicConfigs(config.properties, config.node_id)
        connection_limits = ConnectionLimits(
            request_bytes=self._properties.integer("socket.request.max.bytes"),
            queued_bytes=self._properties.integer("queued.max.request.bytes"),
        )
        limits = ListenerLimits(
            connection=connection_limits,
            max_connections=self._properties.integer("max.connections"),
            max_idle_ms=self._properties.integer("connections.max.idle.ms"),
        )
        self._connections = Connections(limits=limits, clock=clock)
        self._listeners = [
            ClientListener(
                listener=listener,
                table=self._table,
                connections=self._connections,
                limits=connection_limits,
                clock=clock,
                spawner=spawner,
            )
            for listener in config.listeners
        ]
        #: Made by `start`, in this order.
        self._logs: LogDir | None = None
        self._replicas: ReplicaManager | None = None
        self._link: ControllerLink | None = None
        self._apis: ApiTable | None = None

    async def start(self) -> None:
        """Return when clients are served. Raises StartRefused and OSError."""
        advertised = [await self._bind(listener) for listener in self._listeners]
        bound = await self._net.start(self._config.node_bind)
        cluster_id = await discover_cluster_id(self._net, self._clock, self._config.voters, self._link_settings)
        if self._config.cluster_id not in (None, cluster_id):
            raise StartRefused(f"the controllers are of cluster {cluster_id}, this node of {self._config.cluster_id}")
        try:
            logs = open_log_dir(
                self._disk, cluster_id=cluster_id, node_id=self._config.node_id, new_directory_id=self._rng.uuid()
            )
        except WrongDirectory as error:
            raise StartRefused(f"log directory {self._config.log_dir}: {error}") from None
        self._logs = logs
        logs.load(lambda partition: self._configs.log_config(MetadataImage(), partition.topic))
        log.info("%d logs loaded from %s, %d are damaged", len(logs.logs), self._config.log_dir, len(logs.corrupt))
        identity = BrokerIdentity(
            broker_id=self._config.node_id,
            incarnation_id=self._rng.uuid(),
            cluster_id=cluster_id,
            listeners=tuple(advertised),
            node_endpoint=Endpoint(self._config.node_host, bound.port),
            rack=self._config.rack,
            previous_broker_epoch=-1 if logs.previous_broker_epoch is None else logs.previous_broker_epoch,
        )
        self._assemble(logs, identity)
        assert self._link is not None, "just assembled"
        self._link.start()
        await self._link.wait_unfenced(ADMISSION_TIMEOUT_MS)
        self._connections.start()
        for listener in self._listeners:
            await listener.start()
        log.info("broker %d serves %s", identity.broker_id, ", ".join(f"{a.host}:{a.port}" for a in advertised))

    async def stop(self) -> None:
        """Move leaderships away, let clients go, write everything out. Works at any point of `start`."""
        link, replicas, logs = self._link, self._replicas, self._logs
        wanted = self._properties.boolean("controlled.shutdown.enable")
        if link is not None and wanted and not link.is_fenced and not await link.shut_down(CONTROLLED_SHUTDOWN_MS):
            log.warning("the controllers did not take the leaderships over in time; this broker stops all the same")
        for listener in self._listeners:
            await listener.stop()
        if replicas is not None:
            replicas.stop()
        await self._connections.stop(CONNECTIONS_GRACE_MS)
        if link is not None:
            link.stop()
        await self._spawner.cancel_all()
        await self._net.stop()
        if logs is not None and replicas is not None and link is not None:
            logs.close(replicas.high_watermarks(), link.broker_epoch if link.broker_epoch >= 0 else None)

    async def _bind(self, listener: ClientListener) -> Listener:
        """The listener as clients are to be told of it."""
        bound = await listener.bind()
        advertised = listener.advertised
        return replace(advertised, port=bound.port) if advertised.port == 0 else advertised

    def _assemble(self, logs: LogDir, identity: BrokerIdentity) -> None:
        config, clock = self._config, self._clock
        flusher = Flusher(self._disk)
        group_commit = GroupCommit(flusher, clock, self._on_storage_error)
        followers = FollowerStreams(
            net=self._net,
            clock=clock,
            spawner=self._spawner,
            flusher=flusher,
            broker_id=config.node_id,
            broker_epoch=lambda: replicas.broker_epoch,
            endpoint_of=lambda broker_id: _endpoint_of(link.image, broker_id),
            on_storage_error=self._on_storage_error,
        )
        self._replicas = replicas = ReplicaManager(
            broker_id=config.node_id,
            logs=logs,
            configs=self._configs,
            clock=clock,
            followers=followers,
            group_commit=group_commit,
            fail_stop=self._fail_stop,
            on_disk_full=self._on_disk_full,
        )
        self._link = link = ControllerLink(
            net=self._net,
            clock=clock,
            rng=self._rng,
            spawner=self._spawner,
            voters=config.voters,
            identity=identity,
            settings=self._link_settings,
            on_image=lambda new, old: _act(replicas, identity, new),
        )
        LeaderStreams(
            net=self._net,
            clock=clock,
            spawner=self._spawner,
            find=replicas.find,
            limits=SessionLimits(
                frame_bytes=self._properties.integer("replica.fetch.max.bytes"),
                in_flight_bytes=self._properties.integer("blumfeld.replica.in.flight.max.bytes"),
            ),
            on_storage_error=self._on_storage_error,
        )
        self._apis = build_apis(
            broker_id=config.node_id,
            replicas=replicas,
            controller=link,
            properties=self._properties,
            topic_configs=self._configs,
            log_dir=config.log_dir,
            disk=self._disk,
            clock=clock,
            spawner=self._spawner,
            unsent_bytes=lambda: self._connections.unsent_bytes,
        )
        isr_keeper = IsrKeeper(broker_id=config.node_id, replicas=replicas, controller=link, clock=clock)
        keeper = LogKeeper(logs=logs, replicas=replicas, flusher=flusher, clock=clock, properties=self._properties)
        for name, task in (
            ("group-commit", group_commit.run()),
            ("isr", isr_keeper.run()),
            ("deadlines", isr_keeper.watch_time()),
            ("checkpoints", keeper.checkpoint()),
            ("retention", keeper.apply_retention()),
            ("log-tick", keeper.tick()),
        ):
            self._spawner.spawn(task, name)

    def _table(self) -> ApiTable:
        assert self._apis is not None, "listeners accept only after everything was assembled"
        return self._apis

    def _on_storage_error(self, error: OSError) -> None:
        assert self._replicas is not None, "assembled with everything that may fail"
        self._replicas.on_storage_error(error)

    def _on_disk_full(self, error: OSError) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            log.error("the disk of the log directory is full: appends are refused until there is space (%s)", error)
            self._spawner.spawn(self._leave_full_disk(), "full-disk")

    async def _leave_full_disk(self) -> None:
        """Let brokers lead that have space. What nobody else can lead stays here, to be read."""
        link, replicas = self._link, self._replicas
        assert link is not None, "assembled with everything that may fail"
        assert replicas is not None
        while not await link.shut_down(CONTROLLED_SHUTDOWN_MS) or any(replicas.leaders()):
            await self._clock.sleep_ms(FULL_DISK_RETRY_MS)
        self._fail_stop("the disk of the log directory is full: make room and start this node again")


def _act(replicas: ReplicaManager, identity: BrokerIdentity, image: MetadataImage) -> None:
    """Act on an image that knows this incarnation.

    In an older one this broker may still lead in an epoch that its log has outlived.
    """
    broker = image.brokers.get(identity.broker_id)
    if broker is not None and broker.incarnation_id == identity.incarnation_id:
        replicas.on_image(image)


def _endpoint_of(image: MetadataImage, broker_id: int) -> Endpoint | None:
    broker = image.brokers.get(broker_id)
    return None if broker is None else broker.node_endpoint
