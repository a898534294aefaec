"""Configurations are altered step by step or as a whole (KIP-133, KIP-339)."""

import pytest

from cluster.errors import ErrorCode
from cluster.metadata.commands import (
    Command,
    ConfigChange,
    ConfigChanges,
    ConfigOperation,
    ConfigReplacement,
    ConfigValue,
    IncrementalAlterConfigs,
    ReplaceConfigs,
)
from cluster.metadata.records import NO_LEADER, ResourceType
from cluster.metadata.results import AlteredConfigs, ConfigsAltered
from tests.unit.controller.world import World

SET, DELETE, APPEND, SUBTRACT = ConfigOperation


def _world() -> World:
    world = World(min_insync_replicas=2)
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    return world


def _run(world: World, command: Command) -> AlteredConfigs:
    result = world.do(command)
    assert isinstance(result, ConfigsAltered)
    return result.resources[0]


def _steps(name: str, *changes: ConfigChange, kind: ResourceType = ResourceType.TOPIC) -> IncrementalAlterConfigs:
    return IncrementalAlterConfigs(resources=(ConfigChanges(resource_type=kind, resource_name=name, changes=changes),))


def _change(key: str, operation: ConfigOperation, value: str | None = None) -> ConfigChange:
    return ConfigChange(key=key, operation=operation, value=value)


def test_steps_set_and_delete_single_keys() -> None:
    world = _world()
    _run(world, _steps("t", _change("retention.ms", SET, "5"), _change("segment.bytes", SET, "1000000")))
    _run(world, _steps("t", _change("retention.ms", DELETE)))
    assert world.image.topic_config("t") == {"segment.bytes": "1000000"}


def test_append_and_subtract_work_on_lists_and_begin_with_the_default() -> None:
    world = _world()
    _run(world, _steps("t", _change("cleanup.policy", APPEND, "compact")))
    assert world.image.topic_config("t") == {"cleanup.policy": "delete,compact"}
    _run(world, _steps("t", _change("cleanup.policy", APPEND, "compact")))
    assert world.image.topic_config("t") == {"cleanup.policy": "delete,compact"}
    _run(world, _steps("t", _change("cleanup.policy", SUBTRACT, "delete")))
    assert world.image.topic_config("t") == {"cleanup.policy": "compact"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_change("no.such.key", SET, "1"), ErrorCode.INVALID_CONFIG),
        (_change("no.such.key", DELETE), ErrorCode.INVALID_CONFIG),
        (_change("retention.ms", SET, "soon"), ErrorCode.INVALID_CONFIG),
        (_change("retention.ms", SET, "1" * 5000), ErrorCode.INVALID_CONFIG),
        (_change("retention.ms", SET, None), ErrorCode.INVALID_REQUEST),
        (_change("retention.ms", APPEND, "5"), ErrorCode.INVALID_CONFIG),
        (_change("cleanup.policy", SET, "burn"), ErrorCode.INVALID_CONFIG),
    ],
)
def test_a_bad_step_spoils_the_resource_and_changes_nothing(change: ConfigChange, code: ErrorCode) -> None:
    world = _world()
    before = world.image
    result = _run(world, _steps("t", _change("segment.bytes", SET, "1000000"), change))
    assert result.error_code is code
    assert result.error_message
    assert world.image is before


def test_one_resource_does_not_spoil_another() -> None:
    world = _world()
    world.create("u", (1,))
    bad = ConfigChanges(resource_type=ResourceType.TOPIC, resource_name="t", changes=(_change("x", SET, "1"),))
    good = ConfigChanges(
        resource_type=ResourceType.TOPIC, resource_name="u", changes=(_change("retention.ms", SET, "1"),)
    )
    result = world.do(IncrementalAlterConfigs(resources=(bad, good)))
    assert isinstance(result, ConfigsAltered)
    assert [item.error_code for item in result.resources] == [ErrorCode.INVALID_CONFIG, ErrorCode.NONE]
    assert world.image.topic_config("u") == {"retention.ms": "1"}


