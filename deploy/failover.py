"""Kills one of three containers under a load of idempotent acks=all writes, starts it again, and counts what is lost.

    python -m deploy.failover BOOTSTRAP COMPOSE...    such as: python -m deploy.failover 127.0.0.1:19092 docker-compose

COMPOSE is the command that finds the containers node-1 to node-3. Exit code 0 when nothing that was acknowledged is
lost, there twice, or out of order.
"""

import itertools
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.e2e.harness import Load, wait_for

TOPIC = "failover"
PARTITIONS = 6
VICTIM = 2
#: How long the load runs before, between and after the events.
QUIET_S = 3.0
#: How long any partition may be without an acknowledgement.
SILENCE_MAX_S = 10.0


@dataclass
class TimedLoad(Load):
    """A load that also knows which partition was acknowledged when."""

    times_of: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        super()._on_delivery(error, message)
        partition = message.partition()
        if error is None and partition is not None:
            self.times_of[partition].append(time.monotonic())

    def longest_silence_of_any_partition(self, since: float) -> float:
        """Seconds between two acknowledgements of one partition, of which the later came after `since`."""
        return max(
            max((after - before for before, after in itertools.pairwise(times) if after >= since), default=float("inf"))
            for times in (self.times_of[partition] for partition in range(self.partitions))
        )


class Story:
    """Tells what happens, and when."""

    def __init__(self, bootstrap: str, compose: Sequence[str]) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._compose = compose
        self._began = time.monotonic()

    def tell(self, sentence: str) -> None:
        print(f"{time.monotonic() - self._began:6.2f} s  {sentence}", flush=True)

    def compose(self, *arguments: str) -> None:
        done = subprocess.run([*self._compose, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def create_topic(self) -> None:
        future = self._admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC]
        future.result(30)

    def led_by_victim(self) -> int:
        return sum(leader == VICTIM for leader, _ in self._partitions())

    def all_led_by_others(self) -> bool:
        return all(leader not in (-1, VICTIM) for leader, _ in self._partitions())

    def in_every_isr(self) -> bool:
        return all(VICTIM in isr for _, isr in self._partitions())

    def _partitions(self) -> list[tuple[int, list[int]]]:
        found = self._admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions.values()
        return [(partition.leader, partition.isrs) for partition in found]


def run(bootstrap: str, compose: Sequence[str]) -> None:
    story = Story(bootstrap, compose)
    story.create_topic()
    load = TimedLoad(bootstrap, TOPIC, PARTITIONS)
    with load:
        time.sleep(QUIET_S)
        led = story.led_by_victim()
        assert led, f"node-{VICTIM} leads nothing, so its death would show nothing"
        story.tell(f"{len(load.times)} records acknowledged; node-{VICTIM} leads {led} of {PARTITIONS} partitions")

        killed_at = time.monotonic()
        story.compose("kill", f"node-{VICTIM}")
        story.tell(f"node-{VICTIM} is killed")
        wait_for(lambda: story.all_led_by_others() or None, "other leaders")
        story.tell("every partition has a leader among the others")
        time.sleep(QUIET_S)
        silence = load.longest_silence_of_any_partition(killed_at)
        story.tell(
            f"writes go on: {len(load.times)} acknowledged; every partition is silent for at most {silence:.2f} s"
        )
        assert silence < SILENCE_MAX_S

        story.compose("start", f"node-{VICTIM}")
        story.tell(f"node-{VICTIM} is started again")
        wait_for(lambda: story.in_every_isr() or None, f"node-{VICTIM} in every ISR")
        story.tell(f"node-{VICTIM} is back in the ISR of every partition")
        time.sleep(QUIET_S)
    story.tell(f"{len(load.times)} records acknowledged, {len(load.failed)} refused")
    load.check()
    story.tell("lost 0   twice 0   out of order 0")


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
