"""Who leads, how soon, and who is left in peace."""

import pytest

from cluster.rpc.raft_pb2 import Message, NextNodeIdx, PreVote, PreVoteResponse, RequestVote, ResponseVote, TimeoutNow
from controller.raft.voter import HandOver
from tests.unit.raft.rig import Rig


@pytest.mark.parametrize("seed", range(10))
def test_a_fresh_quorum_elects_within_half_a_second(seed: int) -> None:
    rig = Rig(seed)
    rig.elect(500)


def test_a_lone_voter_leads_at_once() -> None:
    Rig(1, 1).elect(10)


@pytest.mark.parametrize("seed", range(10))
def test_the_death_of_the_leaders_process_is_followed_by_an_election_at_once(seed: int) -> None:
    """Broken streams shorten the election deadline; a voter that lost its stream too does not refuse."""
    rig = Rig(seed)
    rig.run(10_000, lambda: rig.leader() is not None)
    rig.crash(rig.elect())
    rig.elect(500)


def test_a_silent_partition_is_noticed_by_the_timeouts() -> None:
    rig = Rig(2)
    old = rig.elect()
    for peer in rig.followers():
        rig.hold(old, peer)
        rig.hold(peer, old)
    assert rig.run(5_000, lambda: rig.leader() not in (old, None))


def test_a_leader_without_a_majority_steps_down_within_two_seconds() -> None:
    rig = Rig(3)
    old = rig.elect()
    rig.partition({old})
    assert rig.run(2_200, lambda: not rig.voter(old).role.is_leader)


def test_a_broken_stream_to_a_living_leader_changes_nothing() -> None:
    """The voters that still hear the leader refuse their pre-votes, and the leader refuses too."""
    rig = Rig(4)
    leader = rig.elect()
    term = rig.voter(leader).role.term
    for _ in range(20):
        rig.reset_link(leader, rig.followers()[0])
        rig.run(200)
    assert rig.voter(leader).role == (term, leader, True)


def test_a_minority_neither_raises_terms_nor_disturbs_when_it_returns() -> None:
    """Dissertation 9.6."""
    rig = Rig(3, 5)
    leader = rig.elect()
    term = rig.voter(leader).role.term
    minority = set(rig.followers()[:2])
    rig.partition(minority)
    rig.run(60_000)
    assert all(rig.voter(node_id).role.term == term for node_id in minority)
    rig.heal()
    for _ in range(100):
        rig.run(20)
        assert rig.voter(leader).role.is_leader
    assert rig.is_converged()


def test_a_voter_that_restarts_disturbs_nobody() -> None:
    rig = Rig(5)
    leader = rig.elect()
    role = rig.voter(leader).role
    for _ in range(5):
        victim = rig.followers()[0]
        rig.crash(victim)
        rig.run(300)
        rig.start(victim)
        rig.run(700)
        assert rig.voter(leader).role == role


def test_a_voter_in_a_higher_term_is_not_locked_out() -> None:
    """With pre-votes it cannot depose the leader by a vote request, so its answer must tell the leader."""
    rig = Rig(6)
    leader = rig.elect()
    ahead = rig.followers()[0]
    term = rig.voter(leader).role.term + 3
    rig.inject(rig.followers()[1], ahead, Message(pre_vote_response=PreVoteResponse(term=term, granted=False)))
    assert rig.voter(ahead)._raft.term() == term
    assert rig.run(3_000, lambda: rig.is_converged() and rig.voter(ahead).role.leader_id is not None)
    assert rig.voter(ahead).role.term > term


def test_one_voter_has_one_vote() -> None:
    """The library counts messages: the same vote twice would elect."""
    rig = Rig(7, 5)
    rig.drop = lambda _source, _target, message: message.HasField("response_vote")
    assert rig.run(5_000, lambda: any(node.voter._raft.is_candidate() for node in rig.nodes.values()))
    candidate = next(node_id for node_id, node in rig.nodes.items() if node.voter._raft.is_candidate())
    voter = rig.voter(candidate)
    peer, other = [node_id for node_id in rig.ids if node_id != candidate][:2]
    vote = Message(response_vote=ResponseVote(term=voter._raft.term()))
    rig.inject(peer, candidate, vote)
    rig.inject(peer, candidate, vote)
    assert not voter.role.is_leader
    rig.inject(other, candidate, vote)
    rig.run(5)
    assert voter.role.is_leader


