"""What a voter signs for another node, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from permit_cluster import PERMITS, REQUEST, PermitCluster

from govraft.core.codec.canonical import pack, pack_json, unpack
from govraft.core.codec.envelope import pae
from govraft.core.crypto.keys import verify
from govraft.core.evidence.denial import verify_denial
from govraft.core.evidence.statements import PERMIT_TYPE, PermitStatement, context_digest, request_digest
from govraft.core.model.limits import AUTHORIZATIONS_HELD, FRAME_BYTES, PERMIT_MS
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request


class Asker:
    """`node-1`, compromised: asks `node-2` to sign whatever it likes."""

    def __init__(self) -> None:
        self.sim = PermitCluster()
        self.core = self.sim.core("node-2")
        self.machine = self.core.machine

    def statement(self, request: Request = REQUEST, **changes: Any) -> PermitStatement:
        fields = {
            "cluster": self.machine.cluster_id,
            "epoch": self.machine.epoch,
            "seq": self.machine.seq,
            "state_root": self.machine.state_root.hex(),
            "decision": "node-1-1-1",
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context_digest": context_digest(request.context),
            "request_digest": request_digest(request),
            "policies": (self.machine.policy_versions[-1].policy_ids[0].hex(),),
            "issued": self.sim.wall,
            "not_after": self.sim.wall + 60_000,
            "single_use": False,
            "audience": None,
        }
        return PermitStatement.make(**(fields | changes))

    def ask(self, statement: PermitStatement | bytes, context: dict | None = None) -> Any:
        """True for a signature, the reason for a refusal, None for silence."""
        payload = statement if isinstance(statement, bytes) else statement.encode()
        context = REQUEST.context if context is None else context
        self.core.on_frame("node-1", PERMITS, pack({"context": pack_json(context), "statement": payload}))
        return self.answer(payload)

    def answer(self, payload: bytes) -> Any:
        sends = [send for send in self.core._effects.sends if send.channel == PERMITS]
        for send in sends:
            self.core._effects.sends.remove(send)
        if not sends:
            return None
        assert [send.peer for send in sends] == ["node-1"]
        fields = unpack(sends[0].payload, max_bytes=FRAME_BYTES)
        if "signature" in fields:
            own = self.machine.electorate.find("node-2").public_key
            assert verify(own, fields["signature"], pae(PERMIT_TYPE, payload))
            return True
        statement = verify_denial(fields["denial"], self.machine.electorate, self.machine.cluster_id, is_valid=verify)
        assert (statement.node, statement.permit) == ("node-2", fields["permit"])
        return statement.reason


@pytest.fixture
def asker() -> Asker:
    return Asker()


def test_an_honest_statement_is_signed(asker) -> None:
    assert asker.ask(asker.statement()) is True
    assert asker.ask(asker.statement(single_use=True, audience="x")) is True


def test_a_context_of_another_digest_is_refused(asker) -> None:
    """What is evaluated must be what is signed: else the context that allows would carry one that does not."""
    assert asker.ask(asker.statement(), {"n": 2}) is None
    assert asker.ask(asker.statement(context_digest="0" * 64)) is None
    assert asker.ask(asker.statement(request_digest="0" * 64)) is None
    assert asker.ask(asker.statement(principal='Agent::"b"')) is None


def test_a_statement_of_another_time_is_refused(asker) -> None:
    skew, wall = asker.sim.genesis.clock_skew_max_ms, asker.sim.wall
    for off in (-skew, skew):
        assert asker.ask(asker.statement(issued=wall + off, not_after=wall + off + 1_000)) is True
    for off in (-skew - 1, skew + 1, -60_000, 3_600_000):
        assert asker.ask(asker.statement(issued=wall + off, not_after=wall + off + 1_000)) is Reason.CLOCK_UNSAFE


def test_no_long_life_is_signed(asker) -> None:
    wall = asker.sim.wall
    assert asker.ask(asker.statement(not_after=wall + PERMIT_MS)) is True
    assert asker.ask(asker.statement(not_after=wall + PERMIT_MS + 1)) is None
    assert asker.ask(asker.statement(not_after=wall + 999)) is None


def test_what_it_does_not_allow_itself_is_refused(asker) -> None:
    request = Request('Agent::"a"', 'Action::"stop"', 'Tool::"t"', {"n": 1})
    assert asker.ask(asker.statement(request, policies=())) is Reason.POLICY_DENIED


def test_only_the_own_seq_is_signed(asker) -> None:
    old = asker.statement()
    asker.sim.govern(asker.sim.quarantine("other"))
    issued = asker.sim.wall
    late = {"issued": issued, "not_after": issued + 1_000}
    assert asker.ask(asker.statement(seq=old.seq, state_root=old.state_root, **late)) is Reason.SYNCHRONIZING
    assert asker.ask(asker.statement(epoch=2)) is Reason.SYNCHRONIZING
    assert asker.ask(asker.statement()) is True


def test_another_state_or_other_policies_are_refused(asker) -> None:
    assert asker.ask(asker.statement(state_root="0" * 64)) is Reason.LINEAGE_INCONSISTENT
    for policies in ((), ("0" * 64,)):
        assert asker.ask(asker.statement(policies=policies)) is Reason.AUTHORIZATION_INCONSISTENT


def test_an_id_with_other_content_is_no_statement(asker) -> None:
    """So no id is ever signed twice with other content, restarts included."""
    first, second = asker.statement(), asker.statement(audience="x")
    assert asker.ask(first) is True
    assert asker.ask(second.encode().replace(second.permit.encode(), first.permit.encode())) is None


def test_another_cluster_is_not_answered(asker) -> None:
    assert asker.ask(asker.statement(cluster="0" * 64)) is None


def test_a_state_to_come_is_waited_for(asker) -> None:
    ahead = asker.statement(seq=asker.machine.seq + 1)
    assert asker.ask(ahead) is None
    assert asker.core.permits._cosigner._held
    answers = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == PERMITS and source == "node-2":
            answers.append(unpack(payload, max_bytes=FRAME_BYTES))
        return payload

    asker.sim.tap = tap
    asker.sim.step(200)
    assert answers == []
    asker.sim.govern(asker.sim.quarantine("other"))
    # The state that came is not the one that was named.
    assert [sorted(answer) for answer in answers] == [["denial", "permit"]]
    asker.ask(asker.statement(seq=asker.machine.seq + 1))
    asker.sim.step(400)
    assert len(answers) == 2
    assert not asker.core.permits._cosigner._held


def test_few_are_waited_for(asker) -> None:
    for number in range(AUTHORIZATIONS_HELD + 10):
        asker.ask(asker.statement(seq=asker.machine.seq + 1, decision=f"d{number}"))
    assert len(asker.core.permits._cosigner._held) == AUTHORIZATIONS_HELD


def test_a_node_without_a_lease_signs_nothing(asker) -> None:
    asker.sim.partition("node-2")
    asker.sim.step(2_000)
    assert isinstance(asker.ask(asker.statement()), Reason)
