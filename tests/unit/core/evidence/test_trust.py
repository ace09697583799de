"""What a trust state makes of evidence: keys that left the electorate prove nothing new."""

from __future__ import annotations

import json

import pytest

from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.evidence.epochs import EpochHistory, verify_epochs
from govraft.core.evidence.evidence import Use, prove_evidence
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.evidence.trust_state import Shown
from govraft.core.lineage.proofs import root_up_to
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_worlds import new_members
from govraft.testing.sample import CREATED

NOW = CREATED + 101_000
NEW = ("n3", "n4")


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return new_members()


@pytest.fixture
def thief() -> EvidenceSample:
    """Holds the keys of n1 and n2, and a copy of the lineage of epoch 1."""
    return EvidenceSample()


def outcome(world: EvidenceSample, data: bytes, *, trust=None, **use) -> str:
    """What stands for a file, or the code of its refusal."""
    try:
        return prove_evidence(data, world.sample.genesis, Use(NOW, trust=trust, **use))["trust"]
    except VerificationError as error:
        return error.code


def receipt(world: EvidenceSample, at: int, nodes: tuple[str, ...]) -> bytes:
    return json.dumps(world.receipt(at, lease=world.lease(nodes=nodes))).encode()


def test_two_keys_of_the_founders_permit_nothing_more(world, thief) -> None:
    """Without a trust state they do, and the verdict says on what it rests."""
    forged = thief.permit()
    assert outcome(world, forged) == "genesis"
    assert outcome(world, forged, trust=world.trust()) == "superseded"
    assert outcome(world, forged, trust=world.trust(), is_past=True) == "superseded"
    with pytest.raises(VerificationError) as caught:
        prove_permit(forged, world.sample.genesis, at=NOW, trust=world.trust())
    assert caught.value.code == "superseded"


def test_the_present_electorate_permits(world) -> None:
    permit = world.permit(nodes=NEW, certificate=world.certificate(nodes=NEW))
    assert outcome(world, permit, trust=world.trust()) == "state"
    older = EvidenceSample()
    assert outcome(older, older.permit(), trust=older.trust()) == "state"


def test_a_lower_seq_of_the_trusted_electorate_permits(world) -> None:
    """How old its state may be, `at_least` says."""
    longer = new_members()
    longer.quarantine(10)
    permit = world.permit(nodes=NEW, certificate=world.certificate(nodes=NEW))
    assert outcome(world, permit, trust=longer.trust()) == "state"
    assert outcome(world, permit, trust=longer.trust(), at_least=14) == "superseded"


def test_an_electorate_that_follows_the_trusted_one_permits(world) -> None:
    older = EvidenceSample()
    permit = world.permit(nodes=NEW, certificate=world.certificate(nodes=NEW))
    assert outcome(world, permit, trust=older.trust()) == "state"


def test_another_electorate_for_the_trusted_epoch_is_a_conflict(world, thief) -> None:
    """A forged continuation: epochs 2 to 7 of the thief's own making."""
    thief.remove("n3", nodes=("n1", "n2"))
    assert outcome(world, thief.permit(), trust=world.trust()) == "superseded"
    for change in (thief.add_observer, thief.promote):
        change("n8", nodes=("n1", "n2", "n8"))
    for change in (thief.add_observer, thief.promote):
        change("n9", nodes=("n1", "n2", "n8"))
    thief.remove("n8", nodes=("n1", "n2", "n8"))
    assert thief.machine.epoch == 7
    nodes = ("n1", "n2")
    permit = thief.permit(nodes=nodes, certificate=thief.certificate(nodes=nodes))
    assert outcome(world, permit) == "genesis"
    assert outcome(world, permit, trust=world.trust()) == "conflict"
    assert outcome(world, thief.denial(), trust=world.trust(), is_past=True) == "conflict"
    assert outcome(world, thief.export(("n1", "n2", "n8")), trust=world.trust(), is_past=True) == "conflict"


def test_another_epoch_at_the_trusted_seq(world, thief) -> None:
    """The change comes after the trusted seq, or a later epoch begins before it."""
    while thief.machine.seq < 13:
        thief.quarantine(thief.machine.seq)
    thief.remove("n3", nodes=("n1", "n2"))
    assert outcome(world, thief.denial(), trust=world.trust(), is_past=True) == "conflict"
    assert outcome(world, thief.permit(), trust=world.trust()) == "conflict"
    early = EvidenceSample().trust()
    early = type(early)(early.cluster, early.electorate, 8, world.machine.lineage.root(8))
    permit = world.permit(nodes=NEW, certificate=world.certificate(nodes=NEW))
    assert outcome(world, permit, trust=early) == "conflict"


