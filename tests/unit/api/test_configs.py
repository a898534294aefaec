"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs."""

from pathlib import Path

import pytest

from broker.api.config_entries import ConfigEntries
from broker.topic_configs import TopicConfigs
from cluster.config.keys import BROKER_KEYS, TOPIC_KEYS
from cluster.config.properties import BrokerProperties
from cluster.errors import ErrorCode
from cluster.metadata.commands import (
    ConfigChange,
    ConfigChanges,
    ConfigOperation,
    ConfigReplacement,
    ConfigValue,
    IncrementalAlterConfigs,
    ReplaceConfigs,
)
from cluster.metadata.records import ResourceType
from cluster.metadata.results import AlteredConfigs, ConfigsAltered
from cluster.wire.configs import (
    AlterableConfig,
    AlterConfigsRequest,
    AlterConfigsResource,
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResult,
    IncrementalAlterableConfig,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource,
)
from tests.unit.api.rig import BROKER_ID, Broker, cluster_image, partition_image
from tests.unit.broker.wire_rig import on_loop

TOPIC, BROKER = ResourceType.TOPIC, ResourceType.BROKER
BROKER_LOGGER = 8


def described(
    broker: Broker,
    kind: int,
    name: str,
    keys: list[str] | None = None,
    *,
    synonyms: bool = False,
    documentation: bool = False,
) -> DescribeConfigsResult:
    resource = DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
    request = DescribeConfigsRequest(
        resources=[resource], include_synonyms=synonyms, include_documentation=documentation
    )
    (result,) = broker.ask(request, 4).results
    assert isinstance(result, DescribeConfigsResult)
    return result


def entry(
    broker: Broker, kind: int, name: str, key: str, *, documentation: bool = False
) -> DescribeConfigsResourceResult:
    (result,) = described(broker, kind, name, [key], synonyms=True, documentation=documentation).configs
    return result


def synonyms(result: DescribeConfigsResourceResult) -> list[tuple[str, str | None, int]]:
    return [(synonym.name, synonym.value, synonym.source) for synonym in result.synonyms]


def broker_with(
    folder: Path,
    topic: dict[str, str] | None = None,
    *,
    own: dict[str, str] | None = None,
    everybody: dict[str, str] | None = None,
    settings: dict[str, str] | None = None,
) -> Broker:
    image = cluster_image(
        {"t": [partition_image()]},
        topic_configs={"t": topic} if topic else {},
        broker_configs={name: values for name, values in (("1", own), ("", everybody)) if values},
    )
    return Broker(folder, image, settings)


# Describing topics.


@pytest.mark.parametrize("keys", [None, []])
def test_no_keys_and_an_empty_list_both_mean_all(tmp_path: Path, keys: list[str] | None) -> None:
    result = described(broker_with(tmp_path), TOPIC, "t", keys)
    assert [config.name for config in result.configs] == sorted(TOPIC_KEYS)


def test_connect_finds_its_topics_compacted(tmp_path: Path) -> None:
    """Kafka Connect refuses to start when its three topics do not say so."""
    broker = broker_with(tmp_path, {"cleanup.policy": "compact"})
    (config,) = described(broker, TOPIC, "t", ["cleanup.policy", "unknown.key"]).configs
    assert (config.value, config.config_source, config.read_only, config.is_sensitive) == ("compact", 1, False, False)


def test_every_layer_shows_in_its_order_under_the_name_it_has_there(tmp_path: Path) -> None:
    """KIP-226."""
    broker = broker_with(
        tmp_path,
        {"max.message.bytes": "1"},
        own={"message.max.bytes": "2"},
        everybody={"message.max.bytes": "3"},
        settings={"message.max.bytes": "4"},
    )
    result = entry(broker, TOPIC, "t", "max.message.bytes")
    assert (result.value, result.config_source) == ("1", 1)
    assert synonyms(result) == [
        ("max.message.bytes", "1", 1),
        ("message.max.bytes", "2", 2),
        ("message.max.bytes", "3", 3),
        ("message.max.bytes", "4", 4),
        ("message.max.bytes", "1048588", 5),
    ]


@pytest.mark.parametrize(
    ("layers", "value", "source"),
    [
        ({"own": {"message.max.bytes": "2"}, "everybody": {"message.max.bytes": "3"}}, "2", 2),
        ({"everybody": {"message.max.bytes": "3"}, "settings": {"message.max.bytes": "4"}}, "3", 3),
        ({"settings": {"message.max.bytes": "4"}}, "4", 4),
        ({}, "1048588", 5),
    ],
)
def test_the_highest_layer_counts(tmp_path: Path, layers: dict[str, dict[str, str]], value: str, source: int) -> None:
    result = entry(broker_with(tmp_path, **layers), TOPIC, "t", "max.message.bytes")
    assert (result.value, result.config_source) == (value, source)


