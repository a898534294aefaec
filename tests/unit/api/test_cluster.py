"""DescribeCluster, ElectLeaders, DescribeLogDirs, ApiVersions and the table of APIs."""

from pathlib import Path

import pytest

from broker.api.answers import Encoded, RequestContext
from broker.api.registry import ApiTable, serves
from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.metadata.commands import ElectionType, ElectLeaders
from cluster.metadata.results import ElectedLeader, LeadersElected
from cluster.wire.api_versions import ApiVersionsRequest, ApiVersionsResponse
from cluster.wire.cluster_admin import DescribeClusterRequest, ElectLeadersRequest, TopicPartitions
from cluster.wire.groups import HEARTBEAT, HeartbeatRequest, HeartbeatResponse
from cluster.wire.headers import decode_response
from cluster.wire.log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from cluster.wire.registry import APIS
from tests.unit.api.rig import CLUSTER_ID, WALL_MS, Broker, batch, broker_image, cluster_image, partition_image
from tests.unit.broker.wire_rig import on_loop

# DescribeCluster.


def test_the_cluster_is_described_as_metadata_does(tmp_path: Path) -> None:
    """KIP-700."""
    brokers = [broker_image(1, listeners=("PLAINTEXT", "EXTERNAL")), broker_image(2), broker_image(3, fenced=True)]
    response = Broker(tmp_path, cluster_image(brokers=brokers)).ask(DescribeClusterRequest(), 1)
    assert (response.error_code, response.cluster_id, response.controller_id) == (0, CLUSTER_ID, 1)
    assert [(b.broker_id, b.host, b.port) for b in response.brokers] == [(1, "host-1", 9092), (2, "host-2", 9092)]
    assert response.cluster_authorized_operations == -(1 << 31)


@pytest.mark.parametrize(
    ("kind", "code"), [(2, ErrorCode.MISMATCHED_ENDPOINT_TYPE), (3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE)]
)
def test_only_brokers_are_described(tmp_path: Path, kind: int, code: ErrorCode) -> None:
    """KIP-919."""
    response = Broker(tmp_path).ask(DescribeClusterRequest(endpoint_type=kind), 1)
    assert (response.error_code, response.endpoint_type) == (code, kind)


# ElectLeaders.


@on_loop
async def test_elections_are_the_controllers(tmp_path: Path) -> None:
    """KIP-460."""
    broker = Broker(tmp_path)
    broker.controller.script = [
        LeadersElected(
            partitions=(
                ElectedLeader(topic="a", partition=0),
                ElectedLeader(
                    topic="b", partition=1, error_code=ErrorCode.ELECTION_NOT_NEEDED, error_message="it leads"
                ),
                ElectedLeader(topic="a", partition=2),
            )
        )
    ]
    wanted = [TopicPartitions(topic="a", partitions=[0, 2]), TopicPartitions(topic="b", partitions=[1])]
    response = await broker.await_answer(
        ElectLeadersRequest(election_type=1, topic_partitions=wanted, timeout_ms=5000), 2
    )
    (command,) = broker.controller.commands
    assert isinstance(command, ElectLeaders)
    assert command.election is ElectionType.UNCLEAN
    assert command.partitions == (TopicPartition("a", 0), TopicPartition("a", 2), TopicPartition("b", 1))
    assert not command.all_partitions
    assert [
        (topic.topic, [(p.partition_id, p.error_code, p.error_message) for p in topic.partition_result])
        for topic in response.replica_election_results
    ] == [("a", [(0, 0, None), (2, 0, None)]), ("b", [(1, ErrorCode.ELECTION_NOT_NEEDED, "it leads")])]


