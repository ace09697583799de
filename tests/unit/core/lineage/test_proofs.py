"""Proof verification: every honest proof holds, no altered one does."""

from __future__ import annotations

import itertools
import random

import pytest

from govraft.core.lineage.proofs import verify_consistency, verify_inclusion
from govraft.core.lineage.tree import EMPTY_ROOT, MerkleTree
from govraft.errors import LineageError

SIZE = 33


def build() -> tuple[MerkleTree, list[bytes]]:
    tree, leaves = MerkleTree(), [b"leaf %d" % number for number in range(SIZE)]
    for leaf in leaves:
        tree.append(leaf)
    return tree, leaves


def altered(proof: list[bytes]) -> list[list[bytes]]:
    """Proofs near this one: cut, extended, bits flipped, nodes swapped."""
    near = [proof[:-1], proof[1:], [*proof, bytes(32)], [bytes(32), *proof]]
    near += [
        [*proof[:place], bytes([proof[place][0] ^ 1]) + proof[place][1:], *proof[place + 1 :]]
        for place in range(len(proof))
    ]
    near += [proof[::-1], [*proof, *proof[-1:]]]
    return [other for other in near if other != proof]


def test_honest_proofs_hold() -> None:
    tree, leaves = build()
    for old, new in itertools.combinations_with_replacement(range(SIZE + 1), 2):
        verify_consistency(old, tree.root(old), new, tree.root(new), tree.consistency_proof(old, new))
        if old < new:
            verify_inclusion(leaves[old], old, new, tree.inclusion_proof(old, new), tree.root(new))


def test_mutated_inclusion_is_refused() -> None:
    tree, leaves = build()
    for size in (1, 2, 3, 7, 8, 9, SIZE):
        root = tree.root(size)
        for index in range(size):
            proof = tree.inclusion_proof(index, size)
            wrong = [(leaves[index], index, size, other, root) for other in altered(proof)]
            wrong += [(leaves[index], place, size, proof, root) for place in range(size) if place != index]
            wrong += [
                (leaves[index] + b"!", index, size, proof, root),
                (leaves[index], index, size, proof, bytes(32)),
                (leaves[index], -1, size, proof, root),
                (leaves[index], size, size, proof, root),
                (leaves[index], index, 2**64, proof, root),
            ]
            for arguments in wrong:
                with pytest.raises(LineageError):
                    verify_inclusion(*arguments)


def test_mutated_consistency_is_refused() -> None:
    tree, _ = build()
    sizes = (0, 1, 2, 3, 4, 6, 7, 8, 9, 16, 31, 32, SIZE)
    for old, new in itertools.combinations_with_replacement(sizes, 2):
        old_root, new_root, proof = tree.root(old), tree.root(new), tree.consistency_proof(old, new)
        wrong = [(old, old_root, new, new_root, other) for other in altered(proof)]
        wrong += [(old, bytes(32), new, new_root, proof), (-1, old_root, new, new_root, proof)]
        if old:
            # Nothing is known of a tree that extends the empty one.
            wrong += [(old, old_root, new, bytes(32), proof)]
        if old != new:
            wrong += [(new, new_root, old, old_root, proof)]
        for arguments in wrong:
            with pytest.raises(LineageError):
                verify_consistency(*arguments)


def test_a_path_too_short_for_the_claimed_size_is_refused() -> None:
    """A root does not commit to a size, the checkpoint does; still a path must have the length that the size asks for."""
    tree, leaves = build()
    with pytest.raises(LineageError):
        verify_consistency(1, tree.root(1), 3, tree.root(2), tree.consistency_proof(1, 2))
    with pytest.raises(LineageError):
        verify_inclusion(leaves[0], 0, 3, tree.inclusion_proof(0, 2), tree.root(2))


def test_forks_are_not_consistent() -> None:
    tree, leaves = build()
    for fork_at in range(SIZE - 1):
        fork = MerkleTree()
        for number, leaf in enumerate(leaves):
            fork.append(leaf if number != fork_at else b"forged")
        old = fork_at + 1
        with pytest.raises(LineageError):
            verify_consistency(old, tree.root(old), SIZE, fork.root(), fork.consistency_proof(old, SIZE))


def test_random_proofs_never_hold() -> None:
    rng = random.Random(1)
    tree, leaves = build()
    for _ in range(300):
        proof = [rng.randbytes(32) for _ in range(rng.randrange(8))]
        index = rng.randrange(SIZE)
        with pytest.raises(LineageError):
            verify_inclusion(leaves[index], index, SIZE, proof, tree.root())
        with pytest.raises(LineageError):
            verify_consistency(index + 1, tree.root(index), SIZE, tree.root(), proof)
    for node in (b"", bytes(31), bytes(33)):
        with pytest.raises(LineageError):
            verify_inclusion(leaves[0], 0, 2, [node], tree.root(2))
    with pytest.raises(LineageError):
        verify_inclusion(leaves[0], 0, SIZE, [bytes(32)] * 1000, tree.root())
    with pytest.raises(LineageError):
        verify_consistency(0, EMPTY_ROOT, SIZE, tree.root(), [bytes(32)])
