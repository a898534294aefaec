"""Frames of the replication stream: a protobuf header, and behind it record batches that are never copied into it.

The layout is described in `replication.proto`. Bytes come from another node, so lengths are checked before use.
"""

from collections.abc import Sequence
from struct import Struct
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from cluster.rpc.replication_pb2 import FollowerFrame, LeaderFrame
from cluster.seams import Buffer

FOLLOW_METHOD = "replication.Replication/Follow"

_LENGTH = Struct(">I")
_Header = TypeVar("_Header", bound=Message)


class FrameError(ValueError):
    """The other side sent something that is not a frame."""


def encode_frame(header: Message, payload: Sequence[Buffer] = ()) -> bytes:
    head = header.SerializeToString()
    return b"".join((_LENGTH.pack(len(head)), head, *payload))


def decode_follower_frame(frame: bytes) -> FollowerFrame:
    """Raises FrameError."""
    header, payload = _split(frame, FollowerFrame)
    if payload or len(header.ack_handles) != len(header.ack_offsets):
        raise FrameError("a follower frame with a payload, or with acknowledgements that do not pair up")
    return header


def decode_leader_frame(frame: bytes) -> tuple[LeaderFrame, memoryview]:
    """The header and the payload, a view into `frame` as long as all lengths together. Raises FrameError."""
    header, payload = _split(frame, LeaderFrame)
    count = len(header.handles)
    if not count == len(header.high_watermarks) == len(header.log_start_offsets) == len(header.lengths):
        raise FrameError("a leader frame whose columns differ in length")
    if sum(header.lengths) != len(payload):
        raise FrameError(f"a leader frame with {len(payload)} bytes of batches announced {sum(header.lengths)}")
    return header, payload


def _split(frame: bytes, kind: type[_Header]) -> tuple[_Header, memoryview]:
    view = memoryview(frame)
    if len(view) < 4:
        raise FrameError(f"a frame of {len(view)} bytes")
    (length,) = _LENGTH.unpack_from(view)
    if length > len(view) - 4:
        raise FrameError(f"a header of {length} bytes in a frame of {len(view)}")
    header = kind()
    try:
        header.ParseFromString(bytes(view[4 : 4 + length]))
    except DecodeError as error:
        raise FrameError(str(error)) from None
    return header, view[4 + length :]
