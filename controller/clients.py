"""What each client has been answered, so that a command whose outcome its sender does not know is applied once.

Part of the replicated state: every controller forgets the same client at the same command. A client settles its
sequences from below; results of settled ones are dropped, and a settled command that arrives late is not applied.

State machine without effects. Source: the Raft dissertation, section 6.3.
"""

from cluster.ids import Uuid
from cluster.metadata.commands import CLIENT_WINDOW
from cluster.metadata.snapshot import ClientSnapshot, SettledResult

#: Clients remembered; the one heard least lately is forgotten first.
CLIENTS_MAX = 1000


class _Client:
    __slots__ = ("results", "settled_below")

    def __init__(self, settled_below: int, results: dict[int, bytes]) -> None:
        self.settled_below = settled_below
        #: Encoded results by sequence, in order of sequence once sorted; at most CLIENT_WINDOW of them.
        self.results = results


class ClientTable:
    """Results of the latest commands of the latest clients."""

    def __init__(self) -> None:
        #: In the order in which they were heard last.
        self._clients: dict[Uuid, _Client] = {}

    def find(self, client: Uuid, sequence: int) -> bytes | None:
        """The result that this command was answered with, if it was applied before and is not settled."""
        known = self._clients.get(client)
        return None if known is None else known.results.get(sequence)

    def is_settled(self, client: Uuid, sequence: int) -> bool:
        """Whether nobody waits for the command: it must not be applied."""
        known = self._clients.get(client)
        return known is not None and sequence < known.settled_below

    def hear(self, client: Uuid, sequence: int, settled_below: int) -> None:
        """Note that the client spoke, and drop what it has settled."""
        known = self._clients.pop(client, None) or _Client(0, {})
        self._clients[client] = known
        # A client that breaks its word about the window is treated as if it had kept it.
        floor = max(known.settled_below, settled_below, sequence - CLIENT_WINDOW + 1)
        if floor > known.settled_below:
            known.settled_below = floor
            known.results = {number: result for number, result in known.results.items() if number >= floor}
        if len(self._clients) > CLIENTS_MAX:
            del self._clients[next(iter(self._clients))]

    def remember(self, client: Uuid, sequence: int, result: bytes) -> None:
        """Keep the result of a command that was heard."""
        self._clients[client].results[sequence] = result

    def snapshot(self) -> tuple[ClientSnapshot, ...]:
        return tuple(
            ClientSnapshot(
                client=client,
                settled_below=known.settled_below,
                results=tuple(
                    SettledResult(sequence=sequence, result=known.results[sequence])
                    for sequence in sorted(known.results)
                ),
            )
            for client, known in self._clients.items()
        )

    @classmethod
    def restored(cls, clients: tuple[ClientSnapshot, ...]) -> "ClientTable":
        """Raises ValueError when a client is there twice or there are too many."""
        table = cls()
        for client in clients:
            results = {item.sequence: item.result for item in client.results}
            table._clients[client.client] = _Client(client.settled_below, results)
        if len(table._clients) < len(clients) or len(clients) > CLIENTS_MAX:
            raise ValueError("a snapshot holds a client twice, or too many clients")
        return table
