"""Claims about `blumfeld topic`."""

import json

import pytest

from cluster.ids import format_uuid
from cluster.records.record import NewRecord, build_batch
from tests.unit.cli.conftest import Run
from tests.unit.client_library.fake_cluster import FakeCluster


def test_a_topic_is_created_with_three_partitions_and_copies_and_its_promise_is_told(
    fake: FakeCluster, run: Run
) -> None:
    result = run("topic", "create", "orders")
    identity = format_uuid(fake.topics["orders"].topic_id)
    assert result.stdout.splitlines() == [
        f"created orders  id={identity}  partitions=3 rf=3 min.insync.replicas=2 (from rf) flush=os",
        "guarantee  acks=all survives the loss of 1 disk; writes go on with 1 broker down; with 2 down they stop and "
        "nothing acknowledged is lost. Power loss of every in-sync broker at once may lose the last moments "
        "(flush.messages=1 prevents).",
        "P  LEADER  REPLICAS  ISR",
        "0  n1      1,2,3     1,2,3",
        "1  n2      2,3,1     2,3,1",
        "2  n3      3,1,2     3,1,2",
    ]
    assert (result.exit_code, result.stderr) == (0, "")
    assert fake.topics["orders"].configs == {"min.insync.replicas": "2"}


@pytest.mark.parametrize(
    ("arguments", "configs"),
    [
        (["-r", "2"], {}),
        (["--config", "min.insync.replicas=1"], {"min.insync.replicas": "1"}),
        (["--config", "retention.ms=5"], {"retention.ms": "5", "min.insync.replicas": "2"}),
    ],
)
def test_the_safe_default_stands_only_where_it_makes_sense_and_nothing_else_is_said(
    fake: FakeCluster, run: Run, arguments: list[str], configs: dict[str, str]
) -> None:
    assert run("topic", "create", "orders", *arguments).exit_code == 0
    assert fake.topics["orders"].configs == configs


