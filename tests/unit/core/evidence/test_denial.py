"""Signed denials: one node's word, and nobody else's."""

from __future__ import annotations

import pytest

from govraft.core.crypto.keys import verify
from govraft.core.evidence.denial import prove_denial, verify_denial
from govraft.core.evidence.statements import DENIAL_TYPE
from govraft.core.model.request import Request
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.sample import SampleCluster


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def refused(world: EvidenceSample, data: bytes, **options) -> str:
    with pytest.raises(VerificationError) as caught:
        prove_denial(data, world.sample.genesis, **options)
    return caught.value.code


def test_a_denial_is_proven(world) -> None:
    assert prove_denial(world.denial(), world.sample.genesis, request=SAMPLE_REQUEST) == world.denial_statement()


def test_another_nodes_signature_is_refused(world) -> None:
    for nodes in (["n2"], ["n1", "n2"], []):
        assert refused(world, world.denial(nodes=nodes)) == "signature_invalid"
    assert refused(world, world.denial(world.denial_statement(node="n9"), nodes=["n1"])) == "signature_invalid"


def test_a_denial_of_another_epoch_is_refused() -> None:
    """Whoever is a member now may have been another node under that key then."""
    world = EvidenceSample()
    envelope = world.seal(DENIAL_TYPE, world.denial_statement(), ["n1"])
    early = world.machine.electorate
    world.add_observer("n4")
    late = world.seal(DENIAL_TYPE, world.denial_statement(), ["n1"])
    for data, electorate in ((envelope, world.machine.electorate), (late, early)):
        with pytest.raises(VerificationError) as caught:
            verify_denial(data, electorate, world.sample.genesis.cluster_id, is_valid=verify)
        assert caught.value.code == "wrong_epoch"


def test_any_changed_byte_fails(world) -> None:
    data = world.denial()
    for place in range(len(data)):
        for change in (data[place] ^ 1, data[place] ^ 0x20):
            refused(world, data[:place] + bytes([change]) + data[place + 1 :])


def test_another_request_cluster_or_epoch_is_refused(world) -> None:
    other = Request(SAMPLE_REQUEST.principal, SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource)
    assert refused(world, world.denial(), request=other) == "request_mismatch"
    assert refused(world, world.denial(), request=Request("x", "y", "z")) == "request_mismatch"
    assert refused(world, EvidenceSample(SampleCluster(name="other")).denial()) == "wrong_cluster"
    assert refused(world, world.denial(world.denial_statement(epoch=2))) == "epoch_unknown"


def test_an_observer_may_deny() -> None:
    world = EvidenceSample(SampleCluster(observers=1))
    statement = world.denial_statement(node="n4")
    assert prove_denial(world.denial(statement), world.sample.genesis) == statement


def test_a_permit_is_no_denial(world) -> None:
    assert refused(world, world.permit()) == "evidence_malformed"
