"""What a topic's configuration means on this broker: its own keys, then the broker's, then the defaults (P)."""

from collections.abc import Mapping

from broker.log.config import CleanupPolicy, LogConfig
from broker.replication.partition import ReplicationConfig
from cluster.config.keys import TOPIC_KEYS
from cluster.config.properties import BrokerProperties
from cluster.config.values import ConfigError, Value
from cluster.metadata.image import MetadataImage
from cluster.records.batch import TimestampType
from cluster.records.compression import CompressionType

_CODECS = {
    "uncompressed": CompressionType.NONE,
    "gzip": CompressionType.GZIP,
    "snappy": CompressionType.SNAPPY,
    "lz4": CompressionType.LZ4,
    "zstd": CompressionType.ZSTD,
}
_TIMESTAMPS = {"CreateTime": TimestampType.CREATE_TIME, "LogAppendTime": TimestampType.LOG_APPEND_TIME}

#: Larger batches are refused, whatever is configured: one must fit into a message between nodes, with what else a frame
#: holds. Differs from Kafka, where only the length of a request is a limit.
BATCH_BYTES_MAX = 32 * 2**20


class TopicConfigs:
    """`properties` are this broker's static ones; dynamic ones come with the image."""

    def __init__(self, properties: BrokerProperties, broker_id: int) -> None:
        self._properties = properties
        self._broker_id = broker_id

    def text(self, image: MetadataImage, topic: str, name: str) -> str:
        """The effective value of a topic key, as text."""
        own = image.topic_config(topic).get(name)
        return own if own is not None else self.default_text(image, name)

    def default_text(self, image: MetadataImage, name: str) -> str:
        """What a topic that does not set the key gets."""
        key = TOPIC_KEYS[name]
        dynamic = image.broker_config(self._broker_id).get(key.broker_key) if key.broker_key else None
        return dynamic if dynamic is not None else self._properties.topic_default(key)

    def log_config(self, image: MetadataImage, topic: str) -> LogConfig:
        values = _Values(self, image, topic)
        codec = values.string("compression.type")
        return LogConfig(
            segment_bytes=values.integer("segment.bytes"),
            segment_ms=values.integer("segment.ms"),
            segment_index_bytes=values.integer("segment.index.bytes"),
            index_interval_bytes=values.integer("index.interval.bytes"),
            retention_ms=values.integer("retention.ms"),
            retention_bytes=values.integer("retention.bytes"),
            max_message_bytes=min(values.integer("max.message.bytes"), BATCH_BYTES_MAX),
            flush_messages=values.integer("flush.messages"),
            flush_ms=values.integer("flush.ms"),
            cleanup_policy=frozenset(CleanupPolicy(policy) for policy in values.list("cleanup.policy")),
            compression_type=_CODECS.get(codec),
            message_timestamp_type=_TIMESTAMPS[values.string("message.timestamp.type")],
            message_timestamp_before_max_ms=values.integer("message.timestamp.before.max.ms"),
            message_timestamp_after_max_ms=values.integer("message.timestamp.after.max.ms"),
            delete_retention_ms=values.integer("delete.retention.ms"),
            min_compaction_lag_ms=values.integer("min.compaction.lag.ms"),
            max_compaction_lag_ms=values.integer("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio=values.number("min.cleanable.dirty.ratio"),
            file_delete_delay_ms=values.integer("file.delete.delay.ms"),
            producer_id_expiration_ms=self._properties.integer("producer.id.expiration.ms"),
        )

    def replication_config(self, image: MetadataImage, topic: str) -> ReplicationConfig:
        values = _Values(self, image, topic)
        return ReplicationConfig(
            min_insync_replicas=values.integer("min.insync.replicas"),
            group_commit=values.integer("flush.messages") == 1,
            replica_lag_time_max_ms=self._properties.integer("replica.lag.time.max.ms"),
        )


class _Values:
    """The effective values of one topic, typed. They were checked when they were set."""

    def __init__(self, configs: TopicConfigs, image: MetadataImage, topic: str) -> None:
        self._configs = configs
        self._image = image
        self._own: Mapping[str, str] = image.topic_config(topic)

    def get(self, name: str) -> Value:
        key = TOPIC_KEYS[name]
        text = self._own.get(name)
        if text is None:
            text = self._configs.default_text(self._image, name)
        try:
            return key.parse(text)
        except ConfigError:
            # Written by a later version with wider bounds: this one keeps working with what it knows.
            return key.parse(key.default or "")

    def integer(self, name: str) -> int:
        value = self.get(name)
        assert isinstance(value, int), f"{name} is a whole number"
        return value

    def number(self, name: str) -> float:
        value = self.get(name)
        assert isinstance(value, int | float), f"{name} is a number"
        return value

    def string(self, name: str) -> str:
        value = self.get(name)
        assert isinstance(value, str), f"{name} is a string"
        return value

    def list(self, name: str) -> tuple[str, ...]:
        value = self.get(name)
        assert isinstance(value, tuple), f"{name} is a list"
        return value
