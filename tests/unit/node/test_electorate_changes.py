"""Changes of the electorate in whole nodes, under a sequencer that is not to be trusted."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from changing_electorate import ROOT, ChangingArena, ChangingCluster
from simulation.arena import CONVERGENCE, fake_sign, kind_of

from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import (
    Ack,
    EpochRequest,
    Epochs,
    Kind,
    Lease,
    Probe,
    ProvenChange,
    Signed,
    sign,
)
from govraft.core.model.commands import ProposalOpen
from govraft.core.model.reasons import Reason
from govraft.errors import AvailabilityError, CorruptionError
from govraft.ports.store import AddEpoch


def reign(nodes: int = 3, **options) -> ChangingArena:
    sim = ChangingArena(nodes, **options)
    sim.lead(*sim.nodes)
    sim.step(400)
    assert sim.all_serving()
    return sim


def certified(sim: ChangingArena, epoch: int, *names: str) -> bool:
    return all(sim.epoch(name) == epoch for name in names or sim.nodes)


def effective(sim: ChangingArena, *envelopes: bytes, names: str = "abc") -> None:
    """Commit changes one by one, each until it is certified."""
    for envelope in envelopes:
        epoch = 1 + max(sim.epoch(name) for name in names)
        sim.commit_envelopes(envelope)
        sim.run_until(lambda epoch=epoch: certified(sim, epoch, *names), limit_ms=4000)


def forge(sim: ChangingArena, name: str, kind: Kind, body: bytes) -> bytes:
    key, cluster = sim.nodes[name].identity.public_key, bytes.fromhex(sim.genesis.cluster_id)
    member = sim.nodes[name].member_id
    return sign(kind, body, signer=member, cluster=cluster, signing=lambda data: fake_sign(key, data)).encode()


def drop(sim: ChangingArena, *kinds: str, to: str | None = None, source: str | None = None):
    """Lose all messages of these kinds from now on; returns what was there before."""
    before = sim.tap

    def tap(from_node, to_node, channel, payload):
        hit = kind_of(payload) in kinds and to in (None, to_node) and source in (None, from_node)
        return None if hit else before(from_node, to_node, channel, payload)

    sim.tap = tap
    return before


# The ordinary way.


def test_an_added_node_becomes_an_observer_and_then_a_voter():
    sim = reign()
    sim.enlist("d")
    sim.lead("a", "b", "c", "d")
    effective(sim, sim.add("d"), names="abcd")
    sim.run_until(sim.all_serving, limit_ms=3000)
    assert [member.voter for member in sim.core("a").machine.electorate.members] == [True, True, True, False]
    effective(sim, sim.promote("d"), names="abcd")
    assert sim.core("d").epochs.certified.quorum_count == 3
    sim.commit()
    sim.advance(*sim.nodes)
    sim.run_until(lambda: all(sim.core(name).convergence.certified_seq == 4 for name in sim.nodes), limit_ms=3000)
    assert sim.watcher.unverified == 0


def test_a_removed_node_denies_at_once():
    sim = reign()
    assert sim.serving("c")
    sim.commit_envelopes(sim.remove("c"))
    sim.core("c").settle()
    standing = sim.core("c").gate.standing()
    assert (standing.lease, standing.reason) == (None, Reason.REVOKED)
    assert standing.message == "this node is no member since seq 2"
    sim.run_until(lambda: certified(sim, 2, "a", "b") and sim.serving("a") and sim.serving("b"), limit_ms=3000)
    sim.step(1500)
    assert not sim.serving("c")


def test_a_node_whose_key_was_changed_denies_and_its_heir_serves():
    sim = reign()
    sim.enlist("c'")
    sim.lead("a", "b", "c", "c'")
    effective(sim, sim.rotate("c", sim.nodes["c'"].identity), names="ab")
    sim.run_until(lambda: sim.serving("c'") and sim.serving("a"), limit_ms=5000)
    standing = sim.core("c").gate.standing()
    assert standing.reason is Reason.REVOKED
    assert "`c` has another key than the one that it was started with" in standing.message
    sim.step(1000)
    assert not sim.serving("c")


def test_a_node_that_was_never_a_member_says_so():
    sim = reign()
    sim.enlist("d")
    assert sim.core("d").gate.standing().message == "this node is no member yet at seq 1"
    assert sim.core("d").gate.standing().reason is Reason.REVOKED


# The certificate of a change.


@pytest.mark.clause("3 trust convergence")
def test_a_change_needs_a_quorum_of_both():
    """From one voter to two: the new one's ack is missing, and the old one alone certifies nothing."""
    sim = reign(1)
    sim.enlist("d")
    sim.lead("a", "d")
    effective(sim, sim.add("d"), names="a")
    before = drop(sim, "ack", source="d")
    sim.commit_envelopes(sim.promote("d"))
    sim.step(1500)
    assert certified(sim, 2)
    assert sim.core("a").convergence.certified_seq == 2
    sim.tap = before
    sim.run_until(lambda: certified(sim, 3), limit_ms=3000)


