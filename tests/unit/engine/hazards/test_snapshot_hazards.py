"""Hazards of the stock engine's snapshots, each seen to happen there; here there is nothing for them to happen to."""

from __future__ import annotations

import gzip
import pickle
import random
from pathlib import Path
from typing import Any

import msgpack
import pytest
from simulation.arena import Arena

from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    AppendEntries,
    NextNodeIndex,
    decode_frame,
    encode_frame,
)
from govraft.adapters.engine.journal import EngineJournal
from govraft.core.machine.snapshot import Snapshot
from govraft.errors import CorruptionError, InvariantViolation
from govraft.ports.store import HardState, JournalEntry, TruncateFrom

# The stock journal opens files and leaves closing them to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

ENTRY = REGULAR + b"entry"
SIX = [(NO_OP, index, 1) for index in range(2, 7)]


def stored(count: int, term: int = 1) -> list[JournalEntry]:
    return [JournalEntry(1, term, NO_OP), *(JournalEntry(index, term, ENTRY) for index in range(2, count + 1))]


def test_h4_crash_between_snapshot_and_truncation(contained: Any, stock: Any, tmp_path: Path) -> None:
    files = {"journalFile": str(tmp_path / "journal"), "fullDumpFile": str(tmp_path / "dump")}
    plain = stock(**files, logCompactionMinEntries=2)
    plain.follow(SIX, commit=4)
    assert plain.wire.sent[-1]["next_node_idx"] == 7  # acknowledged up to 6
    plain.tick()  # applies up to 4 and writes the dump; the truncation would come with the next tick
    plain.close()
    again = stock(**files)
    again.tick()
    assert [index for _, index, _ in again.log] == [3, 4]  # 5 and 6 are gone

    member = contained(journal=stored(6), hard_state=HardState(1, None, 4), options={"applied": 4})
    member.sequencer.turn()
    assert (member.sequencer.last_index, member.applied) == (6, [])
    assert member.ops == []
    # Nothing can cut the front off: the engine's journal has no such operation, and reaching for it halts.
    assert not hasattr(EngineJournal, "deleteEntriesTo")
    assert not hasattr(EngineJournal, "clear")
    with pytest.raises(InvariantViolation):
        member.sequencer._engine._SyncObj__loadDumpFile(False)


def test_h15_a_damaged_snapshot_is_not_swallowed(stock: Any, tmp_path: Path) -> None:
    journal, dump = tmp_path / "journal", tmp_path / "dump"
    files = {"journalFile": str(journal), "fullDumpFile": str(dump)}
    plain = stock(**files, logCompactionMinEntries=2)
    plain.follow(SIX, commit=6)
    plain.tick()
    plain.tick()
    plain.close()
    dump.write_bytes(dump.read_bytes()[:40])
    again = stock(**files)
    again.tick()
    assert again.applied == 1  # a machine without a history
    again.hear("n3", type="request_vote", term=7, last_log_index=9, last_log_term=6)
    assert again.wire.sent[-1]["type"] == "response_vote"
    again.follow([], commit=1)

    sim = _with_snapshots()
    store = sim.nodes["b"].disk
    sim.crash("b")
    store.snapshot = store.snapshot[:-9]
    with pytest.raises(CorruptionError, match="remove it and start again"):
        sim.start("b")
    store.snapshot = None
    sim.start("b")
    assert sim.nodes["b"].core.machine.root == sim.nodes["a"].core.machine.root


