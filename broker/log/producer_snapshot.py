"""Producer state as a file, in Kafka's .snapshot format.

Owns the bytes. A snapshot keeps the last batch of each producer only, so that after loading one a retry of an earlier
batch is out of order instead of a duplicate; the batches replayed behind it fill the window again.
Source: Kafka's ProducerSnapshot, version 1.
"""

from struct import Struct
from typing import Final

from crc32c import crc32c

from broker.log.producer_state import NO_TXN, ProducerBatch, ProducerEntry, ProducerStates
from cluster.records.batch import NO_SEQUENCE

_PREFIX: Final = Struct(">hI")  # version, checksum of everything behind
_COUNT: Final = Struct(">i")
#: id, epoch, last sequence, last offset, offset delta, timestamp, coordinator epoch, first offset of open transaction
_ENTRY: Final = Struct(">qhiqiqiq")
_VERSION: Final = 1
_NO_OFFSET: Final = -1
#: Larger than a snapshot of as many producers as are remembered.
SNAPSHOT_SIZE_MAX: Final = 16 * 1024 * 1024


def render_snapshot(states: ProducerStates) -> bytes:
    """The whole file."""
    body = bytearray(_COUNT.pack(len(states.entries)))
    for producer_id, entry in states.entries.items():
        last = entry.batches[-1] if entry.batches else None
        body += _ENTRY.pack(
            producer_id,
            entry.epoch,
            last.last_sequence if last else NO_SEQUENCE,
            last.last_offset if last else _NO_OFFSET,
            last.offset_delta if last else 0,
            entry.last_timestamp,
            entry.coordinator_epoch,
            entry.txn_first_offset,
        )
    return _PREFIX.pack(_VERSION, crc32c(body)) + body


def parse_snapshot(content: bytes) -> ProducerStates:
    """The inverse of `render_snapshot`, as far as the format goes. Raises ValueError for anything else."""
    fixed = _PREFIX.size + _COUNT.size
    if len(content) < fixed:
        raise ValueError(f"{len(content)} bytes are no producer snapshot")
    version, checksum = _PREFIX.unpack_from(content)
    if version != _VERSION:
        raise ValueError(f"producer snapshot of version {version}")
    if crc32c(memoryview(content)[_PREFIX.size :]) != checksum:
        raise ValueError("the checksum of the producer snapshot does not match")
    (count,) = _COUNT.unpack_from(content, _PREFIX.size)
    if len(content) != fixed + count * _ENTRY.size:
        raise ValueError(f"{count} producers in {len(content)} bytes")
    entries = []
    for fields in _ENTRY.iter_unpack(content[fixed:]):
        producer_id, epoch, sequence, offset, delta, timestamp, coordinator_epoch, txn_first_offset = fields
        batches = [ProducerBatch(sequence, offset, delta, timestamp)] if offset >= 0 else []
        entries.append(
            (
                producer_id,
                ProducerEntry(epoch, batches, coordinator_epoch, timestamp, max(txn_first_offset, NO_TXN)),
            )
        )
    return ProducerStates(entries)
