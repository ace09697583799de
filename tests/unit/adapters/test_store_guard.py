"""The guard's mark is believed whole or not at all."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_guard_is_never_a_standard_stream(tmp_path):
    """A caller that closes descriptor 2, and native code that complains there: the store must not notice."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from govraft.adapters.store_guard import StoreGuard\n"
        "database = Path(sys.argv[1])\n"
        "for descriptor in range(3):\n"
        "    os.close(descriptor)\n"
        "guard = StoreGuard(database)\n"
        "guard.mark(7, sync=True)\n"
        "for descriptor in range(3):\n"
        "    try:\n"
        "        os.write(descriptor, b'a message of native code')\n"
        "    except OSError:\n"
        "        pass\n"
        "guard.release()\n"
        "StoreGuard(database).release()\n"
    )
    database = tmp_path / "node.db"
    done = subprocess.run([sys.executable, "-c", program, str(database)], check=False)
    assert done.returncode == 0
    guard = StoreGuard(database)
    assert guard.writes == 7
    guard.release()
