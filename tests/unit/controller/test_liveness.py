"""Leases, suspicion, probes: events in, effects out."""

from cluster.ids import Uuid
from cluster.metadata.commands import BeginControlledShutdown
from cluster.metadata.messages import Heartbeat
from controller.liveness import (
    Effect,
    Liveness,
    LivenessSettings,
    Probe,
    ProposeFence,
    ProposeShutdown,
    ProposeUnfence,
)
from tests.unit.controller.world import World, incarnation, registration

SETTINGS = LivenessSettings()


class Case:
    """A liveness over a world of two unfenced brokers; `now` is in ms."""

    def __init__(self) -> None:
        self.world = World()
        self.world.start(1, 2)
        self.liveness = Liveness(SETTINGS)
        self.now = 10_000
        self.liveness.activate(self.world.image, self.now)

    def heartbeat(
        self, broker_id: int, session: int = 1, *, applied: int | None = None, stop: bool = False
    ) -> list[Effect]:
        offset = self.world.image.offset if applied is None else applied
        return self.liveness.on_heartbeat(session, self.message(broker_id, offset, stop), self.now)

    def message(self, broker_id: int, offset: int = 0, stop: bool = False) -> Heartbeat:
        broker = self.world.image.brokers[broker_id]
        return Heartbeat(
            broker_id=broker_id,
            incarnation_id=broker.incarnation_id,
            broker_epoch=broker.broker_epoch,
            applied_offset=offset,
            wants_shutdown=stop,
        )

    def tick(self, to: int) -> list[Effect]:
        """Ticks on time up to `to` ms after the beginning; the effects of all of them."""
        effects: list[Effect] = []
        while self.now < 10_000 + to:
            self.now += SETTINGS.tick_ms
            effects += self.liveness.on_tick(self.now)
        return effects

    def probed(self, broker_id: int, found: Uuid | None) -> list[Effect]:
        return self.liveness.on_probe(broker_id, self.world.epoch(broker_id), found, self.now)

    def image(self) -> None:
        self.liveness.on_image(self.world.image, self.now)


def _fences(effects: list[Effect]) -> list[tuple[int, str]]:
    return [(effect.broker_id, effect.reason) for effect in effects if isinstance(effect, ProposeFence)]


def test_a_heartbeat_renews_the_lease() -> None:
    case = Case()
    for at in range(500, 5000, 500):
        case.heartbeat(1)
        case.heartbeat(2)
        assert case.tick(at) == []


def test_a_lease_that_runs_out_fences_and_names_the_silence() -> None:
    case = Case()
    case.heartbeat(1)
    case.heartbeat(2)
    assert _fences(case.tick(1900)) == []
    case.heartbeat(2)
    assert _fences(case.tick(2000)) == [(1, "nothing was heard of it for 2000 ms")]


def test_a_proposal_is_repeated_while_the_metadata_does_not_show_it() -> None:
    case = Case()
    case.heartbeat(1)
    case.heartbeat(2)
    case.tick(1900)
    case.heartbeat(2)
    assert len(_fences(case.tick(2400))) == 1
    assert len(_fences(case.tick(2600))) == 1
    case.world.fence(1)
    case.image()
    assert _fences(case.tick(3500)) == []


def test_a_broken_session_is_probed_at_once() -> None:
    case = Case()
    case.heartbeat(1)
    (probe,) = case.liveness.on_session_broken(1, 1, case.now)
    assert isinstance(probe, Probe)
    assert probe.endpoint == case.world.image.brokers[1].node_endpoint


def test_a_suspect_that_nobody_answers_for_is_fenced() -> None:
    case = Case()
    case.heartbeat(1)
    case.liveness.on_session_broken(1, 1, case.now)
    assert _fences(case.probed(1, None)) == [(1, "its session stream broke and the probe found nobody")]


def test_a_suspect_replaced_by_another_incarnation_is_fenced() -> None:
    case = Case()
    case.heartbeat(1)
    case.liveness.on_session_broken(1, 1, case.now)
    ((_, reason),) = _fences(case.probed(1, incarnation(1, life=2)))
    assert "another incarnation answers" in reason


def test_a_suspect_that_answers_keeps_its_lease_and_is_probed_again() -> None:
    case = Case()
    case.heartbeat(1)
    case.heartbeat(2)
    case.liveness.on_session_broken(1, 1, case.now)
    assert case.probed(1, incarnation(1)) == []
    (again,) = case.tick(300)
    assert isinstance(again, Probe)
    assert case.tick(900) == [], "one probe at a time"
    case.probed(1, incarnation(1))
    case.heartbeat(2)
    assert _fences(case.tick(2000)) == [(1, "nothing was heard of it for 2000 ms")]


def test_a_broker_that_reconnects_is_no_suspect() -> None:
    case = Case()
    case.heartbeat(1, session=1)
    case.heartbeat(1, session=2)
    assert case.liveness.on_session_broken(1, 1, case.now) == []
    case.liveness.on_session_broken(2, 1, case.now)
    case.heartbeat(1, session=3)
    assert case.probed(1, None) == []


