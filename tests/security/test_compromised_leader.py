"""A compromised leader makes certificates and leases: of forged acks, of old ones, of too few, past those who wait.

Each lie is told with everything else true, and once with nothing but the truth, which must be believed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from permit_cluster import REQUEST
from security.stricken_cluster import LIAR, RAFT, Liar, StrickenCluster
from simulation.checkers import StaleAllowError

from govraft.adapters.engine.frames import AppendEntries, decode_frame, encode_frame
from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request

OTHER_ROOT = bytes(31) + b"\1"


@pytest.fixture
def sim() -> StrickenCluster:
    made = StrickenCluster()
    made.elect_liar()
    return made


class Scene:
    """The liar's own node is silent. It has true acks of all, over the very state that it goes on to lie about.

    `node-3` is to be deceived: a lease that it believes prolongs the one that it has.
    """

    def __init__(self, sim: StrickenCluster) -> None:
        self.sim, self.liar = sim, sim.liar
        self.liar.silence(2)
        earlier = self.liar.probe()
        self.earlier = {ack.signer: ack for ack in self.liar.collect(earlier, *sim.honest)}
        assert sorted(self.earlier) == sim.honest
        nonces = {name: Ack.decode(ack.body).nonce for name, ack in self.earlier.items()}
        self.probe = self.liar.probe(grants=nonces, round=1_000_001)
        self.own = self.liar.ack(self.probe)
        self.true_note = Lease.decode(
            Signed.decode(self.liar.lease(earlier, self.earlier.values()), Kind.LEASE).body
        ).note

    def believed(self, payload: bytes) -> bool:
        """Whether `node-3` holds another lease once it has been told."""
        convergence = self.sim.core("node-3").convergence
        before, rejected = convergence.lease, convergence.rejected_messages
        self.liar.send("node-3", payload)
        assert (convergence.lease is before) == (convergence.rejected_messages == rejected + 1)
        return convergence.lease is not before


ACKS: dict[str, Callable[[Liar, Scene, Signed], list[Signed]]] = {
    "too few": lambda liar, scene, one: [scene.own, one],
    "its own twice": lambda liar, scene, one: [scene.own, liar.ack(scene.probe, nonce=b"n" * 16), one],
    "another's twice": lambda liar, scene, one: [scene.own, one, one],
    "in another's name": lambda liar, scene, one: [scene.own, one, liar.ack(scene.probe, as_node="node-2")],
    "another's, says its own": lambda liar, scene, one: [scene.own, one, liar.ack(scene.probe, node="node-2")],
    "a stranger's": lambda liar, scene, one: [scene.own, one, liar.ack(scene.probe, as_node="node-9")],
    "of another probe": lambda liar, scene, one: [scene.own, one, scene.earlier["node-2"]],
    "altered": lambda liar, scene, one: [
        scene.own,
        one,
        msgspec.structs.replace(scene.earlier["node-2"], body=liar.ack(scene.probe, node="node-2").body),
    ],
}


@pytest.mark.clause("10 execution quorum spoofing")
@pytest.mark.clause("7 no quorum bypass")
def test_acks_that_others_did_not_give_make_no_lease(sim):
    scene = Scene(sim)
    (one,) = sim.liar.collect(scene.probe, "node-1")
    for lie, make in ACKS.items():
        acks = make(sim.liar, scene, one)
        assert not scene.believed(sim.liar.lease(scene.probe, acks, scene.true_note)), lie
    # The same with the acks of a quorum: so it was the lie.
    truth = [scene.own, one, *sim.liar.collect(scene.probe, "node-2")]
    assert scene.believed(sim.liar.lease(scene.probe, truth, scene.true_note))


def test_a_note_that_no_quorum_cosigned_certifies_nothing(sim):
    sim.govern(sim.quarantine("other"))
    sim.step(1_500)
    old = sim.liar.checkpoint(sim.core(LIAR).machine.seq - 1)
    scene = Scene(sim)
    liar, probe = sim.liar, scene.probe
    acks = [scene.own, *liar.collect(probe, "node-1", "node-2")]
    electorate = sim.core(LIAR).machine.electorate
    own = Ack.decode(scene.own.body)
    checkpoint = Probe.decode(probe.body).checkpoint
    decoded = [Ack.decode(ack.body) for ack in acks]
    lines = [(a.node, electorate.find(a.node).public_key, a.time_s, a.cosignature) for a in decoded]
    forged = [(name, electorate.find(name).public_key, own.time_s, own.cosignature) for name in sorted(sim.nodes)]
    lies = {
        "too few": liar.note(checkpoint, lines[:2]),
        "its own thrice": liar.note(checkpoint, [*lines[:2], lines[0]]),
        "its own under all names": liar.note(checkpoint, forged),
        "others' over another root": liar.note(msgspec.structs.replace(checkpoint, root=OTHER_ROOT), lines),
        "others' over an older seq": liar.note(old, lines),
        "no signature at all": liar.note(checkpoint, [(LIAR, liar.identity.public_key, 7, bytes(64))]),
    }
    for lie, note in lies.items():
        assert not scene.believed(liar.lease(probe, acks, note)), lie
    assert scene.believed(liar.lease(probe, acks, liar.note(checkpoint, lines)))


def cut_off(sim: StrickenCluster) -> tuple[int, Signed, list[Signed]]:
    """`node-3` is cut off with a lease in its hand; a probe of the next state, and its acks by the other two."""
    liar, others = sim.liar, ("node-1", "node-2")
    sim.partition("node-3")
    liar.silence(2)
    seq = sim.core(LIAR).machine.seq + 1
    liar.propose(sim.revoke())
    sim.run_until(lambda: all(sim.core(name).machine.seq == seq for name in (*others, LIAR)))
    probe = liar.probe()
    return seq, probe, liar.collect(probe, *others)


@pytest.mark.clause("10 trust convergence bypass attempts")
def test_a_lease_past_a_holder_that_may_still_allow_is_nobodys(sim):
    liar = sim.liar
    seq, probe, acks = cut_off(sim)
    assert all("node-3" in Ack.decode(ack.body).outstanding for ack in acks)
    assert sim.core("node-3").check(REQUEST).allowed
    own = liar.ack(probe)
    emptied = [msgspec.structs.replace(Ack.decode(ack.body), outstanding=()).encode() for ack in acks]
    lies = {
        "does not wait": [own, *acks],
        "forges that it moved on": [own, *acks, liar.ack(probe, as_node="node-3")],
        "says so by itself": [own, *acks, liar.ack(probe, node="node-3")],
        "names nobody": [own, *(liar.says(Kind.ACK, body, as_node=f"node-{n}") for n, body in enumerate(emptied, 1))],
        "changes what they said": [
            own,
            *(msgspec.structs.replace(ack, body=body) for ack, body in zip(acks, emptied, strict=True)),
        ],
    }
    for lie, given in lies.items():
        liar.tell_all(liar.lease(probe, given))
        assert max(sim.core(name).convergence.certified_seq for name in sim.honest) < seq, lie
        assert sim.core("node-1").convergence.diagnosis.reason is Reason.QUORUM_UNVERIFIABLE


def test_once_its_lease_is_over_nobody_waits_for_a_holder_that_is_cut_off(sim):
    """So it was not for anything else that nobody believed the lies above."""
    liar = sim.liar
    seq, _, _ = cut_off(sim)
    sim.run_until(lambda: not sim.serving("node-3"))
    sim.step(1_100)
    probe = liar.probe(round=1_000_001)
    acks = liar.collect(probe, "node-1", "node-2")
    assert [Ack.decode(ack.body).outstanding for ack in acks] == [(), ()]
    liar.tell_all(liar.lease(probe, [liar.ack(probe), *acks]))
    assert sim.core("node-1").convergence.certified_seq == seq


def test_nobody_goes_back_for_a_leader(sim):
    """It asks for acks of the state before the revocation, of an unknown root, of another epoch, of a later term."""
    sim.govern(sim.revoke())
    liar, seq = sim.liar, sim.core(LIAR).machine.seq
    liar.silence(2)
    refused = {
        Refusal.REGRESSED: liar.probe(checkpoint=liar.checkpoint(seq - 1)),
        Refusal.DIVERGENT: liar.probe(checkpoint=liar.checkpoint(seq, OTHER_ROOT)),
        Refusal.WRONG_EPOCH: liar.probe(epoch=2),
        Refusal.NOT_LEADER: liar.probe(term=sim.core(LIAR).sequencer.term + 1),
    }
    for refusal, probe in refused.items():
        assert liar.collect(probe, *sim.honest) == [], refusal
        assert {sim.core(name).convergence.last_refusal for name in sim.honest} == {refusal}
    assert {sim.core(name).convergence.cosigner.acked.seq for name in sim.honest} == {seq}


def test_a_leader_that_holds_all_back_has_nobody_allow(sim):
    """It stays leader by Raft and certifies nothing more; whatever it has heard and said before it says again."""
    said: list[bytes] = []
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if LIAR in (source, target) and channel == 2:
            said.append(payload)
        return before(source, target, channel, payload)

    sim.tap = tap
    sim.step(1_500)
    sim.liar.silence(2)
    assert sim.honest_serve()
    # Not one lease longer: it counts from a nonce that is as old as what is said again.
    for _ in range(10):
        for payload in said[-60:]:
            sim.liar.tell_all(payload)
        sim.step(sim.genesis.lease_ms // 10)
    assert sim.leader.id == LIAR
    assert not any(sim.serving(name) for name in sim.honest)
    assert not sim.core("node-1").check(REQUEST).allowed


@pytest.mark.clause("10 governance desynchronization attacks")
def test_what_was_said_before_a_revocation_does_not_undo_it(sim):
    said: list[tuple[int, bytes]] = []
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if LIAR in (source, target):
            said.append((channel, payload))
        return before(source, target, channel, payload)

    sim.tap = tap
    sim.govern(sim.quarantine("somebody"))
    sim.step(500)
    sim.tap = before
    assert sim.core("node-2").check(REQUEST).allowed
    sim.govern(sim.revoke())
    seq = sim.core("node-1").machine.seq
    for channel, payload in said:
        sim.liar.tell_all(payload, channel)
        if sim.rng.random() < 0.1:
            sim.step(5)
    sim.step(200)
    sim.run_until(sim.honest_serve)
    assert sim.roots() == {(seq, sim.core(LIAR).machine.root)}
    for name in sim.honest:
        assert sim.core(name).check(REQUEST).reason is Reason.REVOKED
        assert sim.core(name).check(Request('Agent::"b"', REQUEST.action, REQUEST.resource, {"n": 1})).allowed


# Two faces: it leads a victim on the old state, and everybody else on the new one.


class TwoFaces:
    """To its victim the liar is the leader of the state before; it signs for that too, whatever it has signed since."""

    def __init__(self, sim: StrickenCluster, victim: str) -> None:
        self.sim, self.victim, self.liar = sim, victim, sim.liar
        self.checkpoint = self.liar.checkpoint()
        self.prev: AppendEntries | None = None
        self.round = 1_000_000
        self.nonce: dict[str, bytes] = {}
        before = sim.tap

        def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
            if (source, target) != (sim.liar.id, victim):
                return before(source, target, channel, payload)
            return self._still(payload) if channel == RAFT else None

        sim.tap = tap

    def _still(self, payload: bytes) -> bytes | None:
        """Raft tells the victim, term after term, that nothing has been added."""
        frame = decode_frame(payload)
        if not isinstance(frame, AppendEntries):
            return payload
        if self.prev is None:
            self.prev = frame
        kept = self.prev
        return encode_frame(
            msgspec.structs.replace(
                frame,
                prev_index=kept.prev_index,
                prev_term=kept.prev_term,
                commit_index=min(frame.commit_index, kept.prev_index),
                entries=(),
            )
        )

    def keep(self, ms: int) -> None:
        """Renew the victim's lease on the old state for so long."""
        for _ in range(ms // 100):
            self.round += 1
            probe = self.liar.probe(checkpoint=self.checkpoint, grants=self.nonce, round=self.round)
            acks = self.liar.collect(probe, self.victim)
            if acks:
                self.nonce = {self.victim: Ack.decode(acks[0].body).nonce}
                self.liar.send(self.victim, self.liar.lease(probe, [self.liar.ack(probe), *acks]))
            self.sim.step(80)


def two_faced(sim: StrickenCluster) -> None:
    sim.elect_liar()
    faces = TwoFaces(sim, "node-1")
    faces.keep(500)
    done = sim.submit("node-2", sim.revoke())
    faces.keep(4_000)
    assert done, "the revocation is effective for the others"
    assert not isinstance(done[0], Exception), done


@pytest.mark.clause("10 authorization split-brain conditions")
def test_nobody_is_kept_on_the_state_before_a_revocation():
    sim = StrickenCluster()
    two_faced(sim)
    assert not sim.core("node-1").check(REQUEST).allowed
    assert sim.core("node-2").check(REQUEST).reason is Reason.REVOKED


def test_under_majority_a_lying_leader_can_do_that():
    """What the threat model says of `majority`, and what shows that the attack above is one."""
    with pytest.raises(StaleAllowError, match="node-1 allows"):
        two_faced(StrickenCluster(3, quorum=QuorumRule.MAJORITY))
