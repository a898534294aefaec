"""Which APIs a broker serves, in which versions, and who answers them.

A handler is an object whose methods are marked with `serves`; the table is built from the marks alone, and what
ApiVersions advertises is the table, so it cannot say more or less than what is served.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from broker.api.answers import Answer, Encoded, RequestContext
from cluster.wire.schema import Api, Request, parse_versions

Handle = Callable[[Any, RequestContext], Answer[Any]]
MethodT = TypeVar("MethodT", bound=Callable[..., object])

_MARK: Final = "served_api"


class VersionRange(NamedTuple):
    """What a client is told of one API; both versions inclusive."""

    api_key: int
    min_version: int
    max_version: int


@dataclass(frozen=True, slots=True)
class ServedApi:
    """The mark of a method."""

    api: Api
    versions: range
    #: The lowest version that is advertised; below `versions` only where clients judge a broker by it.
    advertised_from: int

    @property
    def advertised(self) -> VersionRange:
        return VersionRange(self.api.key, self.advertised_from, self.versions[-1])


@dataclass(frozen=True, slots=True)
class Route:
    """One API of the table."""

    api: Api
    request: type[Request[Any]]
    versions: range
    advertised: VersionRange
    handle: Handle
    #: The answer to a version that is not served; without one the connection is closed.
    unsupported: Encoded | None


def serves(api: Api, versions: str, *, advertised_from: int | None = None) -> Callable[[MethodT], MethodT]:
    """Mark a method `(request, context) -> Answer` as the handler of `api` in `versions`, such as "3-11"."""
    served = parse_versions(versions)
    assert served[0] in api.versions, f"{api.name} has no codec for version {served[0]}"
    assert served[-1] in api.versions, f"{api.name} has no codec for version {served[-1]}"
    lowest = served[0] if advertised_from is None else advertised_from

    def mark(method: MethodT) -> MethodT:
        method.__dict__[_MARK] = ServedApi(api, served, lowest)
        return method

    return mark


def served_apis(handler: type) -> Iterator[tuple[str, ServedApi]]:
    """(method name, mark) of every handling method of a class."""
    for name in dir(handler):
        mark = getattr(getattr(handler, name), "__dict__", {}).get(_MARK)
        if mark is not None:
            yield name, mark


class ApiTable(dict[int, Route]):
    """Routes by API key. An API that two handlers claim is a programmer's error."""

    def __init__(self, handlers: Iterable[object]) -> None:
        for handler in handlers:
            for name, mark in served_apis(type(handler)):
                assert mark.api.key not in self, f"{mark.api.name} is served twice"
                self[mark.api.key] = Route(
                    mark.api,
                    mark.api.request,
                    mark.versions,
                    mark.advertised,
                    getattr(handler, name),
                    getattr(handler, "unsupported_version", None),
                )

    @property
    def advertised(self) -> tuple[VersionRange, ...]:
        """In order of API key."""
        return tuple(self[key].advertised for key in sorted(self))
