"""What topic configurations mean on a broker."""

from broker.replication.leader_session import SUBSCRIPTIONS_MAX
from broker.topic_configs import TopicConfigs
from cluster.config.keys import BROKER_KEYS
from cluster.config.properties import BrokerProperties
from cluster.metadata.image import MetadataImage
from cluster.net.grpc_net import GrpcNet

#: Bytes of a frame's header for one partition, at most.
COLUMNS_BYTES = 32


def test_the_largest_batch_that_is_taken_can_be_replicated() -> None:
    """A leader that cannot send what it appended has lost its followers for good."""
    configs = TopicConfigs(BrokerProperties.of({"message.max.bytes": str(2**31 - 1)}), 1)
    batch_bytes = configs.log_config(MetadataImage(), "t").max_message_bytes
    frame_bytes = BROKER_KEYS["replica.fetch.max.bytes"].maximum
    assert frame_bytes is not None
    assert batch_bytes + frame_bytes + SUBSCRIPTIONS_MAX * COLUMNS_BYTES < GrpcNet.max_message_bytes
