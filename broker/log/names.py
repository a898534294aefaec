"""What the files and folders of a log are called, Kafka's way.

Owns the mapping between names and what they mean. Never touches a disk; a name that means nothing here is None.
"""

import re
from typing import Final

from cluster.ids import TopicPartition, Uuid

LOG_SUFFIX: Final = ".log"
INDEX_SUFFIX: Final = ".index"
TIME_INDEX_SUFFIX: Final = ".timeindex"
TXN_INDEX_SUFFIX: Final = ".txnindex"
SNAPSHOT_SUFFIX: Final = ".snapshot"
#: Behind the suffix of a file that a removed segment leaves, and of a folder of a removed partition.
DELETED_SUFFIX: Final = ".deleted"
#: Everything that one segment may own besides the log itself.
COMPANION_SUFFIXES: Final = (INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, SNAPSHOT_SUFFIX)

LEADER_EPOCH_CHECKPOINT: Final = "leader-epoch-checkpoint"
PARTITION_METADATA: Final = "partition.metadata"
RECOVERY_POINT_CHECKPOINT: Final = "recovery-point-offset-checkpoint"
HIGH_WATERMARK_CHECKPOINT: Final = "replication-offset-checkpoint"
LOG_START_CHECKPOINT: Final = "log-start-offset-checkpoint"
#: Names the partitions that compaction has touched, whatever their settings are now.
CLEANER_CHECKPOINT: Final = "cleaner-offset-checkpoint"
META_PROPERTIES: Final = "meta.properties"
CLEAN_SHUTDOWN: Final = ".kafka_cleanshutdown"
LOCK: Final = ".lock"

FOLDER_NAME_MAX: Final = 255

_SEGMENT_FILE: Final = re.compile(r"([0-9]{20})(\.[a-z]+)")
_FOLDER: Final = re.compile(r"([a-zA-Z0-9._-]{1,249})-(0|[1-9][0-9]{0,9})")
_DELETED_FOLDER: Final = re.compile(r"[a-zA-Z0-9._-]+\.[0-9a-f]{32}-delete")


def segment_file(base_offset: int, suffix: str) -> str:
    """Twenty digits and `suffix`: the names of a folder sort as their offsets do."""
    return f"{base_offset:020d}{suffix}"


def parse_segment_file(name: str) -> tuple[int, str] | None:
    """(base offset, suffix), or None for any other file."""
    match = _SEGMENT_FILE.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def partition_folder(partition: TopicPartition) -> str:
    """The topic's name must have been validated: it becomes part of a path."""
    name = str(partition)
    assert _FOLDER.fullmatch(name), f"not a partition: {name!r}"
    return name


def parse_partition_folder(name: str) -> TopicPartition | None:
    """The partition a folder belongs to; the number is behind the last dash. None for any other name."""
    match = _FOLDER.fullmatch(name)
    if match is None or match[1] in (".", ".."):
        return None
    return TopicPartition(match[1], int(match[2]))


def deleted_folder(partition: TopicPartition, topic_id: Uuid) -> str:
    """What the folder of a deleted partition is renamed to: `topic-0.<hex>-delete`, at most 255 bytes long."""
    suffix = f"-{partition.partition}.{topic_id.hex()}-delete"
    return partition.topic[: FOLDER_NAME_MAX - len(suffix)] + suffix


def is_deleted_folder(name: str) -> bool:
    return _DELETED_FOLDER.fullmatch(name) is not None
