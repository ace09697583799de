"""Grants: every row of the table, every way of being wider, every limit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from govraft.core.machine.authority_view import AUTHORITY_PREFIX
from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.grant_view import GrantsView
from govraft.core.machine.state import Changes, State
from govraft.core.model import limits
from govraft.core.model.authority import AuthorityStatus
from govraft.core.model.commands import GrantDelegate, GrantIssue, GrantRenew, GrantRevoke, Revoke, TargetKind

AGENT = 'Agent::"a"'
RUN, STOP = 'Action::"run"', 'Action::"stop"'
TOOL, TOOLS = 'Tool::"t"', 'Group::"tools"'
HOUR = 3_600_000


class Desk:
    """A bench with what grants need: domains, groups, and short ways to issue and delegate."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.start = bench.time
        changes = Changes()
        for name, parent in (("shop", "root"), ("till", "shop"), ("lab", "root")):
            changes.put("domains", DOMAIN_PREFIX + name, Domain(name, parent, 1, 1, ()))
        self.state.commit(changes)
        assert bench.put((TOOL, {}, (TOOLS,)), ('Tool::"u"', {}, ())) == "applied"

    @property
    def state(self) -> State:
        return self.bench.machine.state

    def header(self) -> dict[str, Any]:
        return {"not_after": self.bench.time + HOUR}

    def issue(self, identifier: str = "g", *authors: str, **fields: Any) -> str:
        given = {
            "holder": AGENT,
            "actions": (RUN, STOP),
            "resources": (TOOLS,),
            "not_before": self.start,
            "not_after_grant": self.start + HOUR,
            "delegate": "ruth",
            "depth": 2,
            "domain": "shop",
        }
        command = self.bench.command(GrantIssue, id=identifier, **{**self.header(), **given, **fields})
        return self.bench.do(command, *authors)

    def delegate(self, identifier: str = "h", parent: str = "g", author: str = "ruth", **fields: Any) -> str:
        given = {
            "holder": 'Agent::"b"',
            "actions": (RUN,),
            "resources": (TOOL,),
            "not_before": self.start,
            "not_after_grant": self.start + HOUR,
            "delegate": None,
            "depth": 1,
            "domain": "till",
        }
        command = self.bench.command(
            GrantDelegate, id=identifier, parent=parent, **{**self.header(), **given, **fields}
        )
        return self.bench.do(command, author)

    def renew(self, identifier: str, end: int, *authors: str) -> str:
        return self.bench.do(
            self.bench.command(GrantRenew, id=identifier, not_after_grant=end, **self.header()), *authors
        )

    def revoke(self, identifier: str, *authors: str, reason: str = "why") -> str:
        return self.bench.do(self.bench.command(GrantRevoke, id=identifier, reason=reason, **self.header()), *authors)

    def later(self, ms: int) -> None:
        self.bench.time = self.start + ms


@pytest.fixture
def desk(bench: Any) -> Desk:
    return Desk(bench)


