"""Two certified histories: the node that finds out keeps both, and lists them."""

from __future__ import annotations

from typing import Any

from sim_cluster import Disk
from simulation.arena import Arena

from govraft.core.codec.canonical import unpack
from govraft.core.convergence.messages import Kind, Signed
from govraft.node.evidence_reads import evidence_reads
from govraft.node.isolation import isolation_view
from govraft.ports.store import IsolationRecord


def core(sim: Arena, name: str) -> Any:
    return sim.nodes[name].core


def two_histories() -> Arena:
    """`a`, `b` and `c` certify one; `b` and `c` forget it, as no rule allows, and certify another one."""
    sim = Arena()
    sim.lead("a", "b", "c")
    sim.step(300)
    sim.commit()
    sim.advance("a", "b", "c")
    sim.run_until(lambda: all(core(sim, name).convergence.certified_seq == 2 for name in "abc"))
    sim.partition("a")
    for name in "bc":
        sim.crash(name)
        sim.nodes[name].disk = Disk()
        sim.views[name].log, sim.views[name].target = 1, 0
        sim.start(name)
    sim.commit(log=1)
    sim.advance("b", "c")
    sim.lead("b", "c")
    sim.run_until(lambda: sim.serving("b") and sim.serving("c"))
    sim.heal()
    sim.run_until(lambda: core(sim, "a").convergence.isolation is not None)
    return sim


def test_both_certified_histories_are_kept_and_listed() -> None:
    sim = two_histories()
    record = sim.nodes["a"].disk.isolation or core(sim, "a").convergence.isolation
    kept = unpack(record.evidence, max_bytes=1 << 22)
    for name in ("received", "own_lease"):
        Signed.decode(kept[name], Kind.LEASE)
    view = evidence_reads(core(sim, "a"))["evidence"]({})["isolation"]
    assert view["two_histories"]
    assert view["received"]["kind"] == view["own"]["kind"] == "lease"
    assert view["own"]["seq"] == 2


def test_evidence_of_an_earlier_version_is_listed_as_far_as_it_goes() -> None:
    for evidence in (b"", b"rubbish", b"\x80"):
        view = isolation_view(IsolationRecord("lineage_inconsistent", "found", evidence))
        assert view == {
            "reason": "lineage_inconsistent",
            "detail": "found",
            "received": None,
            "own": None,
            "two_histories": False,
        }
    assert isolation_view(None) is None
