"""Requests and responses with their headers: what stands between two frame boundaries.

A frame here is what follows the int32 size; what is encoded here has the size in front, ready for a transport. Header
versions: requests of flexible versions have tagged fields behind the client id, which itself never becomes compact;
responses of flexible versions have tagged fields behind the correlation id, but for ApiVersions.

Source: the protocol guide; KIP-482 (flexible headers), KIP-511 (ApiVersions).
"""

from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar

from cluster.errors import ErrorCode
from cluster.seams import Buffer
from cluster.wire.api_versions import API_VERSIONS
from cluster.wire.codec import decode_message, write_message
from cluster.wire.primitives import DecodeError, EncodeError, skip_tags
from cluster.wire.registry import APIS
from cluster.wire.schema import Request, Response

RequestT = TypeVar("RequestT", bound=Request[Any])
ResponseT = TypeVar("ResponseT", bound=Response)

_REQUEST: Final = Struct(">hhih")
_SIZED_REQUEST: Final = Struct(">ihhih")
_SIZED_RESPONSE: Final = Struct(">ii")
_CORRELATION_ID: Final = Struct(">i")
_UNSUPPORTED_VERSION: Final = ErrorCode.UNSUPPORTED_VERSION.to_bytes(2, "big")
_SIZE_SIZE: Final = 4
_CLIENT_ID_LENGTH_MAX: Final = 0x7FFF


class RequestHeader(NamedTuple):
    """What precedes the body of a request. The api key and version may be ones that nobody knows."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    #: Where in the frame the body starts.
    body_offset: int


def decode_request_header(frame: Buffer) -> RequestHeader:
    """The header of a request. Of an unknown API it is read as if its version was not flexible. Raises DecodeError."""
    if len(frame) < _REQUEST.size:
        raise DecodeError("request header", "", len(frame), "truncated")
    api_key, api_version, correlation_id, client_id_size = _REQUEST.unpack_from(frame)
    position = _REQUEST.size
    client_id = None
    if client_id_size >= 0:
        end = position + client_id_size
        if end > len(frame):
            raise DecodeError("request header", "client_id", position, "truncated")
        try:
            client_id = str(frame[position:end], "utf-8")
        except UnicodeDecodeError as error:
            raise DecodeError("request header", "client_id", position, str(error)) from None
        position = end
    elif client_id_size != -1:
        raise DecodeError("request header", "client_id", position, "negative length")
    api = APIS.get(api_key)
    if api is not None and api_version in api.flexible:
        # No client is known to send tagged fields here.
        if position < len(frame) and frame[position] == 0:
            position += 1
        else:
            position = _skip_header_tags("request header", frame, position)
    return RequestHeader(api_key, api_version, correlation_id, client_id, position)


def decode_request(cls: type[RequestT], version: int, frame: Buffer, body_offset: int) -> RequestT:
    """The body of a request, which must end where `frame` ends. Records are views of `frame`. Raises DecodeError."""
    return decode_message(cls, version, frame, body_offset)


def encode_request(message: Request[Any], version: int, correlation_id: int, client_id: str | None) -> list[Buffer]:
    """A request with size and header: buffers to be sent one behind the other. Raises EncodeError."""
    name = b"" if client_id is None else client_id.encode()
    if len(name) > _CLIENT_ID_LENGTH_MAX:
        raise EncodeError(f"a client id of {len(name)} bytes is too long")
    tail = name + b"\0" if version in message.flexible else name
    parts: list[Buffer] = []
    buffers: list[Buffer] = []
    write_message(message, version, parts, buffers)
    _seal(parts, buffers)
    size = _SIZED_REQUEST.size - _SIZE_SIZE + len(tail) + sum(map(len, buffers))
    name_size = -1 if client_id is None else len(name)
    buffers[0] = _SIZED_REQUEST.pack(size, message.api.key, version, correlation_id, name_size) + tail + buffers[0]
    return buffers


def encode_response(message: Response, version: int, correlation_id: int) -> list[Buffer]:
    """A response with size and header: buffers to be sent one behind the other.

    One buffer, unless there are records: those larger than a kilobyte are passed through by reference, so that they
    must not change before they are sent. Raises EncodeError.
    """
    parts: list[Buffer] = []
    buffers: list[Buffer] = []
    write_message(message, version, parts, buffers)
    tags = b"\0" if _has_tagged_header(message, version) else b""
    if not buffers:
        body = b"".join(parts)
        return [_SIZED_RESPONSE.pack(_CORRELATION_ID.size + len(tags) + len(body), correlation_id) + tags + body]
    _seal(parts, buffers)
    size = _CORRELATION_ID.size + len(tags) + sum(map(len, buffers))
    buffers[0] = _SIZED_RESPONSE.pack(size, correlation_id) + tags + buffers[0]
    return buffers


def decode_correlation_id(frame: Buffer) -> int:
    """Which request a response answers. Raises DecodeError."""
    if len(frame) < _CORRELATION_ID.size:
        raise DecodeError("response header", "correlation_id", 0, "truncated")
    (correlation_id,) = _CORRELATION_ID.unpack_from(frame)
    return int(correlation_id)


def decode_response(cls: type[ResponseT], version: int, frame: Buffer) -> ResponseT:
    """The response in `frame`, to a request of the same version. Records are views of `frame`. Raises DecodeError.

    A broker that does not speak a version of ApiVersions says so in version 0, which is read as such (KIP-511).
    """
    position = _CORRELATION_ID.size
    if _has_tagged_header(cls, version):
        position = _skip_header_tags("response header", frame, position)
    elif cls.api is API_VERSIONS and frame[position : position + 2] == _UNSUPPORTED_VERSION:
        version = 0
    return decode_message(cls, version, frame, position)


def _has_tagged_header(response: Response | type[Response], version: int) -> bool:
    # A client reads this response before it knows which versions the broker speaks (KIP-511).
    return version in response.flexible and response.api is not API_VERSIONS


def _seal(parts: list[Buffer], buffers: list[Buffer]) -> None:
    """Move what is left in `parts` to `buffers`, so that there is a first buffer of bytes for the header."""
    if parts or not buffers:
        buffers.append(b"".join(parts))


def _skip_header_tags(header: str, frame: Buffer, position: int) -> int:
    try:
        return skip_tags(frame, position)
    except (IndexError, ValueError) as error:
        reason = "truncated" if isinstance(error, IndexError) else str(error)
        raise DecodeError(header, "tagged fields", position, reason) from None
