"""Building a trie at once against inserting one key after the other."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from govraft.core.machine import trie
from govraft.core.machine.trie import Node, TrieBranch, TrieLeaf, build, insert, remove


def inserted(items: list[tuple[bytes, bytes]]) -> Node:
    root: Node = None
    for key, value in items:
        root = insert(root, key, value)
    return root


def shape(node: Node) -> Any:
    if isinstance(node, TrieBranch):
        return node.digest, shape(node.left), shape(node.right)
    return None if node is None else (node.digest, node.key)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100, 1000])
def test_a_built_trie_is_the_inserted_one(count: int) -> None:
    rng = random.Random(count)
    items = [(b"key %d" % number, rng.randbytes(3)) for number in range(count)]
    root = build(items)
    assert shape(root) == shape(inserted(items))
    rng.shuffle(items)
    assert shape(build(iter(items))) == shape(root)
    for key, _ in items[: count // 2]:
        root = remove(root, key)
    assert shape(root) == shape(inserted(items[count // 2 :]))


class _FixedHash:
    """A hash whose digest the test chooses, for keys that begin with `bits:`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def digest(self) -> bytes:
        if self._data.startswith(b"bits:"):
            return int(self._data[5:].decode().ljust(256, "0"), 2).to_bytes(32, "big")
        return hashlib.sha256(self._data).digest()


def test_keys_that_part_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie, "sha256", _FixedHash)
    prefixes = ["", "1", "0" * 255 + "1", "0" * 254 + "1", "1" * 256, "1" * 255 + "0", "01" * 100, "01" * 100 + "1"]
    rng = random.Random(5)
    for _ in range(200):
        chosen = rng.sample(prefixes, rng.randint(0, len(prefixes)))
        items = [(b"bits:" + bits.encode(), rng.randbytes(2)) for bits in chosen]
        assert shape(build(items)) == shape(inserted(items))


def test_no_depth_of_the_stack_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie, "sha256", _FixedHash)
    # Each key parts from the next one bit later: the deepest trie there is.
    items = [(b"bits:" + b"1" * ones, b"v") for ones in range(257)]
    root = build(items)
    assert isinstance(root, TrieBranch)
    assert root.digest == getattr(inserted(items), "digest", None)
    node: Node = root
    depth = 0
    while isinstance(node, TrieBranch):
        node, depth = node.right, depth + 1
    assert isinstance(node, TrieLeaf)
    assert depth == 256
