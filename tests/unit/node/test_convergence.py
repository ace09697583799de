import msgspec
import pytest
from simulation.arena import CONVERGENCE, Arena, fake_sign, kind_of
from simulation.checkers import ConvergenceWatcher

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest, sign
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.reasons import Reason
from govraft.node.presence import PRESENCE_CHANNEL
from govraft.ports.store import SetCosigner, SetIsolation


def core_of(sim: Arena, name: str = "b"):
    return sim.nodes[name].core


def reign(**options) -> Arena:
    sim = Arena(watcher=ConvergenceWatcher(), **options)
    sim.lead(*sim.nodes)
    sim.step(400)
    assert sim.all_serving()
    return sim


def forge(sim: Arena, name: str, kind: Kind, body: bytes) -> Signed:
    """What a member may sign that does not keep to the rules."""
    key = sim.nodes[name].identity.public_key
    cluster = bytes.fromhex(sim.genesis.cluster_id)
    return sign(kind, body, signer=name, cluster=cluster, signing=lambda message: fake_sign(key, message))


def lying(sim: Arena, name: str, **lie):
    """Let a member sign other acks than it would."""

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes:
        if source != name or kind_of(payload) != "ack":
            return payload
        ack = msgspec.structs.replace(Ack.decode(Signed.decode(payload, Kind.ACK).body), **lie)
        body = Checkpoint(sim.genesis.origin, ack.seq, ack.root).encode()
        key = sim.nodes[name].identity.public_key
        ack = msgspec.structs.replace(ack, cosignature=fake_sign(key, cosigned_message(body, ack.time_s)))
        return forge(sim, name, Kind.ACK, ack.encode()).encode()

    sim.tap = tap


def last(sim: Arena, source: str, kind: str) -> list[bytes]:
    """Record what a node sends from now on."""
    seen: list[bytes] = []

    def tap(from_node: str, to_node: str, channel: int, payload: bytes) -> bytes:
        if from_node == source and kind_of(payload) == kind:
            seen.append(payload)
        return payload

    sim.tap = tap
    return seen


# What a node does in which order.


def test_a_node_stops_serving_before_its_ack_leaves():
    sim = reign()
    core = core_of(sim)
    sim.commit()
    sim.advance("a", "b", "c")
    probes = last(sim, "a", "probe")
    core.settle()
    core.take_effects()
    sim.turn(sim.nodes["a"])
    assert core.convergence.lease.seq == 1
    core.on_frame("a", CONVERGENCE, probes[-1])
    assert core.convergence.lease is None, "given up at once, although the ack is still only an effect"
    effects = core.take_effects()
    assert [kind_of(send.payload) for send in effects.sends] == ["ack"]
    assert [op.record.seq for op in effects.batch.ops if isinstance(op, SetCosigner)] == [2]


def test_the_record_travels_with_the_ack_and_only_once():
    sim = reign()
    core = core_of(sim)
    probes = last(sim, "a", "probe")
    sim.step(150)
    core.take_effects()
    core.on_frame("a", CONVERGENCE, probes[-1])
    effects = core.take_effects()
    assert len(effects.sends) == 1
    assert not [op for op in effects.batch.ops if isinstance(op, SetCosigner)]


def test_a_probe_that_comes_too_early_is_answered_once_the_entry_has_come():
    sim = reign()
    sim.commit()
    sim.advance("a")
    acks = last(sim, "b", "ack")
    sim.step(20)
    assert core_of(sim).convergence.last_refusal is Refusal.BEHIND
    assert not [ack for ack in acks if Ack.decode(Signed.decode(ack, Kind.ACK).body).seq == 2]
    sim.advance("b")
    sim.step(2)
    assert [ack for ack in acks if Ack.decode(Signed.decode(ack, Kind.ACK).body).seq == 2]


def test_a_kept_probe_is_judged_anew():
    sim = reign()
    sim.commit()
    sim.advance("a")
    sim.step(20)
    sim.views["b"].leader, sim.views["b"].term = "c", 9
    acks = last(sim, "b", "ack")
    sim.advance("b")
    sim.step(5)
    assert not acks
    assert core_of(sim).convergence.last_refusal is Refusal.NOT_LEADER


