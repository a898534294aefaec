"""The tables of the consumer protocol: what members of classic groups put into bytes fields of JoinGroup and SyncGroup.

Each is preceded by its version (`codec.encode_versioned`), and is read with `newer=True`: a member may speak a version
that the reader has never heard of. The broker passes these bytes on and looks into them only to find subscriptions.

Source: KIP-429 (owned partitions), KIP-792 (generations), KIP-881 (racks).
"""

from __future__ import annotations

from cluster.wire.schema import Array, Data, Struct, field, int32


class ConsumerProtocolSubscription(Data, versions="0-3"):
    topics: Array[str] = field("0+")
    user_data: bytes | None = field("0+", nullable="0+")
    owned_partitions: Array[ConsumerProtocolTopic] = field("1+")
    generation_id: int32 = field("2+", default=-1)
    rack_id: str | None = field("3+", nullable="3+")


class ConsumerProtocolAssignment(Data, versions="0-3"):
    assigned_partitions: Array[ConsumerProtocolTopic] = field("0+")
    user_data: bytes | None = field("0+", nullable="0+")


class ConsumerProtocolTopic(Struct):
    topic: str = field("0+")
    partitions: Array[int32] = field("0+")
