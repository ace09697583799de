"""How a node comes by a permit, and how it does not."""

from __future__ import annotations

import msgspec
import pytest
from permit_cluster import PERMITS, REQUEST, PermitCluster

from govraft.core.codec.canonical import pack, unpack
from govraft.core.decision.finding import Charge, Finding
from govraft.core.evidence.denial import prove_denial
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.evidence.statements import PermitStatement
from govraft.core.model.commands import TargetKind
from govraft.core.model.limits import AUTHORIZATIONS, FRAME_BYTES, PERMIT_MS
from govraft.core.model.reasons import About, Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny
from govraft.errors import AvailabilityError, InputError
from govraft.node.authorization import Authorization, Denied, Granted
from govraft.node.gate import Standing


@pytest.fixture
def sim() -> PermitCluster:
    return PermitCluster()


def fields_of(payload: bytes) -> dict:
    return unpack(payload, max_bytes=FRAME_BYTES)


def denied(answer) -> Reason:
    assert isinstance(answer, Denied), answer
    return answer.deny.reason


def test_a_permit_verifies_from_the_genesis_alone(sim) -> None:
    for name in sim.nodes:
        granted = sim.authorize(name)
        proven = sim.prove(granted, request=REQUEST)
        machine = sim.core(name).machine
        assert (proven.statement.seq, proven.leaf.state_root) == (machine.seq, machine.state_root)
        assert len(proven.voters) >= 2
        assert proven.statement.policies == tuple(machine.policy_versions[-1].policy_ids[0].hex().split())


def test_a_permit_says_what_was_asked_for(sim) -> None:
    granted = sim.authorize(ttl_ms=1_000, single_use=True, audience="gateway")
    statement = sim.prove(granted, audience="gateway").statement
    assert (statement.single_use, statement.audience) == (True, "gateway")
    assert statement.not_after - statement.issued == 1_000
    spelled = sim.authorize(request=Request('Agent::"\\x61"', REQUEST.action, REQUEST.resource, {"n": 1}))
    assert sim.prove(spelled, request=REQUEST).statement.principal == 'Agent::"a"'


def test_two_permits_for_one_request_differ(sim) -> None:
    first, second = sim.authorize(), sim.authorize()
    assert first.statement.permit != second.statement.permit


def test_a_denial_is_signed_with_its_reason(sim) -> None:
    request = Request('Agent::"a"', 'Action::"stop"', 'Tool::"t"')
    answer = sim.authorize("node-2", request)
    assert denied(answer) is Reason.POLICY_DENIED
    statement = prove_denial(answer.file, sim.genesis, request=request)
    machine = sim.core("node-2").machine
    assert (statement.node, statement.reason, statement.seq) == ("node-2", Reason.POLICY_DENIED, machine.seq)
    assert (statement.state_root, statement.permit) == (machine.state_root.hex(), None)


@pytest.mark.parametrize("request_", [Request("x", "y", "z"), Request(*REQUEST.__struct_fields__[:3], {"n": 1.5})])
def test_what_cannot_be_asked_is_denied_and_signed(sim, request_: Request) -> None:
    answer = sim.authorize(request=request_)
    assert denied(answer) is Reason.REQUEST_INVALID
    assert prove_denial(answer.file, sim.genesis).request_digest == ""


def test_a_revoked_agent_gets_no_permit_from_any_node(sim) -> None:
    sim.govern(sim.revoke())
    for name in sim.nodes:
        assert denied(sim.authorize(name)) is Reason.REVOKED


def test_a_cut_off_node_gets_no_permit(sim) -> None:
    sim.partition("node-3")
    # Its lease still runs: it allows by itself, but nobody else signs.
    answer = sim.authorize("node-3", timeout_ms=400)
    assert denied(answer) is Reason.QUORUM_UNVERIFIABLE
    assert "1 of 2 voters signed" in answer.deny.message
    assert prove_denial(answer.file, sim.genesis).reason is Reason.QUORUM_UNVERIFIABLE
    sim.step(2_000)
    assert denied(sim.authorize("node-3", timeout_ms=100)) not in (None, Reason.QUORUM_UNVERIFIABLE)


