"""No pickle is ever loaded, and none is ever written, while a cluster elects, replicates and restarts (H9)."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import sys
from typing import Any

import msgpack
import pysyncobj.pickle
import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import decode_frame
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom

NAMES = ("a", "b", "c")


class MiniCluster:
    """Three members in memory, no delays, no losses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.frames: list[tuple[str, str, bytes]] = []
        self.seen_frames: list[bytes] = []
        self.journals: dict[str, list[JournalEntry]] = {name: [] for name in NAMES}
        self.hard_states = dict.fromkeys(NAMES, HardState())
        self.applied: dict[str, list[bytes]] = {name: [] for name in NAMES}
        self.members = {name: self.start(name) for name in NAMES}

    def start(self, name: str) -> PysyncobjSequencer:
        self.applied[name] = []
        member = PysyncobjSequencer(
            node_id=name,
            voters=NAMES,
            journal=list(self.journals[name]),
            hard_state=self.hard_states[name],
            timing=EngineTiming(0.1, 0.5, 1.0, 1.0),
            monotonic=lambda: self.now,
            rng=random.Random(name),
            send=lambda peer, frame: self.frames.append((name, peer, frame)),
            record=lambda op: self.record(name, op),
            on_commit=lambda _index, _term, entry: self.applied[name].append(entry),
        )
        for peer in NAMES:
            if peer != name:
                member.link(peer, True)
        return member

    def record(self, name: str, op: JournalOp) -> None:
        if isinstance(op, Append):
            self.journals[name].append(op.entry)
        elif isinstance(op, TruncateFrom):
            del self.journals[name][op.index - 1 :]
        elif isinstance(op, SetHardState | AdvanceCommit):
            self.hard_states[name] = op.hard_state

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            for member in self.members.values():
                member.turn()
            while self.frames:
                sender, receiver, frame = self.frames.pop(0)
                self.seen_frames.append(frame)
                self.members[receiver].receive(sender, frame)
                if not self.frames:
                    for member in self.members.values():
                        member.turn()

    def propose(self, entry: bytes) -> None:
        next(member for member in self.members.values() if member.is_leader).propose(entry)


class PickleAlarm(Exception):
    """Somebody used pickle."""


def sound_alarm(*_arguments: object, **_named: object) -> Any:
    raise PickleAlarm("pickle was used")


def disarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every way into pickle, C and Python, raise."""
    for name in ("load", "loads", "_load", "_loads", "dump", "dumps", "Unpickler", "_Unpickler", "Pickler", "_Pickler"):
        monkeypatch.setattr(pickle, name, sound_alarm)
    for name in ("load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pysyncobj.pickle, name, sound_alarm)
    c_pickle = sys.modules["_pickle"]
    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(c_pickle, name, sound_alarm)


class Exploit:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (io.StringIO, ("unpickled",))


def is_pickle(data: bytes) -> bool:
    """Whether `data` is one whole pickle."""
    try:
        *_, (opcode, _, position) = pickletools.genops(data)
    except Exception:  # noqa: BLE001 - pickletools raises many kinds
        return False
    return opcode.name == "STOP" and position == len(data) - 1


def test_the_alarm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = pickle.dumps(Exploit())
    assert is_pickle(bomb)
    disarm(monkeypatch)
    for load in (pickle.loads, pysyncobj.pickle.loads):
        with pytest.raises(PickleAlarm):
            load(bomb)


def test_a_cluster_runs_without_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    bombs = [pickle.dumps(Exploit(), protocol) for protocol in range(6)]
    disarm(monkeypatch)
    cluster = MiniCluster()
    cluster.run(3.0)
    for bomb in bombs:
        cluster.propose(bomb)  # an entry is opaque: it may well be a pickle, and stays bytes
    cluster.run(0.5)
    for name, member in cluster.members.items():
        for peer in NAMES:
            for bomb in bombs:
                for frame in (bomb, msgpack.packb({"type": "append_entries", "transmission": "finish", "data": bomb})):
                    member.receive(peer, frame)
        assert member.faults["malformed"] == 6 * len(bombs), name
    cluster.members["b"] = cluster.start("b")
    cluster.run(3.0)
    cluster.propose(b"last")
    cluster.run(0.5)
    assert all(applied == [*bombs, b"last"] for applied in cluster.applied.values())

    assert cluster.seen_frames
    for frame in cluster.seen_frames:
        assert not is_pickle(frame)
        decode_frame(frame)
    for journal in cluster.journals.values():
        assert len(journal) >= len(bombs) + 2
        assert not any(is_pickle(entry.payload) for entry in journal)
        assert {entry.payload[1:] for entry in journal} == {b"", b"last", *bombs}
