"""Hazards of the stock engine's journal files, each seen to happen there, and what the store does instead."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from pysyncobj.journal import FIRST_RECORD_OFFSET, FileJournal

from govraft.adapters.engine.frames import NO_OP, REGULAR, RequestVote, ResponseVote
from govraft.adapters.sqlite_store import SqliteStore
from govraft.adapters.store_guard import guard_path
from govraft.errors import CorruptionError, InvariantViolation
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, StoredState, TruncateFrom, WriteBatch

# The stock journal opens files and leaves closing them to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

ENTRY = REGULAR + b"an entry that somebody relies on"


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, cluster_id="c" * 64, node_id="n1")


def written(path: Path, ops: list[JournalOp]) -> None:
    """Make ops durable, as the node does before any frame leaves."""
    store = opened(path)
    batch = WriteBatch()
    for op in ops:
        if isinstance(op, Append):
            batch.append(op.entry)
        elif isinstance(op, TruncateFrom):
            batch.truncate_from(op.index)
        elif isinstance(op, SetHardState | AdvanceCommit):
            batch.set_hard_state(op.hard_state)
    store.write(batch)
    store.close()


def loaded(path: Path) -> StoredState:
    store = opened(path)
    state = store.load()
    found = StoredState(list(state.journal), state.hard_state, [], None, None, True)
    store.close()
    return found


def test_h10_writes_are_synced(stock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    flushes = mmap.mmap.flush
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda *_: synced.append("sync"))
    plain = stock(journalFile=str(tmp_path / "journal"))
    plain.follow([(NO_OP, 2, 1), (ENTRY, 3, 1)], commit=2)
    assert plain.wire.sent[-1]["success"]  # acknowledged
    plain.hear("n3", type="request_vote", term=2, last_log_index=9, last_log_term=1)
    assert plain.wire.sent[-1]["type"] == "response_vote"  # promised
    assert synced == []  # and nothing of it is on the disk
    assert mmap.mmap.flush is flushes
    monkeypatch.undo()

    # The store's own syncs happen inside SQLite: seen with a tracer in test_sqlite_store.py, set up here.
    store = opened(tmp_path / "node.db")
    modes = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    store.close()
    assert modes == [2, "wal"]  # FULL: each commit is synced before it returns


def test_h10_a_changed_byte_is_found(stock: Any, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    plain = stock(journalFile=str(file))
    plain.follow([(NO_OP, 2, 1), (ENTRY, 3, 1)], commit=3)
    plain.close()
    file.write_bytes(file.read_bytes().replace(b"somebody", b"somebodx"))
    again = stock(journalFile=str(file))
    assert again.log[-1] == (ENTRY.replace(b"somebody", b"somebodx"), 3, 1)  # and on it goes

    path = tmp_path / "node.db"
    written(path, [SetHardState(HardState(1)), Append(JournalEntry(1, 1, ENTRY))])
    for place in (path, path.with_name("node.db-wal")):
        if place.exists():
            place.write_bytes(place.read_bytes().replace(b"somebody", b"somebodx"))
    with pytest.raises(CorruptionError, match="damaged|lacks the last"):
        opened(path)


def test_h10_offsets_end_at_4_gib(stock: Any, tmp_path: Path) -> None:
    plain = stock(journalFile=str(tmp_path / "journal"))
    journal = plain.engine._SyncObj__raftLog
    assert isinstance(journal, FileJournal)
    # As after 4 GiB of entries; the file need not really be that long for the engine to stumble.
    journal._FileJournal__setLastRecordOffset(2**32 - 1)
    with pytest.raises(struct.error):
        journal._FileJournal__setLastRecordOffset(2**32)
    journal._FileJournal__setLastRecordOffset(FIRST_RECORD_OFFSET)

    store = opened(tmp_path / "node.db")
    pages, size = (
        store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("max_page_count", "page_size")
    )
    store.close()
    assert pages * size > 2**40


def test_h23_a_torn_metadata_file_does_not_forget_the_vote(contained: Any, stock: Any, tmp_path: Path) -> None:
    file = tmp_path / "journal"
    plain = stock(journalFile=str(file))
    plain.hear("n2", type="request_vote", term=5, last_log_index=9, last_log_term=4)
    assert plain.wire.posted[-1] == ("n2", {"type": "response_vote", "term": 5})
    plain.close()
    metadata = file.with_name("journal.meta")
    metadata.write_bytes(metadata.read_bytes()[:20])
    again = stock(journalFile=str(file))
    assert again.engine.raftCurrentTerm == 0
    again.hear("n3", type="request_vote", term=5, last_log_index=9, last_log_term=4)
    assert again.wire.posted[-1] == ("n3", {"type": "response_vote", "term": 5})  # the second vote in term 5

    member = contained()
    member.hear("n2", RequestVote(5, 9, 4))
    assert member.answers(ResponseVote) == [ResponseVote(5)]
    path = tmp_path / "node.db"
    written(path, member.ops)
    state = loaded(path)
    assert state.hard_state == HardState(5, "n2")
    reborn = contained(journal=state.journal, hard_state=state.hard_state)
    reborn.hear("n3", RequestVote(5, 9, 4))
    assert reborn.answers(ResponseVote) == []
    # Torn at any length, the file is refused, or what is in it is whole; never is the vote forgotten.
    content, mark = path.read_bytes(), guard_path(path).read_bytes()
    opened_whole = 0
    for length in (0, 20, 100, *range(1024, len(content), 1024), len(content) - 1):
        path.write_bytes(content[:length])
        guard_path(path).write_bytes(mark)
        try:
            torn = loaded(path)
        except CorruptionError:
            continue
        opened_whole += 1
        assert torn.hard_state == HardState(5, "n2")
    assert opened_whole <= 5, "only what is cut off an empty page is not missed"


def test_h23_the_journal_itself_refuses_a_second_vote(contained: Any) -> None:
    member = contained(hard_state=HardState(5, "n2"))
    with pytest.raises(InvariantViolation, match="second vote"):
        member.sequencer._journal.setCurrentTerm(5, "n3")