def test_nothing_beyond_a_change_is_probed_before_it_is_certified():
    sim = reign()
    before = drop(sim, "ack", to="a")
    sim.commit_envelopes(sim.remove("c"), sim.put("later"))
    probed = []
    drops = sim.tap
    sim.tap = lambda *given: probed.append(given[3]) or drops(*given)
    sim.step(500)
    seqs = {Probe.decode(Signed.decode(p, Kind.PROBE).body).checkpoint.seq for p in probed if kind_of(p) == "probe"}
    assert seqs == {2}
    sim.tap = before
    sim.run_until(lambda: sim.core("b").convergence.certified_seq == 3, limit_ms=3000)


def test_the_certificate_is_written_before_anything_beyond_it_is_acked():
    sim = reign()
    before = drop(sim, "lease", "epochs", to="b")
    sim.commit_envelopes(sim.remove("c"), sim.put("later"))
    sim.run_until(lambda: sim.epoch("a") == 2, limit_ms=2000)
    sim.step(20)
    core = sim.core("b")
    assert sim.epoch("b") == 1
    assert core.convergence.cosigner.acked.seq == 2
    sim.tap = before
    core.settle()
    core.take_effects()
    message = Epochs(2, sim.core("a").epochs.proofs(2, 1))
    core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, message.encode()))
    core.settle()
    effects = core.take_effects()
    assert [op.epoch.epoch for op in effects.batch.ops if isinstance(op, AddEpoch)] == [2]
    acks = [
        Ack.decode(Signed.decode(s.payload, Kind.ACK).body).seq for s in effects.sends if kind_of(s.payload) == "ack"
    ]
    assert acks == [3], "the kept probe is answered in the same turn, after the batch"
    assert [member.id for member in effects.members] == ["a", "b"]


def test_the_old_leader_leads_its_own_removal_and_no_longer():
    sim = reign()
    probes = []
    before = sim.tap
    sim.tap = lambda *given: probes.append(given) or before(*given)
    effective(sim, sim.remove("a"), names="abc")
    probes.clear()
    sim.step(500)
    assert not [given for given in probes if given[0] == "a" and kind_of(given[3]) == "probe"]
    sim.lead("b", "c")
    sim.run_until(lambda: sim.serving("b") and sim.serving("c"), limit_ms=3000)
    assert not sim.serving("a")


def test_two_changes_are_certified_in_their_order():
    sim = reign()
    sim.commit_envelopes(sim.remove("c"), sim.remove("b"))
    sim.run_until(lambda: certified(sim, 3, "a"), limit_ms=4000)
    assert [row.seq for row in sim.core("a").epochs.rows] == [2, 3]
    sim.run_until(lambda: sim.serving("a"), limit_ms=3000)
    sim.step(500)
    assert not sim.serving("b")


