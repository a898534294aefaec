"""What a broker has to do to get from one image to the next."""

from cluster.metadata.commands import (
    ConfigChange,
    ConfigChanges,
    ConfigOperation,
    CreatePartitions,
    DeleteTopics,
    IncrementalAlterConfigs,
    NewPartitions,
    TopicReference,
)
from cluster.metadata.delta import MetadataDelta, PartitionDelta, delta_of
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import NO_LEADER, PartitionChangeRecord, ResourceType
from tests.unit.controller.world import World


def _world() -> World:
    world = World(min_insync_replicas=2)
    world.start(1, 2, 3)
    world.create("t", (1, 2), (2, 3))
    return world


def _numbers(changes: tuple[PartitionDelta, ...]) -> list[tuple[str, int]]:
    return [(change.topic, change.partition) for change in changes]


def test_equal_images_differ_in_nothing() -> None:
    image = _world().image
    assert delta_of(1, image, image) == MetadataDelta()


def test_a_broker_that_starts_takes_every_partition_it_holds() -> None:
    image = _world().image
    delta = delta_of(2, MetadataImage(), image)
    assert _numbers(delta.to_lead) == [("t", 1)]
    assert _numbers(delta.to_follow) == [("t", 0)]
    assert delta.brokers == (1, 2, 3)
    assert all(change.old is None for change in (*delta.to_lead, *delta.to_follow))


def test_an_election_makes_leaders_and_followers() -> None:
    world = _world()
    before = world.image
    world.fence(1)
    delta = delta_of(2, before, world.image)
    assert _numbers(delta.to_lead) == [("t", 0)]
    assert delta.to_lead[0].old is before.partition(delta.to_lead[0].topic_id, 0)
    assert delta.brokers == (1,)
    delta = delta_of(1, before, world.image)
    assert _numbers(delta.to_follow) == [("t", 0)]
    assert delta_of(3, before, world.image) == MetadataDelta(brokers=(1,))


def test_a_partition_without_leader_is_followed() -> None:
    world = _world()
    world.fence(1)
    before = world.image
    world.fence(2)
    (change, *_) = delta_of(2, before, world.image).to_follow
    assert change.new.leader == NO_LEADER


def test_an_isr_change_keeps_the_role() -> None:
    world = _world()
    before = world.image
    world.alter("t", (1,))
    for broker_id in (1, 2):
        delta = delta_of(broker_id, before, world.image)
        assert _numbers(delta.updated) == [("t", 0)]
        assert (delta.to_lead, delta.to_follow) == ((), ())


def test_a_leader_elected_again_leads_anew() -> None:
    world = _world()
    before = world.image
    world.fence(1)
    world.unfence(1)
    world.alter("t", (1, 2))
    world.fence(2)
    delta = delta_of(1, before, world.image)
    assert _numbers(delta.to_lead) == [("t", 0)]


def test_new_partitions_and_only_those_are_taken() -> None:
    world = _world()
    before = world.image
    world.do(CreatePartitions(topics=(NewPartitions(name="t", count=3, assignments=((3, 1),)),)))
    delta = delta_of(1, before, world.image)
    assert _numbers(delta.to_follow) == [("t", 2)]
    assert _numbers(delta_of(3, before, world.image).to_lead) == [("t", 2)]


def test_a_deleted_topic_is_deleted_where_it_was_held() -> None:
    world = _world()
    before = world.image
    world.do(DeleteTopics(topics=(TopicReference(name="t"),)))
    assert [(removed.topic, removed.partition) for removed in delta_of(1, before, world.image).to_delete] == [("t", 0)]
    world.create("t", (1, 3))
    delta = delta_of(1, before, world.image)
    assert [removed.topic_id for removed in delta.to_delete] == [before.topic_ids["t"]]
    assert [change.topic_id for change in delta.to_lead] == [world.image.topic_ids["t"]]


def test_a_replica_that_was_assigned_elsewhere_stops() -> None:
    world = _world()
    before = world.image
    record = PartitionChangeRecord(topic_id=before.topic_ids["t"], partition=0, replicas=(2, 3), isr=(2,), leader=2)
    after = before.apply([record], 99, 1)
    (removed,) = delta_of(1, before, after).to_stop
    assert removed.topic_id_partition == (before.topic_ids["t"], 0)
    assert _numbers(delta_of(2, before, after).to_lead) == [("t", 0)]
    assert _numbers(delta_of(3, before, after).to_follow) == [("t", 0)]


def _configured(world: World, kind: ResourceType, name: str, key: str) -> MetadataDelta:
    before = world.image
    change = ConfigChange(key=key, operation=ConfigOperation.SET, value="7")
    world.do(
        IncrementalAlterConfigs(resources=(ConfigChanges(resource_type=kind, resource_name=name, changes=(change,)),))
    )
    return delta_of(1, before, world.image)


def test_configurations_that_changed_are_named() -> None:
    world = _world()
    world.create("u", (1,))
    assert _configured(world, ResourceType.TOPIC, "t", "retention.ms") == MetadataDelta(topic_configs=("t",))
    assert _configured(world, ResourceType.BROKER, "", "log.retention.ms") == MetadataDelta(broker_config=True)
    assert _configured(world, ResourceType.BROKER, "1", "log.retention.ms") == MetadataDelta(broker_config=True)
    assert _configured(world, ResourceType.BROKER, "2", "log.retention.ms") == MetadataDelta()
