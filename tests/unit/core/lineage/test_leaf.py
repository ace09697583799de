"""Leaves decode to what was encoded, strictly."""

from __future__ import annotations

import pytest

from govraft.core.codec.canonical import pack, unpack
from govraft.core.lineage.leaf import LEAF_BYTES_MAX, Leaf
from govraft.core.machine.machine import Machine
from govraft.errors import DecodeError, InputError
from govraft.testing.sample import SampleCluster


def test_round_trip() -> None:
    machine = Machine(SampleCluster().genesis)
    leaf = Leaf.decode(machine.genesis_leaf)
    assert leaf == machine.leaf(1)
    assert leaf.encode() == machine.genesis_leaf
    assert len(machine.genesis_leaf) < LEAF_BYTES_MAX


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": "1"},
        {"epoch": True},
        {"time": None},
        {"entry_digest": b"short"},
        {"outcome": b"applied"},
        {"sections": {"policies": b"short"}},
        {"sections": []},
        {"state_root": "text"},
        {"state_root": "A" * 43 + "="},
        {"more": 1},
    ],
)
def test_malformed_leaves_are_refused(change: dict[str, object]) -> None:
    fields = unpack(Machine(SampleCluster().genesis).genesis_leaf, max_bytes=LEAF_BYTES_MAX)
    with pytest.raises(DecodeError):
        Leaf.decode(pack({**fields, **change}))


def test_other_bytes_are_refused() -> None:
    for data in (b"", b"\x80", b"\x01", bytes(LEAF_BYTES_MAX + 1)):
        with pytest.raises(InputError):
            Leaf.decode(data)
