"""Two roots for one seq convict; nothing else does."""

from __future__ import annotations

import pytest

from govraft.core.codec.note import Note, format_note
from govraft.core.crypto.keys import verify
from govraft.core.evidence.equivocation import evidence_in, prove_equivocation, verify_equivocation
from govraft.errors import CertificateError, VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import SampleCluster

LIE = bytes(32)


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def judge(world: EvidenceSample, first: bytes, second: bytes) -> str:
    genesis = world.sample.genesis
    cluster = bytes.fromhex(genesis.cluster_id)
    return verify_equivocation(first, second, world.machine.electorate, cluster, genesis.origin, verify).id


def test_two_roots_for_one_seq_convict(world) -> None:
    proven = prove_equivocation(world.equivocation(), world.sample.genesis)
    assert (proven.member.id, proven.epoch, proven.seq) == ("n3", 1, 6)
    assert proven.roots == (world.machine.root, LIE)
    assert judge(world, *evidence_in(world.equivocation())) == "n3"
    assert judge(world, *reversed(evidence_in(world.equivocation()))) == "n3"


def test_acks_and_notes_are_alike(world) -> None:
    said = [world.ack("n3", world.probe(6)).encode(), world.certificate(nodes=("n3",))]
    lies = [world.ack("n3", world.probe(6, root=LIE)).encode(), world.certificate(nodes=("n3",), root=LIE)]
    assert {judge(world, one, other) for one in said for other in lies} == {"n3"}


def test_what_an_honest_node_may_sign_convicts_nobody(world) -> None:
    honest = world.ack("n3", world.probe(6)).encode()
    for other in (
        honest,
        world.ack("n3", world.probe(6), time_s=99).encode(),
        world.ack("n3", world.probe(5)).encode(),
        world.ack("n2", world.probe(6, root=LIE)).encode(),
        world.certificate(nodes=("n3",)),
        world.certificate(5, nodes=("n3",)),
        world.certificate(nodes=("n2",), root=LIE),
    ):
        with pytest.raises(CertificateError) as caught:
            judge(world, honest, other)
        assert caught.value.code == "no_equivocation"


def test_what_is_not_signed_convicts_nobody(world) -> None:
    honest = world.ack("n3", world.probe(6)).encode()
    lie = world.ack("n3", world.probe(6, root=LIE)).encode()
    other = EvidenceSample(SampleCluster(name="other"))
    foreign = other.ack("n3", other.probe(6, root=LIE)).encode()
    for forged in (b"", b"\xff", lie[:-1], lie[:-9] + bytes(9), foreign, world.certificate(root=LIE)):
        with pytest.raises(VerificationError):
            judge(world, honest, forged)


def test_a_note_with_a_cosignature_of_something_else_convicts_nobody(world) -> None:
    honest = world.ack("n3", world.probe(6)).encode()
    borrowed = world.cosignature("n3", world.checkpoint(6).encode())
    with pytest.raises(CertificateError, match="no member's"):
        judge(world, honest, format_note(Note(world.checkpoint(6, LIE).encode(), (borrowed,))))


def test_a_proposed_state_is_no_crime(world) -> None:
    """A probe is a question: whoever has lost its log may ask about another root."""
    with pytest.raises(VerificationError):
        judge(world, world.probe(6).encode(), world.probe(6, root=LIE).encode())


def test_the_key_of_its_epoch_counts() -> None:
    world = EvidenceSample()
    world.add_observer("n4")
    proven = prove_equivocation(world.equivocation("n4"), world.sample.genesis)
    assert (proven.member.id, proven.epoch) == ("n4", 2)


def test_another_cluster_is_refused(world) -> None:
    other = EvidenceSample(SampleCluster(name="other"))
    with pytest.raises(VerificationError) as caught:
        prove_equivocation(other.equivocation(), world.sample.genesis)
    assert caught.value.code == "wrong_cluster"
