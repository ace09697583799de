"""Recorded runs of the node core are behaviours of the model; runs in which a rule is broken are not."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
from model.recording import Event, Recorder, configuration, judge
from model.wild_runs import adversary, engine
from simulation import test_rules as rules
from simulation.arena import Arena
from simulation.checkers import ConvergenceWatcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Blind(ConvergenceWatcher):
    """Counts certificates, for the scenarios, and leaves every complaint to the model."""

    def look(self, node):
        """The model looks."""


class Recorded:
    """Runs a scenario of `test_rules` with a recorder attached from the first step."""

    def __init__(self, scenario: Callable[[], Arena], plant: Callable | None = None) -> None:
        self.recorder: Recorder | None = None

        def arena(**options: object) -> Arena:
            sim = Arena(watcher=Blind(), **options)
            self.recorder = Recorder(sim).attach()
            return sim

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rules, "arena", arena)
            if plant is None:
                scenario()
                return
            plant(patch)
            # Without its rule a scenario need not end as it says: what counts is what the nodes did until then.
            with contextlib.suppress(AssertionError):
                scenario()

    @property
    def events(self) -> list[Event]:
        return self.recorder.kept()


def accepted(recorder: Recorder) -> None:
    events = recorder.kept()
    (verdict,) = judge([events], configuration(recorder.sim))
    assert verdict.violated is None
    assert verdict.refused is None, (verdict.taken, verdict.refused)
    assert verdict.taken == len(events)
    assert {"answer", "write", "leave", "certified", "accept", "serve", "tick"} <= recorder.kinds().keys()


# What is accepted.


@pytest.mark.parametrize("seed", [2, 5, 8])
def test_runs_under_an_untrusted_sequencer_are_behaviours_of_the_model(seed):
    recorder = adversary(seed, 12)
    assert recorder.kinds()["certified"] > 10
    accepted(recorder)


@pytest.mark.parametrize("seed", [1, 3])
def test_runs_of_the_real_engine_are_behaviours_of_the_model(seed):
    accepted(engine(seed, 4))


# What is refused: nodes that lack a rule.

SHORT = [
    rules.a_lease_outlives_its_holders_link,
    rules.a_granting_voter_restarts,
    rules.an_old_leader_asks_again,
    rules.a_voter_restarts_and_an_old_leader_asks_again,
    rules.a_voter_crashes_before_its_ack_is_durable,
    rules.a_lease_arrives_late,
    rules.a_holder_moves_on_and_its_new_lease_is_slow,
    rules.two_leaders_at_once,
]


def test_the_scenarios_under_the_rules_are_behaviours_of_the_model():
    runs = [Recorded(scenario) for scenario in SHORT]
    for verdict in judge([run.events for run in runs], configuration(runs[0].recorder.sim)):
        assert (verdict.refused, verdict.violated) == (None, None)


def in_vain() -> Arena:
    return rules.a_voter_crashes_before_its_ack_is_durable(early_send=True)


# Where the model parts with the run: at the first event that breaks the rule, not only when somebody is stale.
BROKEN = [
    (rules.a_lease_outlives_its_holders_link, rules.no_outstanding, "answer"),
    (rules.a_lease_outlives_its_holders_link, rules.careless_leader_and_holders, "certified"),
    (rules.a_granting_voter_restarts, rules.no_waiting_after_a_restart, "answer"),
    (rules.an_old_leader_asks_again, rules.no_memory_of_the_highest_ack, "answer"),
    (rules.a_voter_restarts_and_an_old_leader_asks_again, rules.no_record_on_disk, "leave"),
    (in_vain, lambda patch: None, "leave"),
    (rules.a_lease_arrives_late, rules.leases_counted_from_receipt, "accept"),
    (rules.clocks_run_apart, rules.clocks_trusted_to_be_exact, "accept"),
    (rules.a_holder_moves_on_and_its_new_lease_is_slow, rules.serving_goes_on_after_the_ack, "serve"),
    (rules.two_leaders_at_once, rules.one_voter_is_a_quorum, "certified"),
]


def test_a_run_of_nodes_that_lack_a_rule_is_refused():
    runs = [Recorded(scenario, plant) for scenario, plant, _ in BROKEN]
    events = [run.events[:400] for run in runs]
    verdicts = judge(events, configuration(runs[0].recorder.sim))
    found = [verdict.refused.kind if verdict.refused else "accepted" for verdict in verdicts]
    assert found == [kind for _, _, kind in BROKEN]


# What is refused: records that were tampered with.


def first(events: list[Event], kind: str, holds: Callable[[dict], object] = lambda fields: True) -> int:
    return next(place for place, event in enumerate(events) if event.kind == kind and holds(event.fields))


def changed(events: list[Event], place: int, **fields: object) -> tuple[list[Event], int]:
    """The run up to an event, with that event altered."""
    run = copy.deepcopy(events[: place + 1])
    run[place].fields.update(fields)
    return run, place


def inserted(events: list[Event], place: int, kind: str, **fields: object) -> tuple[list[Event], int]:
    """The run up to an event, with another one instead of it."""
    return [*events[:place], Event(kind, {}, fields)], place


def tampered(events: list[Event]) -> dict[str, tuple[list[Event], int]]:
    """Each tampered run, with the place at which it must be refused."""
    ack_of_2 = first(events, "answer", lambda fields: fields["seq"] == 2)
    voter = events[ack_of_2].fields["node"]
    lower = {"node": voter, "probe": "planted", "seq": 1, "root": "genesis", "grants": [], "outstanding": []}
    accept = first(events, "accept")
    left = events[accept].fields["left"]
    listing = first(events, "answer", lambda fields: fields["outstanding"])
    write = first(events, "write", lambda fields: fields["seq"] == 2)
    writer = events[write].fields["node"]
    leave = write + first(events[write:], "leave", lambda fields: fields["node"] == writer)
    serve = first(events, "serve")
    server = events[serve].fields["node"]
    nonces = [event.fields["nonce"] for event in events if event.kind == "answer"]
    second = first(events, "answer", lambda fields: fields["nonce"] == nonces[1])
    one_answer = first(events, "answer", lambda fields: fields["grants"])
    asked = events[one_answer].fields["probe"]
    late = [("a", 2_000_000), ("b", 2_000_000), ("c", 2_000_000)]
    over, place = inserted(events, serve, "tick", clocks=late)
    over.append(Event("serve", {}, events[serve].fields))
    return {
        "an ack below the highest": inserted(events, ack_of_2 + 1, "answer", **lower, nonce="planted"),
        "a lease a tick too long": changed(events, accept, left=left + 1),
        "an outstanding holder kept quiet": changed(events, listing, outstanding=[]),
        "an outstanding holder made up": changed(events, one_answer, outstanding=["a"]),
        "an ack that leaves before it is durable": ([*events[:write], *events[write + 1 : leave + 1]], leave - 1),
        "an answer right after a restart": (
            [
                *events[:ack_of_2],
                Event("restart", {}, {"node": voter}),
                copy.deepcopy(events[ack_of_2]),
            ],
            ack_of_2 + 1,
        ),
        "a certificate without a quorum": inserted(events, one_answer + 1, "certified", probe=asked),
        "a lease without a quorum": inserted(
            events, one_answer + 1, "accept", node=events[one_answer].fields["grants"][0][0], probe=asked, left=left
        ),
        "a nonce used twice": changed(events, second, nonce=nonces[0]),
        "serving at another seq than applied": changed(events, serve, applied=2),
        "serving at another seq than leased": changed(events, serve, seq=2, applied=2),
        "serving after the lease": (over, place + 1),
        "serving after a restart": (
            [*events[:serve], Event("restart", {}, {"node": server}), events[serve]],
            serve + 1,
        ),
        "a record that shrinks": inserted(events, write + 1, "write", node=writer, seq=1, root="genesis"),
    }


def test_a_tampered_record_is_refused_where_it_was_tampered_with():
    run = Recorded(rules.a_lease_outlives_its_holders_link)
    cases = tampered(run.events)
    verdicts = judge([events for events, _ in cases.values()], configuration(run.recorder.sim))
    found = {name: verdict.taken for name, verdict in zip(cases, verdicts, strict=True)}
    assert found == {name: place for name, (_, place) in cases.items()}
    assert all(verdict.refused for verdict in verdicts)
