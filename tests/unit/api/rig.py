"""A broker's collaborators: real partitions on real logs, a clock that stands still, a scripted controller."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from broker.api.answers import Later, RequestContext
from broker.api.assembly import build_apis
from broker.api.registry import ApiTable
from broker.log.config import LogConfig
from broker.log.files import FileCache
from broker.log.partition_log import AppendInfo
from broker.log.reader import LogSlice
from broker.log.recovery import create_log
from broker.replication.partition import LeaderRole, Partition, ReplicationConfig
from broker.topic_configs import TopicConfigs
from cluster.config.properties import BrokerProperties
from cluster.errors import ErrorCode, KafkaError
from cluster.host.disk import HostDisk
from cluster.ids import Endpoint, TopicPartition, Uuid
from cluster.metadata.commands import CommandOf
from cluster.metadata.image import BrokerImage, MetadataImage, PartitionImage, TopicImage
from cluster.metadata.records import Listener, ResourceType
from cluster.metadata.results import CommandResult
from cluster.records.record import NewRecord, build_batch
from cluster.seams import Task
from cluster.wire.schema import Request, Response

ResultT = TypeVar("ResultT")

WALL_MS = 1_700_000_000_000
BROKER_ID = 1
CLUSTER_ID = "abcdefghijklmnopqrstuv"


class StillClock:
    """Time moves when a test says so."""

    def __init__(self) -> None:
        self.time_ms = 1000
        self.timers: list[StillTimer] = []

    def now_ms(self) -> int:
        return self.time_ms

    def wall_ms(self) -> int:
        return WALL_MS + self.time_ms

    async def sleep_ms(self, delay_ms: float) -> None:
        self.time_ms += int(delay_ms)
        await asyncio.sleep(0)

    def call_later_ms(self, delay_ms: float, callback: Callable[[], None]) -> "StillTimer":
        timer = StillTimer(self.time_ms + delay_ms, callback)
        self.timers.append(timer)
        return timer

    def advance(self, by_ms: int) -> None:
        """Move time, and call what is due."""
        self.time_ms += by_ms
        for timer in [timer for timer in self.timers if timer.due_ms <= self.time_ms]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.callback()

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)


class StillTimer:
    def __init__(self, due_ms: float, callback: Callable[[], None]) -> None:
        self.due_ms = due_ms
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class LoopSpawner:
    """Tasks on the running loop; what one raises comes out of `join`."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> Task:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task

    async def cancel_all(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def join(self) -> None:
        await asyncio.gather(*self.tasks)


class Replicas:
    """The replicas of one broker: what is in `image` and has a log here."""

    def __init__(self, folder: Path, controller: "ScriptedController") -> None:
        self._disk = HostDisk(str(folder))
        self._files = FileCache(self._disk)
        self._controller = controller
        self.found: dict[tuple[str, int], Partition] = {}
        self.storage_errors: list[OSError] = []
        self.reads = 0

    @property
    def disk(self) -> HostDisk:
        return self._disk

    def add(self, topic: str, number: int, config: LogConfig | None = None, *, min_isr: int = 1) -> Partition:
        """A replica with the role that the image gives it."""
        image = self._controller.image.topic(topic)
        assert image is not None
        log = create_log(
            self._files, TopicPartition(topic, number), image.topic_id, config or LogConfig(), lambda log: None
        )
        partition = Partition(
            topic=topic,
            topic_id=image.topic_id,
            partition=number,
            broker_id=BROKER_ID,
            log=log,
            high_watermark=0,
            config=ReplicationConfig(min_insync_replicas=min_isr, group_commit=False, replica_lag_time_max_ms=1000),
        )
        partition.on_image(image.partitions[number], 0)
        self.found[topic, number] = partition
        return partition

    def partition(self, topic: str, number: int) -> Partition:
        found = self.found.get((topic, number))
        if found is None:
            image = self._controller.image.topic(topic)
            known = image is not None and 0 <= number < len(image.partitions)
            raise KafkaError(
                ErrorCode.NOT_LEADER_OR_FOLLOWER if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "not here"
            )
        return found

    def partition_by_id(self, topic_id: Uuid, number: int) -> Partition:
        topic = self._controller.image.topics.get(topic_id)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID, "no such id")
        return self.partition(topic.name, number)

    def append(self, partition: Partition, records: bytearray | memoryview, acks: int, wall_ms: int) -> AppendInfo:
        return partition.append(records, acks, wall_ms)

    def read(
        self, partition: Partition, offset: int, max_bytes: int, limit_offset: int, *, min_one_batch: bool
    ) -> LogSlice:
        self.reads += 1
        return partition.log.read(offset, max_bytes, limit_offset, min_one_batch=min_one_batch)

    def partitions(self) -> Iterator[Partition]:
        yield from self.found.values()

    def on_storage_error(self, error: OSError) -> None:
        self.storage_errors.append(error)


class ScriptedController:
    """Answers commands in order with what the test wrote down, and remembers them."""

    def __init__(self, image: MetadataImage) -> None:
        self.image = image
        self.broker_epoch = 7
        self.script: list[CommandResult | KafkaError] = []
        self.commands: list[CommandOf[Any]] = []
        self.timeouts: list[int] = []
        #: Called with each command before it is answered: a test makes it true here.
        self.on_command: Callable[[CommandOf[Any]], None] = lambda command: None

    async def submit(self, command: CommandOf[ResultT], timeout_ms: int, *, wait_applied: bool = False) -> ResultT:
        assert wait_applied, "clients hear of an outcome when every broker acts upon it"
        self.commands.append(command)
        self.timeouts.append(timeout_ms)
        await asyncio.sleep(0)
        self.on_command(command)
        answer = self.script.pop(0)
        if isinstance(answer, KafkaError):
            raise answer
        return cast(ResultT, answer)

    def refuse(self, code: ErrorCode, message: str = "no") -> None:
        self.script.append(KafkaError(code, message))


