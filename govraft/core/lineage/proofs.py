"""Verify inclusion and consistency proofs, as RFC 9162 sections 2.1.3.2 and 2.1.4.2 write them down.

The verifier walks the bits of the sizes and never builds a tree, so it shares no code path with the prover.
"""

from __future__ import annotations

from collections.abc import Sequence

from govraft.core.lineage.tree import EMPTY_ROOT, hash_leaf, hash_node
from govraft.errors import LineageError

__all__ = ["root_up_to", "verify_consistency", "verify_inclusion"]

_SIZE_MAX = 2**63 - 1


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that `leaf` is the leaf of that index in the tree of that size and root.

    Args:
        leaf: The exact bytes of the leaf; the leaf of seq s has index s - 1.
        index: Counted from 0.
        size: Number of leaves under `root`.
        proof: Nodes of 32 bytes, lowest first.
        root: 32 trusted bytes.

    Raises:
        LineageError: The proof does not show it.

    Source:
        RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size <= _SIZE_MAX:
        raise LineageError(f"no leaf {index} in a lineage of {size} leaves")
    _check_nodes(proof)
    position, last, node = index, size - 1, hash_leaf(leaf)
    for sibling in proof:
        if last == 0:
            raise LineageError("inclusion proof is too long")
        if position & 1 or position == last:
            node = hash_node(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = hash_node(node, sibling)
        position >>= 1
        last >>= 1
    # SAFETY: a shorter path would prove a leaf elsewhere. test_proofs.test_mutated_inclusion_is_refused
    if last != 0 or node != root:
        raise LineageError("inclusion proof does not lead to the certified root")


def root_up_to(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the lineage that ends with `leaf`.

    The path from a leaf upwards passes every complete subtree to its left, and those are all that lies before it. So
    whoever is shown that a leaf is in a lineage is also shown the root that the lineage had when the leaf was its last.

    Args:
        leaf: The exact bytes of the leaf.
        index: Counted from 0.
        size: Of the lineage that the proof is for.
        proof: One that `verify_inclusion` has accepted with these arguments.
    """
    position, last, node = index, size - 1, hash_leaf(leaf)
    for sibling in proof:
        if position & 1 or position == last:
            node = hash_node(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        position >>= 1
        last >>= 1
    return node


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the lineage of the new root begins with exactly the lineage of the old root.

    Raises:
        LineageError: The proof does not show it.

    Source:
        RFC 9162, section 2.1.4.2; the sizes 0 and `old_size == new_size` take an empty proof.
    """
    if not 0 <= old_size <= new_size <= _SIZE_MAX:
        raise LineageError(f"a lineage of {new_size} leaves cannot extend one of {old_size}")
    _check_nodes(proof)
    if old_size in (0, new_size):
        _verify_trivial(old_size, old_root, new_size, new_root, proof)
        return
    # The root of a complete old tree is a node of the new tree, so the prover leaves it out.
    nodes = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not nodes:
        raise LineageError("consistency proof is empty")
    height = (old_size & -old_size).bit_length() - 1
    position, last = (old_size - 1) >> height, (new_size - 1) >> height
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise LineageError("consistency proof is too long")
        if position & 1 or position == last:
            old, new = hash_node(node, old), hash_node(node, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = hash_node(new, node)
        position >>= 1
        last >>= 1
    # SAFETY: both roots must come out of the same nodes. test_proofs.test_mutated_consistency_is_refused
    if last != 0 or old != old_root or new != new_root:
        raise LineageError("the two roots are not roots of one lineage")


def _verify_trivial(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    expected = EMPTY_ROOT if old_size == 0 else new_root
    # SAFETY: two lineages of no leaves have the one root, too. test_vectors_merkle.test_sizes_of_zero
    if proof or old_root != expected or (new_size == 0 and new_root != EMPTY_ROOT):
        raise LineageError("the two roots are not roots of one lineage")


def _check_nodes(proof: Sequence[bytes]) -> None:
    if len(proof) > 2 * 64 or any(len(node) != len(EMPTY_ROOT) for node in proof):
        raise LineageError("a proof holds at most 128 nodes of 32 bytes")
