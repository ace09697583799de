"""Until when an older state can have been served: what a receipt says, and why it may."""

from __future__ import annotations

import json

import pytest

from govraft.core.evidence.receipt import _TIME_MOST_MS, prove_receipt
from govraft.core.model.limits import PERMIT_MS
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED


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


def test_an_ack_from_the_future_proves_nothing(world) -> None:
    """A liar can promise at most the skew, a grant and a second more; not even that without a voter of the quorum."""
    wall, nodes, now_s = CREATED, ("n1", "n2", "n3"), CREATED // 1000
    skew = world.sample.genesis.clock_skew_max_ms
    options = {"nodes": nodes, "wall": wall, "outstanding": ("n3",)}
    assert until(world, times_s=(now_s, now_s, now_s + 3), **options) == (now_s + 4) * 1000 + skew
    with pytest.raises(VerificationError, match="dated long after"):
        until(world, times_s=(now_s, now_s, now_s + 4), **options)
    with pytest.raises(VerificationError, match="dated long after"):
        until(world, times_s=(now_s, now_s, 2**63 - 1), **options)


def test_a_time_that_has_no_date_is_malformed(world) -> None:
    last_s = (_TIME_MOST_MS - PERMIT_MS - world.sample.genesis.clock_skew_max_ms) // 1000 - 1
    assert until(world, times_s=(100, last_s)) <= _TIME_MOST_MS - PERMIT_MS
    for time_s in (last_s + 1, 2**63 - 1):
        with pytest.raises(VerificationError, match="9999") as caught:
            until(world, times_s=(100, time_s))
        assert caught.value.code == "evidence_malformed"


def test_a_time_without_a_cosignature_proves_nothing(world) -> None:
    with pytest.raises(VerificationError, match="invalid cosignature"):
        until(world, times_s=(100, 107), uncosigned=("n2",))
