"""Claims about `blumfeld consume`."""

import json

import pytest

from cluster.records.record import Headers, NewRecord, build_batch
from tests.unit.cli.conftest import Run
from tests.unit.client_library.fake_cluster import FakeCluster, FakeTopic

FROM_BEGINNING = ("--from", "beginning", "-e")


def filled(fake: FakeCluster) -> FakeTopic:
    """Two partitions with five and one record; the timestamps are 1000 + offset."""
    topic = fake.add_topic("orders", 2)
    for number in range(5):
        put(topic, 0, f"k{number}", f"v{number}")
    put(topic, 1, "other", "w0")
    return topic


def put(topic: FakeTopic, partition: int, key: str, value: str | None, headers: Headers = ()) -> None:
    log = topic.logs[partition]
    encoded = None if value is None else value.encode()
    log.append(build_batch([NewRecord(key.encode(), encoded, 1000 + log.end, headers)]))


def test_all_there_is_is_printed_a_value_a_line(fake: FakeCluster, run: Run) -> None:
    filled(fake)
    result = run("consume", "orders", *FROM_BEGINNING)
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(result.stdout.splitlines()) == ["v0", "v1", "v2", "v3", "v4", "w0"]


def test_an_empty_topic_ends_at_once(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("consume", "orders", "-e")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("3", ["v3", "v4"]),
        ("-2", ["v3", "v4"]),
        ("-100", ["v0", "v1", "v2", "v3", "v4"]),
        ("@1002", ["v2", "v3", "v4"]),
        ("@99999", []),
        ("1970-01-01T00:00:01.004+00:00", ["v4"]),
        ("end", []),
    ],
)
def test_reading_begins_where_it_is_told_to(fake: FakeCluster, run: Run, where: str, expected: list[str]) -> None:
    filled(fake)
    assert run("consume", "orders", "-p", "0", "--from", where, "-e").stdout.splitlines() == expected


def test_a_count_ends_the_reading(fake: FakeCluster, run: Run) -> None:
    filled(fake)
    result = run("consume", "orders", "-p", "0", "--from", "beginning", "-n", "3")
    assert result.stdout.splitlines() == ["v0", "v1", "v2"]


def test_records_are_printed_as_the_format_says(fake: FakeCluster, run: Run) -> None:
    topic = fake.add_topic("orders", 1)
    put(topic, 0, "k", None, (("a", b"1"), ("b", None)))
    template = r"%t/%p@%o %T %k(%K)=%s(%S) %h 100%%\t\\\n"
    assert run("consume", "orders", *FROM_BEGINNING, "-f", template).stdout == (
        "orders/0@0 1000 k(1)=(-1) a=1,b=NULL 100%\t\\\n"
    )


def test_records_are_printed_as_json(fake: FakeCluster, run: Run) -> None:
    topic = fake.add_topic("orders", 1)
    put(topic, 0, "ключ", None, (("a", b"\xff"),))
    assert json.loads(run("consume", "orders", *FROM_BEGINNING, "--json").stdout) == {
        "topic": "orders",
        "partition": 0,
        "offset": 0,
        "timestamp": 1000,
        "key": "ключ",
        "value": None,
        "headers": [{"name": "a", "value_base64": "/w=="}],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["absent"], 3, "UNKNOWN_TOPIC_OR_PARTITION absent: there is no such topic or partition -> see what there is"),
        (["orders", "-p", "7"], 3, "UNKNOWN_TOPIC_OR_PARTITION orders/7: the topic has 2 partitions, numbered from 0"),
        (
            ["orders", "-p", "0", "--from", "99"],
            3,
            "OFFSET_OUT_OF_RANGE orders/0: there is no offset 99: the partition holds offsets 0 to 4 -> choose another",
        ),
    ],
)
def test_what_is_not_there_is_refused_and_never_replaced(
    fake: FakeCluster, run: Run, arguments: list[str], code: int, told: str
) -> None:
    filled(fake)
    fake.auto_create = True
    result = run("consume", *arguments, "-e")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(told)
    assert list(fake.topics) == ["orders"]


@pytest.mark.parametrize("arguments", [["--from", "tomorrow"], ["-f", "%q"], ["--json", "-f", "%s"], ["-n", "0"]])
def test_mistakes_in_the_command_line_exit_with_2(run: Run, arguments: list[str]) -> None:
    assert run("consume", "orders", *arguments).exit_code == 2