def test_late_votes_and_vote_requests_have_no_effect() -> None:
    rig = Rig(8)
    leader = rig.elect()
    rig.crash(leader)
    rig.start(leader)
    leader = rig.elect()
    role = rig.voter(leader).role
    follower = rig.followers()[0]
    before = rig.log(follower)
    for message in (
        Message(response_vote=ResponseVote(term=role.term - 1)),
        Message(pre_vote_response=PreVoteResponse(term=role.term, granted=True)),
        Message(request_vote=RequestVote(term=role.term - 1, last_log_index=999, last_log_term=999)),
        Message(request_vote=RequestVote(term=role.term, last_log_index=999, last_log_term=999)),
        Message(pre_vote=PreVote(term=role.term - 1, last_log_index=999, last_log_term=999)),
        Message(timeout_now=TimeoutNow(term=role.term - 1)),
    ):
        rig.inject(rig.followers()[1], follower, message)
        rig.inject(follower, leader, message)
        rig.run(50)
        assert rig.voter(leader).role == role
        assert rig.voter(follower)._raft.term() == role.term
    assert rig.log(follower) == before


def test_a_vote_survives_a_restart() -> None:
    rig = Rig(9)
    rig.elect()
    follower = rig.followers()[0]
    role = rig.voter(follower).role
    journal = rig.voter(follower)._journal
    vote = (journal.term, journal.voted_for)
    rig.crash(follower, power=True)
    rig.start(follower)
    journal = rig.voter(follower)._journal
    assert (journal.term, journal.voted_for) == vote
    assert rig.voter(follower).role.term == role.term


def test_a_leader_that_stops_hands_over() -> None:
    rig = Rig(10)
    old = rig.elect()
    rig.run(100)
    rig.voter(old).on_event(HandOver())
    assert rig.run(300, lambda: rig.leader() not in (old, None))


def test_an_answer_of_an_older_term_counts_for_nothing() -> None:
    """A slow acknowledgement of a former leadership must not commit what its sender does not hold."""
    rig = Rig(11)
    leader = rig.elect()
    first, second = rig.followers()
    term = rig.voter(leader).role.term
    rig.hold(leader, first)
    rig.hold(leader, second)
    call = rig.propose(leader, b"x")
    rig.run(10)
    last = rig.voter(leader)._journal.last.index
    stale = NextNodeIdx(term=term - 1, next_index=last + 1, success=True)
    rig.inject(first, leader, Message(next_node_idx=stale))
    rig.run(10)
    assert call.outcome is None
    rig.inject(first, leader, Message(next_node_idx=NextNodeIdx(term=term, next_index=last + 100, success=True)))
    rig.run(10)
    assert call.outcome is None
    rig.inject(first, leader, Message(next_node_idx=NextNodeIdx(term=term, next_index=last + 1, success=True)))
    rig.run(10)
    assert call.outcome == "ok"


def test_a_follower_cut_off_from_the_leader_alone_deposes_nobody() -> None:
    """The other follower hears the leader and refuses the pre-vote."""
    rig = Rig(12)
    leader = rig.elect()
    role = rig.voter(leader).role
    rig.disconnect(leader, rig.followers()[0])
    rig.run(10_000)
    assert rig.voter(leader).role == role


def test_a_pre_vote_is_refused_to_a_shorter_log_and_to_a_lower_term() -> None:
    rig = Rig(13)
    leader = rig.elect()
    rig.propose(leader, b"x")
    rig.run(300)
    asker, asked = rig.followers()
    rig.partition({asker, asked})
    answers: list[PreVoteResponse] = []

    def watch(source: int, _target: int, message: Message) -> bool:
        if source == asked and message.HasField("pre_vote_response"):
            answers.append(message.pre_vote_response)
        return False

    rig.drop = watch
    journal = rig.voter(asked)._journal
    term, index = journal.term, journal.last.index
    for question in (
        PreVote(term=term, last_log_index=index - 1, last_log_term=term),
        PreVote(term=term, last_log_index=index + 9, last_log_term=term - 1),
        PreVote(term=term - 1, last_log_index=index, last_log_term=term),
        PreVote(term=term, last_log_index=index, last_log_term=term),
    ):
        rig.inject(asker, asked, Message(pre_vote=question))
    rig.run(1)
    assert [answer.granted for answer in answers[:4]] == [False, False, False, True]


def test_an_observer_gives_no_vote_whoever_asks() -> None:
    rig = Rig(14)
    leader = rig.elect()
    other, wiped = rig.followers()
    rig.crash(leader)
    rig.wipe(wiped)
    rig.drop = lambda source, _target, message: source == wiped and not message.HasField("response_vote")
    term = rig.voter(other)._raft.term()
    rig.inject(other, wiped, Message(request_vote=RequestVote(term=term + 1, last_log_index=99, last_log_term=99)))
    rig.inject(other, wiped, Message(timeout_now=TimeoutNow(term=term)))
    sent = rig.sent_messages
    rig.crash(other)
    rig.run(100)
    assert rig.sent_messages == sent
    assert rig.voter(wiped)._journal.voted_for is None
