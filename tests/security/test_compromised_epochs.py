"""A compromised member about members: electorates of its own making, certificates that it keeps back, and its end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from changing_electorate import text
from permit_cluster import REQUEST
from security.stricken_cluster import CONVERGENCE, LIAR, StrickenCluster
from simulation.arena import kind_of

from govraft.adapters.node_key import NodeIdentity
from govraft.core.codec.canonical import pack
from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import Ack, Epochs, Kind, ProvenChange, Signed, probe_digest, sign
from govraft.core.evidence.epochs import verify_epochs
from govraft.core.evidence.equivocation import encode_equivocation_file, prove_equivocation
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine import trie
from govraft.core.machine.electorate_view import EPOCH_KEY, MEMBER_PREFIX, EpochRecord
from govraft.core.machine.records import encode_record
from govraft.core.model.commands import AuditAnchor, MemberEvict, encode_command, payload_type
from govraft.core.model.electorate import Member
from govraft.core.model.reasons import Reason
from govraft.errors import RejectedError, VerificationError
from govraft.node.epochs import link_of
from govraft.ports.store import StoredEpoch

OTHER_ROOT = bytes(31) + b"\1"


@pytest.fixture
def sim() -> StrickenCluster:
    return StrickenCluster()


class Usurper:
    """Makes an electorate of its own cohort, whose keys the attacker has all, and certifies that with all of them."""

    def __init__(self, sim: StrickenCluster, *names: str) -> None:
        self.sim, self.liar = sim, sim.liar
        self.cohort = {name: NodeIdentity.create(name) for name in names}
        self.keys = {**self.cohort, LIAR: self.liar.identity}

    def change(self) -> ProvenChange:
        """The proof of an epoch 2 in which they have everybody's place."""
        machine = self.liar.core.machine
        seq, before = machine.seq + 1, Leaf.decode(machine.leaf_bytes(machine.seq))
        records = self._records(machine.records("electorate"))
        digest = trie.node_digest(trie.build((key.encode(), value) for key, value in records.items()))
        sections = {**before.sections, "electorate": digest}
        leaf = msgspec.structs.replace(before, seq=seq, epoch=2, sections=sections).encode()
        lineage = machine.lineage.copy()
        lineage.append(leaf)
        checkpoint = Checkpoint(self.liar.origin, seq, lineage.root())
        probe = self.liar.probe(checkpoint=checkpoint, epoch=2, sections=sections)
        acks = [self._ack(name, probe, checkpoint) for name in sorted(self.keys)]
        decoded = [Ack.decode(ack.body) for ack in acks]
        lines = [(ack.node, self.keys[ack.node].public_key, ack.time_s, ack.cosignature) for ack in decoded]
        lease = self.liar.lease(probe, acks, self.liar.note(checkpoint, lines))
        return ProvenChange(lease, pack(records), leaf, pack(lineage.inclusion_proof(seq - 1, seq)))

    def _records(self, true: Mapping[str, bytes]) -> dict[str, bytes]:
        kept = {key: value for key, value in true.items() if not key.startswith(MEMBER_PREFIX)}
        kept[EPOCH_KEY] = encode_record(EpochRecord(2, self.sim.genesis.quorum))
        for name, key in self.keys.items():
            member = Member(name, key.public_key, key.certificate, True, "127.0.0.1:7200")
            kept[MEMBER_PREFIX + name] = encode_record(member)
        return kept

    def _ack(self, name: str, probe: Signed, checkpoint: Checkpoint) -> Signed:
        key, time_s = self.keys[name], self.sim.wall // 1000
        ack = Ack(
            probe=probe_digest(probe),
            round=1_000_000,
            seq=checkpoint.seq,
            root=checkpoint.root,
            node=name,
            nonce=bytes(16),
            outstanding=(),
            time_s=time_s,
            cosignature=key.sign(cosigned_message(checkpoint.encode(), time_s)),
        )
        return sign(Kind.ACK, ack.encode(), signer=name, cluster=self.liar.cluster, signing=key.sign)


