"""Properties of evidence: what was not signed is never proven, whatever the file says."""

from __future__ import annotations

import json

import msgspec

from fuzzing import reference
from fuzzing.target import Target, expect
from fuzzing.world import world
from govraft.core.convergence.certificate import key_name
from govraft.core.evidence.certificate import prove_checkpoint
from govraft.core.evidence.lineage_export import prove_lineage
from govraft.core.evidence.receipt import prove_receipt
from govraft.errors import VerificationError

__all__ = ["TARGETS"]


def _certificate(data: bytes) -> bool:
    """Only what the cluster certified is proven, and by no fewer than the reference verifier counts."""
    try:
        proven = prove_checkpoint(data, world().genesis)
    except VerificationError:
        return False
    expect((proven.seq, proven.root) == (world().seq, world().machine.root), "proves what nobody signed")
    counted = {name.rpartition("/")[2] for name in reference.cosigners(data, _keys())}
    expect(set(proven.cosigners) == counted and len(counted) >= 2, f"counts {proven.cosigners}, not {counted}")
    return True


def _keys() -> dict[str, bytes]:
    return {key_name(world().origin, member.id): member.public_key for member in world().genesis.members}


def _receipt(data: bytes) -> bool:
    try:
        proven = prove_receipt(data, world().genesis)
    except VerificationError:
        return False
    leaf = world().leaves[proven.leaf.seq - 1]
    expect(proven.leaf.encode() == leaf, "proves a leaf that the lineage does not hold")
    command, _ = world().commands[proven.leaf.seq - 2]
    expect(proven.command_id == command.command_id, "proves another command than the one at its seq")
    expect(proven.payload == msgspec.to_builtins(command), "proves another payload")
    return True


def _lineage(data: bytes) -> bool:
    try:
        proven = prove_lineage(data.splitlines(keepends=True), world().genesis)
    except VerificationError:
        return False
    expect(proven.checkpoint.root == world().machine.root, "proves another lineage")
    note = json.loads(data.splitlines()[-1])["certificate"].encode()
    counted = reference.cosigners(note, _keys())
    expect(len(counted) >= 2, f"only {counted} cosigned")
    expect(proven.state_root == world().machine.state_root, "proves another state")
    return True


def _receipt_seeds() -> list[bytes]:
    return [msgspec.json.encode(world().receipt(seq)) for seq in range(2, world().seq + 1)]


TARGETS = (
    Target(
        "quorum-certificate",
        "certificates with real keys: nothing unsigned is proven, the count is that of a second verifier",
        _certificate,
        lambda: [world().certificate, world().certify(world().checkpoint, ("n1", "n2", "n3"))],
        "lines",
        ("govraft.core.evidence.certificate", "govraft.core.convergence.certificate"),
    ),
    Target(
        "receipt",
        "receipt files: nothing is proven that did not happen",
        _receipt,
        _receipt_seeds,
        "json",
        ("govraft.core.evidence.receipt", "govraft.core.lineage.proofs"),
    ),
    Target(
        "lineage-export",
        "lineage exports: nothing is proven that did not happen",
        _lineage,
        lambda: [world().export()],
        "lines",
        ("govraft.core.evidence.lineage_export",),
        length_max=24_000,
    ),
)
