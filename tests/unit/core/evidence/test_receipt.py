from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from govraft.core.evidence.receipt import encode_receipt_file, prove_receipt
from govraft.core.lineage.leaf import Leaf
from govraft.errors import VerificationError
from govraft.testing.sample import CREATED, SampleCluster


def receipt_of(history, at: int = 3, **changes: object) -> dict[str, object]:
    machine = history.machine
    answer = SimpleNamespace(
        command_id=f"c{at - 1}",
        outcome=Leaf.decode(history.leaves[at - 1]).outcome,
        seq=at,
        certified_seq=machine.seq,
        leaf=history.leaves[at - 1],
        proof=machine.lineage.inclusion_proof(at - 1, machine.seq),
        certificate=history.certify(machine.seq, machine.root),
    )
    for name, value in changes.items():
        setattr(answer, name, value)
    cluster = history.sample.genesis.cluster_id
    return encode_receipt_file(answer, cluster=cluster, envelope=history.envelopes[at - 1])


def prove(history, fields: dict[str, object]):
    return prove_receipt(json.dumps(fields).encode(), history.sample.genesis)


def test_an_honest_receipt_is_proven(history) -> None:
    for seq in range(2, 6):
        proven = prove(history, receipt_of(history, seq))
        assert (proven.command, proven.leaf.seq, proven.command_id) == ("quarantine", seq, f"c{seq - 1}")
        assert proven.payload["id"] == f'Agent::"{seq - 1}"'
    assert prove(history, receipt_of(history, 6)).leaf.outcome == "already_quarantined"


def test_a_leader_whose_clock_was_behind_does_not_spoil_the_proof(history) -> None:
    history.add(9, CREATED + 4_500)  # The machine's time is 5,000 past its creation by now.
    assert prove(history, receipt_of(history, 7)).leaf.seq == 7


def test_another_envelope_is_refused(history) -> None:
    fields = receipt_of(history, 3)
    fields["envelope"] = receipt_of(history, 4)["envelope"]
    fields["command_id"] = "c3"
    with pytest.raises(VerificationError, match="envelope"):
        prove(history, fields)


def test_a_leaf_that_is_not_certified_is_refused(history) -> None:
    leaf = Leaf.decode(history.leaves[5])
    forged = Leaf(**{name: getattr(leaf, name) for name in leaf.__struct_fields__} | {"outcome": "applied"}).encode()
    with pytest.raises(VerificationError):
        prove(history, receipt_of(history, 6, leaf=forged, outcome="applied"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 4},
        {"outcome": "expired"},
        {"certified_seq": 5},
        {"command_id": "c1"},
        {"proof": []},
        {"proof": [b"short"]},
        {"certificate": b""},
        {"leaf": b""},
    ],
)
def test_what_is_said_must_be_what_is_proven(history, changes: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        prove(history, receipt_of(history, 3, **changes))


def test_too_few_cosigners_and_other_clusters_are_refused(history) -> None:
    machine = history.machine
    with pytest.raises(VerificationError):
        prove(history, receipt_of(history, certificate=history.certify(machine.seq, machine.root, signers=1)))
    with pytest.raises(VerificationError, match="another cluster"):
        prove_receipt(json.dumps(receipt_of(history)).encode(), SampleCluster(name="other").genesis)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 5000, b'{"format":"govraft.receipt.v1"}'])
def test_junk_is_refused(history, data: bytes) -> None:
    with pytest.raises(VerificationError):
        prove_receipt(data, history.sample.genesis)


@pytest.mark.parametrize("field", ["leaf", "proof", "envelope", "format", "cluster"])
def test_wrongly_typed_and_garbled_fields_are_refused(history, field: str) -> None:
    for value in (7, "é", "====", None, ["x"]):
        with pytest.raises(VerificationError):
            prove(history, receipt_of(history) | {field: value})
