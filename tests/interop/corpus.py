"""What every writer writes: records that derive from (writer, acks, codec, number), so that any reader can be checked.

Each topic has the same partitions. Records with acks=all are in one partition and those with acks=1 in another, all
codecs one behind the other. Each codec with acks=0 has a partition of its own: nobody waits for those writes, so the
next producer could overtake them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ACKS = ("all", "1", "0")

PARTITION_COUNT = 2 + len(CODECS)
LARGE_VALUE_BYTES = 100_000

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record to be written, and with which settings of the producer."""

    acks: str
    codec: str
    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One record as a reader saw it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def partition_of(acks: str, codec: str) -> int:
    return {"all": 0, "1": 1}.get(acks, 2 + CODECS.index(codec))


def combinations(codecs: Sequence[str]) -> list[tuple[str, str]]:
    """(acks, codec) in the order in which a writer works them off."""
    return [(acks, codec) for acks in ACKS for codec in codecs]


def corpus(writer: str, acks: str, codec: str, partition: int, now_ms: int) -> list[Record]:
    """All records of one (acks, codec); `now_ms` is the timestamp of the first, the others follow by milliseconds."""
    return [
        Record(
            acks=acks,
            codec=codec,
            partition=partition,
            timestamp_ms=now_ms + number,
            key=key,
            value=value,
            headers=headers,
        )
        for number, (key, value, headers) in enumerate(_contents(f"{writer}/{acks}/{codec}"))
    ]


def _contents(source: str) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    name = source.encode()
    for number in range(6):
        yield b"%s/%d" % (name, number), b"value %d of %s " % (number, name) * 8, ()
    yield name + "/Bälle".encode(), f"zwei Bälle 🏐🏐 aus Zelluloid, 球, мяч: {source}".encode(), ()
    yield name + b"/large", _text(name, LARGE_VALUE_BYTES), ()
    yield name + b"/empty value", b"", ()
    yield None, b"null key of " + name, ()
    yield name + b"/tombstone", None, ()
    yield name + b"/headers", b"with headers", (("source", name), ("hop", b"1"), ("hop", b"2"), ("ключ", "é".encode()))
    yield name + b"/empty header", b"a header of no bytes", (("empty", b""),)
    yield name + b"/null header", b"a header without a value", (("null", None),)
    yield b"", b"empty key of " + name, ()
    yield name + b"/binary", bytes(range(256)) * 4, (("bytes", bytes(range(128, 256))),)


def _text(seed: bytes, size_bytes: int) -> bytes:
    """Text that every codec makes smaller: each line of random digits is there twice."""
    lines = (hashlib.sha256(seed + number.to_bytes(4, "big")).hexdigest().encode() * 2 for number in range(1000))
    return b"".join(lines)[:size_bytes]
