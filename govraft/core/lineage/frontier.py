"""As much of a tree as it takes to go on appending and to know its root: the complete subtrees, from left to right.

It holds O(log n) hashes, whatever the number of leaves, so that a file of any length can be read once and verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from govraft.core.lineage.tree import EMPTY_ROOT, hash_leaf, hash_node
from govraft.errors import LineageError

__all__ = ["Frontier"]


class Frontier:
    """A tree (RFC 6962) that can only grow."""

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        """Begin with `size` leaves, of which only the hashes of the complete subtrees are known.

        Args:
            size: Number of leaves that came before.
            nodes: One hash of 32 bytes for each bit that is set in `size`, the largest subtree first.

        Raises:
            LineageError: No tree of that size has such subtrees.
        """
        if size < 0 or len(nodes) != size.bit_count() or any(len(node) != len(EMPTY_ROOT) for node in nodes):
            raise LineageError(f"a tree of {size} leaves has other subtrees than these {len(nodes)}")
        self.size = size
        self._nodes = list(nodes)

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """Hashes of the complete subtrees, the largest first."""
        return tuple(self._nodes)

    def append(self, leaf: bytes) -> None:
        """Add the next leaf, given as its bytes."""
        self.append_hash(hash_leaf(leaf))

    def append_hash(self, node: bytes) -> None:
        """Add the next leaf, given as its leaf hash of 32 bytes."""
        index = self.size
        while index & 1:
            node = hash_node(self._nodes.pop(), node)
            index >>= 1
        self._nodes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far: 32 bytes."""
        if not self._nodes:
            return EMPTY_ROOT
        joined = self._nodes[-1]
        for node in reversed(self._nodes[:-1]):
            joined = hash_node(node, joined)
        return joined
