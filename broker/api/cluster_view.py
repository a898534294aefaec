"""The cluster as a client sees it that came in on a listener of a certain name.

Pure functions over a metadata image: every address that a client is told comes from here, so that Metadata,
DescribeCluster, coordinators and leader hints agree. A broker without a listener of that name cannot be reached by the
client and is left out. Source: KIP-103 (listeners), KIP-951 (leader hints).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cluster.ids import Uuid
from cluster.metadata.image import BrokerImage, MetadataImage, PartitionImage
from cluster.metadata.records import NO_LEADER


class Images(Protocol):
    """Where the newest metadata that this broker acts upon is found."""

    @property
    def image(self) -> MetadataImage: ...


class Address(NamedTuple):
    """A broker, by an address that the client can use."""

    node_id: int
    host: str
    port: int
    rack: str | None


class LeaderHint(NamedTuple):
    """Who leads a partition now, for a client that asked somebody else."""

    leader_id: int
    leader_epoch: int
    address: Address


def address_of(image: MetadataImage, broker_id: int, listener: str) -> Address | None:
    """None for a broker that is unknown, fenced, or has no such listener."""
    broker = image.brokers.get(broker_id)
    return None if broker is None or broker.fenced else _address(broker, listener)


def live_brokers(image: MetadataImage, listener: str) -> list[Address]:
    """Every broker that clients of `listener` can reach, by id."""
    addresses = (address_of(image, broker_id, listener) for broker_id in sorted(image.brokers))
    return [address for address in addresses if address is not None]


def controller_id(brokers: Sequence[Address], own_id: int) -> int:
    """The broker to send administration to: any one forwards it, so this one if it can be reached; -1 for none."""
    if any(broker.node_id == own_id for broker in brokers):
        return own_id
    return brokers[0].node_id if brokers else -1


def is_offline(image: MetadataImage, replica: int, listener: str) -> bool:
    """Whether clients of `listener` must take a replica for gone."""
    return address_of(image, replica, listener) is None


def leader_hint(
    image: MetadataImage, topic_id: Uuid | None, partition: int, listener: str, own_id: int
) -> LeaderHint | None:
    """Who leads instead of this broker; None when nobody certain does, because a wrong hint is worse than none."""
    found: PartitionImage | None = None if topic_id is None else image.partition(topic_id, partition)
    if found is None or found.leader in (NO_LEADER, own_id):
        return None
    address = address_of(image, found.leader, listener)
    return None if address is None else LeaderHint(found.leader, found.leader_epoch, address)


def _address(broker: BrokerImage, listener: str) -> Address | None:
    found = broker.listener(listener)
    return None if found is None else Address(broker.broker_id, found.host, found.port, broker.rack)
