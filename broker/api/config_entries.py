"""Configurations as clients read them: every key with its value, where the value comes from, and what it hides.

Pure over an image and this broker's static properties. The order in which values count, highest first: the topic's own
key, the broker's dynamic key, the dynamic default of all brokers, server.properties, the built-in default; below a
topic's own key each of them stands under the broker's name for it. Source: KIP-226 (sources, synonyms).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from broker.topic_configs import TopicConfigs
from cluster.config.keys import BROKER_KEYS, TOPIC_KEYS
from cluster.config.properties import BrokerProperties
from cluster.config.values import ConfigType, Key
from cluster.metadata.image import MetadataImage
from cluster.metadata.records import ResourceType

#: Keys in coarser units that hold a value where the finest one is unset.
_COARSER: Final = {
    "log.retention.ms": ("log.retention.minutes", "log.retention.hours"),
    "log.roll.ms": ("log.roll.hours",),
}


class ConfigSource(IntEnum):
    """The numbers are those of DescribeConfigs."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5


@dataclass(frozen=True, slots=True)
class Synonym:
    """One value that counts, or would count if no higher one did."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    key: Key
    #: None when it is unset, or a secret.
    value: str | None
    source: ConfigSource
    #: Highest first; the first one is where the value comes from.
    synonyms: tuple[Synonym, ...]
    read_only: bool

    @property
    def is_sensitive(self) -> bool:
        return self.key.type is ConfigType.PASSWORD


class ConfigEntries:
    """What this broker answers about topics and about itself."""

    def __init__(self, *, broker_id: int, properties: BrokerProperties, topic_configs: TopicConfigs) -> None:
        self._broker_id = broker_id
        self._properties = properties
        self._topic_configs = topic_configs

    def of_topic(self, image: MetadataImage, topic: str) -> Iterator[ConfigEntry]:
        """Every topic key, by name."""
        own = image.topic_config(topic)
        for name in sorted(TOPIC_KEYS):
            key = TOPIC_KEYS[name]
            synonyms = [Synonym(name, own[name], ConfigSource.TOPIC)] if name in own else []
            if key.broker_key:
                synonyms += self._broker_synonyms(image, (key.broker_key, *_COARSER.get(key.broker_key, ())))
            else:
                synonyms.append(Synonym(name, key.default, ConfigSource.DEFAULT))
            value = self._topic_configs.text(image, topic, name)
            yield _entry(key, value, synonyms, read_only=False)

    def of_broker(self, image: MetadataImage) -> Iterator[ConfigEntry]:
        """Every key of this broker, by name."""
        for name in sorted(BROKER_KEYS):
            key = BROKER_KEYS[name]
            synonyms = self._broker_synonyms(image, (name,))
            yield _entry(key, synonyms[0].value, synonyms, read_only=not key.dynamic)

    def of_all_brokers(self, image: MetadataImage) -> Iterator[ConfigEntry]:
        """The keys that are set as the default of all brokers, by name."""
        values = image.configs.get((ResourceType.BROKER, ""), {})
        for name in sorted(values):
            key = BROKER_KEYS.get(name)
            if key is not None:
                synonym = Synonym(name, values[name], ConfigSource.DYNAMIC_DEFAULT_BROKER)
                yield _entry(key, values[name], [synonym], read_only=False)

    def _broker_synonyms(self, image: MetadataImage, names: tuple[str, ...]) -> list[Synonym]:
        """Where one of the broker keys `names` has a value, highest first; at the end the default, if only None."""
        layers: tuple[tuple[Mapping[str, str], ConfigSource], ...] = (
            (image.configs.get((ResourceType.BROKER, str(self._broker_id)), {}), ConfigSource.DYNAMIC_BROKER),
            (image.configs.get((ResourceType.BROKER, ""), {}), ConfigSource.DYNAMIC_DEFAULT_BROKER),
            (self._properties.explicit, ConfigSource.STATIC_BROKER),
        )
        synonyms = [
            Synonym(synonym, values[synonym], source)
            for values, source in layers
            for synonym in names
            if synonym in values
        ]
        defaults = [synonym for synonym in names if BROKER_KEYS[synonym].default is not None] or [names[0]]
        synonyms += [Synonym(synonym, BROKER_KEYS[synonym].default, ConfigSource.DEFAULT) for synonym in defaults]
        return synonyms


def _entry(key: Key, value: str | None, synonyms: list[Synonym], *, read_only: bool) -> ConfigEntry:
    if key.type is ConfigType.PASSWORD:
        value = None
        synonyms = [Synonym(synonym.name, None, synonym.source) for synonym in synonyms]
    return ConfigEntry(key, value, synonyms[0].source, tuple(synonyms), read_only)
