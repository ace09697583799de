"""Hazards of what the stock engine opens to the outside: its transport, membership and forwarding of commands."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import zlib
from typing import Any

import msgpack
import pysyncobj.syncobj as stock_module
import pytest
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import Node, TCPNode
from pysyncobj.tcp_connection import TcpConnection
from pysyncobj.transport import TCPTransport

from govraft.adapters.engine.contained import ContainedEngine, _Outbox
from govraft.adapters.engine.frames import NO_OP, AppendEntries, NextNodeIndex, encode_frame
from govraft.errors import AvailabilityError, InvariantViolation

MARK = "GOVRAFT_TEST_UNPICKLED"


class Payload:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.environ['{MARK}'] = 'run'",)


class Unbound(TCPTransport):  # type: ignore[misc] # the engine is untyped
    """The stock transport, without a socket to listen on."""

    def _maybeBind(self) -> None:  # noqa: N802 - the engine's name
        self._ready = True

    def _connectIfNecessary(self) -> None:  # noqa: N802 - the engine's name
        """Nobody is there."""


class Visitor:
    """A connection that anybody may have opened: no name, no certificate, no password."""

    state = 2

    def __init__(self) -> None:
        self.received: list[Any] = []

    def send(self, message: Any) -> None:
        self.received.append(message)

    def disconnect(self) -> None:
        self.received.append("closed")

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


def listening(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A stock engine that leads a cluster of one, and its transport."""
    now = [0.0]
    monkeypatch.setattr(stock_module, "monotonicTime", lambda: now[0])
    settings = stock_module.SyncObjConf(autoTick=False, bindAddress="127.0.0.1:0", dynamicMembershipChange=True)
    engine = stock_module.SyncObj(TCPNode("127.0.0.1:7001"), [], settings, transportClass=Unbound)
    now[0] = 9.0
    engine.doTick(0.0)
    engine.doTick(0.0)
    assert engine._isLeader()
    return engine, engine._SyncObj__transport


