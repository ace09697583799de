"""The Merkle tree against published vectors and a naive implementation."""

from __future__ import annotations

import hashlib

import pytest

from govraft.core.lineage.tree import EMPTY_ROOT, MerkleTree
from govraft.errors import InputError

# From Google's certificate-transparency project, python/ct/crypto/merkle_test.py and go/merkletree: the reference
# data of RFC 6962 implementations.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def reference_tree() -> MerkleTree:
    tree = MerkleTree()
    for leaf in LEAVES:
        tree.append(bytes.fromhex(leaf))
    return tree


def test_published_roots() -> None:
    tree = MerkleTree()
    assert tree.root() == EMPTY_ROOT == bytes.fromhex(ROOTS[0])
    for size, leaf in enumerate(LEAVES, 1):
        tree.append(bytes.fromhex(leaf))
        assert tree.size == size
        assert tree.root().hex() == ROOTS[size]
    assert [tree.root(size).hex() for size in range(9)] == ROOTS


def test_published_inclusion_paths() -> None:
    tree = reference_tree()
    assert tree.inclusion_proof(0, 1) == []
    assert [node.hex() for node in tree.inclusion_proof(0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [node.hex() for node in tree.inclusion_proof(2, 3)] == [
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    ]


def test_published_consistency_paths() -> None:
    tree = reference_tree()
    assert tree.consistency_proof(1, 1) == []
    assert [node.hex() for node in tree.consistency_proof(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_leaf_hash() -> None:
    assert reference_tree().leaf_hash(3) == hashlib.sha256(b"\x00\x20\x21").digest()


def test_questions_beyond_the_tree_are_refused() -> None:
    tree = reference_tree()
    for ask in (
        lambda: tree.root(9),
        lambda: tree.root(-1),
        lambda: tree.leaf_hash(8),
        lambda: tree.leaf_hash(-1),
        lambda: tree.inclusion_proof(3, 3),
        lambda: tree.inclusion_proof(-1, 3),
        lambda: tree.inclusion_proof(3, 9),
        lambda: tree.consistency_proof(4, 3),
        lambda: tree.consistency_proof(-1, 3),
        lambda: tree.consistency_proof(3, 9),
    ):
        with pytest.raises(InputError):
            ask()
