"""What people do with kcat on a command line."""

import json
import uuid

import pytest

from tests.e2e.harness import wait_for
from tests.interop.clients import CLIENTS
from tests.interop.programs import ProgramFailed, run_program
from tests.interop.runs import Target, need


@pytest.fixture
def bootstrap(target: Target) -> str:
    need(CLIENTS["kcat"].missing())
    return target.bootstrap


def kcat(bootstrap: str, *arguments: str, stdin: bytes = b"") -> str:
    return run_program(["kcat", "-b", bootstrap, *arguments], stdin).decode()


def test_metadata_names_brokers_controller_and_partitions(bootstrap: str) -> None:
    topic = f"kcat-{uuid.uuid4()}"
    kcat(bootstrap, "-P", "-t", topic, stdin=b"makes the topic\n")
    metadata = json.loads(kcat(bootstrap, "-L", "-J", "-t", topic))
    brokers = [broker["id"] for broker in metadata["brokers"]]
    assert brokers == [1, 2, 3]
    assert metadata["controllerid"] in brokers
    assert [found["topic"] for found in metadata["topics"]] == [topic]
    partitions = metadata["topics"][0]["partitions"]
    assert [partition["partition"] for partition in partitions] == list(range(4))
    for partition in partitions:
        assert sorted(replica["id"] for replica in partition["replicas"]) == brokers
        assert partition["leader"] in brokers
    assert "(controller)" in kcat(bootstrap, "-L")


def test_lines_come_back_in_order(bootstrap: str) -> None:
    topic = f"kcat-{uuid.uuid4()}"
    lines = "".join(f"line {number}\n" for number in range(1000))
    kcat(bootstrap, "-P", "-t", topic, "-p", "2", "-z", "snappy", stdin=lines.encode())
    assert kcat(bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "2") == lines
    assert kcat(bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "2", "-o", "998") == "line 998\nline 999\n"
    assert kcat(bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "2", "-o", "-1") == "line 999\n"
    assert kcat(bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "2", "-c", "1") == "line 0\n"


def test_offsets_are_found_by_time(bootstrap: str) -> None:
    topic = f"kcat-{uuid.uuid4()}"
    kcat(bootstrap, "-P", "-t", topic, "-p", "0", stdin=b"a\nb\nc\n")
    later = "9999999999999"
    for time, offset in (("-2", 0), ("-1", 3), ("0", 0), (later, -1)):
        assert kcat(bootstrap, "-Q", "-t", f"{topic}:0:{time}") == f"{topic} [0] offset {offset}\n"


def test_a_topic_that_is_not_there_stays_unknown_to_readers(bootstrap: str) -> None:
    topic = f"kcat-{uuid.uuid4()}"
    with pytest.raises(ProgramFailed, match="Unknown topic or partition"):
        kcat(bootstrap, "-C", "-q", "-e", "-t", topic, "-p", "0")
    assert wait_for(lambda: topic not in kcat(bootstrap, "-L") or None, "a list without the topic")
