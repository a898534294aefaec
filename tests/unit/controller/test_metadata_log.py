"""History for watchers and for people who ask why."""

import asyncio

import pytest

from cluster.metadata.commands import ConfigChange, ConfigChanges, ConfigOperation, IncrementalAlterConfigs
from cluster.metadata.image import MetadataImage
from cluster.metadata.messages import HistoryRequest, WatchChunk, WatchRequest, WatchUpdate
from cluster.metadata.records import MetadataEntry, PartitionChangeRecord, ResourceType
from cluster.metadata.serde import codec
from cluster.metadata.updates import image_after
from cluster.seams import StreamBroken
from controller import metadata_log
from controller.metadata_log import MetadataLog
from tests.unit.controller.fakes import LoopClock, Pipe, run
from tests.unit.controller.world import World


def _filled(world: World) -> MetadataLog:
    """A log that saw all that the world's machine made."""
    log = MetadataLog(LoopClock())
    image = MetadataImage()
    for entry in world.recorder.entries:
        image = image.apply([item.record for item in entry.records], entry.offset, entry.controller_epoch)
        log.on_entry(entry, image)
    return log


def _follow(log: MetadataLog, image: MetadataImage) -> MetadataImage:
    """What a watcher makes of everything that it lacks."""
    while (found := log.update_after(image.offset)) is not None:
        offset, update = found
        image = image_after(image, codec(WatchUpdate).encode(update))
        assert image.offset == offset
    return image


def _pipes() -> tuple[Pipe, Pipe]:
    ours, theirs = Pipe(), Pipe()
    ours.other, theirs.other = theirs, ours
    return ours, theirs


def _world() -> World:
    world = World()
    world.start(1, 2, 3)
    world.create("t", (1, 2, 3))
    world.fence(1)
    return world


def test_entries_make_the_image_from_any_offset() -> None:
    world = _world()
    log = _filled(world)
    images = [MetadataImage()]
    for entry in world.recorder.entries:
        images.append(images[-1].apply([item.record for item in entry.records], entry.offset, entry.controller_epoch))
    for image in images:
        assert _follow(log, image) == world.image


def test_who_holds_everything_or_more_is_sent_nothing() -> None:
    world = _world()
    log = _filled(world)
    assert log.update_after(world.image.offset) is None
    assert log.update_after(world.image.offset + 5) is None


def test_who_holds_less_than_the_history_gets_a_snapshot() -> None:
    world = _world()
    log = _filled(world)
    log.on_snapshot(world.image)
    found = log.update_after(3)
    assert found is not None
    assert found[1].snapshot is not None
    assert _follow(log, MetadataImage()) == world.image
    world.fence(2)
    log.on_entry(world.last_entry, world.image)
    assert _follow(log, MetadataImage()) == world.image
    assert log.update_after(world.last_entry.offset - 1) == (
        world.last_entry.offset,
        WatchUpdate(entries=(codec(MetadataEntry).encode(world.last_entry),)),
    )


def test_the_history_is_bounded_and_what_it_dropped_comes_as_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_log, "RECORDS_MAX", 100)
    world = World()
    world.start(1)
    world.create("t", *[(1,)] * 10)
    log = _filled(world)
    for number in range(40):
        (world.fence if number % 2 == 0 else world.unfence)(1)
        log.on_entry(world.last_entry, world.image)
    first = log.update_after(0)
    assert first is not None
    assert first[1].snapshot is not None
    assert _follow(log, MetadataImage()) == world.image
    items = log.history(HistoryRequest(topic="t", partition=7)).items
    assert 0 < len(items) < 20


def test_an_update_is_about_as_long_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_log, "UPDATE_BYTES", 10_000)
    world = World()
    world.start(1)
    world.create("t", *[(1,)] * 10)
    for number in range(40):
        (world.fence if number % 2 == 0 else world.unfence)(1)
    found = _filled(world).update_after(3)
    assert found is not None
    assert 5_000 < sum(map(len, found[1].entries)) <= metadata_log.UPDATE_BYTES
    assert found[0] < world.image.offset


