"""Which configurations may be stored: known keys, typed values, bounded sizes. Pure."""

from cluster.config.keys import BROKER_KEYS, TOPIC_KEYS
from cluster.config.values import ConfigError, ConfigType, Key, did_you_mean
from cluster.errors import ErrorCode, KafkaError
from cluster.metadata.records import ResourceType

VALUE_CHARS_MAX = 4096


def known_key(resource_type: ResourceType, name: str) -> Key:
    """Raises KafkaError INVALID_CONFIG when there is no such key, or it is not for changing."""
    table = TOPIC_KEYS if resource_type is ResourceType.TOPIC else BROKER_KEYS
    key = table.get(name)
    what = resource_type.name.lower()
    if key is None:
        raise KafkaError(
            ErrorCode.INVALID_CONFIG, f"Unknown {what} config name: {name[:200]}{did_you_mean(name[:200], table)}"
        )
    if not key.dynamic:
        raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} is read when the broker starts and cannot be changed now")
    return key


def validate(resource_type: ResourceType, name: str, value: str) -> None:
    """Raises KafkaError INVALID_CONFIG that names the key, the value and what is allowed."""
    key = known_key(resource_type, name)
    if len(value) > VALUE_CHARS_MAX:
        raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name}: {len(value)} characters; {VALUE_CHARS_MAX} are allowed")
    try:
        key.parse(value)
    except ConfigError as error:
        raise KafkaError(ErrorCode.INVALID_CONFIG, str(error)) from None


def elements(resource_type: ResourceType, name: str, value: str | None) -> list[str]:
    """The elements of a list-valued key; of its default when `value` is None. Raises KafkaError INVALID_CONFIG."""
    key = known_key(resource_type, name)
    if key.type is not ConfigType.LIST:
        raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} is no list: nothing can be appended or subtracted")
    text = (key.default or "") if value is None else value
    return [part.strip() for part in text.split(",") if part.strip()]
