"""A client without manners: requests as they are written down here, frames that no client would send, and what comes
back."""

import socket
from typing import Any, TypeVar

from cluster.records.record import NewRecord, build_batch
from cluster.wire.fetch import FetchPartition, FetchRequest, FetchTopic, PartitionData
from cluster.wire.headers import decode_response, encode_request
from cluster.wire.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from cluster.wire.schema import Request, Response

ResponseT = TypeVar("ResponseT", bound=Response)

_TIMEOUT_S = 20.0
#: A timestamp that every broker takes.
TIMESTAMP = 1_700_000_000_000
PRODUCE_VERSION = 11
FETCH_VERSION = 12


class Raw:
    """One connection. `ask` expects an answer; `send` just sends."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), _TIMEOUT_S)
        self._correlation_id = 0

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, request: Request[ResponseT], version: int) -> ResponseT:
        """Raises ConnectionError when the broker closes the connection instead of answering."""
        self._correlation_id += 1
        self.send(b"".join(encode_request(request, version, self._correlation_id, "raw")))
        response_type: type[ResponseT] = request.api.response  # type: ignore[assignment]
        return decode_response(response_type, version, self.frame())

    def frame(self) -> bytes:
        """The next frame, without its size."""
        return self._read(int.from_bytes(self._read(4), "big"))

    def closes(self, within_s: float = _TIMEOUT_S) -> bool:
        """Whether the broker closes the connection in time without another byte."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(_TIMEOUT_S)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            data += piece
        return bytes(data)

    # The two requests that are asked for again and again.

    def produce(
        self,
        topic: str,
        records: bytes | bytearray | None,
        *,
        partition: int = 0,
        acks: int = -1,
        version: int = PRODUCE_VERSION,
    ) -> PartitionProduceResponse:
        """The answer for the one partition."""
        return (
            self.produce_all(topic, records, partition=partition, acks=acks, version=version)
            .responses[0]
            .partition_responses[0]
        )

    def produce_all(
        self, topic: str, records: bytes | bytearray | None, *, partition: int, acks: int, version: int
    ) -> ProduceResponse:
        data = PartitionProduceData(index=partition, records=records)
        request = ProduceRequest(
            acks=acks, timeout_ms=10_000, topic_data=[TopicProduceData(name=topic, partition_data=[data])]
        )
        return self.ask(request, version)

    def fetch(
        self, topic: str, offset: int, *, leader_epoch: int = -1, partition: int = 0, version: int = FETCH_VERSION
    ) -> PartitionData:
        wanted = FetchPartition(
            partition=partition, current_leader_epoch=leader_epoch, fetch_offset=offset, partition_max_bytes=1 << 20
        )
        request = FetchRequest(
            max_wait_ms=0, min_bytes=0, session_epoch=-1, topics=[FetchTopic(topic=topic, partitions=[wanted])]
        )
        return self.ask(request, version).responses[0].partitions[0]


def batch(*values: str, **settings: Any) -> bytearray:
    """A record batch as a producer sends it."""
    return build_batch([NewRecord(None, value.encode(), TIMESTAMP) for value in values], **settings)
