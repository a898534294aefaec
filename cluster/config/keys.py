"""The tables of configuration keys: Kafka's names, types, defaults and bounds; our own begin with `blumfeld.`.

Two tables: `TOPIC_KEYS` (what a topic may set) and `BROKER_KEYS` (server.properties). A topic key that is not set
falls back to its broker key, then to the default here. Defaults are Kafka 4's unless a comment says otherwise.
"""

from cluster.config.values import INT_MAX, LONG_MAX, ConfigType, Key

BOOL, STRING, INT, LONG, DOUBLE, LIST = (
    ConfigType.BOOLEAN,
    ConfigType.STRING,
    ConfigType.INT,
    ConfigType.LONG,
    ConfigType.DOUBLE,
    ConfigType.LIST,
)
DAY_MS = 24 * 3600 * 1000


def _topic(
    name: str,
    type: ConfigType,
    default: str,
    broker_key: str,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    inert: bool = False,
) -> Key:
    return Key(
        name=name,
        type=type,
        default=default,
        doc=doc,
        unit=unit,
        minimum=low,
        maximum=high,
        choices=choices,
        broker_key=broker_key,
        dynamic=True,
        inert=inert,
    )


_CODECS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")

TOPIC_KEYS = {
    key.name: key
    for key in (
        _topic("cleanup.policy", LIST, "delete", "log.cleanup.policy",
               "What happens to old records: delete whole segments, or compact to the latest record of each key.",
               choices=("delete", "compact")),
        _topic("compression.type", STRING, "producer", "compression.type",
               "The codec that batches are stored with; producer keeps what was sent.", choices=_CODECS),
        _topic("compression.gzip.level", INT, "-1", "compression.gzip.level",
               "Level of gzip where the broker compresses; -1 is the codec's own default.", low=-1, high=9),
        _topic("compression.lz4.level", INT, "9", "compression.lz4.level",
               "Level of lz4 where the broker compresses.", low=1, high=17),
        _topic("compression.zstd.level", INT, "3", "compression.zstd.level",
               "Level of zstd where the broker compresses.", low=-131072, high=22),
        _topic("delete.retention.ms", LONG, str(DAY_MS), "log.cleaner.delete.retention.ms",
               "How long a compacted topic keeps tombstones.", unit="ms", low=0),
        _topic("file.delete.delay.ms", LONG, "60000", "log.segment.delete.delay.ms",
               "Wait between dropping a segment from the log and removing its files.", unit="ms", low=0),
        _topic("flush.messages", LONG, str(LONG_MAX), "log.flush.interval.messages",
               "1 makes an offset count as replicated only when it is on disk (group commit); larger values force a "
               "flush every so many records; the default leaves flushing to the operating system.",
               unit="records", low=1),
        _topic("flush.ms", LONG, str(LONG_MAX), "log.flush.interval.ms",
               "Longest time that a record may wait for a flush to disk.", unit="ms", low=0),
        _topic("follower.replication.throttled.replicas", LIST, "", "", "Replicas whose fetching is throttled.",
               inert=True),
        _topic("index.interval.bytes", INT, "4096", "log.index.interval.bytes",
               "Bytes of log between two entries of the offset index.", unit="bytes", low=0),
        _topic("leader.replication.throttled.replicas", LIST, "", "", "Replicas whose serving is throttled.",
               inert=True),
        _topic("local.retention.bytes", LONG, "-2", "log.local.retention.bytes",
               "For tiered storage, which does not exist here.", unit="bytes", low=-2, inert=True),
        _topic("local.retention.ms", LONG, "-2", "log.local.retention.ms",
               "For tiered storage, which does not exist here.", unit="ms", low=-2, inert=True),
        _topic("max.compaction.lag.ms", LONG, str(LONG_MAX), "log.cleaner.max.compaction.lag.ms",
               "Longest time that a record stays uncompacted.", unit="ms", low=1),
        _topic("max.message.bytes", INT, "1048588", "message.max.bytes",
               "Largest record batch, as sent, with its header.", unit="bytes", low=0),
        _topic("message.timestamp.type", STRING, "CreateTime", "log.message.timestamp.type",
               "Whether a record's timestamp is the producer's or the time of the append.",
               choices=("CreateTime", "LogAppendTime")),
        _topic("message.timestamp.before.max.ms", LONG, str(LONG_MAX), "log.message.timestamp.before.max.ms",
               "How far a CreateTime may lie in the past.", unit="ms", low=0),
        _topic("message.timestamp.after.max.ms", LONG, "3600000", "log.message.timestamp.after.max.ms",
               "How far a CreateTime may lie in the future.", unit="ms", low=0),
        _topic("min.cleanable.dirty.ratio", DOUBLE, "0.5", "log.cleaner.min.cleanable.ratio",
               "Share of uncompacted bytes from which a log is compacted.", low=0, high=1),
        _topic("min.compaction.lag.ms", LONG, "0", "log.cleaner.min.compaction.lag.ms",
               "Shortest time that a record stays uncompacted.", unit="ms", low=0),
        _topic("min.insync.replicas", INT, "1", "min.insync.replicas",
               "In-sync replicas that a write with acks=all needs, and below which the high watermark stands still.",
               low=1),
        _topic("preallocate", BOOL, "false", "log.preallocate", "Allocate a segment's file in full when it is made.",
               inert=True),
        _topic("remote.log.copy.disable", BOOL, "false", "", "For tiered storage, which does not exist here.",
               inert=True),
        _topic("remote.log.delete.on.disable", BOOL, "false", "", "For tiered storage, which does not exist here.",
               inert=True),
        _topic("remote.storage.enable", BOOL, "false", "", "For tiered storage, which does not exist here.",
               inert=True),
        _topic("retention.bytes", LONG, "-1", "log.retention.bytes",
               "Size of a partition from which its oldest segments go; -1 is no limit.", unit="bytes", low=-1),
        _topic("retention.ms", LONG, str(7 * DAY_MS), "log.retention.ms",
               "Age from which a segment goes; -1 is no limit.", unit="ms", low=-1),
        # Differs from Kafka 4: it refuses less than 1 MiB; small segments are useful to whoever tests or teaches.
        _topic("segment.bytes", INT, str(2**30), "log.segment.bytes", "Size from which a new segment is begun.",
               unit="bytes", low=14),
        _topic("segment.index.bytes", INT, str(10 * 2**20), "log.index.size.max.bytes",
               "Largest size of a segment's index.", unit="bytes", low=4),
        _topic("segment.jitter.ms", LONG, "0", "log.roll.jitter.ms",
               "Spread of the time from which a new segment is begun.", unit="ms", low=0, inert=True),
        _topic("segment.ms", LONG, str(7 * DAY_MS), "log.roll.ms", "Age from which a new segment is begun.",
               unit="ms", low=1),
        _topic("unclean.leader.election.enable", BOOL, "false", "unclean.leader.election.enable",
               "Let a replica that may lack acknowledged records lead when no other is left: loses data by design."),
    )
}  # fmt: skip


