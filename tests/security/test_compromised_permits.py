"""A compromised member about permits: it makes its own, harvests signatures for them, spends one twice, keeps its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from changing_electorate import text
from permit_cluster import PERMITS, REQUEST
from security.stricken_cluster import LIAR, StrickenCluster

from govraft.core.codec.canonical import pack, pack_json, unpack
from govraft.core.codec.envelope import pae
from govraft.core.evidence.permit_file import encode_permit_file, envelope_in, prove_permit
from govraft.core.evidence.sealed import fields_of, seal_statement
from govraft.core.evidence.statements import (
    DENIAL_TYPE,
    PERMIT_TYPE,
    DenialStatement,
    PermitStatement,
    context_digest,
    request_digest,
)
from govraft.core.model.commands import PermitRedeem
from govraft.core.model.limits import FRAME_BYTES, PERMIT_MS
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import RejectedError, VerificationError
from govraft.node.permits import Denied, Granted

HOUR_MS = 3_600_000


@pytest.fixture
def sim() -> StrickenCluster:
    return StrickenCluster()


class Forger:
    """Puts permits together from a statement of its own and whatever signatures it can get."""

    def __init__(self, sim: StrickenCluster) -> None:
        self.sim, self.liar = sim, sim.liar
        self.keys = {member.id: member.public_key for member in sim.genesis.members}
        self.proofs: dict[int, dict[str, Any]] = {}
        self.keep()

    def keep(self) -> None:
        """What is true of the newest state: its leaf, and that a quorum has certified it."""
        core = self.liar.core
        seq = core.convergence.lease.seq
        self.proofs[seq] = {
            "leaf": core.machine.leaf_bytes(seq),
            "proof": core.machine.lineage.inclusion_proof(seq - 1, seq),
            "certificate": core.convergence.lease.note,
        }

    def statement(self, request: Request = REQUEST, **changes: Any) -> PermitStatement:
        machine, wall = self.liar.core.machine, self.sim.wall
        fields = {
            "cluster": machine.cluster_id,
            "epoch": machine.epoch,
            "seq": machine.seq,
            "state_root": machine.state_root.hex(),
            "decision": "node-4-1-1",
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context_digest": context_digest(request.context),
            "request_digest": request_digest(request),
            "policies": (machine.policy_versions[-1].policy_ids[0].hex(),),
            "issued": wall,
            "not_after": wall + 60_000,
            "single_use": False,
            "audience": None,
        }
        return PermitStatement.make(**(fields | changes))

    def sign(self, statement: PermitStatement) -> bytes:
        return self.liar.identity.sign(pae(PERMIT_TYPE, statement.encode()))

    def harvest(self, statement: PermitStatement, context: dict[str, Any] | None = None) -> dict[bytes, bytes]:
        """Ask every honest voter; the signatures that they give, and its own."""
        heard = self.liar.overhear(PERMITS)
        given = REQUEST.context if context is None else context
        self.liar.tell_all(pack({"context": pack_json(given), "statement": statement.encode()}), PERMITS)
        self.sim.step(400)
        shares = {self.keys[LIAR]: self.sign(statement)}
        for who, payload in heard:
            fields = unpack(payload, max_bytes=FRAME_BYTES)
            if fields.get("permit") == statement.permit and "signature" in fields:
                shares[self.keys[who]] = fields["signature"]
        return shares

    def file(self, statement: PermitStatement, shares: Mapping[bytes, bytes]) -> bytes:
        return self.put_together(seal_statement(PERMIT_TYPE, statement, shares), statement.seq)

    def put_together(self, envelope: bytes, seq: int) -> bytes:
        """With a true leaf and a true certificate, of that seq if there are any."""
        return encode_permit_file(envelope, **self.proofs.get(seq, self.proofs[max(self.proofs)]), links=[])

    def redeem(self, envelope: bytes, node: str = LIAR) -> bytes:
        command = PermitRedeem(**self.sim.head(), node=node, permit=text(envelope))
        return self.liar.command(command)


def test_one_key_makes_no_permit(sim):
    """True in everything but its signatures: of one voter, of one in the names of three, lent, or none."""
    forger = Forger(sim)
    true = sim.authorize(LIAR)
    assert isinstance(true, Granted)
    assert sim.prove(true).statement == true.statement
    statement = forger.statement(single_use=True)
    own = forger.sign(statement)
    lent = {part["keyid"]: part["sig"] for part in fields_of(envelope_in(true.file))["signatures"]}
    alone = fields_of(seal_statement(PERMIT_TYPE, statement, {forger.keys[LIAR]: own}))
    (part,) = alone["signatures"]
    envelopes = {
        "its own": seal_statement(PERMIT_TYPE, statement, {forger.keys[LIAR]: own}),
        "its own for all": seal_statement(PERMIT_TYPE, statement, dict.fromkeys(forger.keys.values(), own)),
        "its own thrice": pack_json(alone | {"signatures": [part, part, part]}),
        "others' of another permit": pack_json(
            alone | {"signatures": [{"keyid": name, "sig": sig} for name, sig in sorted(lent.items())]}
        ),
        "none": pack_json(alone | {"signatures": []}),
    }
    sim.elect_liar()
    for name, envelope in envelopes.items():
        with pytest.raises(VerificationError):
            prove_permit(forger.put_together(envelope, statement.seq), sim.genesis, at=sim.wall)
        seq = sim.core(LIAR).machine.seq + 1
        sim.liar.propose(forger.redeem(envelope))
        sim.run_until(lambda seq=seq: sim.core("node-1").machine.seq == seq)
        assert sim.core("node-1").machine.leaf(seq).outcome in ("evidence_invalid", "envelope_malformed"), name
    # And what was signed by a quorum for something else stays that.
    longer = msgspec.structs.replace(true.statement, not_after=true.statement.not_after + HOUR_MS)
    fields = fields_of(envelope_in(true.file)) | {"payload": text(longer.encode())}
    with pytest.raises(VerificationError):
        prove_permit(forger.put_together(pack_json(fields), longer.seq), sim.genesis, at=sim.wall)


@pytest.mark.clause("7 no quorum bypass")
def test_nobody_signs_what_it_does_not_allow(sim):
    """Everything that the attacker may ask for: another time, life, state, request, cluster."""
    forger = Forger(sim)
    honest = forger.statement()
    assert len(forger.harvest(honest)) == 4, "the truth is signed by all"
    sim.prove(Granted(forger.file(honest, forger.harvest(honest)), honest))
    old = {"seq": honest.seq, "state_root": honest.state_root}
    sim.govern(sim.revoke())
    forger.keep()
    other = Request('Agent::"b"', REQUEST.action, REQUEST.resource, {"n": 1})

    def dated(off_ms: int) -> PermitStatement:
        issued = sim.wall + off_ms
        return forger.statement(other, issued=issued, not_after=issued + PERMIT_MS)

    asked: dict[str, Callable[[], PermitStatement]] = {
        "revoked": forger.statement,
        "revoked, on the state before": lambda: forger.statement(**old),
        "on the state before": lambda: forger.statement(other, **old),
        "on another state": lambda: forger.statement(other, state_root=honest.state_root),
        "of a seq to come": lambda: forger.statement(other, seq=sim.core(LIAR).machine.seq + 1),
        "of a seq gone by": lambda: forger.statement(other, seq=honest.seq),
        "of another epoch": lambda: forger.statement(other, epoch=2),
        "back-dated": lambda: dated(-60_000),
        "post-dated": lambda: dated(HOUR_MS),
        "of another cluster": lambda: forger.statement(other, cluster="0" * 64),
        "without policies": lambda: forger.statement(other, policies=()),
    }
    for name, make in asked.items():
        statement = make()
        shares = forger.harvest(statement)
        assert set(shares) == {forger.keys[LIAR]}, name
        with pytest.raises(VerificationError):
            prove_permit(forger.file(statement, shares), sim.genesis, at=sim.wall)
    # A request that is allowed does not carry one that is not.
    mixed = forger.statement(other, principal=REQUEST.principal)
    assert set(forger.harvest(mixed)) == {forger.keys[LIAR]}
    assert set(forger.harvest(forger.statement(other), {"n": 2})) == {forger.keys[LIAR]}
    assert len(forger.harvest(forger.statement(other))) == 4


def test_a_permit_is_spent_once_whoever_orders_it(sim):
    """It leads, orders the same redemption many times, in its own name and in others', and dates them back."""
    forger = Forger(sim)
    granted = sim.authorize("node-1", single_use=True, ttl_ms=2_000)
    envelope = envelope_in(granted.file)
    late = envelope_in(sim.authorize("node-1", single_use=True, ttl_ms=1_000).file)
    issued = sim.wall
    sim.elect_liar()
    granted = sim.authorize("node-1", single_use=True)
    envelope, first = envelope_in(granted.file), sim.core(LIAR).machine.seq + 1
    sim.liar.propose(forger.redeem(envelope), forger.redeem(envelope), forger.redeem(envelope, node="node-1"))
    sim.liar.propose(forger.redeem(late), time=issued)
    sim.run_until(lambda: all(sim.core(name).machine.seq >= first + 3 for name in sim.honest))
    outcomes = [sim.core("node-2").machine.leaf(seq).outcome for seq in range(first, first + 4)]
    assert outcomes == ["applied", "permit_used", "threshold_unmet", "permit_void"]
    for name in sim.honest:
        core = sim.core(name)
        answers = sim.submit(name, core.permits.sign_redemption(envelope, command_id=name, not_after=sim.wall + 60_000))
        sim.run_until(lambda answers=answers: answers)
        assert isinstance(answers[0], RejectedError)
        assert answers[0].code == "permit_used"


