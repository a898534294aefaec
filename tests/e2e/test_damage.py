"""Disks that rot, fill up and forget while a node is down, or while it runs.

A node recovers, or stays out with a clear word in its log. Whatever was acknowledged stays, the other nodes go on, and
in the end all replicas hold the same bytes.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from cluster.errors import ErrorCode
from cluster.records.batch import iterate_batches
from cluster.records.record import decode_records
from cluster.wire.codec import records_view
from node.local_cluster import ClusterError
from tests.e2e.harness import Cluster, Load, read_all, running_cluster, wait_for
from tests.e2e.processes import is_running
from tests.e2e.raw import Raw

NODES = (1, 2, 3)
#: The node whose disk is hit.
VICTIM = 3
RECORDS = 400
SETTINGS = {
    # Recovery points and high watermarks are on disk soon, so that there is something below them to damage.
    "log.flush.offset.checkpoint.interval.ms": "200",
    "replica.high.watermark.checkpoint.interval.ms": "200",
    "log.segment.bytes": "16384",
    "log.index.interval.bytes": "512",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), settings=SETTINGS) as found:
        yield found


def fill(cluster: Cluster, *topics: str) -> None:
    """Records that are all acknowledged, in many small batches."""
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "enable.idempotence": True, "batch.size": 1000})
    for number in range(RECORDS):
        for topic in topics:
            producer.produce(
                topic,
                b"%d " % number + b"x" * 100,
                partition=0,
                on_delivery=lambda error, message: failed.append(str(error)) if error is not None else None,
            )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed, failed[:3]


def folder(cluster: Cluster, node_id: int, topic: str) -> Path:
    return data(cluster, node_id) / f"{topic}-0"


def data(cluster: Cluster, node_id: int) -> Path:
    return cluster.node(node_id).folder / "data"


def logs(cluster: Cluster, node_id: int, topic: str) -> list[Path]:
    return sorted(folder(cluster, node_id, topic).glob("[0-9]" * 20 + ".log"))


def content(cluster: Cluster, node_id: int, topic: str) -> bytes:
    return b"".join(path.read_bytes() for path in logs(cluster, node_id, topic))


def wait_equal(cluster: Cluster, topic: str) -> None:
    """Nothing is written any more, so every log ends at the high watermark."""

    def equal() -> bool | None:
        first, *others = (content(cluster, node_id, topic) for node_id in NODES)
        return (len(first) > 0 and all(other == first for other in others)) or None

    wait_for(equal, f"equal logs of {topic}")


def wait_checkpointed(cluster: Cluster, node_id: int, *topics: str) -> None:
    """The recovery points on the node's disk are at the end of the logs."""
    path = data(cluster, node_id) / "recovery-point-offset-checkpoint"
    wanted = {b"%s 0 %d" % (topic.encode(), RECORDS) for topic in topics}
    wait_for(lambda: (path.exists() and wanted <= set(path.read_bytes().splitlines())) or None, "recovery points")


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position, os.SEEK_SET if position >= 0 else os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))


def log_text(cluster: Cluster, node_id: int) -> str:
    return cluster.node(node_id).log_file.read_text(errors="replace")


def check_stored(cluster: Cluster, topic: str, count: int = RECORDS) -> None:
    stored = read_all(cluster.bootstrap, topic, 1)[0]
    assert [(offset, int(value.split()[0])) for offset, value in stored] == [(n, n) for n in range(count)]


def stop(cluster: Cluster, node_id: int) -> None:
    """The orderly way."""
    pid = cluster.node(node_id).pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: cluster.node(node_id).pid is None or None, f"the end of node {node_id}")


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(max(0, size))


def on_each(pattern: str, action: Callable[[Path], object]) -> "Damage":
    """Do it to every file of the folder whose name matches."""

    def damage(_: list[Path], folder: Path) -> None:
        for path in sorted(folder.glob(pattern)):
            action(path)

    return damage


def append(path: Path, garbage: bytes) -> None:
    with path.open("ab") as file:
        file.write(garbage)


Damage = Callable[[list[Path], Path], object]

