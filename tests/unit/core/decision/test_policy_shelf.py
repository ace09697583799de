"""Effective sets: what a domain inherits, when it is compiled anew, and what denies."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.records import PolicyBundle
from govraft.core.model import limits
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.policy.compiled import CompiledPolicies

SCHEMA = 'entity Agent; entity Tool; action "run", "stop" appliesTo { principal: [Agent], resource: [Tool] };'
PERMIT = "permit(principal, action, resource);"
FORBID = 'forbid(principal, action == Action::"run", resource);'
RUN, STOP = (Request('Agent::"a"', f'Action::"{name}"', 'Tool::"t"') for name in ("run", "stop"))
PATH = ("web", "eng", "root")


class Published(dict[str, PolicyBundle]):
    """Active versions by domain."""

    def put(self, domain: str, *texts: str, schema: str = SCHEMA) -> None:
        policies = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
        shown = schema if domain == "root" else ""
        digest = hashlib.sha256(repr((shown, sorted(policies))).encode()).hexdigest()
        self[domain] = PolicyBundle(1, digest, shown, policies)


@pytest.fixture
def active() -> Published:
    published = Published()
    published.put("root", PERMIT, FORBID)
    published.put("eng", PERMIT)
    published.put("web", PERMIT)
    return published


def effect(shelf: PolicyShelf, active: Published, request: Request, path: tuple[str, ...] = PATH) -> str:
    found = shelf.effective(path, active.get)
    return found.reason.value if found.compiled is None else found.compiled.evaluate(request, {}).effect


def test_forbids_are_inherited_and_permits_are_not(active: Published) -> None:
    shelf = PolicyShelf()
    assert (effect(shelf, active, RUN), effect(shelf, active, STOP)) == ("deny", "allow")
    active.put("web", 'permit(principal, action == Action::"run", resource);')
    assert effect(shelf, active, STOP) == "deny"
    active.put("root", PERMIT)
    assert (effect(shelf, active, RUN), effect(shelf, active, STOP)) == ("allow", "deny")
    active.put("eng", PERMIT, FORBID)
    assert effect(shelf, active, RUN) == "deny"
    assert effect(shelf, active, RUN, ("ops", "root")) == "policy_denied"
    active.put("web", FORBID)
    assert effect(shelf, active, STOP) == "deny"


def test_without_anything_active_a_domain_denies(active: Published) -> None:
    shelf = PolicyShelf()
    del active["web"]
    found = shelf.effective(PATH, active.get)
    assert (found.compiled, found.reason) == (None, Reason.POLICY_DENIED)
    assert "`web`" in found.message
    # A domain between hands down what it inherits.
    active.put("web", PERMIT)
    del active["eng"]
    assert (effect(shelf, active, RUN), effect(shelf, active, STOP)) == ("deny", "allow")
    del active["root"]
    assert shelf.effective(PATH, active.get).reason is Reason.POLICY_DENIED
    assert shelf.effective((), active.get).reason is Reason.POLICY_ERROR


def test_a_defect_above_denies_below(active: Published) -> None:
    shelf = PolicyShelf()
    active.put("eng", "permit(principal, action, resource) when { resource.nosuch };")
    found = shelf.effective(PATH, active.get)
    assert (found.compiled, found.reason) == (None, Reason.POLICY_ERROR)
    assert "`eng`" in found.message
    assert effect(shelf, active, STOP, ("ops", "root")) == "policy_denied"
    assert effect(shelf, active, STOP, ("root",)) == "allow"
    active.put("eng", PERMIT)
    assert effect(shelf, active, STOP) == "allow"
    active.put("root", PERMIT, schema="entity Agent; entity Other;")
    assert effect(shelf, active, STOP) == "policy_error"


def test_too_many_policies_together_deny(active: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICIES", 2)
    assert effect(PolicyShelf(), active, STOP) == "allow"
    active.put("web", PERMIT, PERMIT + " ")
    assert effect(PolicyShelf(), active, STOP) == "policy_error"
    # One that is inherited and its own counts once.
    active.put("web", PERMIT, FORBID)
    assert effect(PolicyShelf(), active, STOP) == "allow"


def count_compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    original = CompiledPolicies.compile.__func__  # type: ignore[attr-defined]

    def compile_counted(cls: Any, *given: Any, **named: Any) -> Any:
        made.append(original(cls, *given, **named))
        return made[-1]

    monkeypatch.setattr(CompiledPolicies, "compile", classmethod(compile_counted))
    return made


def test_every_change_on_the_path_is_seen(active: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    made, shelf = count_compilations(monkeypatch), PolicyShelf()
    for _ in range(3):
        assert effect(shelf, active, RUN) == "deny"
    assert len(made) == 3
    for domain, texts, expected, compiled in [
        ("root", (PERMIT,), "allow", 3),
        ("eng", (FORBID,), "deny", 2),
        ("web", (PERMIT, PERMIT + " "), "deny", 1),
        ("eng", (), "allow", 2),
    ]:
        made.clear()
        active.put(domain, *texts)
        assert effect(shelf, active, RUN) == effect(shelf, active, RUN) == expected
        assert len(made) == compiled
    made.clear()
    # Moved below another domain: another path.
    active.put("ops", FORBID)
    assert effect(shelf, active, RUN, ("web", "ops", "root")) == "deny"
    assert effect(shelf, active, RUN, PATH) == "allow"


def test_sets_that_inherit_share_their_caches_but_no_answers(active: Published) -> None:
    shelf = PolicyShelf()
    root = shelf.effective(("root",), active.get).compiled
    web = shelf.effective(PATH, active.get).compiled
    assert root is not None
    assert web is not None
    assert web.caches is root.caches
    assert web.schema is root.schema
    active.put("other", FORBID)
    other = shelf.effective(("other", "root"), active.get).compiled
    assert other is not None
    for _ in range(2):
        assert web.evaluate(STOP, {}).effect == "allow"
        assert other.evaluate(STOP, {}).effect == "deny"
        assert root.evaluate(STOP, {}).effect == "allow"
    assert len(web.caches.slices) == 3
