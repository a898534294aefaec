"""What a client hears when a log cannot be read, and who else does."""

import errno
from pathlib import Path

import pytest

from broker.api.log_access import reading
from broker.log.scan import LogCorrupt
from cluster.errors import ErrorCode, KafkaError
from tests.unit.api.rig import Broker, cluster_image, partition_image


def failing(error: Exception) -> int:
    raise error


def test_a_failing_disk_is_a_storage_error_and_the_brokers_business(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"t": [partition_image()]}))
    partition = broker.replicas.add("t", 0)
    error = OSError(errno.EIO, "input/output error")
    with pytest.raises(KafkaError) as caught:
        reading(broker.replicas, partition, lambda: failing(error))
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert broker.replicas.storage_errors == [error]


def test_a_damaged_log_takes_its_partition_offline_and_is_the_brokers_business(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"t": [partition_image(), partition_image()]}))
    damaged, whole = broker.replicas.add("t", 0), broker.replicas.add("t", 1)
    error = LogCorrupt("t-0/0.log", 5, 1, "the checksum does not match")
    with pytest.raises(KafkaError) as caught:
        reading(broker.replicas, damaged, lambda: failing(error))
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    assert damaged.offline_reason is not None
    assert whole.offline_reason is None
    assert broker.replicas.storage_errors == [error]


def test_what_a_client_did_wrong_stays_what_it_is(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"t": [partition_image()]}))
    partition = broker.replicas.add("t", 0)
    with pytest.raises(KafkaError) as caught:
        reading(broker.replicas, partition, lambda: failing(KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)))
    assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    assert partition.offline_reason is None
