"""Authorities: every command, accepted, refused with each of its codes, and at its limits."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from govraft.core.codec.envelope import decode_envelope
from govraft.core.crypto.keys import key_id
from govraft.core.crypto.threshold import verified_keys
from govraft.core.machine.authorities import check_roles_able, of_rotated
from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.electorate_view import RETIRED_PREFIX as MEMBER_RETIRED_PREFIX
from govraft.core.machine.requirement import Satisfied, satisfy
from govraft.core.machine.state import Changes
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, AuthorityStatus, Role
from govraft.core.model.commands import (
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    EntityDelete,
    NewKey,
    Revoke,
    TargetKind,
    ThresholdSet,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.outcome import Rejected, Rejection
from govraft.testing.sample import seeded_key

ROOTS = ("rita", "ruth")


def public(bench: Any, name: str) -> str:
    """The public key of somebody, who is given one if need be."""
    keys = {**bench.cluster.node_keys, **bench.cluster.authority_keys}
    if name not in keys:
        bench.cluster.authority_keys[name] = keys[name] = seeded_key(f"authority {name}")
    return base64.b64encode(keys[name].public_key().public_bytes_raw()).decode()


def roles(*texts: str) -> tuple[Assignment, ...]:
    """`role` or `role@domain`."""
    parts = (text.partition("@") for text in texts)
    return tuple(Assignment(Role(role), domain or ROOT_DOMAIN) for role, _, domain in parts)


def grow(bench: Any, **parents: str) -> None:
    """Put domains there: id=parent."""
    changes = Changes()
    for name, parent in parents.items():
        changes.put("domains", DOMAIN_PREFIX + name, Domain(name, parent, 1, 1, ()))
    bench.machine.state.commit(changes)


def add(bench: Any, name: str, *texts: str, by: tuple[str, ...] = ROOTS, key: str | None = None, **fields: Any) -> str:
    given = {"id": name, "public_key": public(bench, key or name), "assignments": roles(*texts), **fields}
    code: str = bench.do(bench.command(AuthorityAdd, **given), *by, key or name)
    return code


def assign(bench: Any, name: str, *texts: str, by: tuple[str, ...] = ROOTS) -> str:
    code: str = bench.do(bench.command(AuthorityAssign, id=name, assignments=roles(*texts)), *by)
    return code


def rotate(bench: Any, by: tuple[str, ...], **keys: str) -> str:
    fields = tuple(NewKey(name, public(bench, key)) for name, key in keys.items())
    code: str = bench.do(bench.command(AuthorityRotate, keys=fields), *by)
    return code


def change(bench: Any, kind: Any, name: str, by: tuple[str, ...] = ROOTS, reason: str = "why") -> str:
    code: str = bench.do(bench.command(kind, id=name, reason=reason), *by)
    return code


def threshold(bench: Any, role: str, count: int, domain: str = ROOT_DOMAIN, by: tuple[str, ...] = ROOTS) -> str:
    code: str = bench.do(bench.command(ThresholdSet, role=Role(role), domain=domain, count=count), *by)
    return code


def mark(bench: Any, *by: str) -> str:
    """An operator's command."""
    command = bench.command(Revoke, kind=TargetKind.SUBJECT, id=f'A::"{bench.machine.seq}"', reason="r")
    code: str = bench.do(command, *by)
    return code


# Add.


def test_add(bench: Any) -> None:
    assert mark(bench, "olga") == "applied"
    assert add(bench, "nina", "operator", "root") == "applied"
    nina = bench.machine.authorities["nina"]
    assert (nina.roles, nina.scoped, nina.status) == ((Role.OPERATOR, Role.ROOT), (), AuthorityStatus.ACTIVE)
    assert mark(bench, "nina") == "applied"
    assert change(bench, AuthoritySuspend, "olga", ("nina", "ruth")) == "applied"


@pytest.mark.parametrize(
    ("name", "texts", "fields", "by", "code"),
    [
        ("nina", ("operator",), {}, ("rita",), "threshold_unmet"),
        ("nina", ("operator",), {}, ("rita", "olga", "pat"), "threshold_unmet"),
        ("olga", ("operator",), {"key": "nina"}, ROOTS, "authority_exists"),
        ("nina", ("root", "operator"), {}, ROOTS, "authority_invalid"),
        ("nina", ("operator", "operator"), {}, ROOTS, "authority_invalid"),
        ("nina", ("operator@nowhere",), {}, ROOTS, "domain_unknown"),
    ],
)
def test_add_is_refused(
    bench: Any, name: str, texts: tuple[str, ...], fields: dict[str, Any], by: tuple[str, ...], code: str
) -> None:
    assert add(bench, name, *texts, by=by, **fields) == code
    assert set(bench.machine.authorities) == {"olga", "oscar", "pat", "paula", "rita", "ruth"}