def test_a_probe_of_an_earlier_incarnation_says_nothing() -> None:
    case = Case()
    case.heartbeat(1)
    case.liveness.on_session_broken(1, 1, case.now)
    assert case.liveness.on_probe(1, case.world.epoch(1) - 1, None, case.now) == []


def test_a_new_controller_grants_leases_and_soon_probes_who_did_not_connect() -> None:
    case = Case()
    case.tick(100)
    case.heartbeat(2)
    assert case.tick(200) == []
    (probe,) = case.tick(300)
    assert isinstance(probe, Probe)
    assert probe.broker_id == 1
    assert _fences(case.probed(1, None)) == [
        (1, "it opened no session with the new controller and the probe found nobody")
    ]


def test_a_controller_that_stalled_extends_leases_instead_of_fencing() -> None:
    case = Case()
    case.heartbeat(1)
    case.heartbeat(2)
    case.now += 30_000
    assert _fences(case.liveness.on_tick(case.now)) == []
    case.now += SETTINGS.tick_ms
    assert _fences(case.liveness.on_tick(case.now)) == []


def test_a_probe_that_failed_while_this_controller_stalled_says_nothing() -> None:
    case = Case()
    case.heartbeat(1)
    case.liveness.on_session_broken(1, 1, case.now)
    case.now += 30_000
    assert case.probed(1, None) == []
    case.tick(30_100)
    (probe, *_) = case.tick(30_400)
    assert isinstance(probe, Probe)
    assert len(_fences(case.probed(1, None))) == 1


def test_a_fenced_broker_is_unfenced_when_it_has_caught_up() -> None:
    case = Case()
    case.world.do(registration(3))
    case.image()
    offset = case.world.image.offset
    assert case.heartbeat(3, applied=offset - 1) == []
    assert case.heartbeat(3) == [ProposeUnfence(broker_id=3, broker_epoch=case.world.epoch(3))]
    assert case.heartbeat(3) == [], "once is enough for a while"


def test_a_broker_fenced_while_it_lives_must_know_of_it_before_it_returns() -> None:
    case = Case()
    before = case.world.image.offset
    case.world.fence(1)
    case.image()
    assert case.heartbeat(1, applied=before) == []
    assert [type(effect) for effect in case.heartbeat(1)] == [ProposeUnfence]


def test_a_heartbeat_of_an_unknown_incarnation_is_told_to_register() -> None:
    case = Case()
    heartbeat = case.message(1)
    case.world.fence(1)
    case.world.restart(1, life=2, clean=False)
    case.image()
    assert case.liveness.on_heartbeat(5, heartbeat, case.now) == []
    assert not case.liveness.answer(heartbeat).registered
    assert case.liveness.answer(case.message(1)).registered


def test_a_rival_has_the_incumbent_probed() -> None:
    case = Case()
    case.heartbeat(1)
    (probe,) = case.liveness.on_rival(1, incarnation(1, life=2), case.now)
    assert isinstance(probe, Probe)
    assert case.liveness.on_rival(1, incarnation(1, life=2), case.now) == []
    assert case.liveness.on_rival(1, incarnation(1), case.now) == [], "a repeated registration is no rival"
    assert case.probed(1, None) == [], "a session says more than a probe that found nobody"
    case.now += 1000
    case.liveness.on_rival(1, incarnation(1, life=2), case.now)
    ((_, reason),) = _fences(case.probed(1, incarnation(1, life=2)))
    assert "another incarnation asks to be registered" in reason


def test_a_shutdown_is_allowed_when_the_broker_leads_nothing_and_all_others_know() -> None:
    case = Case()
    case.heartbeat(2)
    assert case.heartbeat(1, stop=True) == [ProposeShutdown(broker_id=1, broker_epoch=case.world.epoch(1))]
    case.world.do(BeginControlledShutdown(broker_id=1, broker_epoch=case.world.epoch(1)))
    case.image()
    offset = case.world.image.offset
    case.liveness.on_shutdown_progress(1, case.world.epoch(1), 3, offset)
    assert not case.liveness.answer(case.message(1)).shutdown_allowed
    case.liveness.on_shutdown_progress(1, case.world.epoch(1), 0, offset)
    assert not case.liveness.answer(case.message(1)).shutdown_allowed
    case.heartbeat(2)
    assert case.liveness.answer(case.message(1)).shutdown_allowed
    ((_, reason),) = _fences(case.liveness.on_session_broken(1, 1, case.now))
    assert reason == "its controlled shutdown is complete"


def test_an_inactive_controller_watches_nobody() -> None:
    case = Case()
    case.heartbeat(1)
    case.liveness.deactivate()
    assert case.tick(5000) == []
    assert case.heartbeat(1) == []
    assert case.liveness.lowest_applied_offset() is None


def test_the_lowest_applied_offset_counts_unfenced_brokers_only() -> None:
    case = Case()
    case.heartbeat(1, applied=7)
    assert case.liveness.lowest_applied_offset() == -1
    case.heartbeat(2, applied=5)
    assert case.liveness.lowest_applied_offset() == 5
    case.world.fence(2)
    case.image()
    assert case.liveness.lowest_applied_offset() == 7
