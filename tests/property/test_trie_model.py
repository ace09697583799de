"""The trie as a map: any sequence of changes gives the digest of what is left, and of nothing else."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.machine.trie import Node, TrieBranch, insert, node_digest, remove

KEYS = st.integers(0, 40).map(lambda number: b"key %d" % number)
STEPS = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=120)


def recompute(content: dict[bytes, bytes]) -> bytes:
    """By the definition, over binary digit strings."""
    rows = sorted(
        (format(int.from_bytes(sha256(key).digest(), "big"), "0256b"), sha256(key).digest() + sha256(value).digest())
        for key, value in content.items()
    )

    def digest(prefix: str) -> bytes:
        below = [row for bits, row in rows if bits.startswith(prefix)]
        if not below:
            return bytes(32)
        if len(below) == 1:
            return sha256(b"\x00" + below[0]).digest()
        return sha256(b"\x01" + digest(prefix + "0") + digest(prefix + "1")).digest()

    return digest("")


@pytest.mark.clause("6 runtime consensus hashes")
@given(STEPS)
@settings(max_examples=150)
def test_the_digest_is_that_of_the_content(steps: list[tuple[bytes, bytes | None]]) -> None:
    root: Node = None
    content: dict[bytes, bytes] = {}
    for key, value in steps:
        if value is None:
            root = remove(root, key)
            content.pop(key, None)
        else:
            root = insert(root, key, value)
            content[key] = value
    assert node_digest(root) == recompute(content)


@given(STEPS, KEYS, st.binary(max_size=3))
@settings(max_examples=80)
def test_a_trie_is_never_changed_in_place(steps: list[tuple[bytes, bytes | None]], key: bytes, value: bytes) -> None:
    root: Node = None
    for step_key, step_value in steps:
        root = insert(root, step_key, step_value or b"")
    before = node_digest(root)
    insert(root, key, value)
    remove(root, key)
    assert node_digest(root) == before
    if root is not None:
        # Digests are cached in the nodes: recompute them from below.
        assert node_digest(rebuild(root)) == before


def rebuild(node: Node) -> Node:
    return TrieBranch(rebuild(node.left), rebuild(node.right)) if isinstance(node, TrieBranch) else node
