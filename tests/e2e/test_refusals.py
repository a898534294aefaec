"""What a client or an operator gets wrong is refused, in Kafka's codes or in words, and the node goes on.

Error codes are those that Apache Kafka 4 answers to the same bytes.
"""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crc32c import crc32c

from cluster.errors import ErrorCode
from cluster.records import batch as layout
from cluster.wire.configs import (
    IncrementalAlterableConfig,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource,
)
from cluster.wire.topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DeleteTopicState,
)
from cluster.wire.transactions import InitProducerIdRequest
from node.local_cluster import load
from tests.e2e.harness import Cluster, Load, blumfeld, free_ports, read_all, running_cluster, wait_for
from tests.e2e.processes import is_running, resident_bytes, roles
from tests.e2e.raw import Raw, batch

IDLE_MS = 3000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that close idle connections soon."""
    settings = {"connections.max.idle.ms": str(IDLE_MS)}
    with running_cluster(tmp_path_factory.mktemp("cluster"), settings=settings) as found:
        found.create_topic("t", max_message_bytes="5000")
        found.wait_full_isr("t")
        yield found


def any_port(cluster: Cluster) -> int:
    return cluster.node(1).port


def to_leader(cluster: Cluster, topic: str = "t") -> Raw:
    return Raw(cluster.node(cluster.leader(topic)).port)


def in_log(cluster: Cluster, node_id: int, words: str) -> str:
    """The line of a node's log that holds `words`, once there is one."""
    path = cluster.node(node_id).log_file

    def find() -> str | None:
        return next((line for line in path.read_text(errors="replace").splitlines() if words in line), None)

    return wait_for(find, f"line with {words!r} in {path}", 10)


# Frames.


def request(api_key: int, version: int, body: bytes = b"") -> bytes:
    """A sized frame with a header of an inflexible version."""
    frame = struct.pack(">hhih", api_key, version, 1, 1) + b"x" + body
    return struct.pack(">i", len(frame)) + frame


