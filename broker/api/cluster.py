"""DescribeCluster (60) and ElectLeaders (43).

DescribeCluster, versions 0-1: what Metadata says of brokers, without topics (KIP-700); 1 asks for brokers or
controllers, of which clients reach only brokers (KIP-919).
ElectLeaders, versions 0-2: preferred leaders (KIP-183), 1 unclean ones as well (KIP-460). Without partitions it means
all of them, and those that need no election are left out of the answer.
"""

from typing import Final

from broker.api.answers import RequestContext
from broker.api.cluster_view import Images, controller_id, live_brokers
from broker.api.commands import Controller, decided
from broker.api.operations import CLUSTER_OPERATIONS, NOT_ASKED
from broker.api.registry import serves
from cluster.errors import ErrorCode
from cluster.ids import TopicPartition
from cluster.metadata.commands import ElectionType, ElectLeaders
from cluster.metadata.results import CommandFailed
from cluster.wire.cluster_admin import (
    DESCRIBE_CLUSTER,
    ELECT_LEADERS,
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

BROKERS: Final = 1
CONTROLLERS: Final = 2


class ClusterApi:
    def __init__(self, *, broker_id: int, images: Images) -> None:
        self._broker_id = broker_id
        self._images = images

    @serves(DESCRIBE_CLUSTER, "0-1")
    def describe_cluster(self, request: DescribeClusterRequest, context: RequestContext) -> DescribeClusterResponse:
        if request.endpoint_type != BROKERS:
            known = request.endpoint_type == CONTROLLERS
            return DescribeClusterResponse(
                error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE if known else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
                error_message="this is a broker" if known else f"there is no endpoint type {request.endpoint_type}",
                endpoint_type=request.endpoint_type,
            )
        image = self._images.image
        brokers = live_brokers(image, context.listener)
        return DescribeClusterResponse(
            cluster_id=image.cluster_id,
            controller_id=controller_id(brokers, self._broker_id),
            brokers=[
                DescribeClusterBroker(broker_id=b.node_id, host=b.host, port=b.port, rack=b.rack) for b in brokers
            ],
            cluster_authorized_operations=(
                CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else NOT_ASKED
            ),
        )


class ElectionsApi:
    def __init__(self, *, controller: Controller) -> None:
        self._controller = controller

    @serves(ELECT_LEADERS, "0-2")
    async def elect_leaders(self, request: ElectLeadersRequest, context: RequestContext) -> ElectLeadersResponse:
        if request.election_type not in frozenset(ElectionType):
            return ElectLeadersResponse(error_code=ErrorCode.INVALID_REQUEST)
        partitions = tuple(
            TopicPartition(topic.topic, number)
            for topic in request.topic_partitions or ()
            for number in topic.partitions
        )
        command = ElectLeaders(
            election=ElectionType(request.election_type),
            partitions=partitions,
            all_partitions=request.topic_partitions is None,
            reason="a client asked for an election",
        )
        result = await decided(self._controller, command, request.timeout_ms)
        by_topic: dict[str, list[PartitionResult]] = {}
        if isinstance(result, CommandFailed):
            for topic, number in partitions:
                by_topic.setdefault(topic, []).append(
                    PartitionResult(partition_id=number, error_code=result.error_code, error_message=result.message)
                )
            return ElectLeadersResponse(error_code=result.error_code, replica_election_results=_results(by_topic))
        for elected in result.partitions:
            by_topic.setdefault(elected.topic, []).append(
                PartitionResult(
                    partition_id=elected.partition,
                    error_code=elected.error_code,
                    error_message=elected.error_message or None,
                )
            )
        return ElectLeadersResponse(replica_election_results=_results(by_topic))


def _results(by_topic: dict[str, list[PartitionResult]]) -> list[ReplicaElectionResult]:
    return [ReplicaElectionResult(topic=topic, partition_result=results) for topic, results in by_topic.items()]
