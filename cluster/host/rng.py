"""Real chance: the operating system's entropy."""

import random
import uuid

from cluster.ids import ZERO_UUID, Uuid


class SystemRng:
    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def random(self) -> float:
        return self._random.random()

    def randint(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def uuid(self) -> Uuid:
        """A version 4 uuid. Never the zero one, nor one whose text begins with a dash (tools take it for an option)."""
        while True:
            raw = uuid.uuid4().bytes
            if raw != ZERO_UUID and raw[0] >> 2 != 62:
                return Uuid(raw)
