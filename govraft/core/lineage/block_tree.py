"""A tree for logs too long to keep every hash in memory: below blocks of 256 leaves, hashes are made again when needed.

A full tree takes 64 bytes a leaf; this one a quarter of a byte, and the leaves of the block that is not full yet. The
nodes of a full block are asked for only by proofs that end inside it, so the block's leaves are read back then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from govraft.core.lineage.tree import MerkleTree, hash_node
from govraft.errors import LineageError

__all__ = ["BLOCK_LEAVES", "BlockTree"]

_BLOCK_LEVEL = 8
BLOCK_LEAVES = 1 << _BLOCK_LEVEL


class BlockTree(MerkleTree):
    """The same roots and proofs as `MerkleTree`, in a fraction of the memory."""

    __slots__ = ("_dropped", "_read_block")

    def __init__(self, read_block: Callable[[int], Sequence[bytes]]) -> None:
        """Begin empty.

        Args:
            read_block: Reads the 256 leaves of a full block back, by the block's number from 0. May raise, and does
                so through the proof that needs it.
        """
        super().__init__()
        self._levels = [bytearray() for _ in range(_BLOCK_LEVEL + 1)]
        self._dropped = 0
        self._read_block = read_block

    def append(self, leaf: bytes) -> None:
        """Add the next leaf, given as its bytes."""
        super().append(leaf)
        if self._size % BLOCK_LEAVES == 0:
            self._drop()

    def append_block(self, root: bytes) -> None:
        """Add the next 256 leaves at once, given as the root over them. Only where no block is begun.

        Raises:
            LineageError: A block is begun, or that is no root.
        """
        if self._size % BLOCK_LEAVES or len(root) != 32:
            raise LineageError("a block begins at a multiple of 256 leaves, and its root has 32 bytes")
        node, index, level = root, self._size >> _BLOCK_LEVEL, _BLOCK_LEVEL
        self._levels[level] += node
        while index & 1:
            node = hash_node(self._node(level, index - 1), node)
            index >>= 1
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node
        self._size += BLOCK_LEAVES
        self._drop()

    def block_root(self, block: int) -> bytes:
        """The root over the leaves of a full block. Raises `InputError` when it is not full."""
        self._require_order(0, (block + 1) << _BLOCK_LEVEL)
        return self._node(_BLOCK_LEVEL, block)

    def subtrees(self, size: int) -> tuple[bytes, ...]:
        """Hashes of the complete subtrees of the first `size` leaves, the largest first: what a `Frontier` needs.

        Raises:
            InputError: The tree has never had that size.
        """
        self._require_order(0, size)
        nodes, low = [], 0
        while low < size:
            level = (size - low).bit_length() - 1
            nodes.append(self._node(level, low >> level))
            low += 1 << level
        return tuple(nodes)

    def copy(self) -> BlockTree:
        """A tree with the same leaves, that grows apart from this one."""
        other = BlockTree(self._read_block)
        other._levels = [bytearray(level) for level in self._levels]
        other._size, other._dropped = self._size, self._dropped
        return other

    def _drop(self) -> None:
        """Forget what is below the blocks: all of them are full."""
        for level in range(_BLOCK_LEVEL):
            self._levels[level].clear()
        self._dropped = self._size

    def _node(self, level: int, index: int) -> bytes:
        if level >= _BLOCK_LEVEL:
            return super()._node(level, index)
        first = index << level
        if first >= self._dropped:
            return super()._node(level, index - (self._dropped >> level))
        block = first >> _BLOCK_LEVEL
        leaves = self._read_block(block)
        # SAFETY: what is read back must be what was logged; a damaged file gives no proof at all
        # (test_block_tree.py::test_a_block_that_reads_back_differently_gives_no_proof).
        if len(leaves) != BLOCK_LEAVES or _root(leaves) != super()._node(_BLOCK_LEVEL, block):
            raise LineageError(f"leaves {block << _BLOCK_LEVEL} and after are not those that were appended")
        start = first % BLOCK_LEAVES
        return _root(leaves[start : start + (1 << level)])


def _root(leaves: Sequence[bytes]) -> bytes:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()
