import msgspec
import pytest

from govraft.core.model.commands import Revoke, TargetKind
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Allow
from govraft.core.policy.compiled import CompiledPolicies, Decision, PolicyCompileError
from govraft.errors import InvariantViolation
from govraft.ports.store import IsolationRecord

REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"')


def change_lease(core, **changes):
    core.convergence.holder.lease = msgspec.structs.replace(core.convergence.lease, **changes)


def test_an_allow_says_on_what_and_until_when(sim):
    verdict, core = sim.check(), sim.core()
    assert isinstance(verdict, Allow)
    assert verdict.seq == core.machine.seq == core.convergence.lease.seq
    assert verdict.valid_until == core.convergence.lease.end
    assert verdict.state_root == core.machine.state_root.hex()
    assert verdict.policies == list(core.machine.active_policies.policies)
    assert verdict.node == "b"
    assert verdict.decision != sim.check().decision


# Rule 0.


def test_an_isolated_node_denies_with_the_finding(sim):
    sim.core().convergence.isolation = IsolationRecord("policy_divergence", "section", b"")
    assert sim.check().reason is Reason.POLICY_DIVERGENCE
    sim.core().convergence.isolation = IsolationRecord("by_hand", "", b"")
    assert sim.check().reason is Reason.NODE_ISOLATED


# Rule 1.


def test_the_last_nanosecond_of_a_lease_allows_and_the_next_denies(sim):
    core = sim.core()
    end = core.convergence.lease.end
    sim.now_ns = end - 1
    assert sim.check().allowed
    sim.now_ns = end
    assert sim.check().reason is Reason.LEASE_EXPIRED


def test_without_any_lease_it_denies(sim):
    sim.core().convergence.holder.drop()
    assert sim.check().reason is Reason.LEASE_EXPIRED


def test_a_lease_that_ends_during_evaluation_denies(sim, monkeypatch):
    original, end = CompiledPolicies.evaluate, sim.core().convergence.lease.end
    assert sim.check().allowed

    def slow(self, request, entities):
        decision = original(self, request, entities)
        sim.now_ns = end
        return decision

    monkeypatch.setattr(CompiledPolicies, "evaluate", slow)
    assert sim.check().reason is Reason.LEASE_EXPIRED


def test_what_the_node_finds_during_evaluation_names_no_state(sim, monkeypatch):
    """An audit would evaluate it again as what it means with a state: attestors that disagree."""
    original, core = CompiledPolicies.evaluate, sim.core()

    def slow(self, request, entities):
        core.convergence.diagnosis.set(Reason.ATTESTATION_DISAGREEMENT, "section `attestations` differs")
        sim.now_ns = core.convergence.lease.end
        return original(self, request, entities)

    monkeypatch.setattr(CompiledPolicies, "evaluate", slow)
    verdict = sim.check()
    assert (verdict.reason, verdict.seq, verdict.state_root) == (Reason.ATTESTATION_DISAGREEMENT, 0, "")


def test_a_leader_that_changes_during_evaluation_denies(sim, monkeypatch):
    original = CompiledPolicies.evaluate

    def slow(self, request, entities):
        sim.views["b"].term += 1
        return original(self, request, entities)

    monkeypatch.setattr(CompiledPolicies, "evaluate", slow)
    assert sim.check().reason is Reason.LEADER_UNCONFIRMED


# Rules 2 and 4.


def test_a_state_that_differs_from_the_certified_one_denies(sim):
    lease = sim.core().convergence.lease
    change_lease(sim.core(), root=bytes(32))
    assert sim.check().reason is Reason.LINEAGE_INCONSISTENT
    change_lease(sim.core(), root=lease.root, sections=lease.sections | {"policies": bytes(32)})
    assert sim.check().reason is Reason.LINEAGE_INCONSISTENT
    change_lease(sim.core(), sections=lease.sections)
    assert sim.check().allowed


@pytest.mark.clause("7 no optimistic execution")
@pytest.mark.clause("7 synchronize-before-execute")
def test_a_state_that_is_not_yet_certified_waits(sim):
    sim.partition("b")
    sim.commit()
    sim.advance("b")
    sim.step(5)
    assert sim.check() is None
    assert sim.core().deny_waiting(0).reason is Reason.SYNCHRONIZING


