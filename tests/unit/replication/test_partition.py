"""What a replica does as a leader and as a follower."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.replication.isr import CommittedIsr, PendingExpand, PendingShrink
from broker.replication.partition import ACKS_ALL, LeaderRole, Partition
from cluster.errors import ErrorCode, KafkaError
from cluster.metadata.commands import PartitionAlteration
from cluster.metadata.results import AlteredPartition
from tests.unit.replication.rig import WALL_MS, image, records, replica

EPOCHS = {1: 101, 2: 102, 3: 103}


def everybody(broker_id: int, broker_epoch: int) -> bool:
    return True


def leader(folder: Path, *, min_insync_replicas: int = 1, isr: tuple[int, ...] = (1, 2, 3)) -> Partition:
    partition = replica(folder, 1, min_insync_replicas=min_insync_replicas)
    partition.on_image(image(1, 4, isr), now_ms=0)
    return partition


def role_of(partition: Partition) -> LeaderRole:
    assert isinstance(partition.role, LeaderRole)
    return partition.role


def wait(partition: Partition, end_offset: int, deadline_ms: int = 1000) -> list[ErrorCode]:
    answers: list[ErrorCode] = []
    partition.wait_for(end_offset, deadline_ms, answers.append)
    return answers


def accepted(proposal: PartitionAlteration) -> AlteredPartition:
    return AlteredPartition(
        topic_id=proposal.topic_id,
        partition=proposal.partition,
        leader=1,
        leader_epoch=proposal.leader_epoch,
        isr=tuple(member.broker_id for member in proposal.isr),
        partition_epoch=proposal.partition_epoch + 1,
    )


def test_acks_all_is_answered_when_the_whole_isr_has_it(tmp_path: Path) -> None:
    partition = leader(tmp_path)
    partition.append(records("a", "b"), ACKS_ALL, WALL_MS)
    answers = wait(partition, 2)
    partition.on_follower_end_offset(2, 102, 2, now_ms=1)
    assert (answers, partition.high_watermark) == ([], 0)
    partition.on_follower_end_offset(3, 103, 1, now_ms=1)
    assert (answers, partition.high_watermark) == ([], 1)
    partition.on_follower_end_offset(3, 103, 2, now_ms=2)
    assert (answers, partition.high_watermark) == ([ErrorCode.NONE], 2)


def test_a_write_below_min_insync_replicas_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    partition = leader(tmp_path, min_insync_replicas=2, isr=(1,))
    with pytest.raises(KafkaError) as error:
        partition.append(records("a"), ACKS_ALL, WALL_MS)
    assert error.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert partition.log.log_end_offset == 0
    partition.append(records("a"), 1, WALL_MS)
    assert (partition.log.log_end_offset, partition.high_watermark) == (1, 0)


def test_members_of_the_isr_that_are_gone_are_not_counted_on(tmp_path: Path) -> None:
    """Without a controller the ISR cannot shrink; a write that cannot be committed is refused all the same."""
    partition = leader(tmp_path, min_insync_replicas=2)
    for broker in (2, 3):
        partition.on_follower_end_offset(broker, 100 + broker, 0, now_ms=100)
    partition.on_follower_gone(2, 102, now_ms=200)
    partition.on_follower_gone(3, 99, now_ms=200)
    partition.on_tick(now_ms=2201)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.on_follower_gone(3, 103, now_ms=300)
    partition.on_tick(now_ms=2300)
    partition.append(records("b"), ACKS_ALL, WALL_MS)
    partition.on_tick(now_ms=2301)
    with pytest.raises(KafkaError) as error:
        partition.append(records("c"), ACKS_ALL, WALL_MS)
    assert error.value.code is ErrorCode.NOT_ENOUGH_REPLICAS
    partition.on_follower_end_offset(3, 104, 2, now_ms=2400)
    partition.on_tick(now_ms=2401)
    partition.append(records("c"), ACKS_ALL, WALL_MS)


def test_a_deposed_leader_answers_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    partition = leader(tmp_path)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    answers = wait(partition, 1)
    partition.on_image(image(2, 5, partition_epoch=1), now_ms=1)
    assert answers == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    partition.on_follower_end_offset(2, 102, 1, now_ms=2)
    partition.on_follower_end_offset(3, 103, 1, now_ms=2)
    assert partition.high_watermark == 0
    with pytest.raises(KafkaError) as error:
        partition.append(records("b"), 1, WALL_MS)
    assert error.value.code is ErrorCode.NOT_LEADER_OR_FOLLOWER


def test_an_epoch_that_is_not_the_leaders_is_refused(tmp_path: Path) -> None:
    """KIP-320."""
    partition = leader(tmp_path)
    for epoch, code in ((3, ErrorCode.FENCED_LEADER_EPOCH), (5, ErrorCode.UNKNOWN_LEADER_EPOCH)):
        with pytest.raises(KafkaError) as error:
            partition.leader_role(epoch)
        assert error.value.code is code
    assert partition.leader_role(4) is partition.role


def test_what_waits_too_long_is_answered(tmp_path: Path) -> None:
    partition = leader(tmp_path)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    short, long = wait(partition, 1, deadline_ms=10), wait(partition, 1, deadline_ms=30)
    partition.on_tick(now_ms=9)
    assert (short, long) == ([], [])
    partition.on_tick(now_ms=10)
    assert (short, long) == ([ErrorCode.REQUEST_TIMED_OUT], [])
    partition.on_follower_end_offset(2, 102, 1, now_ms=11)
    partition.on_follower_end_offset(3, 103, 1, now_ms=11)
    assert long == [ErrorCode.NONE]


def test_a_duplicate_waits_for_the_batch_that_it_repeats(tmp_path: Path) -> None:
    partition = leader(tmp_path)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.append(records("b"), ACKS_ALL, WALL_MS)
    later, earlier = wait(partition, 2), wait(partition, 1)
    for broker in (2, 3):
        partition.on_follower_end_offset(broker, 100 + broker, 1, now_ms=1)
    assert (later, earlier) == ([], [ErrorCode.NONE])


def test_a_laggard_leaves_the_isr_only_when_the_controller_says_so(tmp_path: Path) -> None:
    partition = leader(tmp_path, min_insync_replicas=2)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.on_follower_end_offset(2, 102, 1, now_ms=900)
    assert partition.decide_isr(1000, everybody, EPOCHS) is None
    proposal = partition.decide_isr(1001, everybody, EPOCHS)
    assert proposal is not None
    assert [(member.broker_id, member.broker_epoch) for member in proposal.isr] == [(1, 101), (2, 102)]
    assert isinstance(role_of(partition).isr, PendingShrink)
    assert partition.high_watermark == 0, "the one who leaves is waited for until it has left"
    assert partition.decide_isr(2000, everybody, EPOCHS) is proposal, "an unknown outcome is asked for again, the same"
    partition.on_isr_answer(proposal, accepted(proposal))
    assert role_of(partition).isr == CommittedIsr(isr=(1, 2), partition_epoch=1)
    assert partition.high_watermark == 1


def test_a_follower_that_holds_everything_is_caught_up_however_long_nothing_is_written(tmp_path: Path) -> None:
    """It neither leaves for the first write after a rest, nor stays outside because no write lets it acknowledge."""
    partition = leader(tmp_path, isr=(1, 2))
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    for broker in (2, 3):
        partition.on_follower_end_offset(broker, 100 + broker, 1, now_ms=0)
    partition.on_follower_gone(3, 103, now_ms=1)
    partition.on_tick(now_ms=60_000)
    assert partition.decide_isr(60_000, everybody, EPOCHS) is None, "one without a stream does not join"
    partition.on_follower_end_offset(3, 103, 1, now_ms=60_001)
    partition.on_tick(now_ms=120_000)
    partition.append(records("b"), ACKS_ALL, WALL_MS)
    proposal = partition.decide_isr(120_001, everybody, EPOCHS)
    assert proposal is not None
    assert [member.broker_id for member in proposal.isr] == [1, 2, 3]
    partition.on_isr_answer(proposal, accepted(proposal))
    assert partition.decide_isr(120_002, everybody, EPOCHS) is None, "nobody had time to acknowledge the write yet"


def test_a_follower_that_holds_what_is_committed_but_lags_does_not_join(tmp_path: Path) -> None:
    """It would have to leave again at once."""
    partition = leader(tmp_path, isr=(1, 2))
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.on_follower_end_offset(3, 103, 0, now_ms=1)
    partition.on_follower_end_offset(2, 102, 0, now_ms=1)
    partition.on_follower_end_offset(2, 102, 1, now_ms=1000)
    assert partition.high_watermark == 1
    assert partition.decide_isr(1001, everybody, EPOCHS) is None


def test_a_follower_that_caught_up_joins_and_is_waited_for_from_the_proposal_on(tmp_path: Path) -> None:
    """KIP-497: the maximal ISR."""
    partition = leader(tmp_path, isr=(1, 2))
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.on_follower_end_offset(2, 102, 1, now_ms=1)
    partition.on_follower_end_offset(3, 103, 1, now_ms=1)
    assert partition.decide_isr(2, lambda broker, epoch: False, EPOCHS) is None, "a fenced broker cannot join"
    proposal = partition.decide_isr(2, everybody, EPOCHS)
    assert proposal is not None
    assert isinstance(role_of(partition).isr, PendingExpand)
    partition.append(records("b"), ACKS_ALL, WALL_MS)
    partition.on_follower_end_offset(2, 102, 2, now_ms=3)
    assert partition.high_watermark == 1, "broker 3 may be in the ISR already"
    partition.on_follower_end_offset(3, 103, 2, now_ms=4)
    assert partition.high_watermark == 2


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        (ErrorCode.INELIGIBLE_REPLICA, True),
        (ErrorCode.INVALID_UPDATE_VERSION, False),
        (ErrorCode.NOT_CONTROLLER, False),
    ],
)
def test_only_a_definite_refusal_ends_a_pending_change(tmp_path: Path, code: ErrorCode, ended: bool) -> None:
    partition = leader(tmp_path, isr=(1, 2))
    partition.on_follower_end_offset(3, 103, 0, now_ms=1)
    proposal = partition.decide_isr(2, everybody, EPOCHS)
    assert proposal is not None
    refusal = AlteredPartition(topic_id=proposal.topic_id, partition=0, error_code=code)
    partition.on_isr_answer(proposal, refusal)
    assert isinstance(role_of(partition).isr, CommittedIsr) == ended


def test_what_only_a_refused_joiner_lacked_is_committed_with_the_refusal(tmp_path: Path) -> None:
    """Nobody else has anything to say that would move the high watermark."""
    partition = leader(tmp_path, isr=(1, 2))
    partition.on_follower_end_offset(3, 103, 0, now_ms=1)
    proposal = partition.decide_isr(2, everybody, EPOCHS)
    assert proposal is not None
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    answers = wait(partition, 1)
    partition.on_follower_end_offset(2, 102, 1, now_ms=3)
    assert answers == []
    refusal = AlteredPartition(topic_id=proposal.topic_id, partition=0, error_code=ErrorCode.INELIGIBLE_REPLICA)
    partition.on_isr_answer(proposal, refusal)
    assert (answers, partition.high_watermark) == ([ErrorCode.NONE], 1)


def test_an_earlier_life_of_a_follower_does_not_speak_for_the_later(tmp_path: Path) -> None:
    """KIP-903: what it acknowledged may be lost."""
    partition = leader(tmp_path, isr=(1, 2))
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.on_follower_end_offset(2, 202, 0, now_ms=1)
    partition.on_follower_end_offset(2, 102, 1, now_ms=2)
    assert partition.high_watermark == 0
    partition.on_follower_end_offset(2, 202, 1, now_ms=3)
    assert partition.high_watermark == 1


def test_a_lower_min_insync_replicas_commits_what_it_held_back(tmp_path: Path) -> None:
    partition = leader(tmp_path, min_insync_replicas=2, isr=(1,))
    partition.append(records("a"), 1, WALL_MS)
    assert partition.high_watermark == 0
    partition.on_config(replace(partition.config, min_insync_replicas=1))
    assert partition.high_watermark == 1


def test_a_new_leader_hides_its_high_watermark_until_it_is_certain(tmp_path: Path) -> None:
    """KIP-207: offsets told to clients never go back."""
    partition = replica(tmp_path, 1)
    partition.on_image(image(2, 3), now_ms=0)
    partition.append_from_leader(memoryview(_assigned(records("a"), 0, 3)), 0, 0)
    partition.on_image(image(1, 4, partition_epoch=1), now_ms=1)
    with pytest.raises(KafkaError) as error:
        partition.latest_offset(-1)
    assert error.value.code is ErrorCode.OFFSET_NOT_AVAILABLE
    for broker in (2, 3):
        partition.on_follower_end_offset(broker, 100 + broker, 1, now_ms=2)
    assert partition.latest_offset(-1) == 1


def test_a_follower_takes_the_high_watermark_only_as_far_as_its_log(tmp_path: Path) -> None:
    partition = replica(tmp_path, 2)
    partition.on_image(image(1, 3), now_ms=0)
    partition.append_from_leader(memoryview(_assigned(records("a"), 0, 3)), 5, 0)
    assert partition.high_watermark == 1
    partition.append_from_leader(memoryview(b""), 0, 0)
    assert partition.high_watermark == 1, "it never falls"


def test_records_below_the_high_watermark_can_be_deleted_and_no_others(tmp_path: Path) -> None:
    partition = leader(tmp_path, isr=(1,))
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    partition.append(records("b"), ACKS_ALL, WALL_MS)
    assert partition.delete_records(1) == 1
    assert partition.delete_records(-1) == 2
    with pytest.raises(KafkaError) as error:
        partition.delete_records(3)
    assert error.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_a_replica_that_went_offline_refuses_and_stays_so(tmp_path: Path) -> None:
    partition = leader(tmp_path)
    partition.append(records("a"), ACKS_ALL, WALL_MS)
    answers = wait(partition, 1)
    partition.go_offline("the disk failed")
    assert answers == [ErrorCode.KAFKA_STORAGE_ERROR]
    partition.on_image(image(1, 9, partition_epoch=5), now_ms=1)
    with pytest.raises(KafkaError) as error:
        partition.leader_role()
    assert error.value.code is ErrorCode.KAFKA_STORAGE_ERROR


def _assigned(batch: bytearray, base_offset: int, leader_epoch: int) -> bytes:
    """`batch` as a leader has it in its log."""
    batch[0:8] = base_offset.to_bytes(8, "big")
    batch[12:16] = leader_epoch.to_bytes(4, "big")
    return bytes(batch)