def broker_image(
    broker_id: int, *, fenced: bool = False, listeners: Sequence[str] = ("PLAINTEXT",), rack: str | None = None
) -> BrokerImage:
    """Broker n listens at host-n, a port of its own for each listener."""
    return BrokerImage(
        broker_id=broker_id,
        incarnation_id=Uuid(bytes([broker_id]) * 16),
        broker_epoch=broker_id * 10,
        listeners=tuple(
            Listener(name=name, host=f"host-{broker_id}", port=9092 + at) for at, name in enumerate(listeners)
        ),
        node_endpoint=Endpoint(f"host-{broker_id}", 1),
        rack=rack,
        feature_level_max=1,
        fenced=fenced,
        in_controlled_shutdown=False,
    )


def topic_id(name: str) -> Uuid:
    return Uuid(name.encode().ljust(16, b"\1")[:16])


def partition_image(
    leader: int = BROKER_ID,
    *,
    replicas: tuple[int, ...] = (1, 2, 3),
    isr: tuple[int, ...] | None = None,
    epoch: int = 5,
) -> PartitionImage:
    return PartitionImage(
        replicas=replicas,
        isr=replicas if isr is None else isr,
        leader=leader,
        leader_epoch=epoch,
        partition_epoch=0,
    )


def cluster_image(
    topics: Mapping[str, Sequence[PartitionImage]] | None = None,
    *,
    brokers: Sequence[BrokerImage] | None = None,
    topic_configs: Mapping[str, Mapping[str, str]] | None = None,
    broker_configs: Mapping[str, Mapping[str, str]] | None = None,
    offset: int = 1,
) -> MetadataImage:
    """Three brokers unless others are given."""
    if brokers is None:
        brokers = [broker_image(broker_id) for broker_id in (1, 2, 3)]
    topics = topics or {}
    configs = {(ResourceType.TOPIC, name): values for name, values in (topic_configs or {}).items()}
    configs |= {(ResourceType.BROKER, name): values for name, values in (broker_configs or {}).items()}
    return MetadataImage(
        offset=offset,
        cluster_id=CLUSTER_ID,
        brokers={broker.broker_id: broker for broker in brokers},
        topics={
            topic_id(name): TopicImage(topic_id=topic_id(name), name=name, partitions=tuple(partitions))
            for name, partitions in topics.items()
        },
        topic_ids={name: topic_id(name) for name in topics},
        configs=configs,
    )


class Broker:
    """Everything together. `ask` goes the way that a connection goes, without the bytes."""

    def __init__(self, folder: Path, image: MetadataImage | None = None, settings: Mapping[str, str] | None = None):
        self.clock = StillClock()
        self.spawner = LoopSpawner()
        self.unsent_bytes = 0
        self.controller = ScriptedController(cluster_image() if image is None else image)
        self.replicas = Replicas(folder, self.controller)
        properties = BrokerProperties.of(settings or {})
        self.table: ApiTable = build_apis(
            broker_id=BROKER_ID,
            replicas=self.replicas,
            controller=self.controller,
            properties=properties,
            topic_configs=TopicConfigs(properties, BROKER_ID),
            log_dir="/data",
            disk=self.replicas.disk,
            clock=self.clock,
            spawner=self.spawner,
            unsent_bytes=lambda: self.unsent_bytes,
        )

    def call(self, request: Request[Any], version: int, *, listener: str = "PLAINTEXT") -> Any:
        """What the handler gives back."""
        route = self.table[request.api.key]
        assert version in route.versions
        return route.handle(request, RequestContext(version, "test", listener, "10.0.0.9:5000"))

    def ask(self, request: Request[Any], version: int, *, listener: str = "PLAINTEXT") -> Any:
        """The response of a handler that has one at once."""
        answer = self.call(request, version, listener=listener)
        assert isinstance(answer, Response)
        return answer

    def ask_later(self, request: Request[Any], version: int, *, listener: str = "PLAINTEXT") -> "Awaited":
        """What a handler gives back that has no response yet."""
        answer = self.call(request, version, listener=listener)
        assert isinstance(answer, Later)
        return Awaited(answer)

    async def await_answer(self, request: Request[Any], version: int, *, listener: str = "PLAINTEXT") -> Any:
        """The response of a handler that awaits something."""
        response = await self.call(request, version, listener=listener)
        assert isinstance(response, Response)
        return response


class Awaited:
    """The place where a later answer arrives."""

    def __init__(self, later: Later[Any]) -> None:
        self.later = later
        self.responses: list[Any] = []
        later.deliver_to(self.responses.append)

    @property
    def response(self) -> Any:
        (response,) = self.responses
        return response


def batch(*values: str, **settings: Any) -> bytearray:
    """A record batch as a producer sends it."""
    return build_batch([NewRecord(None, value.encode(), WALL_MS) for value in values], **settings)


def commit(partition: Partition) -> None:
    """Let every follower reach the end of the leader's log."""
    role = partition.role
    assert isinstance(role, LeaderRole)
    for follower in tuple(role.followers):
        partition.on_follower_end_offset(follower, follower * 10, partition.log.log_end_offset, 0)


async def turn() -> None:
    """One turn of the event loop."""
    await asyncio.sleep(0)
