"""What a watcher makes of an update."""

import pytest

from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import WatchUpdate
from cluster.metadata.records import Cause, CausedRecord, MetadataEntry, ProducerIdsRecord
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import MetadataSnapshot, snapshot_of
from cluster.metadata.updates import image_after


def _entry(offset: int) -> bytes:
    record = CausedRecord(record=ProducerIdsRecord(next_producer_id=offset), cause=Cause(event="e"))
    return codec(MetadataEntry).encode(
        MetadataEntry(offset=offset, controller_epoch=1, timestamp_ms=0, records=(record,))
    )


def _update(*entries: bytes, snapshot: bytes | None = None) -> bytes:
    return codec(WatchUpdate).encode(WatchUpdate(entries=entries, snapshot=snapshot))


def test_entries_are_folded_in_order() -> None:
    image = image_after(MetadataImage(), _update(_entry(3), _entry(5)))
    assert (image.offset, image.next_producer_id) == (5, 5)


def test_what_is_held_already_is_skipped() -> None:
    held = image_after(MetadataImage(), _update(_entry(5)))
    assert image_after(held, _update(_entry(3), _entry(5))) is held
    assert image_after(held, _update(_entry(5), _entry(6))).offset == 6


def test_a_snapshot_replaces_and_an_older_one_does_not() -> None:
    held = image_after(MetadataImage(), _update(_entry(5)))
    newer = MetadataImage(offset=9, controller_epoch=2, cluster_id="c")
    snapshot = codec(MetadataSnapshot).encode(snapshot_of(newer))
    assert image_after(held, _update(snapshot=snapshot)) == newer
    older = codec(MetadataSnapshot).encode(snapshot_of(MetadataImage(offset=2)))
    assert image_after(held, _update(snapshot=older)) is held


@pytest.mark.parametrize("data", [b"\xff", _update(b"\xff"), _update(snapshot=b"\xff")])
def test_what_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        image_after(MetadataImage(), data)