def test_a_certified_state_that_has_not_arrived_yet_waits(sim):
    sim.commit()
    sim.advance("a", "c")
    sim.step(60)
    change_lease(sim.core(), seq=sim.core().machine.seq + 1)
    assert sim.check() is None
    assert sim.core().deny_waiting(0).reason is Reason.GOVERNANCE_DESYNCHRONIZED


def test_an_announced_commit_waits(sim):
    sim.views["b"].announced = sim.core().machine.seq
    assert sim.check() is None
    assert sim.core().deny_waiting(0).reason is Reason.SYNCHRONIZING


def test_a_caller_may_ask_for_a_newer_state(sim):
    seq = sim.core().machine.seq
    assert sim.check(at_least=seq).allowed
    assert sim.check(at_least=seq + 1) is None
    assert sim.core().deny_waiting(seq + 1).reason is Reason.SYNCHRONIZING


def test_only_what_heals_by_itself_is_waited_for(sim):
    sim.commit()
    sim.advance("b")
    sim.partition("b")
    sim.step(5)
    sim.views["b"].leader = None
    assert sim.check().reason in (Reason.LEADER_UNCONFIRMED, Reason.LEASE_EXPIRED)


def test_waiting_too_long_denies_even_if_the_lease_has_come(sim):
    assert sim.core().deny_waiting(0).reason is Reason.SYNCHRONIZING


# Rule 3.


@pytest.mark.parametrize("change", [{"leader": None}, {"leader": "c"}, {"term": 99}], ids=str)
def test_another_leader_or_term_denies(sim, change):
    for name, value in change.items():
        setattr(sim.views["b"], name, value)
    assert sim.check().reason is Reason.LEADER_UNCONFIRMED


# Rule 5.


@pytest.mark.parametrize("step_ms", [-5000, 5000])
def test_a_stepped_wall_clock_denies(sim, step_ms):
    sim.nodes["b"].clock.wall_step_ms = step_ms
    assert sim.check().reason is Reason.CLOCK_UNSAFE


def test_a_boot_clock_that_stood_still_denies(sim):
    """A machine that was frozen together with its boot clock, and whose wall clock has been set right again."""
    sim.now_ns += 10_000 * NS_PER_MS
    sim.nodes["b"].clock.offset_ns -= 10_000 * NS_PER_MS
    assert sim.check().reason is Reason.CLOCK_UNSAFE


# Rule 6.


def mark(sim, kind: TargetKind, target: str, *, revoke: bool = False):
    if revoke:
        command = Revoke(**sim.header(f"revoke {target}".replace(" ", "-")), kind=kind, id=target, reason="why")
        sim.commit_envelopes(sim.envelope(command, "operator-1"))
    else:
        sim.commit_envelopes(sim.quarantine(f"q-{kind}", target, kind=kind))
    sim.step(300)
    assert sim.core().machine.leaf(sim.core().machine.seq).outcome == "applied"
    assert sim.serving("b")


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (TargetKind.SUBJECT, 'Agent::"a"'),
        (TargetKind.SUBJECT, 'Group::"top"'),
        (TargetKind.RESOURCE, 'Tool::"t"'),
        (TargetKind.ACTION, 'Action::"run"'),
        (TargetKind.NODE, "b"),
    ],
    ids=str,
)
def test_marks_deny(sim, kind, target):
    sim.commit_envelopes(
        sim.put("p1", 'Agent::"a"', ('Group::"mid"',)), sim.put("p2", 'Group::"mid"', ('Group::"top"',))
    )
    sim.step(300)
    assert sim.check().allowed
    mark(sim, kind, target)
    verdict = sim.check()
    assert verdict.reason is Reason.QUARANTINED
    assert target in verdict.message
    mark(sim, kind, target, revoke=True)
    assert sim.check().reason is Reason.REVOKED


def test_another_spelling_of_a_revoked_subject_is_revoked(sim):
    mark(sim, TargetKind.SUBJECT, 'Agent::"a"', revoke=True)
    assert sim.check(Request('Agent::"\\u{61}"', 'Action::"run"', 'Tool::"t"')).reason is Reason.REVOKED


