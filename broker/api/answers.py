"""What a handler gives back: a response, an encoded one, one that comes later, or none.

Owns the small types between handlers and connections. Never encodes on a connection's behalf, never does I/O.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from cluster.wire.headers import encode_response
from cluster.wire.schema import Response

ResponseT = TypeVar("ResponseT", bound=Response)

#: Size and correlation id, which every encoded response begins with.
_PREFIX_SIZE: Final = 8


class RequestContext(NamedTuple):
    """Who asks, and in which version."""

    api_version: int
    #: Null is legal.
    client_id: str | None
    #: Name of the listener that the client came in on: it decides which addresses it is told.
    listener: str
    #: The client's address, for people.
    client_address: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A response that is encoded already, and may be sent many times: everything behind the correlation id."""

    body: bytes


def encoded(response: Response, version: int) -> Encoded:
    """`response` without what differs from one request to the next."""
    return Encoded(b"".join(encode_response(response, version, 0))[_PREFIX_SIZE:])


class Later(Generic[ResponseT]):
    """An answer that is not known yet. Whoever owns it calls `complete` once, on the event loop, after it was returned.

    A subclass that holds something overrides `abandon`.
    """

    __slots__ = ("_deliver",)

    def __init__(self) -> None:
        self._deliver: Callable[[Response | Encoded], None] | None = None

    def deliver_to(self, deliver: Callable[[Response | Encoded], None]) -> None:
        """Called once, by the connection."""
        self._deliver = deliver

    def complete(self, response: ResponseT) -> None:
        assert self._deliver is not None, "an answer is completed after it was returned"
        self._deliver(response)

    def abandon(self) -> None:
        """The connection is gone: `complete` has no effect any more and need not be called."""


#: None: the request gets no response at all.
Answer: TypeAlias = ResponseT | Encoded | Later[ResponseT] | Coroutine[Any, Any, ResponseT | Encoded] | None


class CloseConnection(Exception):
    """Raised by a handler that can only close the connection; the text says why."""
