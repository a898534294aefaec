"""What is acknowledged stays, whatever the log went through; directed at each known weakness of the library."""

import pytest

from cluster.rpc.raft_pb2 import AppendEntries, Entry, Message, NextNodeIdx, RequestVote, SnapshotChunk
from cluster.seams import NotLeader
from controller.raft.barrier import StorageCorrupt, StorageFailed
from controller.raft.proposals import Proposal, ProposalTable
from controller.raft.settings import RaftSettings
from controller.raft.snapshot import Snapshot, encode_snapshot
from tests.unit.raft.disk import Killed
from tests.unit.raft.rig import Rig, Violation

COMPACT = RaftSettings(snapshot_entries=20, retained_entries=3, snapshot_chunk_bytes=64)


def fill(rig: Rig, count: int, prefix: bytes = b"c", size: int = 0) -> None:
    leader = rig.leader() or rig.elect()
    for number in range(count):
        rig.propose(leader, prefix + b"%d" % number + b"." * size)
        if number % 10 == 9:
            rig.run(5)
    rig.run(50)


def outcomes(rig: Rig) -> list[str | None]:
    return [call.outcome for call in rig.calls]


# Outcomes


def test_a_proposal_is_applied_everywhere_and_answered_with_its_index_and_result() -> None:
    rig = Rig()
    leader = rig.elect()
    call = rig.propose(leader, b"x")
    rig.run(50)
    assert (call.outcome, call.index, call.result) == ("ok", 3, b"1")
    rig.run(200)
    assert all(rig.commands(node_id) == [b"x"] for node_id in rig.ids)


def test_a_follower_refuses_and_names_the_leader() -> None:
    rig = Rig()
    leader = rig.elect()
    with pytest.raises(NotLeader) as error:
        rig.voter(rig.followers()[0]).propose(b"x", lambda _: None)
    assert error.value.leader_id == leader


def test_a_command_over_the_limit_is_refused() -> None:
    rig = Rig()
    leader = rig.elect()
    with pytest.raises(ValueError, match="exceeds"):
        rig.voter(leader).propose(bytes(rig.settings.command_bytes_max + 1), lambda _: None)
    rig.propose(leader, bytes(rig.settings.command_bytes_max))
    rig.run(100)
    assert outcomes(rig) == ["ok"]


def test_a_deposed_leader_does_not_know_the_outcome() -> None:
    rig = Rig()
    old = rig.elect()
    rig.partition({old})
    call = rig.propose(old, b"x")
    rig.run(3_000)
    assert call.outcome == "UnknownOutcome"
    rig.heal()
    rig.run(1_000)
    assert rig.is_converged()
    assert rig.commands(old) == []


def test_no_more_than_the_limit_is_in_flight_and_the_rest_waits() -> None:
    rig = Rig(1, settings=RaftSettings(in_flight_max=4, waiting_max=8))
    leader = rig.elect()
    rig.run(100)
    last = rig.voter(leader)._journal.last.index
    for peer in rig.followers():
        rig.hold(peer, leader)
    for number in range(20):
        rig.propose(leader, b"%d" % number)
    rig.run(20)
    assert rig.voter(leader)._journal.last.index == last + 4
    assert outcomes(rig).count("UnknownOutcome") == 12
    for peer in rig.followers():
        rig.release(peer, leader)
    rig.run(200)
    assert outcomes(rig)[:8] == ["ok"] * 8


def test_barriers_of_one_round_share_an_entry() -> None:
    rig = Rig()
    leader = rig.elect()
    last = rig.voter(leader)._journal.last.index
    done: list[int] = []
    for _ in range(5):
        rig.voter(leader).propose(None, lambda proposal: done.append(proposal.index))
    rig.run(300)
    assert done == [last + 1] * 5


def test_a_raising_state_machine_stops_the_voter() -> None:
    """Retrying it for ever, as the library does, would wedge the quorum."""
    rig = Rig(1, 1)
    rig.elect()

    rig.checker.applied[3] = (0, b"something else")
    rig.propose(1, b"poison")
    with pytest.raises(Violation):
        rig.run(100)
    assert rig.commands(1) == []
    with pytest.raises(AssertionError, match="did not come to its end"):
        next(rig.voter(1).round())


def test_a_lone_voter_acknowledges_only_what_is_on_its_disk() -> None:
    rig = Rig(1, 1)
    rig.elect()
    rig.sync_ms = (50, 50)
    rig.propose(1, b"x")
    rig.run(40)
    assert outcomes(rig) == [None]
    assert rig.commands(1) == []
    rig.run(100)
    assert outcomes(rig) == ["ok"]
    rig.crash(1, power=True)
    rig.start(1)
    rig.elect()
    assert rig.commands(1) == [b"x"]