def test_one_lost_voter_does_not_matter(sim) -> None:
    sim.crash(next(name for name in sim.nodes if name != sim.leader.id))
    assert isinstance(sim.authorize(sim.leader.id), Granted)


def test_lost_messages_are_made_up_for(sim) -> None:
    lost = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and len(lost) < 2:
            lost.append(payload)
            return None
        return payload

    sim.tap = tap
    assert isinstance(sim.authorize(), Granted)
    assert len(lost) == 2


def test_a_permit_is_granted_under_a_stream_of_commands(sim) -> None:
    numbers = iter(range(10_000))
    for name in sim.nodes:
        answers = sim.ask(name, timeout_ms=5_000)
        for _ in range(5_000):
            if answers:
                break
            if sim.now_ns // 1_000_000 % 5 == 0:
                sim.submit("node-2", sim.quarantine(f"c-{next(numbers)}"), wait="none")
            sim.step()
        assert isinstance(answers[0], Granted), answers
        sim.prove(answers[0])


def test_a_forged_share_does_not_count(sim) -> None:
    others = [name for name in sim.nodes if name != "node-1"]

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and source in others and "signature" in fields_of(payload):
            return pack(fields_of(payload) | {"signature": bytes(64)})
        return payload

    sim.tap = tap
    before = sim.core("node-1").convergence.rejected_messages
    assert denied(sim.authorize(timeout_ms=300)) is Reason.QUORUM_UNVERIFIABLE
    assert sim.core("node-1").convergence.rejected_messages > before


def test_one_voters_share_counts_once_and_only_as_its_own(sim) -> None:
    """Two copies of one share, one of them under another voter's name."""
    shares = {}

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and target == "node-1" and "signature" in fields_of(payload):
            shares[source] = payload
            return None
        return payload

    sim.tap = tap
    answers = sim.ask(timeout_ms=400)
    sim.run_until(lambda: len(shares) == 2)
    permits, pending = sim.core("node-1").permits, sim.core("node-1").permits._pending[0]
    effects = sim.core("node-1")._effects
    permits.on_frame("node-3", shares["node-2"], effects)
    assert len(pending.attempt.signatures) == 1
    permits.on_frame("node-1", shares["node-2"], effects)
    permits.on_frame("stranger", shares["node-2"], effects)
    assert len(pending.attempt.signatures) == 1
    assert not answers