#: What is done to the folder of one partition: (its segments, the folder).
FOLDER_DAMAGE: dict[str, Damage] = {
    "flip-sealed": lambda segments, _: flip(segments[0], 700),
    "flip-active": lambda segments, _: flip(segments[-1], 100),
    "flip-last-byte": lambda segments, _: flip(segments[-1], -1),
    "cut-last-batch": lambda segments, _: truncate(segments[-1], segments[-1].stat().st_size - 7),
    "cut-active-to-nothing": lambda segments, _: truncate(segments[-1], 0),
    "lose-active": lambda segments, _: shutil.move(segments[-1], segments[-1].with_suffix(".lost")),
    "lose-middle": lambda segments, _: shutil.move(segments[1], segments[1].with_suffix(".lost")),
    "garbage-behind": lambda segments, _: append(segments[-1], b"\xa5" * 1000),
    "zeros-behind": lambda segments, _: append(segments[-1], bytes(4096)),
    "index-cut": on_each("*index", lambda path: truncate(path, path.stat().st_size // 2)),
    "index-zeroed": on_each("*index", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    "index-noise": on_each("*index", lambda path: path.write_bytes(b"\xff" * 1003)),
    "index-lost": on_each("*index", Path.unlink),
    "epochs-lost": on_each("leader-epoch-checkpoint", Path.unlink),
    "epochs-noise": on_each("leader-epoch-checkpoint", lambda path: path.write_bytes(b"0\n1\n7 x\n")),
    "snapshots-lost": on_each("*.snapshot", Path.unlink),
    "snapshots-noise": on_each("*.snapshot", lambda path: path.write_bytes(b"\x01" * 50)),
    "metadata-lost": on_each("partition.metadata", Path.unlink),
    "metadata-noise": on_each("partition.metadata", lambda path: path.write_bytes(b"\xff\xfe")),
    "strangers": lambda _, folder: [(folder / name).write_bytes(b"?") for name in ("notes.txt", "5.log", "x.index")],
    "folder-lost": lambda _, folder: shutil.rmtree(folder),
    "folder-emptied": on_each("*", Path.unlink),
}


@pytest.mark.parametrize("orderly", [False, True], ids=["killed", "stopped"])
def test_a_partition_that_is_damaged_while_its_node_is_down_is_whole_again(cluster: Cluster, orderly: bool) -> None:
    """Every kind of damage at once, each to a partition of its own."""
    topics = {f"{'stopped' if orderly else 'killed'}-{name}": damage for name, damage in FOLDER_DAMAGE.items()}
    create_led_by_victim(cluster, *topics)
    fill(cluster, *topics)
    wait_checkpointed(cluster, VICTIM, *topics)
    if orderly:
        stop(cluster, VICTIM)
    else:
        cluster.kill(VICTIM)
    for topic, damage in topics.items():
        segments = logs(cluster, VICTIM, topic)
        assert len(segments) > 2
        damage(segments, folder(cluster, VICTIM, topic))
    (data(cluster, VICTIM) / "foo-0").mkdir(exist_ok=True)
    (data(cluster, VICTIM) / "a file of somebody").write_text("?")
    cluster.start(VICTIM)
    read_from_victim(cluster, *topics)
    for topic in topics:
        wait_equal(cluster, topic)
    assert (data(cluster, VICTIM) / "a file of somebody").exists()
    for node_id in NODES:
        assert "Traceback" not in log_text(cluster, node_id)
    for node_id in (1, 2):
        assert "damaged:" not in log_text(cluster, node_id), "the others had nothing to do with it"


def create_led_by_victim(cluster: Cluster, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    wanted = [NewTopic(topic, num_partitions=1, replica_assignment=[[VICTIM, 1, 2]]) for topic in topics]
    for created in admin.create_topics(wanted, operation_timeout=10).values():
        created.result(20)
    wait_led_by_victim(cluster, *topics)


def wait_led_by_victim(cluster: Cluster, *topics: str) -> None:
    """It is the preferred leader of all, so it is enough that every replica is in the ISR again."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})

    def led() -> bool | None:
        found = admin.list_topics(timeout=10).topics
        states = [(found[topic].partitions[0].leader, sorted(found[topic].partitions[0].isrs)) for topic in topics]
        return all(state == (VICTIM, list(NODES)) for state in states) or None

    wait_for(led, "full ISRs led by the victim")


def read_from_victim(cluster: Cluster, *topics: str) -> None:
    """What a start does not look at is noticed by whoever reads it.

    A broker that finds one of its logs damaged ends, and fetches that log again after its next start; so it takes as
    many starts as there are hidden damages until the victim leads and everything is read from it.
    """
    left = list(topics)
    for _ in topics:
        wait_led_by_victim(cluster, *topics)
        while left:
            stored = read_from(cluster, VICTIM, left[-1])
            if stored is None:
                break
            assert stored == list(range(RECORDS)), left[-1]
            left.pop()
        if not left:
            return
        wait_for(lambda: cluster.node(VICTIM).pid is None or None, "the end of the node")
        assert f"a log is damaged: {left[-1]}-0" in log_text(cluster, VICTIM)
        cluster.start(VICTIM)
    raise AssertionError(f"{left} are damaged again and again")


def read_from(cluster: Cluster, node_id: int, topic: str) -> list[int] | None:
    """The numbers of the records that a node has, in order; None when it ends instead of answering."""
    found: list[int] = []
    try:
        with Raw(cluster.node(node_id).port) as raw:
            # Others may have heard of its leadership before it has itself.
            not_yet = ErrorCode.NOT_LEADER_OR_FOLLOWER
            wait_for(lambda: raw.fetch(topic, 0).error_code != not_yet or None, f"{topic} led by node {node_id}")
            while True:
                answer = raw.fetch(topic, len(found))
                if answer.error_code == ErrorCode.KAFKA_STORAGE_ERROR:
                    return None
                assert answer.error_code == ErrorCode.NONE
                data = bytes(records_view(answer.records) or b"")
                if not data:
                    assert len(found) == answer.high_watermark
                    return found
                for position, header in iterate_batches(data):
                    assert header.base_offset == len(found)
                    records = decode_records(data, header, position)
                    found += [int((record.value or b"").split()[0]) for record in records]
    except ConnectionError:
        return None


def test_checkpoints_that_are_lost_or_noise_lose_nothing(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "checkpoints")
    fill(cluster, "checkpoints")
    names = ("recovery-point-offset-checkpoint", "replication-offset-checkpoint")
    for damaged in (None, b"\xff" * 77, b"0\n1\ncheckpoints 0 999999\n"):
        wait_checkpointed(cluster, VICTIM, "checkpoints")
        cluster.kill(VICTIM)
        for name in names:
            path = data(cluster, VICTIM) / name
            path.unlink() if damaged is None else path.write_bytes(damaged)
        cluster.start(VICTIM)
        read_from_victim(cluster, "checkpoints")
        wait_equal(cluster, "checkpoints")


def refusal(cluster: Cluster) -> str:
    """What the victim says when it does not start."""
    with pytest.raises(ClusterError) as caught:
        cluster.start(VICTIM)
    assert "Traceback" not in str(caught.value)
    wait_for(lambda: cluster.node(VICTIM).pid is None or None, "the end of the node")
    return str(caught.value)


def test_a_directory_that_does_not_say_whose_it_is_stays_out(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "whose")
    fill(cluster, "whose")
    stop(cluster, VICTIM)
    path = data(cluster, VICTIM) / "meta.properties"
    text = path.read_text()
    path.unlink()
    assert "no meta.properties" in refusal(cluster)
    path.write_text("")
    assert "meta.properties cannot be read" in refusal(cluster)
    path.write_text(text.replace("node.id=3", "node.id=1"))
    assert "is of node 1" in refusal(cluster)
    check_stored(cluster, "whose")
    path.write_text(text)
    cluster.start(VICTIM)
    read_from_victim(cluster, "whose")


def test_a_node_without_anything_fetches_everything(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "nothing")
    fill(cluster, "nothing")
    stop(cluster, VICTIM)
    shutil.rmtree(data(cluster, VICTIM))
    data(cluster, VICTIM).mkdir()
    cluster.start(VICTIM)
    read_from_victim(cluster, "nothing")
    wait_equal(cluster, "nothing")


# The journal of the controllers.


def journal(cluster: Cluster) -> Path:
    return data(cluster, VICTIM) / "__cluster_metadata" / "raft" / "journal"


def test_a_damaged_journal_keeps_its_node_out_until_it_is_taken_away(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "journal")
    fill(cluster, "journal")
    cluster.kill(VICTIM)
    whole = journal(cluster).read_bytes()
    for position in (3, 20, len(whole) // 2):
        flip(journal(cluster), position)
        said = refusal(cluster)
        assert "raft journal" in said
        assert "its controller must not run" in said
        journal(cluster).write_bytes(whole)
    journal(cluster).unlink()
    said_before = len(log_text(cluster, VICTIM))
    cluster.start(VICTIM)
    cluster.wait_full_isr("journal")
    # Until then there would be no majority without node 1.
    wait_for(lambda: "counts again" in log_text(cluster, VICTIM)[said_before:] or None, "a voter that caught up")
    cluster.kill(1)
    create_on(cluster, "without-node-1", 2, 3)
    fill(cluster, "without-node-1")
    cluster.start(1)
    read_from_victim(cluster, "journal")
    check_stored(cluster, "without-node-1")


def create_on(cluster: Cluster, topic: str, *replicas: int) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    wanted = NewTopic(topic, num_partitions=1, replica_assignment=[list(replicas)])

    def create() -> bool:
        admin.create_topics([wanted], operation_timeout=10)[topic].result(20)
        return True

    wait_for(create, f"creation of {topic}")


def test_a_torn_end_of_the_journal_is_cut_off(cluster: Cluster) -> None:
    cluster.kill(VICTIM)
    with journal(cluster).open("ab") as file:
        file.write(b"\xabR\x9dj" + b"\x01" * 40)
    cluster.start(VICTIM)
    cluster.kill(1)
    create_on(cluster, "torn", 2, 3)
    cluster.start(1)


# While the node runs.


def test_a_directory_that_goes_away_ends_its_node_and_nothing_is_lost(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "gone")
    pid = cluster.node(VICTIM).pid
    assert pid is not None
    with Load(cluster.bootstrap, "gone", 1) as load:
        data(cluster, VICTIM).rename(data(cluster, VICTIM).with_name("elsewhere"))
        wait_for(lambda: None if is_running(pid) else True, "the end of the node")
        wait_for(lambda: cluster.leader("gone") != VICTIM or None, "another leader")
        before = len(load.times)
        wait_for(lambda: len(load.times) > before + load.per_second or None, "progress")
    load.check()
    assert "the log directory failed" in log_text(cluster, VICTIM)
    data(cluster, VICTIM).mkdir()
    cluster.start(VICTIM)
    cluster.wait_full_isr("gone")
    wait_equal(cluster, "gone")


def test_a_full_disk_takes_one_node_out_and_nothing_is_lost(cluster: Cluster) -> None:
    create_led_by_victim(cluster, "full")
    stop(cluster, VICTIM)
    own = data(cluster, VICTIM)
    saved = own.with_name("saved")
    shutil.copytree(own, saved)
    size = sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) + (8 << 20)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(own)], capture_output=True)
    if mounted.returncode != 0:
        cluster.start(VICTIM)
        pytest.skip(f"no disk can be made that is small enough: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(saved, own, dirs_exist_ok=True)
        cluster.start(VICTIM)
        cluster.wait_full_isr("full")
        wait_for(lambda: cluster.leader("full") == VICTIM or None, "the preferred leader")
        with Load(cluster.bootstrap, "full", 1) as load:
            _fill_up(own / "ballast")
            wait_for(lambda: cluster.leader("full") != VICTIM or None, "another leader")
            before = len(load.times)
            wait_for(lambda: len(load.times) > before + load.per_second or None, "progress")
        load.check()
        wait_for(lambda: cluster.node(VICTIM).pid is None or None, "the end of the node")
        assert "full: make room" in log_text(cluster, VICTIM) or "No space left" in log_text(cluster, VICTIM)
    finally:
        if cluster.node(VICTIM).pid is not None:
            cluster.kill(VICTIM)
        subprocess.run(["umount", str(own)], check=True)
    cluster.start(VICTIM)
    cluster.wait_full_isr("full")
    wait_equal(cluster, "full")


def _fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