GARBAGE = {
    "the largest size there is": struct.pack(">i", 2**31 - 1),
    "one byte more than a request may have": struct.pack(">i", 104_857_601),
    "a negative size": struct.pack(">i", -1),
    "an empty frame": struct.pack(">i", 0),
    "half a header": struct.pack(">ih", 2, 3),
    "an unknown API": request(999, 0),
    "an unknown version of a known API": request(3, 99),
    "a body cut off": request(3, 9, b"\0"),
    "an array that cannot follow": request(3, 4, struct.pack(">i", 2**31 - 1)),
    "an array of a negative size": request(3, 4, struct.pack(">i", -5)),
    "a client id that is longer than the frame": struct.pack(">ihhih", 10, 3, 4, 1, 500),
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(200),
    "HTTP": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "noise": bytes(range(255, 127, -1)),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_closes_the_connection_at_once(cluster: Cluster, case: str) -> None:
    with Raw(any_port(cluster)) as raw:
        raw.send(GARBAGE[case])
        assert raw.closes(IDLE_MS / 1000)


def test_bytes_behind_a_request_are_let_pass(cluster: Cluster) -> None:
    """As Kafka does: librdkafka sends some."""
    with Raw(any_port(cluster)) as raw:
        raw.send(request(3, 4, struct.pack(">i", 0) + b"\1" + b"more"))
        assert raw.frame()[:4] == struct.pack(">i", 1)


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(cluster: Cluster) -> None:
    """KIP-511."""
    with Raw(any_port(cluster)) as raw:
        raw.send(request(18, 99, b"\0"))
        assert struct.unpack(">ih", raw.frame()[:6]) == (1, ErrorCode.UNSUPPORTED_VERSION)


@pytest.mark.parametrize(("data", "words"), [(GARBAGE["TLS"], "a TLS client"), (GARBAGE["HTTP"], "an HTTP client")])
def test_the_log_says_in_words_who_came_to_the_wrong_port(cluster: Cluster, data: bytes, words: str) -> None:
    """On node 2, whose limit of such lines nothing else has used up."""
    with Raw(cluster.node(2).port) as raw:
        raw.send(data)
        assert raw.closes()
    assert "PLAINTEXT" in in_log(cluster, 2, words)


def test_a_request_that_is_announced_and_never_sent_does_not_hold_its_connection(cluster: Cluster) -> None:
    with Raw(any_port(cluster)) as raw:
        raw.send(struct.pack(">i", 50_000_000) + b"\0")
        assert raw.closes(3 * IDLE_MS / 1000)


def test_two_thousand_strangers_cost_nothing(cluster: Cluster) -> None:
    pid = cluster.node(3).pid
    assert pid is not None
    broker = roles(pid)["broker-3"]
    cases = list(GARBAGE.values())

    def strangers(count: int) -> None:
        for number in range(count):
            with socket.create_connection(("127.0.0.1", cluster.node(3).port)) as connection:
                connection.sendall(cases[number % len(cases)])

    strangers(200)
    before = resident_bytes(broker)
    log_before = cluster.node(3).log_file.stat().st_size
    strangers(2000)
    with Raw(cluster.node(3).port) as raw:
        raw.send(request(3, 4, struct.pack(">i", 0) + b"\1"))
        raw.frame()
    assert resident_bytes(broker) - before < 4 << 20
    assert cluster.node(3).log_file.stat().st_size - log_before < 20_000, "complaints are limited"
    assert cluster.node(3).pid == pid


# Produce.


def changed(data: bytearray, **fields: int) -> bytearray:
    """The batch with other header fields and a checksum that fits them."""
    header = layout.parse_header(data)._replace(**fields)
    data[: layout.HEADER_SIZE] = layout.HEADER.pack(*header)
    struct.pack_into(">I", data, 17, crc32c(bytes(data[layout.CRC_START :])))
    return data


def poked(data: bytearray, position: int, value: int) -> bytearray:
    data[position] = value
    return data


BATCHES: dict[str, tuple[Callable[[], bytes | bytearray], ErrorCode]] = {
    "a wrong checksum": (lambda: poked(batch("a"), -1, 9), ErrorCode.CORRUPT_MESSAGE),
    "magic 0": (lambda: poked(batch("a"), 16, 0), ErrorCode.INVALID_RECORD),
    "magic 1": (lambda: poked(batch("a"), 16, 1), ErrorCode.INVALID_RECORD),
    "magic 3": (lambda: poked(batch("a"), 16, 3), ErrorCode.CORRUPT_MESSAGE),
    "more than max.message.bytes": (lambda: batch("a" * 6000), ErrorCode.MESSAGE_TOO_LARGE),
    "fewer records than it says": (
        lambda: changed(batch("a"), record_count=2, last_offset_delta=1),
        ErrorCode.INVALID_RECORD,
    ),
    "more records than it says": (
        lambda: changed(batch("a", "b"), record_count=1, last_offset_delta=0),
        ErrorCode.INVALID_RECORD,
    ),
    "as many records as there are numbers": (
        lambda: changed(batch("a"), record_count=2**31 - 1, last_offset_delta=2**31 - 2),
        ErrorCode.INVALID_RECORD,
    ),
    "a negative number of records": (lambda: changed(batch("a"), record_count=-1), ErrorCode.INVALID_RECORD),
    "the control bit": (lambda: changed(batch("a"), attributes=layout.CONTROL_BIT), ErrorCode.INVALID_RECORD),
    "a base offset": (lambda: changed(batch("a"), base_offset=55), ErrorCode.INVALID_RECORD),
    "a length beyond the end": (lambda: poked(batch("a"), 8, 0x7F), ErrorCode.CORRUPT_MESSAGE),
    "a negative length": (lambda: poked(batch("a"), 8, 0x80), ErrorCode.CORRUPT_MESSAGE),
    "half a header": (lambda: batch("a")[:30], ErrorCode.CORRUPT_MESSAGE),
    "nothing": (lambda: b"", ErrorCode.INVALID_RECORD),
    "two batches": (lambda: batch("a") + batch("b"), ErrorCode.INVALID_RECORD),
}


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_that_is_none_is_refused(cluster: Cluster, case: str) -> None:
    make, code = BATCHES[case]
    with to_leader(cluster) as raw:
        before = raw.fetch("t", 0).high_watermark
        answer = raw.produce("t", make())
        assert (answer.error_code, answer.base_offset) == (code, -1)
        assert answer.error_message
        assert raw.fetch("t", 0).high_watermark == before, "nothing was appended"


@pytest.mark.parametrize(
    ("topic", "partition", "acks", "code"),
    [
        ("nowhere", 0, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 99, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("t", -1, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 0, 5, ErrorCode.INVALID_REQUIRED_ACKS),
        ("t", 0, -2, ErrorCode.INVALID_REQUIRED_ACKS),
    ],
)
def test_a_request_to_nowhere_is_refused(
    cluster: Cluster, topic: str, partition: int, acks: int, code: ErrorCode
) -> None:
    with to_leader(cluster) as raw:
        assert raw.produce(topic, batch("a"), partition=partition, acks=acks).error_code == code


def test_a_follower_says_who_leads(cluster: Cluster) -> None:
    """KIP-951 gives the leader's address from version 10 on."""
    leader = cluster.leader("t")
    follower = next(node for node in cluster.local.nodes if node.node_id != leader)
    with Raw(follower.port) as raw:
        answer = raw.produce_all("t", batch("a"), partition=0, acks=-1, version=10)
        (partition,) = answer.responses[0].partition_responses
        assert partition.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert partition.current_leader is not None
        assert partition.current_leader.leader_id == leader
        assert [(node.node_id, node.port) for node in answer.node_endpoints] == [(leader, cluster.node(leader).port)]
        assert raw.produce("t", batch("a"), version=9).error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_a_fetch_with_another_leader_epoch_is_refused(cluster: Cluster) -> None:
    """KIP-320. The epoch is moved first, so that there is an older one."""
    cluster.create_topic("epochs")
    cluster.wait_full_isr("epochs")
    cluster.kill(leader := cluster.leader("epochs"))
    wait_for(lambda: cluster.leader("epochs") != leader or None, "another leader")
    cluster.start(leader)
    cluster.wait_full_isr("epochs")
    with to_leader(cluster, "epochs") as raw:
        codes = {epoch: raw.fetch("epochs", 0, leader_epoch=epoch).error_code for epoch in range(10)}
    (current,) = (epoch for epoch, code in codes.items() if code == ErrorCode.NONE)
    assert current > 0
    assert all(codes[epoch] == ErrorCode.FENCED_LEADER_EPOCH for epoch in range(current))
    assert all(codes[epoch] == ErrorCode.UNKNOWN_LEADER_EPOCH for epoch in range(current + 1, 10))


def test_an_offset_that_is_not_there_is_out_of_range(cluster: Cluster) -> None:
    with to_leader(cluster) as raw:
        assert raw.fetch("t", 10**9).error_code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_idempotence_survives_the_leader_and_the_whole_cluster(cluster: Cluster) -> None:
    """A batch sent again gets the offset of the first time; a gap or an old epoch is refused, before and after."""
    cluster.create_topic("once")
    cluster.wait_full_isr("once")
    with Raw(any_port(cluster)) as raw:
        answer = raw.ask(InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000), 4)
    assert answer.error_code == ErrorCode.NONE
    producer_id, epoch = answer.producer_id, answer.producer_epoch

    def numbered(sequence: int, *values: str, epoch: int = epoch + 1) -> bytearray:
        return batch(*values, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)

    with to_leader(cluster, "once") as raw:
        assert raw.produce("once", numbered(0, "old", epoch=epoch)).base_offset == 0
        assert [raw.produce("once", numbered(n, f"r{n}")).base_offset for n in range(3)] == [1, 2, 3]

    def check() -> None:
        with to_leader(cluster, "once") as raw:
            again = raw.produce("once", numbered(1, "r1"))
            assert (again.error_code, again.base_offset) == (ErrorCode.NONE, 2)
            gap = raw.produce("once", numbered(7, "r7"))
            assert gap.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
            old = raw.produce("once", numbered(1, "old", epoch=epoch))
            assert old.error_code == ErrorCode.INVALID_PRODUCER_EPOCH

    check()
    cluster.kill(leader := cluster.leader("once"))
    wait_for(lambda: cluster.leader("once") != leader or None, "another leader")
    check()
    cluster.start(leader)
    cluster.wait_full_isr("once")
    for node in cluster.local.nodes:
        cluster.kill(node.node_id)
    cluster.start(1, 2, 3)
    cluster.wait_full_isr("once")
    check()
    stored = read_all(cluster.bootstrap, "once", 1)
    assert stored[0] == [(0, b"old"), (1, b"r0"), (2, b"r1"), (3, b"r2")]


# Administration.


def topic(name: str, partitions: int = 1, replicas: int = 1, **configs: str | None) -> CreatableTopic:
    return CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=replicas,
        assignments=[],
        configs=[CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()],
    )


