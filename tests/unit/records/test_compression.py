"""Every codec gives back what it was given, never more than allowed, and refuses what is not its own."""

import gzip

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ErrorCode, KafkaError
from cluster.records.compression import CompressionType, compress, decompress

CODECS = [codec for codec in CompressionType if codec is not CompressionType.NONE]


@pytest.mark.parametrize("codec", list(CompressionType))
@given(data=st.binary(max_size=2_000), repeat=st.integers(1, 80))
def test_what_goes_in_comes_out(codec: CompressionType, data: bytes, repeat: int) -> None:
    plain = data * repeat
    assert bytes(decompress(codec, compress(codec, plain), len(plain))) == plain


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_above_the_limit_is_refused_at_the_first_byte_too_many(codec: CompressionType) -> None:
    packed = compress(codec, bytes(100_000))
    assert len(decompress(codec, packed, 100_000)) == 100_000
    with pytest.raises(KafkaError) as caught:
        decompress(codec, packed, 99_999)
    assert caught.value.code is ErrorCode.RECORD_LIST_TOO_LARGE


@pytest.mark.parametrize("codec", [CompressionType.GZIP, CompressionType.ZSTD, CompressionType.LZ4])
def test_a_bomb_does_not_go_off(codec: CompressionType) -> None:
    packed = compress(codec, bytes(32 << 20))
    with pytest.raises(KafkaError) as caught:
        decompress(codec, packed, 1 << 20)
    assert caught.value.code is ErrorCode.RECORD_LIST_TOO_LARGE


def test_a_snappy_block_that_claims_four_gigabytes_is_refused_before_they_are_allocated() -> None:
    with pytest.raises(KafkaError) as caught:
        decompress(CompressionType.SNAPPY, b"\xff\xff\xff\xff\x0fabc", 1 << 20)
    assert caught.value.code is ErrorCode.RECORD_LIST_TOO_LARGE


@pytest.mark.parametrize("codec", CODECS)
@given(noise=st.binary(max_size=200))
def test_noise_is_refused_or_read_and_nothing_else(codec: CompressionType, noise: bytes) -> None:
    outcome: int | ErrorCode
    try:
        outcome = len(decompress(codec, noise, 1 << 16))
    except KafkaError as error:
        outcome = error.code
    assert outcome in (ErrorCode.CORRUPT_MESSAGE, ErrorCode.RECORD_LIST_TOO_LARGE) or outcome <= 1 << 16


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_that_is_cut_off_is_corrupt(codec: CompressionType) -> None:
    packed = compress(codec, bytes(range(256)) * 400)
    with pytest.raises(KafkaError) as caught:
        decompress(codec, packed[:-3], 1 << 20)
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE


def test_bare_snappy_is_read_as_well_as_framed() -> None:
    plain = b"abc" * 1_000
    assert bytes(decompress(CompressionType.SNAPPY, bytes(cramjam.snappy.compress_raw(plain)), 3_000)) == plain


def test_several_gzip_members_are_one_payload() -> None:
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert decompress(CompressionType.GZIP, packed, 6) == b"onetwo"


def test_lz4_blocks_do_not_refer_to_each_other() -> None:
    """Java's reader refuses frames whose blocks do."""
    packed = compress(CompressionType.LZ4, b"abcdefgh" * 20_000)
    assert packed[4] & 0x20
    assert bytes(cramjam.lz4.decompress(packed)) == b"abcdefgh" * 20_000


def test_the_names_are_those_of_the_topic_setting() -> None:
    assert [codec.config_name for codec in CompressionType] == ["uncompressed", "gzip", "snappy", "lz4", "zstd"]
