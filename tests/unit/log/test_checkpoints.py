"""The small text files are Kafka's to the byte, and anything else is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.log import checkpoints, names
from broker.log.checkpoints import MetaProperties
from cluster.ids import TopicPartition, Uuid

UUID = Uuid(bytes(range(16)))


def test_offsets_are_a_version_a_count_and_sorted_lines() -> None:
    offsets = {TopicPartition("b", 0): 7, TopicPartition("a.b-c", 10): 0, TopicPartition("a.b-c", 2): 1 << 40}
    content = checkpoints.render_offsets(offsets)
    assert content == b"0\n3\na.b-c 2 1099511627776\na.b-c 10 0\nb 0 7\n"
    assert checkpoints.parse_offsets(content) == offsets


def test_epochs_are_a_version_a_count_and_lines() -> None:
    content = checkpoints.render_epochs([(0, 0), (3, 17)])
    assert content == b"0\n2\n0 0\n3 17\n"
    assert checkpoints.parse_epochs(content) == [(0, 0), (3, 17)]


def test_partition_metadata_holds_the_topic_id() -> None:
    content = checkpoints.render_partition_metadata(UUID)
    assert content == b"version: 0\ntopic_id: AAECAwQFBgcICQoLDA0ODw\n"
    assert checkpoints.parse_partition_metadata(content) == UUID


def test_meta_properties_are_read_as_kafka_writes_them_too() -> None:
    meta = MetaProperties(cluster_id="MkU3OEVBNTcwNTJENDM2Qg", node_id=3, directory_id=UUID)
    content = checkpoints.render_meta_properties(meta)
    assert checkpoints.parse_meta_properties(content) == meta
    assert checkpoints.parse_meta_properties(b"#\n#Mon Jan 01 00:00:00 UTC 2024\n" + content) == meta


def test_the_clean_shutdown_file_holds_the_broker_epoch() -> None:
    assert checkpoints.render_clean_shutdown(42) == b'{"version":0,"brokerEpoch":42}'
    assert checkpoints.parse_clean_shutdown(b'{"version":0,"brokerEpoch":42}') == 42


PARSERS: list[Callable[[bytes], object]] = [
    checkpoints.parse_offsets,
    checkpoints.parse_epochs,
    checkpoints.parse_partition_metadata,
    checkpoints.parse_meta_properties,
    checkpoints.parse_clean_shutdown,
]


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 40,
        b"\xff\xfe",
        b"1\n0\n",
        b"0\n2\n1 1\n",
        b"0\n1\na b c d\n",
        b"0\n-1\n",
        b"{}",
        b"[]",
        b"0\n1\n1 -5\n",
    ],
)
def test_what_is_not_the_format_is_refused(parser: Callable[[bytes], object], content: bytes) -> None:
    with pytest.raises(ValueError):
        parser(content)


@pytest.mark.parametrize("entries", [[(3, 0), (3, 5)], [(4, 0), (3, 5)], [(1, 5), (2, 5)], [(1, 5), (2, 4)]])
def test_epochs_that_do_not_grow_are_refused(entries: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError):
        checkpoints.parse_epochs(checkpoints.render_epochs(entries))


@given(st.integers(1, 40))
def test_a_checkpoint_that_is_cut_off_is_refused(cut: int) -> None:
    content = checkpoints.render_offsets({TopicPartition("topic", n): 1_000 + n for n in range(3)})
    with pytest.raises(ValueError):
        checkpoints.parse_offsets(content[:-cut])


def test_segment_files_are_named_by_twenty_digits() -> None:
    assert names.segment_file(1234, names.LOG_SUFFIX) == "00000000000000001234.log"
    assert names.parse_segment_file("00000000000000001234.timeindex") == (1234, ".timeindex")
    for other in ("1234.log", "00000000000000001234", "00000000000000001234.log.deleted", "leader-epoch-checkpoint"):
        assert names.parse_segment_file(other) is None


def test_the_partition_is_behind_the_last_dash_of_a_folder() -> None:
    for partition in (TopicPartition("a", 0), TopicPartition("a-1", 2), TopicPartition("__x.y", 120)):
        assert names.parse_partition_folder(names.partition_folder(partition)) == partition
    for other in ("a", "a-", "-1", "a-01", "a-b", "..-1", "a b-1", "a-1.0123-delete", "a-1/b-2"):
        assert names.parse_partition_folder(other) is None


def test_a_deleted_folder_fits_a_file_system_and_is_no_partition() -> None:
    folder = names.deleted_folder(TopicPartition("t" * 249, 11), UUID)
    assert len(folder) == 255
    assert folder.endswith("-11.000102030405060708090a0b0c0d0e0f-delete")
    assert names.is_deleted_folder(folder)
    assert names.parse_partition_folder(folder) is None