def test_a_new_state_is_probed_at_once_and_an_old_one_at_each_heartbeat():
    sim = reign()
    probes = last(sim, "a", "probe")
    sim.step(500)
    assert 8 <= len(probes) <= 12
    del probes[:]
    sim.commit()
    sim.advance("a")
    sim.step(1)
    assert {Probe.decode(Signed.decode(probe, Kind.PROBE).body).checkpoint.seq for probe in probes} == {2}


def test_who_does_not_lead_takes_no_acks():
    sim = reign()
    acks = last(sim, "b", "ack")
    sim.step(150)
    sim.lead("c", "a", "b")
    core = core_of(sim, "a")
    core.settle()
    core.take_effects()
    core.on_frame("b", CONVERGENCE, acks[-1])
    assert not core.take_effects().sends
    assert core.convergence.rejected_messages == 0


# Hostile input.


@pytest.mark.parametrize("channel", [0, 2, 3, 5, 255])
def test_garbage_is_dropped_and_counted(channel):
    sim = reign()
    core = core_of(sim)
    lease = core.convergence.lease
    frames = [
        b"",
        b"\xff" * 50,
        bytes(2 << 20),
        pack({}),
        pack([1]),
        pack({"b": b"", "g": bytes(64), "k": "probe", "s": "a"}),
    ]
    for frame in frames:
        core.on_frame("a", channel, frame)
    core.settle()
    assert core.convergence.rejected_messages == len(frames)
    assert core.convergence.lease == lease
    assert sim.serving("b")


def test_a_word_of_presence_says_nothing():
    sim = reign()
    core = core_of(sim)
    core.on_frame("a", PRESENCE_CHANNEL, b"")
    assert core.convergence.rejected_messages == 0
    core.on_frame("a", PRESENCE_CHANNEL, b"x")
    assert core.convergence.rejected_messages == 1


def test_garbage_with_a_members_signature_is_dropped_too():
    sim = reign()
    core = core_of(sim)
    for kind in Kind:
        for body in (b"", b"\x80", pack({"probe": 1}), b"\xc6" + bytes(5)):
            core.on_frame("c", CONVERGENCE, forge(sim, "c", kind, body).encode())
    assert core.convergence.rejected_messages == 4 * len(Kind)
    core.settle()


def test_nobody_speaks_for_another():
    sim = reign()
    core = core_of(sim)
    probes = last(sim, "a", "probe")
    sim.step(150)
    core.take_effects()
    core.on_frame("c", CONVERGENCE, probes[-1])
    assert not core.take_effects().sends
    assert core.convergence.rejected_messages == 1


def test_a_probe_of_a_stranger_or_with_a_broken_signature_is_not_answered():
    sim = reign()
    core = core_of(sim)
    probes = last(sim, "a", "probe")
    sim.step(150)
    core.take_effects()
    probe = Signed.decode(probes[-1], Kind.PROBE)
    for bad in (msgspec.structs.replace(probe, signature=bytes(64)), msgspec.structs.replace(probe, signer="x")):
        core.on_frame(bad.signer, CONVERGENCE, bad.encode())
    assert not core.take_effects().sends
    assert core.convergence.rejected_messages == 2


def test_replayed_leases_do_not_keep_a_node_serving():
    sim = reign()
    leases = last(sim, "a", "lease")
    sim.step(300)
    sim.partition("b")
    core = core_of(sim)
    for _ in range(30):
        sim.step(50)
        for lease in leases:
            core.on_frame("a", CONVERGENCE, lease)
    assert not sim.serving("b")
    assert core.convergence.rejected_messages == 0


def test_a_lease_that_was_put_together_from_true_parts_by_another_is_refused():
    sim = reign()
    leases = last(sim, "a", "lease")
    sim.step(150)
    stolen = forge(sim, "c", Kind.LEASE, Signed.decode(leases[-1], Kind.LEASE).body)
    core_of(sim).on_frame("c", CONVERGENCE, stolen.encode())
    assert core_of(sim).convergence.rejected_messages == 1


