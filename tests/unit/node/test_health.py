"""A health check passes only when a broker answers and counts itself in."""

import socket
import threading
from collections.abc import Iterator

import pytest

from cluster.wire.cluster_admin import DescribeClusterBroker, DescribeClusterResponse
from cluster.wire.headers import encode_response
from node.health import main


@pytest.fixture
def broker() -> Iterator[str]:
    """The address of a server that answers DescribeCluster with the brokers 1 and 3."""
    brokers = [DescribeClusterBroker(broker_id=number, host="localhost", port=9092) for number in (1, 3)]
    answer = b"".join(encode_response(DescribeClusterResponse(cluster_id="c", brokers=brokers), 0, 1))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def test_a_broker_that_names_itself_is_healthy(broker: str) -> None:
    assert main([broker, "3"]) == 0


def test_any_broker_will_do_without_an_id(broker: str) -> None:
    assert main([broker]) == 0


def test_a_broker_that_others_do_not_see_is_not_healthy(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([broker, "2"]) == 1
    assert "it names [1, 3]" in capsys.readouterr().out


def test_silence_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    assert main([address, "1"]) == 1


@pytest.mark.parametrize("arguments", [["localhost"], ["localhost:9092", "one"], ["localhost:9092", "1", "2"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    assert main(arguments) == 2
