"""Enforcement: every transition of the table, every kind of target."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    Invalidate,
    Isolate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.limits import REASON_CHARS
from govraft.testing.attesting import Attesting

AGENT = 'Agent::"a"'
Q, R, X, S, V = Quarantine, Release, Revoke, Isolate, Invalidate
PERMIT = 'permit(principal, action == Action::"run", resource);'


def enforce(
    bench: Any, kind: Any, target: str = AGENT, on: TargetKind = TargetKind.SUBJECT, reason: str = "why"
) -> str:
    code: str = bench.do(bench.command(kind, kind=on, id=target, reason=reason))
    return code


@pytest.mark.clause("2 enforcement requirements")
@pytest.mark.parametrize(
    ("steps", "codes", "marks"),
    [
        ([Q], ["applied"], {"quarantined"}),
        ([R], ["not_quarantined"], set()),
        ([X], ["applied"], {"revoked"}),
        ([Q, Q], ["applied", "already_quarantined"], {"quarantined"}),
        ([Q, R], ["applied", "applied"], set()),
        ([Q, R, Q], ["applied"] * 3, {"quarantined"}),
        ([Q, X], ["applied", "applied"], {"quarantined", "revoked"}),
        ([X, Q], ["applied", "already_revoked"], {"revoked"}),
        ([X, R], ["applied", "not_quarantined"], {"revoked"}),
        ([X, X], ["applied", "already_revoked"], {"revoked"}),
        ([Q, X, Q], ["applied", "applied", "already_revoked"], {"quarantined", "revoked"}),
        ([Q, X, R], ["applied"] * 3, {"revoked"}),
        ([Q, X, X], ["applied", "applied", "already_revoked"], {"quarantined", "revoked"}),
        ([S], ["applied"], {"isolated"}),
        ([Q, S], ["applied", "applied"], {"isolated", "quarantined"}),
        ([S, Q], ["applied", "already_quarantined"], {"isolated"}),
        ([S, S], ["applied", "target_state"], {"isolated"}),
        ([S, X], ["applied", "applied"], {"isolated", "revoked"}),
        ([X, S], ["applied", "already_revoked"], {"revoked"}),
        ([V], ["applied"], {"invalidated"}),
        ([V, V], ["applied", "target_state"], {"invalidated"}),
        ([V, Q], ["applied", "applied"], {"invalidated", "quarantined"}),
        ([V, S], ["applied", "applied"], {"invalidated", "isolated"}),
        ([Q, V], ["applied", "applied"], {"invalidated", "quarantined"}),
        ([S, V], ["applied", "applied"], {"invalidated", "isolated"}),
        ([V, R], ["applied", "not_quarantined"], {"invalidated"}),
        ([V, Q, R], ["applied"] * 3, {"invalidated"}),
        ([V, X], ["applied", "applied"], {"invalidated", "revoked"}),
        ([X, V], ["applied", "already_revoked"], {"revoked"}),
        # An operator does not release what is isolated.
        ([S, R], ["applied", "threshold_unmet"], {"isolated"}),
        ([Q, S, R], ["applied", "applied", "threshold_unmet"], {"isolated", "quarantined"}),
    ],
)
def test_transitions(bench: Any, steps: list[Any], codes: list[str], marks: set[str]) -> None:
    assert [enforce(bench, step) for step in steps] == codes
    assert set(bench.machine.marks("subject", AGENT)) == marks
    assert bench.machine.has_marks == bool(marks)
    assert set(bench.machine.marked) == ({("subject", AGENT)} if marks else set())


def test_a_mark_says_why_who_and_when(bench: Any) -> None:
    assert enforce(bench, X, reason="leaked key") == "applied"
    mark = bench.machine.marks("subject", AGENT)["revoked"]
    assert (mark.reason, mark.authors, mark.seq, mark.time) == ("leaked key", ("olga",), 2, bench.time)


def test_a_release_restores_the_digest(bench: Any) -> None:
    before = bench.machine.sections["entities"]
    assert enforce(bench, Q) == "applied"
    assert bench.machine.sections["entities"] != before
    assert enforce(bench, R) == "applied"
    assert bench.machine.sections["entities"] == before


@pytest.mark.parametrize(
    ("on", "target", "code"),
    [
        (TargetKind.SUBJECT, "Agent", "target_invalid"),
        (TargetKind.SUBJECT, "", "target_invalid"),
        (TargetKind.SUBJECT, 'Action::"run"', "target_invalid"),
        (TargetKind.RESOURCE, 'Fleet::Action::"run"', "target_invalid"),
        (TargetKind.RESOURCE, 'Tool::"t"', "applied"),
        (TargetKind.ACTION, 'Tool::"t"', "target_invalid"),
        (TargetKind.ACTION, 'Fleet::Action::"run"', "applied"),
        (TargetKind.NODE, "n1", "applied"),
        (TargetKind.NODE, "n9", "target_unknown"),
        (TargetKind.NODE, AGENT, "target_unknown"),
    ],
)
def test_targets(bench: Any, on: TargetKind, target: str, code: str) -> None:
    assert enforce(bench, X, target, on) == code
    if code == "applied":
        assert "revoked" in bench.machine.marks(on.value, target)


def test_spellings(bench: Any) -> None:
    """Whoever spells an id differently means the same target."""
    assert enforce(bench, X, 'Agent::"\\u{61}"') == "applied"
    assert "revoked" in bench.machine.marks("subject", AGENT)
    assert "revoked" in bench.machine.marks("subject", 'Agent::"\\x61"')
    assert enforce(bench, X, AGENT) == "already_revoked"


def test_kinds_do_not_mix(bench: Any) -> None:
    assert enforce(bench, X, AGENT, TargetKind.SUBJECT) == "applied"
    assert bench.machine.marks("resource", AGENT) == {}
    assert enforce(bench, Q, AGENT, TargetKind.RESOURCE) == "applied"
    assert set(bench.machine.marks("resource", AGENT)) == {"quarantined"}


def test_slashes_in_ids_do_not_confuse_targets(bench: Any) -> None:
    assert enforce(bench, X, 'Agent::"a/b"') == "applied"
    assert set(bench.machine.marked) == {("subject", 'Agent::"a/b"')}


def test_limits(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enforce(bench, Q, reason="x" * REASON_CHARS) == "applied"
    assert enforce(bench, R, reason="x" * (REASON_CHARS + 1)) == "limit_exceeded"
    monkeypatch.setattr(limits, "MARKS", 1)
    assert enforce(bench, X, 'Agent::"b"') == "limit_exceeded"
    # One that is marked already can always be marked further.
    assert enforce(bench, X) == "applied"


# Every kind of target, and whose it is.


@pytest.fixture
def world() -> Attesting:
    """Domains west, with mine below it, and east; operators wanda of the west, mina of mine, edgar of the east."""
    made = Attesting()
    for name, parent in (("west", "root"), ("mine", "west"), ("east", "root")):
        made.add_domain(name, parent)
    made.add_authority("wanda", Assignment(Role.OPERATOR, "west"))
    made.add_authority("mina", Assignment(Role.OPERATOR, "mine"))
    made.add_authority("edgar", Assignment(Role.OPERATOR, "east"))
    made.add_authority("wilma", Assignment(Role.ROOT, "west"))
    return made


def permit(world: Attesting, text: str = PERMIT) -> str:
    world.activate(text)
    assert world.machine.active_policies is not None
    return next(name for name, known in world.machine.active_policies.policies.items() if known == text)


ALL = {Quarantine: "quarantined", Isolate: "isolated", Revoke: "revoked", Invalidate: "invalidated"}


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_of_target_takes_every_mark(world: Attesting, kind: Any) -> None:
    world.attest('Tool::"t"')
    targets = {
        "subject": AGENT,
        "resource": 'Tool::"t"',
        "action": 'Action::"run"',
        "node": "n2",
        "policy": permit(world),
        "attestation": str(world.last('Tool::"t"')),
        "domain": "mine",
    }
    assert set(targets) == {item.value for item in TargetKind}
    for on, target in targets.items():
        assert world.mark(kind, on, target) == "applied"
        assert world.marks(on, target) == {ALL[kind]}
    assert dict(world.machine.marked).keys() == set(targets.items())


@pytest.mark.parametrize(
    ("on", "target"),
    [
        ("node", "n9"),
        ("policy", "0" * 64),
        ("policy", "x"),
        ("attestation", "0" * 64),
        ("domain", "nowhere"),
        ("domain", ""),
    ],
)
def test_what_must_be_known(world: Attesting, on: str, target: str) -> None:
    for kind in ALL:
        assert world.mark(kind, on, target) == "target_unknown"
    # What is gone, or never was, can still be released, to make room.
    assert world.mark(Release, on, target) == "not_quarantined"


def test_the_root_domain_is_never_revoked(world: Attesting) -> None:
    assert world.mark(Revoke, "domain", "root") == "target_invalid"
    for kind in (Quarantine, Invalidate, Isolate):
        assert world.mark(kind, "domain", "root") == "applied"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PERMIT, "applied"),
        ('// forbid\n@forbid("forbid(") permit(principal, action, resource);', "applied"),
        ("// forbid\rpermit(principal, action, resource);", "applied"),
        ("forbid(principal, action, resource);", "target_invalid"),
        ('@permit("permit(") // permit\r forbid(principal, action, resource);', "target_invalid"),
    ],
)
def test_only_permits_can_be_marked(world: Attesting, text: str, code: str) -> None:
    policy = permit(world, text)
    for kind in ALL:
        assert world.mark(kind, "policy", policy) == (
            "already_revoked" if (kind, code) == (Invalidate, "applied") else code
        )


def test_who_may_mark(world: Attesting) -> None:
    world.place(AGENT, "mine")
    world.place('Tool::"t"', "west")
    world.attest('Tool::"t"')
    world.activate(PERMIT)
    world.activate(PERMIT.replace("run", "stop"), domain="west")
    policies = world.machine.state.policies
    root_policy, west_policy = (policies.of(name).versions[1].policy_ids[0].hex() for name in ("root", "west"))
    rights = {
        ("subject", AGENT): {"olga", "wanda", "mina"},
        # It is no resource, but as one it is of the same domain.
        ("resource", AGENT): {"olga", "wanda", "mina"},
        ("resource", 'Tool::"t"'): {"olga", "wanda"},
        ("resource", 'Tool::"nobody knows"'): {"olga"},
        ("action", 'Action::"run"'): {"olga"},
        ("node", "n1"): {"olga"},
        ("policy", root_policy): {"olga"},
        ("policy", west_policy): {"olga", "wanda"},
        ("attestation", str(world.last('Tool::"t"'))): {"olga", "wanda"},
        ("domain", "mine"): {"olga", "wanda", "mina"},
        ("domain", "west"): {"olga", "wanda"},
        ("domain", "root"): {"olga"},
    }
    for (on, target), may in rights.items():
        for author in ("wanda", "mina", "edgar", "wilma", "pat", "rita"):
            allowed = author in may
            assert world.mark(Quarantine, on, target, author) == ("applied" if allowed else "threshold_unmet"), target
            if allowed:
                assert world.mark(Release, on, target, "olga") == "applied"
        assert world.mark(Quarantine, on, target, "olga") == "applied"


def test_a_policy_of_two_domains_is_marked_from_above_both(world: Attesting) -> None:
    for name in ("mine", "east"):
        if name == "mine":
            world.activate(PERMIT)
        world.activate(PERMIT, domain=name)
    policy = world.machine.state.policies.of("east").versions[1].policy_ids[0].hex()
    assert world.mark(Quarantine, "policy", policy, "edgar") == "threshold_unmet"
    assert world.mark(Quarantine, "policy", policy, "olga") == "applied"


def test_who_may_release(world: Attesting) -> None:
    world.place(AGENT, "mine")
    assert world.mark(Quarantine, "subject", AGENT, "olga") == "applied"
    # The mark is the domain's; a deputy may do what his chief did for it, but not what was done before it was there.
    assert world.mark(Release, "subject", AGENT, "mina") == "applied"
    stray = 'Agent::"stray"'
    assert world.mark(Quarantine, "subject", stray, "olga") == "applied"
    world.place(stray, "mine")
    assert world.mark(Release, "subject", stray, "mina") == "threshold_unmet"
    assert world.mark(Release, "subject", stray, "olga") == "applied"
    # A domain is released by the one above it.
    assert world.mark(Quarantine, "domain", "mine", "mina") == "applied"
    assert world.mark(Release, "domain", "mine", "mina") == "threshold_unmet"
    assert world.mark(Release, "domain", "mine", "wanda") == "applied"
    assert world.mark(Quarantine, "domain", "west", "wanda") == "applied"
    assert world.mark(Release, "domain", "west", "wanda") == "threshold_unmet"
    assert world.mark(Release, "domain", "west", "olga") == "applied"
    assert world.mark(Quarantine, "domain", "root", "olga") == "applied"
    assert world.mark(Release, "domain", "root", "olga") == "applied"


def test_who_releases_what_is_isolated(world: Attesting) -> None:
    world.place(AGENT, "mine")
    assert world.mark(Quarantine, "subject", AGENT, "mina") == "applied"
    assert world.mark(Isolate, "subject", AGENT, "mina") == "applied"
    for author in ("mina", "wanda", "olga", "rita"):
        assert world.mark(Release, "subject", AGENT, author) == "threshold_unmet"
    assert world.mark(Release, "subject", AGENT, "wilma", "rita") == "applied"
    assert world.marks("subject", AGENT) == set()
    assert world.mark(Isolate, "action", 'Action::"run"') == "applied"
    assert world.mark(Release, "action", 'Action::"run"', "wilma") == "threshold_unmet"
    assert world.mark(Release, "action", 'Action::"run"', "rita", "ruth") == "applied"