@on_loop
async def test_no_partitions_mean_all_of_them(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.script = [LeadersElected(partitions=())]
    response = await broker.await_answer(ElectLeadersRequest(topic_partitions=None, timeout_ms=5000), 0)
    (command,) = broker.controller.commands
    assert isinstance(command, ElectLeaders)
    assert command.all_partitions
    assert response.replica_election_results == []


@on_loop
async def test_an_election_that_fails_as_a_whole_fails_for_every_partition(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.controller.refuse(ErrorCode.REQUEST_TIMED_OUT)
    wanted = [TopicPartitions(topic="a", partitions=[0])]
    response = await broker.await_answer(ElectLeadersRequest(topic_partitions=wanted, timeout_ms=5000), 2)
    assert response.error_code == ErrorCode.REQUEST_TIMED_OUT
    assert response.replica_election_results[0].partition_result[0].error_code == ErrorCode.REQUEST_TIMED_OUT


@on_loop
async def test_an_election_of_no_kind_is_an_invalid_request(tmp_path: Path) -> None:
    response = await Broker(tmp_path).await_answer(ElectLeadersRequest(election_type=7, timeout_ms=5000), 2)
    assert response.error_code == ErrorCode.INVALID_REQUEST


# DescribeLogDirs.


def test_the_sizes_of_replicas_are_told(tmp_path: Path) -> None:
    """KIP-827: and how much room is left."""
    image = cluster_image({"a": [partition_image()] * 2, "b": [partition_image()]})
    broker = Broker(tmp_path, image)
    for topic, number in (("b", 0), ("a", 1), ("a", 0)):
        broker.replicas.add(topic, number)
    broker.replicas.partition("a", 1).append(batch("x"), 1, WALL_MS)
    (result,) = broker.ask(DescribeLogDirsRequest(topics=None), 4).results
    assert (result.error_code, result.log_dir, result.total_bytes) == (0, "/data", -1)
    assert result.usable_bytes > 0
    assert [topic.name for topic in result.topics] == ["a", "b"]
    sizes = {p.partition_index: (p.partition_size, p.offset_lag, p.is_future_key) for p in result.topics[0].partitions}
    assert sizes == {0: (0, 0, False), 1: (len(batch("x")), 0, False)}


def test_log_dirs_are_filtered_by_partition(tmp_path: Path) -> None:
    broker = Broker(tmp_path, cluster_image({"a": [partition_image()] * 2}))
    for number in (0, 1):
        broker.replicas.add("a", number)
    wanted = [DescribableLogDirTopic(topic="a", partitions=[1, 5]), DescribableLogDirTopic(topic="z", partitions=[0])]
    (result,) = broker.ask(DescribeLogDirsRequest(topics=wanted), 4).results
    assert [p.partition_index for topic in result.topics for p in topic.partitions] == [1]


# ApiVersions.


def api_versions(broker: Broker, version: int, name: str = "lib", software_version: str = "1.0") -> ApiVersionsResponse:
    request = ApiVersionsRequest(client_software_name=name, client_software_version=software_version)
    answer = broker.call(request, version)
    assert isinstance(answer, Encoded)
    return decode_response(ApiVersionsResponse, version, bytes(4) + answer.body)


@pytest.mark.parametrize("version", range(5))
def test_what_is_advertised_is_the_table(tmp_path: Path, version: int) -> None:
    broker = Broker(tmp_path)
    response = api_versions(broker, version)
    told = [(key.api_key, key.min_version, key.max_version) for key in response.api_keys]
    assert response.error_code == ErrorCode.NONE
    assert told == list(broker.table.advertised)
    assert (18, 0, 4) in told


def test_what_clients_judge_a_broker_by_is_in_its_ranges(tmp_path: Path) -> None:
    """librdkafka before 2.11 takes a feature for absent unless these exact versions are in the range."""
    ranges = {key: range(low, high + 1) for key, low, high in Broker(tmp_path).table.advertised}
    for key, version in ((0, 3), (1, 4), (0, 7), (1, 10), (0, 0), (2, 1), (22, 0)):
        assert version in ranges[key], (APIS[key].name, version)


def test_no_version_is_served_that_the_codec_does_not_know(tmp_path: Path) -> None:
    for key, route in Broker(tmp_path).table.items():
        assert set(route.versions) <= set(APIS[key].versions)
        assert route.advertised.max_version == route.versions[-1]


@pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "ü"])
def test_software_that_breaks_the_rules_of_names_is_refused(tmp_path: Path, name: str) -> None:
    """KIP-511."""
    broker = Broker(tmp_path)
    assert api_versions(broker, 3, name=name).error_code == ErrorCode.INVALID_REQUEST
    assert api_versions(broker, 3, software_version=name).error_code == ErrorCode.INVALID_REQUEST
    assert api_versions(broker, 2, name=name).error_code == ErrorCode.NONE


def test_no_features_are_advertised(tmp_path: Path) -> None:
    """KIP-584, KIP-890: without transaction.version clients stay with the first kind of transactions."""
    response = api_versions(Broker(tmp_path), 4)
    assert (list(response.supported_features), list(response.finalized_features)) == ([], [])


def test_two_handlers_of_one_api_are_a_programmers_error() -> None:
    class One:
        @serves(HEARTBEAT, "0-4")
        def heartbeat(self, request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
            return HeartbeatResponse()

    with pytest.raises(AssertionError, match="served twice"):
        ApiTable([One(), One()])


def test_a_version_without_codec_cannot_be_served() -> None:
    with pytest.raises(AssertionError, match="no codec"):
        serves(HEARTBEAT, "0-99")
