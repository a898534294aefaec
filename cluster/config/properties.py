"""server.properties: Kafka's file format, and the checked set of values that a node runs with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.config.keys import BROKER_KEYS, TOPIC_KEYS
from cluster.config.values import ConfigError, Key, Value, did_you_mean


def parse_properties(text: str, source: str) -> dict[str, str]:
    """The keys of a properties file; the last of two equal keys holds. Raises ConfigError that names the line."""
    values: dict[str, str] = {}
    pending = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = pending + raw.strip()
        pending = ""
        if not line or line[0] in "#!":
            continue
        if line.endswith("\\") and not line.endswith("\\\\"):
            pending = line[:-1]
            continue
        cut = min((at for at in (line.find("="), line.find(":")) if at >= 0), default=-1)
        if cut <= 0:
            raise ConfigError(f"{source}:{number}: {line!r} is not key=value")
        values[line[:cut].strip()] = line[cut + 1 :].strip()
    return values


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """The keys of `--set key=value` options. Raises ConfigError."""
    values = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text!r} is not key=value")
        values[key.strip()] = value.strip()
    return values


def render_properties(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


@dataclass(frozen=True, slots=True)
class BrokerProperties:
    """Every broker key with its checked value; what the user set is told apart from defaults."""

    #: Text of the keys that the user set, known keys only.
    explicit: Mapping[str, str]
    #: Sentences about keys that were not understood.
    warnings: tuple[str, ...]
    _values: Mapping[str, Value]

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "BrokerProperties":
        """Check `given`; an unknown key is a warning, a bad value is a ConfigError."""
        values: dict[str, Value] = {}
        explicit: dict[str, str] = {}
        warnings = []
        for name, text in given.items():
            key = BROKER_KEYS.get(name)
            if key is None:
                hint = did_you_mean(name, BROKER_KEYS)
                if name in TOPIC_KEYS and TOPIC_KEYS[name].broker_key:
                    hint = f"; as a default of all topics it is called {TOPIC_KEYS[name].broker_key}"
                warnings.append(f"{name} is not a key of this server and is ignored{hint}")
                continue
            values[name] = key.parse(text)
            explicit[name] = text
        return cls(explicit, tuple(warnings), values)

    def get(self, name: str) -> Value | None:
        """The value of a key, or its default; None when it has neither."""
        if name in self._values:
            return self._values[name]
        key = BROKER_KEYS[name]
        return None if key.default is None else key.parse(key.default)

    def text(self, name: str) -> str | None:
        """Like `get`, as text."""
        return self.explicit.get(name, BROKER_KEYS[name].default)

    def integer(self, name: str) -> int:
        value = self.get(name)
        assert isinstance(value, int), f"{name} is a number with a default"
        return value

    def boolean(self, name: str) -> bool:
        value = self.get(name)
        assert isinstance(value, bool), f"{name} is true or false with a default"
        return value

    def string(self, name: str) -> str | None:
        value = self.get(name)
        assert value is None or isinstance(value, str), f"{name} is a string"
        return value

    def list(self, name: str) -> tuple[str, ...]:
        """() when unset."""
        value = self.get(name)
        assert value is None or isinstance(value, tuple), f"{name} is a list"
        return value or ()

    def topic_default(self, key: Key) -> str:
        """Text of a topic key's default on this broker, time limits in coarser units included."""
        if key.name == "retention.ms":
            return self._in_ms("log.retention.ms", ("log.retention.minutes", 60_000), ("log.retention.hours", 3600_000))
        if key.name == "segment.ms":
            return self._in_ms("log.roll.ms", ("log.roll.hours", 3600_000))
        text = self.text(key.broker_key) if key.broker_key else key.default
        assert text is not None, f"{key.name} has a default"
        return text

    def _in_ms(self, finest: str, *coarser: tuple[str, int]) -> str:
        if finest in self.explicit:
            return self.explicit[finest]
        for name, factor in coarser:
            value = self.get(name)
            if isinstance(value, int):
                return "-1" if value < 0 else str(value * factor)
        raise AssertionError(f"the coarsest of {finest} has a default")