def test_a_failed_sync_ends_the_round_before_anything_leaves() -> None:
    rig = Rig()
    leader = rig.elect()
    rig.propose(leader, b"x")
    rig.disks[leader].sync_error = OSError(5, "input/output error")
    sent = rig.sent_messages
    with pytest.raises(OSError, match="input/output"):
        rig.run(100)
    assert outcomes(rig) == [None]
    assert rig.sent_messages == sent


def test_a_full_disk_ends_the_round() -> None:
    rig = Rig()
    leader = rig.elect()
    rig.disks[leader].free = 0
    rig.propose(leader, b"x")
    with pytest.raises(StorageFailed):
        rig.run(100)


# The log


def test_a_repeated_append_does_not_cut_what_follows() -> None:
    """The library deletes everything behind the previous entry, also what was acknowledged."""
    rig = Rig()
    fill(rig, 10)
    leader = rig.elect()
    follower = rig.followers()[0]
    before = rig.log(follower)
    term = rig.voter(leader).role.term
    old = AppendEntries(
        term=term, commit_index=4, prev_log_index=3, prev_log_term=term, entries=[Entry(term=term, command=b"\x00c1")]
    )
    rig.inject(leader, follower, Message(append_entries=old))
    rig.inject(leader, follower, Message(append_entries=AppendEntries(term=term, prev_log_index=1, commit_index=1)))
    assert rig.log(follower) == before


def test_a_heartbeat_commits_nothing_behind_what_it_compared() -> None:
    rig = Rig(20)
    old = rig.elect()
    rig.run(200)
    rig.partition({old})
    rig.propose(old, b"never")
    rig.run(50)
    first, last = rig.log(old)[0], rig.log(old)[-1]
    new_term = last[1] + 1
    beat = AppendEntries(term=new_term, commit_index=last[0] + 5, prev_log_index=last[0] - 1, prev_log_term=last[1])
    rig.inject(rig.ids[0] if rig.ids[0] != old else rig.ids[1], old, Message(append_entries=beat))
    rig.run(10)
    assert first[0] < rig.voter(old)._raft.commit_index() < last[0]
    assert rig.commands(old) == []


def test_an_acknowledgement_does_not_rewind_what_was_sent_after_it() -> None:
    rig = Rig(21)
    leader = rig.elect()
    rig.run(200)
    follower = rig.followers()[0]
    rig.hold(leader, follower)
    for number in range(5):
        rig.propose(leader, b"%d" % number)
        rig.run(5)
    sent = rig.voter(leader)._raft.next_index(follower)
    repeated: list[int] = []

    def watch(_source: int, target: int, message: Message) -> bool:
        if target == follower:
            repeated.extend(entry.term for entry in message.append_entries.entries)
        return False

    rig.drop = watch
    term = rig.voter(leader).role.term
    rig.inject(follower, leader, Message(next_node_idx=NextNodeIdx(term=term, next_index=sent - 3, success=True)))
    rig.run(50)
    assert repeated == []


def test_pipelined_appends_over_a_slow_network_never_shorten_a_log() -> None:
    rig = Rig(2)
    rig.latency_ms = (30, 40)
    leader = rig.elect()
    rig.run(500)
    lengths = dict.fromkeys(rig.followers(), 0)
    for number in range(300):
        rig.propose(leader, b"%d" % number + b"x" * 2000)
        rig.run(5)
        for node_id in lengths:
            length = rig.voter(node_id)._journal.last.index
            assert length >= lengths[node_id]
            lengths[node_id] = length
    rig.run(500)
    rig.check_acknowledged()
    assert outcomes(rig) == ["ok"] * 300


def test_a_reset_connection_and_a_dead_leader_lose_nothing_acknowledged() -> None:
    """Entries in flight over a connection that breaks, a round trip longer than the heartbeat, then a crash."""
    for moment_ms in range(0, 400, 25):
        rig = Rig(3, settings=RaftSettings(batch_bytes_max=300, command_bytes_max=100))
        leader = rig.elect()
        first, second = rig.followers()
        rig.disconnect(leader, second)
        rig.disconnect(first, second)
        rig.latency_ms = (60, 70)
        for number in range(12):
            rig.propose(leader, b"e%02d" % number + b"x" * 60)
        rig.run(50)
        rig.reset_link(leader, first)
        rig.run(moment_ms)
        rig.crash(leader)
        rig.latency_ms = (1, 2)
        rig.connect(first, second)
        rig.elect()
        rig.run(1_000)
        rig.check_acknowledged()


