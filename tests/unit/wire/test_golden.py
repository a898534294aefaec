"""Frames that real clients sent are understood, and would have been sent by us bit for bit."""

from pathlib import Path

import pytest

from cluster.wire.codec import records_view
from cluster.wire.headers import decode_request, decode_request_header, encode_request
from cluster.wire.produce import ProduceRequest
from cluster.wire.registry import APIS, api_name

_REQUESTS = Path(__file__).parents[2] / "golden" / "requests.txt"
_FRAMES = [
    pytest.param(name, int(version), bytes.fromhex(frame), id=f"{client}-{name}")
    for client, _, name, version, frame in map(str.split, _REQUESTS.read_text().splitlines())
]


@pytest.mark.parametrize(("name", "version", "frame"), _FRAMES)
def test_a_request_of_a_real_client_is_read_and_written_alike(name: str, version: int, frame: bytes) -> None:
    header = decode_request_header(frame)
    assert (api_name(header.api_key), header.api_version, header.client_id) == (name, version, "golden")
    request = decode_request(APIS[header.api_key].request, version, frame, header.body_offset)
    again = b"".join(encode_request(request, version, header.correlation_id, header.client_id))
    assert again[4:] == frame


@pytest.mark.parametrize("frame", [frame.values[2] for frame in _FRAMES if frame.values[0] == "Produce"])
def test_a_produced_batch_is_a_view_of_the_frame_it_came_in(frame: bytes) -> None:
    header = decode_request_header(frame)
    request = decode_request(ProduceRequest, header.api_version, frame, header.body_offset)
    records = records_view(request.topic_data[0].partition_data[0].records)
    assert records is not None
    assert records.obj is frame
    assert records[16] == 2, "the magic byte of a record batch"
    assert int.from_bytes(records[8:12], "big") == len(records) - 12
