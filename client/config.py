"""The configuration of clients: Kafka's names, types and defaults, as tables and as typed settings.

Each table of keys has a dataclass beside it whose fields are the keys with underscores. Keys may be given either way:
{"linger.ms": 5} and linger_ms=5 say the same. Unknown keys are refused, as a key that is silently ignored may be one
that safety depends on. Source: Kafka's configuration of producers, consumers and admin clients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cluster.config.values import INT_MAX, ConfigError, ConfigType, Key, did_you_mean
from cluster.ids import Endpoint

Setting = str | int | float | bool | Sequence[str]

_INT, _LONG, _STRING, _BOOL, _LIST = (
    ConfigType.INT,
    ConfigType.LONG,
    ConfigType.STRING,
    ConfigType.BOOLEAN,
    ConfigType.LIST,
)
#: What a broker remembers of an idempotent producer's batches, for each partition.
_IDEMPOTENT_IN_FLIGHT_MAX: Final = 5


def _key(
    name: str,
    type: ConfigType,
    default: str | None,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Key:
    return Key(name=name, type=type, default=default, doc=doc, unit=unit, minimum=low, maximum=high, choices=choices)


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


CLIENT_KEYS: Final = _table(
    _key("bootstrap.servers", _LIST, None, "host:port of brokers to ask first; any one of them is enough."),
    _key("client.id", _STRING, "blumfeld", "The name that brokers log and count this client by."),
    _key("request.timeout.ms", _INT, "30000", "Longest wait for the answer to one request.", unit="ms", low=1),
    _key("default.api.timeout.ms", _INT, "60000", "Longest time for a call with all its attempts.", unit="ms", low=1),
    _key("socket.connection.setup.timeout.ms", _INT, "10000", "Longest wait for a connection.", unit="ms", low=1),
    _key("receive.message.max.bytes", _INT, str(100_000_000), "Largest answer; a larger one ends the connection.",
         unit="bytes", low=1000),
    _key("retry.backoff.ms", _INT, "100", "Pause before the second attempt; it doubles from then on.", unit="ms",
         low=0),
    _key("retry.backoff.max.ms", _INT, "1000", "Longest pause between two attempts.", unit="ms", low=0),
    _key("metadata.max.age.ms", _LONG, "300000", "Metadata is asked for again after this time.", unit="ms", low=0),
)  # fmt: skip

PRODUCER_KEYS: Final = CLIENT_KEYS | _table(
    _key("acks", _STRING, "all", "Who must have a record before it counts as sent: nobody, the leader, the ISR.",
         choices=("all", "-1", "1", "0")),
    _key("enable.idempotence", _BOOL, "true", "Number the batches, so that a retry is written once and in order."),
    _key("compression.type", _STRING, "none", "The codec of record batches.",
         choices=("none", "gzip", "snappy", "lz4", "zstd")),
    _key("batch.size", _INT, "16384", "A batch that reached this size is sent; also what a partition gets before the "
         "next one has its turn, for records without a key.", unit="bytes", low=0),
    _key("linger.ms", _LONG, "5", "How long a batch waits for more records.", unit="ms", low=0),
    _key("buffer.memory", _LONG, str(32 * 2**20), "Bytes of records that wait to be acknowledged; send() blocks above.",
         unit="bytes", low=1),
    _key("max.block.ms", _LONG, "60000", "How long send() may wait for metadata or room.", unit="ms", low=0),
    _key("max.request.size", _INT, str(2**20), "Largest request, and largest record.", unit="bytes", low=1),
    _key("delivery.timeout.ms", _INT, "120000", "From send() to the acknowledgement, with all attempts.", unit="ms",
         low=1),
    _key("max.in.flight.requests.per.connection", _INT, "5", "Unanswered produce requests to one broker.", low=1),
    _key("retries", _INT, str(INT_MAX), "How often one batch is sent again.", low=0),
)  # fmt: skip

CONSUMER_KEYS: Final = CLIENT_KEYS | _table(
    _key("auto.offset.reset", _STRING, "latest", "Where to go on when a position is unknown or gone.",
         choices=("latest", "earliest", "none")),
    _key("isolation.level", _STRING, "read_uncommitted", "Whether records of open and aborted transactions are read.",
         choices=("read_uncommitted", "read_committed")),
    _key("max.poll.records", _INT, "500", "Records that one poll() returns.", low=1),
    _key("fetch.min.bytes", _INT, "1", "Bytes that a broker waits for before it answers.", unit="bytes", low=0),
    _key("fetch.max.wait.ms", _INT, "500", "How long it waits for them.", unit="ms", low=0),
    _key("fetch.max.bytes", _INT, str(50 * 2**20), "Bytes of one answer.", unit="bytes", low=0),
    _key("max.partition.fetch.bytes", _INT, str(2**20), "Bytes of one partition in an answer; half of what is read "
         "ahead of poll().", unit="bytes", low=0),
    _key("check.crcs", _BOOL, "true", "Whether the checksum of every batch is compared."),
    _key("client.rack", _STRING, "", "Where this client stands, for reading from the nearest replica."),
    _key("allow.auto.create.topics", _BOOL, "true", "Whether assigning a topic may make it."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What every client is told. Bounds and meanings are in `CLIENT_KEYS`."""

    bootstrap_servers: tuple[Endpoint, ...]
    client_id: str
    request_timeout_ms: int
    default_api_timeout_ms: int
    socket_connection_setup_timeout_ms: int
    receive_message_max_bytes: int
    retry_backoff_ms: int
    retry_backoff_max_ms: int
    metadata_max_age_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig(ClientConfig):
    """See `PRODUCER_KEYS`."""

    #: -1 for all, 0 or 1.
    acks: int
    #: Implies acks of -1 and at most 5 requests in flight.
    enable_idempotence: bool
    #: A codec's name, or "none".
    compression_type: str
    batch_size: int
    linger_ms: int
    buffer_memory: int
    max_block_ms: int
    max_request_size: int
    delivery_timeout_ms: int
    max_in_flight_requests_per_connection: int
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig(ClientConfig):
    """See `CONSUMER_KEYS`."""

    auto_offset_reset: str
    isolation_level: str
    max_poll_records: int
    fetch_min_bytes: int
    fetch_max_wait_ms: int
    fetch_max_bytes: int
    max_partition_fetch_bytes: int
    check_crcs: bool
    client_rack: str
    allow_auto_create_topics: bool