def test_a_time_in_coarser_units_is_told_in_ms_with_its_own_name_beside_it(tmp_path: Path) -> None:
    result = entry(broker_with(tmp_path, settings={"log.retention.hours": "2"}), TOPIC, "t", "retention.ms")
    assert (result.value, result.config_source) == ("7200000", 4)
    assert synonyms(result) == [("log.retention.hours", "2", 4), ("log.retention.hours", "168", 5)]


def test_a_broker_key_shows_its_own_value_alone(tmp_path: Path) -> None:
    result = entry(broker_with(tmp_path, settings={"log.retention.hours": "2"}), BROKER, "1", "log.retention.ms")
    assert (result.value, result.config_source, synonyms(result)) == (None, 5, [])


def test_the_oldest_version_says_whether_a_value_is_the_default(tmp_path: Path) -> None:
    """KIP-133: sources came with version 1; sarama up to 1.40 asks in version 0."""
    resource = DescribeConfigsResource(
        resource_type=TOPIC, resource_name="t", configuration_keys=["retention.ms", "segment.ms"]
    )
    broker = broker_with(tmp_path, {"retention.ms": "5"})
    (result,) = broker.ask(DescribeConfigsRequest(resources=[resource]), 0).results
    assert [(config.name, config.is_default) for config in result.configs] == [
        ("retention.ms", False),
        ("segment.ms", True),
    ]


def test_what_describing_shows_is_what_the_log_gets(tmp_path: Path) -> None:
    properties = BrokerProperties.of({"log.retention.hours": "3", "log.segment.bytes": "5000"})
    image = cluster_image({"t": [partition_image()]}, broker_configs={"": {"log.retention.ms": "77"}})
    configs = TopicConfigs(properties, BROKER_ID)
    entries = ConfigEntries(broker_id=BROKER_ID, properties=properties, topic_configs=configs)
    shown = {each.key.name: each for each in entries.of_topic(image, "t")}
    log_config = configs.log_config(image, "t")
    assert shown["retention.ms"].value == str(log_config.retention_ms) == "77"
    assert shown["segment.bytes"].value == str(log_config.segment_bytes) == "5000"
    assert all(each.synonyms[0].source is each.source for each in shown.values())


def test_types_and_documentation_are_told_to_those_who_ask(tmp_path: Path) -> None:
    """KIP-569."""
    broker = broker_with(tmp_path)
    types = {
        key: entry(broker, TOPIC, "t", key).config_type for key in ("preallocate", "retention.ms", "segment.bytes")
    }
    assert types == {"preallocate": 1, "retention.ms": 5, "segment.bytes": 3}
    assert entry(broker, TOPIC, "t", "retention.ms").documentation is None
    assert entry(broker, TOPIC, "t", "retention.ms", documentation=True).documentation


def test_synonyms_are_told_to_those_who_ask(tmp_path: Path) -> None:
    result = described(broker_with(tmp_path), TOPIC, "t", ["retention.ms"])
    assert result.configs[0].synonyms == ()


@pytest.mark.parametrize(
    ("name", "code"), [("absent", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION), ("a/b", ErrorCode.INVALID_TOPIC_EXCEPTION)]
)
def test_topics_that_do_not_exist_have_no_configuration(tmp_path: Path, name: str, code: ErrorCode) -> None:
    result = described(broker_with(tmp_path), TOPIC, name)
    assert (result.error_code, list(result.configs), result.resource_name) == (code, [], name)


# Describing brokers.


def test_a_broker_tells_its_own_configuration(tmp_path: Path) -> None:
    broker = broker_with(tmp_path, own={"message.max.bytes": "2"}, settings={"num.partitions": "4"})
    result = described(broker, BROKER, "1")
    told = {config.name: (config.value, config.config_source, config.read_only) for config in result.configs}
    assert set(told) == set(BROKER_KEYS)
    assert told["message.max.bytes"] == ("2", 2, False)
    assert told["num.partitions"] == ("4", 4, False)
    assert told["node.id"] == ("1", 5, True)
    assert told["broker.rack"] == (None, 5, True)
    assert told["inter.broker.protocol.version"] == ("3.9", 5, True)


def test_the_default_of_all_brokers_shows_what_is_set_and_nothing_else(tmp_path: Path) -> None:
    result = described(broker_with(tmp_path, everybody={"message.max.bytes": "3"}), BROKER, "")
    assert [(c.name, c.value, c.config_source) for c in result.configs] == [("message.max.bytes", "3", 3)]


