"""Topics as people read them: lines, tables and JSON. Pure: receives what was found out, returns text.

`kafka` is the text of Apache Kafka's own kafka-topics tool, for scripts that read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from client.admin import ConfigEntry, ConfigSource
from client.cli.guarantee import Durability
from client.cli.output import as_json, joined, table
from client.metadata import Broker, PartitionMetadata, TopicMetadata
from cluster.ids import format_uuid

#: The keys that a promise depends on.
DURABILITY_KEYS: Final = ("min.insync.replicas", "flush.messages", "flush.ms")
_NEVER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicView:
    """What was found out about a topic. `starts` and `ends` lack the partitions that did not answer."""

    topic: TopicMetadata
    configs: tuple[ConfigEntry, ...]
    brokers: Mapping[int, Broker]
    starts: Mapping[int, int]
    ends: Mapping[int, int]

    @property
    def replication_factor(self) -> int:
        return max((len(partition.replicas) for partition in self.topic.partitions.values()), default=0)

    @property
    def durability(self) -> Durability:
        values = {entry.name: entry.value for entry in self.configs}
        return Durability(
            replication_factor=self.replication_factor,
            min_insync_replicas=int(values.get("min.insync.replicas") or 1),
            flush_messages=int(values.get("flush.messages") or _NEVER),
            flush_ms=int(values.get("flush.ms") or _NEVER),
        )

    @property
    def own_configs(self) -> dict[str, str]:
        """What the topic itself sets."""
        return {entry.name: entry.value or "" for entry in self.configs if entry.source is ConfigSource.TOPIC}


def headline(view: TopicView, note: str = "") -> str:
    """`orders  id=...  partitions=3 rf=3 min.insync.replicas=2 flush=os`; `note` follows min.insync.replicas."""
    durability = view.durability
    facts = (
        f"partitions={len(view.topic.partitions)} rf={view.replication_factor} "
        f"min.insync.replicas={durability.min_insync_replicas}{note} flush={durability.flush}"
    )
    return f"{view.topic.name}  id={format_uuid(view.topic.topic_id)}  {facts}"


def created(view: TopicView, *, wide: bool, note: str) -> str:
    return "\n".join(
        (f"created {headline(view, note)}", f"guarantee  {view.durability.in_words()}", _replicas(view, wide=wide))
    )


def described(view: TopicView, *, wide: bool) -> str:
    lines = [headline(view), f"guarantee  {view.durability.in_words()}"]
    others = {name: value for name, value in view.own_configs.items() if name not in DURABILITY_KEYS}
    if others:
        lines.append("config  " + " ".join(f"{name}={value}" for name, value in others.items()))
    lines.append(_partitions(view, wide=wide))
    return "\n".join(lines)


def listed(topics: Sequence[TopicMetadata]) -> str:
    return table(("TOPIC", "PARTITIONS", "RF", "STATE"), [_list_row(topic) for topic in topics])


def topic_json(view: TopicView) -> dict[str, Any]:
    """What `described` says, for programs."""
    return {
        "name": view.topic.name,
        "id": format_uuid(view.topic.topic_id),
        "internal": view.topic.is_internal,
        "replication_factor": view.replication_factor,
        "min_insync_replicas": view.durability.min_insync_replicas,
        "flush": view.durability.flush,
        "guarantee": view.durability.in_words(),
        "configs": view.own_configs,
        "partitions": [
            {
                "partition": partition.partition,
                "leader": None if partition.leader_id < 0 else partition.leader_id,
                "leader_epoch": partition.leader_epoch,
                "replicas": list(partition.replicas),
                "isr": list(partition.isr),
                "offline": list(partition.offline_replicas),
                "start_offset": view.starts.get(partition.partition),
                "end_offset": view.ends.get(partition.partition),
                "state": state(partition, view.durability.min_insync_replicas),
            }
            for partition in view.topic.partitions.values()
        ],
    }


def list_json(topics: Sequence[TopicMetadata]) -> str:
    return as_json(
        [
            {
                "name": topic.name,
                "id": format_uuid(topic.topic_id),
                "internal": topic.is_internal,
                "partitions": len(topic.partitions),
                "replication_factor": _replication_factor(topic),
                "under_replicated": _under_replicated(topic),
                "leaderless": _leaderless(topic),
            }
            for topic in topics
        ]
    )


def kafka_described(view: TopicView) -> str:
    """As Apache Kafka's tool prints it, tabs and all; eligible leader replicas are not asked for."""
    name = view.topic.name
    configs = ",".join(
        f"{entry.name}={entry.value}" for entry in view.configs if entry.source not in _BUILT_IN and entry.value
    )
    lines = [
        f"Topic: {name}\tTopicId: {format_uuid(view.topic.topic_id)}\tPartitionCount: {len(view.topic.partitions)}"
        f"\tReplicationFactor: {view.replication_factor}\tConfigs: {configs}"
    ]
    for partition in view.topic.partitions.values():
        leader = "none" if partition.leader_id < 0 else str(partition.leader_id)
        lines.append(
            f"\tTopic: {name}\tPartition: {partition.partition}\tLeader: {leader}"
            f"\tReplicas: {','.join(map(str, partition.replicas))}\tIsr: {','.join(map(str, partition.isr))}"
            "\tElr: N/A\tLastKnownElr: N/A"
        )
    return "\n".join(lines)


