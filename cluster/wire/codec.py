"""Messages to bytes and back, without headers: bodies of requests and responses, and data kept in bytes fields.

Codecs are generated for a (message, version) when it is first met and kept for the life of the process. `headers` puts
requests and responses around this, `frames` finds where they start and end.
"""

from typing import Final, TypeVar

from cluster.seams import Buffer
from cluster.wire.decoder import Decoder, compile_decoder
from cluster.wire.encoder import Encoder, compile_encoder
from cluster.wire.primitives import DecodeError
from cluster.wire.schema import Data, Message, Records

MessageT = TypeVar("MessageT", bound=Message)
DataT = TypeVar("DataT", bound=Data)

# At most one codec for each version of each table: a version that its table does not have never gets in.
_decoders: Final[dict[tuple[type[Message], int], Decoder]] = {}
_encoders: Final[dict[tuple[type[Message], int], Encoder]] = {}


def decode_message(cls: type[MessageT], version: int, buffer: Buffer, position: int = 0) -> MessageT:
    """The message that fills `buffer` from `position` to its end.

    Records fields are views of `buffer`, everything else is copied. Raises DecodeError, and nothing else: for bytes
    that are not such a message, for bytes behind it, and for a version that `cls` does not have.
    """
    message, end = read_message(cls, version, buffer, position)
    if end != len(buffer):
        label, rest = f"{cls.__name__} v{version}", len(buffer) - end
        raise DecodeError(label, "", min(end, len(buffer)), f"{rest} bytes too many" if rest > 0 else "truncated")
    return message


def read_message(cls: type[MessageT], version: int, buffer: Buffer, position: int) -> tuple[MessageT, int]:
    """The message at `position`, and the position behind it, which lies beyond the end if `buffer` is truncated.

    Raises DecodeError.
    """
    decoder = _decoders.get((cls, version))
    if decoder is None:
        if version not in cls.versions:
            raise DecodeError(cls.__name__, "", position, f"there is no version {version}")
        decoder = _decoders[cls, version] = compile_decoder(cls, version)
    return decoder(buffer, position)


def write_message(message: Message, version: int, parts: list[Buffer], buffers: list[Buffer]) -> None:
    """Append `message` to `parts`; what comes before a large records field, and that field, move on to `buffers`.

    So `buffers` followed by `parts` is what goes on the wire. `version` must be one that the message has. Raises
    EncodeError for a value that its field cannot carry; fields that the version does not have are left out silently.
    """
    key = (type(message), version)
    encoder = _encoders.get(key)
    if encoder is None:
        encoder = _encoders[key] = compile_encoder(*key)
    encoder(message, parts, buffers)


def encode_message(message: Message, version: int) -> bytes:
    """`message` as one piece of bytes. Raises EncodeError."""
    parts: list[Buffer] = []
    buffers: list[Buffer] = []
    write_message(message, version, parts, buffers)
    return b"".join(buffers + parts)


def records_view(records: Records | None) -> memoryview | None:
    """A records field as one view: of a decoded message the very bytes that were received."""
    if records is None or isinstance(records, memoryview):
        return records
    return memoryview(records if isinstance(records, Buffer) else b"".join(records))


def encode_versioned(message: Data, version: int) -> bytes:
    """`message` with its version in front, an int16. Raises EncodeError."""
    return version.to_bytes(2, "big") + encode_message(message, version)


def decode_versioned(cls: type[DataT], buffer: Buffer, *, newer: bool = False) -> DataT:
    """What `encode_versioned` made.

    With `newer` a version above those that `cls` has is read as the highest of them and bytes behind it are ignored,
    which is how the consumer protocol evolves. Raises DecodeError.
    """
    version = peek_version(buffer)
    if newer:
        return _read_prefix(cls, min(version, cls.versions[-1]), buffer)
    return decode_message(cls, version, buffer, 2)


def peek_version(buffer: Buffer) -> int:
    """The int16 that `buffer` starts with. Raises DecodeError."""
    if len(buffer) < 2:
        raise DecodeError("version", "", 0, "truncated")
    return int.from_bytes(buffer[:2], "big", signed=True)


def _read_prefix(cls: type[DataT], version: int, buffer: Buffer) -> DataT:
    """The message behind the version of `buffer`, whatever follows it. Raises DecodeError."""
    message, end = read_message(cls, version, buffer, 2)
    if end > len(buffer):
        raise DecodeError(f"{cls.__name__} v{version}", "", len(buffer), "truncated")
    return message