def test_another_root_at_the_trusted_seq_is_a_conflict(world) -> None:
    trust = world.trust()
    other = type(trust)(trust.cluster, trust.electorate, trust.seq, bytes(32))
    certificate = world.certificate(nodes=NEW)
    for data in (
        world.permit(nodes=NEW, certificate=certificate),
        receipt(world, 13, NEW),
        world.export(NEW),
        world.proof(3, certificate=certificate),
        world.snapshot(certificate=certificate),
        certificate,
    ):
        assert outcome(world, data, trust=trust) == "state"
        assert outcome(world, data, trust=other, is_past=True) == "conflict"
    at_12 = type(trust)(trust.cluster, trust.electorate, 12, bytes(32))
    for data in (
        world.export(NEW),
        world.proof(3, 12, certificate=certificate),
        world.proof(12, certificate=certificate),
    ):
        assert outcome(world, data, trust=at_12, is_past=True) == "conflict"
    # One root that is shown does not hide another one.
    history = EpochHistory(world.sample.genesis)
    history.roots[13] = bytes(32)
    with pytest.raises(VerificationError, match="another root at seq 13"):
        trust.ties(Shown(history, 7, 14, {13: trust.root}))
    # The certificate of the change at seq 12 is in the links.
    assert outcome(world, receipt(world, 13, NEW), trust=at_12) == "conflict"


def test_former_members_that_certify_later_seqs_are_a_conflict(world, thief) -> None:
    """Even on top of the true lineage, their links left out."""
    while thief.machine.seq < 13:
        thief.quarantine(thief.machine.seq)
    for data in (thief.permit(), receipt(thief, 3, ("n1", "n2")), thief.certificate(), thief.proof(3), thief.export()):
        assert outcome(world, data) == "genesis"
        assert outcome(world, data, trust=world.trust(), is_past=True) == "conflict"
    grown = new_members()
    for _ in range(2):
        grown.quarantine(grown.machine.seq)
    forged = grown.proof(3, 13, certificate=grown.certificate(nodes=("n1", "n2")), links=[])
    assert outcome(world, forged) == "genesis"
    assert outcome(world, forged, trust=world.trust()) == "conflict"


def test_what_former_members_signed_is_not_shown_to_have_happened(world, thief) -> None:
    equivocation = thief.equivocation("n1")
    for data in (
        receipt(thief, 3, ("n1", "n2")),
        thief.denial(),
        thief.export(),
        thief.proof(3),
        thief.snapshot(),
        thief.certificate(),
        equivocation,
    ):
        assert outcome(world, data) == "genesis"
        assert outcome(world, data, trust=world.trust()) == "not_shown"
        assert outcome(world, data, trust=world.trust(), is_past=True) == "not_shown"
        with pytest.raises(VerificationError, match="signed by an electorate that has left; not shown to be in the"):
            prove_evidence(data, world.sample.genesis, Use(NOW, trust=world.trust()))


def test_who_still_has_the_key_is_convicted(world, thief) -> None:
    assert outcome(world, world.equivocation("n3"), trust=world.trust()) == "state"
    assert outcome(world, thief.equivocation("n3"), trust=world.trust()) == "not_shown"


def test_exactly_the_trusted_checkpoint_holds_whoever_shows_it(world) -> None:
    """Founders that were there certified the trusted root, in a file without the links since."""
    founders = EvidenceSample()
    trust = world.trust()
    at_6 = type(trust)(trust.cluster, trust.electorate, 6, founders.machine.lineage.root(6))
    assert outcome(world, founders.certificate(), trust=at_6) == "state"
    assert outcome(world, founders.proof(3), trust=at_6) == "state"


def test_a_certificate_without_links_is_judged_by_the_trusted_electorate(world) -> None:
    certificate = world.certificate(nodes=NEW)
    assert outcome(world, certificate) == "certificate_invalid"
    assert outcome(world, certificate, trust=world.trust()) == "state"
    assert outcome(world, world.certificate(nodes=("n3",)), trust=world.trust()) == "certificate_invalid"


def test_the_root_up_to_each_leaf_is_in_its_inclusion_proof(world) -> None:
    lineage = world.machine.lineage
    for size in range(1, world.machine.seq + 1):
        for index in range(size):
            proof = lineage.inclusion_proof(index, size)
            assert root_up_to(world.leaves[index], index, size, proof) == lineage.root(index + 1)


def test_links_tell_the_root_of_each_change(world) -> None:
    history = verify_epochs(world.sample.genesis, world.links)
    assert history.roots == {seq: world.machine.lineage.root(seq) for seq in (7, 8, 9, 10, 11, 12)}
    assert Checkpoint.decode(parse_note(world.links[0].note).body).root == history.roots[7]