def state(partition: PartitionMetadata, min_insync_replicas: int) -> str:
    """How a partition is, in words; `ok` when there is nothing to say."""
    in_sync, copies = len(partition.isr), len(partition.replicas)
    if partition.leader_id < 0:
        return "no leader: it can be neither read nor written"
    if in_sync < min_insync_replicas:
        return f"under min.insync.replicas ({in_sync} of {min_insync_replicas}): acks=all is refused"
    if in_sync < copies:
        behind = [replica for replica in partition.replicas if replica not in partition.isr]
        at_minimum = ", one more loss stops acks=all" if in_sync == min_insync_replicas > 1 else ""
        return f"under-replicated: {joined(behind)} not in sync{at_minimum}"
    return "ok"


_BUILT_IN: Final = (ConfigSource.DEFAULT, ConfigSource.UNKNOWN)


def _node(node_id: int) -> str:
    return "-" if node_id < 0 else f"n{node_id}"


def _replicas(view: TopicView, *, wide: bool) -> str:
    """The table of a topic that was just made."""
    columns = ["P", "LEADER", "REPLICAS", "ISR"]
    racks = {node_id: broker.rack or "-" for node_id, broker in view.brokers.items()}
    has_racks = any(rack != "-" for rack in racks.values())
    if has_racks:
        columns.append("RACKS")
    if wide:
        columns.append("ADDRESS")
    rows = []
    for partition in view.topic.partitions.values():
        row = [
            str(partition.partition),
            _node(partition.leader_id),
            joined(partition.replicas),
            joined(partition.isr),
        ]
        if has_racks:
            row.append(",".join(racks.get(replica, "?") for replica in partition.replicas))
        if wide:
            row.append(_address(view, partition))
        rows.append(row)
    return table(columns, rows)


def _partitions(view: TopicView, *, wide: bool) -> str:
    columns = ["P", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END"]
    if wide:
        columns += ["RECORDS", "OFFLINE", "ADDRESS"]
    columns.append("STATE")
    rows = []
    for partition in view.topic.partitions.values():
        start, end = view.starts.get(partition.partition), view.ends.get(partition.partition)
        row = [
            str(partition.partition),
            _node(partition.leader_id),
            str(partition.leader_epoch),
            joined(partition.replicas),
            joined(partition.isr),
            _offset(start),
            _offset(end),
        ]
        if wide:
            row += [
                "?" if start is None or end is None else f"<={end - start}",
                joined(partition.offline_replicas),
                _address(view, partition),
            ]
        row.append(state(partition, view.durability.min_insync_replicas))
        rows.append(row)
    return table(columns, rows)


def _address(view: TopicView, partition: PartitionMetadata) -> str:
    broker = view.brokers.get(partition.leader_id)
    return "-" if broker is None else str(broker.endpoint)


def _offset(offset: int | None) -> str:
    return "?" if offset is None else str(offset)


def _replication_factor(topic: TopicMetadata) -> int:
    return max((len(partition.replicas) for partition in topic.partitions.values()), default=0)


def _under_replicated(topic: TopicMetadata) -> int:
    return sum(len(partition.isr) < len(partition.replicas) for partition in topic.partitions.values())


def _leaderless(topic: TopicMetadata) -> int:
    return sum(partition.leader_id < 0 for partition in topic.partitions.values())


def _list_row(topic: TopicMetadata) -> tuple[str, str, str, str]:
    problems = [
        f"{number} {what}"
        for number, what in ((_leaderless(topic), "without a leader"), (_under_replicated(topic), "under-replicated"))
        if number
    ]
    words = ", ".join(problems) or "ok"
    return topic.name, str(len(topic.partitions)), str(_replication_factor(topic)), words