def create(cluster: Cluster, *topics: CreatableTopic) -> list[tuple[str, ErrorCode]]:
    with Raw(any_port(cluster)) as raw:
        answer = raw.ask(CreateTopicsRequest(topics=topics, timeout_ms=10_000, validate_only=False), 7)
    for item in answer.topics:
        assert item.error_code == ErrorCode.NONE or item.error_message
    return [(item.name, ErrorCode(item.error_code)) for item in answer.topics]


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        *((topic(name), ErrorCode.INVALID_TOPIC_EXCEPTION) for name in ("", ".", "..", "a/b", "a" * 250, "ü", "a b")),
        (topic("r", 1, 4), ErrorCode.INVALID_REPLICATION_FACTOR),
        (topic("r", 1, 0), ErrorCode.INVALID_REPLICATION_FACTOR),
        (topic("p", 0), ErrorCode.INVALID_PARTITIONS),
        (topic("p", -5), ErrorCode.INVALID_PARTITIONS),
        (topic("p", 100_000), ErrorCode.POLICY_VIOLATION),
        (topic("c", no_such="1"), ErrorCode.INVALID_CONFIG),
        (topic("c", retention_ms="-5"), ErrorCode.INVALID_CONFIG),
        (topic("c", retention_ms="soon"), ErrorCode.INVALID_CONFIG),
        (topic("c", retention_ms=None), ErrorCode.INVALID_CONFIG),
        (topic("t"), ErrorCode.TOPIC_ALREADY_EXISTS),
    ],
    ids=lambda value: f"{value.name[:9]}-{value.num_partitions}" if isinstance(value, CreatableTopic) else value.name,
)
def test_a_topic_that_cannot_be_is_refused(cluster: Cluster, wanted: CreatableTopic, code: ErrorCode) -> None:
    assert create(cluster, wanted) == [(wanted.name, code)]


