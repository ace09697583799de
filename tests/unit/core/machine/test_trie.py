"""The sparse Merkle trie against a dumb recomputation."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from govraft.core.machine import trie
from govraft.core.machine.trie import EMPTY_DIGEST, Node, TrieBranch, TrieLeaf, insert, node_digest, remove


def recompute(content: dict[bytes, bytes]) -> bytes:
    """The digest by the definition: recursive, on lists, from scratch."""
    rows = [(sha256(key).digest(), sha256(value).digest()) for key, value in content.items()]

    def digest(rows: list[tuple[bytes, bytes]], depth: int) -> bytes:
        if not rows:
            return bytes(32)
        if len(rows) == 1:
            return sha256(b"\x00" + rows[0][0] + rows[0][1]).digest()
        bits = [row[0][depth // 8] >> (7 - depth % 8) & 1 for row in rows]
        left = [row for row, bit in zip(rows, bits, strict=True) if not bit]
        right = [row for row, bit in zip(rows, bits, strict=True) if bit]
        return sha256(b"\x01" + digest(left, depth + 1) + digest(right, depth + 1)).digest()

    return digest(rows, 0)


def build(content: dict[bytes, bytes]) -> Node:
    root: Node = None
    for key, value in content.items():
        root = insert(root, key, value)
    return root


def test_small_tries() -> None:
    assert node_digest(None) == EMPTY_DIGEST == recompute({})
    one = build({b"k": b"v"})
    assert node_digest(one) == recompute({b"k": b"v"})
    assert node_digest(insert(one, b"k", b"w")) == recompute({b"k": b"w"})
    assert remove(one, b"k") is None
    assert remove(one, b"other") is one
    assert remove(None, b"k") is None


def test_order_never_matters() -> None:
    content = {b"%d" % number: b"v%d" % number for number in range(60)}
    expected = recompute(content)
    rng = random.Random(3)
    for _ in range(10):
        keys = list(content)
        rng.shuffle(keys)
        root = build({key: content[key] for key in keys})
        assert node_digest(root) == expected
        # Whatever passed through leaves no trace, however deep it went.
        passers = [b"passing %d" % number for number in range(40)]
        for key in passers:
            root = insert(root, key, b"x")
        rng.shuffle(passers)
        for key in passers:
            root = remove(root, key)
        assert node_digest(root) == expected
        for key in keys:
            root = remove(root, key)
        assert root is None


def test_updates_share_the_rest() -> None:
    root = build({b"%d" % number: b"" for number in range(500)})
    before = node_digest(root)
    made = 0

    class Counting(TrieBranch):
        def __init__(self, left: Node, right: Node) -> None:
            nonlocal made
            made += 1
            super().__init__(left, right)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trie, "TrieBranch", Counting)
        # Branches made before are of the old class, which the patched module would not recognise.
        fresh = build({b"%d" % number: b"" for number in range(500)})
        made = 0
        insert(fresh, b"250", b"changed")
    assert 0 < made < 25
    insert(root, b"250", b"changed")
    assert node_digest(root) == before


def test_keys_that_share_many_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real keys with 255 equal bits are known, so the hash is replaced by one that keeps the key's own bits."""

    class Plain:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def digest(self) -> bytes:
            return self._data if len(self._data) == 32 else sha256(self._data).digest()

    monkeypatch.setattr(trie, "sha256", Plain)
    first, second = bytes(32), bytes(31) + b"\x01"
    root = insert(insert(None, first, b"a"), second, b"b")
    depth, node = 0, root
    while isinstance(node, TrieBranch):
        node, depth = node.left, depth + 1
    assert depth == 256
    assert isinstance(node, TrieLeaf)
    assert isinstance(remove(root, first), TrieLeaf)
    assert node_digest(remove(root, first)) == node_digest(insert(None, second, b"b"))
