"""A receipt is of one cluster in all its parts."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest

from govraft.core.evidence.receipt import encode_receipt_file, prove_receipt
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import encode_entry
from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.units import WallMs
from govraft.errors import VerificationError
from govraft.testing.sample import CREATED


def test_a_command_for_another_cluster_gets_no_receipt_here(history) -> None:
    """Its rejection is certified, but whoever reads `quarantine` in a receipt takes it for one of this cluster."""
    command = Quarantine(**history.sample.header("foreign"), kind=TargetKind.SUBJECT, id='Agent::"x"', reason="x")
    envelope = history.sample.sign(msgspec.structs.replace(command, cluster="f" * 64), "olga")
    entry = encode_entry(WallMs(CREATED + 9_000), envelope)
    machine = history.machine
    leaf = machine.apply(entry).leaf
    assert Leaf.decode(leaf).outcome == "wrong_cluster"
    answer = SimpleNamespace(
        command_id="foreign",
        outcome="wrong_cluster",
        seq=machine.seq,
        certified_seq=machine.seq,
        leaf=leaf,
        proof=machine.lineage.inclusion_proof(machine.seq - 1, machine.seq),
        certificate=history.certify(machine.seq, machine.root),
    )
    fields = encode_receipt_file(answer, cluster=history.sample.genesis.cluster_id, envelope=envelope)
    with pytest.raises(VerificationError, match="another cluster"):
        prove_receipt(json.dumps(fields).encode(), history.sample.genesis)
