"""Claims about the configuration of clients."""

from dataclasses import fields

import pytest

from client import VERSION
from client.config import (
    CLIENT_KEYS,
    CONSUMER_KEYS,
    PRODUCER_KEYS,
    ClientConfig,
    ConsumerConfig,
    ProducerConfig,
    client_config,
    consumer_config,
    parse_endpoint,
    producer_config,
)
from cluster.config.values import ConfigError
from cluster.ids import Endpoint
from tests.test_tidy import ROOT

SERVER = {"bootstrap.servers": "localhost:9092"}


def test_the_tables_and_the_settings_have_the_same_names() -> None:
    for keys, settings in (
        (CLIENT_KEYS, ClientConfig),
        (PRODUCER_KEYS, ProducerConfig),
        (CONSUMER_KEYS, ConsumerConfig),
    ):
        assert {name.replace(".", "_") for name in keys} == {field.name for field in fields(settings)}


def test_the_library_introduces_itself_with_the_version_of_its_distribution() -> None:
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_the_defaults_are_kafka_s() -> None:
    producer = producer_config(SERVER)
    assert (producer.acks, producer.enable_idempotence, producer.linger_ms, producer.batch_size) == (-1, True, 5, 16384)
    assert (producer.buffer_memory, producer.delivery_timeout_ms) == (33554432, 120000)
    consumer = consumer_config(SERVER)
    assert (consumer.auto_offset_reset, consumer.isolation_level) == ("latest", "read_uncommitted")
    assert (consumer.max_poll_records, consumer.fetch_max_wait_ms) == (500, 500)


def test_keys_are_taken_with_dots_or_underscores() -> None:
    assert client_config({"bootstrap_servers": ["a:1", "b:2"], "client.id": "me"}) == client_config(
        {"bootstrap.servers": "a:1,b:2", "client_id": "me"}
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "bootstrap.servers is missing"),
        ({"bootstrap.servers": ""}, "bootstrap.servers is empty"),
        ({"bootstrap.servers": "localhost"}, "it takes host:port"),
        (SERVER | {"linger.mss": 5}, "unknown configuration linger.mss; did you mean linger.ms?"),
        (SERVER | {"linger.ms": 5, "linger_ms": 6}, "linger.ms is given twice"),
        (SERVER | {"acks": "2"}, "one of all, -1, 1, 0"),
        (SERVER | {"enable.idempotence": True, "acks": "1"}, "enable.idempotence=true needs acks=all"),
        (
            SERVER | {"enable_idempotence": True, "max_in_flight_requests_per_connection": 6},
            "max.in.flight.requests.per.connection of at most 5",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, str | int | bool], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        producer_config(given)


@pytest.mark.parametrize("given", [{"acks": "1"}, {"acks": "0"}, {"retries": 0}])
def test_idempotence_that_was_not_asked_for_gives_way(given: dict[str, str | int]) -> None:
    assert not producer_config({**SERVER, **given}).enable_idempotence


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("localhost:9092", Endpoint("localhost", 9092)),
        (" 10.0.0.1:1 ", Endpoint("10.0.0.1", 1)),
        ("[::1]:9092", Endpoint("::1", 9092)),
    ],
)
def test_addresses_are_read(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", ":9092", "host", "host:", "host:0", "host:65536", "host:x", "::1:9092", "a:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(text)
