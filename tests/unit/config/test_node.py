"""A server.properties that cannot be meant is refused before anything starts, in words that name key and value."""

import pytest

from cluster.config.node import NodeConfig, node_config
from cluster.config.properties import BrokerProperties
from cluster.config.values import ConfigError
from cluster.ids import Endpoint

LISTENERS = "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"


def config(**values: str) -> NodeConfig:
    keys = {"node.id": "1", "listeners": LISTENERS}
    return node_config(BrokerProperties.of(keys | {key.replace("_", "."): value for key, value in values.items()}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"node_id": "one"}, ("node.id='one'", "whole number")),
        ({"node_id": "-1"}, ("node.id='-1'", "at least 0")),
        ({"num_partitions": "0"}, ("num.partitions='0'", "at least 1")),
        ({"process_roles": ""}, ("process.roles is empty",)),
        ({"process_roles": "brokr"}, ("process.roles='brokr'", "controller, broker")),
        ({"listeners": "127.0.0.1:9092"}, ("listeners: '127.0.0.1:9092'", "NAME://host:port")),
        ({"listeners": "PLAINTEXT://127.0.0.1:99999"}, ("listeners: '127.0.0.1:99999'", "host:port")),
        ({"listeners": "A://:9092,a://:9094"}, ("listeners: a is there twice",)),
        (
            {"listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9092"},
            ("PLAINTEXT and CONTROLLER both want 127.0.0.1:9092",),
        ),
        ({"listeners": "PLAINTEXT://127.0.0.1:9092"}, ("no listener is named in controller.listener.names",)),
        ({"listeners": "CONTROLLER://127.0.0.1:9093"}, ("no listener for clients",)),
        ({"listeners": LISTENERS.replace("PLAINTEXT", "SSL")}, ("listener SSL asks for SSL", "PLAINTEXT")),
        ({"advertised_listeners": "PLAINTEX://example:1"}, ("advertised.listeners: PLAINTEX is not one of",)),
        ({"advertised_listeners": "PLAINTEXT://0.0.0.0:1"}, ("'0.0.0.0' is no address",)),
        ({"inter_broker_listener_name": "INSIDE"}, ("inter.broker.listener.name=INSIDE",)),
        ({"controller_quorum_voters": "1:127.0.0.1:9093"}, ("'1:127.0.0.1:9093' is not id@host:port",)),
        ({"controller_quorum_voters": "2@127.0.0.1:9093"}, ("controller 1", "does not name")),
        ({"controller_quorum_voters": "1@127.0.0.1:9099"}, ("127.0.0.1:9099", "its listener is 127.0.0.1:9093")),
        ({"controller_quorum_voters": "1@127.0.0.1:9093,1@b:1"}, ("1 is there twice",)),
        (
            {"process_roles": "broker", "listeners": "PLAINTEXT://127.0.0.1:9092"},
            ("controller.quorum.voters is unset", "id@host:port"),
        ),
        ({"log_dirs": "/a,/b"}, ("log.dirs names 2 folders",)),
        ({"blumfeld_cluster_id": "short"}, ("blumfeld.cluster.id", "'short'")),
    ],
)
def test_refused(values: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**values)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_key_is_a_warning_with_the_key_that_was_meant() -> None:
    (warning,) = BrokerProperties.of({"num.partition": "3"}).warnings
    assert "num.partition is not a key" in warning
    assert "did you mean num.partitions?" in warning


def test_listeners_on_any_free_port_are_not_the_same() -> None:
    found = config(listeners="PLAINTEXT://127.0.0.1:0,OTHER://127.0.0.1:0,CONTROLLER://127.0.0.1:0")
    assert [listener.bind.port for listener in found.listeners] == [0, 0]


def test_a_voter_may_be_known_by_another_address_than_it_binds() -> None:
    found = config(
        listeners="PLAINTEXT://:9092,CONTROLLER://0.0.0.0:9093", controller_quorum_voters="1@outside.example:19093"
    )
    assert found.voters == {1: Endpoint("outside.example", 19093)}
    assert found.controller_bind == Endpoint("0.0.0.0", 9093)