def test_a_key_or_a_resource_twice_is_refused() -> None:
    world = _world()
    step = _change("retention.ms", SET, "1")
    assert _run(world, _steps("t", step, step)).error_code is ErrorCode.INVALID_REQUEST
    item = _steps("t", step).resources[0]
    assert _run(world, IncrementalAlterConfigs(resources=(item, item))).error_code is ErrorCode.INVALID_REQUEST


def test_a_replacement_removes_what_it_does_not_name() -> None:
    world = _world()
    _run(world, _steps("t", _change("retention.ms", SET, "5"), _change("segment.bytes", SET, "1000000")))
    replacement = ConfigReplacement(
        resource_type=ResourceType.TOPIC,
        resource_name="t",
        configs=(ConfigValue(key="retention.ms", value="6"),),
    )
    _run(world, ReplaceConfigs(resources=(replacement,)))
    assert world.image.topic_config("t") == {"retention.ms": "6"}


def test_brokers_have_dynamic_keys_for_one_and_for_all() -> None:
    world = _world()
    broker = ResourceType.BROKER
    assert _run(world, _steps("", _change("num.partitions", SET, "4"), kind=broker)).error_code is ErrorCode.NONE
    assert _run(world, _steps("1", _change("log.retention.ms", SET, "9"), kind=broker)).error_code is ErrorCode.NONE
    founding = {"min.insync.replicas": "2"}
    assert world.image.broker_config(1) == {"num.partitions": "4", "log.retention.ms": "9", **founding}
    assert world.image.broker_config(2) == {"num.partitions": "4", **founding}


def test_min_insync_is_the_same_on_all_brokers_and_always_there() -> None:
    """Controller and brokers must not differ about when the high watermark stands still (KIP-966)."""
    world = _world()
    broker = ResourceType.BROKER
    key = "min.insync.replicas"
    assert _run(world, _steps("1", _change(key, SET, "1"), kind=broker)).error_code is ErrorCode.INVALID_CONFIG
    assert _run(world, _steps("", _change(key, DELETE), kind=broker)).error_code is ErrorCode.INVALID_CONFIG
    assert _run(world, _steps("", _change(key, SET, "1"), kind=broker)).error_code is ErrorCode.NONE
    assert world.image.broker_config(1) == {key: "1"}


@pytest.mark.parametrize("name", ["9", "x", "-1", "99999999999999999999"])
def test_an_unknown_broker_is_named(name: str) -> None:
    command = _steps(name, _change("num.partitions", SET, "4"), kind=ResourceType.BROKER)
    assert _run(_world(), command).error_code is ErrorCode.BROKER_ID_NOT_REGISTERED


def test_what_is_read_at_start_cannot_be_altered() -> None:
    command = _steps("", _change("log.dirs", SET, "/etc"), kind=ResourceType.BROKER)
    assert _run(_world(), command).error_code is ErrorCode.INVALID_CONFIG


def test_an_unknown_topic_is_named() -> None:
    result = _run(_world(), _steps("no", _change("retention.ms", SET, "1")))
    assert result.error_code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_validation_changes_nothing() -> None:
    world = _world()
    before = world.image
    steps = _steps("t", _change("retention.ms", SET, "1"))
    assert _run(world, IncrementalAlterConfigs(resources=steps.resources, validate_only=True)).error_code is (
        ErrorCode.NONE
    )
    assert world.image is before


def _leaderless() -> World:
    """t has lost 1 and 2, which hold everything; 3 is alive and may lack records."""
    world = _world()
    world.alter("t", (1, 2))
    world.fence(2)
    world.fence(1)
    assert world.partition("t").leader == NO_LEADER
    return world


@pytest.mark.parametrize(("kind", "name"), [(ResourceType.TOPIC, "t"), (ResourceType.BROKER, "")])
def test_allowing_unclean_election_elects_at_once(kind: ResourceType, name: str) -> None:
    world = _leaderless()
    _run(world, _steps(name, _change("unclean.leader.election.enable", SET, "true"), kind=kind))
    assert world.partition("t").leader == 3
    assert "was altered" in world.last_change().cause.event


def test_a_lower_min_insync_empties_the_elr() -> None:
    world = _world()
    world.fence(3)
    world.fence(2)
    assert world.partition("t").elr == (2,)
    _run(world, _steps("t", _change("min.insync.replicas", SET, "1")))
    assert world.partition("t").elr == ()