def test_a_mark_on_another_kind_or_node_does_not_deny(sim):
    mark(sim, TargetKind.RESOURCE, 'Agent::"a"')
    mark(sim, TargetKind.NODE, "c")
    assert sim.check().allowed
    assert sim.check(name="c").reason is Reason.QUARANTINED


def test_an_unreadable_name_denies_also_when_there_are_marks(sim):
    for request in (
        Request("a", 'Action::"run"', 'Tool::"t"'),
        Request('Agent::"a"', "", 'Tool::"t"'),
        Request('Agent::"a"', 'Action::"run"', 'Tool::"t'),
    ):
        assert sim.check(request).reason is Reason.REQUEST_INVALID
    mark(sim, TargetKind.NODE, "c")
    for request in (
        Request("a", 'Action::"run"', 'Tool::"t"'),
        Request('Agent::"a"', "", 'Tool::"t"'),
        Request('Agent::"a"', 'Action::"run"', 'Tool::"t'),
    ):
        assert sim.check(request).reason is Reason.REQUEST_INVALID


# Rule 7.


def test_nothing_is_permitted_without_an_active_policy():
    from simulation.arena import Arena

    sim = Arena()
    sim.lead("a", "b", "c")
    sim.step(400)
    assert sim.serving("b")
    assert sim.nodes["b"].core.check(REQUEST).reason is Reason.POLICY_DENIED


@pytest.mark.clause("2 fail-closed by default")
@pytest.mark.clause("7 deny")
def test_what_no_policy_permits_is_denied(sim):
    verdict = sim.check(Request('Agent::"a"', 'Action::"stop"', 'Tool::"t"'))
    assert verdict.reason is Reason.POLICY_DENIED
    assert verdict.policies == []
    assert verdict.seq == sim.core().machine.seq


def test_a_forbid_wins_and_is_named(make_sim):
    sim = make_sim("permit(principal, action, resource);", 'forbid(principal == Agent::"a", action, resource);')
    verdict = sim.check()
    assert verdict.reason is Reason.POLICY_DENIED
    assert len(verdict.policies) == 1


def test_a_request_that_does_not_fit_the_schema_is_invalid(sim):
    assert sim.check(Request('Agent::"a"', 'Action::"fly"', 'Tool::"t"')).reason is Reason.REQUEST_INVALID
    assert sim.check(Request('Tool::"t"', 'Action::"run"', 'Tool::"t"')).reason is Reason.REQUEST_INVALID
    assert sim.check(msgspec.structs.replace(REQUEST, context={"n": "x"})).reason is Reason.REQUEST_INVALID


def test_an_evaluation_error_is_no_allow(make_sim):
    sim = make_sim(
        "permit(principal, action, resource);",
        "forbid(principal, action, resource) when { context has n && context.n * 4611686018427387904 > 0 };",
    )
    assert sim.check().allowed
    verdict = sim.check(msgspec.structs.replace(REQUEST, context={"n": 4}))
    assert verdict.reason is Reason.POLICY_ERROR
    assert verdict.errors


@pytest.mark.clause("2 policy validity")
def test_policies_that_do_not_compile_deny_everything(sim, monkeypatch):
    def fail(*given, **options):
        raise PolicyCompileError("boom")

    monkeypatch.setattr(CompiledPolicies, "compile", fail)
    verdict = sim.check()
    assert verdict.reason is Reason.POLICY_ERROR
    assert "boom" in verdict.message


@pytest.mark.clause("2 fail-closed by default")
@pytest.mark.parametrize("where", ["compile", "evaluate"])
def test_a_failure_while_deciding_denies(sim, monkeypatch, where):
    def fail(*given, **options):
        raise RuntimeError("boom")

    monkeypatch.setattr(CompiledPolicies, where, fail)
    verdict = sim.check()
    assert verdict.reason is Reason.INTERNAL_ERROR
    assert "boom" not in verdict.message


def test_a_broken_invariant_is_not_a_denial(sim, monkeypatch):
    def fail(*given):
        raise InvariantViolation("boom")

    monkeypatch.setattr(CompiledPolicies, "evaluate", fail)
    with pytest.raises(InvariantViolation):
        sim.check()


