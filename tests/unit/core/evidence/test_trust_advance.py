"""What moves a trust state forward, and what does not."""

from __future__ import annotations

import json

import pytest

from govraft.core.evidence.trust import Trust
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_worlds import new_members

NEW = ("n3", "n4")


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return new_members()


@pytest.fixture(scope="module")
def older() -> EvidenceSample:
    return EvidenceSample()


def receipt(world: EvidenceSample, at: int) -> bytes:
    return json.dumps(world.receipt(at, lease=world.lease(nodes=NEW))).encode()


def refused(trust: Trust, data: bytes, world: EvidenceSample) -> str:
    with pytest.raises(VerificationError) as caught:
        trust.advance(data, world.sample.genesis)
    return caught.value.code


def test_what_grew_out_of_the_trusted_root_moves_it(world, older) -> None:
    """All leaves, a consistency proof, or the very leaf that was trusted last."""
    genesis, certificate = world.sample.genesis, world.certificate(nodes=NEW)
    for trust in (older.trust(), older.trust(3), world.trust(12)):
        seq = trust.seq
        for data in (world.export(NEW), world.proof(3, seq, certificate=certificate)):
            assert trust.advance(data, genesis) == world.trust()
        if seq == 6:
            # Its leaf is that of the trusted seq, so its inclusion proof holds the trusted root.
            assert trust.advance(world.proof(6, certificate=certificate), genesis) == world.trust()
        if seq == 3:
            assert trust.advance(receipt(world, 3), genesis) == world.trust()


def test_only_what_grew_out_of_the_trusted_root_moves_it(world, older) -> None:
    certificate = world.certificate(nodes=NEW)
    for data in (
        receipt(world, 4),
        world.proof(3, certificate=certificate),
        world.proof(3, 5, certificate=certificate),
    ):
        assert refused(older.trust(), data, world) == "not_linked"
    longer = new_members()
    longer.quarantine(10)
    assert refused(world.trust(), longer.certificate(nodes=NEW), world) == "not_linked"
    trust = older.trust()
    other = Trust(trust.cluster, trust.electorate, trust.seq, bytes(32))
    assert refused(other, world.export(NEW), world) == "conflict"


def test_former_members_move_nothing(world, older) -> None:
    thief = new_members()
    for _ in range(2):
        thief.quarantine(thief.machine.seq)
    forged = thief.proof(3, 13, certificate=thief.certificate(nodes=("n1", "n2")), links=[])
    assert refused(world.trust(), forged, world) == "conflict"
    assert refused(world.trust(), older.certificate(), world) == "not_shown"


def test_what_is_not_newer_changes_nothing(world, older) -> None:
    trust, genesis = world.trust(), world.sample.genesis
    for data in (world.export(NEW), world.certificate(nodes=NEW), receipt(world, 3)):
        assert trust.advance(data, genesis) is trust
    later = new_members()
    later.quarantine(10)
    assert later.trust().advance(world.certificate(nodes=NEW), genesis) == later.trust()


def test_a_permit_moves_nothing(world) -> None:
    permit = world.permit(nodes=NEW, certificate=world.certificate(nodes=NEW))
    certificate = world.certificate(nodes=NEW)
    for data in (
        permit,
        world.denial(world.denial_statement(node="n3")),
        world.equivocation(),
        world.snapshot(certificate=certificate),
    ):
        assert refused(world.trust(12), data, world) == "no_trust"
        with pytest.raises(VerificationError) as caught:
            Trust.begin(data, world.sample.genesis)
        assert caught.value.code == "no_trust"
    assert refused(world.trust(12), world.trust().encode(), world) == "no_trust"


def test_a_beginning_rests_on_the_genesis(world, older) -> None:
    genesis = world.sample.genesis
    assert Trust.begin(older.certificate(), genesis) == older.trust()
    assert Trust.begin(world.trust().encode(), genesis) == world.trust()
    for data in (world.export(NEW), receipt(world, 3), world.proof(3, certificate=world.certificate(nodes=NEW))):
        assert Trust.begin(data, genesis) == world.trust()


def test_an_electorate_that_is_shown_to_have_left_is_not_trusted(world, older) -> None:
    """A certificate of epoch 1 beside links to epoch 7."""
    data = older.proof(3, links=world.chain())
    with pytest.raises(VerificationError) as caught:
        Trust.begin(data, world.sample.genesis)
    assert caught.value.code == "no_trust"
