"""The notation: how a class body becomes a struct."""

import inspect

import pytest

from cluster.ids import ZERO_UUID, Uuid
from cluster.wire.cluster_admin import AlterPartitionReassignmentsRequest
from cluster.wire.consumer_groups import DescribedAssignment, DescribedMember
from cluster.wire.fetch import FetchResponse, PartitionData
from cluster.wire.metadata import MetadataRequest, MetadataResponseTopic
from cluster.wire.produce import PartitionProduceData, ProduceRequest, ProduceResponse
from cluster.wire.registry import APIS, api_name
from cluster.wire.sasl import SaslAuthenticateRequest
from cluster.wire.schema import ArrayOf, Message, Struct, columns, parse_versions
from tests.unit.wire.samples import MESSAGES


def _tables(cls: type[Struct]) -> set[type[Struct]]:
    nested = {column.type.element if isinstance(column.type, ArrayOf) else column.type for column in columns(cls)}
    return {cls}.union(*(_tables(each) for each in nested if isinstance(each, type)))


@pytest.mark.parametrize(
    ("text", "versions"),
    [("3+", range(3, 1 << 15)), ("0-7", range(8)), ("2", range(2, 3)), ("none", range(0))],
)
def test_versions_are_ranges(text: str, versions: range) -> None:
    assert parse_versions(text) == versions


def test_fields_that_are_not_given_take_their_defaults() -> None:
    topic = MetadataResponseTopic(name="orders")
    assert (topic.error_code, topic.name, topic.topic_id, topic.partitions) == (0, "orders", ZERO_UUID, ())
    assert topic.topic_authorized_operations == -(1 << 31)
    assert AlterPartitionReassignmentsRequest().allow_replication_factor_change is True
    assert PartitionData().records == b"", "clients take null for a protocol error"


def test_structs_of_defaults_are_not_shared() -> None:
    one, other = DescribedMember(), DescribedMember()
    assert one.assignment == DescribedAssignment()
    assert one.assignment is not other.assignment


def test_a_field_that_does_not_exist_cannot_be_given_or_set() -> None:
    with pytest.raises(TypeError, match="offsets"):
        MetadataRequest(offsets=[])  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        MetadataRequest().offsets = []  # type: ignore[attr-defined]


def test_structs_are_equal_by_value() -> None:
    assert MetadataResponseTopic(name="orders") == MetadataResponseTopic(name="orders", partitions=[])
    assert MetadataResponseTopic(name="orders") != MetadataResponseTopic(name="payments")
    assert MetadataRequest() != MetadataResponseTopic()
    with pytest.raises(TypeError, match="unhashable"):
        hash(MetadataRequest())


def test_a_struct_shows_its_fields_but_no_bytes() -> None:
    topic = MetadataResponseTopic(name="orders", topic_id=Uuid(bytes(range(16))))
    assert "name='orders', topic_id=AAECAwQFBgcICQoLDA0ODw, is_internal=False" in repr(topic)
    assert (
        repr(SaslAuthenticateRequest(auth_bytes=b"\0user\0secret")) == "SaslAuthenticateRequest(auth_bytes=<12 bytes>)"
    )
    assert repr(PartitionProduceData(index=3)) == "PartitionProduceData(index=3, records=None)"


def test_a_request_knows_its_api_and_its_response() -> None:
    assert ProduceRequest.api.name == "Produce"
    assert ProduceRequest.api.response is ProduceResponse
    assert ProduceResponse.api.request is ProduceRequest


def test_every_api_is_registered_once_in_order_of_keys_with_two_messages_of_its_name() -> None:
    assert list(APIS) == sorted(APIS)
    for key, api in APIS.items():
        assert key == api.key
        assert (api.request.__name__, api.response.__name__) == (f"{api.name}Request", f"{api.name}Response")
        assert len(api.versions) > 0


def test_an_api_without_a_table_is_called_by_its_number() -> None:
    assert api_name(1) == "Fetch"
    assert api_name(999) == "ApiKey(999)"


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_tables_are_sound(cls: type[Message]) -> None:
    """Tags exist in flexible versions only and are distinct; None is a default only where it can be sent."""
    for table in _tables(cls):
        tags = [column.tag for column in columns(table) if column.tag is not None]
        assert len(tags) == len(set(tags))
        for column in columns(table):
            carried = [version for version in column.versions if version in cls.versions]
            assert column.tag is None or all(version in cls.flexible for version in carried), column
            can_be_null = column.tag is not None or all(version in column.nullable for version in carried)
            assert column.default is not None or can_be_null, column


def test_constructors_take_keywords_in_wire_order() -> None:
    FetchResponse()
    parameters = list(inspect.signature(FetchResponse.__init__).parameters)
    assert parameters == ["self", "throttle_time_ms", "error_code", "session_id", "responses", "node_endpoints"]