@pytest.mark.clause("10 trust convergence bypass attempts")
@pytest.mark.clause("7 no unsigned consensus reconciliation")
@pytest.mark.parametrize("cohort", [("node-1", "node-2", "node-3"), ("x-1", "x-2", "x-3"), ()], ids=repr)
def test_nobody_believes_an_electorate_that_a_quorum_did_not_certify(sim, cohort):
    sim.elect_liar()
    change = Usurper(sim, *cohort).change()
    lies = [
        sim.liar.says(Kind.EPOCHS, Epochs(2, (change,)).encode()).encode(),
        change.lease,
        sim.liar.says(Kind.EPOCHS, Epochs(3, (change,)).encode()).encode(),
    ]
    for lie in lies:
        before = [sim.core(name).convergence.rejected_messages for name in sim.honest]
        sim.liar.tell_all(lie)
        after = [sim.core(name).convergence.rejected_messages for name in sim.honest]
        assert after == [count + (lie is not lies[2]) for count in before]
        assert {sim.epoch(name) for name in sim.honest} == {1}
        assert not [member for name in sim.honest for member in sim.core(name).pinned_members if member.id[0] == "x"]
    # Nor does anybody who holds the genesis.
    link = link_of(StoredEpoch(2, 0, *msgspec.structs.astuple(change)))
    with pytest.raises(VerificationError):
        verify_epochs(sim.genesis, [link])
    sim.run_until(sim.honest_serve)
    assert sim.core("node-1").check(REQUEST).allowed


@pytest.mark.clause("7 no partial governance acceptance")
def test_a_certificate_of_an_epoch_that_is_kept_back_lets_nobody_allow_on_either_side(sim):
    """The liar leads the joint round to its end, and tells nobody."""
    sim.elect_liar()
    before = sim.tap
    sim.tap = lambda source, target, channel, payload: (
        None
        if source == LIAR != target and kind_of(payload) in ("lease", "epochs")
        else before(source, target, channel, payload)
    )
    sim.enlist("node-5")
    sim.submit("node-1", sim.add("node-5"))
    sim.run_until(lambda: sim.epoch(LIAR) == 2)
    assert {sim.epoch(name) for name in sim.honest} == {1}
    # Nobody helps it to anything beyond the change.
    sim.liar.propose(sim.quarantine("beyond"))
    sim.run_until(lambda: {sim.core(name).machine.seq for name in sim.nodes if name != "node-5"} == {5})
    assert sim.liar.collect(sim.liar.probe(), *sim.honest) == []
    assert {sim.core(name).convergence.last_refusal for name in sim.honest} == {Refusal.EPOCH_UNCERTIFIED}
    sim.step(2 * sim.genesis.lease_ms)
    assert not any(sim.serving(name) for name in sim.honest)
    # Once it is gone the others certify the change themselves.
    sim.tap = before
    sim.partition(LIAR)
    sim.run_until(lambda: {sim.epoch(name) for name in sim.honest} == {2})
    sim.run_until(sim.honest_serve)


def equivocate(sim: StrickenCluster) -> None:
    """Its node has acked the newest state; the attacker signs another root for the same seq, and shows it around."""
    true, lie = sim.liar.ack(sim.liar.probe()), sim.liar.ack(sim.liar.probe(), root=OTHER_ROOT)
    for name in sim.honest:
        sim.liar.send(name, true.encode())
        sim.liar.send(name, lie.encode())
    sim.step(20)


def evict(sim: StrickenCluster, node: str, first: bytes, second: bytes, by: str = "node-1") -> list:
    """Handed in by a member, with nobody else's signature."""
    header = sim.head()
    command = MemberEvict(**header, id=node, first=text(first), second=text(second))
    kind, payload = payload_type(command), encode_command(command)
    identity = sim.nodes[by].identity
    envelope = seal(kind, payload, [(identity.public_key, identity.sign(pae(kind, payload)))])
    answers = sim.submit(by, envelope)
    sim.run_until(lambda: answers)
    return answers


