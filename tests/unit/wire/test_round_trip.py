"""What is written is what is read, for every table at every version."""

import pytest

from cluster.wire.codec import decode_message, encode_message
from cluster.wire.schema import Message
from tests.unit.wire.samples import MESSAGES, random_messages


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_every_version_reads_back_what_it_wrote(cls: type[Message]) -> None:
    for version in cls.versions:
        for message in random_messages(cls, version, 4):
            data = encode_message(message, version)
            assert decode_message(cls, version, data) == message, (version, message)
            assert decode_message(cls, version, memoryview(bytearray(data))) == message


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_message_of_defaults_can_be_sent_at_every_version(cls: type[Message]) -> None:
    for version in cls.versions:
        assert decode_message(cls, version, encode_message(cls(), version)) == cls()
