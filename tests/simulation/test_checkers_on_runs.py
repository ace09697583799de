"""The checkers of histories on the record of a simulated cluster: silent as it is, and not when something is changed."""

from __future__ import annotations

import msgspec
import pytest

from govraft.testing.checkers import effects, judge, unavailability
from govraft.testing.history import (
    Certificate,
    Check,
    CommandTried,
    FaultStarted,
    Lineage,
    NodeState,
    decode_event,
    encode_event,
)
from govraft.testing.simulation.plan import draw_plan
from govraft.testing.simulation.run import simulate

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def record():
    """A run with faults, in which something was allowed, quarantined and released."""
    outcome = simulate(draw_plan(11, "faults", 30.0))
    assert outcome.findings == ()
    return tuple(outcome.history)


def of(record, kind, **fields):
    return [
        item
        for item in record
        if type(item) is kind and all(getattr(item, name) == value for name, value in fields.items())
    ]


def changed(record, old, new):
    return [new if item is old else item for item in record]


def broken(record):
    return {item.property for item in judge(record)}


def test_the_record_is_worth_judging(record):
    assert judge(record, all_certificates=True) == []
    assert len(of(record, Check, allowed=True)) >= 20
    assert of(record, Check, reason="quarantined")
    assert len(of(record, CommandTried, outcome="effective")) >= 10
    assert len({item.seq for item in of(record, Certificate)}) >= 10
    assert len(of(record, Lineage)) >= 3
    assert of(record, FaultStarted)


def test_it_survives_being_written_down(record):
    assert [decode_event(encode_event(item)) for item in record] == list(record)


def test_an_allow_on_the_state_before_is_stale(record):
    certified = sorted({item.seq for item in of(record, Certificate)})
    for check in of(record, Check, allowed=True):
        older = [seq for seq in certified if seq < check.seq]
        known = [item for item in of(record, Certificate, seq=check.seq) if item.at < check.began]
        if older and known:
            [root] = {item.state_root for item in of(record, Certificate, seq=older[-1])}
            assert "stale_allow" in broken(changed(record, check, replace(check, seq=older[-1], state_root=root)))
            return
    pytest.fail("no allow was asked for after its certificate")


def test_a_denial_turned_into_an_allow_is_explained_by_no_order(record):
    for check in of(record, Check, reason="quarantined"):
        allowed = replace(check, allowed=True, reason="")
        if "linearizability" in broken(changed(record, check, allowed)):
            return
    pytest.fail("each of them could have come before its quarantine")


def test_an_effective_command_that_vanishes_is_lost(record):
    command = of(record, CommandTried, outcome="effective")[-1]
    lineage = next(item for item in of(record, Lineage) if len(item.commands) >= command.seq)
    commands = list(lineage.commands)
    commands[command.seq - 1] = (commands[command.seq - 1][0], "expired")
    assert "lost_command" in broken(changed(record, lineage, replace(lineage, commands=tuple(commands))))


def test_a_command_that_works_again_is_doubled(record):
    lineage = of(record, Lineage)[0]
    again = next(item for item in lineage.commands[1:] if item[1] == "applied" and item[0])
    longer = replace(lineage, commands=(*lineage.commands, again), leaves=(*lineage.leaves, "x"))
    assert "doubled_command" in broken(changed(record, lineage, longer))


def test_another_leaf_on_one_node_is_a_fork(record):
    lineage = of(record, Lineage)[0]
    assert "lineage_prefix" in broken(changed(record, lineage, replace(lineage, leaves=(*lineage.leaves[:-1], "x"))))


def test_another_certified_root_is_a_fork(record):
    certificate = of(record, Certificate)[-1]
    assert "fork" in broken([*record, replace(certificate, root="x", at=certificate.at + 1)])


def test_a_signed_seq_that_falls_is_noticed(record):
    state = max((item for item in of(record, NodeState) if item.signed_seq > 1), key=lambda item: item.at)
    assert "monotone" in broken([*record, replace(state, at=state.at + 1, signed_seq=state.signed_seq - 1)])


def test_the_faults_have_measurable_effects(record):
    found = effects(record)
    assert len(found) == len(of(record, FaultStarted))
    assert sum(item.count for item in unavailability(record)) == len(found)