def test_h16_an_older_snapshot_does_not_roll_back(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.follow(SIX, commit=6)
    plain.tick()
    assert plain.applied == 6
    old = gzip.compress(pickle.dumps(({}, (NO_OP, 3, 1), (NO_OP, 2, 1), set())))
    for part in ((old, True, False), (b"", False, True)):
        plain.hear("n2", type="append_entries", term=1, commit_index=3, serialized=part)
    assert plain.applied == 3
    assert [index for _, index, _ in plain.log] == [2, 3]

    member = contained()
    member.follow(commit=3)
    for part in ([old, True, False], [b"", False, True], None):
        frame = {"type": "append_entries", "term": 2, "commit_index": 9, "serialized": part}
        member.sequencer.receive("n2", msgpack.packb(frame))
    member.sequencer.turn()
    assert member.sequencer.faults["malformed"] == 3
    assert (member.sequencer.last_index, member.sequencer.commit_index, member.sequencer.term) == (3, 3, 1)

    # Its own snapshot being an old one, a node replays the more.
    sim = _with_snapshots()
    old_snapshot = sim.nodes["b"].disk.snapshot
    sim.commit(9)
    sim.advance("a", "b", "c")
    sim.step(500)
    sim.crash("b")
    assert Snapshot.decode(sim.nodes["b"].disk.snapshot).seq > Snapshot.decode(old_snapshot).seq
    sim.nodes["b"].disk.snapshot = old_snapshot
    sim.start("b")
    assert sim.nodes["b"].core.machine.root == sim.nodes["a"].core.machine.root


@pytest.mark.parametrize(("kind", "kept"), [(tuple, [3, 4, 5, 6]), (list, [3, 4])])
def test_h17_a_decoder_of_lists_does_not_wipe_the_journal(
    contained: Any, stock: Any, tmp_path: Path, kind: Any, kept: list[int]
) -> None:
    def serializer(path: str, data: Any) -> None:
        Path(path).write_bytes(msgpack.packb([list(entry) for entry in data[:2]]))

    def deserializer(path: str) -> Any:
        newer, older = msgpack.unpackb(Path(path).read_bytes(), use_list=kind is list)
        return kind(newer), kind(older), set()

    files = {
        "journalFile": str(tmp_path / "journal"),
        "fullDumpFile": str(tmp_path / "dump"),
        "serializer": serializer,
        "deserializer": deserializer,
    }
    plain = stock(**files, logCompactionMinEntries=2)
    plain.follow(SIX, commit=4)
    plain.tick()
    plain.tick()
    assert [index for _, index, _ in plain.log] == [3, 4, 5, 6]
    plain.close()
    again = stock(**files)
    again.tick()
    assert [index for _, index, _ in again.log] == kept  # with lists, what was acknowledged after the dump is gone

    frame = encode_frame(AppendEntries(1, 0, 0, 0, ((1, NO_OP), (1, ENTRY))))
    message = decode_frame(frame)
    assert isinstance(message, AppendEntries)
    assert type(message.entries) is type(message.entries[0]) is tuple
    member = contained(journal=stored(6), hard_state=HardState(1, None, 4))
    member.sequencer.turn()
    assert member.sequencer.last_index == 6
    assert not any(isinstance(op, TruncateFrom) for op in member.ops)


def test_h24_no_frame_with_a_snapshot_moves_the_commit_index(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.follow(SIX, commit=2)
    plain.hear("n3", type="append_entries", term=2, commit_index=6, serialized=None)
    assert plain.engine.raftCommitIndex == 6

    member = contained()
    member.follow(commit=1)
    for extra in ({"serialized": None}, {"serialized": None, "prev_index": 3, "prev_term": 1, "entries": []}):
        member.sequencer.receive("n3", msgpack.packb({"type": "append_entries", "term": 2, "commit_index": 3, **extra}))
    assert member.sequencer.commit_index == 1
    assert member.sequencer.faults["malformed"] == 2


def test_h27_no_spin_while_a_snapshot_is_pending(contained: Any, stock: Any) -> None:
    plain = stock()
    term = plain.lead()
    for index in range(3, 6):
        plain.engine._SyncObj__raftLog.add(NO_OP, index, term)
    plain.acknowledge("n2", 5)
    plain.engine.forceLogCompaction()
    plain.tick()  # the dump is made; that it is done is noticed at the end of the next tick
    plain.hear("n3", type="next_node_idx", next_node_idx=1, reset=True, success=False)
    plain.wire.posted.clear()

    def one_message_takes_a_while() -> None:
        plain.now += 0.0001

    plain.wire.on_send = one_message_takes_a_while
    plain.tick(0.2)
    empty = [message for peer, message in plain.wire.posted if peer == "n3" and "serialized" in message]
    assert len(empty) > 500
    assert {message["serialized"] for message in empty} == {None}

    journal = stored(300)
    member = contained(
        journal=journal,
        hard_state=HardState(1, None, 300),
        options={"read_journal": lambda first, last: journal[first - 1 : last], "window_entries": 4, "applied": 300},
    )
    term = member.lead()
    assert member.sequencer.journal_floor > 290
    member.hear("n2", NextNodeIndex(term, 0, 302, False, True))
    member.sequencer.turn()
    member.now += 0.2
    member.sequencer.turn()
    member.sent.clear()
    member.hear("n3", NextNodeIndex(term, 300, 1, True, False))
    for _ in range(5):
        member.sequencer.turn()
    frames = [message for peer, message in member.sent if peer == "n3"]
    assert len(frames) == 1, "one probe, straight from the disk, and no other before its answer"
    assert isinstance(frames[0], AppendEntries)
    assert (frames[0].prev_index, len(frames[0].entries)) == (0, 301)


def _with_snapshots() -> Arena:
    sim = Arena(seed=random.Random(1).getrandbits(8), snapshot_entries=5)
    sim.lead("a", "b", "c")
    sim.commit(8)
    sim.advance("a", "b", "c")
    sim.step(500)
    assert sim.nodes["b"].disk.snapshot is not None
    return sim
