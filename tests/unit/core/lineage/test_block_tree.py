import random

import pytest

from govraft.core.lineage.block_tree import BLOCK_LEAVES, BlockTree
from govraft.core.lineage.frontier import Frontier
from govraft.core.lineage.proofs import verify_consistency
from govraft.core.lineage.tree import MerkleTree
from govraft.errors import InputError, LineageError

LEAVES = [b"leaf %d" % number for number in range(5 * BLOCK_LEAVES + 77)]


def read_block(block):
    return LEAVES[block * BLOCK_LEAVES : (block + 1) * BLOCK_LEAVES]


@pytest.fixture(scope="module")
def trees():
    full, block = MerkleTree(), BlockTree(read_block)
    for leaf in LEAVES:
        full.append(leaf)
        block.append(leaf)
    return full, block


def test_roots_and_proofs_are_those_of_the_full_tree(trees):
    full, block = trees
    assert block.size == full.size
    rng = random.Random(7)
    sizes = [0, 1, 255, 256, 257, 511, 512, 1023, 1024, 1025, 1280, full.size]
    for size in [*sizes, *rng.sample(range(full.size), 40)]:
        assert block.root(size) == full.root(size)
        assert block.consistency_proof(size, full.size) == full.consistency_proof(size, full.size)
        if size:
            index = rng.randrange(size)
            assert block.inclusion_proof(index, size) == full.inclusion_proof(index, size)
            assert block.leaf_hash(index) == full.leaf_hash(index)


def test_it_keeps_a_fraction_of_the_hashes(trees):
    full, block = trees
    assert sum(map(len, block._levels)) < sum(map(len, full._levels)) / 15


def test_it_goes_on_from_the_roots_of_its_blocks(trees):
    full, block = trees
    restored = BlockTree(read_block)
    for number in range(5):
        restored.append_block(block.block_root(number))
    for leaf in LEAVES[5 * BLOCK_LEAVES :]:
        restored.append(leaf)
    assert restored.root() == full.root()
    assert restored.consistency_proof(300, full.size) == full.consistency_proof(300, full.size)


def test_a_copy_grows_apart(trees):
    _, block = trees
    other = block.copy()
    other.append(b"more")
    assert other.size == block.size + 1
    assert other.root(block.size) == block.root()


@pytest.mark.parametrize("spoil", [lambda leaves: leaves[:-1], lambda leaves: [*leaves[:-1], b"other"], lambda _: []])
def test_a_block_that_reads_back_differently_gives_no_proof(spoil):
    tree = BlockTree(lambda block: spoil(read_block(block)))
    for leaf in LEAVES:
        tree.append(leaf)
    with pytest.raises(LineageError, match="not those that were appended"):
        tree.consistency_proof(300, tree.size)


def test_blocks_are_whole(trees):
    _, block = trees
    with pytest.raises(InputError):
        block.block_root(5)
    with pytest.raises(LineageError):
        block.copy().append_block(bytes(32))
    with pytest.raises(LineageError):
        BlockTree(read_block).append_block(b"short")


def test_a_frontier_has_the_roots_of_the_tree(trees):
    full, block = trees
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES, 1):
        frontier.append(leaf)
        if size % 97 == 0 or size < 20:
            assert frontier.root() == full.root(size)
            assert frontier.nodes == block.subtrees(size)
    assert Frontier().root() == full.root(0)


@pytest.mark.parametrize("size", [0, 1, 200, 256, 700])
def test_a_frontier_begins_anywhere(trees, size):
    full, block = trees
    frontier = Frontier(size, block.subtrees(size))
    for leaf in LEAVES[size:1000]:
        frontier.append(leaf)
    assert frontier.root() == full.root(1000)
    verify_consistency(1000, frontier.root(), full.size, full.root(), block.consistency_proof(1000, full.size))


@pytest.mark.parametrize(("size", "nodes"), [(1, []), (2, [bytes(32)] * 2), (1, [b"short"]), (-1, [])])
def test_a_frontier_refuses_what_is_no_tree(size, nodes):
    with pytest.raises(LineageError):
        Frontier(size, nodes)