def test_a_watcher_gets_news_as_they_come_and_long_ones_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_log, "CHUNK_BYTES", 1000)

    async def scenario() -> None:
        world = World()
        world.start(1)
        log = _filled(world)
        ours, theirs = _pipes()
        serving = asyncio.ensure_future(log.serve_watch("broker-1", theirs))
        await ours.send(codec(WatchRequest).encode(WatchRequest(offset=world.image.offset)))
        await asyncio.sleep(1)
        world.create("t", *[(1,)] * 50)
        world.fence(1)
        for entry in world.recorder.entries[-2:]:
            log.on_entry(entry, world.image)
        pieces: list[bytes] = []
        updates: list[WatchUpdate] = []
        count = 0
        while sum(len(update.entries) for update in updates) < 2:
            chunk = codec(WatchChunk).decode(await ours.recv())
            assert len(chunk.data) <= metadata_log.CHUNK_BYTES
            count += 1
            pieces.append(chunk.data)
            if chunk.last:
                updates.append(codec(WatchUpdate).decode(b"".join(pieces)))
                pieces = []
        assert count > len(updates)
        ours.abort()
        await serving

    run(scenario)


def test_a_watcher_that_leaves_is_noticed_while_nothing_happens() -> None:
    async def scenario() -> None:
        world = World()
        log = _filled(world)
        ours, theirs = _pipes()
        serving = asyncio.ensure_future(log.serve_watch("broker-1", theirs))
        await ours.send(codec(WatchRequest).encode(WatchRequest(offset=world.image.offset)))
        await asyncio.sleep(1)
        assert not serving.done()
        ours.abort()
        await serving

    run(scenario)


def test_a_watcher_whose_stream_takes_nothing_is_cut_off() -> None:
    class Stuck(Pipe):
        def __init__(self) -> None:
            super().__init__()
            self._aborted = asyncio.Event()

        async def send(self, message: bytes) -> None:
            await self._aborted.wait()
            raise StreamBroken("aborted")

        def abort(self) -> None:
            super().abort()
            self._aborted.set()

    async def scenario() -> None:
        log = _filled(_world())
        ours, theirs = Pipe(), Stuck()
        ours.other, theirs.other = theirs, ours
        serving = asyncio.ensure_future(log.serve_watch("broker-1", theirs))
        await ours.send(codec(WatchRequest).encode(WatchRequest(offset=-1)))
        began = LoopClock().now_ms()
        await serving
        assert LoopClock().now_ms() - began >= metadata_log.SEND_TIMEOUT_MS

    run(scenario)


def test_nonsense_from_a_watcher_ends_its_stream() -> None:
    async def scenario() -> None:
        ours, theirs = _pipes()
        await ours.send(b"\xff\xff")
        await _filled(_world()).serve_watch("broker-1", theirs)

    run(scenario)


def test_the_history_of_a_partition_tells_what_happened_and_why() -> None:
    world = _world()
    world.create("other", (2,))
    world.create("t.more", (2,))
    change = ConfigChange(key="retention.ms", operation=ConfigOperation.SET, value="5")
    world.do(
        IncrementalAlterConfigs(
            resources=(ConfigChanges(resource_type=ResourceType.TOPIC, resource_name="t", changes=(change,)),)
        )
    )
    items = _filled(world).history(HistoryRequest(topic="t", partition=0)).items
    assert [type(item.change.record).__name__ for item in items] == [
        "TopicRecord",
        "PartitionRecord",
        "PartitionChangeRecord",
        "ConfigRecord",
    ]
    fencing = items[2]
    assert isinstance(fencing.change.record, PartitionChangeRecord)
    assert fencing.change.cause.event == "broker 1 fenced: its lease ran out"
    assert fencing.offset == world.recorder.entries[-4].offset


def test_a_topic_that_never_was_has_no_history() -> None:
    assert _filled(_world()).history(HistoryRequest(topic="no", partition=-1)).items == ()
