"""Zigzag variable-length integers as records use them.

Owns the encoding of one number. Never used by the request codec, whose compact lengths are unsigned.
Source: KIP-98; the Protocol Buffers encoding of sint64.
"""

from typing import Final

from cluster.errors import ErrorCode, KafkaError
from cluster.seams import Buffer

#: A 64-bit number needs no more bytes than this.
VARINT_BYTES_MAX: Final = 10

_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(0x80))


def encode_varint(value: int) -> bytes:
    """The bytes of a signed number, -2^63 <= value < 2^63."""
    zigzag = (value << 1) ^ (value >> 63)
    if zigzag < 0x80:
        return _ONE_BYTE[zigzag]
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def decode_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """(the number at `position`, the position behind it).

    Raises IndexError at the end of the buffer and KafkaError(INVALID_RECORD) for a number of more than 64 bits.
    """
    byte = buffer[position]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position + 1
    zigzag = byte & 0x7F
    shift = 7
    for at in range(position + 1, position + VARINT_BYTES_MAX):
        byte = buffer[at]
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            if zigzag >> 64:
                break
            return (zigzag >> 1) ^ -(zigzag & 1), at + 1
        shift += 7
    raise KafkaError(ErrorCode.INVALID_RECORD, f"the number at byte {position} has more than 64 bits")
