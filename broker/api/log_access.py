"""Reading a partition's log on a client's behalf: what goes wrong with the disk becomes an answer.

Owns the two ways in which a read fails. Never retries: the log directory, or the one partition, is done for.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from broker.log.scan import LogCorrupt
from broker.replication.partition import Partition
from cluster.errors import ErrorCode, KafkaError

ResultT = TypeVar("ResultT")


class StorageErrors(Protocol):
    """Who decides what a failing disk means for this broker."""

    def on_storage_error(self, error: OSError) -> None: ...


def reading(storage: StorageErrors, partition: Partition, action: Callable[[], ResultT]) -> ResultT:
    """What `action` returns, which reads the log of `partition`. Raises its KafkaErrors, and KAFKA_STORAGE_ERROR."""
    try:
        return action()
    except LogCorrupt as error:
        # Stop rather than lie: nothing of this log is served any more.
        partition.go_offline(f"its log is damaged: {error}")
        storage.on_storage_error(error)
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)) from None
    except OSError as error:
        storage.on_storage_error(error)
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the log directory failed: {error}") from None
