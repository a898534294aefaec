"""Puts the handlers of a broker together. Owns nothing; a new family of APIs is one more handler here."""

from collections.abc import Callable, Iterable
from typing import Protocol

from broker.api import delete_records, fetch, log_dirs, offsets, produce
from broker.api.api_versions import ApiVersionsApi
from broker.api.auto_create import TopicCreator
from broker.api.cluster import ClusterApi, ElectionsApi
from broker.api.commands import Controller
from broker.api.config_entries import ConfigEntries
from broker.api.configs import ConfigsApi
from broker.api.delete_records import DeleteRecordsApi
from broker.api.fetch import FetchApi
from broker.api.log_dirs import LogDirsApi
from broker.api.metadata import MetadataApi
from broker.api.offsets import OffsetsApi
from broker.api.produce import ProduceApi
from broker.api.producer_ids import ProducerIds, ProducerIdsApi
from broker.api.registry import ApiTable
from broker.api.topics import TopicsApi
from broker.topic_configs import TopicConfigs
from cluster.config.properties import BrokerProperties
from cluster.seams import Clock, Spawner


class Replicas(
    produce.Replicas, fetch.Replicas, offsets.Replicas, delete_records.Replicas, log_dirs.Replicas, Protocol
):
    """Everything that requests ask of the replicas of this broker."""


def build_apis(
    *,
    broker_id: int,
    replicas: Replicas,
    controller: Controller,
    properties: BrokerProperties,
    topic_configs: TopicConfigs,
    log_dir: str,
    disk: log_dirs.DiskSpace,
    clock: Clock,
    spawner: Spawner,
    unsent_bytes: Callable[[], int],
    more: Iterable[object] = (),
) -> ApiTable:
    """The table of all that this broker serves.

    `unsent_bytes` tells how many bytes of responses slow clients leave lying. `more` are handlers that are made
    elsewhere: coordinators.
    """
    creator = None
    if properties.boolean("auto.create.topics.enable"):
        creator = TopicCreator(controller=controller, spawner=spawner)
    entries = ConfigEntries(broker_id=broker_id, properties=properties, topic_configs=topic_configs)
    producer_ids = ProducerIds(broker_id=broker_id, controller=controller, spawner=spawner)
    handlers = [
        ProduceApi(broker_id=broker_id, replicas=replicas, images=controller, clock=clock),
        FetchApi(
            broker_id=broker_id,
            replicas=replicas,
            images=controller,
            clock=clock,
            max_bytes=properties.integer("fetch.max.bytes"),
            unsent_bytes=unsent_bytes,
        ),
        OffsetsApi(replicas=replicas),
        MetadataApi(broker_id=broker_id, images=controller, creator=creator),
        TopicsApi(controller=controller, configs=entries, deletion_enabled=properties.boolean("delete.topic.enable")),
        DeleteRecordsApi(replicas=replicas),
        ProducerIdsApi(producer_ids=producer_ids),
        ConfigsApi(broker_id=broker_id, controller=controller, entries=entries),
        LogDirsApi(log_dir=log_dir, replicas=replicas, disk=disk),
        ClusterApi(broker_id=broker_id, images=controller),
        ElectionsApi(controller=controller),
        *more,
    ]
    return ApiTable([*handlers, ApiVersionsApi(ApiTable(handlers).advertised)])
