"""Making topics that clients ask about (auto.create.topics.enable).

Owns the creations that are under way: many clients that ask about the same name cost one command. Never decides counts
or placement. Source: Kafka's auto-creation; the answer waits for a leader, because clients then need not ask twice.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from broker.api.commands import Controller, decided
from cluster.errors import ErrorCode
from cluster.metadata.commands import CreateTopics, NewTopic
from cluster.metadata.results import CommandFailed
from cluster.seams import Spawner

#: How long a client's question may wait for the topic and its leader.
CREATE_TIMEOUT_MS: Final = 1000
#: Names that are being created at one time; others are unknown until there is room.
CREATIONS_MAX: Final = 1000


class TopicCreator:
    """One per broker."""

    def __init__(self, *, controller: Controller, spawner: Spawner) -> None:
        self._controller = controller
        self._spawner = spawner
        self._under_way: dict[str, asyncio.Future[ErrorCode]] = {}

    async def create(self, names: Iterable[str]) -> dict[str, ErrorCode]:
        """Make each of `names`; returns why it failed for those that do not exist now."""
        outcomes: dict[str, asyncio.Future[ErrorCode]] = {}
        new: list[str] = []
        for name in dict.fromkeys(names):
            future = self._under_way.get(name)
            if future is None and len(self._under_way) < CREATIONS_MAX:
                future = self._under_way[name] = asyncio.get_running_loop().create_future()
                new.append(name)
            if future is not None:
                outcomes[name] = future
        if new:
            self._spawner.spawn(self._create(tuple(new)), f"creation of {len(new)} topics")
        codes = {name: await asyncio.shield(future) for name, future in outcomes.items()}
        return {name: code for name, code in codes.items() if code is not ErrorCode.NONE}

    async def _create(self, names: tuple[str, ...]) -> None:
        codes = dict.fromkeys(names, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        try:
            command = CreateTopics(topics=tuple(NewTopic(name=name) for name in names))
            result = await decided(self._controller, command, CREATE_TIMEOUT_MS)
            if isinstance(result, CommandFailed):
                codes = dict.fromkeys(names, _told(result.error_code))
            else:
                codes.update((topic.name, _told(topic.error_code)) for topic in result.topics)
        finally:
            for name in names:
                self._under_way.pop(name).set_result(codes[name])


def _told(code: ErrorCode) -> ErrorCode:
    """What a question about a topic hears of its creation's outcome: to come back, unless that is of no use."""
    if code is ErrorCode.TOPIC_ALREADY_EXISTS:
        return ErrorCode.NONE
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if code.retriable else code