def _broker(
    name: str,
    type: ConfigType,
    default: str | None,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
    inert: bool = False,
) -> Key:
    return Key(
        name=name,
        type=type,
        default=default,
        doc=doc,
        unit=unit,
        minimum=low,
        maximum=high,
        choices=choices,
        dynamic=dynamic,
        inert=inert,
    )


def _defaults_of_topics() -> dict[str, Key]:
    """The broker keys that exist to hold the default of a topic key."""
    keys = {}
    for key in TOPIC_KEYS.values():
        # The time limits may also be given in hours or minutes, so their key in ms has no default of its own.
        default = None if key.broker_key in ("log.retention.ms", "log.roll.ms") else key.default
        if key.broker_key:
            keys[key.broker_key] = Key(
                name=key.broker_key,
                type=key.type,
                default=default,
                doc=f"Default of the topic key {key.name}. {key.doc}",
                unit=key.unit,
                minimum=key.minimum,
                maximum=key.maximum,
                choices=key.choices,
                dynamic=True,
                inert=key.inert,
            )
    return keys


BROKER_KEYS = _defaults_of_topics() | {
    key.name: key
    for key in (
        # Who this node is.
        _broker("node.id", INT, "1", "Number of this node, unique in the cluster.", low=0),
        _broker("broker.id", INT, None, "Older name of node.id.", low=-1),
        _broker("process.roles", LIST, "controller,broker", "What this node is.", choices=("controller", "broker")),
        _broker("broker.rack", STRING, None, "Where this broker stands; replicas are spread over racks."),
        _broker("blumfeld.cluster.id", STRING, None,
                "Cluster id to found the cluster with, 22 characters; made at random when unset."),
        # Where it listens.
        _broker("listeners", LIST, "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
                "NAME://host:port of every listener; an empty host is all addresses, port 0 any free port."),
        _broker("advertised.listeners", LIST, None, "What clients are told instead, for listeners named here."),
        _broker("listener.security.protocol.map", LIST, "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "NAME:PROTOCOL of every listener; a name that is not listed is PLAINTEXT."),
        _broker("controller.listener.names", LIST, "CONTROLLER", "Listeners that belong to the controller."),
        _broker("inter.broker.listener.name", STRING, None,
                "Client listener whose advertised host other brokers use; the first one when unset."),
        _broker("blumfeld.node.port", INT, "0",
                "Port for traffic between brokers; 0 is any free port, which the brokers tell each other.",
                low=0, high=65535),
        _broker("controller.quorum.voters", LIST, None,
                "id@host:port of every controller; a single node that is its own quorum when unset."),
        _broker("socket.request.max.bytes", INT, str(100 * 2**20), "Largest request, refused before it is read.",
                unit="bytes", low=1024),
        _broker("max.connections", INT, str(INT_MAX), "Open client connections.", low=0),
        _broker("connections.max.idle.ms", LONG, "600000", "Idle client connections are closed after this time.",
                unit="ms", low=1),
        _broker("queued.max.request.bytes", LONG, str(64 * 2**20),
                "Bytes of requests and answers that one connection may have in flight before it is no longer read.",
                unit="bytes", low=1024),
        # Logs.
        _broker("log.dirs", LIST, None, "Folders of the partition logs; log.dir when unset."),
        _broker("log.dir", STRING, "blumfeld-data", "Folder of the partition logs and of the controller's journal."),
        _broker("log.retention.minutes", INT, None, "Used when log.retention.ms is unset.", unit="min", low=-1),
        _broker("log.retention.hours", INT, "168", "Used when the finer keys are unset.", unit="h", low=-1),
        _broker("log.roll.hours", INT, "168", "Used when log.roll.ms is unset.", unit="h", low=1),
        _broker("log.retention.check.interval.ms", LONG, "300000", "How often old segments are looked for.",
                unit="ms", low=1),
        _broker("log.flush.offset.checkpoint.interval.ms", INT, "60000", "How often recovery points are written.",
                unit="ms", low=1),
        _broker("replica.high.watermark.checkpoint.interval.ms", LONG, "5000",
                "How often high watermarks are written.", unit="ms", low=1),
        _broker("log.cleaner.enable", BOOL, "true", "Whether compaction runs."),
        # Topics.
        _broker("num.partitions", INT, "1", "Partitions of a topic that names no number.", low=1, dynamic=True),
        _broker("default.replication.factor", INT, "1", "Replicas of a topic that names no number.", low=1,
                dynamic=True),
        _broker("auto.create.topics.enable", BOOL, "true", "Make a topic when a client asks about it."),
        _broker("delete.topic.enable", BOOL, "true", "Whether topics may be deleted."),
        # Replication.
        _broker("replica.lag.time.max.ms", LONG, "30000",
                "A follower that was not caught up for this long leaves the ISR.", unit="ms", low=1),
        _broker("replica.fetch.max.bytes", INT, str(2**20), "Bytes of one replication message.", unit="bytes",
                low=4096, high=16 * 2**20),
        _broker("blumfeld.replica.in.flight.max.bytes", INT, str(8 * 2**20),
                "Bytes that a leader sends a follower ahead of its acknowledgement.", unit="bytes", low=65536),
        _broker("controlled.shutdown.enable", BOOL, "true", "Move leaders away before stopping."),
        # Controller.
        # Differs from Kafka (9000 and 2000): a broken stream is noticed at once; the lease covers silent failures only.
        _broker("broker.session.timeout.ms", INT, "2000", "Lease of a broker that falls silent.", unit="ms", low=100),
        _broker("broker.heartbeat.interval.ms", INT, "500", "How often a broker renews its lease.", unit="ms",
                low=10),
        _broker("auto.leader.rebalance.enable", BOOL, "true", "Return leadership to preferred replicas."),
        _broker("leader.imbalance.check.interval.seconds", LONG, "300", "How often that is looked at.", unit="s",
                low=1),
        _broker("leader.imbalance.per.broker.percentage", INT, "10",
                "Share of a broker's preferred partitions led elsewhere from which they are moved.", unit="%", low=0,
                high=100),
        # Producers.
        _broker("producer.id.expiration.ms", INT, str(DAY_MS),
                "An idempotent producer is forgotten after being idle this long.", unit="ms", low=1),
        # Consumers.
        _broker("fetch.max.bytes", INT, str(55 * 2**20), "Bytes of one fetch response.", unit="bytes", low=1024),
        _broker("replica.selector.class", STRING, None, "How a consumer's nearest replica is chosen.", inert=True),
        # For tools that look for it.
        _broker("inter.broker.protocol.version", STRING, "3.9", "Read only: the protocol level that is spoken.",
                inert=True),
        _broker("num.network.threads", INT, "1", "One event loop serves all connections.", low=1, inert=True),
        _broker("num.io.threads", INT, "1", "One event loop serves all requests.", low=1, inert=True),
    )
}  # fmt: skip


def topic_key(name: str) -> Key | None:
    return TOPIC_KEYS.get(name)


def broker_key(name: str) -> Key | None:
    return BROKER_KEYS.get(name)
