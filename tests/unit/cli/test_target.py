"""Claims about which cluster a command speaks to, and how it ends when there is none."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.cli.options import DEFAULT_SERVER, ENVIRONMENT, duration_ms
from client.cli.topic import topic
from tests.unit.cli.conftest import Run
from tests.unit.client_library.fake_cluster import FakeCluster


def list_topics(*arguments: str, environment: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(topic, ["list", *arguments], env={ENVIRONMENT: environment})
    return result.exit_code, result.stderr


def test_nobody_there_is_told_at_once_with_a_way_on() -> None:
    code, told = list_topics("-b", "127.0.0.1:1")
    assert (code, told) == (
        1,
        "NETWORK_EXCEPTION 127.0.0.1:1: it cannot be reached: Connection refused -> start a cluster here: blumfeld up; "
        "or name another one: -b HOST:PORT\n",
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "asked"),
    [
        (["-b", "127.0.0.1:1", "-X", "bootstrap.servers=127.0.0.1:2"], "127.0.0.1:3", "127.0.0.1:1"),
        (["-X", "bootstrap.servers=127.0.0.1:2"], "127.0.0.1:3", "127.0.0.1:2"),
        ([], "127.0.0.1:3", "127.0.0.1:3"),
    ],
)
def test_a_flag_counts_more_than_x_and_x_more_than_the_environment(
    arguments: list[str], environment: str, asked: str
) -> None:
    assert list_topics(*arguments, environment=environment)[1].startswith(f"NETWORK_EXCEPTION {asked}: ")


def test_without_a_word_the_cluster_of_this_machine_is_asked() -> None:
    assert DEFAULT_SERVER in CliRunner().invoke(topic, ["list", "--help"]).stdout.replace("\n", "")


def test_brokers_may_be_given_one_by_one_or_in_a_list() -> None:
    _, told = list_topics("-b", "127.0.0.1:1,127.0.0.1:2", "-b", "127.0.0.1:3")
    for port in (1, 2, 3):
        assert f"127.0.0.1:{port}" in told.partition(": ")[0]


def test_a_local_cluster_is_found_by_its_folder(fake: FakeCluster, run: Run, tmp_path: Path) -> None:
    fake.add_topic("orders")
    (tmp_path / "cluster.json").write_text(json.dumps({"bootstrap_servers": fake.bootstrap_servers}))
    assert list_topics("--dir", str(tmp_path), environment="127.0.0.1:1") == (0, "")


def test_a_folder_without_a_cluster_is_not_found(tmp_path: Path) -> None:
    assert list_topics("--dir", str(tmp_path)) == (
        3,
        f"there is no cluster in {tmp_path} -> make one: blumfeld up --dir {tmp_path}\n",
    )
    (tmp_path / "cluster.json").write_text("{}")
    code, told = list_topics("--dir", str(tmp_path))
    assert (code, "cannot be read" in told) == (3, True)


def test_two_clusters_are_one_too_many(tmp_path: Path) -> None:
    assert list_topics("--dir", str(tmp_path), "-b", "127.0.0.1:1")[0] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 500),
        ("2s", 2000),
        ("1.5s", 1500),
        ("10m", 600_000),
        ("1h", 3_600_000),
        ("2d", 172_800_000),
        ("7", 7000),
    ],
)
def test_durations_are_read(text: str, expected: int) -> None:
    assert duration_ms(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1 2"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration_ms(text) is None