def test_a_note_without_its_acks_begins_no_epoch():
    """The leader puts a note together while `c` may still be serving: it is no certificate of the epoch."""
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    core = sim.core("b")
    change = core.epochs.proofs(2, 1)[0]
    lease = Lease.decode(Signed.decode(change.lease, Kind.LEASE).body)
    silent = [msgspec.structs.replace(Ack.decode(ack.body), outstanding=("c",)) for ack in lease.acks[:2]]
    acks = [Signed.decode(forge(sim, ack.node, Kind.ACK, ack.encode()), Kind.ACK) for ack in silent]
    without = forge(sim, "a", Kind.LEASE, Lease(lease.probe, tuple(acks), lease.note).encode())
    empty = forge(sim, "a", Kind.LEASE, Lease(lease.probe, (), lease.note).encode())
    for forged in (without, empty):
        node = lagging(sim)
        message = Epochs(2, (msgspec.structs.replace(change, lease=forged),))
        node.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, message.encode()))
        assert node.epochs.certified.epoch == 1
    node = lagging(sim)
    node.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, Epochs(2, (change,)).encode()))
    assert node.epochs.certified.epoch == 2


def lagging(sim: ChangingArena):
    """Node `c` as it was at the genesis."""
    node = sim.nodes["c"]
    node.disk, node.life = type(node.disk)(), 0
    sim.views["c"].target = 0
    sim.start("c")
    return node.core


@pytest.mark.parametrize("part", ["lease", "records", "leaf", "proof"])
def test_each_part_of_a_proof_counts(part):
    sim = reign()
    effective(sim, sim.remove("b"), names="ac")
    change = sim.core("a").epochs.proofs(2, 1)[0]
    spoiled = msgspec.structs.replace(change, **{part: getattr(change, part)[:-1] + b"\x7f"})
    node = lagging(sim)
    node.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, Epochs(2, (spoiled,)).encode()))
    assert node.epochs.certified.epoch == 1
    assert node.convergence.rejected_messages == 1


def test_at_the_change_everybody_keeps_the_certificate_of_both():
    """Renewals need the new members alone, and would convince nobody who knows only the old ones."""
    sim = reign()
    sim.enlist("b'")
    sim.lead("a", "b", "c", "b'")
    effective(sim, sim.rotate("b", sim.nodes["b'"].identity), names="ac")
    sim.partition("b", "c")
    sim.step(500)
    core = sim.core("a")
    assert core.gate.standing().lease.seq == 2
    assert core.convergence.certified_note == core.epochs.certified_note
    assert core.convergence.lease.note == core.epochs.certified_note


def test_who_cannot_follow_a_renewal_asks_and_accuses_nobody():
    sim = reign()
    sim.enlist("b'")
    sim.lead("a", "b", "c", "b'")
    before = drop(sim, "lease", "epochs", to="c")
    drop(sim, "ack", source="c")
    drop(sim, "ack", source="b'")
    sim.commit_envelopes(sim.rotate("b", sim.nodes["b'"].identity))
    sim.step(100)
    assert not sim.epoch("a") == 2, "neither the old members nor the new ones are a quorum"
    sim.tap = before
    drop(sim, "lease", "epochs", to="c")
    sim.run_until(lambda: sim.epoch("a") == 2, limit_ms=1000)
    sim.tap = before
    drop(sim, "epochs", to="c")
    drop(sim, "ack", source="c")
    drop(sim, "ack", source="b")
    sim.step(400)
    convergence = sim.core("c").convergence
    assert sim.epoch("c") == 1
    assert convergence.rejected_messages > 0
    assert not convergence.is_distrusted("a")
    assert convergence.diagnosis.reason is Reason.GOVERNANCE_DESYNCHRONIZED
    sim.tap = before
    sim.run_until(lambda: sim.epoch("c") == 2, limit_ms=1000)


# Those who were away.


def grown(*, away: str = "c") -> ChangingArena:
    """Five changes that `away` does not hear of: `b` leaves, `d` and `e` come and vote."""
    sim = reign()
    sim.partition(away)
    sim.enlist("d")
    sim.enlist("e")
    sim.lead("a", "b", "d", "e")
    sim.views[away].leader = None
    for place, make in enumerate(
        [lambda: sim.add("d"), lambda: sim.promote("d"), lambda: sim.add("e"), lambda: sim.promote("e")]
    ):
        names = "abd" if place < 2 else "abde"
        sim.commit_envelopes(make())
        sim.views[away].target = 0
        sim.run_until(lambda place=place, names=names: certified(sim, place + 2, *names), limit_ms=6000)
    return sim


