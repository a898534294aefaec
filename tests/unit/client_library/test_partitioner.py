"""Claims about the choice of a partition."""

import random

import pytest
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from client.partitioner import StickyPartition, murmur2, partition_for_key
from tests.unit.client_library.hand_made import HalfRng


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_of_kafka_s_java_client(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_the_hash_agrees_with_another_client_s_on_keys_of_every_length() -> None:
    rng = random.Random(7)
    for length in range(70):
        key = rng.randbytes(length)
        assert murmur2(key) == kafka_python_murmur2(key) & 0xFFFFFFFF


def test_equal_keys_share_a_partition_and_different_ones_spread() -> None:
    keys = [b"key-%d" % number for number in range(300)]
    partitions = [partition_for_key(key, 7) for key in keys]
    assert partitions == [partition_for_key(key, 7) for key in keys]
    assert set(partitions) == set(range(7))


def test_records_without_a_key_stay_until_a_partition_got_its_share_of_bytes() -> None:
    """KIP-794."""
    sticky = StickyPartition(100, HalfRng())
    chosen = [sticky.choose([0, 1, 2], 40) for _ in range(9)]
    assert chosen == [0, 0, 0, 1, 1, 1, 0, 0, 0]


def test_a_partition_that_is_not_available_any_more_is_left() -> None:
    sticky = StickyPartition(1000, HalfRng())
    assert sticky.choose([0, 1], 1) == 0
    assert sticky.choose([1], 1) == 1
    assert sticky.choose([1], 5000) == 1
    assert sticky.choose([1], 1) == 1