@pytest.mark.parametrize(("kind", "name"), [(BROKER, "2"), (BROKER, "x"), (BROKER_LOGGER, "1"), (99, "")])
def test_what_has_no_configuration_here_is_an_invalid_request(tmp_path: Path, kind: int, name: str) -> None:
    result = described(broker_with(tmp_path), kind, name)
    assert result.error_code == ErrorCode.INVALID_REQUEST
    assert result.error_message


# Altering.


@on_loop
async def test_single_keys_are_altered_by_the_controller(tmp_path: Path) -> None:
    """KIP-339."""
    broker = broker_with(tmp_path)
    broker.controller.script = [
        ConfigsAltered(
            resources=(
                AlteredConfigs(resource_type=TOPIC, resource_name="t"),
                AlteredConfigs(
                    resource_type=BROKER,
                    resource_name="",
                    error_code=ErrorCode.INVALID_CONFIG,
                    error_message="no such key",
                ),
            )
        )
    ]
    steps = [("retention.ms", 0, "5"), ("segment.ms", 1, "ignored"), ("cleanup.policy", 2, "compact")]
    request = IncrementalAlterConfigsRequest(
        validate_only=True,
        resources=[
            IncrementalAlterConfigsResource(
                resource_type=TOPIC,
                resource_name="t",
                configs=[IncrementalAlterableConfig(name=n, config_operation=o, value=v) for n, o, v in steps],
            ),
            IncrementalAlterConfigsResource(
                resource_type=BROKER,
                resource_name="",
                configs=[IncrementalAlterableConfig(name="no.key", config_operation=3, value="x")],
            ),
        ],
    )
    response = await broker.await_answer(request, 1)
    assert broker.controller.commands == [
        IncrementalAlterConfigs(
            resources=(
                ConfigChanges(
                    resource_type=TOPIC,
                    resource_name="t",
                    changes=(
                        ConfigChange(key="retention.ms", operation=ConfigOperation.SET, value="5"),
                        ConfigChange(key="segment.ms", operation=ConfigOperation.DELETE),
                        ConfigChange(key="cleanup.policy", operation=ConfigOperation.APPEND, value="compact"),
                    ),
                ),
                ConfigChanges(
                    resource_type=BROKER,
                    resource_name="",
                    changes=(ConfigChange(key="no.key", operation=ConfigOperation.SUBTRACT, value="x"),),
                ),
            ),
            validate_only=True,
        )
    ]
    assert [(r.resource_type, r.resource_name, r.error_code, r.error_message) for r in response.responses] == [
        (TOPIC, "t", 0, None),
        (BROKER, "", ErrorCode.INVALID_CONFIG, "no such key"),
    ]


@on_loop
async def test_resources_and_operations_that_do_not_exist_are_refused_beside_good_ones(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    broker.controller.script = [ConfigsAltered(resources=(AlteredConfigs(resource_type=TOPIC, resource_name="t"),))]
    request = IncrementalAlterConfigsRequest(
        resources=[
            IncrementalAlterConfigsResource(resource_type=BROKER_LOGGER, resource_name="1", configs=[]),
            IncrementalAlterConfigsResource(
                resource_type=TOPIC,
                resource_name="u",
                configs=[IncrementalAlterableConfig(name="retention.ms", config_operation=9, value="5")],
            ),
            IncrementalAlterConfigsResource(resource_type=TOPIC, resource_name="t", configs=[]),
        ]
    )
    response = await broker.await_answer(request, 1)
    codes = [answer.error_code for answer in response.responses]
    assert codes == [ErrorCode.INVALID_REQUEST, ErrorCode.INVALID_REQUEST, ErrorCode.NONE]


@on_loop
async def test_the_whole_configuration_is_replaced(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    broker.controller.script = [ConfigsAltered(resources=(AlteredConfigs(resource_type=TOPIC, resource_name="t"),))]
    resource = AlterConfigsResource(
        resource_type=TOPIC, resource_name="t", configs=[AlterableConfig(name="retention.ms", value="5")]
    )
    response = await broker.await_answer(AlterConfigsRequest(resources=[resource]), 2)
    assert broker.controller.commands == [
        ReplaceConfigs(
            resources=(
                ConfigReplacement(
                    resource_type=TOPIC,
                    resource_name="t",
                    configs=(ConfigValue(key="retention.ms", value="5"),),
                ),
            )
        )
    ]
    assert response.responses[0].error_code == ErrorCode.NONE


@on_loop
async def test_altering_without_a_controller_is_a_timeout(tmp_path: Path) -> None:
    broker = broker_with(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT)
    resource = AlterConfigsResource(resource_type=TOPIC, resource_name="t", configs=[])
    response = await broker.await_answer(AlterConfigsRequest(resources=[resource]), 2)
    assert response.responses[0].error_code == ErrorCode.REQUEST_TIMED_OUT