@pytest.mark.clause("8 fail-closed disagreement handling")
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.about is not About.NODE])
def test_a_voter_that_disagrees_on_one_state_denies_all(sim, monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    """node-3's policy engine is broken: on the same state it decides otherwise."""
    core = sim.core("node-3")
    machine = core.machine
    monkeypatch.setattr(
        core.gate,
        "check",
        lambda request, at_least=0: Deny(
            reason, "no", seq=machine.seq, state_root=machine.state_root.hex(), node="node-3"
        ),
    )
    # Whatever arrives first decides: let the honest one be late.
    sim.delay = lambda source, target, payload: 50 if source == "node-2" else None
    answer = sim.authorize()
    assert denied(answer) is Reason.AUTHORIZATION_INCONSISTENT
    permits = sim.core("node-1").permits
    assert permits.contradicted == 1
    assert permits.contradictions[0].node == "node-3"
    assert prove_denial(answer.file, sim.genesis).reason is Reason.AUTHORIZATION_INCONSISTENT


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.about is About.NODE])
def test_a_voter_that_cannot_tell_is_one_signature_less(sim, monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    core = sim.core("node-3")
    deny = Deny(reason, "no", seq=core.machine.seq, state_root=core.machine.state_root.hex(), node="node-3")
    monkeypatch.setattr(core.gate, "check", lambda request, at_least=0: deny)
    sim.delay = lambda source, target, payload: 50 if source == "node-2" else None
    assert isinstance(sim.authorize(), Granted)
    assert sim.core("node-1").permits.contradicted == 0


@pytest.mark.parametrize("finding", ["a rate", "a window that has just opened"])
def test_a_voter_that_has_another_boundary_before_it_contradicts_nobody(
    sim, monkeypatch: pytest.MonkeyPatch, finding: str
) -> None:
    core = sim.core("node-3")
    machine, reason = core.machine, Reason.BOUNDARY_EXCEEDED
    deny = Deny(reason, "no", seq=machine.seq, state_root=machine.state_root.hex(), node="node-3")
    monkeypatch.setattr(core.gate, "check", lambda request, at_least=0: deny)

    def evaluate(request: Request, *, node_id: str, wall: int) -> Finding:
        if finding == "a rate":
            return Finding(None, charges=(Charge("k", 1, 1),))
        return Finding(reason if wall < sim.wall - 10 else None)

    monkeypatch.setattr(sim.core("node-1").gate, "evaluate", evaluate)
    sim.delay = lambda source, target, payload: 50 if source == "node-2" else None
    assert isinstance(sim.authorize(), Granted)
    assert sim.core("node-1").permits.contradicted == 0


def test_a_voter_that_allows_by_other_policies_disagrees(sim, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = sim.core("node-3").gate
    honest = gate.check
    monkeypatch.setattr(
        gate,
        "check",
        lambda request, at_least=0: msgspec.structs.replace(honest(request, at_least=at_least), policies=["0" * 64]),
    )
    sim.delay = lambda source, target, payload: 50 if source == "node-2" else None
    assert denied(sim.authorize()) is Reason.AUTHORIZATION_INCONSISTENT


def test_a_quarantined_node_refuses_and_contradicts_nobody(sim) -> None:
    sim.govern(sim.quarantine("q", "node-3", kind=TargetKind.NODE))
    sim.delay = lambda source, target, payload: 50 if source == "node-2" else None
    assert isinstance(sim.authorize(), Granted)
    assert sim.core("node-1").permits.contradicted == 0
    assert denied(sim.authorize("node-3")) is Reason.QUARANTINED


def test_an_unsigned_refusal_is_nobodys(sim) -> None:
    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and source == "node-3" and "signature" in fields_of(payload):
            return pack({"denial": b"{}", "permit": fields_of(payload)["permit"]})
        return payload

    sim.tap = tap
    assert isinstance(sim.authorize(), Granted)
    assert sim.core("node-1").permits.contradicted == 0


def test_a_permit_does_not_leave_a_node_that_has_moved_on(sim) -> None:
    """The shares are there, but before the last one arrives the agent is revoked."""
    shares = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and target == "node-1" and "signature" in fields_of(payload):
            shares.append((source, payload))
            return None
        return payload

    sim.tap = tap
    answers = sim.ask(timeout_ms=3_000)
    sim.run_until(lambda: len(shares) == 2)
    sim.govern(sim.revoke())
    core = sim.core("node-1")
    for source, payload in shares:
        core.permits.on_frame(source, payload, core._effects)
    sim.run_until(lambda: answers)
    assert denied(answers[0]) is Reason.REVOKED


def test_the_last_share_finds_a_node_without_its_lease(sim, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and target == "node-1" and "signature" in fields_of(payload):
            shares.append((source, payload))
            return None
        return payload

    sim.tap = tap
    answers = sim.ask(timeout_ms=3_000)
    sim.run_until(lambda: shares)
    core = sim.core("node-1")
    with monkeypatch.context() as patch:
        patch.setattr(core.gate, "standing", lambda at_least=0: Standing(None, Reason.SYNCHRONIZING, "moving on"))
        core.permits.on_frame(*shares[0], core._effects)
        assert not answers
    sim.tap = lambda source, target, channel, payload: payload
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], Granted)


def test_a_voter_signs_nothing_older_than_it_has_acked(sim) -> None:
    """The asking node is held back at the old state; the others have moved on and refuse."""
    sim.delay = lambda source, target, payload: None
    sim.partition("node-1")
    others = "node-2" if sim.leader.id != "node-2" else "node-3"
    answers = sim.ask("node-1", timeout_ms=5_000)
    sim.step(30)
    sim.heal()
    sim.cut.update({(source, "node-1") for source in ("node-2", "node-3")})
    done = sim.submit(others, sim.revoke())
    sim.run_until(lambda: done or answers)
    sim.run_until(lambda: answers, limit_ms=6_000)
    assert isinstance(answers[0], Denied)


def test_an_observer_collects_and_does_not_count() -> None:
    sim = PermitCluster(4, observers=("node-4",))
    granted = sim.authorize("node-4")
    assert "node-4" not in sim.prove(granted).voters
    assert "node-4" not in sim.prove(sim.authorize("node-1")).voters
    sim.partition("node-1", "node-4")
    assert denied(sim.authorize("node-4", timeout_ms=200)) is Reason.QUORUM_UNVERIFIABLE


def test_an_observers_share_does_not_count() -> None:
    """A valid signature, of a member that has no vote."""
    sim = PermitCluster(4, observers=("node-4",))
    sim.tap = lambda source, _target, channel, payload: None if channel == PERMITS and source != "node-1" else payload
    answers = sim.ask()
    sim.run_until(lambda: sim.core("node-1").permits._pending[0].attempt is not None)
    core, attempt = sim.core("node-1"), sim.core("node-1").permits._pending[0].attempt
    signature = sim.nodes["node-4"].identity.sign(attempt.message)
    core.permits.on_frame("node-4", pack({"permit": attempt.statement.permit, "signature": signature}), core._effects)
    assert not answers
    assert len(attempt.signatures) == 1


def test_a_single_voter_is_a_quorum() -> None:
    sim = PermitCluster(1)
    assert sim.prove(sim.authorize("node-1")).voters == ("node-1",)


def test_how_many_and_how_long_is_bounded(sim) -> None:
    for ttl in (999, PERMIT_MS + 1, 0, -1):
        with pytest.raises(InputError):
            sim.ask(ttl_ms=ttl)
    for audience in ("", "x" * 257):
        with pytest.raises(InputError):
            sim.ask(audience=audience)
    sim.partition("node-1")
    for _ in range(AUTHORIZATIONS):
        sim.ask()
    with pytest.raises(AvailabilityError):
        sim.ask()


def test_what_is_given_up_leaves_its_place(sim) -> None:
    permits = sim.core("node-1").permits
    give_up = permits.authorize(Authorization(REQUEST), 2_000, lambda _: pytest.fail("answered"))
    give_up()
    give_up()
    sim.step(100)
    assert permits._pending == []


def test_a_seq_that_is_yet_to_come_is_waited_for(sim) -> None:
    seq = sim.core("node-1").machine.seq
    answers = sim.ask(at_least=seq + 1)
    sim.step(100)
    assert not answers
    sim.govern(sim.quarantine("other"))
    sim.run_until(lambda: answers)
    assert answers[0].statement.seq == seq + 1
    assert denied(sim.authorize(at_least=seq + 9, timeout_ms=100)) is Reason.SYNCHRONIZING


def test_a_permit_is_void_once_its_time_is_over(sim) -> None:
    from govraft.errors import ExpiredError

    granted = sim.authorize(ttl_ms=1_000)
    with pytest.raises(ExpiredError):
        prove_permit(granted.file, sim.genesis, at=sim.wall + 1_001)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        pack({}),
        pack([]),
        pack({"permit": "x"}),
        pack({"permit": "x", "signature": b""}),
        pack({"permit": "x", "denial": b"", "signature": b""}),
        pack({"context": b"{}", "statement": b"{}"}),
        pack({"context": "{}", "statement": "{}"}),
    ],
)
def test_junk_between_nodes_changes_nothing(sim, payload: bytes) -> None:
    core = sim.core("node-1")
    core.on_frame("node-2", PERMITS, payload)
    assert not [send for send in core._effects.sends if send.channel == PERMITS]
    assert isinstance(sim.authorize(), Granted)


def test_statements_hold_what_they_say(sim) -> None:
    granted = sim.authorize()
    assert PermitStatement.decode(granted.statement.encode()) == granted.statement
