"""Two single members, fed by hand: one stock engine and one contained, to show a hazard in the first only."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pysyncobj.syncobj as stock_module
import pytest
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    AppendEntries,
    Message,
    PreVoteResponse,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.ports.sequencer import JournalOp
from govraft.ports.store import HardState, JournalEntry


@dataclass
class Contained:
    """One contained member, fed by hand."""

    voters: int = 3
    journal: list[JournalEntry] = field(default_factory=list)
    hard_state: HardState = field(default_factory=HardState)
    now: float = 0.0
    sent: list[tuple[str, Message]] = field(default_factory=list)
    ops: list[JournalOp] = field(default_factory=list)
    applied: list[int] = field(default_factory=list)
    is_apply_broken: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sequencer = PysyncobjSequencer(
            node_id="n1",
            voters=[f"n{number}" for number in range(1, self.voters + 1)],
            journal=self.journal,
            hard_state=self.hard_state,
            timing=EngineTiming(0.1, 0.5, 1.0, 1.0),
            monotonic=lambda: self.now,
            rng=random.Random(1),
            send=lambda peer, frame: self.sent.append((peer, decode_frame(frame))),
            record=self.ops.append,
            on_commit=self._apply,
            **self.options,
        )
        for number in range(2, self.voters + 1):
            self.sequencer.link(f"n{number}", True)

    def _apply(self, index: int, _term: int, _entry: bytes) -> None:
        self.applied.append(index)
        if self.is_apply_broken:
            raise OSError("planted")

    def hear(self, peer: str, message: Message) -> None:
        self.sequencer.receive(peer, encode_frame(message))

    def stand(self) -> int:
        """Become candidate; returns the term."""
        self.now += 1.5
        self.sequencer.turn()
        term = self.sequencer.term
        for number in range(2, self.voters + 1):
            self.hear(f"n{number}", PreVoteResponse(term + 1, True))
        self.sequencer.turn()
        self.sent.clear()
        return self.sequencer.term

    def lead(self) -> int:
        """Become leader; returns the term."""
        term = self.stand()
        for number in range(2, self.voters + 1):
            self.hear(f"n{number}", ResponseVote(term))
        assert self.sequencer.is_leader
        return term

    def follow(self, commit: int) -> None:
        """Become a follower of n2 in term 1 with three entries, and forget what was sent and recorded."""
        entry = REGULAR + b"entry"
        self.hear("n2", AppendEntries(1, commit, 0, 0, ((1, NO_OP), (1, entry), (1, entry))))
        self.sequencer.turn()
        self.sent.clear()
        self.ops.clear()

    def answers(self, kind: type[Message]) -> list[Message]:
        return [message for _, message in self.sent if isinstance(message, kind)]


class Stock:
    """One stock member, fed by hand."""

    class Wire(Transport):  # type: ignore[misc]
        """Collects what is sent; `works` False: says of each message that it was not."""

        def __init__(self) -> None:
            super().__init__(None, None, None)
            self.sent: list[dict[str, Any]] = []
            self.posted: list[tuple[str, dict[str, Any]]] = []
            self.works = True
            self.on_send: Callable[[], None] = lambda: None

        def send(self, node: Node, message: dict[str, Any]) -> bool:
            self.on_send()
            self.sent.append(message)
            self.posted.append((node.id, message))
            return self.works

    def __init__(self, monkeypatch: pytest.MonkeyPatch, voters: int = 3, **configuration: Any) -> None:
        self.now = 0.0
        self._is_closed = False
        monkeypatch.setattr(stock_module, "monotonicTime", lambda: self.now)
        self.wire = self.Wire()
        self.nodes = {f"n{number}": Node(f"n{number}") for number in range(2, voters + 1)}
        defaults = {"autoTick": False, "raftMinTimeout": 0.5, "raftMaxTimeout": 1.0, "useFork": False}
        settings = stock_module.SyncObjConf(**{**defaults, **configuration})
        self.engine = stock_module.SyncObj(Node("n1"), list(self.nodes.values()), settings, transport=self.wire)
        for node in self.nodes.values():
            self.engine._SyncObj__onNodeConnected(node)

    @property
    def applied(self) -> int:
        return int(self.engine._SyncObj__raftLastApplied)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.engine.doTick(0.0)

    def acknowledge(self, peer: str, index: int) -> None:
        """Let a follower say that its log equals this leader's up to `index`."""
        self.hear(peer, type="next_node_idx", next_node_idx=index + 1, reset=False, success=True)
        self.tick()

    def close(self) -> None:
        """Let go of files, if there are any. What was written stays, as after a kill."""
        if not self._is_closed:
            self._is_closed = True
            self.engine._SyncObj__raftLog._destroy()

    def hear(self, peer: str, **message: object) -> None:
        self.engine._SyncObj__onMessageReceived(self.nodes.get(peer, Node(peer)), message)

    def stand(self) -> int:
        self.now += 1.5
        self.engine.doTick(0.0)
        return int(self.engine.raftCurrentTerm)

    def lead(self) -> int:
        term = self.stand()
        self.hear("n2", type="response_vote", term=term)
        assert self.engine._isLeader()
        return term

    def follow(self, entries: list[tuple[bytes, int, int]], commit: int) -> None:
        self.hear(
            "n2", type="append_entries", term=1, commit_index=commit, entries=entries, prevLogIdx=1, prevLogTerm=0
        )

    @property
    def log(self) -> list[tuple[bytes, int, int]]:
        return list(self.engine._SyncObj__raftLog[:])


@pytest.fixture
def contained() -> type[Contained]:
    """A contained member."""
    return Contained


class MakeStock:
    """Makes stock members; at the end of the test, at least one must have been made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.made: list[Stock] = []

    def __call__(self, voters: int = 3, **configuration: Any) -> Stock:
        self.made.append(Stock(self._monkeypatch, voters, **configuration))
        return self.made[-1]


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStock]:
    """A stock member."""
    made = MakeStock(monkeypatch)
    yield made
    assert made.made, "this test asks for the stock engine and did not run it"
    for member in made.made:
        member.close()
