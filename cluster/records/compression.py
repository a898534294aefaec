"""The codecs of record batches: none, gzip, snappy, lz4, zstd; what goes in is bounded by nothing, what comes out is.

Owns the framings (xerial for snappy, the lz4 frame format). Never guesses a codec: the batch names it.
Source: KIP-110 (zstd); the framing of snappy-java; the LZ4 frame format 1.6.
"""

import zlib
from enum import IntEnum
from typing import Final

import cramjam

from cluster.errors import ErrorCode, KafkaError
from cluster.seams import Buffer


class CompressionType(IntEnum):
    """The codec in bits 0 to 2 of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @property
    def config_name(self) -> str:
        """What `compression.type` calls it: Kafka says "uncompressed" for a topic without compression."""
        return "uncompressed" if self is CompressionType.NONE else self.name.lower()


_GZIP_WINDOW: Final = 31  # zlib's number for: largest window, gzip header and trailer
_XERIAL_HEADER: Final = b"\x82SNAPPY\x00" + (1).to_bytes(4, "big") + (1).to_bytes(4, "big")
_XERIAL_MAGIC: Final = _XERIAL_HEADER[:8]
_XERIAL_BLOCK_SIZE: Final = 32 * 1024
#: Magic, version 1 with independent blocks and no checksums, blocks of at most 64 KiB, and the header's check byte.
_LZ4_FRAME_HEADER: Final = bytes.fromhex("04224d18604082")
_LZ4_BLOCK_SIZE: Final = 64 * 1024
_LZ4_STORED: Final = 0x80000000
_FIRST_GUESS_MIN: Final = 16 * 1024
# What cramjam says when the output buffer is too small; everything else it says means that the input is not valid.
_OUTPUT_FULL: Final = "whole buffer"


def compress(compression: CompressionType, data: Buffer) -> bytes:
    """`data` in the framing that Kafka's clients read for this codec."""
    match compression:
        case CompressionType.NONE:
            return bytes(data)
        case CompressionType.GZIP:
            compressor = zlib.compressobj(wbits=_GZIP_WINDOW)
            return compressor.compress(data) + compressor.flush()
        case CompressionType.SNAPPY:
            return _compress_xerial(data)
        case CompressionType.LZ4:
            return _compress_lz4(data)
        case CompressionType.ZSTD:
            return bytes(cramjam.zstd.compress(data))


def decompress(compression: CompressionType, data: Buffer, size_bytes_max: int) -> Buffer:
    """What `data` stands for, at most `size_bytes_max` bytes of it; may be `data` itself when nothing is compressed.

    Raises KafkaError(CORRUPT_MESSAGE) when `data` is not valid and KafkaError(RECORD_LIST_TOO_LARGE) when it would be
    longer than allowed. Never allocates more than about twice `size_bytes_max`.
    """
    match compression:
        case CompressionType.NONE:
            return data
        case CompressionType.GZIP:
            return _decompress_gzip(data, size_bytes_max)
        case CompressionType.SNAPPY:
            return _decompress_snappy(data, size_bytes_max)
        case CompressionType.LZ4 | CompressionType.ZSTD:
            return _decompress_growing(compression, data, size_bytes_max)


def _corrupt(compression: CompressionType, reason: object) -> KafkaError:
    return KafkaError(ErrorCode.CORRUPT_MESSAGE, f"{compression.name.lower()} payload does not decompress: {reason}")


def _too_large(compression: CompressionType, size_bytes_max: int) -> KafkaError:
    return KafkaError(
        ErrorCode.RECORD_LIST_TOO_LARGE,
        f"{compression.name.lower()} payload decompresses to more than {size_bytes_max} bytes",
    )


def _decompress_gzip(data: Buffer, size_bytes_max: int) -> bytes:
    """All members of a gzip file, one after the other."""
    out: list[bytes] = []
    room = size_bytes_max
    rest: Buffer = data
    while True:
        member = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            # One byte more than allowed tells a payload that just fits from one that does not.
            piece = member.decompress(rest, room + 1)
        except zlib.error as error:
            raise _corrupt(CompressionType.GZIP, error) from error
        if len(piece) > room:
            raise _too_large(CompressionType.GZIP, size_bytes_max)
        if not member.eof:
            raise _corrupt(CompressionType.GZIP, "it ends too early")
        out.append(piece)
        room -= len(piece)
        rest = member.unused_data
        if not rest:
            return out[0] if len(out) == 1 else b"".join(out)


def _compress_xerial(data: Buffer) -> bytes:
    out = [_XERIAL_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), _XERIAL_BLOCK_SIZE):
            block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK_SIZE]))
            out.append(len(block).to_bytes(4, "big"))
            out.append(block)
    return b"".join(out)


def _decompress_snappy(data: Buffer, size_bytes_max: int) -> bytearray:
    """Xerial's sequence of blocks, or one bare block as some clients send it."""
    out = bytearray()
    with memoryview(data) as view:
        if bytes(view[:8]) != _XERIAL_MAGIC:
            _snappy_block(view, out, size_bytes_max)
            return out
        position = len(_XERIAL_HEADER)
        if len(view) < position:
            raise _corrupt(CompressionType.SNAPPY, "it ends inside the stream header")
        while position < len(view):
            length = int.from_bytes(view[position : position + 4], "big")
            position += 4
            if not 0 < length <= len(view) - position:
                raise _corrupt(CompressionType.SNAPPY, f"block of {length} bytes, {len(view) - position} are left")
            _snappy_block(view[position : position + length], out, size_bytes_max)
            position += length
    return out


def _snappy_block(block: memoryview, out: bytearray, size_bytes_max: int) -> None:
    try:
        length = cramjam.snappy.decompress_raw_len(block)
        if length > size_bytes_max - len(out):
            raise _too_large(CompressionType.SNAPPY, size_bytes_max)
        piece = bytearray(length)
        if length and cramjam.snappy.decompress_raw_into(block, piece) != length:
            raise _corrupt(CompressionType.SNAPPY, "a block is shorter than it says")
    except cramjam.DecompressionError as error:
        raise _corrupt(CompressionType.SNAPPY, error) from error
    out += piece


def _compress_lz4(data: Buffer) -> bytes:
    # The frame is made here because Java's reader refuses blocks that refer to earlier blocks, the library's default.
    out = [_LZ4_FRAME_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), _LZ4_BLOCK_SIZE):
            plain = view[start : start + _LZ4_BLOCK_SIZE]
            block = bytes(cramjam.lz4.compress_block(plain, store_size=False))
            if len(block) < len(plain):
                out.append(len(block).to_bytes(4, "little"))
                out.append(block)
            else:
                out.append((len(plain) | _LZ4_STORED).to_bytes(4, "little"))
                out.append(bytes(plain))
    out.append(bytes(4))
    return b"".join(out)


def _decompress_growing(compression: CompressionType, data: Buffer, size_bytes_max: int) -> bytearray:
    """Neither format has to say how long its content is: try a guess, double it until it fits or is not allowed."""
    codec = cramjam.lz4 if compression is CompressionType.LZ4 else cramjam.zstd
    capacity = min(size_bytes_max, max(4 * len(data), _FIRST_GUESS_MIN))
    while True:
        out = bytearray(capacity)
        try:
            length = codec.decompress_into(data, out)
        except cramjam.DecompressionError as error:
            if _OUTPUT_FULL not in str(error):
                raise _corrupt(compression, error) from error
            if capacity >= size_bytes_max:
                raise _too_large(compression, size_bytes_max) from error
            capacity = min(size_bytes_max, 4 * capacity)
        else:
            del out[length:]
            return out