@pytest.mark.parametrize(("uncommitted", "committed", "size"), [(5, 200, 1024), (500, 600, 0)])
def test_a_diverged_log_is_corrected_within_a_second(uncommitted: int, committed: int, size: int) -> None:
    """The library steps back by one entry a heartbeat, and for ever when there is much to send."""
    rig = Rig(1, settings=RaftSettings(in_flight_max=1000))
    old = rig.elect()
    rig.partition({old})
    for number in range(uncommitted):
        rig.propose(old, b"u%d" % number)
    rig.run(2_500)
    fill(rig, committed, size=size)
    rig.heal()
    assert rig.run(1_000, rig.is_converged)
    assert rig.commands(old) == rig.commands(rig.elect())


# Snapshots


def test_a_restart_after_a_snapshot_keeps_the_state() -> None:
    rig = Rig(1, 1, COMPACT)
    fill(rig, 70)
    assert rig.voter(1)._journal.first.index > 1
    before = list(rig.commands(1))
    rig.crash(1, power=True)
    rig.start(1)
    rig.elect()
    assert rig.commands(1) == before
    assert len(before) == 70


@pytest.mark.parametrize("power", [False, True])
def test_dying_anywhere_while_compacting_loses_nothing(power: bool) -> None:
    """Between the snapshot's rename and the log's, too: the log's tail is not in the snapshot."""
    for step in range(1, 14):
        rig = Rig(step, 1, COMPACT)
        fill(rig, 18)
        voter, disk = rig.voter(1), rig.disks[1]
        rig.propose(1, b"last")
        rig.run(10)
        disk.die_at = disk.steps + step
        try:
            for file in voter.compact():
                file.sync()
        except Killed:
            pass
        rig.crash(1, power=power)
        rig.start(1)
        rig.elect()
        rig.check_acknowledged()
        assert len(rig.commands(1)) == 19