def test_a_grant_says_who_what_when_and_by_whom(desk: Desk) -> None:
    assert desk.issue(resources=('Group::"\\u{74}ools"', TOOLS)) == "applied"
    grant = desk.state.grants.grants["g"]
    assert grant.resources == (TOOLS,)
    assert (grant.holder, grant.actions) == (AGENT, (RUN, STOP))
    assert (grant.not_before, grant.not_after) == (desk.start, desk.start + HOUR)
    assert (grant.seq, grant.time, grant.authors) == (desk.bench.machine.seq, desk.start, ("olga",))
    assert (grant.parent, grant.revoked, grant.domain, grant.depth, grant.delegate) == (None, None, "shop", 2, "ruth")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "applied"),
        ({"domain": "moon"}, "domain_unknown"),
        ({"holder": "Agent"}, "grant_invalid"),
        ({"holder": RUN}, "grant_invalid"),
        ({"actions": ()}, "payload_malformed"),
        ({"actions": (RUN,) * (limits.GRANT_UIDS + 1)}, "payload_malformed"),
        ({"actions": (RUN,) * limits.GRANT_UIDS}, "applied"),
        ({"actions": (TOOL,)}, "grant_invalid"),
        ({"actions": ('Fleet::Action::"all"',)}, "applied"),
        ({"resources": ()}, "payload_malformed"),
        ({"resources": (RUN,)}, "grant_invalid"),
        ({"resources": ("x",)}, "grant_invalid"),
        ({"depth": -1}, "payload_malformed"),
        ({"depth": 0}, "applied"),
        ({"depth": 16}, "applied"),
        ({"depth": 17}, "payload_malformed"),
        ({"delegate": None}, "applied"),
        ({"delegate": "nobody"}, "authority_unknown"),
        ({"id": "a/b"}, "payload_malformed"),
        ({"id": ""}, "payload_malformed"),
        ({"not_before": 5, "not_after_grant": 5}, "grant_invalid"),
        ({"not_before": 0}, "payload_malformed"),
    ],
)
def test_issue_table(desk: Desk, fields: dict[str, Any], code: str) -> None:
    fields = dict(fields)
    assert desk.issue(fields.pop("id", "g"), **fields) == code
    assert len(desk.state.grants.grants) == (code == "applied")


def test_a_grant_begins_before_it_ends_and_ends_after_now(desk: Desk) -> None:
    now = desk.start
    assert desk.issue("a", not_before=1, not_after_grant=now) == "grant_invalid"
    assert desk.issue("b", not_before=1, not_after_grant=now + 1) == "applied"
    assert desk.issue("c", not_before=now + 9, not_after_grant=now + 9) == "grant_invalid"
    assert desk.issue("d", not_before=now + 9, not_after_grant=now + 10) == "applied"


def test_who_may_issue(desk: Desk) -> None:
    assert desk.issue("g", "pat") == "threshold_unmet"
    assert desk.issue("g", "ruth") == "threshold_unmet"
    assert desk.issue("g", "oscar") == "applied"


def test_an_id_is_taken_while_the_grant_is_kept(desk: Desk) -> None:
    assert desk.issue() == "applied"
    assert desk.issue() == "grant_exists"
    assert desk.revoke("g") == "applied"
    assert desk.issue() == "grant_exists"
    assert desk.issue("p") == "applied"
    assert desk.delegate("g", "p") == "grant_exists"


def test_who_is_revoked_holds_no_grant(desk: Desk) -> None:
    revoked = desk.bench.command(Revoke, kind=TargetKind.SUBJECT, id='Agent::"b"', reason="why")
    assert desk.bench.do(revoked) == "applied"
    assert desk.issue(holder='Agent::"\\u{62}"') == "target_state"
    assert desk.issue() == "applied"
    assert desk.delegate() == "target_state"


# Delegating.


@pytest.mark.clause("2 authorization inheritance")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "applied"),
        ({"domain": "shop"}, "applied"),
        ({"domain": "lab"}, "grant_wider"),
        ({"domain": "root"}, "grant_wider"),
        ({"domain": "moon"}, "domain_unknown"),
        ({"depth": 1}, "applied"),
        ({"depth": 2}, "grant_wider"),
        ({"actions": (RUN, STOP)}, "applied"),
        ({"actions": (RUN, 'Action::"all"')}, "grant_wider"),
        ({"resources": (TOOLS,)}, "applied"),
        ({"resources": (TOOL, TOOLS)}, "applied"),
        ({"resources": ('Tool::"u"',)}, "grant_wider"),
        ({"resources": (TOOL, 'Tool::"new"')}, "grant_wider"),
        ({"holder": AGENT}, "applied"),
        ({"delegate": "rita"}, "applied"),
        ({"delegate": "nobody"}, "authority_unknown"),
        ({"parent": "x"}, "grant_unknown"),
        ({"holder": RUN}, "grant_invalid"),
    ],
)
def test_delegate_table(desk: Desk, fields: dict[str, Any], code: str) -> None:
    assert desk.issue() == "applied"
    assert desk.delegate(**fields) == code
    if code == "applied":
        assert desk.state.grants.grants["h"].parent == "g"


