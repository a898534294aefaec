"""Every client reads what every other client wrote, with each acks and each codec: keys, values, headers, order."""

from collections.abc import Mapping

import pytest

from tests.interop.clients import CLIENTS
from tests.interop.corpus import CODECS
from tests.interop.runs import Read, Target, Written, arrived_counts, need, sent_counts


def writer_of(name: str, written: Mapping[str, Written]) -> Written:
    need(CLIENTS[name].missing())
    if written[name].failure:
        pytest.fail(f"{name} could not write:\n{written[name].failure}")
    return written[name]


@pytest.mark.parametrize("writer", CLIENTS)
def test_every_record_arrives_once_with_or_without_acknowledgement(
    writer: str, target: Target, written: Mapping[str, Written]
) -> None:
    ours = writer_of(writer, written)
    assert {record.codec for record in ours.records} == set(CODECS)
    assert {record.acks for record in ours.records} == {"all", "1", "0"}
    assert arrived_counts(target.bootstrap, ours) == sent_counts(ours)


@pytest.mark.parametrize("reader", CLIENTS)
@pytest.mark.parametrize("writer", CLIENTS)
def test_reader_sees_what_writer_wrote(
    writer: str, reader: str, written: Mapping[str, Written], read: Mapping[str, Read]
) -> None:
    ours = writer_of(writer, written)
    need(CLIENTS[reader].missing())
    if read[reader].failure:
        pytest.fail(f"{reader} could not read:\n{read[reader].failure}")
    for partition in filter(CLIENTS[reader].can_read, sorted(sent_counts(ours))):
        expected = [record for record in ours.records if record.partition == partition]
        fetched = [r for r in read[reader].fetched if (r.topic, r.partition) == (ours.topic, partition)]
        assert [record.offset for record in fetched] == list(range(len(expected)))
        for sent, seen in zip(expected, fetched, strict=True):
            assert (seen.key, seen.value, seen.headers) == (sent.key, sent.value, sent.headers), sent
            if CLIENTS[writer].sets_timestamps:
                assert seen.timestamp_ms == sent.timestamp_ms, sent
