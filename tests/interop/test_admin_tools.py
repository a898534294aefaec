"""Kafka's own command line tools do their work on topics, configs, records and brokers."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient

from tests.e2e.harness import wait_for
from tests.interop.clients import CLIENTS
from tests.interop.console import tool
from tests.interop.interface import TIMEOUT_S
from tests.interop.programs import ProgramFailed, run_program
from tests.interop.runs import Target, need

CONFIGS = "kafka.admin.ConfigCommand"
TOPICS = "org.apache.kafka.tools.TopicCommand"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
DELETE_RECORDS = "org.apache.kafka.tools.DeleteRecordsCommand"
API_VERSIONS = "org.apache.kafka.tools.BrokerApiVersionsCommand"
LOG_DIRS = "org.apache.kafka.tools.LogDirsCommand"


class Tools:
    """Runs tools against the cluster, on a topic of the test's own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.bootstrap = bootstrap
        self.topic = topic

    def run(self, name: str, *arguments: str) -> str:
        """What the tool printed. Raises ProgramFailed."""
        return run_program(tool(name, "--bootstrap-server", self.bootstrap, *arguments)).decode()

    def on_topic(self, name: str, *arguments: str) -> str:
        return self.run(name, "--topic", self.topic, *arguments)


@pytest.fixture
def tools(target: Target) -> Iterator[Tools]:
    """With a topic of three partitions with three replicas each, which kafka-topics made."""
    need(CLIENTS["console"].missing())
    tools = Tools(target.bootstrap, f"tools-{uuid.uuid4()}")
    made = tools.on_topic(
        TOPICS, "--create", "--partitions", "3", "--replication-factor", "3", "--config", "retention.ms=86400000"
    )
    assert f"Created topic {tools.topic}." in made
    yield tools
    admin = AdminClient({"bootstrap.servers": target.bootstrap})
    admin.delete_topics([tools.topic])[tools.topic].exception(TIMEOUT_S)


def test_topics_are_described_grown_and_deleted(tools: Tools) -> None:
    summary, *partitions = tools.on_topic(TOPICS, "--describe").splitlines()
    assert "PartitionCount: 3\tReplicationFactor: 3" in summary
    assert "retention.ms=86400000" in summary
    assert [line.split("\t")[2] for line in partitions] == [f"Partition: {number}" for number in range(3)]
    for line in partitions:
        fields = dict(field.split(": ") for field in line.strip().split("\t") if ": " in field)
        assert fields["Leader"] in fields["Replicas"].split(",")
        assert sorted(fields["Isr"].split(",")) == sorted(fields["Replicas"].split(","))
    tools.on_topic(TOPICS, "--alter", "--partitions", "5")
    grown = tools.on_topic(OFFSETS)
    assert grown.splitlines() == [f"{tools.topic}:{number}:0" for number in range(5)]
    tools.on_topic(TOPICS, "--delete")
    wait_for(lambda: tools.topic not in tools.run(TOPICS, "--list").splitlines() or None, "end of the topic")


def test_requests_that_cannot_be_are_refused_in_kafkas_words(tools: Tools) -> None:
    with pytest.raises(ProgramFailed, match=f"Topic '{tools.topic}' already exists"):
        tools.on_topic(TOPICS, "--create")
    with pytest.raises(ProgramFailed, match=r"currently has 3 partition\(s\); 2 would not be an increase"):
        tools.on_topic(TOPICS, "--alter", "--partitions", "2")
    with pytest.raises(ProgramFailed, match="InvalidConfigurationException: Unknown topic config name: nonsense"):
        tools.on_topic(CONFIGS, "--alter", "--add-config", "nonsense=1")
    with pytest.raises(ProgramFailed, match=r"InvalidConfigurationException: .*retention\.ms"):
        tools.on_topic(CONFIGS, "--alter", "--add-config", "retention.ms=soon")


def test_configs_of_a_topic_are_set_described_and_unset(tools: Tools) -> None:
    tools.on_topic(CONFIGS, "--alter", "--add-config", "max.message.bytes=2000000,cleanup.policy=[compact,delete]")
    described = tools.on_topic(CONFIGS, "--describe")
    assert "max.message.bytes=2000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG" in described
    assert "DEFAULT_CONFIG:message.max.bytes=1048588}" in described
    assert "cleanup.policy=compact,delete" in described
    tools.on_topic(CONFIGS, "--alter", "--delete-config", "cleanup.policy,retention.ms")
    described = tools.on_topic(CONFIGS, "--describe")
    assert "cleanup.policy" not in described
    assert "retention.ms" not in described
    everything = tools.on_topic(CONFIGS, "--describe", "--all")
    assert "  cleanup.policy=delete sensitive=false" in everything
    assert "  retention.ms=604800000 sensitive=false" in everything


def test_configs_of_a_broker_are_set_described_and_unset(tools: Tools) -> None:
    broker = ("--broker", "1")
    tools.run(CONFIGS, *broker, "--alter", "--add-config", "log.retention.ms=777777777")
    assert "log.retention.ms=777777777 sensitive=false" in tools.run(CONFIGS, *broker, "--describe")
    tools.run(CONFIGS, *broker, "--alter", "--delete-config", "log.retention.ms")
    assert "log.retention.ms" not in tools.run(CONFIGS, *broker, "--describe")


def test_deleted_records_move_the_start_of_the_log(tools: Tools, tmp_path: Path) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": tools.bootstrap})
    for number in range(100):
        producer.produce(tools.topic, str(number), partition=1)
    assert producer.flush(TIMEOUT_S) == 0
    order = tmp_path / "offsets.json"
    order.write_text(json.dumps({"version": 1, "partitions": [{"topic": tools.topic, "partition": 1, "offset": 40}]}))
    done = tools.run(DELETE_RECORDS, "--offset-json-file", str(order))
    assert f"partition: {tools.topic}-1\tlow_watermark: 40" in done
    ends = [f"{tools.topic}:0:0", f"{tools.topic}:1:100", f"{tools.topic}:2:0"]
    assert tools.on_topic(OFFSETS, "--time", "latest").splitlines() == ends
    starts = [f"{tools.topic}:0:0", f"{tools.topic}:1:40", f"{tools.topic}:2:0"]
    assert tools.on_topic(OFFSETS, "--time", "earliest").splitlines() == starts


def test_every_broker_tells_its_versions_and_its_replicas(tools: Tools) -> None:
    versions = tools.run(API_VERSIONS)
    assert versions.count("isFenced: false") == 3
    for line in ("Produce(0): 0 to ", "Fetch(1): 4 to ", "Metadata(3): 0 to ", "ApiVersions(18): 0 to "):
        assert versions.count(line) == 3
    described = tools.run(LOG_DIRS, "--describe", "--topic-list", tools.topic)
    brokers = json.loads(described.splitlines()[-1])["brokers"]
    found = {
        broker["broker"]: sorted(partition["partition"] for partition in broker["logDirs"][0]["partitions"])
        for broker in brokers
    }
    assert found == {number: [f"{tools.topic}-{partition}" for partition in range(3)] for number in (1, 2, 3)}
