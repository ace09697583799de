"""Proof files: that one leaf is in the certified lineage, and that this one begins with an earlier lineage.

    {"format": "govraft.proof.v1", "leaf": base64, "proof": [base64], "certificate": text,
     "earlier": null | {"seq", "root": base64, "proof": [base64]}, "epochs": [link, …]}

Whoever kept an earlier certificate compares its seq and root with those of `earlier`: if they are the same, nothing
that was certified then has been changed or left out since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.evidence.certificate import ProvenCheckpoint, prove_in_history
from govraft.core.evidence.epochs import decode_links, verify_epochs
from govraft.core.evidence.files import decode_file, encode_file, malformed, to_bytes, to_nodes
from govraft.core.evidence.trust_state import Shown
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import root_up_to, verify_consistency, verify_inclusion
from govraft.core.model.genesis import Genesis
from govraft.errors import InputError, LineageError

__all__ = ["PROOF_FORMAT", "EarlierLineage", "ProvenLeaf", "encode_proof_file", "prove_leaf"]

PROOF_FORMAT = "govraft.proof.v1"


class EarlierLineage(NamedTuple):
    """A lineage that the certified one begins with: its size and root, and the consistency proof."""

    seq: int
    root: bytes
    proof: Sequence[bytes]


class _Earlier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seq: int
    root: str
    proof: list[str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.proof.v1"]
    leaf: str
    proof: list[str]
    certificate: str
    earlier: _Earlier | None
    epochs: list[dict[str, Any]]


class ProvenLeaf(msgspec.Struct, frozen=True):
    """What a proof file proves.

    Attributes:
        checkpoint: The certified lineage.
        leaf: It holds this leaf at `leaf.seq`.
        earlier_seq, earlier_root: It begins with the lineage of that size and root; 0 and empty if that was not asked.
        shown: Of the history, to be held against a trust state.
    """

    checkpoint: ProvenCheckpoint
    leaf: Leaf
    earlier_seq: int
    earlier_root: bytes
    shown: Shown


def encode_proof_file(
    leaf: bytes,
    *,
    proof: Sequence[bytes],
    certificate: bytes,
    earlier: EarlierLineage | None,
    links: Sequence[dict[str, Any]],
) -> bytes:
    """The bytes of a proof file.

    Args:
        leaf: Exact bytes.
        proof: Inclusion of the leaf in the certified lineage.
        certificate: Of that lineage.
        earlier: That it begins with this one; None to leave it out.
        links: From the genesis to the epoch of the certificate.
    """
    before = None
    if earlier is not None:
        before = {
            "seq": earlier.seq,
            "root": to_base64(earlier.root),
            "proof": [to_base64(node) for node in earlier.proof],
        }
    return encode_file(
        {
            "format": PROOF_FORMAT,
            "leaf": to_base64(leaf),
            "proof": [to_base64(node) for node in proof],
            "certificate": certificate.decode("utf-8"),
            "earlier": before,
            "epochs": list(links),
        }
    )


def prove_leaf(data: bytes, genesis: Genesis) -> ProvenLeaf:
    """Verify a proof file against the genesis and nothing else.

    Raises:
        VerificationError: It proves nothing.
    """
    file = decode_file(data, _File, what="lineage proof")
    leaf_bytes = to_bytes(file.leaf, what="leaf")
    try:
        leaf = Leaf.decode(leaf_bytes)
    except InputError as error:
        raise malformed(f"not a lineage proof: {error}") from error
    history = verify_epochs(genesis, decode_links(file.epochs))
    checkpoint = prove_in_history(file.certificate.encode(), genesis, history)
    # SAFETY: test_lineage_proof.py::test_each_part_counts
    proof = to_nodes(file.proof, what="proof")
    verify_inclusion(leaf_bytes, leaf.seq - 1, checkpoint.seq, proof, checkpoint.root)
    # The newest leaf of a lineage tells in which epoch its certificate must be.
    if leaf.seq == checkpoint.seq and leaf.epoch != checkpoint.epoch:
        raise LineageError(f"the leaf is of epoch {leaf.epoch}, its certificate of epoch {checkpoint.epoch}")
    roots = {leaf.seq: root_up_to(leaf_bytes, leaf.seq - 1, checkpoint.seq, proof), checkpoint.seq: checkpoint.root}
    shown = Shown(history, checkpoint.epoch, checkpoint.seq, roots)
    if file.earlier is None:
        return ProvenLeaf(checkpoint, leaf, 0, b"", shown)
    root = to_bytes(file.earlier.root, what="root")
    if not 1 <= file.earlier.seq <= checkpoint.seq:
        raise LineageError(f"a lineage of {checkpoint.seq} leaves begins with none of {file.earlier.seq}")
    nodes = to_nodes(file.earlier.proof, what="proof")
    verify_consistency(file.earlier.seq, root, checkpoint.seq, checkpoint.root, nodes)
    roots[file.earlier.seq] = root
    return ProvenLeaf(checkpoint, leaf, file.earlier.seq, root, shown)
