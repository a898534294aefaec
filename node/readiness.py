"""Asks a broker over its client port which brokers it sees alive."""

import socket

from cluster.wire.cluster_admin import DescribeClusterRequest, DescribeClusterResponse
from cluster.wire.headers import decode_response, encode_request

_TIMEOUT_S = 1.0
_ANSWER_BYTES_MAX = 1 << 20


def brokers_seen_by(host: str, port: int, cluster_id: str | None = None) -> frozenset[int]:
    """Ids of the brokers that the broker at `host`:`port` tells its clients of.

    Empty while it does not answer, and when it is of another cluster than `cluster_id`.
    """
    request = b"".join(encode_request(DescribeClusterRequest(), 0, 1, "blumfeld-up"))
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as connection:
            connection.sendall(request)
            size = int.from_bytes(_read(connection, 4), "big")
            if size > _ANSWER_BYTES_MAX:
                return frozenset()
            response = decode_response(DescribeClusterResponse, 0, _read(connection, size))
    except (OSError, ValueError):
        return frozenset()
    if response.error_code or cluster_id not in (None, response.cluster_id):
        return frozenset()
    return frozenset(broker.broker_id for broker in response.brokers)


def _read(connection: socket.socket, size: int) -> bytes:
    """Raises ConnectionError when fewer bytes come."""
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("the broker closed the connection")
        data += piece
    return bytes(data)
