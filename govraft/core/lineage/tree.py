"""The lineage: an append-only Merkle tree over the leaves of the machine, as RFC 6962 section 2.1 defines it.

Leaf hash `SHA256(0x00 || leaf)`, node hash `SHA256(0x01 || left || right)`; a tree of n leaves splits at the largest
power of two below n. Only complete subtrees are stored, one byte array a level: level k holds the hashes of the
subtrees of 2**k leaves, so that a tree takes 64 bytes a leaf, appending hashes O(log n) and any root or proof of
any earlier size is put together from O(log n) stored nodes.
"""

from __future__ import annotations

from hashlib import sha256

from govraft.errors import InputError

__all__ = ["EMPTY_ROOT", "MerkleTree", "hash_leaf", "hash_node"]

_HASH_BYTES = 32

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves."""


def hash_leaf(leaf: bytes) -> bytes:
    """RFC 6962 leaf hash: 32 bytes."""
    return sha256(b"\x00" + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """RFC 6962 node hash: 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """Leaves are counted from 0 here: the leaf of seq s has index s - 1, and the tree at seq s has size s."""

    __slots__ = ("_levels", "_size")

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self._size = 0

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def copy(self) -> MerkleTree:
        """A tree with the same leaves, that grows apart from this one."""
        other = MerkleTree()
        other._levels = [bytearray(level) for level in self._levels]
        other._size = self._size
        return other

    def append(self, leaf: bytes) -> None:
        """Add the next leaf, given as its bytes."""
        node, index, level = hash_leaf(leaf), self._size, 0
        self._levels[0] += node
        while index & 1:
            node = hash_node(self._node(level, index - 1), node)
            index >>= 1
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node
        self._size += 1

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, of all of them by default.

        Raises:
            InputError: The tree has never had that size.
        """
        size = self._size if size is None else size
        self._require_order(0, size)
        return self._hash(0, size) if size else EMPTY_ROOT

    def leaf_hash(self, index: int) -> bytes:
        """The hash of one leaf. Raises `InputError` when there is none of that index."""
        self._require_order(index, index + 1)
        return self._node(0, index)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """The audit path (RFC 6962 section 2.1.1) of a leaf in the tree of the first `size` leaves, lowest node first.

        Raises:
            InputError: Not 0 <= index < size <= `self.size`.
        """
        self._require_order(index, index + 1, size)
        path: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        path.reverse()
        return path

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof (RFC 6962 section 2.1.2) that the first `old` of `new` leaves are the tree of size `old`.

        Empty when `old` is 0 or equals `new`.

        Raises:
            InputError: Not 0 <= old <= new <= `self.size`.
        """
        self._require_order(0, old, new)
        if old in (0, new):
            return []
        path: list[bytes] = []
        low, high = 0, new
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        if low:
            # The old root is known to the verifier, so a left-aligned old tree needs no node of its own.
            path.append(self._hash(low, high))
        path.reverse()
        return path

    def _require_order(self, *numbers: int) -> None:
        if list(numbers) != sorted(numbers) or numbers[0] < 0 or numbers[-1] > self._size:
            raise InputError(f"the lineage has {self._size} leaves, asked for {numbers}")

    def _node(self, level: int, index: int) -> bytes:
        start = index * _HASH_BYTES
        return bytes(self._levels[level][start : start + _HASH_BYTES])

    def _hash(self, low: int, high: int) -> bytes:
        """Hash of the leaves [low, high), where `low` is a multiple of the power of two at or above the count."""
        # A range is complete subtrees from left to right; joining them from the right gives RFC 6962's shape.
        nodes: list[bytes] = []
        while low < high:
            level = (high - low).bit_length() - 1
            nodes.append(self._node(level, low >> level))
            low += 1 << level
        joined = nodes.pop()
        while nodes:
            joined = hash_node(nodes.pop(), joined)
        return joined


def _split(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)
