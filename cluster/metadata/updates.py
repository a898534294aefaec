"""What a watcher is sent, and the image that it makes of it. Pure."""

from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import WatchUpdate
from cluster.metadata.records import MetadataEntry
from cluster.metadata.serde import codec
from cluster.metadata.snapshot import MetadataSnapshot, image_of


def image_after(image: MetadataImage, data: bytes) -> MetadataImage:
    """`image` with the encoded WatchUpdate `data` folded in; `image` itself when that holds nothing new.

    Raises ValueError when `data` cannot be read.
    """
    update = codec(WatchUpdate).decode(data)
    if update.snapshot is not None:
        snapshot = image_of(codec(MetadataSnapshot).decode(update.snapshot))
        image = snapshot if snapshot.offset > image.offset else image
    entries = [codec(MetadataEntry).decode(encoded) for encoded in update.entries]
    for entry in entries:
        if entry.offset > image.offset:
            image = image.apply([item.record for item in entry.records], entry.offset, entry.controller_epoch)
    return image