def test_a_leader_cannot_grant_what_the_acks_did_not():
    sim = reign()
    leases = last(sim, "a", "lease")
    sim.step(150)
    lease = Lease.decode(Signed.decode(leases[-1], Kind.LEASE).body)
    probe = Probe.decode(lease.probe.body)
    more = forge(sim, "a", Kind.PROBE, msgspec.structs.replace(probe, grants={"b": bytes(16)}).encode())
    forged = forge(sim, "a", Kind.LEASE, msgspec.structs.replace(lease, probe=more).encode())
    core_of(sim).on_frame("a", CONVERGENCE, forged.encode())
    assert core_of(sim).convergence.rejected_messages == 1
    assert "0 of 2 voters" in core_of(sim).convergence.diagnosis.message


# Lying voters: fewer than a third of them stop nobody.


@pytest.mark.parametrize(
    "lie",
    [
        {"outstanding": ("ghost",)},
        {"outstanding": ("a", "b", "c", "ghost")},
        {"root": bytes(32)},
        {"seq": 7},
        {"seq": 2**62},
        {"round": 0},
        {"probe": bytes(32)},
        {"nonce": bytes(16)},
        {"time_s": 2**63 - 1},
        {"outstanding": tuple(f"n{n:062}" for n in range(73))},
    ],
    ids=lambda lie: str(lie)[:40],
)
def test_one_liar_of_four_stops_nobody(lie):
    sim = Arena(4, quorum=QuorumRule.BYZANTINE, watcher=ConvergenceWatcher())
    lying(sim, "d", **lie)
    sim.lead("a", "b", "c", "d")
    for seq in range(2, 6):
        sim.step(200)
        sim.commit()
        sim.advance(*sim.nodes)
        sim.run_until(
            lambda seq=seq: all(core_of(sim, name).convergence.certified_seq == seq for name in "abc"), limit_ms=1500
        )
    sim.step(400)
    assert all(sim.serving(name) for name in "abc")
    assert sim.watcher.unverified == 0


def test_a_voter_that_signs_two_roots_is_proven_and_ignored():
    sim = reign(nodes=4, quorum=QuorumRule.BYZANTINE)
    sim.step(150)
    lying(sim, "d", root=bytes(32))
    sim.step(150)
    core = core_of(sim, "a")
    assert set(core.convergence.witness.equivocators) == {"d"}
    assert core.convergence.isolation is None
    first, second = split(core.convergence.witness.equivocators["d"])
    assert (first.node, first.seq) == (second.node, second.seq) == ("d", 1)
    assert first.root != second.root
    sim.commit()
    sim.advance(*sim.nodes)
    sim.step(1200)
    assert core.convergence.certified_seq == 2, "what the liar was granted runs out"


def split(evidence: bytes) -> list[Ack]:
    for place in range(1, len(evidence)):
        try:
            halves = [Signed.decode(part, Kind.ACK) for part in (evidence[:place], evidence[place:])]
        except Exception:
            continue
        return [Ack.decode(half.body) for half in halves]
    raise AssertionError("not two acks")


def test_what_is_remembered_of_acks_is_bounded():
    sim = reign()
    core = core_of(sim, "a")
    key = sim.nodes["b"].identity.public_key
    for seq in range(10**6, 10**6 + 1200):
        body = Checkpoint(sim.genesis.origin, seq, bytes(32)).encode()
        ack = Ack(bytes(32), 1, seq, bytes(32), "b", bytes(16), (), 1, fake_sign(key, cosigned_message(body, 1)))
        core.on_frame("b", CONVERGENCE, forge(sim, "b", Kind.ACK, ack.encode()).encode())
    assert core.convergence.rejected_messages == 0
    assert len(core.convergence.witness) <= 1024


# Divergence.


def forked() -> Arena:
    sim = Arena(watcher=ConvergenceWatcher())
    sim.views["c"].log = 1
    for log in (0, 1):
        sim.commit(log=log)
    sim.lead("a", "b", "c")
    sim.step(400)
    sim.advance("a", "b", "c")
    return sim