def test_an_unreadable_snapshot_keeps_the_voter_from_starting() -> None:
    """It would lead with an empty state."""
    rig = Rig(1, 1, COMPACT)
    fill(rig, 30)
    rig.crash(1)
    data = bytearray(rig.disks[1].read("raft/snapshot"))
    data[len(data) // 2] ^= 0xFF
    rig.disks[1].put("raft/snapshot", bytes(data))
    with pytest.raises(StorageCorrupt, match="snapshot"):
        rig.start(1)


def test_a_snapshot_that_the_state_machine_does_not_know_keeps_the_voter_from_starting() -> None:
    rig = Rig(1, 1, COMPACT)
    fill(rig, 30)
    rig.crash(1)
    strange = Snapshot(last_index=20, last_term=1, state=b"of another version")
    rig.disks[1].put("raft/snapshot", encode_snapshot(strange))
    with pytest.raises(StorageCorrupt, match="not understood"):
        rig.start(1)


def test_a_trimmed_log_without_its_snapshot_or_a_snapshot_without_a_log_is_refused() -> None:
    for missing in ("raft/snapshot", "raft/journal"):
        rig = Rig(1, 1, COMPACT)
        fill(rig, 30)
        rig.crash(1)
        rig.disks[1].unlink(missing)
        with pytest.raises(StorageCorrupt):
            rig.start(1)


def test_a_log_that_disagrees_with_the_snapshot_about_a_committed_entry_is_refused() -> None:
    rig = Rig(1, 1, COMPACT)
    fill(rig, 30)
    rig.crash(1)
    foreign = Snapshot(last_index=20, last_term=77, state=b"list")
    rig.disks[1].put("raft/snapshot", encode_snapshot(foreign))
    with pytest.raises(StorageCorrupt, match="disagree"):
        rig.start(1)


def test_a_voter_that_is_far_behind_gets_the_snapshot_and_then_the_entries() -> None:
    rig = Rig(2, settings=COMPACT)
    rig.elect()
    behind = rig.followers()[0]
    rig.crash(behind)
    fill(rig, 100)
    rig.start(behind)
    assert rig.run(1_000, rig.is_converged)
    rig.check_acknowledged()
    rig.crash(behind, power=True)
    rig.start(behind)
    assert rig.run(1_000, rig.is_converged)
    rig.check_acknowledged()


@pytest.mark.parametrize("power", [False, True])
def test_dying_anywhere_while_installing_a_snapshot_loses_nothing(power: bool) -> None:
    for step in range(1, 16):
        rig = Rig(step, settings=COMPACT)
        rig.elect()
        behind = rig.followers()[0]
        rig.crash(behind)
        fill(rig, 60)
        disk = rig.disks[behind]
        disk.die_at = disk.steps + step
        try:
            rig.start(behind)
            rig.run(500)
        except Killed:
            pass
        if behind in rig.nodes:
            rig.crash(behind, power=power)
        disk.die_at = -1
        rig.start(behind)
        assert rig.run(2_000, rig.is_converged)
        rig.check_acknowledged()


def test_snapshot_chunks_do_not_commit_the_followers_own_tail() -> None:
    """A deposed leader must not take its uncommitted entries for committed while it receives a snapshot."""
    rig = Rig(3, settings=COMPACT)
    old = rig.elect()
    rig.run(200)
    rig.partition({old})
    never = [rig.propose(old, b"never%d" % number) for number in range(5)]
    rig.run(2_500)
    fill(rig, 100)
    rig.latency_ms = (20, 30)
    rig.heal()
    rig.run(3_000)
    assert rig.is_converged()
    assert [call.outcome for call in never] == ["UnknownOutcome"] * 5
    rig.check_acknowledged()
    assert not [command for command in rig.commands(old) if command.startswith(b"never")]


def test_a_damaged_or_incomplete_snapshot_is_not_installed_and_is_sent_again() -> None:
    for fault in ("lose", "damage"):
        rig = Rig(4, settings=COMPACT)
        rig.elect()
        behind = rig.followers()[0]
        rig.crash(behind)
        fill(rig, 60)
        faults: list[int] = []

        def spoil(_source: int, target: int, message: Message, faults: list[int] = faults, fault: str = fault) -> bool:
            if message.HasField("snapshot_chunk") and message.snapshot_chunk.offset > 0 and not faults:
                faults.append(target)
                if fault == "lose":
                    return True
                message.snapshot_chunk.data = bytes(len(message.snapshot_chunk.data))
            return False

        rig.drop = spoil
        rig.start(behind)
        assert rig.run(2_000, rig.is_converged)
        assert faults == [behind]
        rig.check_acknowledged()


def test_a_corrupt_snapshot_is_never_acknowledged() -> None:
    rig = Rig(5)
    leader = rig.elect()
    follower = rig.followers()[0]
    term = rig.voter(leader).role.term
    answers: list[NextNodeIdx] = []

    def watch(source: int, _target: int, message: Message) -> bool:
        if source == follower and message.HasField("next_node_idx"):
            answers.append(message.next_node_idx)
        return False

    rig.drop = watch
    before = rig.log(follower)
    chunk = SnapshotChunk(term=term, commit_index=500, last_index=500, last_term=term, size=7, data=b"garbage")
    rig.inject(leader, follower, Message(snapshot_chunk=chunk))
    rig.run(1)
    assert answers
    assert not any(answer.success for answer in answers if answer.next_index > before[-1][0] + 1)
    assert answers[0].restart_snapshot
    assert rig.log(follower) == before


def test_a_follower_that_already_holds_the_snapshots_end_keeps_its_log() -> None:
    rig = Rig(6)
    fill(rig, 10)
    leader = rig.elect()
    follower = rig.followers()[0]
    before, commands = rig.log(follower), list(rig.commands(follower))
    index, term = before[5]
    data = encode_snapshot(Snapshot(last_index=index, last_term=term, state=b"list\nolder"))
    chunk = SnapshotChunk(term=term, last_index=index, last_term=term, size=len(data), data=data)
    rig.inject(leader, follower, Message(snapshot_chunk=chunk))
    assert rig.log(follower) == before
    assert rig.commands(follower) == commands


def test_a_peer_that_needs_a_snapshot_is_sent_a_bounded_number_of_messages() -> None:
    rig = Rig(7, settings=COMPACT)
    leader = rig.elect()
    behind = rig.followers()[0]
    rig.crash(behind)
    fill(rig, 200)
    rig.start(behind)
    rig.run(5)
    rig.hold(behind, leader)
    before = rig.sent_messages
    rig.run(500)
    assert rig.sent_messages - before < 100


def test_a_congested_peer_is_sent_no_entries() -> None:
    rig = Rig(8)
    leader = rig.elect()
    slow = rig.followers()[0]
    rig.voter(leader).set_congested(frozenset({slow}))
    sent: list[Message] = []

    def watch(_source: int, target: int, message: Message) -> bool:
        if target == slow:
            sent.append(message)
        return False

    rig.drop = watch
    call = rig.propose(leader, b"x")
    rig.run(50)
    assert call.outcome == "ok"
    assert not [message for message in sent if message.HasField("append_entries")]


def test_a_long_snapshot_transfer_does_not_depose_the_leader() -> None:
    """Chunks are answered, so a leader that needs that follower for its majority keeps hearing it."""
    rig = Rig(9, settings=RaftSettings(snapshot_entries=50, retained_entries=0, snapshot_chunk_bytes=64, batches_max=1))
    leader = rig.elect()
    first, second = rig.followers()
    rig.crash(second)
    fill(rig, 300, size=20)
    rig.start(second)
    rig.run(1)
    rig.crash(first)
    rig.latency_ms = (40, 60)
    role = rig.voter(leader).role
    assert not rig.run(6_000, rig.is_converged)
    assert rig.voter(leader).role == role
    rig.latency_ms = (1, 2)
    assert rig.run(5_000, rig.is_converged)
    rig.check_acknowledged()


# A voter that lost its disk


def test_a_wiped_voter_counts_for_nothing_until_a_majority_without_it_proves_the_leader() -> None:
    rig = Rig(10)
    fill(rig, 10)
    leader = rig.elect()
    other, wiped = rig.followers()
    rig.crash(other)
    rig.wipe(wiped)
    rig.run(5_000)
    assert rig.standing(wiped).name == "OBSERVER"
    assert rig.leader() is None, "an observer is no majority"
    assert rig.voter(leader).role.term == rig.voter(wiped).role.term
    rig.start(other)
    rig.elect()
    rig.run(1_000)
    assert rig.standing(wiped).name == "VOTER"
    leader = rig.elect()
    again = RequestVote(term=rig.voter(wiped).role.term, last_log_index=999, last_log_term=999)
    rig.inject(rig.ids[rig.ids[0] == leader], wiped, Message(request_vote=again))
    assert rig.voter(wiped)._journal.voted_for == leader, "it may have voted in this term before"
    assert rig.is_converged()
    rig.check_acknowledged()


def test_an_observer_never_stands_and_never_votes() -> None:
    rig = Rig(11)
    fill(rig, 10)
    leader = rig.elect()
    other, wiped = rig.followers()
    rig.crash(leader)
    rig.wipe(wiped)
    rig.run(10_000)
    assert rig.leader() is None
    assert rig.voter(wiped)._journal.voted_for is None
    rig.start(leader)
    rig.elect()
    rig.run(1_000)
    rig.check_acknowledged()
    assert rig.commands(other) == rig.commands(wiped)


def test_an_empty_disk_in_an_older_quorum_makes_an_observer_although_the_operator_called_it_new() -> None:
    rig = Rig(12)
    fill(rig, 10)
    leader = rig.elect()
    other, wiped = rig.followers()
    rig.crash(wiped)
    rig.crash(leader)
    rig.disks[wiped].wipe()
    rig.start(wiped)
    rig.run(5_000)
    assert rig.standing(wiped).name == "OBSERVER"
    assert rig.leader() is None
    assert rig.commands(other) == [b"c%d" % number for number in range(10)]


def test_a_lone_voter_without_its_data_refuses_to_start_unless_it_is_new() -> None:
    rig = Rig(13, 1)
    with pytest.raises(StorageCorrupt, match="no other voter"):
        rig.wipe(1)


def test_what_an_observer_acknowledged_before_it_lost_its_disk_counts_no_longer() -> None:
    rig = Rig(14, 5)
    leader = rig.elect()
    rig.run(200)
    first, second, third, _ = rig.followers()
    for peer in rig.followers():
        rig.hold(leader, peer)
    call = rig.propose(leader, b"x")
    rig.run(5)
    term, index = rig.voter(leader).role.term, rig.voter(leader)._journal.last.index
    held = Message(next_node_idx=NextNodeIdx(term=term, next_index=index + 1, success=True))
    lost = Message(next_node_idx=NextNodeIdx(term=term, next_index=2, reset=True, observer=True))
    rig.inject(first, leader, held)
    rig.inject(first, leader, lost)
    rig.inject(second, leader, held)
    rig.run(5)
    assert call.outcome is None
    rig.inject(third, leader, held)
    rig.run(5)
    assert call.outcome == "ok"


def test_another_entry_at_a_proposals_place_means_that_it_never_will_be_applied() -> None:
    table = ProposalTable(RaftSettings())
    mine, other = Proposal(b"a", lambda _: None), Proposal(b"b", lambda _: None)
    for index, proposal in enumerate((mine, other), 5):
        table.submit(proposal)
        for group in table.admissible():
            table.appended(group, index, 3)
    table.applied(5, 3, b"result", None)
    table.applied(6, 4, b"of another", 2)
    assert table.take_finished() == [mine, other]
    assert (mine.error, mine.result) == (None, b"result")
    assert isinstance(other.error, NotLeader)
    assert other.error.leader_id == 2