def test_names_that_are_the_same_in_metrics_collide(cluster: Cluster) -> None:
    assert create(cluster, topic("one.two_three")) == [("one.two_three", ErrorCode.NONE)]
    assert create(cluster, topic("one_two.three")) == [("one_two.three", ErrorCode.INVALID_TOPIC_EXCEPTION)]


def test_what_a_request_names_twice_is_refused_and_the_rest_is_done(cluster: Cluster) -> None:
    created = create(cluster, topic("twin"), topic("twin"), topic("single"))
    assert sorted(created) == [("single", ErrorCode.NONE), ("twin", ErrorCode.INVALID_REQUEST)]
    names = ("single", "single", "nowhere")
    with Raw(any_port(cluster)) as raw:
        deleted = raw.ask(
            DeleteTopicsRequest(topics=[DeleteTopicState(name=name) for name in names], timeout_ms=10_000), 6
        )
        assert sorted((item.name, item.error_code) for item in deleted.responses if item.name is not None) == [
            ("nowhere", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            ("single", ErrorCode.INVALID_REQUEST),
        ]


@pytest.mark.parametrize(
    ("name", "count", "code"),
    [
        ("t", 1, ErrorCode.INVALID_PARTITIONS),
        ("t", 0, ErrorCode.INVALID_PARTITIONS),
        ("t", -1, ErrorCode.INVALID_PARTITIONS),
        ("t", 100_000, ErrorCode.POLICY_VIOLATION),
        ("nowhere", 5, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_partitions_that_cannot_be_added_are_refused(cluster: Cluster, name: str, count: int, code: ErrorCode) -> None:
    with Raw(any_port(cluster)) as raw:
        wanted = CreatePartitionsTopic(name=name, count=count)
        answer = raw.ask(CreatePartitionsRequest(topics=[wanted], timeout_ms=10_000), 3)
    assert [item.error_code for item in answer.results] == [code]


@pytest.mark.parametrize(
    ("name", "key", "value", "code"),
    [
        ("t", "no.such", "1", ErrorCode.INVALID_CONFIG),
        ("t", "retention.ms", "-2", ErrorCode.INVALID_CONFIG),
        ("t", "min.insync.replicas", "0", ErrorCode.INVALID_CONFIG),
        ("nowhere", "retention.ms", "5", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    cluster: Cluster, name: str, key: str, value: str, code: ErrorCode
) -> None:
    resource = IncrementalAlterConfigsResource(
        resource_type=2,
        resource_name=name,
        configs=[IncrementalAlterableConfig(name=key, config_operation=0, value=value)],
    )
    with Raw(any_port(cluster)) as raw:
        answer = raw.ask(IncrementalAlterConfigsRequest(resources=[resource]), 1)
    assert [item.error_code for item in answer.responses] == [code]


# Operators.


def serve(*settings: str) -> subprocess.CompletedProcess[str]:
    """A node that is expected to refuse."""
    return blumfeld("serve", *(f"--set={setting}" for setting in settings), check=False)


def own_listeners() -> str:
    port = free_ports(2)
    return f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}"


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_without_sense_does_not_start(tmp_path: Path) -> None:
    refused(serve("node.id=x", f"log.dir={tmp_path}"), "node.id='x'", "whole number")
    refused(blumfeld("serve", "-c", str(tmp_path / "no.properties"), check=False), "no.properties")
    refused(serve(own_listeners(), "log.dir=/dev/null/data"), "log.dir=/dev/null/data", "Not a directory")


def test_a_taken_port_is_named_with_its_listener(cluster: Cluster, tmp_path: Path) -> None:
    port = any_port(cluster)
    listeners = f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{free_ports(1)}"
    refused(serve(listeners, f"log.dir={tmp_path}"), "PLAINTEXT", f"127.0.0.1:{port}", "choose another port")


def test_a_directory_serves_one_node_at_a_time(cluster: Cluster) -> None:
    data = cluster.node(1).folder / "data"
    refused(serve(own_listeners(), f"log.dir={data}"), str(data), f"already (pid {cluster.node(1).pid})")


def test_a_directory_of_another_node_or_cluster_is_refused_before_anything_runs(tmp_path: Path) -> None:
    text = "cluster.id=wMBf8xL2QJ-q1lqGPcNkVA\ndirectory.id=lYN6RthxThWEgTK2y2-zrQ\nnode.id=1\nversion=1\n"
    (tmp_path / "meta.properties").write_text(text)
    where = (own_listeners(), f"log.dir={tmp_path}")
    refused(serve("node.id=2", *where), str(tmp_path), "node 1", "this is node 2", "directory of its own")
    foreign = "blumfeld.cluster.id=dTnI5FrrTwKOfnQCSas76g"
    refused(serve("node.id=1", foreign, *where), "cluster wMBf8xL2QJ-q1lqGPcNkVA", "dTnI5FrrTwKOfnQCSas76g")
    (tmp_path / "meta.properties").write_text("nonsense")
    refused(serve("node.id=1", *where), "meta.properties cannot be read", "put the file right")
    assert not (tmp_path / "__cluster_metadata").exists()


def test_up_on_a_folder_with_another_cluster_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    folder = str(cluster.local.folder)
    refused(blumfeld("up", "-n", "5", "--dir", folder, "--detach", check=False), "3 nodes, not 5")
    refused(blumfeld("up", "--dir", folder, "--detach", check=False), "node 1, 2, 3 runs already")
    refused(blumfeld("down", "--dir", str(tmp_path), check=False), "holds no cluster")
    refused(blumfeld("node", "start", "7", "--dir", folder, check=False), "there is no node 7")
    refused(blumfeld("node", "start", "1", "--dir", folder, check=False), "node 1 runs already")


# Processes.


def node_pid(cluster: Cluster, node_id: int) -> int:
    pid = cluster.node(node_id).pid
    assert pid is not None
    return pid


def test_a_controller_that_dies_alone_is_started_again_and_the_node_stays(cluster: Cluster) -> None:
    cluster.create_topic("controllers", partitions=3)
    with Load(cluster.bootstrap, "controllers", 3) as load:
        for node in cluster.local.nodes:
            _kill_controller(cluster, node.node_id)
    load.check()


def _kill_controller(cluster: Cluster, node_id: int) -> None:
    pid = node_pid(cluster, node_id)
    name = f"controller-{node_id}"
    victim = roles(pid)[name]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: roles(pid).get(name, victim) != victim or None, "a new controller")
    assert cluster.node(node_id).pid == pid
    in_log(cluster, node_id, f"controller {node_id} ended with killed by SIGKILL and is started again")


def test_a_broker_that_dies_takes_its_node_down_which_says_why(cluster: Cluster) -> None:
    children = roles(node_pid(cluster, 2))
    os.kill(children["broker-2"], signal.SIGKILL)
    wait_for(lambda: cluster.node(2).pid is None or None, "the end of node 2")
    in_log(cluster, 2, "node 2 stops: its broker ended with killed by SIGKILL")
    assert not any(map(is_running, children.values()))
    cluster.start(2)


def test_nothing_outlives_the_parent_of_a_node(cluster: Cluster) -> None:
    pid = node_pid(cluster, 3)
    children = roles(pid)
    assert set(children) == {"controller-3", "broker-3"}
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: None if any(map(is_running, children.values())) else True, "end of the children", 1.0)
    wait_for(lambda: cluster.node(3).pid is None or None, "the release of the folder")
    cluster.start(3)


def test_a_node_that_stops_orderly_moves_its_leaderships_first(cluster: Cluster) -> None:
    """No error reaches an idempotent producer, and the node's own log shows nothing but the move."""
    cluster.create_topic("orderly", partitions=6)
    cluster.wait_full_isr("orderly")
    folder = str(cluster.local.folder)
    with Load(cluster.bootstrap, "orderly", 6) as load:
        first = cluster.active_controller()
        for node_id in (first, first % 3 + 1):
            assert blumfeld("node", "stop", str(node_id), "--dir", folder).stdout == f"node {node_id} stopped\n"
            assert _last_roles(cluster, node_id, "orderly") == {"follows"}
            cluster.start(node_id)
            cluster.wait_full_isr("orderly")
    load.check()
    for node in cluster.local.nodes:
        assert "did not take the leaderships over" not in node.log_file.read_text()


def _last_roles(cluster: Cluster, node_id: int, topic: str) -> set[str]:
    """What the node's log says last of its replicas of `topic`: "leads" or "follows"."""
    text = cluster.node(node_id).log_file.read_text()
    last = dict(re.findall(rf" ({topic}-[0-9]+): (leads|follows) ", text))
    assert last
    return set(last.values())


def test_a_whole_cluster_stops_within_five_seconds(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "c") as cluster:
        cluster.create_topic("t", partitions=6)
        with Load(cluster.bootstrap, "t", 6):
            pass
        began = time.monotonic()
        done = blumfeld("down", "--dir", str(cluster.local.folder))
        assert time.monotonic() - began < 5
        assert done.stdout == "".join(f"node {node_id} stopped\n" for node_id in (1, 2, 3))
        for node in cluster.local.nodes:
            assert (node.folder / "data" / ".kafka_cleanshutdown").exists()


def test_ctrl_c_in_a_terminal_stops_a_node_in_order(tmp_path: Path) -> None:
    """The terminal sends it to all processes of the node at once."""
    listeners = own_listeners()
    command = [sys.executable, "-P", "-m", "node.main", "serve", f"--set={listeners}", f"--set=log.dir={tmp_path}"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "broker-1 is up" in line:
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
    assert lines[-1].endswith("controller-1 stopped\n"), lines
    assert "controllers did not take" not in "".join(lines)


def test_no_node_met_what_nobody_foresaw(cluster: Cluster) -> None:
    """Runs last: whatever the clients above sent, no log holds a traceback."""
    for node in load(cluster.local.folder).nodes:
        text = node.log_file.read_text(errors="replace")
        assert "Traceback" not in text
        assert "nobody foresaw" not in text