def test_new_policies_are_used_at_once_and_old_ones_no_more(sim):
    assert sim.check().allowed
    sim.govern(
        'permit(principal, action == Action::"stop", resource);',
        'forbid(principal == Agent::"a", action == Action::"run", resource);',
    )
    sim.step(300)
    assert sim.serving("b")
    assert sim.check().reason is Reason.POLICY_DENIED
    assert sim.check(Request('Agent::"a"', 'Action::"stop"', 'Tool::"t"')).allowed


# Why there is no lease.


def test_a_restarted_node_is_starting(sim):
    sim.crash("b")
    sim.start("b")
    sim.step(500)
    assert sim.check().reason is Reason.NODE_STARTING
    sim.step(1500)
    assert sim.check().allowed


def test_a_cut_off_node_says_so(sim):
    sim.partition("b")
    sim.step(1500)
    assert sim.check().reason is Reason.PARTITION_AMBIGUOUS


def test_a_node_whose_connections_are_up_but_silent_says_so_too(sim):
    for other in ("a", "c"):
        sim.cut |= {("b", other), (other, "b")}
    sim.step(1500)
    assert sim.core().links == {"a", "b", "c"}
    assert sim.check().reason is Reason.PARTITION_AMBIGUOUS


def test_a_node_that_is_left_behind_says_so(sim):
    sim.commit()
    sim.advance("a", "c")
    sim.step(1500)
    assert sim.core().machine.seq < sim.core("a").machine.seq
    assert sim.check() is None, "it may catch up at any moment"
    assert sim.core().deny_waiting(0).reason is Reason.GOVERNANCE_DESYNCHRONIZED


def test_a_node_that_knows_no_leader_says_so(sim):
    for view in sim.views.values():
        view.leader = None
    sim.step(1500)
    assert sim.check().reason is Reason.LEADER_UNCONFIRMED


def test_what_was_seen_to_be_wrong_is_the_reason(sim):
    sim.partition("b")
    sim.step(1500)
    sim.core().convergence.diagnosis.set(Reason.AUTHORITY_CONFLICT, "two roots")
    assert sim.check().reason is Reason.AUTHORITY_CONFLICT


def test_while_the_next_certificate_is_due_the_check_waits(sim):
    sim.tap = lambda source, target, channel, payload: None if target == "b" and source != "b" else payload
    before = sim.core().convergence.lease
    sim.commit()
    sim.advance("a", "b", "c")
    sim.tap = lambda source, target, channel, payload: payload if b"lease" not in payload else None
    sim.step(60)
    assert sim.core().convergence.lease is None
    assert sim.core().convergence.moving_until > before.end
    assert sim.check() is None
    sim.step(2500)
    assert sim.check().reason is not Reason.SYNCHRONIZING


GROUPED = """
entity Agent;
entity Tool;
action "all";
action "risky" in [Action::"all"];
action "run" in [Action::"risky"] appliesTo { principal: [Agent], resource: [Tool], context: {} };
"""


@pytest.mark.parametrize("group", ['Action::"risky"', 'Action::"all"'])
def test_a_mark_on_an_action_group_denies_its_actions(sim, group):
    sim.govern("permit(principal, action, resource);", schema=GROUPED)
    sim.step(300)
    assert sim.check().allowed
    mark(sim, TargetKind.ACTION, group)
    assert sim.check().reason is Reason.QUARANTINED
    mark(sim, TargetKind.ACTION, group, revoke=True)
    assert sim.check().reason is Reason.REVOKED


@pytest.mark.parametrize(
    "decision", [Decision("allow", (), ("a policy failed",)), Decision("error", ("p",)), Decision("odd")]
)
def test_only_an_allow_without_any_error_allows(sim, monkeypatch, decision):
    monkeypatch.setattr(CompiledPolicies, "evaluate", lambda *given: decision)
    assert sim.check().reason is Reason.POLICY_ERROR


def test_a_restarted_node_has_compiled_before_it_is_asked(sim, monkeypatch):
    sim.crash("b")
    compiled = []
    real = CompiledPolicies.compile
    monkeypatch.setattr(CompiledPolicies, "compile", lambda *given, **more: compiled.append(1) or real(*given, **more))
    sim.start("b")
    assert compiled == [1]
    sim.lead("a", "b", "c")
    sim.step(3_000)
    assert sim.check().allowed
    assert compiled == [1]