def test_what_it_signed_twice_is_proven_and_evicts_it(sim):
    sim.elect_honest()
    equivocate(sim)
    for name in sim.honest:
        assert sim.core(name).convergence.witness.equivocators.keys() == {LIAR}
    assert sim.honest_serve(), "one liar of four is no quorum: the others go on"
    # It is kept, through a crash too, and convinces whoever holds the genesis.
    sim.crash("node-2")
    sim.start("node-2")
    (found,) = sim.core("node-2").convergence.witness.found
    file = encode_equivocation_file(found.first, found.second, cluster=sim.genesis.cluster_id, links=[])
    proven = prove_equivocation(file, sim.genesis)
    assert (proven.member.id, set(proven.roots)) == (LIAR, {OTHER_ROOT, sim.core("node-1").machine.root})
    (answer,) = evict(sim, LIAR, found.first, found.second)
    assert answer["outcome"] == "applied"
    sim.run_until(sim.honest_serve)
    assert {sim.epoch(name) for name in sim.honest} == {2}
    assert [member.id for member in sim.core("node-1").machine.electorate.members] == sim.honest
    sim.step(300)
    assert sim.core(LIAR).gate.standing().reason is Reason.REVOKED
    # The cluster goes on without it, and nothing that it signs counts any more.
    sim.govern_honest(sim.quarantine("next"))
    seqs = {name: sim.core(name).convergence.certified_seq for name in sim.honest}
    probe = sim.liar.probe()
    for payload in (probe.encode(), sim.liar.ack(probe).encode(), sim.liar.lease(probe, [sim.liar.ack(probe)])):
        rejected = [sim.core(name).convergence.rejected_messages for name in sim.honest]
        sim.liar.tell_all(payload)
        assert [sim.core(name).convergence.rejected_messages for name in sim.honest] == [n + 1 for n in rejected]
    assert {name: sim.core(name).convergence.certified_seq for name in sim.honest} == seqs
    anchor = AuditAnchor(**sim.head(), node=LIAR, log="0" * 32, size=1, root="0" * 64, proof=())
    (answer,) = sim.submit("node-1", sim.liar.command(anchor))
    assert isinstance(answer, RejectedError)


def test_a_convicted_voter_completes_no_quorum(sim):
    """Of four it takes three: with one honest node down the liar's ack would be the third."""
    leader = sim.elect_honest()
    equivocate(sim)
    sim.partition(next(name for name in sim.honest if name != leader))
    sim.step(2 * sim.genesis.lease_ms)
    assert not any(sim.serving(name) for name in sim.honest)
    assert sim.core(leader).convergence.diagnosis.reason is Reason.AUTHORITY_CONFLICT


def test_nobody_can_be_framed(sim):
    sim.elect_liar()
    heard = sim.liar.overhear(CONVERGENCE)
    sim.step(300)
    true = [Signed.decode(payload, Kind.ACK) for who, payload in heard if who == "node-1" and kind_of(payload) == "ack"]
    sim.govern(sim.quarantine("later"))
    sim.step(300)
    later = [
        Signed.decode(payload, Kind.ACK) for who, payload in heard if who == "node-1" and kind_of(payload) == "ack"
    ]
    probe, liar = sim.liar.probe(), sim.liar
    forged = liar.ack(probe, as_node="node-1", root=OTHER_ROOT)
    altered = msgspec.structs.replace(true[0], body=liar.ack(probe, node="node-1", root=OTHER_ROOT).body)
    own = liar.ack(probe, root=OTHER_ROOT)
    pairs = {
        "forged": (later[-1], forged),
        "altered": (later[-1], altered),
        "of two seqs": (true[0], later[-1]),
        "twice the same": (true[0], true[0]),
        "of one root at two times": (true[0], true[1]),
        "one of each": (later[-1], own),
        "in its name by itself": (liar.ack(probe, node="node-1"), liar.ack(probe, node="node-1", root=OTHER_ROOT)),
    }
    for name, (first, second) in pairs.items():
        file = encode_equivocation_file(first.encode(), second.encode(), cluster=sim.genesis.cluster_id, links=[])
        with pytest.raises(VerificationError):
            prove_equivocation(file, sim.genesis)
        (answer,) = evict(sim, "node-1", first.encode(), second.encode(), by=LIAR)
        assert (answer.code, sim.epoch("node-2")) == ("evidence_invalid", 1), name
    for payload in (forged, altered):
        sim.liar.tell_all(payload.encode())
    assert not any(sim.core(name).convergence.witness.found for name in sim.honest)