def test_a_node_that_was_away_learns_all_epochs_and_then_the_entries():
    sim = grown()
    assert sim.epoch("c") == 1
    assert "e" not in {member.id for member in sim.core("c").pinned_members}
    sim.lead("e", "a", "b", "d")
    sim.heal()
    sim.run_until(lambda: sim.epoch("c") == 5, limit_ms=8000)
    assert sim.core("c").machine.seq == 1
    assert {member.id for member in sim.core("c").pinned_members} == set("abcde")
    sim.advance("c")
    sim.views["c"].leader, sim.views["c"].term = "e", sim.views["e"].term
    sim.run_until(lambda: sim.serving("c"), limit_ms=5000)
    assert sim.core("c").convergence.isolation is None
    assert [row.seq for row in sim.nodes["c"].disk.epochs] == [2, 3, 4, 5]


def test_it_learns_them_too_when_it_has_the_entries_already():
    sim = grown()
    sim.advance("c")
    sim.step(20)
    assert len(sim.core("c").epochs.waiting) == 4
    sim.heal()
    sim.run_until(lambda: sim.epoch("c") == 5, limit_ms=8000)
    assert not sim.core("c").epochs.waiting
    sim.lead("a", "b", "c", "d", "e")
    sim.run_until(sim.all_serving, limit_ms=5000)


def test_answers_are_few_and_only_of_what_is_asked():
    sim = grown()
    core = sim.core("a")
    core.take_effects()
    for first, epochs in ((4, [4, 5]), (6, None), (0, None), (2**60, None)):
        sim.step(200)
        core.take_effects()
        core.on_frame("b", CONVERGENCE, forge(sim, "b", Kind.EPOCH_REQUEST, EpochRequest(first).encode()))
        core.on_frame("b", CONVERGENCE, forge(sim, "b", Kind.EPOCH_REQUEST, EpochRequest(first).encode()))
        sent = [s for s in core.take_effects().sends if kind_of(s.payload) == "epochs"]
        assert len(sent) == (epochs is not None)
        for send in sent:
            message = Epochs.decode(Signed.decode(send.payload, Kind.EPOCHS).body)
            assert [message.first + place for place in range(len(message.changes))] == epochs


def test_an_epoch_that_nobody_asked_for_or_out_of_order_changes_nothing():
    sim = grown()
    core = sim.core("c")
    changes = sim.core("a").epochs.proofs(2, 9)
    for first, part in ((3, changes[1:]), (2, changes[1:2]), (1, changes[:1])):
        core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, Epochs(first, part).encode()))
        assert core.epochs.certified.epoch == 1
    core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, Epochs(2, changes).encode()))
    core.on_frame("a", CONVERGENCE, forge(sim, "a", Kind.EPOCHS, Epochs(2, changes).encode()))
    assert core.epochs.certified.epoch == 5


def test_garbage_in_place_of_proofs_is_dropped_and_counted():
    sim = reign()
    core = sim.core("b")
    junk = ProvenChange(b"", b"\xff", b"x", b"\x80")
    for body in (Epochs(2, (junk,)).encode(), b"", b"\x80"):
        core.on_frame("c", CONVERGENCE, forge(sim, "c", Kind.EPOCHS, body))
    assert core.convergence.rejected_messages == 3
    assert sim.serving("b")


# Crashes.


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_crash_between_the_entry_and_its_certificate(name):
    sim = reign()
    before = drop(sim, "lease")
    sim.commit_envelopes(sim.remove("c"))
    sim.step(50)
    assert sim.core(name).epochs.uncertified == 2
    sim.crash(name)
    sim.step(50)
    sim.tap = before
    sim.start(name)
    assert (sim.core(name).epochs.uncertified, sim.epoch(name)) == (2, 1)
    sim.run_until(lambda: certified(sim, 2, "a", "b") and sim.serving("a") and sim.serving("b"), limit_ms=6000)