def test_a_topic_that_exists_is_an_error_unless_that_is_all_right(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("topic", "create", "orders")
    assert result.exit_code == 3
    assert result.stderr == (
        "TOPIC_ALREADY_EXISTS orders: Topic exists -> choose another name, or use the topic that is there\n"
    )
    result = run("topic", "create", "orders", "--if-not-exists")
    assert (result.exit_code, result.stdout) == (0, "orders exists already and was left as it is\n")
    assert len(fake.topics["orders"].logs) == 1


def test_what_the_cluster_cannot_do_as_asked_is_a_mistake_in_the_command(run: Run) -> None:
    result = run("topic", "create", "orders", "-r", "4")
    assert result.exit_code == 2
    assert result.stderr.startswith("INVALID_REPLICATION_FACTOR orders: Replication factor 4 is larger than the 3 ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "orders", "--config", "retention.ms"],
        ["create", "orders", "-p", "0"],
        ["list", "--timeout", "soon"],
        ["list", "-X", "linger.ms=1"],
        ["list", "-b", "nowhere"],
        ["alter", "orders"],
    ],
)
def test_mistakes_in_the_command_line_exit_with_2(run: Run, arguments: list[str]) -> None:
    result = run("topic", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_topics_are_listed_with_their_state(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders", 3, rf=2)
    fake.add_topic("broken", 2).logs[1].leader = -1
    fake.add_topic("__internal").is_internal = True
    assert run("topic", "list").stdout.splitlines() == [
        "TOPIC   PARTITIONS  RF  STATE",
        "broken  2           1   1 without a leader",
        "orders  3           2   ok",
    ]
    assert run("topic", "list", "--internal", "--format", "kafka").stdout == "__internal\nbroken\norders\n"
    listed = json.loads(run("topic", "list", "--format", "json").stdout)
    assert [(topic["name"], topic["partitions"], topic["leaderless"]) for topic in listed] == [
        ("broken", 2, 1),
        ("orders", 3, 0),
    ]


def test_an_empty_cluster_says_how_to_go_on(run: Run) -> None:
    for command in ("list", "describe"):
        result = run("topic", command)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "no topics yet -> make one: blumfeld topic create orders\n"


def test_a_topic_is_described_with_promise_settings_and_offsets(fake: FakeCluster, run: Run) -> None:
    topic = fake.add_topic("orders", 2, rf=3)
    topic.configs = {"min.insync.replicas": "2", "flush.messages": "1", "retention.ms": "60000"}
    topic.logs[0].append(build_batch([NewRecord(None, b"v", 0)] * 5))
    topic.logs[1].leader, topic.logs[1].leader_epoch = -1, 4
    lines = run("topic", "describe", "orders").stdout.splitlines()
    assert lines[0].endswith("partitions=2 rf=3 min.insync.replicas=2 flush=ack")
    assert lines[1].startswith("guarantee  acks=all survives the loss of 1 disk;")
    assert lines[1].endswith("Records are on disk before they count: power loss loses none.")
    assert lines[2:] == [
        "config  retention.ms=60000",
        "P  LEADER  EPOCH  REPLICAS  ISR    START  END  STATE",
        "0  n1      0      1,2,3     1,2,3  0      5    ok",
        "1  -       4      2,3,1     2,3,1  ?      ?    no leader: it can be neither read nor written",
    ]


def test_a_topic_is_described_as_kafka_s_own_tool_does(fake: FakeCluster, run: Run) -> None:
    topic = fake.add_topic("orders", 1, rf=3)
    topic.configs = {"min.insync.replicas": "2"}
    assert run("topic", "describe", "orders", "--format", "kafka").stdout == (
        f"Topic: orders\tTopicId: {format_uuid(topic.topic_id)}\tPartitionCount: 1\tReplicationFactor: 3"
        "\tConfigs: min.insync.replicas=2\n"
        "\tTopic: orders\tPartition: 0\tLeader: 1\tReplicas: 1,2,3\tIsr: 1,2,3\tElr: N/A\tLastKnownElr: N/A\n"
    )


def test_descriptions_are_there_for_programs(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders", 1, rf=2)
    (described,) = json.loads(run("topic", "describe", "--format", "json").stdout)
    assert (described["name"], described["replication_factor"], described["flush"]) == ("orders", 2, "os")
    assert described["partitions"][0]["end_offset"] == 0


def test_what_is_not_there_is_named_and_what_is_there_is_described_all_the_same(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("topic", "describe", "absent", "orders")
    assert result.exit_code == 3
    assert result.stdout.startswith("orders  id=")
    assert result.stderr == (
        "UNKNOWN_TOPIC_OR_PARTITION absent: there is no such topic or partition -> see what there is: "
        "blumfeld topic list\n"
    )


def test_topics_are_deleted_and_those_that_were_not_there_are_named(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("a")
    fake.add_topic("b")
    result = run("topic", "delete", "a", "absent", "b", "a")
    assert (result.exit_code, result.stdout) == (3, "deleted a\ndeleted b\n")
    assert "absent" in result.stderr
    assert not fake.topics


def test_settings_are_changed_and_taken_back(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders").configs = {"retention.ms": "1"}
    result = run("topic", "alter", "orders", "--set", "segment.ms=5", "--unset", "retention.ms")
    assert result.stdout == "altered orders  segment.ms=5 retention.ms unset\n"
    assert fake.topics["orders"].configs == {"segment.ms": "5"}


def test_partitions_are_added(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("topic", "add-partitions", "orders", "--total", "4")
    assert result.stdout.startswith("orders has 4 partitions now;")
    assert len(fake.topics["orders"].logs) == 4
    assert run("topic", "add-partitions", "orders", "--total", "2").exit_code == 2


def test_every_command_explains_itself_with_an_example(run: Run) -> None:
    for command in ("create", "list", "describe", "alter", "add-partitions", "delete"):
        result = run("topic", command, "-h")
        assert result.exit_code == 0
        assert f"  blumfeld topic {command}" in result.stdout
