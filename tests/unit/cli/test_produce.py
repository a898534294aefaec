"""Claims about `blumfeld produce`."""

from pathlib import Path

import pytest

from cluster.errors import ErrorCode
from cluster.records.batch import parse_header
from cluster.records.compression import CompressionType
from cluster.records.record import decode_records
from cluster.wire.produce import PRODUCE
from tests.unit.cli.conftest import Run
from tests.unit.client_library.fake_cluster import FakeCluster
from tests.unit.client_library.test_producer import refusal


def test_every_line_is_a_record_and_the_acknowledged_ones_are_counted(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("produce", "orders", given=b"one\ntwo\r\n\nlast")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "4 records to orders: 4 acknowledged by every in-sync replica\n"
    assert fake.topics["orders"].logs[0].records() == [(None, b"one"), (None, b"two"), (None, b""), (None, b"last")]


def test_keys_stand_before_the_separator_and_empty_values_may_be_null(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("users")
    run("produce", "users", "-k", "::", "--tombstones", "-H", "from=cli", given="anna::7::8\nbert::\n")
    log = fake.topics["users"].logs[0]
    assert log.records() == [(b"anna", b"7::8"), (b"bert", None)]
    (record, _) = decode_records(log.batches[0], parse_header(log.batches[0]))
    assert record.headers == (("from", b"cli"),)


def test_a_line_without_the_separator_ends_the_command_after_those_before_it(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("users")
    result = run("produce", "users", "-k", ":", given="a:1\nb\nc:3\n")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "failed: 1 record to users: 1 acknowledged by every in-sync replica",
        "line 2 has no ':' between key and value",
    ]
    assert fake.topics["users"].logs[0].records() == [(b"a", b"1")]


def test_partition_key_acks_and_compression_are_taken_as_given(fake: FakeCluster, run: Run, tmp_path: Path) -> None:
    fake.add_topic("orders", 3)
    (tmp_path / "lines").write_bytes(b"x" * 1000)
    result = run(
        "produce", "orders", "-p", "2", "--key", "k", "--acks", "1", "-z", "zstd", "--file", str(tmp_path / "lines")
    )
    assert result.stderr == "1 record to orders: 1 acknowledged by the leader\n"
    (batch,) = fake.topics["orders"].logs[2].batches
    assert parse_header(batch).compression == CompressionType.ZSTD
    assert fake.asked(PRODUCE)[0].acks == 1
    assert fake.topics["orders"].logs[2].records()[0][0] == b"k"


def test_a_topic_that_is_not_there_is_told_before_anything_is_read(fake: FakeCluster, run: Run) -> None:
    fake.auto_create = True
    result = run("produce", "ordres", given=b"one\n")
    assert (result.exit_code, fake.topics) == (3, {})
    assert result.stderr == (
        "UNKNOWN_TOPIC_OR_PARTITION ordres: there is no such topic or partition -> make it: blumfeld topic create "
        "ordres; or let the cluster make it: --create-topic\n"
    )
    assert run("produce", "ordres", "--create-topic", given=b"one\n").exit_code == 0
    assert fake.topics["ordres"].logs[0].records() == [(None, b"one")]


def test_a_record_that_is_refused_fails_the_command_with_the_reason(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    fake.script(PRODUCE, refusal(ErrorCode.TOPIC_AUTHORIZATION_FAILED))
    result = run("produce", "orders", given=b"one\n")
    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "failed: 1 record to orders: 0 acknowledged by every in-sync replica, 1 not",
        "TOPIC_AUTHORIZATION_FAILED orders/0: this user may not do this with the topic -> ask an administrator for "
        "the permission, or use other credentials",
    ]


def test_nothing_is_said_when_nothing_is_wanted(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    assert run("produce", "orders", "-q", given=b"one\n").stderr == ""


def test_a_line_longer_than_a_record_may_be_is_named(fake: FakeCluster, run: Run) -> None:
    fake.add_topic("orders")
    result = run("produce", "orders", "-X", "max.request.size=100", given=b"short\n" + b"x" * 300)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "line 2: a line has more than 100 bytes; records are limited by max.request.size"
    )


@pytest.mark.parametrize("arguments", [["--key", "a", "-k", ":"], ["-k", ""], ["--acks", "2"], ["-H", "x"]])
def test_mistakes_in_the_command_line_exit_with_2(run: Run, arguments: list[str]) -> None:
    assert run("produce", "orders", *arguments).exit_code == 2
