"""The quorum's times and limits, with the relations between them that keep it safe and live."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """The defaults suit a process that is controller and broker at once on a busy machine.

    Death of the leader's process is noticed by its broken streams, not by these timeouts: they only decide how long a
    silent partition goes unnoticed and how much delay of a living leader is tolerated.
    """

    #: Whether an empty data directory is that of a new quorum, by the word of whoever made it. False: this voter may
    #: have lost its disk, so it stays an observer until it has caught up with a live leader.
    initial: bool = True
    #: The folder below the disk's root.
    directory: str = "raft"

    append_entries_period_ms: int = 100
    election_timeout_min_ms: int = 1000
    election_timeout_max_ms: int = 2000
    #: The first election after the start, drawn from this range.
    boot_election_min_ms: int = 50
    boot_election_max_ms: int = 200
    #: The election after a stream of the leader broke. Doubles with every attempt that fails, up to the timeouts above.
    suspicion_min_ms: int = 50
    suspicion_max_ms: int = 150

    #: Proposals in the log at one time, and waiting to get there.
    in_flight_max: int = 256
    waiting_max: int = 4096
    command_bytes_max: int = 512 * 1024
    #: One AppendEntries message; larger than any command.
    batch_bytes_max: int = 1024 * 1024
    #: AppendEntries messages, or snapshot chunks, that one peer is sent at a time.
    batches_max: int = 4

    snapshot_entries: int = 5000
    snapshot_journal_bytes: int = 64 * 1024 * 1024
    #: Applied entries that stay in the log after a snapshot: a peer that was away for a moment needs no snapshot.
    retained_entries: int = 500
    snapshot_chunk_bytes: int = 256 * 1024
    snapshot_bytes_max: int = 1024 * 1024 * 1024

    dial_timeout_ms: int = 1000
    redial_min_ms: int = 50
    redial_max_ms: int = 1000
    #: Frames of one peer that wait for the voter; its stream is not read while there are so many.
    inbox_frames_max: int = 16
    #: A peer whose queue holds more gets no further entries; one whose queue holds four times as much is cut off.
    outbox_bytes_max: int = 8 * 1024 * 1024
    #: How long `stop` waits for another voter to take over the leadership.
    transfer_timeout_ms: int = 500

    def __post_init__(self) -> None:
        assert 3 * self.append_entries_period_ms < self.election_timeout_min_ms < self.election_timeout_max_ms
        assert 0 < self.boot_election_min_ms <= self.boot_election_max_ms
        assert 0 < self.suspicion_min_ms <= self.suspicion_max_ms <= self.election_timeout_max_ms
        assert 0 < self.in_flight_max <= self.waiting_max
        assert 0 < self.command_bytes_max < self.batch_bytes_max
        assert self.snapshot_entries > 0
        assert self.retained_entries >= 0
        assert 0 < self.redial_min_ms <= self.redial_max_ms
