"""Until when an older state can have been served: what a receipt says, and why it may."""

from __future__ import annotations

import json

import pytest

from govraft.core.evidence.receipt import prove_receipt
from govraft.core.model.limits import PERMIT_MS
from govraft.testing.evidence_sample import EvidenceSample


@pytest.fixture
def world() -> EvidenceSample:
    return EvidenceSample()


def until(world: EvidenceSample, **options) -> int:
    data = json.dumps(world.receipt(lease=world.lease(**options))).encode()
    return prove_receipt(data, world.sample.genesis).nodes_until


def test_the_latest_ack_decides(world) -> None:
    skew = world.sample.genesis.clock_skew_max_ms
    assert until(world, times_s=(100, 100)) == 101_000 + skew
    assert until(world, times_s=(100, 107)) == 108_000 + skew
    # The ack of a holder counts too: until then it may have been serving.
    nodes = ("n1", "n2", "n3")
    assert until(world, nodes=nodes, times_s=(100, 100, 130), outstanding=("n3",)) == 131_000 + skew


def test_answers_and_permits_run_out_later(world) -> None:
    genesis = world.sample.genesis
    proven = prove_receipt(json.dumps(world.receipt()).encode(), genesis)
    assert proven.clients_until == proven.nodes_until + genesis.lease_ms
    assert proven.permits_until == proven.nodes_until + PERMIT_MS


def test_an_ack_names_the_second_in_which_it_was_made() -> None:
    """Else a receipt could not say when a voter had stopped serving."""
    from sim_cluster import SimCluster

    from govraft.core.convergence.messages import Ack, Kind, Signed, decode_kind

    sim = SimCluster()
    made: list[tuple[int, int]] = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == 2 and decode_kind(payload) is Kind.ACK:
            ack = Ack.decode(Signed.decode(payload, Kind.ACK).body)
            made.append((ack.time_s, sim.nodes[source].clock.wall() // 1000))
        return payload

    sim.tap = tap
    sim.step(4_000)
    assert len(made) > 50
    assert all(said == true for said, true in made)
