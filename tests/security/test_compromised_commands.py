"""A compromised member puts into the log whatever it likes, at any time that it likes to write on it.

It leads: what it proposes is ordered, and every honest machine decides for itself what comes of it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from permit_cluster import REQUEST
from security.stricken_cluster import LIAR, RAFT, StrickenCluster
from unit.core.model.test_commands import SAMPLES

from govraft.adapters.engine.frames import REGULAR, AppendEntries, encode_frame
from govraft.core.codec.canonical import pack, pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import key_id
from govraft.core.machine.entry import encode_entry
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    COMMANDS,
    Command,
    DomainCreate,
    GrantIssue,
    MemberEvict,
    NewKey,
    Release,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.core.model.reasons import Reason
from govraft.core.model.units import WallMs
from govraft.errors import RejectedError
from govraft.node.submissions import SUBMISSION_CHANNEL

HOUR_MS = 3_600_000

REAL: dict[str, Any] = {
    "domain": "root",
    "assignments": (Assignment(Role.OPERATOR, "root"),),
    "keys": (NewKey("operator-1", "AAAA"),),
}
"""What the samples must name to be of this cluster."""


@pytest.fixture
def sim() -> StrickenCluster:
    made = StrickenCluster()
    made.elect_liar()
    return made


def ordered(sim: StrickenCluster, *envelopes: bytes, time: int | None = None) -> list[str]:
    """Have the liar propose; the outcomes on all honest nodes, which must agree."""
    first = sim.core(LIAR).machine.seq + 1
    sim.liar.propose(*envelopes, time=time)
    last = first + len(envelopes) - 1
    sim.run_until(lambda: all(sim.core(name).machine.seq >= last for name in sim.honest))
    assert len(sim.roots()) == 1
    return [sim.core("node-1").machine.leaf(seq).outcome for seq in range(first, last + 1)]


def forged(sim: StrickenCluster, sample: Command) -> Command:
    """The sample as a command of this cluster, about what there is here."""
    fields: dict[str, Any] = {name: value for name, value in REAL.items() if hasattr(sample, name)}
    if payload_type(sample).startswith("application/vnd.govraft.authority") and hasattr(sample, "id"):
        fields["id"] = "operator-1"
    if isinstance(sample, MemberEvict):
        fields["id"] = "node-1"
    return msgspec.structs.replace(sample, **sim.head(), **fields)


def sections(sim: StrickenCluster) -> dict[str, bytes]:
    """All but `audit`, in which commands are remembered."""
    return {name: value for name, value in sim.core("node-1").machine.sections.items() if name != "audit"}


def test_a_node_key_is_no_authority(sim):
    """Every command there is, signed with the key of a member."""
    commands = [forged(sim, sample) for sample in SAMPLES]
    # What some of them change must be there: else they would be refused for that.
    for sample in commands:
        if isinstance(sample, DomainCreate):
            sim.govern(sim.envelope(msgspec.structs.replace(sample, **sim.head()), "root-1"))
            sim.govern(sim.envelope(msgspec.structs.replace(sample, **sim.head(), id="b"), "root-1"))
        if isinstance(sample, GrantIssue):
            there = msgspec.structs.replace(sample, **sim.head(), not_after_grant=sim.wall + HOUR_MS, delegate=None)
            sim.govern(sim.envelope(there, "operator-1"))
            sim.govern(sim.envelope(msgspec.structs.replace(there, **sim.head(), id="f"), "operator-1"))
    names = [next(name for name, (kind, _) in COMMANDS.items() if type(command) is kind) for command in commands]
    before = sections(sim)
    outcomes = dict(zip(names, ordered(sim, *(sim.liar.command(command) for command in commands)), strict=True))
    assert outcomes.keys() == COMMANDS.keys()
    # Anybody may hand in evidence: that must convict.
    assert outcomes == dict.fromkeys(COMMANDS, "threshold_unmet") | {"member.evict": "evidence_invalid"}
    assert sections(sim) == before
    sim.run_until(sim.honest_serve)
    assert sim.core("node-1").check(REQUEST).allowed


def test_a_signature_in_an_authoritys_name_refuses_the_whole_envelope(sim):
    before = sections(sim)
    envelopes = []
    for sample in SAMPLES:
        command = forged(sim, sample)
        kind, payload = payload_type(command), encode_command(command)
        own = sim.liar.identity.sign(pae(kind, payload))
        fields = msgspec.json.decode(seal(kind, payload, [(sim.liar.identity.public_key, own)]))
        for author in sim.authority_keys.values():
            name = key_id(author.public_key().public_bytes_raw())
            envelopes.append(pack_json(fields | {"signatures": [fields["signatures"][0] | {"keyid": name}]}))
    assert set(ordered(sim, *envelopes)) == {"signature_invalid"}
    assert sections(sim) == before


@pytest.mark.clause("10 distributed replay divergence")
def test_what_was_commanded_once_does_not_work_again(sim):
    """A quarantine, its release, and the release again after the next quarantine: as it is, and signed once more."""
    first, second = sim.quarantine("one", 'Agent::"a"'), sim.quarantine("two", 'Agent::"a"')
    release = Release(**sim.header("let-go"), kind=TargetKind.SUBJECT, id='Agent::"a"', reason="test")
    envelope = sim.envelope(release, "operator-1")
    assert ordered(sim, first, envelope, second, envelope, first) == [
        *("applied", "applied", "applied"),
        *("duplicate_command", "duplicate_command"),
    ]
    kind, payload = payload_type(release), encode_command(release)
    keys = [sim.authority_keys["operator-1"], sim.liar.identity]
    signed = [(_public(key), key.sign(pae(kind, payload))) for key in keys]
    assert ordered(sim, seal(kind, payload, signed)) == ["duplicate_command"]
    sim.run_until(sim.honest_serve)
    assert {sim.core(name).check(REQUEST).reason for name in sim.honest} == {Reason.QUARANTINED}


def _public(key: Any) -> bytes:
    return key.public_key if isinstance(key.public_key, bytes) else key.public_key().public_bytes_raw()


@pytest.mark.clause("6 timestamp-bound synchronization validation")
def test_a_date_in_the_past_brings_back_nothing_that_is_over(sim):
    """A release that its author let expire, and a command that ran once, in entries dated when they were good."""
    quarantine = sim.quarantine("one", 'Agent::"a"')
    good_at = sim.wall
    header = sim.header("let-go") | {"not_after": good_at + 1_000}
    release = sim.envelope(Release(**header, kind=TargetKind.SUBJECT, id='Agent::"a"', reason="test"), "operator-1")
    assert ordered(sim, quarantine) == ["applied"]
    sim.step(2_000)
    assert ordered(sim, sim.quarantine("other")) == ["applied"]
    now = sim.core("node-1").machine.time
    assert ordered(sim, release, quarantine, time=good_at) == ["expired", "duplicate_command"]
    assert ordered(sim, release, time=1) == ["expired"]
    assert sim.core("node-1").machine.time == now, "time stands still, it does not go back"
    sim.run_until(sim.honest_serve)
    assert sim.core("node-2").check(REQUEST).reason is Reason.QUARANTINED


def test_a_date_in_the_future_is_nobodys(sim):
    """It would end what is still good, and keep everybody from cosigning; it enters no honest log."""
    seq, certified = sim.core("node-1").machine.seq, sim.core("node-1").convergence.certified_seq
    sim.liar.propose(sim.quarantine("ahead"), time=sim.wall + HOUR_MS)
    sim.step(300)
    assert {sim.core(name).machine.seq for name in sim.honest} == {seq}
    # They find a leader that writes down the right time.
    sim.step_ms = 5
    sim.run_until(lambda: sim.leader is not None and sim.leader.id != LIAR, limit_ms=10_000)
    sim.govern_honest(sim.quarantine("now"))
    assert sim.core("node-1").convergence.certified_seq > certified
    assert sim.core("node-1").machine.time <= sim.wall


def test_an_answer_of_the_leader_is_no_outcome(sim):
    """It says of a revocation that it was refused, and orders it all the same: nobody takes that for final."""
    envelope = sim.revoke()
    before = sim.tap
    sim.tap = lambda source, target, channel, payload: (
        None if channel == SUBMISSION_CHANNEL and target == LIAR else before(source, target, channel, payload)
    )
    answers = sim.submit("node-1", envelope)
    sim.step(5)
    refusal = {"code": "threshold_unmet", "detail": "no", "digest": digest("envelope", envelope)}
    sim.liar.send("node-1", pack(refusal), SUBMISSION_CHANNEL)
    sim.step(5)
    (answer,) = answers
    assert isinstance(answer, RejectedError)
    assert not answer.definite
    assert ordered(sim, envelope) == ["applied"]
    again = sim.submit("node-1", envelope)
    sim.run_until(lambda: again)
    assert again[0]["outcome"] == "applied"


def test_a_log_of_its_own_stops_who_believes_it_and_nobody_else(sim):
    """`node-1` is cut off; it alone is told, in a term that the liar makes up, that another entry is committed."""
    while sim.elect_honest() == "node-1":
        sim.crash("node-1")
        sim.step(2_000)
        sim.start("node-1")
    others, victim = ["node-2", "node-3"], sim.core("node-1")
    sim.partition("node-1")
    index, term = victim.sequencer.last_index, victim.sequencer.term
    entry = REGULAR + encode_entry(WallMs(sim.wall), sim.quarantine("forked"))
    frame = AppendEntries(
        term=term + 1, commit_index=index + 1, prev_index=index, prev_term=term, entries=((term + 1, entry),)
    )
    answers = sim.submit("node-2", sim.revoke())
    seq = victim.machine.seq + 1
    sim.liar.send("node-1", encode_frame(frame), RAFT)
    sim.run_until(lambda: victim.machine.seq == seq)
    sim.step_ms = 5
    sim.run_until(lambda: answers)
    assert answers[0]["seq"] == seq
    assert victim.machine.root != sim.core("node-2").machine.root
    sim.heal()
    sim.run_until(lambda: victim.convergence.isolation is not None)
    sim.step(1_000)
    assert victim.check(REQUEST).reason is not Reason.REVOKED, "its state does not know of that"
    assert not victim.check(REQUEST).allowed
    assert all(sim.core(name).check(REQUEST).reason is Reason.REVOKED for name in others)
