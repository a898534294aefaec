"""The replicas of one broker as the metadata changes."""

from pathlib import Path

from broker.log.log_dir import LogDir, open_log_dir
from broker.log.scan import LogCorrupt
from broker.replication.flusher import Flusher
from broker.replication.follower_streams import FollowerStreams
from broker.replication.group_commit import GroupCommit
from broker.replication.manager import ReplicaManager
from broker.replication.partition import LeaderRole
from broker.topic_configs import TopicConfigs
from cluster.config.properties import BrokerProperties
from cluster.host.disk import HostDisk
from cluster.ids import TopicPartition, Uuid
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import PartitionRecord, RemoveTopicRecord, TopicRecord
from tests.unit.controller.fakes import FakeNet, Hub, LoopClock, Spawner, run

PARTITION = TopicPartition("t", 0)
OLD, NEW = Uuid(b"o" * 16), Uuid(b"n" * 16)


def manager(folder: Path) -> tuple[ReplicaManager, LogDir, list[str]]:
    """Of broker 1, its log directory, and the reasons for which it ended."""
    disk, clock = HostDisk(str(folder)), LoopClock()
    flusher = Flusher(disk)
    logs = open_log_dir(disk, cluster_id="c", node_id=1, new_directory_id=Uuid(b"d" * 16))
    ends: list[str] = []
    replicas = ReplicaManager(
        broker_id=1,
        logs=logs,
        configs=TopicConfigs(BrokerProperties.of({}), 1),
        clock=clock,
        followers=FollowerStreams(
            net=FakeNet(Hub(), "broker-1"),
            clock=clock,
            spawner=Spawner(),
            flusher=flusher,
            broker_id=1,
            broker_epoch=lambda: 101,
            endpoint_of=lambda broker_id: None,
            on_storage_error=lambda error: None,
        ),
        group_commit=GroupCommit(flusher, clock, lambda error: None),
        fail_stop=ends.append,
        on_disk_full=lambda error: None,
    )
    return replicas, logs, ends


def created(topic_id: Uuid, leader_epoch: int) -> tuple[TopicRecord, PartitionRecord]:
    partition = PartitionRecord(
        topic_id=topic_id, partition=0, replicas=(1,), isr=(1,), leader=1, leader_epoch=leader_epoch
    )
    return TopicRecord(topic_id=topic_id, name="t"), partition


def test_the_damaged_log_of_a_deleted_topic_is_not_in_the_way_of_its_successor(tmp_path: Path) -> None:
    async def scene() -> None:
        replicas, logs, ends = manager(tmp_path)
        logs.corrupt[PARTITION] = LogCorrupt("t-0/00000000000000000000.log", 0, 0, "damaged")
        first = MetadataImage().apply(created(OLD, 0), 1, 1)
        replicas.on_image(first)
        assert not list(replicas.partitions())
        second = first.apply((RemoveTopicRecord(topic_id=OLD), *created(NEW, 1)), 2, 1)
        replicas.on_image(second)
        assert isinstance(replicas.partition("t", 0).role, LeaderRole)
        assert ends == []

    run(scene)
