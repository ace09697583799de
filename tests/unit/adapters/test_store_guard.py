"""The guard's mark is believed whole or not at all."""

from __future__ import annotations

import pytest

from govraft.adapters.store_guard import StoreGuard, guard_path
from govraft.errors import CorruptionError


@pytest.fixture
def marked(tmp_path):
    """A database path whose guard says that 7 writes are durable."""
    database = tmp_path / "node.db"
    guard = StoreGuard(database)
    guard.mark(7, sync=True)
    guard.release()
    return database


def test_a_mark_is_read_back(marked):
    guard = StoreGuard(marked)
    assert guard.writes == 7
    guard.release()


def test_each_damaged_byte_is_noticed(marked):
    """A mark that fell would let an older copy of the database vote and sign again."""
    path = guard_path(marked)
    sound = path.read_bytes()
    assert len(sound) == 24
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(CorruptionError, match="is damaged"):
            StoreGuard(marked)
    path.write_bytes(sound)
    StoreGuard(marked).release()


@pytest.mark.parametrize("change", [lambda sound: sound[:-1], lambda sound: sound + b"\0", lambda sound: sound[:8]])
def test_a_mark_of_another_length_is_noticed(marked, change):
    path = guard_path(marked)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptionError, match="is damaged"):
        StoreGuard(marked)