def parse_endpoint(text: str) -> Endpoint:
    """`host:port`, or `[address]:port` for IPv6. Raises ConfigError."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"bootstrap.servers={text!r} is not valid: it takes host:port, as in 127.0.0.1:9092")
    return Endpoint(host, int(port))


def client_config(given: Mapping[str, Setting]) -> ClientConfig:
    """Raises ConfigError for a key that is unknown, missing, or has a value that it does not take."""
    return ClientConfig(**_fields(CLIENT_KEYS, given))


def producer_config(given: Mapping[str, Setting]) -> ProducerConfig:
    """Raises ConfigError, also for settings that contradict idempotence.

    Idempotence that was not asked for gives way to settings that exclude it, as in Kafka's own producer.
    """
    fields = _fields(PRODUCER_KEYS, given)
    fields["acks"] = -1 if fields["acks"] == "all" else int(fields["acks"])
    conflict = _idempotence_conflict(fields)
    if fields["enable_idempotence"] and conflict:
        if {"enable.idempotence", "enable_idempotence"} & given.keys():
            raise ConfigError(f"enable.idempotence=true needs {conflict}")
        fields["enable_idempotence"] = False
    return ProducerConfig(**fields)


def consumer_config(given: Mapping[str, Setting]) -> ConsumerConfig:
    """Raises ConfigError."""
    return ConsumerConfig(**_fields(CONSUMER_KEYS, given))


def _idempotence_conflict(fields: Mapping[str, Any]) -> str:
    if fields["acks"] != -1:
        return "acks=all"
    if fields["max_in_flight_requests_per_connection"] > _IDEMPOTENT_IN_FLIGHT_MAX:
        return f"max.in.flight.requests.per.connection of at most {_IDEMPOTENT_IN_FLIGHT_MAX}"
    if fields["retries"] == 0:
        return "retries"
    return ""


def _fields(keys: Mapping[str, Key], given: Mapping[str, Setting]) -> dict[str, Any]:
    """The values of a settings dataclass: what is given, parsed, and the defaults of the rest."""
    texts = {}
    for name, value in given.items():
        key = keys.get(name.replace("_", "."))
        if key is None:
            raise ConfigError(f"unknown configuration {name}{did_you_mean(name.replace('_', '.'), keys)}")
        if key.name in texts:
            raise ConfigError(f"{key.name} is given twice")
        texts[key.name] = _text(value)
    fields: dict[str, Any] = {}
    for key in keys.values():
        text = texts.get(key.name, key.default)
        if text is None:
            raise ConfigError(f"{key.name} is missing: {key.doc}")
        fields[key.name.replace(".", "_")] = key.parse(text)
    servers = tuple(parse_endpoint(server) for server in fields["bootstrap_servers"])
    if not servers:
        raise ConfigError(f"bootstrap.servers is empty: {keys['bootstrap.servers'].doc}")
    fields["bootstrap_servers"] = servers
    return fields


def _text(value: Setting) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    return ",".join(value)