def test_a_delegation_lies_within_the_time_of_its_parent(desk: Desk) -> None:
    begin, end = desk.start + 10, desk.start + HOUR
    assert desk.issue(not_before=begin, not_after_grant=end) == "applied"
    assert desk.delegate("a", not_before=begin - 1, not_after_grant=end) == "grant_wider"
    assert desk.delegate("b", not_before=begin, not_after_grant=end + 1) == "grant_wider"
    assert desk.delegate("c", not_before=begin, not_after_grant=end) == "applied"


def test_who_may_delegate(desk: Desk) -> None:
    """The named authority alone, whatever its roles; or the operators; nobody else."""
    assert desk.issue() == "applied"
    assert desk.delegate("a", author="rita") == "threshold_unmet"
    assert desk.delegate("a", author="ruth") == "applied"
    assert desk.delegate("b", author="oscar") == "applied"
    assert desk.state.grants.grants["a"].authors == ("ruth",)
    # What is handed on names its own delegate, or none.
    assert desk.delegate("c", "a", author="ruth", depth=0) == "threshold_unmet"
    assert desk.delegate("c", "a", author="olga", depth=0) == "applied"
    assert desk.delegate("d", "c", author="olga", depth=0) == "grant_wider"


def test_a_delegate_does_not_stand_for_the_operators_elsewhere(desk: Desk) -> None:
    assert desk.issue() == "applied"
    assert desk.renew("g", desk.start + 2 * HOUR, "ruth") == "threshold_unmet"
    assert desk.revoke("g", "ruth") == "threshold_unmet"


def test_depth_is_at_most_sixteen(desk: Desk) -> None:
    assert desk.issue("d16", depth=16, delegate="ruth") == "applied"
    for depth in range(15, -1, -1):
        assert desk.delegate(f"d{depth}", f"d{depth + 1}", depth=depth, delegate="ruth") == "applied"
    assert desk.delegate("one-more", "d0", depth=0) == "grant_wider"
    assert len(desk.state.grants.chain(desk.state.grants.grants["d0"])) == 17


@pytest.mark.parametrize(("what", "code"), [("revoke", "grant_revoked"), ("end", "grant_ended")])
def test_nothing_comes_of_a_grant_that_is_over(desk: Desk, what: str, code: str) -> None:
    """Nor of one below it."""
    assert desk.issue(not_after_grant=desk.start + 100) == "applied"
    assert desk.delegate(not_after_grant=desk.start + 100, delegate="ruth") == "applied"
    if what == "revoke":
        assert desk.revoke("g") == "applied"
    else:
        desk.later(100)
    assert desk.delegate("i", "g") == code
    assert desk.delegate("i", "h", depth=0) == code


# Renewing.


def test_renew_table(desk: Desk) -> None:
    assert desk.issue() == "applied"
    assert desk.renew("x", desk.start + HOUR) == "grant_unknown"
    assert desk.renew("g", desk.start) == "grant_invalid"
    assert desk.renew("g", desk.start + 1) == "applied"
    assert desk.state.grants.grants["g"].not_after == desk.start + 1
    assert desk.renew("g", desk.start + 2 * HOUR, "pat") == "threshold_unmet"
    assert desk.renew("g", desk.start + 2 * HOUR) == "applied"
    assert desk.delegate(not_after_grant=desk.start + 5) == "applied"
    assert desk.renew("h", desk.start + 2 * HOUR) == "applied"
    assert desk.renew("h", desk.start + 2 * HOUR + 1) == "grant_wider"
    # A parent that is cut short leaves its children as they are; they end with it.
    assert desk.renew("g", desk.start + 10) == "applied"
    assert desk.state.grants.grants["h"].not_after == desk.start + 2 * HOUR
    desk.later(10)
    assert desk.renew("g", desk.start + HOUR) == "grant_ended"
    assert desk.renew("h", desk.start + 9) == "grant_ended"
    assert desk.revoke("g") == "applied"
    assert desk.renew("g", desk.start + HOUR) == "grant_revoked"
    assert desk.renew("h", desk.start + 9) == "grant_revoked"


