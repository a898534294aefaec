"""Which partition a record goes to when its producer does not say.

A key decides by its murmur2 hash, with the same result as Kafka's Java producer, so that producers in both languages
put equal keys into the same partition. Records without a key stay with one partition until it got a batch's worth of
bytes and then move to another, so that batches are full. Pure: chance is passed in.

Source: the murmur2 hash of Austin Appleby as Kafka uses it (seed 0x9747b28c); KIP-794 (sticky by bytes).
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from cluster.seams import Rng

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_ROTATION: Final = 24
_MASK: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF
_WORD: Final = Struct("<I")


def murmur2(data: bytes) -> int:
    """The 32-bit hash of `data`, 0 <= hash < 2^32."""
    length = len(data)
    tail = length & ~3
    result = _SEED ^ length
    for (word,) in _WORD.iter_unpack(data[:tail]):
        word = word * _MULTIPLIER & _MASK
        word ^= word >> _ROTATION
        result = (result * _MULTIPLIER & _MASK) ^ (word * _MULTIPLIER & _MASK)
    if tail < length:
        result = (result ^ int.from_bytes(data[tail:], "little")) * _MULTIPLIER & _MASK
    result ^= result >> 13
    result = result * _MULTIPLIER & _MASK
    return result ^ result >> 15


def partition_for_key(key: bytes, partition_count: int) -> int:
    """0 <= partition < `partition_count`."""
    return (murmur2(key) & _POSITIVE) % partition_count


class StickyPartition:
    """The choice for records without a key, of one topic."""

    def __init__(self, size_bytes: int, rng: Rng) -> None:
        """A partition is left after `size_bytes` bytes."""
        self._size_bytes = size_bytes
        self._rng = rng
        self._current = -1
        self._got_bytes = 0

    def choose(self, available: Sequence[int], size_bytes: int) -> int:
        """The partition of a record of `size_bytes` bytes; `available`, not empty, are those to choose from."""
        if self._current < 0 or self._got_bytes >= self._size_bytes or self._current not in available:
            others = [partition for partition in available if partition != self._current] or available
            self._current = others[self._rng.randint(0, len(others) - 1)]
            self._got_bytes = 0
        self._got_bytes += size_bytes
        return self._current
