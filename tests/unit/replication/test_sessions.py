"""Two replicas and the stream between them."""

from pathlib import Path

import pytest

from broker.replication.frames import FrameError, decode_follower_frame, decode_leader_frame, encode_frame
from broker.replication.partition import ACKS_ALL, Partition
from cluster.errors import ErrorCode
from cluster.rpc.replication_pb2 import FollowerFrame, LeaderFrame, Refusal, Subscribe
from tests.unit.replication.rig import TOPIC_ID, WALL_MS, Stream, content, image, records, replica


def pair(folder: Path, *, leader_epoch: int = 1) -> tuple[Partition, Partition]:
    leader, follower = replica(folder, 1), replica(folder, 2)
    for partition in (leader, follower):
        partition.on_image(image(1, leader_epoch, isr=(1, 2)), now_ms=0)
    return leader, follower


def test_a_follower_gets_everything_and_both_know_what_is_committed(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    leader.append(records("a", "b"), ACKS_ALL, WALL_MS)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    leader.append(records("c"), ACKS_ALL, WALL_MS)
    stream.pump()
    assert content(leader) == content(follower)
    assert leader.high_watermark == follower.high_watermark == 3


def test_appends_made_while_a_frame_is_on_its_way_leave_together(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    for value in "abc":
        leader.append(records(value), ACKS_ALL, WALL_MS)
    assert stream.to_follower()
    assert follower.log.log_end_offset == 3
    assert not stream.to_follower()


def test_no_more_is_sent_than_may_be_in_flight(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2, in_flight_bytes=1).follow()
    stream.pump()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    assert stream.to_follower()
    leader.append(records("b"), ACKS_ALL, WALL_MS)
    assert not stream.to_follower(), "the first is not acknowledged yet"
    stream.pump()
    assert content(leader) == content(follower)


def test_a_follower_with_another_history_is_cut_to_the_leaders(tmp_path: Path) -> None:
    """KIP-101: not the high watermark decides where to cut, but where the epochs part."""
    leader, follower = replica(tmp_path, 1), replica(tmp_path, 2)
    for partition in (leader, follower):
        partition.on_image(image(2, 1, isr=(1, 2)), now_ms=0)
    both = Stream(follower, leader, leader_id=2, follower_id=1).follow()
    follower.append(records("a"), ACKS_ALL, WALL_MS)
    both.pump()
    follower.append(records("lost 1"), 1, WALL_MS)
    follower.append(records("lost 2"), 1, WALL_MS)
    for partition in (leader, follower):
        partition.on_image(image(1, 2, isr=(1, 2), partition_epoch=1), now_ms=1)
    leader.append(records("b"), ACKS_ALL, WALL_MS)
    Stream(leader, follower, leader_id=1, follower_id=2).follow().pump()
    assert content(leader) == content(follower)
    assert leader.high_watermark == follower.high_watermark == 2


def test_several_elections_are_undone_epoch_by_epoch(tmp_path: Path) -> None:
    """KIP-279: fast leader changes leave epochs that the other side never saw."""
    one, two = replica(tmp_path, 1), replica(tmp_path, 2)
    for epoch, (leading, following) in enumerate(((one, two), (two, one), (one, two), (two, one)), start=1):
        leader_id = 1 if leading is one else 2
        for partition in (leading, following):
            partition.on_image(image(leader_id, epoch, isr=(1, 2), partition_epoch=epoch), now_ms=epoch)
        leading.append(records(f"{epoch}"), 1, WALL_MS)
    for partition in (one, two):
        partition.on_image(image(1, 9, isr=(1, 2), partition_epoch=9), now_ms=9)
    one.append(records("9"), ACKS_ALL, WALL_MS)
    Stream(one, two, leader_id=1, follower_id=2).follow().pump()
    assert content(one) == content(two)


def test_a_deposed_leader_that_wrote_nothing_follows_without_going_in_circles(tmp_path: Path) -> None:
    one, two = pair(tmp_path)
    Stream(one, two, leader_id=1, follower_id=2).follow().pump()
    one.on_image(image(1, 2, isr=(1, 2), partition_epoch=1), now_ms=1)
    for partition in (one, two):
        partition.on_image(image(2, 3, isr=(1, 2), partition_epoch=2), now_ms=2)
    two.append(records("a"), ACKS_ALL, WALL_MS)
    Stream(two, one, leader_id=2, follower_id=1).follow().pump()
    assert content(one) == content(two)


def test_a_follower_behind_the_leaders_log_start_starts_over(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    leader.on_image(image(1, 1, isr=(1,), partition_epoch=1), now_ms=0)
    leader.append(records("a", "b"), ACKS_ALL, WALL_MS)
    leader.append(records("c"), ACKS_ALL, WALL_MS)
    leader.delete_records(2)
    Stream(leader, follower, leader_id=1, follower_id=2).follow().pump()
    assert (follower.log.log_start_offset, follower.log.log_end_offset) == (2, 3)


def test_a_follower_starts_over_with_the_whole_batch_that_holds_the_log_start(tmp_path: Path) -> None:
    """Records are deleted one by one, and batches are sent whole."""
    leader, follower = pair(tmp_path)
    leader.on_image(image(1, 1, isr=(1,), partition_epoch=1), now_ms=0)
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    leader.append(records("b", "c", "d"), ACKS_ALL, WALL_MS)
    leader.delete_records(2)
    Stream(leader, follower, leader_id=1, follower_id=2).follow().pump()
    assert (follower.log.log_start_offset, follower.log.log_end_offset) == (2, 4)
    assert follower.log.read(2, 1 << 20).data == leader.log.read(2, 1 << 20).data
    assert follower.high_watermark == 4


def test_a_laggard_whose_next_records_are_deleted_starts_over(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    leader.on_image(image(1, 1, isr=(1,), partition_epoch=1), now_ms=0)
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    leader.append(records("b"), ACKS_ALL, WALL_MS)
    leader.delete_records(1)
    stream.pump()
    assert (follower.log.log_start_offset, follower.log.log_end_offset) == (1, 2)


def test_a_partition_that_is_given_up_makes_room_for_what_was_held_back(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2, in_flight_bytes=1).follow()
    stream.pump()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    assert stream.to_follower()
    # A second subscription of the same follower, which has to wait until the first one's bytes are acknowledged.
    again = Subscribe(handle=2, topic_id=TOPIC_ID, partition=0, leader_epoch=1, end_offset=0, last_epoch=-1)
    stream.leader_session.on_frame(FollowerFrame(subscribe=[again]), now_ms=1)
    assert not stream.to_follower()
    stream.leader_awake = False
    stream.leader_session.on_frame(FollowerFrame(unsubscribe=[1]), now_ms=1)
    assert stream.leader_awake
    assert stream.to_follower()


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(handle=1, diverging=True, diverging_epoch=-1, diverging_end_offset=-1),
        Refusal(handle=1, error_code=ErrorCode.OFFSET_OUT_OF_RANGE, log_start_offset=-1),
    ],
)
def test_a_leader_that_cannot_say_where_to_cut_costs_no_record(tmp_path: Path, refusal: Refusal) -> None:
    leader, follower = pair(tmp_path)
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    with pytest.raises(FrameError):
        stream.follower_session.on_frame(encode_frame(LeaderFrame(refusals=[refusal])))
    assert content(follower) == content(leader)


def test_batches_that_are_damaged_end_their_subscription_and_not_the_stream(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    frame = stream.leader_session.next_frame()
    assert frame is not None
    stream.follower_session.on_frame(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert (stream.bad_batches, follower.log.log_end_offset) == ([(follower, ErrorCode.CORRUPT_MESSAGE)], 0)
    stream.follow().pump()
    assert content(leader) == content(follower)


def test_a_deletion_of_records_reaches_the_followers(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    leader.append(records("b"), ACKS_ALL, WALL_MS)
    stream.pump()
    leader.delete_records(1)
    stream.pump()
    assert follower.log.log_start_offset == 1


def test_a_follower_of_an_older_epoch_is_refused_and_tries_again(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    leader.on_image(image(1, 2, isr=(1, 2), partition_epoch=1), now_ms=1)
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    assert (stream.retries, follower.log.log_end_offset) == ([follower.key], 0)
    follower.on_image(image(1, 2, isr=(1, 2), partition_epoch=1), now_ms=2)
    stream.follow().pump()
    assert content(leader) == content(follower)


def test_what_was_sent_to_an_earlier_subscription_is_dropped(tmp_path: Path) -> None:
    """A frame that was on its way while the follower changed its role must not touch its log."""
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    late = stream.leader_session.next_frame()
    assert late is not None
    follower.on_image(image(1, 2, isr=(1, 2), partition_epoch=1), now_ms=1)
    stream.follow()
    stream.follower_session.on_frame(late)
    assert follower.log.log_end_offset == 0


def test_a_leader_that_steps_down_ends_its_subscriptions(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    leader.on_image(image(2, 2, isr=(1, 2), partition_epoch=1), now_ms=1)
    frame = stream.leader_session.next_frame()
    assert frame is not None
    header, _ = decode_leader_frame(frame)
    assert [refusal.error_code for refusal in header.refusals] == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    assert not leader.watchers


def test_under_group_commit_only_what_is_on_disk_is_acknowledged(tmp_path: Path) -> None:
    leader, follower = (replica(tmp_path, broker, group_commit=True) for broker in (1, 2))
    for partition in (leader, follower):
        partition.on_image(image(1, 1, isr=(1, 2)), now_ms=0)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    leader.append(records("a"), ACKS_ALL, WALL_MS)
    stream.pump()
    assert (follower.log.log_end_offset, leader.high_watermark) == (1, 0)
    _sync(leader)
    leader.on_durable()
    assert leader.high_watermark == 0, "the follower's disk has not spoken"
    unsynced = stream.follower_session.take_unsynced()
    _sync(follower)
    stream.follower_session.on_synced(unsynced)
    stream.pump()
    assert leader.high_watermark == 1


def _sync(partition: Partition) -> None:
    plan = partition.log.flush_plan()
    for file in plan.files:
        file.sync()
    partition.log.mark_flushed(plan)


def test_an_acknowledgement_of_what_was_never_sent_ends_the_stream(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2).follow()
    stream.pump()
    with pytest.raises(FrameError):
        stream.leader_session.on_frame(FollowerFrame(ack_handles=[1], ack_offsets=[5]), now_ms=1)
    assert leader.high_watermark == 0


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x05abc",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x03\xff\xff\xff",
        encode_frame(LeaderFrame(handles=[1])),
        encode_frame(LeaderFrame(handles=[1], high_watermarks=[0], log_start_offsets=[0], lengths=[9]), [b"short"]),
    ],
)
def test_bytes_that_are_no_frame_are_refused(frame: bytes) -> None:
    with pytest.raises(FrameError):
        decode_leader_frame(frame)


def test_a_subscription_with_impossible_offsets_ends_the_stream(tmp_path: Path) -> None:
    leader, follower = pair(tmp_path)
    stream = Stream(leader, follower, leader_id=1, follower_id=2)
    bad = Subscribe(handle=1, topic_id=TOPIC_ID, partition=0, leader_epoch=1, end_offset=0, acked_offset=3)
    with pytest.raises(FrameError):
        stream.leader_session.on_frame(FollowerFrame(subscribe=[bad]), now_ms=0)
    with pytest.raises(FrameError):
        decode_follower_frame(encode_frame(FollowerFrame(ack_handles=[1])))
