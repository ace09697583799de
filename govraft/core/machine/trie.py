"""A compact sparse Merkle trie: the digest of a map from keys to values, updated in O(log n).

Keys are placed by the bits of SHA-256(key), most significant first. Digests:

    nothing          32 zero bytes
    one key          SHA256(0x00 || key hash || value hash)
    a branch         SHA256(0x01 || left || right)

A subtree with one key is that key's leaf wherever it hangs, so the digest depends on the content alone, never on the
order of changes. Two keys that share k leading bits lie under a chain of k branches, each with an empty side. Nodes are
immutable: an update shares all but one path with its predecessor. Nothing here recurses, because a depth of 256 is
nothing to a digest but much to a stack.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

__all__ = ["EMPTY_DIGEST", "Node", "TrieBranch", "TrieLeaf", "build", "insert", "node_digest", "remove"]

EMPTY_DIGEST = bytes(32)
_KEY_BITS = 256


class TrieLeaf:
    """A subtree with one key."""

    __slots__ = ("digest", "key")

    def __init__(self, key: int, key_hash: bytes, value_hash: bytes) -> None:
        self.key = key
        self.digest: bytes = sha256(b"\x00" + key_hash + value_hash).digest()


class TrieBranch:
    """A subtree with two keys or more; one side may be empty.

    Its digest is computed when it is first asked for: many changes at once make many branches that nobody asks.
    """

    __slots__ = ("known", "left", "right")

    def __init__(self, left: Node, right: Node) -> None:
        self.left = left
        self.right = right
        self.known: bytes | None = None
        """The digest, once somebody has asked for it."""

    @property
    def digest(self) -> bytes:
        """Digest of the subtree: 32 bytes."""
        waiting = [self]
        while self.known is None:
            branch = waiting[-1]
            sides = (branch.left, branch.right)
            unknown = [side for side in sides if isinstance(side, TrieBranch) and side.known is None]
            if unknown:
                waiting += unknown
            else:
                branch.known = sha256(b"\x01" + node_digest(branch.left) + node_digest(branch.right)).digest()
                waiting.pop()
        return self.known


Node = TrieLeaf | TrieBranch | None


def node_digest(node: Node) -> bytes:
    """Digest of a subtree: 32 bytes."""
    return EMPTY_DIGEST if node is None else node.digest


def insert(root: Node, key: bytes, value: bytes) -> Node:
    """The trie with `key` mapped to `value`, whatever it was mapped to before."""
    key_hash = sha256(key).digest()
    number = int.from_bytes(key_hash, "big")
    leaf = TrieLeaf(number, key_hash, sha256(value).digest())
    path, met = _descend(root, number)
    if met is None or met.key == number:
        return _ascend(path, number, leaf)
    return _ascend(path, number, _part(leaf, met, len(path)))


def build(items: Iterable[tuple[bytes, bytes]]) -> Node:
    """The trie of these keys and values; the same as inserting them one by one, at a fraction of the cost.

    Args:
        items: Each key once.
    """
    leaves = []
    for key, value in items:
        key_hash = sha256(key).digest()
        leaves.append(TrieLeaf(int.from_bytes(key_hash, "big"), key_hash, sha256(value).digest()))
    leaves.sort(key=lambda leaf: leaf.key)
    # Neighbours part at some depth; what stands to the left of a deeper parting is joined first.
    open_parts: list[tuple[int, _Part]] = []
    whole: _Part | None = None
    for place, leaf in enumerate(leaves):
        is_last = place + 1 == len(leaves)
        parting = -1 if is_last else _KEY_BITS - (leaf.key ^ leaves[place + 1].key).bit_length()
        part = _Part(leaf, leaf.key, _KEY_BITS)
        while open_parts and open_parts[-1][0] > parting:
            depth, left = open_parts.pop()
            part = _Part(TrieBranch(left.raised(depth + 1), part.raised(depth + 1)), leaf.key, depth)
        open_parts.append((parting, part))
        whole = part
    return None if whole is None else whole.raised(0)


class _Part(NamedTuple):
    """A subtree under construction: some key in it, and the depth at which it stands."""

    node: TrieLeaf | TrieBranch
    key: int
    depth: int

    def raised(self, depth: int) -> TrieLeaf | TrieBranch:
        """The subtree at a lesser depth: under a chain of branches with an empty side, unless it is a leaf."""
        node = self.node
        if isinstance(node, TrieBranch):
            for level in range(self.depth - 1, depth - 1, -1):
                node = TrieBranch(None, node) if _bit(self.key, level) else TrieBranch(node, None)
        return node


def remove(root: Node, key: bytes) -> Node:
    """The trie without `key`; the same trie when it does not hold it."""
    number = int.from_bytes(sha256(key).digest(), "big")
    path, met = _descend(root, number)
    if met is None or met.key != number:
        return root
    return _ascend(path, number, None)


def _bit(number: int, depth: int) -> int:
    return number >> (_KEY_BITS - 1 - depth) & 1


def _descend(root: Node, number: int) -> tuple[list[TrieBranch], TrieLeaf | None]:
    """The branches on the way to a key, and the leaf in which the way ends."""
    path: list[TrieBranch] = []
    node = root
    while isinstance(node, TrieBranch):
        path.append(node)
        node = node.right if _bit(number, len(path) - 1) else node.left
    return path, node


def _part(leaf: TrieLeaf, other: TrieLeaf, depth: int) -> TrieBranch:
    """The subtree at `depth` that holds two leaves: a branch where they part, below the bits that they share."""
    parting = _KEY_BITS - (leaf.key ^ other.key).bit_length()
    node = TrieBranch(other, leaf) if _bit(leaf.key, parting) else TrieBranch(leaf, other)
    for level in range(parting - 1, depth - 1, -1):
        node = TrieBranch(None, node) if _bit(leaf.key, level) else TrieBranch(node, None)
    return node


def _ascend(path: list[TrieBranch], number: int, node: Node) -> Node:
    """Put a new subtree at the end of a path and renew the branches above it."""
    for depth in range(len(path) - 1, -1, -1):
        branch = path[depth]
        left, right = (branch.left, node) if _bit(number, depth) else (node, branch.right)
        node = _join(left, right)
    return node


def _join(left: Node, right: Node) -> Node:
    # SAFETY: one key is its leaf at any depth: equal content, equal digest. test_trie.test_order_never_matters
    if left is None and not isinstance(right, TrieBranch):
        return right
    if right is None and not isinstance(left, TrieBranch):
        return left
    return TrieBranch(left, right)
