"""Apache Kafka's own dump tool reads our files and finds nothing wrong with them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
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
from tests.e2e.harness import blumfeld
from tests.interop.clients import CLIENTS
from tests.interop.console import tool
from tests.interop.programs import run_program
from tests.interop.runs import Target, Written, need

TOOL = "org.apache.kafka.tools.DumpLogSegments"
NOW = 1_700_000_000_000
PARTITION = TopicPartition("orders", 0)

#: What the tool says when something is wrong; its exit code is 0 all the same.
COMPLAINTS = ("ismatch", "xception", "out of order", "isvalid: false", "orrupt", "onsecutive", "Index file")


@pytest.fixture(scope="module", autouse=True)
def _java() -> None:
    need(CLIENTS["console"].missing())


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


def dump(files: Iterable[Path], *options: str) -> str:
    names = ",".join(map(str, sorted(files)))
    assert names
    text = run_program(tool(TOOL, "--files", names, *options)).decode(errors="replace")
    for complaint in COMPLAINTS:
        assert complaint not in text, text[text.index(complaint) - 500 :][:1000]
    return text


def test_every_record_is_read_back(folder: Path) -> None:
    out = dump(folder.glob("*.log"), "--deep-iteration", "--print-data-log")
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", out, re.MULTILINE)]
    assert offsets == list(range(603))
    assert out.count("Dumping ") >= 3
    assert "endTxnMarker: ABORT coordinatorEpoch: 4" in out
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        assert f"compresscodec: {codec}" in out
    assert "payload: " + "v" * 89 in out


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_agree_with_the_log(folder: Path, suffix: str) -> None:
    assert len(dump(folder.glob("*" + suffix)).splitlines()) > 20
    assert "passed sanity check" in dump(folder.glob("*" + suffix), "--index-sanity-check")


def test_aborted_transactions_are_read_back(folder: Path) -> None:
    out = dump(folder.glob("*.txnindex"))
    assert "version: 0 producerId: 100 firstOffset: 600 lastOffset: 602 lastStableOffset: 601" in out


def test_producer_snapshots_are_read_back(folder: Path) -> None:
    out = dump(folder.glob("*603.snapshot"))
    assert re.search(r"producerId: 77 producerEpoch: 2 .*lastSequence: 299 lastOffset: 599 offsetDelta: 2", out)
    assert re.search(r"producerId: 101 .*currentTxnFirstOffset: OptionalLong\[601\]", out)
    assert re.search(r"producerId: 100 producerEpoch: 0 coordinatorEpoch: 4", out)


def test_what_clients_wrote_lies_as_kafka_would_have_stored_it(target: Target, written: Mapping[str, Written]) -> None:
    """On every node, each partition has each batch once, in the codec in which its writer sent it."""
    if target.folder is None:
        pytest.skip("the files of this cluster are not below a folder of ours")
    for node in sorted(target.folder.glob("node-*")):
        dumped = by_partition(dump(node.glob("data/interop-*/*.log"), "--deep-iteration"))
        for writer, ours in written.items():
            for partition in {record.partition for record in ours.records}:
                name = f"{ours.topic}-{partition}"
                count = sum(record.partition == partition for record in ours.records)
                offsets = re.findall(r"^\| offset: (\d+)", dumped[name], re.MULTILINE)
                assert list(map(int, offsets)) == list(range(count)), f"{writer} on {node.name}"
                codecs = set(re.findall(r"compresscodec: (\w+)", dumped[name]))
                wanted = {record.codec for record in ours.records if record.partition == partition}
                certain = wanted - set(CLIENTS[writer].codecs_not_certain)
                assert certain <= codecs <= {*wanted, "none"}, f"{writer} on {node.name}"


def test_a_stopped_node_leaves_indexes_that_agree_with_its_logs(target: Target, written: Mapping[str, Written]) -> None:
    if target.folder is None:
        pytest.skip("the files of this cluster are not below a folder of ours")
    assert all(ours.failure is None for ours in written.values())
    node = ("3", "--dir", str(target.folder))
    blumfeld("node", "stop", *node)
    try:
        data = target.folder / "node-3" / "data"
        indexes = [file for suffix in ("index", "timeindex") for file in data.glob(f"interop-*/*.{suffix}")]
        assert dump(indexes).count("Dumping") == len(indexes)
        dump(indexes, "--index-sanity-check")
        assert dump(data.glob("interop-*/*.snapshot")).count("producerId: ") > 0
    finally:
        blumfeld("node", "start", *node)


def by_partition(text: str) -> dict[str, str]:
    """The part of the tool's output that is about each folder."""
    found: dict[str, str] = defaultdict(str)
    for part in text.split("Dumping ")[1:]:
        path, _, lines = part.partition("\n")
        found[Path(path).parent.name] += lines
    return found