def test_limits_of_add(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(bench, **{f"d{number}": "root" for number in range(65)})
    many = sorted(f"operator@d{number}" for number in range(65))
    assert add(bench, "nina", *many) == "limit_exceeded"
    assert add(bench, "nina", *many[:64]) == "applied"
    monkeypatch.setattr(limits, "AUTHORITIES", 8)
    assert add(bench, "nora", "operator") == "applied"
    assert add(bench, "nele", "operator") == "limit_exceeded"
    assert change(bench, AuthorityRevoke, "nora") == "applied"
    monkeypatch.setattr(limits, "AUTHORITIES_EVER", 8)
    assert add(bench, "nele", "operator") == "limit_exceeded"
    monkeypatch.setattr(limits, "AUTHORITIES_EVER", 9)
    assert add(bench, "nele", "operator") == "applied"


def test_new_keys(bench: Any) -> None:
    """Sound, and of nobody, now or ever."""
    for text in ("", "AA==", base64.b64encode((1).to_bytes(32, "little")).decode(), public(bench, "n")[:-2] + "=="):
        assert add(bench, "nina", "operator", public_key=text) == "key_invalid", text
    key = public(bench, "nina")
    # The last character before the padding carries two bits that decoders drop.
    other = key[:-2] + chr(ord(key[-2]) + 1) + "="
    assert base64.b64decode(other) == base64.b64decode(key)
    assert add(bench, "nina", "operator", public_key=other) == "key_invalid"
    for holder in ("olga", "n1"):
        code = bench.do(
            bench.command(AuthorityAdd, id="x", public_key=public(bench, holder), assignments=roles("root")), *ROOTS
        )
        assert code == "key_in_use"
    assert rotate(bench, (*ROOTS, "olga2"), olga="olga2") == "applied"
    assert add(bench, "nina", "operator", key="olga") == "key_in_use"
    assert rotate(bench, (*ROOTS, "olga"), oscar="olga") == "key_in_use"
    assert change(bench, AuthorityRevoke, "oscar") == "applied"
    assert (
        bench.do(
            bench.command(AuthorityAdd, id="x", public_key=public(bench, "oscar"), assignments=roles("operator")),
            *ROOTS,
        )
        == "key_in_use"
    )


def test_keys_of_former_members_do_not_come_back(bench: Any) -> None:
    changes = Changes()
    changes.put("electorate", MEMBER_RETIRED_PREFIX + key_id(base64.b64decode(public(bench, "nina"))), 1)
    bench.machine.state.commit(changes)
    assert add(bench, "nina", "operator") == "key_in_use"


def test_new_keys_prove_possession(bench: Any) -> None:
    def draft() -> Any:
        return bench.command(AuthorityAdd, id="nina", public_key=public(bench, "nina"), assignments=roles("operator"))

    public(bench, "mallory")
    assert bench.do(draft(), *ROOTS) == "possession_unproven"
    assert bench.do(draft(), *ROOTS, "mallory") == "possession_unproven"
    # Somebody else's signature under the new key's name.
    names = [key_id(base64.b64decode(public(bench, name))) for name in ("mallory", "nina")]
    forged = bench.cluster.sign(draft(), *ROOTS, "mallory").decode().replace(*names)
    assert bench.apply_envelope(forged.encode()).outcome.code == "possession_unproven"
    assert bench.do(draft(), *ROOTS, "nina") == "applied"


# Assign.


def test_assign(bench: Any) -> None:
    grow(bench, a="root")
    assert assign(bench, "olga", "operator@a", "policy") == "applied"
    olga = bench.machine.authorities["olga"]
    assert (olga.roles, olga.scoped) == ((Role.POLICY,), roles("operator@a"))
    assert mark(bench, "olga") == "threshold_unmet"
    assert mark(bench, "oscar") == "applied"
    assert assign(bench, "olga", "operator") == "applied"
    assert mark(bench, "olga") == "applied"


@pytest.mark.parametrize(
    ("name", "texts", "by", "code"),
    [
        ("olga", ("policy",), ("ruth",), "threshold_unmet"),
        ("nobody", ("policy",), ROOTS, "authority_unknown"),
        ("olga", ("policy", "operator"), ROOTS, "authority_invalid"),
        ("olga", ("operator@nowhere",), ROOTS, "domain_unknown"),
        ("rita", ("operator",), ROOTS, "role_unable"),
        ("ruth", ("auditor",), ROOTS, "role_unable"),
        ("ruth", ("root",), ROOTS, "applied"),
        ("oscar", ("root",), ROOTS, "applied"),
    ],
)
def test_assign_table(bench: Any, name: str, texts: tuple[str, ...], by: tuple[str, ...], code: str) -> None:
    assert assign(bench, name, *texts, by=by) == code


def test_a_revoked_authority_gets_no_roles(bench: Any) -> None:
    assert change(bench, AuthorityRevoke, "olga") == "applied"
    assert assign(bench, "olga", "operator") == "authority_state"
    assert change(bench, AuthoritySuspend, "paula") == "applied"
    assert assign(bench, "paula", "operator") == "applied"
    assert mark(bench, "paula") == "threshold_unmet"


# Rotate.


def test_rotate(bench: Any) -> None:
    old = bench.machine.authorities["olga"].public_key
    assert rotate(bench, (*ROOTS, "olga2"), olga="olga2") == "applied"
    assert key_id(old) in bench.machine.state.authorities.retired
    assert key_id(old) not in bench.machine.state.keys
    assert mark(bench, "olga") == "threshold_unmet"
    assert mark(bench, "olga2") == "applied"


@pytest.mark.clause("5 trust authorities")
def test_rotating_roots_leaves_a_threshold_of_new_keys(bench: Any) -> None:
    """Whoever trusts only the new keys finds the rotation signed by as many of them as it takes."""
    current = {"rita": "rita", "ruth": "ruth"}
    for keys in ({"rita": "rita2"}, {"ruth": "ruth2"}, {"rita": "rita3", "ruth": "ruth3"}):
        command = bench.command(
            AuthorityRotate, keys=tuple(NewKey(name, public(bench, key)) for name, key in keys.items())
        )
        envelope = bench.cluster.sign(command, *current.values(), *keys.values())
        assert bench.apply_envelope(envelope).outcome.code == "applied"
        current |= keys
        opened, state = decode_envelope(envelope), bench.machine.state
        signatures = [(part.key_id, part.signature) for part in opened.signatures]
        required = of_rotated(state, command)
        assert not isinstance(required, Rejected)
        now = satisfy(state, required, verified_keys(opened.signed_bytes, signatures, state.keys))
        assert now == Satisfied(("rita", "ruth"), None, Role.ROOT)


@pytest.mark.parametrize(
    ("keys", "by", "code"),
    [
        ({"olga": "olga2"}, ("rita", "olga2"), "threshold_unmet"),
        ({"olga": "olga2"}, ("olga", "olga2"), "threshold_unmet"),
        ({"olga": "olga2"}, ROOTS, "possession_unproven"),
        ({"olga": "olga2", "oscar": "oscar2"}, (*ROOTS, "olga2"), "possession_unproven"),
        ({"olga": "x", "oscar": "x"}, (*ROOTS, "x"), "key_in_use"),
        ({"olga": "olga"}, ROOTS, "key_in_use"),
        ({"olga": "oscar"}, (*ROOTS, "oscar"), "key_in_use"),
        ({"olga": "n1"}, ROOTS, "key_in_use"),
        ({"nobody": "x"}, (*ROOTS, "x"), "authority_unknown"),
        # The new keys alone do not speak for the old ones.
        ({"rita": "rita2", "ruth": "ruth2"}, ("rita2", "ruth2"), "threshold_unmet"),
        ({"rita": "rita2", "ruth": "ruth2"}, (*ROOTS, "rita2", "ruth2"), "applied"),
    ],
)
def test_rotate_table(bench: Any, keys: dict[str, str], by: tuple[str, ...], code: str) -> None:
    for name in by:
        public(bench, name)
    before = bench.machine.sections["authorities"]
    assert rotate(bench, by, **keys) == code
    assert (bench.machine.sections["authorities"] == before) is (code != "applied")


def test_rotate_names_each_authority_once_and_no_revoked_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = tuple(NewKey("olga", public(bench, key)) for key in ("x", "y"))
    assert bench.do(bench.command(AuthorityRotate, keys=twice), *ROOTS, "x", "y") == "authority_invalid"
    assert change(bench, AuthoritySuspend, "olga") == "applied"
    assert rotate(bench, (*ROOTS, "x"), olga="x") == "applied"
    assert bench.machine.authorities["olga"].status is AuthorityStatus.SUSPENDED
    assert change(bench, AuthorityRevoke, "olga") == "applied"
    assert rotate(bench, (*ROOTS, "z"), olga="z") == "authority_state"
    monkeypatch.setattr(limits, "AUTHORITY_KEYS_RETIRED", 2)
    assert rotate(bench, (*ROOTS, "a", "b"), oscar="a", pat="b") == "limit_exceeded"
    assert rotate(bench, (*ROOTS, "a"), oscar="a") == "applied"
    assert rotate(bench, (*ROOTS, "b"), pat="b") == "limit_exceeded"


# Suspend, resume, revoke.

S, E, R = AuthoritySuspend, AuthorityResume, AuthorityRevoke


@pytest.mark.parametrize(
    ("steps", "codes", "status"),
    [
        ([S], ["applied"], "suspended"),
        ([E], ["authority_state"], "active"),
        ([R], ["applied"], "revoked"),
        ([S, S], ["applied", "authority_state"], "suspended"),
        ([S, E], ["applied", "applied"], "active"),
        ([S, R], ["applied", "applied"], "revoked"),
        ([R, S], ["applied", "authority_state"], "revoked"),
        ([R, E], ["applied", "authority_state"], "revoked"),
        ([R, R], ["applied", "authority_state"], "revoked"),
        ([S, E, E], ["applied", "applied", "authority_state"], "active"),
    ],
)
def test_transitions_of_the_status(bench: Any, steps: list[Any], codes: list[str], status: str) -> None:
    assert [change(bench, step, "olga") for step in steps] == codes
    olga = bench.machine.authorities["olga"]
    assert (olga.status, olga.reason) == (status, "" if status == "active" else "why")
    assert mark(bench, "olga") == ("applied" if status == "active" else "threshold_unmet")


@pytest.mark.parametrize("kind", [S, E, R, AuthorityEmergencyRevoke])
def test_refusals_of_the_status(bench: Any, kind: Any) -> None:
    if kind is AuthorityEmergencyRevoke:
        assert add(bench, "emil", "emergency") == "applied"
    by = ("emil",) if kind is AuthorityEmergencyRevoke else ROOTS
    if kind is E:
        assert change(bench, S, "olga") == "applied"
    assert change(bench, kind, "nobody", by) == "authority_unknown"
    assert change(bench, kind, "olga", ("oscar", "pat")) == "threshold_unmet"
    assert change(bench, kind, "olga", by, reason="x" * (limits.REASON_CHARS + 1)) == "limit_exceeded"
    assert change(bench, kind, "olga", by, reason="x" * limits.REASON_CHARS) == "applied"


@pytest.mark.clause("5 trust authorities")
def test_a_suspended_authority_signs_for_nobody_but_its_bad_signature_still_refuses(make_bench: Any) -> None:
    bench = make_bench(operators_needed=2)
    assert add(bench, "nina", "operator") == "applied"
    assert change(bench, S, "olga") == "applied"
    assert mark(bench, "olga", "oscar") == "threshold_unmet"
    assert mark(bench, "olga", "oscar", "nina") == "applied"
    bench.cluster.authority_keys["olga2"] = seeded_key("olga2")
    command = bench.command(EntityDelete, uids=('A::"1"',))
    envelope = bench.cluster.sign(command, "oscar", "nina", "olga2").decode()
    keys = bench.cluster.authority_keys
    names = [key_id(keys[name].public_key().public_bytes_raw()) for name in ("olga2", "olga")]
    assert bench.apply_envelope(envelope.replace(*names).encode()).outcome.code == "signature_invalid"


def test_emergency_revoke_has_its_own_threshold(bench: Any) -> None:
    assert change(bench, AuthorityEmergencyRevoke, "olga") == "threshold_unmet"
    assert add(bench, "emil", "emergency") == "applied"
    assert add(bench, "emma", "emergency") == "applied"
    assert threshold(bench, "emergency", 2) == "applied"
    assert change(bench, AuthorityEmergencyRevoke, "olga", ("emil",)) == "threshold_unmet"
    assert change(bench, AuthorityEmergencyRevoke, "olga", ("emil", "ruth")) == "threshold_unmet"
    assert change(bench, AuthorityEmergencyRevoke, "olga", ("emil", "emma")) == "applied"
    assert bench.machine.authorities["olga"].status is AuthorityStatus.REVOKED
    # Not even in an emergency: a cluster without roots could not recover.
    assert change(bench, AuthorityEmergencyRevoke, "rita", ("emil", "emma")) == "role_unable"
    assert change(bench, AuthorityEmergencyRevoke, "emil", ("emil", "emma")) == "role_unable"
    assert change(bench, AuthorityRevoke, "oscar", ("emil", "emma")) == "threshold_unmet"


# Thresholds.


@pytest.mark.parametrize(
    ("role", "count", "domain", "by", "code"),
    [
        ("operator", 2, "root", ROOTS, "applied"),
        ("operator", 2, "root", ("rita",), "threshold_unmet"),
        ("operator", 3, "root", ROOTS, "role_unable"),
        ("operator", 0, "root", ROOTS, "threshold_invalid"),
        ("attestor", 1, "root", ROOTS, "role_unable"),
        ("auditor", 1, "root", ROOTS, "applied"),
        ("root", 1, "root", ROOTS, "applied"),
        ("root", 3, "root", ROOTS, "role_unable"),
        ("operator", 1, "nowhere", ROOTS, "domain_unknown"),
        ("operator", 2, "a", ROOTS, "applied"),
        ("operator", 3, "a", ROOTS, "role_unable"),
        ("operator", 0, "a", ROOTS, "threshold_invalid"),
        ("operator", 64, "a", ROOTS, "limit_exceeded"),
        ("operator", 63, "a", ROOTS, "role_unable"),
    ],
)
def test_threshold_table(bench: Any, role: str, count: int, domain: str, by: tuple[str, ...], code: str) -> None:
    grow(bench, a="root")
    assert threshold(bench, role, count, domain, by) == code


def test_thresholds_are_inherited_until_a_domain_has_its_own(bench: Any) -> None:
    grow(bench, a="root", b="a")
    state = bench.machine.state
    needed = lambda domain: state.authorities.needed(Role.OPERATOR, state.domains.path(domain))  # noqa: E731
    assert [needed(domain) for domain in ("root", "a", "b")] == [1, 1, 1]
    assert threshold(bench, "operator", 2, "a") == "applied"
    assert [needed(domain) for domain in ("root", "a", "b")] == [1, 2, 2]
    assert bench.machine.thresholds["operator@a"] == 2
    assert threshold(bench, "operator", 1, "b") == "applied"
    assert [needed(domain) for domain in ("root", "a", "b")] == [1, 2, 1]
    before = bench.machine.sections["authorities"]
    assert threshold(bench, "operator", 0, "a") == "applied"
    assert [needed(domain) for domain in ("root", "a", "b")] == [1, 1, 1]
    assert bench.machine.sections["authorities"] != before
    assert state.authorities.needed(Role.ATTESTOR, state.domains.path("a")) == 1


# Domains.


def test_scoped_roots_reach_only_their_domain(bench: Any) -> None:
    grow(bench, a="root", b="a", c="root")
    assert add(bench, "anna", "root@a") == "applied"
    assert threshold(bench, "root", 1, "a") == "applied"
    by = ("anna",)
    assert add(bench, "nina", "operator@b", by=by) == "applied"
    assert add(bench, "nora", "operator@c", by=by) == "threshold_unmet"
    assert add(bench, "nora", "operator", by=by) == "threshold_unmet"
    assert add(bench, "nora", "operator@a", "operator@c", by=by) == "threshold_unmet"
    # Neither to hand out more, nor to take from where it has no say.
    assert assign(bench, "nina", "operator", by=by) == "threshold_unmet"
    assert assign(bench, "olga", "operator@a", by=by) == "threshold_unmet"
    assert assign(bench, "nina", "operator@a", "policy@b", by=by) == "applied"
    for kind in (S, E, R):
        assert change(bench, kind, "olga", by) == "threshold_unmet"
    assert rotate(bench, ("anna", "olga2"), olga="olga2") == "threshold_unmet"
    assert rotate(bench, ("anna", "nina2"), nina="nina2") == "applied"
    assert rotate(bench, ("anna", "nina3", "olga2"), nina="nina3", olga="olga2") == "threshold_unmet"
    assert change(bench, S, "nina", by) == "applied"
    assert change(bench, R, "nina", by) == "applied"
    assert threshold(bench, "operator", 1, "b", by) == "applied"
    assert threshold(bench, "operator", 1, "c", by) == "threshold_unmet"
    assert threshold(bench, "operator", 1, "root", by) == "threshold_unmet"


def test_who_acts_in_several_domains_is_changed_from_above_them_all(bench: Any) -> None:
    grow(bench, a="root", c="root")
    assert add(bench, "anna", "root@a") == "applied"
    assert add(bench, "emil", "emergency@a") == "applied"
    assert threshold(bench, "root", 1, "a") == "applied"
    assert add(bench, "nina", "operator@a", "operator@c") == "applied"
    assert add(bench, "nora", "operator@a") == "applied"
    for kind, by in ((S, "anna"), (R, "anna"), (AuthorityEmergencyRevoke, "emil")):
        assert change(bench, kind, "nina", (by,)) == "threshold_unmet"
    assert change(bench, S, "nina") == "applied"
    assert change(bench, AuthorityEmergencyRevoke, "nora", ("emil",)) == "applied"


def test_a_domain_can_be_taken_back(bench: Any) -> None:
    """The roots of a domain cannot lock out those above."""
    grow(bench, a="root")
    for name in ("anna", "arno", "axel"):
        assert add(bench, name, "root@a") == "applied"
    by = ("anna", "arno", "axel")
    assert threshold(bench, "root", 5, "a", by) == "threshold_unmet"
    assert threshold(bench, "root", 5, "a") == "applied"
    # Two roots from above no longer suffice in the domain itself, but they still say how many do.
    assert change(bench, R, "anna") == "threshold_unmet"
    assert threshold(bench, "root", 0, "a") == "applied"
    assert change(bench, R, "anna") == "applied"


# No role left unable.


def test_no_change_leaves_a_role_unable(bench: Any) -> None:
    for kind in (S, R):
        assert change(bench, kind, "rita") == "role_unable"
    assert change(bench, S, "olga") == "applied"
    for kind in (S, R):
        assert change(bench, kind, "oscar") == "role_unable"
    assert assign(bench, "oscar", "policy") == "role_unable"
    assert change(bench, E, "olga") == "applied"
    assert change(bench, R, "oscar") == "applied"


def test_a_role_must_stay_able_in_every_domain(bench: Any) -> None:
    grow(bench, a="root", b="a")
    assert add(bench, "anna", "operator@a") == "applied"
    assert threshold(bench, "operator", 3, "b") == "applied"
    assert change(bench, R, "olga") == "role_unable"
    assert change(bench, R, "anna") == "role_unable"
    assert add(bench, "nina", "operator@b") == "applied"
    assert change(bench, S, "olga") == "applied"
    assert change(bench, S, "oscar") == "role_unable"
    assert assign(bench, "anna", "operator@b") == "applied"
    # Whoever holds the role twice on one path counts once.
    assert assign(bench, "anna", "operator@a", "operator@b") == "applied"
    assert change(bench, S, "nina") == "role_unable"


def test_domains_that_move_or_go(bench: Any) -> None:
    grow(bench, a="root", b="a", c="root")
    for name in ("anna", "arno"):
        assert add(bench, name, "policy@a") == "applied"
    assert threshold(bench, "policy", 4, "b") == "applied"
    state = bench.machine.state
    assert check_roles_able(state) is None

    def moved(domain: str) -> tuple[str, ...]:
        return ("b", "c", "root") if domain == "b" else state.domains.path(domain)

    refused = check_roles_able(state, path=moved)
    assert isinstance(refused, Rejected)
    assert refused.reason is Rejection.ROLE_UNABLE
    # A threshold of a domain that is gone can be met by nobody.
    assert check_roles_able(state, path=lambda name: () if name == "b" else state.domains.path(name)) is not None
    assert check_roles_able(state, path=moved, thresholds={(Role.POLICY, "b"): 2}) is None
    assert check_roles_able(state, path=moved, thresholds={(Role.POLICY, "b"): None}) is None
