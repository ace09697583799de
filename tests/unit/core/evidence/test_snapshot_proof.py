"""Snapshots, proven from the genesis by whoever has nothing else."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from govraft.core.evidence.evidence import Use, prove_evidence
from govraft.core.evidence.snapshot_proof import ProvenSnapshot, prove_snapshot
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.snapshot import Snapshot, is_snapshot
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster

FOUR = ("n1", "n2", "n4")


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


@pytest.fixture(scope="module")
def later() -> EvidenceSample:
    """In epoch 3, in which n4 is a voter: n1 and n2 are no quorum any more."""
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    world.quarantine(9)
    return world


def proven(world: EvidenceSample, data: bytes) -> ProvenSnapshot:
    return prove_snapshot(data, world.sample.genesis)


def refused(world: EvidenceSample, data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        proven(world, data)
    return caught.value.code


@pytest.mark.parametrize("seq", range(2, 7))
def test_every_state_is_proven(world: EvidenceSample, seq: int) -> None:
    found = proven(world, world.snapshot(seq))
    assert (found.leaf, found.checkpoint.seq) == (Leaf.decode(world.leaves[seq - 1]), 6)
    assert found.checkpoint.cosigners == ("n1", "n2")
    assert found.records["entities"] == min(seq, 5) - 1


def test_each_part_counts(world: EvidenceSample) -> None:
    sections = Snapshot.decode(world.snapshot()).sections
    for name in sections:
        planted = {**sections, name: {**sections[name], "planted": b"\xc0"}}
        assert refused(world, world.snapshot(sections=planted)) == "lineage_inconsistent"
        for key, value in sections[name].items():
            other = {**sections, name: {**sections[name], key: value + b"\0"}}
            assert refused(world, world.snapshot(sections=other)) == "lineage_inconsistent"
    changes: list[tuple[dict[str, Any], str]] = [
        ({"leaf": world.leaves[4]}, "lineage_inconsistent"),
        ({"leaf": b""}, "evidence_malformed"),
        ({"proof": ()}, "lineage_inconsistent"),
        ({"proof": (bytes(32),) * 3}, "lineage_inconsistent"),
        ({"time": CREATED}, "lineage_inconsistent"),
        ({"certificate": world.certificate(5)}, "lineage_inconsistent"),
        ({"certificate": world.certificate(root=bytes(32))}, "lineage_inconsistent"),
        ({"certificate": world.certificate(nodes=("n1",))}, "certificate_invalid"),
        ({"certificate": b""}, "certificate_invalid"),
    ]
    for change, code in changes:
        assert (change, refused(world, world.snapshot(**change))) == (change, code)
    forged = Snapshot.decode(world.snapshot())
    for seq in (5, 7):
        fields = {name: getattr(forged, name) for name in ("index", "time", "sections", "leaf", "proof")}
        other = Snapshot.make(seq=seq, certificate=forged.certificate, epochs=(), **fields)
        assert refused(world, other.encode()) == "lineage_inconsistent"


def test_an_earlier_state_is_not_the_certified_one(world: EvidenceSample) -> None:
    """The records of seq 4 with the leaf of seq 6, or the other way round."""
    old, new = Snapshot.decode(world.snapshot(4)), Snapshot.decode(world.snapshot())
    assert refused(world, world.snapshot(sections=old.sections)) == "lineage_inconsistent"
    assert refused(world, world.snapshot(4, sections=new.sections)) == "lineage_inconsistent"


def test_another_cluster(world: EvidenceSample) -> None:
    assert refused(world, EvidenceSample(SampleCluster(name="other")).snapshot()) == "certificate_invalid"


def test_a_later_epoch(later: EvidenceSample) -> None:
    certificate = later.certificate(nodes=FOUR)
    found = proven(later, later.snapshot(certificate=certificate))
    assert (found.leaf.epoch, found.checkpoint.epoch) == (3, 3)
    found = proven(later, later.snapshot(6, certificate=certificate))
    assert (found.leaf.epoch, found.checkpoint.epoch) == (1, 3)
    assert refused(later, later.snapshot()) == "certificate_invalid"


def test_the_links_must_lead_to_the_epoch_of_the_leaf(later: EvidenceSample) -> None:
    """Without them, those who were a quorum once could certify what they like."""
    assert refused(later, later.snapshot(epochs=())) == "lineage_inconsistent"
    four = later.certificate(nodes=FOUR)
    assert refused(later, later.snapshot(epochs=later.links[:1], certificate=four)) == "lineage_inconsistent"
    assert refused(later, later.snapshot(epochs=later.links[1:], certificate=four)) == "lineage_inconsistent"


def test_damage_is_found_before_anything_is_parsed(world: EvidenceSample) -> None:
    data = world.snapshot()
    for place in range(0, len(data), 7):
        assert refused(world, data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]) == "evidence_malformed"
    for other in (b"", data[:-1], data[:-33] + sha256(data[:-33]).digest()):
        assert refused(world, other) == "evidence_malformed"


def test_a_snapshot_is_known_by_its_first_bytes(world: EvidenceSample) -> None:
    data = world.snapshot()
    assert is_snapshot(data[:4096])
    shown = prove_evidence(data, world.sample.genesis, Use(CREATED))
    assert (shown["kind"], shown["seq"], shown["leaf"]["seq"]) == ("snapshot", 6, 6)
    assert shown["records"]["authorities"] == len(world.machine.records("authorities"))
    for other in (world.permit(), world.certificate(), b"", b"\x89"):
        assert not is_snapshot(other)
