"""The settings of one partition's log, by Kafka's names and with Kafka's defaults.

Owns the meaning of the values, not where they come from: the configuration table builds this.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cluster.records.batch import TimestampType
from cluster.records.compression import CompressionType

#: Kafka's "never" and "no limit" in settings of type long.
LONG_MAX: Final = (1 << 63) - 1
UNLIMITED: Final = -1


class CleanupPolicy(Enum):
    """What happens to old records; a topic may have both."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Times are milliseconds, sizes bytes. Not one of the values is checked here."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * 24 * 3_600_000
    segment_index_bytes: int = 10 * 1024 * 1024
    index_interval_bytes: int = 4096
    #: -1: keep for ever.
    retention_ms: int = 7 * 24 * 3_600_000
    #: -1: keep everything.
    retention_bytes: int = UNLIMITED
    #: A whole batch as it was sent, header included.
    max_message_bytes: int = 1_048_588
    #: Records after which a sync is due; 1: a record counts only when it is on disk.
    flush_messages: int = LONG_MAX
    flush_ms: int = LONG_MAX
    cleanup_policy: frozenset[CleanupPolicy] = field(default_factory=lambda: frozenset((CleanupPolicy.DELETE,)))
    #: None: as the producer sent it.
    compression_type: CompressionType | None = None
    message_timestamp_type: TimestampType = TimestampType.CREATE_TIME
    message_timestamp_before_max_ms: int = LONG_MAX
    message_timestamp_after_max_ms: int = 3_600_000
    delete_retention_ms: int = 24 * 3_600_000
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = LONG_MAX
    min_cleanable_dirty_ratio: float = 0.5
    #: How long the file of a removed segment keeps its place, renamed.
    file_delete_delay_ms: int = 60_000
    producer_id_expiration_ms: int = 24 * 3_600_000

    #: Whether `cleanup_policy` has COMPACT; asked for at each batch.
    compacted: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compacted", CleanupPolicy.COMPACT in self.cleanup_policy)

    @property
    def deletes(self) -> bool:
        return CleanupPolicy.DELETE in self.cleanup_policy
