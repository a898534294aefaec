"""Every metadata class and its message say the same, both ways, and bytes from outside are never trusted."""

from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.ids import ZERO_UUID
from cluster.metadata.commands import CommandEnvelope, ElectLeaders, FenceBroker, Stamp
from cluster.metadata.messages import SubmitRequest
from cluster.metadata.records import (
    Cause,
    CausedRecord,
    ClusterRecord,
    MetadataEntry,
    PartitionChangeRecord,
    TopicRecord,
)
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import ControllerSnapshot
from cluster.rpc import controller_pb2
from tests.unit.metadata.values import value_classes, values

RELAXED = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("cls", value_classes(), ids=lambda cls: cls.__name__)
def test_a_class_and_its_message_have_the_same_fields(cls: type) -> None:
    message = controller_pb2.DESCRIPTOR.message_types_by_name[cls.__name__]
    assert set(get_type_hints(cls)) == set(message.fields_by_name)


@pytest.mark.parametrize("cls", value_classes(), ids=lambda cls: cls.__name__)
@given(data=st.data())
@RELAXED
def test_a_value_survives_the_round_trip(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(values(cls))
    encoded = codec(cls).encode(value)
    assert codec(cls).decode(encoded) == value
    assert codec(cls).encode(codec(cls).decode(encoded)) == encoded


def test_no_message_is_without_a_class_except_lists_and_unions() -> None:
    named = {cls.__name__ for cls in value_classes()}
    rest = set(controller_pb2.DESCRIPTOR.message_types_by_name) - named
    assert rest == {"Int32List", "MetadataRecord", "Command", "CommandResult", "SubmitOutcome"}


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_decode_or_raise_value_error(data: bytes) -> None:
    for cls in (CommandEnvelope, ControllerSnapshot, SubmitRequest, MetadataEntry):
        try:
            value = codec(cls).decode(data)
        except ValueError:
            continue
        assert isinstance(value, cls)


@given(st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_truncated_message_decodes_or_raises_value_error(data: st.DataObject) -> None:
    encoded = codec(CommandEnvelope).encode(data.draw(values(CommandEnvelope)))
    cut = data.draw(st.integers(0, len(encoded)))
    try:
        shorter = codec(CommandEnvelope).decode(encoded[:cut])
    except ValueError:
        return
    assert isinstance(shorter, CommandEnvelope)


def test_an_absent_list_differs_from_an_empty_one() -> None:
    absent = PartitionChangeRecord(topic_id=ZERO_UUID, partition=0)
    empty = PartitionChangeRecord(topic_id=ZERO_UUID, partition=0, isr=())
    assert codec(PartitionChangeRecord).decode(codec(PartitionChangeRecord).encode(absent)).isr is None
    assert codec(PartitionChangeRecord).decode(codec(PartitionChangeRecord).encode(empty)).isr == ()


def test_an_id_of_the_wrong_length_is_named() -> None:
    raw = controller_pb2.TopicRecord(topic_id=b"short", name="t").SerializeToString()
    with pytest.raises(ValueError, match=r"Topic.*topic_id.*16 bytes, not 5"):
        codec(TopicRecord).decode(raw)


def test_an_unknown_enumeration_value_is_named() -> None:
    raw = controller_pb2.ElectLeaders(election=7).SerializeToString()
    with pytest.raises(ValueError, match=r"election: 7 is no ElectionType"):
        codec(ElectLeaders).decode(raw)


def test_a_missing_part_is_named() -> None:
    raw = controller_pb2.CausedRecord(cause=controller_pb2.Cause(event="e")).SerializeToString()
    with pytest.raises(ValueError, match=r"CausedRecord.record is missing"):
        codec(CausedRecord).decode(raw)


def test_a_command_of_a_kind_that_is_not_known_is_an_error() -> None:
    """What an older version of the software does with a newer command."""
    raw = controller_pb2.CommandEnvelope(command=controller_pb2.Command(), client=bytes(16))
    raw.stamp.seed = bytes(16)
    with pytest.raises(ValueError, match="of a kind that this version does not know"):
        codec(CommandEnvelope).decode(raw.SerializeToString())


def test_a_number_that_does_not_fit_is_an_error() -> None:
    envelope = CommandEnvelope(
        stamp=Stamp(wall_ms=0, seed=ZERO_UUID),
        command=FenceBroker(broker_id=2**31, broker_epoch=0, reason="r"),
    )
    with pytest.raises(ValueError):
        codec(CommandEnvelope).encode(envelope)


def test_an_entry_keeps_the_order_of_its_records() -> None:
    records = tuple(
        CausedRecord(record=ClusterRecord(cluster_id=str(number)), cause=Cause(event="e")) for number in range(5)
    )
    entry = MetadataEntry(offset=3, controller_epoch=1, timestamp_ms=9, records=records)
    assert codec(MetadataEntry).decode(codec(MetadataEntry).encode(entry)) == entry
