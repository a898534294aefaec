"""What the tests ask of every client: make a topic, write records, read topics from end to end without a group."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tests.interop.corpus import CODECS, PARTITION_COUNT, Fetched, Record, partition_of

REPLICATION_FACTOR = 3
#: How long any one answer of a cluster may take.
TIMEOUT_S = 30


class Client(ABC):
    """A writer and a reader. Each method opens its own connections and closes them; any failure is an exception."""

    name: str
    #: What its producer can compress with.
    codecs: Sequence[str] = CODECS
    #: Which of them it may leave out without a word.
    codecs_not_certain: Sequence[str] = ()
    #: Partitions of the topic that it writes.
    partition_count = PARTITION_COUNT
    #: Whether its producer sends the timestamps that it is given.
    sets_timestamps = True

    def missing(self) -> str | None:
        """Why this client cannot run on this machine, None when it can."""
        return None

    def partition_of(self, acks: str, codec: str) -> int:
        """Where records with these settings go."""
        return partition_of(acks, codec)

    def can_write(self, record: Record) -> bool:
        """Whether the client has a way to send such a record."""
        return True

    def can_read(self, partition: int) -> bool:
        """Whether `read` covers this partition of any topic."""
        return True

    @abstractmethod
    def create_topic(self, bootstrap: str, topic: str) -> None:
        """Make a topic of `partition_count` partitions with REPLICATION_FACTOR replicas."""

    @abstractmethod
    def write(self, bootstrap: str, topic: str, records: Sequence[Record]) -> None:
        """Write `records` in their order, with one producer for each run of equal (acks, codec)."""

    @abstractmethod
    def read(self, bootstrap: str, topics: Sequence[str]) -> list[Fetched]:
        """Everything in `topics` from the first offset to the end, each partition in its order."""