def test_what_was_certified_is_known_after_a_crash():
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    effective(sim, sim.remove("c"), names="ab")
    sim.crash("b")
    sim.start("b")
    core = sim.core("b")
    assert (core.epochs.certified.epoch, core.epochs.waiting) == (3, [])
    assert core.convergence.certified_seq == 3
    assert core.convergence.certified_note == sim.core("a").epochs.certified_note
    assert {member.id for member in core.pinned_members} == {"a", "b", "d"}


def test_a_leader_that_restarts_at_the_change_renews_it_and_the_others_follow():
    """It alone has the certificate when it dies: the others ask it for that, as they cannot follow its renewals."""
    sim = reign()
    before = drop(sim, "lease", "epochs", to="b")
    sim.commit_envelopes(sim.remove("c"))
    sim.run_until(lambda: sim.epoch("a") == 2, limit_ms=2000)
    sim.crash("a")
    sim.start("a")
    assert (sim.epoch("a"), sim.epoch("b")) == (2, 1)
    sim.tap = before
    sim.lead("a", "b")
    sim.run_until(lambda: sim.epoch("b") == 2 and sim.serving("a") and sim.serving("b"), limit_ms=5000)
    assert not sim.core("b").convergence.is_distrusted("a")


def test_a_store_that_contradicts_its_epochs_is_refused():
    sim = reign()
    effective(sim, sim.remove("c"), names="ab")
    row = sim.nodes["b"].disk.epochs[0]
    for lie in (
        msgspec.structs.replace(row, seq=3),
        msgspec.structs.replace(row, epoch=3),
        msgspec.structs.replace(row, lease=b""),
        msgspec.structs.replace(row, records=b"\x80"),
        msgspec.structs.replace(row, records=b"\xc0"),
        msgspec.structs.replace(row, leaf=row.leaf[:-1] + b"\0"),
        msgspec.structs.replace(row, proof=b"\x90"),
    ):
        sim.crash("b")
        sim.nodes["b"].disk.epochs = [lie]
        with pytest.raises(CorruptionError, match="epoch"):
            sim.start("b")


def test_a_store_with_other_entries_than_its_epochs_is_refused():
    sim = reign()
    effective(sim, sim.remove("c"), names="ab")
    other = reign()
    other.commit_envelopes(other.put("x"), other.put("y"))
    other.step(300)
    disk = other.nodes["b"].disk
    disk.epochs = list(sim.nodes["b"].disk.epochs)
    assert other.genesis == sim.genesis
    other.crash("b")
    with pytest.raises(CorruptionError, match="epoch 2 is not that"):
        other.start("b")
    # The same without leaves: the replay comes to another electorate.
    twin = reign()
    twin.commit_envelopes(twin.remove("a"))
    twin.step(50)
    disk.leaves, disk.cosigner = [], None
    disk.journal, disk.hard_state = twin.nodes["b"].disk.journal, twin.nodes["b"].disk.hard_state
    with pytest.raises(CorruptionError, match="electorate certified at seq 2"):
        other.start("b")


def test_a_node_that_comes_to_another_electorate_isolates_itself():
    sim = reign()
    effective(sim, sim.remove("c"), names="ab")
    proof = Epochs(2, sim.core("a").epochs.proofs(2, 1))
    fork = reign()
    core = fork.core("b")
    core.on_frame("a", CONVERGENCE, forge(fork, "a", Kind.EPOCHS, proof.encode()))
    assert core.epochs.certified.epoch == 2
    fork.commit_envelopes(fork.remove("a"))
    fork.step(20)
    assert core.convergence.isolation.reason == Reason.LINEAGE_INCONSISTENT
    assert core.gate.standing().lease is None


def test_a_certificate_of_another_electorate_isolates_who_came_to_his_own():
    sim = reign()
    effective(sim, sim.remove("c"), names="ab")
    proof = Epochs(2, sim.core("a").epochs.proofs(2, 1))
    fork = reign()
    core = fork.core("b")
    drop(fork, "lease")
    fork.commit_envelopes(fork.remove("a"))
    fork.step(20)
    core.on_frame("c", CONVERGENCE, forge(fork, "c", Kind.EPOCHS, proof.encode()))
    assert core.epochs.certified.epoch == 1
    assert core.convergence.isolation is not None


