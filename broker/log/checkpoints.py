"""The small text files beside the logs, in Kafka's formats.

Owns parsing and rendering. Never reads a disk, and never trusts: every parser raises ValueError for content that is
not exactly its format, and callers then go on as if the file were absent.
Source: KIP-101 (leader epochs), KIP-516 (partition.metadata), KIP-858 and KIP-966 (meta.properties, clean shutdown).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.ids import TopicPartition, Uuid, format_uuid, parse_uuid

#: No checkpoint that we write comes near this.
CHECKPOINT_SIZE_MAX: Final = 64 * 1024 * 1024

_VERSION: Final = "0"
_META_VERSION: Final = "1"


def render_offsets(offsets: Mapping[TopicPartition, int]) -> bytes:
    """A version, a count, and a line `topic partition offset` each."""
    return _render_lines(
        f"{partition.topic} {partition.partition} {offset}" for partition, offset in sorted(offsets.items())
    )


def parse_offsets(content: bytes) -> dict[TopicPartition, int]:
    """The inverse of `render_offsets`. Raises ValueError."""
    offsets = {}
    for line in _parse_lines(content):
        topic, partition, offset = line.split(" ")
        offsets[TopicPartition(topic, _natural(partition))] = _natural(offset)
    return offsets


def render_epochs(entries: Sequence[tuple[int, int]]) -> bytes:
    """A version, a count, and a line `epoch start-offset` each."""
    return _render_lines(f"{epoch} {start_offset}" for epoch, start_offset in entries)


def parse_epochs(content: bytes) -> list[tuple[int, int]]:
    """The inverse of `render_epochs`; epochs and offsets must both grow. Raises ValueError."""
    entries: list[tuple[int, int]] = []
    for line in _parse_lines(content):
        epoch, start_offset = (_natural(field) for field in line.split(" "))
        if entries and (epoch <= entries[-1][0] or start_offset <= entries[-1][1]):
            raise ValueError(f"epoch {epoch} at {start_offset} does not follow {entries[-1]}")
        entries.append((epoch, start_offset))
    return entries


def _render_lines(lines: Iterable[str]) -> bytes:
    body = list(lines)
    return "\n".join([_VERSION, str(len(body)), *body, ""]).encode("ascii")


def _parse_lines(content: bytes) -> list[str]:
    text = content.decode("ascii")
    if not text.endswith("\n"):
        raise ValueError("the last line is cut off")
    version, count, *body = text[:-1].split("\n")
    if version != _VERSION:
        raise ValueError(f"unknown version {version!r}")
    if len(body) != _natural(count):
        raise ValueError(f"{len(body)} lines where {count} were announced")
    return body


def _natural(text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise ValueError(f"not a number: {text!r}")
    return int(text)


def render_partition_metadata(topic_id: Uuid) -> bytes:
    return f"version: {_VERSION}\ntopic_id: {format_uuid(topic_id)}\n".encode("ascii")


def parse_partition_metadata(content: bytes) -> Uuid:
    """The topic id. Raises ValueError."""
    lines = content.decode("ascii").splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    if fields.get("version") != _VERSION or "topic_id" not in fields:
        raise ValueError("no version and topic id")
    return parse_uuid(fields["topic_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaProperties:
    """Whose folder this is."""

    cluster_id: str
    node_id: int
    directory_id: Uuid


def render_meta_properties(meta: MetaProperties) -> bytes:
    fields = {
        "cluster.id": meta.cluster_id,
        "directory.id": format_uuid(meta.directory_id),
        "node.id": str(meta.node_id),
        "version": _META_VERSION,
    }
    return "".join(f"{key}={value}\n" for key, value in fields.items()).encode("ascii")


def parse_meta_properties(content: bytes) -> MetaProperties:
    """Java's properties without escapes or continuation lines. Raises ValueError."""
    fields = {}
    for line in content.decode("ascii").splitlines():
        if line and not line.startswith(("#", "!")):
            key, separator, value = line.partition("=")
            if not separator:
                raise ValueError(f"not a property: {line!r}")
            fields[key.strip()] = value.strip()
    try:
        if fields["version"] != _META_VERSION:
            raise ValueError(f"unknown version {fields['version']!r}")
        return MetaProperties(
            cluster_id=fields["cluster.id"],
            node_id=_natural(fields["node.id"]),
            directory_id=parse_uuid(fields["directory.id"]),
        )
    except KeyError as error:
        raise ValueError(f"no {error.args[0]}") from error


def render_clean_shutdown(broker_epoch: int) -> bytes:
    return json.dumps({"version": 0, "brokerEpoch": broker_epoch}, separators=(",", ":")).encode("ascii")


def parse_clean_shutdown(content: bytes) -> int:
    """The epoch under which the broker was registered when it stopped. Raises ValueError."""
    fields = json.loads(content)
    if not isinstance(fields, dict) or fields.get("version") != 0 or not isinstance(fields.get("brokerEpoch"), int):
        raise ValueError("no version and broker epoch")
    epoch = fields["brokerEpoch"]
    assert isinstance(epoch, int)
    return epoch
