"""Inclusion and consistency proofs against the published tree, and the ways in which a proof can be wrong.

The eight leaves and the roots are those of the Certificate Transparency reference implementation, which every RFC 6962
library tests against. The classes of wrong proofs are those of the `testdata` of transparency-dev/merkle, made here by
changing good proofs; the good ones come from RFC 6962's recursion, which shares no code with govraft. See
vectors/README.md.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest

from govraft.core.lineage.proofs import verify_consistency, verify_inclusion
from govraft.core.lineage.tree import EMPTY_ROOT, MerkleTree
from govraft.errors import LineageError

LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")] + [
    bytes(range(0x60, 0x70))
]
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
Proof = list[bytes]


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> Proof:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), root(leaves[split:])]
    return [*path(index - split, leaves[split:]), root(leaves[:split])]


def subproof(size: int, leaves: list[bytes], *, known: bool = True) -> Proof:
    """RFC 6962, 2.1.2."""
    if size == len(leaves):
        return [] if known else [root(leaves)]
    split = largest_power_below(len(leaves))
    if size <= split:
        return [*subproof(size, leaves[:split], known=known), root(leaves[split:])]
    return [*subproof(size - split, leaves[split:], known=False), root(leaves[:split])]


def largest_power_below(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def wrong(proof: Proof, *roots: bytes) -> Iterator[Proof]:
    """A good proof with one thing changed."""
    for place in range(len(proof)):
        for bit in (0, 4, 255):
            changed = int.from_bytes(proof[place], "big") ^ 1 << bit
            yield [*proof[:place], changed.to_bytes(32, "big"), *proof[place + 1 :]]
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[:place], proof[place][:31], *proof[place + 1 :]]
        yield [*proof[:place], proof[place] + b"\0", *proof[place + 1 :]]
    for one, two in itertools.combinations(range(len(proof)), 2):
        swapped = list(proof)
        swapped[one], swapped[two] = proof[two], proof[one]
        yield swapped
    for extra in (b"", b"\0", bytes(32), hashlib.sha256(b"garbage").digest(), *roots):
        for place in range(len(proof) + 1):
            yield [*proof[:place], extra, *proof[place:]]
    yield proof * 2 if proof else [bytes(32)] * 2
    yield [*proof, *[bytes(32)] * 200]


def refused(verify, *arguments) -> bool:
    try:
        verify(*arguments)
    except LineageError:
        return True
    return False


def test_the_published_roots():
    tree = MerkleTree()
    for leaf in LEAVES:
        tree.append(leaf)
    for size, text in enumerate(ROOTS):
        assert tree.root(size).hex() == text == root(LEAVES[:size]).hex()
    assert bytes.fromhex(ROOTS[0]) == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_inclusion(size):
    leaves, top = LEAVES[:size], bytes.fromhex(ROOTS[size])
    for index in range(size):
        proof, leaf = path(index, leaves), leaves[index]
        verify_inclusion(leaf, index, size, proof, top)
        changed = [(leaf, index, size, other, top) for other in wrong(proof, top) if other != proof]
        changed += [
            (leaf, other, size, proof, top) for other in (index - 1, index + 1, index ^ 2, -1, 2**63) if other != index
        ]
        changed += [
            (leaf, index, size, proof, other)
            for other in (b"", bytes(32), EMPTY_ROOT, top[:31], hashlib.sha256(b"x").digest())
        ]
        changed += [
            (other, index, size, proof, top)
            for other in (leaf + b"\0", b"wrong", hashlib.sha256(b"\0" + leaf).digest())
        ]
        for arguments in changed:
            assert refused(verify_inclusion, *arguments), arguments
        # Another size may lead to the same root by the same path; one that needs another path never does.
        for other in (0, size // 2, size * 2, 2**63, 2**64):
            if index >= other or len(path_shape(index, other)) != len(proof):
                assert refused(verify_inclusion, leaf, index, other, proof, top)


def path_shape(index: int, size: int) -> list[int]:
    """How many nodes a path has, without the tree."""
    shape = []
    while size > 1 and size <= 64:
        split = largest_power_below(size)
        shape.append(split)
        index, size = (index, split) if index < split else (index - split, size - split)
    return shape if size <= 64 else [0] * 1000


@pytest.mark.parametrize("new", range(1, 9))
def test_consistency(new):
    top = bytes.fromhex(ROOTS[new])
    for old in range(1, new + 1):
        bottom, proof = bytes.fromhex(ROOTS[old]), subproof(old, LEAVES[:new])
        verify_consistency(old, bottom, new, top, proof)
        changed = [(old, bottom, new, top, other) for other in wrong(proof, bottom, top) if other != proof]
        changed += [
            (old, other, new, top, proof) for other in (b"", bytes(32), EMPTY_ROOT, bottom[:31]) if other != bottom
        ]
        changed += [
            (old, bottom, new, other, proof) for other in (b"", bytes(32), EMPTY_ROOT, top[:31]) if other != top
        ]
        if old < new:
            changed += [(new, top, old, bottom, proof), (old, top, new, bottom, proof), (old, bottom, new, top, [])]
        changed += [(size, bottom, new, top, proof) for size in (-1, old * 2, 2**63) if not 0 <= size <= new]
        for arguments in changed:
            assert refused(verify_consistency, *arguments), arguments


def test_sizes_of_zero():
    """Every lineage extends the empty one, so a size of 0 needs no proof; but the empty one has one root."""
    garbage, one = hashlib.sha256(b"garbage").digest(), bytes.fromhex(ROOTS[1])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    verify_consistency(0, EMPTY_ROOT, 1, one, [])
    for arguments in [
        (0, EMPTY_ROOT, 0, garbage, []),
        (0, garbage, 0, EMPTY_ROOT, []),
        (0, garbage, 0, garbage, []),
        (0, garbage, 1, one, []),
        (0, EMPTY_ROOT, 1, one, [garbage]),
        (1, one, 0, EMPTY_ROOT, []),
        (1, one, 1, garbage, []),
        (1, one, 1, one, [garbage]),
    ]:
        assert refused(verify_consistency, *arguments), arguments
    assert refused(verify_inclusion, b"", 0, 0, [], EMPTY_ROOT)
