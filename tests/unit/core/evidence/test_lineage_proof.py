"""Inclusion and consistency, as files."""

from __future__ import annotations

import msgspec
import pytest

from govraft.core.evidence.lineage_proof import EarlierLineage, prove_leaf
from govraft.core.lineage.leaf import Leaf
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import SampleCluster


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def refused(world: EvidenceSample, data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        prove_leaf(data, world.sample.genesis)
    return caught.value.code


def test_each_leaf_and_each_earlier_lineage_is_proven(world) -> None:
    for seq in range(1, 7):
        for earlier in range(7):
            proven = prove_leaf(world.proof(seq, earlier), world.sample.genesis)
            assert (proven.leaf, proven.checkpoint.seq) == (Leaf.decode(world.leaves[seq - 1]), 6)
            root = world.machine.lineage.root(earlier) if earlier else b""
            assert (proven.earlier_seq, proven.earlier_root) == (earlier, root)


def test_each_part_counts(world) -> None:
    lineage = world.machine.lineage
    forged = msgspec.structs.replace(Leaf.decode(world.leaves[2]), outcome="expired").encode()
    for changes in (
        {"leaf": forged},
        {"leaf": world.leaves[3]},
        {"proof": []},
        {"proof": [bytes(32)]},
        {"earlier": EarlierLineage(4, bytes(32), lineage.consistency_proof(4, 6))},
        {"earlier": EarlierLineage(5, lineage.root(4), lineage.consistency_proof(4, 6))},
        {"earlier": EarlierLineage(4, lineage.root(4), [])},
        {"earlier": EarlierLineage(7, lineage.root(4), [])},
        {"earlier": EarlierLineage(0, b"", [])},
    ):
        assert refused(world, world.proof(3, 4, **changes)) == "lineage_inconsistent"
    assert refused(world, world.proof(certificate=world.certificate(nodes=("n1",)))) == "certificate_invalid"
    assert refused(world, world.proof(leaf=b"x")) == "evidence_malformed"
    assert refused(world, b"{}") == "evidence_malformed"
    assert refused(world, EvidenceSample(SampleCluster(name="other")).proof()) == "certificate_invalid"


def test_the_newest_leaf_names_the_epoch_of_its_certificate() -> None:
    """Without the links, those who were a quorum once could certify what they like."""
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    nodes = ("n1", "n2", "n4")
    proven = prove_leaf(world.proof(8, certificate=world.certificate(nodes=nodes)), world.sample.genesis)
    assert proven.checkpoint.epoch == 3
    assert refused(world, world.proof(8, links=[])) == "lineage_inconsistent"
