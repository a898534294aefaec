"""Apache Kafka's own dump tool reads our files and finds nothing wrong with them.

BLUMFELD_KAFKA_JARS names a folder with the jars of a Kafka 4 distribution (its `libs`).
"""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from broker.log.config import LogConfig
from broker.log.log_dir import open_log_dir
from broker.log.validator import AppendOrigin
from cluster.host.disk import HostDisk
from cluster.ids import TopicPartition, Uuid
from cluster.records.compression import CompressionType
from cluster.records.record import ControlType, EndTxnMarker, NewRecord, build_batch, build_end_txn_marker

JARS = os.environ.get("BLUMFELD_KAFKA_JARS", "")
TOOL = "org.apache.kafka.tools.DumpLogSegments"
NOW = 1_700_000_000_000
PARTITION = TopicPartition("orders", 0)

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed"),
    pytest.mark.skipif(not JARS, reason="BLUMFELD_KAFKA_JARS does not name the libs folder of Apache Kafka"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped log of several segments, codecs, epochs and producers, with an aborted and an open transaction."""
    root = tmp_path_factory.mktemp("logs")
    directory = open_log_dir(
        HostDisk(str(root)), cluster_id="cluster", node_id=1, new_directory_id=Uuid(bytes(range(16)))
    )
    config = LogConfig(segment_bytes=12_000, index_interval_bytes=300)
    log = directory.create_partition(PARTITION, Uuid(bytes(range(16, 32))), config)
    sequence = 0
    for number in range(200):
        headers = (("name", b"value"), ("empty", None))
        records = [
            NewRecord(b"k%d" % number, b"v" * (number % 90), NOW + 10 * number + (3 * n) % 7, headers) for n in range(3)
        ]
        codec = CompressionType(number % 5)
        data = build_batch(records, compression=codec)
        if number % 2:
            data = build_batch(records, compression=codec, producer_id=77, producer_epoch=2, base_sequence=sequence)
            sequence += 3
        log.append_as_leader(data, number // 70, NOW)
    for producer_id in (100, 101):
        data = build_batch(
            [NewRecord(b"a", b"b", NOW)],
            producer_id=producer_id,
            producer_epoch=0,
            base_sequence=0,
            transactional=True,
        )
        log.append_as_leader(data, 3, NOW, transaction_verified=True)
    aborted = build_end_txn_marker(EndTxnMarker(ControlType.ABORT, 4), producer_id=100, producer_epoch=0, timestamp=NOW)
    log.append_as_leader(aborted, 3, NOW, origin=AppendOrigin.COORDINATOR)
    log.update_config(replace(config, retention_ms=-1))
    directory.close({PARTITION: log.log_end_offset}, 1)
    return root / str(PARTITION)


def dump(folder: Path, suffix: str, *options: str) -> str:
    files = ",".join(str(path) for path in sorted(folder.glob("*" + suffix)))
    assert files
    command = ["java", "-Xmx256m", "-cp", f"{JARS}/*", TOOL, "--files", files, *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for complaint in ("ismatch", "xception", "out of order", "isvalid: false", "orrupt"):
        assert complaint not in result.stdout + result.stderr, result.stdout[-2_000:]
    return result.stdout


def test_every_record_is_read_back(folder: Path) -> None:
    out = dump(folder, ".log", "--deep-iteration", "--print-data-log")
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", out, re.MULTILINE)]
    assert offsets == list(range(603))
    assert out.count("Dumping ") >= 3
    assert "endTxnMarker: ABORT coordinatorEpoch: 4" in out
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        assert f"compresscodec: {codec}" in out
    assert "payload: " + "v" * 89 in out


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_agree_with_the_log(folder: Path, suffix: str) -> None:
    assert len(dump(folder, suffix).splitlines()) > 20
    assert "passed sanity check" in dump(folder, suffix, "--index-sanity-check")


def test_aborted_transactions_are_read_back(folder: Path) -> None:
    out = dump(folder, ".txnindex")
    assert "version: 0 producerId: 100 firstOffset: 600 lastOffset: 602 lastStableOffset: 601" in out


def test_producer_snapshots_are_read_back(folder: Path) -> None:
    out = dump(folder, "603.snapshot")
    assert re.search(r"producerId: 77 producerEpoch: 2 .*lastSequence: 299 lastOffset: 599 offsetDelta: 2", out)
    assert re.search(r"producerId: 101 .*currentTxnFirstOffset: OptionalLong\[601\]", out)
    assert re.search(r"producerId: 100 producerEpoch: 0 coordinatorEpoch: 4", out)