def test_a_renewal_must_leave_something(desk: Desk) -> None:
    assert desk.issue(not_before=desk.start + 50) == "applied"
    assert desk.renew("g", desk.start + 50) == "grant_invalid"
    assert desk.renew("g", desk.start + 51) == "applied"
    assert desk.issue("h", not_before=desk.start - 50) == "applied"
    assert desk.renew("h", desk.start) == "grant_invalid"
    assert desk.renew("h", desk.start + 1) == "applied"


# Revoking.


def test_revoke_table(desk: Desk, bench: Any) -> None:
    assert desk.revoke("g") == "grant_unknown"
    assert desk.issue() == "applied"
    assert desk.delegate() == "applied"
    assert desk.revoke("g", reason="x" * (limits.REASON_CHARS + 1)) == "limit_exceeded"
    assert desk.revoke("g", "pat") == "threshold_unmet"
    before = bench.machine.records("grants")["grant/h"]
    assert desk.revoke("g", reason="x" * limits.REASON_CHARS) == "applied"
    mark = desk.state.grants.grants["g"].revoked
    assert mark is not None
    assert (mark.authors, mark.seq, mark.time) == (("olga",), bench.machine.seq, bench.time)
    assert bench.machine.records("grants")["grant/h"] == before
    assert desk.revoke("g") == "grant_revoked"
    assert desk.revoke("h") == "applied"


def test_one_that_has_ended_can_be_revoked(desk: Desk) -> None:
    assert desk.issue(not_after_grant=desk.start + 10) == "applied"
    desk.later(10)
    assert desk.revoke("g") == "applied"


# Limits and pruning.


def test_limits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRANTS_OF_HOLDER", 2)
    monkeypatch.setattr(limits, "GRANTS", 3)
    assert desk.issue("a") == "applied"
    assert desk.issue("b") == "applied"
    assert desk.issue("c") == "limit_exceeded"
    assert desk.issue("c", holder=TOOLS) == "applied"
    assert desk.delegate("d", "a", holder='Agent::"z"') == "limit_exceeded"
    assert desk.revoke("a") == "applied"
    assert desk.issue("d", holder='Agent::"z"') == "limit_exceeded"


def test_what_is_over_is_dropped_when_another_comes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRANTS", 2)
    assert desk.issue("a", not_after_grant=desk.start + 10) == "applied"
    assert desk.issue("b", not_after_grant=desk.start + 30) == "applied"
    desk.later(10 + limits.GRANT_KEPT_MS - 1)
    end = desk.bench.time + HOUR
    assert desk.issue("c", not_after_grant=end) == "limit_exceeded"
    desk.later(10 + limits.GRANT_KEPT_MS)
    assert desk.issue("a", not_after_grant=end) == "grant_exists"
    assert desk.issue("c", not_after_grant=end) == "applied"
    assert set(desk.state.grants.grants) == {"b", "c"}
    desk.later(30 + limits.GRANT_KEPT_MS)
    assert desk.issue("a", not_after_grant=end) == "applied"
    assert set(desk.state.grants.grants) == {"a", "c"}


