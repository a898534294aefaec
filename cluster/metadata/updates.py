"""What a watcher is sent, and the image that it makes of it. Pure.

Watchers act upon records and leave their causes, which are for people, undecoded: that is half of the work when a
broker with thousands of partitions dies.
"""

from dataclasses import dataclass

from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import WatchUpdate
from cluster.metadata.records import MetadataEntry, MetadataRecord
from cluster.metadata.serde import codec, part_codec
from cluster.metadata.snapshot import MetadataSnapshot, image_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecordOnly:
    """A CausedRecord without its cause."""

    record: MetadataRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """A MetadataEntry as far as an image is concerned."""

    offset: int
    controller_epoch: int
    records: tuple[_RecordOnly, ...]


_FACTS = part_codec(_Facts, MetadataEntry)


def image_after(image: MetadataImage, data: bytes) -> MetadataImage:
    """`image` with the encoded WatchUpdate `data` folded in; `image` itself when that holds nothing new.

    Raises ValueError when `data` cannot be read.
    """
    update = codec(WatchUpdate).decode(data)
    if update.snapshot is not None:
        snapshot = image_of(codec(MetadataSnapshot).decode(update.snapshot))
        image = snapshot if snapshot.offset > image.offset else image
    entries = [_FACTS.decode(encoded) for encoded in update.entries]
    for entry in entries:
        if entry.offset > image.offset:
            image = image.apply([item.record for item in entry.records], entry.offset, entry.controller_epoch)
    return image
