"""The state machine: total, deterministic, and applying each command once."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import ErrorCode
from cluster.ids import Uuid
from cluster.metadata.commands import (
    AllocateProducerIds,
    Bootstrap,
    Command,
    CommandEnvelope,
    CreateTopics,
    FenceBroker,
    NewTopic,
    UpdateFeature,
)
from cluster.metadata.image import MetadataImage
from cluster.metadata.results import AppliedCommand, CommandFailed, Done, ProducerIdBlock, TopicsCreated
from cluster.metadata.serde import codec
from controller.clients import CLIENTS_MAX, ClientTable
from controller.decision import Context
from controller.machine import ControllerMachine, decide
from controller.producer_ids import PRODUCER_ID_MAX
from tests.unit.controller.world import Recorder, World, registration
from tests.unit.metadata.values import values

CLIENT = Uuid(b"c" * 16)


def _envelope(world: World, command: Command, sequence: int, settled_below: int = 0) -> CommandEnvelope:
    return CommandEnvelope(
        stamp=world.stamp(), command=command, client=CLIENT, sequence=sequence, settled_below=settled_below
    )


def _topic(name: str) -> CreateTopics:
    return CreateTopics(topics=(NewTopic(name=name, replication_factor=1),))


def test_nothing_is_decided_before_the_cluster_is_founded() -> None:
    machine = ControllerMachine(Recorder())
    answer = machine.apply(
        1, 1, codec(CommandEnvelope).encode(CommandEnvelope(stamp=World().stamp(), command=registration(1)))
    )
    result = codec(AppliedCommand).decode(answer).result
    assert isinstance(result, CommandFailed)
    assert result.error_code is ErrorCode.NOT_CONTROLLER


def test_a_repeated_command_is_applied_once_and_answered_alike() -> None:
    world = World()
    world.start(1)
    envelope = _envelope(world, _topic("t"), 7)
    first = world.apply(envelope)
    before = world.image
    assert world.apply(envelope) == first
    assert world.image is before
    assert isinstance(first.result, TopicsCreated)
    assert first.result.topics[0].error_code is ErrorCode.NONE


def test_a_repeated_command_is_recognised_after_a_restart() -> None:
    world = World()
    world.start(1)
    envelope = _envelope(world, _topic("t"), 7)
    first = world.apply(envelope)
    world.machine.restore(world.machine.snapshot())
    assert world.apply(envelope) == first


def test_a_settled_command_that_arrives_late_is_not_applied() -> None:
    world = World()
    world.start(1)
    world.apply(_envelope(world, _topic("a"), 2, settled_below=2))
    result = world.apply(_envelope(world, _topic("late"), 1)).result
    assert isinstance(result, CommandFailed)
    assert result.error_code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER
    assert "late" not in world.image.topic_ids


def test_commands_of_one_client_may_overtake_each_other() -> None:
    world = World()
    world.start(1)
    world.apply(_envelope(world, _topic("b"), 2))
    world.apply(_envelope(world, _topic("a"), 1))
    assert set(world.image.topic_ids) == {"a", "b"}


def test_an_answer_names_the_offset_at_which_it_can_be_seen() -> None:
    world = World()
    world.start(1)
    applied = world.apply(_envelope(world, _topic("t"), 1))
    assert applied.offset == world.index == world.image.offset
    refused = world.apply(_envelope(world, _topic("t"), 2))
    assert refused.offset == applied.offset


def test_the_table_of_clients_forgets_the_one_heard_least_lately() -> None:
    table = ClientTable()
    first, second = Uuid((0).to_bytes(16, "big")), Uuid((1).to_bytes(16, "big"))
    for number in range(CLIENTS_MAX):
        client = Uuid(number.to_bytes(16, "big"))
        table.hear(client, 1, 0)
        table.remember(client, 1, b"r")
    table.hear(first, 2, 0)
    table.hear(Uuid(b"x" * 16), 1, 0)
    assert table.find(first, 1) == b"r"
    assert table.find(second, 1) is None
    assert len(table.snapshot()) == CLIENTS_MAX


def test_the_results_kept_for_one_client_are_bounded() -> None:
    table = ClientTable()
    for sequence in range(1000):
        table.hear(CLIENT, sequence, 0)
        table.remember(CLIENT, sequence, b"r")
    (client,) = table.snapshot()
    assert len(client.results) == 64
    assert table.is_settled(CLIENT, 900)


def test_two_machines_make_the_same_snapshot_of_the_same_commands() -> None:
    worlds = [World(), World()]
    for world in worlds:
        world.start(3, 1, 2, racks={1: "a", 2: "b"})
        world.create("u", (1, 2))
        world.apply(_envelope(world, _topic("t"), 1))
        world.fence(1)
    assert worlds[0].machine.snapshot() == worlds[1].machine.snapshot()
    restored = ControllerMachine(Recorder())
    restored.restore(worlds[0].machine.snapshot())
    assert restored.snapshot() == worlds[0].machine.snapshot()
    assert restored.image == worlds[0].image


def test_a_bad_snapshot_leaves_the_state_untouched() -> None:
    world = World()
    world.start(1)
    good = world.machine.snapshot()
    for bad in (b"\xff", good[:-3], b""):
        try:
            world.machine.restore(bad)
        except ValueError:
            assert world.machine.snapshot() == good
        else:
            raise AssertionError("a bad snapshot was taken")


@given(st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_unreadable_commands_are_answered_and_change_nothing(data: bytes) -> None:
    world = World()
    before = world.image
    answer = codec(AppliedCommand).decode(world.machine.apply(9, 1, data))
    assert isinstance(answer.result, CommandFailed)
    assert world.image is before


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_readable_command_is_answered(data: st.DataObject) -> None:
    """Garbage of the right types never raises, and what it changes keeps every invariant."""
    world = World()
    world.start(0, 1)
    world.create("t", (0, 1))
    envelope = data.draw(values(CommandEnvelope))
    world.apply(envelope)
    assert decide(Context(image=world.image, stamp=envelope.stamp, index=99), envelope.command).result is not None


def test_a_programming_error_is_a_refusal_and_changes_nothing() -> None:
    """An image that holds what no command can have made stands for any state that was not foreseen."""
    world = World()
    world.start(1)
    topic = world.create("t", (1,))
    broken = MetadataImage(
        cluster_id="c", brokers=world.image.brokers, topics={}, topic_ids={"t": topic.topic_id}, offset=5
    )
    decision = decide(Context(image=broken, stamp=world.stamp(), index=9), _topic("u"))
    assert isinstance(decision.result, TopicsCreated)
    fence = FenceBroker(broker_id=1, broker_epoch=world.epoch(1), reason="r")
    decision = decide(Context(image=broken, stamp=world.stamp(), index=9), fence)
    assert isinstance(decision.result, CommandFailed)
    assert decision.result.error_code is ErrorCode.UNKNOWN_SERVER_ERROR
    assert decision.records == ()


def test_producer_ids_come_in_blocks_that_never_overlap() -> None:
    world = World()
    world.start(1, 2)
    blocks = [world.do(AllocateProducerIds(broker_id=n, broker_epoch=world.epoch(n))) for n in (1, 2, 1)]
    assert blocks == [ProducerIdBlock(first_producer_id=first, count=1000) for first in (0, 1000, 2000)]


def test_producer_ids_end() -> None:
    world = World()
    world.start(1)
    image = MetadataImage(cluster_id="c", brokers=world.image.brokers, next_producer_id=PRODUCER_ID_MAX - 10)
    command = AllocateProducerIds(broker_id=1, broker_epoch=world.epoch(1))
    decision = decide(Context(image=image, stamp=world.stamp(), index=1), command)
    assert isinstance(decision.result, CommandFailed)


def test_a_feature_level_is_raised_only_to_what_exists_and_never_lowered() -> None:
    world = World()
    world.start(1)
    assert world.run(UpdateFeature(name="blumfeld.version", level=1)) == Done()
    for name, level in (("blumfeld.version", 2), ("blumfeld.version", 0), ("metadata.version", 1)):
        assert isinstance(world.run(UpdateFeature(name=name, level=level)), CommandFailed)
    assert world.image.features == {"blumfeld.version": 1}


def test_a_founding_command_needs_an_id_and_a_level_that_exists() -> None:
    machine_world = World()
    empty = Context(image=MetadataImage(), stamp=machine_world.stamp(), index=1)
    assert isinstance(decide(empty, Bootstrap(cluster_id="")).result, CommandFailed)
    assert isinstance(decide(empty, Bootstrap(cluster_id="c", feature_level=9)).result, CommandFailed)
    assert decide(empty, Bootstrap(cluster_id="c")).result == Done()