def test_a_node_whose_lineage_is_not_the_certified_one_isolates_itself_for_good():
    sim = forked()
    sim.step(1500)
    assert sim.serving("a")
    assert sim.serving("b")
    core = core_of(sim, "c")
    assert core.convergence.isolation is not None
    assert sim.nodes["c"].disk.isolation == core.convergence.isolation
    kept = unpack(core.convergence.isolation.evidence, max_bytes=1 << 20)
    Signed.decode(kept["received"], Kind.LEASE)
    assert kept["own_leaf"] == core.machine.leaf_bytes(2)
    sim.crash("c")
    sim.start("c")
    sim.step(2500)
    assert core_of(sim, "c").convergence.isolation == core.convergence.isolation
    assert core_of(sim, "c").gate.standing().lease is None
    assert core_of(sim, "c").convergence.last_refusal is Refusal.ISOLATED


def test_an_isolated_node_neither_cosigns_nor_leads():
    sim = forked()
    sim.step(1500)
    acks = last(sim, "c", "ack")
    sim.step(300)
    assert not acks
    probes = last(sim, "c", "probe")
    sim.lead("c", "a", "b")
    sim.step(300)
    assert not probes


def test_a_node_that_is_behind_compares_once_it_has_caught_up():
    sim = Arena(watcher=ConvergenceWatcher())
    sim.views["c"].log = 1
    for log in (0, 1):
        sim.commit(log=log)
    sim.lead("a", "b", "c")
    sim.advance("a", "b")
    sim.step(500)
    core = core_of(sim, "c")
    assert core.convergence.certified_ahead is not None
    assert core.convergence.isolation is None
    sim.partition("c")
    sim.advance("c")
    sim.step(1)
    assert core.convergence.isolation is not None
    assert core.convergence.lease is None


def test_a_leader_with_another_state_is_named_not_followed():
    sim = forked()
    sim.lead("c", "a", "b")
    sim.step(50)
    convergence = core_of(sim, "a").convergence
    assert convergence.last_refusal is Refusal.DIVERGENT
    assert convergence.isolation is None, "one node's word is not a quorum's"
    assert convergence.diagnosis.reason is Reason.LINEAGE_INCONSISTENT
    assert convergence.is_distrusted("c")
    assert not convergence.is_distrusted("b")


def test_a_lineage_that_no_longer_has_the_signed_root_isolates(monkeypatch):
    sim = reign()
    core = core_of(sim)
    signed = core.convergence.cosigner.acked
    core.convergence.cosigner.acked = msgspec.structs.replace(signed, root=bytes(32))
    sim.step(150)
    assert core.convergence.isolation.reason == Reason.LINEAGE_INCONSISTENT
    assert core.gate.standing().lease is None


def test_isolation_is_written_and_nothing_is_cosigned_with_it():
    sim = Arena(watcher=ConvergenceWatcher())
    sim.views["c"].log = 1
    for log in (0, 1):
        sim.commit(log=log)
    sim.lead("a", "b", "c")
    sim.advance("a", "b")
    sim.step(500)
    core = core_of(sim, "c")
    sim.advance("c")
    core.settle()
    effects = core.take_effects()
    assert [op.record for op in effects.batch.ops if isinstance(op, SetIsolation)] == [core.convergence.isolation]
    assert not [send for send in effects.sends if kind_of(send.payload) == "ack"]


def test_entries_from_the_future_are_not_cosigned():
    sim = reign()
    for name in sim.nodes:
        sim.nodes[name].clock.wall_step_ms = -5000
    sim.commit_envelopes(sim.put("later"))
    sim.step(500)
    assert core_of(sim).convergence.last_refusal is Refusal.CLOCK_AHEAD
    assert core_of(sim).convergence.certified_seq == 1
    for name in sim.nodes:
        sim.nodes[name].clock.wall_step_ms = 0
    sim.step(1500)
    assert core_of(sim).convergence.certified_seq == 2


def test_a_single_node_certifies_itself():
    sim = Arena(1, watcher=ConvergenceWatcher())
    sim.lead("a")
    sim.step(300)
    assert sim.serving("a")
    assert len(Lease.decode(Signed.decode(last_lease(sim), Kind.LEASE).body).acks) == 1


def last_lease(sim: Arena) -> bytes:
    leases = last(sim, "a", "lease")
    sim.step(150)
    return leases[-1]


