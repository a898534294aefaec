"""Record what real clients send: `python -m tests.golden.capture > tests/golden/requests.txt`.

A broker of one topic without a log answers just enough for producers to produce and consumers to fetch. The first frame
of each API and client is printed as `client its-version API version hex`, without the size in front of it.
"""

import asyncio
import importlib.metadata
import socket
import threading
from collections.abc import Callable
from typing import Any

import aiokafka
import confluent_kafka
import kafka

from cluster.ids import Uuid
from cluster.wire.api_versions import ApiVersion, ApiVersionsResponse
from cluster.wire.fetch import FetchableTopicResponse, FetchRequest, FetchResponse, PartitionData
from cluster.wire.frames import Frame, find_frame
from cluster.wire.headers import decode_request, decode_request_header, encode_response
from cluster.wire.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from cluster.wire.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from cluster.wire.produce import PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse
from cluster.wire.registry import APIS
from cluster.wire.schema import Request, Response
from cluster.wire.transactions import InitProducerIdRequest, InitProducerIdResponse

_TOPIC = "orders"
_TOPIC_ID = Uuid(bytes(range(1, 17)))
_FRAME_SIZE_MAX = 1 << 20
_SERVED = (0, 1, 2, 3, 18, 22)


class _Broker:
    """Serves each connection in a thread of its own until the client closes it."""

    def __init__(self) -> None:
        self.frames: dict[str, tuple[int, bytes]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        try:
            while data := connection.recv(65536):
                buffer += data
                while isinstance(frame := find_frame(buffer, 0, len(buffer), _FRAME_SIZE_MAX), Frame):
                    connection.sendall(b"".join(self._answer(buffer[frame.start : frame.end])))
                    buffer = buffer[frame.end :]
        except ConnectionError:
            pass  # the client is done

    def _answer(self, frame: bytes) -> list[Any]:
        header = decode_request_header(frame)
        api = APIS[header.api_key]
        self.frames.setdefault(api.name, (header.api_version, frame))
        request = decode_request(api.request, header.api_version, frame, header.body_offset)
        return encode_response(self._respond(request), header.api_version, header.correlation_id)

    def _respond(self, request: Request[Any]) -> Response:
        match request:
            case MetadataRequest():
                partition = MetadataResponsePartition(leader_id=1, leader_epoch=0, replica_nodes=[1], isr_nodes=[1])
                return MetadataResponse(
                    brokers=[MetadataResponseBroker(node_id=1, host="127.0.0.1", port=self.port)],
                    cluster_id="golden",
                    controller_id=1,
                    topics=[MetadataResponseTopic(name=_TOPIC, topic_id=_TOPIC_ID, partitions=[partition])],
                )
            case InitProducerIdRequest():
                return InitProducerIdResponse(producer_id=4000)
            case ProduceRequest():
                answer = TopicProduceResponse(
                    name=_TOPIC, topic_id=_TOPIC_ID, partition_responses=[PartitionProduceResponse()]
                )
                return ProduceResponse(responses=[answer])
            case ListOffsetsRequest():
                offset = ListOffsetsPartitionResponse(offset=0, leader_epoch=0)
                return ListOffsetsResponse(topics=[ListOffsetsTopicResponse(name=_TOPIC, partitions=[offset])])
            case FetchRequest():
                empty = PartitionData(high_watermark=0, last_stable_offset=0, log_start_offset=0)
                topic = FetchableTopicResponse(topic=_TOPIC, topic_id=_TOPIC_ID, partitions=[empty])
                return FetchResponse(responses=[topic])
            case _:
                served = [APIS[key] for key in _SERVED]
                return ApiVersionsResponse(
                    api_keys=[
                        ApiVersion(api_key=api.key, min_version=api.versions[0], max_version=api.versions[-1])
                        for api in served
                    ]
                )


def _confluent_kafka(bootstrap: str) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "client.id": "golden", "enable.idempotence": True, "compression.type": "lz4"}
    )
    producer.produce(_TOPIC, value=b"value", key=b"key", headers={"header": b"h"})
    producer.flush(10)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "golden", "client.id": "golden"})
    consumer.assign([confluent_kafka.TopicPartition(_TOPIC, 0, confluent_kafka.OFFSET_BEGINNING)])
    consumer.poll(2)


def _kafka_python(bootstrap: str) -> None:
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, client_id="golden")
    producer.send(_TOPIC, value=b"value", key=b"key").get(timeout=10)
    consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, client_id="golden", group_id=None)
    consumer.assign([kafka.TopicPartition(_TOPIC, 0)])
    consumer.seek_to_beginning()
    consumer.poll(timeout_ms=2000)


def _aiokafka(bootstrap: str) -> None:
    async def run() -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, client_id="golden")
        await producer.start()
        await producer.send_and_wait(_TOPIC, value=b"value", key=b"key")
        await producer.stop()
        consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, client_id="golden", group_id=None)
        await consumer.start()
        consumer.assign([aiokafka.TopicPartition(_TOPIC, 0)])
        await consumer.seek_to_beginning()
        await consumer.getmany(timeout_ms=1000)
        await consumer.stop()

    asyncio.run(run())


def main() -> None:
    clients: dict[str, Callable[[str], None]] = {
        "confluent-kafka": _confluent_kafka,
        "kafka-python": _kafka_python,
        "aiokafka": _aiokafka,
    }
    for client, use in clients.items():
        broker = _Broker()
        use(f"127.0.0.1:{broker.port}")
        for name, (version, frame) in sorted(broker.frames.items()):
            print(client, importlib.metadata.version(client), name, version, frame.hex())


if __name__ == "__main__":
    main()
