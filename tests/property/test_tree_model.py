"""The Merkle tree and its proofs against RFC 6962's definitions, written down as they stand there."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.lineage.proofs import verify_consistency, verify_inclusion
from govraft.core.lineage.tree import MerkleTree
from govraft.errors import LineageError


def split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], complete: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if complete else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def build(leaves: list[bytes]) -> MerkleTree:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=80), st.data())
@settings(max_examples=120)
def test_tree_is_that_of_the_rfc(leaves: list[bytes], data: st.DataObject) -> None:
    tree = build(leaves)
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    assert tree.root(size) == mth(leaves[:size])
    proof = tree.inclusion_proof(index, size)
    assert proof == path(index, leaves[:size])
    verify_inclusion(leaves[index], index, size, proof, tree.root(size))
    old = index + 1
    links = tree.consistency_proof(old, size)
    assert links == subproof(old, leaves[:size], True)
    verify_consistency(old, tree.root(old), size, tree.root(size), links)


@pytest.mark.clause("6 immutable governance lineage chains")
@pytest.mark.clause("8 immutable consensus lineage")
@given(st.integers(1, 60), st.integers(1, 60), st.data())
@settings(max_examples=120)
def test_no_rewritten_history_is_consistent(old: int, more: int, data: st.DataObject) -> None:
    new = old + more
    leaves = [b"%d" % number for number in range(new)]
    tree = build(leaves)
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, old - 1))] = b"rewritten"
    fork = build(rewritten)
    for proof in (tree.consistency_proof(old, new), fork.consistency_proof(old, new)):
        with pytest.raises(LineageError):
            verify_consistency(old, tree.root(old), new, fork.root(), proof)