def test_what_it_withholds_others_give(sim):
    """No share, a share of something else, a refusal without a reason: three of four are a quorum without it."""
    forger = Forger(sim)
    sim.liar.silence(PERMITS)
    assert LIAR not in sim.prove(sim.authorize("node-1")).voters
    heard = sim.liar.overhear(PERMITS)
    answers = sim.ask("node-1")
    sim.run_until(lambda: heard)
    asked = PermitStatement.decode(unpack(heard[0][1], max_bytes=FRAME_BYTES)["statement"])
    for signature in (bytes(64), forger.sign(forger.statement()), forger.sign(asked)[:-1] + b"\0"):
        sim.liar.send("node-1", pack({"permit": asked.permit, "signature": signature}), PERMITS)
    sim.run_until(lambda: answers)
    assert LIAR not in sim.prove(answers[0]).voters
    # And one that keeps all requests to itself is a node that denies, nothing else.
    sim.cut.update({(LIAR, name) for name in sim.honest})
    assert isinstance(sim.authorize(LIAR, timeout_ms=300), Denied)


@pytest.mark.clause("8 fail-closed disagreement handling")
def test_its_contradiction_denies_and_is_kept_with_its_signature(sim):
    """It says of the same state that it does not allow that: it can stop a permit, and is on record for it."""
    sim.liar.silence(PERMITS)
    heard = sim.liar.overhear(PERMITS)
    sim.delay = lambda source, target, payload: 50 if source in ("node-2", "node-3") else None
    answers = sim.ask("node-1")
    sim.run_until(lambda: heard)
    asked = PermitStatement.decode(unpack(heard[0][1], max_bytes=FRAME_BYTES)["statement"])
    statement = DenialStatement(
        **{name: getattr(asked, name) for name in ("cluster", "epoch", "seq", "state_root", "permit")},
        **{name: getattr(asked, name) for name in ("request_digest", "principal", "action", "resource")},
        node=LIAR,
        reason=Reason.POLICY_DENIED,
        message="no",
        time=sim.wall,
        decision="x",
    )
    signature = sim.liar.identity.sign(pae(DENIAL_TYPE, statement.encode()))
    sealed = seal_statement(DENIAL_TYPE, statement, {sim.liar.identity.public_key: signature})
    # In another's name it is nobody's.
    sim.core("node-1").on_frame("node-2", PERMITS, pack({"denial": sealed, "permit": asked.permit}))
    assert not answers
    sim.liar.send("node-1", pack({"denial": sealed, "permit": asked.permit}), PERMITS)
    sim.run_until(lambda: answers)
    assert answers[0].deny.reason is Reason.AUTHORIZATION_INCONSISTENT
    assert [(item.node, item.denial) for item in sim.core("node-1").permits.contradictions] == [(LIAR, sealed)]
