"""What a receipt proves: that a command has its place, and since when nobody can have missed it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from govraft.core.convergence.messages import Kind, Probe, Signed
from govraft.core.evidence.receipt import prove_receipt
from govraft.core.lineage.leaf import Leaf
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster


@pytest.fixture
def world() -> EvidenceSample:
    return EvidenceSample()


def prove(world: EvidenceSample, fields: dict[str, object]):
    return prove_receipt(json.dumps(fields, indent=1).encode(), world.sample.genesis)


@pytest.mark.clause("6 authorization convergence proofs")
def test_an_honest_receipt_is_proven(world) -> None:
    for seq in range(2, 6):
        proven = prove(world, world.receipt(seq))
        assert (proven.command, proven.leaf.seq, proven.command_id) == ("quarantine", seq, f"c{seq - 1}")
        assert proven.payload["id"] == f'Agent::"{seq - 1}"'
        assert (proven.certified_seq, proven.root) == (6, world.machine.root)
        assert proven.voters == ("n1", "n2")
    assert prove(world, world.receipt(6)).leaf.outcome == "already_quarantined"


def test_a_leader_whose_clock_was_behind_does_not_spoil_the_proof(world) -> None:
    world.apply_envelope(world.sample.sign(world_command(world, 9), "olga"), time=CREATED + 4_500)
    assert prove(world, world.receipt(7)).leaf.seq == 7


def world_command(world: EvidenceSample, number: int):
    from govraft.core.model.commands import Quarantine, TargetKind

    return Quarantine(**world.sample.header(), kind=TargetKind.SUBJECT, id=f'Agent::"{number}"', reason="x")


def test_another_envelope_is_refused(world) -> None:
    with pytest.raises(VerificationError, match="envelope"):
        prove(world, world.receipt(3, envelope=world.envelopes[3], command_id="c3"))


def test_a_leaf_that_is_not_certified_is_refused(world) -> None:
    leaf = Leaf.decode(world.leaves[5])
    forged = Leaf(**{name: getattr(leaf, name) for name in leaf.__struct_fields__} | {"outcome": "applied"}).encode()
    with pytest.raises(VerificationError):
        prove(world, world.receipt(6, leaf=forged, outcome="applied"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 4},
        {"outcome": "expired"},
        {"certified_seq": 5},
        {"certified_seq": 0},
        {"command_id": "c1"},
        {"proof": []},
        {"proof": [b"short"]},
        {"lease": b""},
        {"leaf": b""},
    ],
)
def test_what_is_said_must_be_what_is_proven(world, changes: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        prove(world, world.receipt(3, **changes))


def test_too_few_acks_are_no_proof(world) -> None:
    with pytest.raises(VerificationError, match="1 of 2"):
        prove(world, world.receipt(3, lease=world.lease(nodes=("n1",))))


def test_a_silent_outstanding_holder_is_no_proof(world) -> None:
    """A certificate would do; but n3 may still be serving an older state."""
    with pytest.raises(VerificationError, match="n3"):
        prove(world, world.receipt(3, lease=world.lease(outstanding=("n3",))))
    prove(world, world.receipt(3, lease=world.lease(nodes=("n1", "n2", "n3"), outstanding=("n3",))))


def test_a_lease_on_an_older_state_is_no_proof(world) -> None:
    proof = world.machine.lineage.inclusion_proof(2, 2 + 1)
    with pytest.raises(VerificationError):
        prove(world, world.receipt(5, lease=world.lease(4), certified_seq=4))
    prove(world, world.receipt(3, lease=world.lease(3), certified_seq=3, proof=proof))


class FormerQuorum(EvidenceSample):
    """Voters that lead on as if the electorate had not changed, and show no change of it."""

    def probe(self, seq: int, **options: Any) -> Signed:
        content = Probe.decode(super().probe(seq, **options).body)
        return self._message(Kind.PROBE, msgspec.structs.replace(content, epoch=1).encode(), content.leader)

    def chain(self) -> list[dict[str, Any]]:
        return []


def test_a_former_quorum_makes_no_receipts() -> None:
    world = FormerQuorum()
    world.add_observer("n4")
    world.quarantine(9)
    with pytest.raises(VerificationError, match="leaf is of epoch 2"):
        prove(world, world.receipt(8))
    assert prove(world, world.receipt(6)).leaf.epoch == 1


def test_other_clusters_are_refused(world) -> None:
    other = EvidenceSample(SampleCluster(name="other"))
    with pytest.raises(VerificationError, match="another cluster"):
        prove_receipt(json.dumps(world.receipt()).encode(), other.sample.genesis)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 5000, b'{"format":"govraft.receipt.v1"}'])
def test_junk_is_refused(world, data: bytes) -> None:
    with pytest.raises(VerificationError):
        prove_receipt(data, world.sample.genesis)


@pytest.mark.parametrize("field", ["leaf", "proof", "envelope", "format", "cluster", "lease", "epochs"])
def test_wrongly_typed_and_garbled_fields_are_refused(world, field: str) -> None:
    for value in (7, "é", "====", None, ["x"]):
        with pytest.raises(VerificationError):
            prove(world, world.receipt() | {field: value})


def test_a_command_for_another_cluster_gets_no_receipt_here(world) -> None:
    """Its rejection is certified, but whoever reads `quarantine` in a receipt takes it for one of this cluster."""
    import msgspec

    command = msgspec.structs.replace(world_command(world, 8), cluster="f" * 64)
    assert world.apply(command, "olga").outcome.code == "wrong_cluster"
    with pytest.raises(VerificationError, match="another cluster"):
        prove(world, world.receipt(7, command_id=command.command_id))