def test_a_probe_is_named_by_what_was_signed():
    sim = reign()
    lease = Lease.decode(Signed.decode(last_lease(sim), Kind.LEASE).body)
    assert {Ack.decode(ack.body).probe for ack in lease.acks} == {probe_digest(lease.probe)}


def test_the_first_section_that_differs_gives_the_reason():
    sim = reign()
    core, leaf = core_of(sim), core_of(sim).machine.leaf(1)
    probe = Probe.decode(Signed.decode(record_one(sim, "a", "probe"), Kind.PROBE).body)
    for section, reason in (
        ("policies", Reason.POLICY_DIVERGENCE),
        ("authorities", Reason.AUTHORIZATION_INCONSISTENT),
        ("entities", Reason.RUNTIME_STATE_FRAGMENTED),
        ("attestations", Reason.ATTESTATION_DISAGREEMENT),
        ("audit", Reason.LINEAGE_INCONSISTENT),
    ):
        other = msgspec.structs.replace(probe, sections=leaf.sections | {section: bytes(31) + b"\1"})
        core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.PROBE, other.encode()).encode())
        assert core.convergence.diagnosis.reason is reason
        assert section in core.convergence.diagnosis.message
    unknown = msgspec.structs.replace(probe, checkpoint=msgspec.structs.replace(probe.checkpoint, root=bytes(32)))
    core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.PROBE, unknown.encode()).encode())
    assert core.convergence.diagnosis.reason is Reason.LINEAGE_INCONSISTENT


def record_one(sim: Arena, source: str, kind: str) -> bytes:
    seen = last(sim, source, kind)
    sim.step(150)
    return seen[-1]


def test_a_lease_clears_what_was_wrong_before():
    sim = reign()
    core = core_of(sim)
    core.on_frame("a", CONVERGENCE, b"garbage")
    assert core.convergence.diagnosis.reason is Reason.QUORUM_UNVERIFIABLE
    sim.step(150)
    assert core.convergence.diagnosis.reason is None


def test_distrust_ends():
    sim = forked()
    sim.lead("c", "a", "b")
    sim.step(50)
    sim.lead("a", "b")
    convergence = core_of(sim, "b").convergence
    assert convergence.is_distrusted("c")
    sim.step(10_000)
    assert not convergence.is_distrusted("c")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Kind.PROBE, Reason.UNSIGNED_TRANSITION), (Kind.LEASE, Reason.QUORUM_UNVERIFIABLE)],
)
def test_a_lying_leader_is_replaced(kind, reason):
    """Deaf to a leader that cannot prove what it says, the others are free to elect a better one."""
    sim = reign()
    core = core_of(sim)
    convergence = core.convergence
    true = Signed.decode(record_one(sim, "a", kind.value), kind)
    core.on_frame("c", CONVERGENCE, msgspec.structs.replace(true, signer="c").encode())
    assert not convergence.is_distrusted("c"), "who does not lead is not worth it"
    core.on_frame("a", CONVERGENCE, msgspec.structs.replace(true, signature=bytes(64)).encode())
    assert convergence.is_distrusted("a")
    assert convergence.diagnosis.reason is reason


def test_two_lying_leaders_are_both_remembered():
    sim = reign()
    convergence = core_of(sim).convergence
    for leader in ("a", "c"):
        convergence.distrust(leader, Reason.QUORUM_UNVERIFIABLE, "planted")
    assert convergence.is_distrusted("a")
    assert convergence.is_distrusted("c")
    assert not convergence.is_distrusted("b")


def test_a_lease_of_another_epoch_is_no_lie():
    sim = reign()
    core = core_of(sim)
    lease = Lease.decode(Signed.decode(last_lease(sim), Kind.LEASE).body)
    probe = msgspec.structs.replace(Probe.decode(lease.probe.body), epoch=7)
    other = msgspec.structs.replace(lease, probe=forge(sim, "a", Kind.PROBE, probe.encode()))
    core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.LEASE, other.encode()).encode())
    assert core.convergence.rejected_messages == 1
    assert not core.convergence.is_distrusted("a")
