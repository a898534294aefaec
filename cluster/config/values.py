"""What a configuration key is, and how its text becomes a value. The tables of keys are in `keys`."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1

Value = bool | int | float | str | tuple[str, ...]


class ConfigType(IntEnum):
    """The numbers are those of DescribeConfigs."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7
    PASSWORD = 9


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names the key, the value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row of a table. `default` None means that the key is unset unless the user sets it."""

    name: str
    type: ConfigType
    default: str | None
    doc: str
    #: Of the value, for people: "ms", "bytes", "records"; "" where there is none.
    unit: str = ""
    #: Inclusive bounds of a number.
    minimum: float | None = None
    maximum: float | None = None
    #: Allowed values of a string, or of each element of a list; empty means any.
    choices: tuple[str, ...] = ()
    #: For a topic key, the broker key that holds its default; for a broker key, "".
    broker_key: str = ""
    #: Whether it may be changed while the broker runs.
    dynamic: bool = False
    #: Accepted for the sake of tools and files written for Kafka; changes nothing here.
    inert: bool = False

    def parse(self, text: str) -> Value:
        """The typed value of `text`. Raises ConfigError."""
        text = text.strip()
        match self.type:
            case ConfigType.BOOLEAN:
                if text.lower() not in ("true", "false"):
                    raise self._error(text, "true or false")
                return text.lower() == "true"
            case ConfigType.INT | ConfigType.LONG:
                return self._bounded(text, self._integer(text))
            case ConfigType.DOUBLE:
                try:
                    number = float(text)
                except ValueError:
                    raise self._error(text, "a number") from None
                return self._bounded(text, number)
            case ConfigType.LIST:
                elements = tuple(part.strip() for part in text.split(",") if part.strip())
                for element in elements:
                    self._check_choice(element)
                return elements
            case ConfigType.STRING | ConfigType.PASSWORD:
                self._check_choice(text)
                return text

    def _integer(self, text: str) -> int:
        digits = text[1:] if text[:1] == "-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            raise self._error(text, "a whole number")
        number = int(text)
        limit = INT_MAX if self.type is ConfigType.INT else LONG_MAX
        if not -limit - 1 <= number <= limit:
            raise self._error(text, f"a number that fits {self.type.name.lower()}")
        return number

    def _bounded(self, text: str, number: float) -> float:
        if self.minimum is not None and not number >= self.minimum:
            raise self._error(text, f"at least {self.minimum:g}")
        if self.maximum is not None and not number <= self.maximum:
            raise self._error(text, f"at most {self.maximum:g}")
        return number

    def _check_choice(self, text: str) -> None:
        if self.choices and text not in self.choices:
            raise self._error(text, "one of " + ", ".join(self.choices))

    def _error(self, text: str, allowed: str) -> ConfigError:
        return ConfigError(f"{self.name}={text!r} is not valid: it takes {allowed}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing phrase that names the nearest known key, or "" when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""