def test_h9_a_stranger_gets_nothing(contained: Any, stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stock()
    engine, transport = listening(monkeypatch)
    engine._idToMethod[7] = lambda _doApply: None  # noqa: N803
    secret = b"\0" + pickle.dumps(7)
    engine._applyCommand(secret, None)
    engine.doTick(0.0)
    visitor = Visitor()
    transport._onNewIncomingConnection(visitor)
    transport._onIncomingMessageReceived(visitor, "readonly")
    monkeypatch.setattr("pysyncobj.transport.CONNECTION_STATE.CONNECTED", visitor.state)
    engine._SyncObj__raftNextIndex[next(iter(engine._SyncObj__readonlyNodes))] = 2
    engine._SyncObj__sendAppendEntries()
    assert secret in [payload for payload, _, _ in visitor.received[-1]["entries"]]  # the whole log, for the asking
    # And so is a seat in the cluster.
    transport._onIncomingMessageReceived(Visitor(), ["add", "127.0.0.1:6666"])
    engine.doTick(0.0)
    assert [node.id for node in engine._SyncObj__otherNodes] == ["127.0.0.1:6666"]
    engine.destroy()

    member = contained()
    member.lead()
    member.sent.clear()
    for frame in (b"readonly", msgpack.packb("readonly"), msgpack.packb(["add", "n9"]), msgpack.packb(["status"])):
        member.sequencer.receive("stranger", frame)
        member.sequencer.receive("n2", frame)
    assert member.sequencer.faults["malformed"] == 8
    member.sequencer.link("stranger", True)
    member.now += 0.2
    member.sequencer.turn()
    assert {peer for peer, _ in member.sent} == {"n2", "n3"}
    transport = member.sequencer._engine._SyncObj__transport
    assert type(transport) is _Outbox
    assert not isinstance(transport, TCPTransport)


def test_h9_nothing_is_unpickled(contained: Any, stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stock()
    monkeypatch.setenv(MARK, "not run")
    near, far = socket.socketpair()
    near.setblocking(False)
    body = zlib.compress(pickle.dumps(Payload()), 3)
    far.sendall(struct.pack("i", len(body)) + body)

    class Poller:
        def subscribe(self, *_: object) -> None:
            """Nobody polls."""

        def unsubscribe(self, *_: object) -> None:
            """Nobody polls."""

    connection = TcpConnection(Poller(), socket=near)
    connection._TcpConnection__tryReadBuffer()
    connection._TcpConnection__processParseMessage()
    assert os.environ[MARK] == "run"  # before anybody has said who he is
    connection.disconnect()
    far.close()

    monkeypatch.setenv(MARK, "not run")
    member = contained()
    member.follow(commit=3)
    hidden = msgpack.packb({"type": "append_entries", "data": pickle.dumps(Payload())})
    for frame in (pickle.dumps(Payload()), body, hidden):
        member.sequencer.receive("n2", frame)
    member.sequencer.turn()
    assert os.environ[MARK] == "not run"
    assert member.sequencer.faults["malformed"] == 3


def test_h5_membership_changes_do_not_overlap(contained: Any, stock: Any) -> None:
    plain = stock(dynamicMembershipChange=True)
    plain.lead()
    plain.acknowledge("n2", 2)
    assert plain.engine.raftCommitIndex == 2  # the leader's own entry is committed, so it takes changes
    plain.engine._applyCommand(pickle.dumps(["add", "n4", Node("n4")]), None, 2)
    plain.engine._applyCommand(pickle.dumps(["add", "n5", Node("n5")]), None, 2)
    plain.tick()
    assert plain.engine.raftCommitIndex == 2
    assert {node.id for node in plain.engine._SyncObj__otherNodes} == {"n2", "n3", "n4", "n5"}  # two at once
    # The old majority of n2 and n3 and the new one of n1, n4 and n5 share nobody.
    assert plain.engine._SyncObj__changeClusterIDx is None

    # Membership changes only by certified entries, which the engine does not know of: here it refuses all of them.
    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    member.sequencer.turn()
    member.sequencer.propose(b"\2" + pickle.dumps(["add", "n4"]))
    member.hear("n2", NextNodeIndex(term, 1, 3, False, True))
    member.sequencer.turn()
    assert member.sequencer.entry(2) == b"\2" + pickle.dumps(["add", "n4"]), "bytes like any others"
    engine = member.sequencer._engine
    assert {node.id for node in engine._SyncObj__otherNodes} == {"n2", "n3"}
    for call in (engine._SyncObj__doChangeCluster, engine._SyncObj__changeCluster):
        with pytest.raises(InvariantViolation):
            call(["add", "n4"])
    follower = contained()
    follower.follow(commit=3)
    change = AppendEntries(1, 4, 3, 1, ((1, b"\2" + pickle.dumps(["add", "n4"])),))
    follower.sequencer.receive("n2", encode_frame(change))
    assert follower.sequencer.faults["malformed"] == 1
    assert follower.sequencer._engine._SyncObj__conf.dynamicMembershipChange is False


def test_h14_h20_no_command_waits_for_ever(contained: Any, stock: Any) -> None:
    answers: list[tuple[Any, Any]] = []
    plain = stock()
    plain.follow([(NO_OP, 2, 1)], commit=2)
    plain.wire.works = False
    plain.engine._applyCommand(b"\0lost", lambda *answer: answers.append(answer))
    plain.tick()
    for _ in range(60):
        plain.tick(0.1)
        plain.follow([], commit=2)  # the leader is well, only that one frame was lost
        plain.engine.doTick(0.0)
    assert answers == []
    assert len(plain.engine._SyncObj__commandsWaitingReply) == 1

    late = stock()
    late.engine._applyCommand(b"\0" + pickle.dumps(7), lambda *answer: answers.append(answer))
    late.tick()
    late.now += 600.0
    late.lead()
    late.tick()
    assert late.log[-1][0] == b"\0" + pickle.dumps(7)  # ten minutes after it was asked for

    member = contained()
    with pytest.raises(AvailabilityError) as caught:
        member.sequencer.propose(b"x")
    assert (caught.value.code, caught.value.definite) == ("not_leader", True)
    member.now += 600.0
    member.lead()
    member.sequencer.turn()
    assert member.sequencer.last_index == 1, "only the leader's own entry"
    with pytest.raises(InvariantViolation):
        member.sequencer._engine._applyCommand(b"x", None)


def test_h28_an_answer_of_an_earlier_life_answers_nothing(contained: Any, stock: Any) -> None:
    asked: list[int] = []
    first = stock()
    first.follow([(NO_OP, 2, 1)], commit=2)
    first.engine._applyCommand(b"\0delete everything", lambda *_: None)
    first.tick()
    asked.append(first.wire.sent[-1]["request_id"])
    # The process dies and comes back; its first question has the number of the earlier one.
    answers: list[tuple[Any, Any]] = []
    second = stock()
    second.follow([(NO_OP, 2, 1)], commit=2)
    second.engine._applyCommand(b"\0read something", lambda *answer: answers.append(answer))
    second.tick()
    asked.append(second.wire.sent[-1]["request_id"])
    assert asked == [1, 1]
    # The leader's answer to the earlier one arrives late, and then the entry that it speaks of.
    second.hear("n2", type="apply_command_response", request_id=1, log_idx=3, log_term=1)
    second.engine._SyncObj__doApplyCommand = lambda command: command
    second.hear(
        "n2",
        type="append_entries",
        term=1,
        commit_index=3,
        entries=[(b"\0delete everything", 3, 1)],
        prevLogIdx=2,
        prevLogTerm=1,
    )
    second.tick()
    assert answers == [(b"\0delete everything", FAIL_REASON.SUCCESS)]  # the answer to a question never asked

    # Nothing is numbered here: commands are forwarded by the digest of their bytes, and not by the engine.
    member = contained()
    member.follow(commit=3)
    for stray in (
        {"type": "apply_command_response", "request_id": 1, "log_idx": 4, "log_term": 1},
        {"type": "apply_command", "command": b"\0x", "request_id": 1},
    ):
        member.sequencer.receive("n2", msgpack.packb(stray))
    assert member.sequencer.faults["malformed"] == 2
    assert not member.sequencer._engine._SyncObj__commandsWaitingReply
    assert not member.sequencer._engine._SyncObj__commandsWaitingCommit
    assert issubclass(type(member.sequencer._engine), ContainedEngine)