def test_a_grant_outlasts_what_came_of_it(desk: Desk) -> None:
    """Else a child would find another parent under the name of its own."""
    assert desk.issue(not_after_grant=desk.start + 50) == "applied"
    assert desk.delegate(not_after_grant=desk.start + 50) == "applied"
    assert desk.renew("g", desk.start + 10) == "applied"
    desk.later(10 + limits.GRANT_KEPT_MS)
    end = desk.bench.time + HOUR
    assert desk.issue("x", not_after_grant=end) == "applied"
    assert set(desk.state.grants.grants) == {"g", "h", "x"}
    desk.later(50 + limits.GRANT_KEPT_MS)
    for number, left in enumerate([{"g"}, set()]):
        assert desk.issue(f"y{number}", not_after_grant=end) == "applied"
        assert set(desk.state.grants.grants) & {"g", "h"} == left


def test_a_restored_view_prunes_the_same(desk: Desk, bench: Any) -> None:
    """In whatever order the records are read back: what nodes drop must not depend on how they came to their state."""
    for number in range(8):
        assert desk.issue(f"p{number}", not_after_grant=desk.start + 100 - number) == "applied"
        assert desk.delegate(f"c{number}", f"p{number}", not_after_grant=desk.start + 50 - number) == "applied"
    assert desk.revoke("p3") == "applied"
    for number in range(200):
        assert desk.renew("p5", desk.start + 1_000 - number) == "applied"
    records = dict(bench.machine.records("grants"))
    orders = [list(records), list(reversed(records)), sorted(records, key=lambda key: key[::-1])]
    seen = []
    for order in orders:
        view = GrantsView()
        for key in order:
            view.note(key, records[key])
        dropped = []
        while (name := view.removable(desk.start + limits.GRANT_KEPT_MS + 5_000)) is not None:
            dropped.append(name)
            view.note(f"grant/{name}", None)
        assert view.grants == {}
        seen.append(dropped)
    live = desk.state.grants
    assert live.removable(desk.start + limits.GRANT_KEPT_MS + 5_000) == seen[0][0]
    assert len(live._ends) < 200
    assert seen[0] == seen[1] == seen[2]
    assert seen[0].index("c3") < seen[0].index("p3")


def test_a_domain_knows_whether_a_grant_is_left_in_it(desk: Desk) -> None:
    assert desk.issue(not_after_grant=desk.start + 10) == "applied"
    view = desk.state.grants
    assert view.has_live("shop", desk.start + 9)
    assert not view.has_live("shop", desk.start + 10)
    assert not view.has_live("till", desk.start)
    assert desk.revoke("g") == "applied"
    assert not view.has_live("shop", desk.start)


def test_the_digest_follows_the_records(desk: Desk, bench: Any) -> None:
    before = bench.machine.sections["grants"]
    assert desk.issue() == "applied"
    assert bench.machine.sections["grants"] != before
    grant = desk.state.grants.grants["g"]
    assert msgspec.msgpack.decode(bench.machine.records("grants")["grant/g"])["id"] == grant.id


@pytest.mark.parametrize(
    ("status", "issued", "handed_on"),
    [
        (AuthorityStatus.ACTIVE, "applied", "applied"),
        (AuthorityStatus.SUSPENDED, "applied", "threshold_unmet"),
        (AuthorityStatus.REVOKED, "authority_state", "threshold_unmet"),
    ],
)
def test_a_delegate_must_be_able_to_sign(desk: Desk, status: AuthorityStatus, issued: str, handed_on: str) -> None:
    assert desk.issue("before") == "applied"
    ruth = desk.state.authorities.by_id["ruth"]
    changes = Changes()
    changes.put("authorities", AUTHORITY_PREFIX + "ruth", msgspec.structs.replace(ruth, status=status))
    desk.state.commit(changes)
    assert desk.delegate(parent="before") == handed_on
    assert desk.issue("after") == issued
    # What it handed on earlier is not undone by that: revoking the grant does it.
    assert desk.delegate("i", "before", author="olga", delegate="ruth") == issued


def test_only_so_many_groups_are_looked_through(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.issue() == "applied"
    monkeypatch.setattr(limits, "SLICE_ENTITIES", 0)
    assert desk.delegate() == "grant_wider"