# What the leader proposes.


def submitted(sim, name, envelope):
    answers = []
    sim.core(name).submit(envelope, wait="effective", timeout_ms=3000, done=answers.append)
    sim.core(name).settle()
    return answers


def test_an_observer_that_does_not_keep_up_is_not_promoted():
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    answer = submitted(sim, "a", sim.promote("d"))[0]
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("member_not_synced", True)
    sim.lead("a", "b", "c", "d")
    sim.run_until(lambda: sim.serving("d"), limit_ms=3000)
    assert not submitted(sim, "a", sim.promote("d"))


def test_a_ballot_that_would_promote_it_is_not_proposed_either():
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    # One root key is the threshold here: whoever opens the proposal executes it.
    fields = {"command": "member.promote", "body": {"id": "d"}, "author": ROOT, "epoch": 2, "sequence": 1}
    head = sim.head()
    opening = sim.sealed(ProposalOpen(**head, **fields, expires=head["not_after"]))
    answer = submitted(sim, "a", opening)[0]
    assert (answer.code, answer.definite) == ("member_not_synced", True)
    sim.lead("a", "b", "c", "d")
    sim.run_until(lambda: sim.serving("d"), limit_ms=3000)
    effective(sim, opening)
    assert sim.core("a").machine.electorate.find("d").voter


def test_an_earlier_reign_counts():
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    sim.lead("a", "b", "c", "d")
    sim.run_until(lambda: sim.serving("d"), limit_ms=3000)
    answers = submitted(sim, "a", sim.promote("d"))
    assert not answers
    # Nobody reigns that it knows of; when it does again, the observer has long been silent.
    sim.views["a"].leader = None
    sim.step(1_500)
    sim.lead("a", "b", "c")
    sim.run_until(lambda: answers, limit_ms=2_000)
    assert answers[0].definite is False


def test_a_follower_hears_of_it_from_the_leader():
    sim = reign()
    sim.enlist("d")
    effective(sim, sim.add("d"))
    answers = submitted(sim, "b", sim.promote("d"))
    sim.run_until(lambda: answers, limit_ms=1000)
    assert (answers[0].code, answers[0].definite) == ("member_not_synced", False)


def test_a_certificate_that_is_none_is_not_proposed():
    sim = reign()
    sim.enlist("d")
    good = sim.nodes["d"].identity
    sim.nodes["d"].identity = Spoiled(good.public_key, b"not X.509 " + good.public_key, good.sign)
    answer = submitted(sim, "a", sim.add("d"))[0]
    assert (answer.code, answer.definite) == ("member_invalid", True)


class Spoiled(NamedTuple):
    """An identity whose certificate is none."""

    public_key: bytes
    certificate: bytes
    sign: Callable[[bytes], bytes]


def test_nothing_is_proposed_while_a_change_waits_for_its_certificate():
    sim = ChangingCluster(3)
    sim.run_until(sim.all_serving)
    leader = sim.leader
    before = drop(sim, "ack")
    other = next(name for name in sim.nodes if name != leader.id)
    sim.submit(leader.id, sim.remove(other))
    sim.run_until(lambda: leader.core.epochs.uncertified is not None)
    last = leader.core.sequencer.last_index
    answers = sim.submit(leader.id, sim.put("later"))
    sim.step(1500)
    assert leader.core.sequencer.last_index == last
    sim.tap = before
    sim.run_until(lambda: answers)
    assert answers[0]["outcome"] == "applied"


def test_refusals_are_named():
    sim = reign()
    before = drop(sim, "lease", to="b")
    sim.commit_envelopes(sim.remove("c"), sim.put("later"))
    sim.run_until(lambda: sim.epoch("a") == 2, limit_ms=2000)
    drop(sim, "epochs", to="b")
    sim.step(200)
    assert sim.core("b").convergence.last_refusal is Refusal.EPOCH_UNCERTIFIED
    sim.tap = before
