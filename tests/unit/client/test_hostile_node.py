"""A client and a node that lies, stalls or breaks off: each time a deny, in time."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hostile_node import RAW, UNBELIEVABLE, answer, good_allow, good_answer

from govraft import Allow, AsyncClient, Client, Denied, Deny, GovraftError
from govraft.api.wire import request_digest
from govraft.errors import AvailabilityError, RejectedError

ASK = ("p", "a", "r")


def _ask_both(endpoint: str, timeout: float) -> list[Any]:
    async def ask() -> Any:
        async with AsyncClient(endpoint, timeout=timeout) as client:
            return await client.check(*ASK, at_least=4)

    with Client(endpoint, timeout=timeout) as client:
        return [client.check(*ASK, at_least=4), asyncio.run(ask())]


def test_the_good_answer_is_believed(hostile: Any) -> None:
    """Without this, the tests below could pass for the wrong reason."""
    node = hostile(lambda call, connection: answer(connection, good_answer(call)))
    for verdict in _ask_both(node.endpoint, 5):
        assert isinstance(verdict, Allow)
        assert verdict


@pytest.mark.parametrize("name", UNBELIEVABLE)
def test_unbelievable_allows_deny(hostile: Any, name: str) -> None:
    node = hostile(lambda call, connection: answer(connection, UNBELIEVABLE[name](call)))
    for verdict in _ask_both(node.endpoint, 0.3):
        assert isinstance(verdict, Deny), name


@pytest.mark.clause("2 fail-closed by default")
@pytest.mark.parametrize("name", RAW)
def test_every_hostile_answer_denies(hostile: Any, name: str) -> None:
    node = hostile(RAW[name])
    start = time.monotonic()
    for verdict in _ask_both(node.endpoint, 0.3):
        assert isinstance(verdict, Deny), name
        assert verdict.reason in {"node_unreachable", "internal_error"}
    assert time.monotonic() - start < 2


def test_swapped_answers_deny(hostile: Any) -> None:
    """Two questions at once on one connection; each gets the other's answer under its own id."""
    held: list[dict[str, Any]] = []

    def swap(call: dict[str, Any], connection: socket.socket) -> None:
        held.append(call)
        if len(held) == 2:
            for mine, other in (held, held[::-1]):
                answer(connection, good_answer(other, id=mine["id"]))

    async def ask(endpoint: str) -> Any:
        async with AsyncClient(endpoint, timeout=5) as client:
            await client._connected(time.monotonic() + 5)
            return await asyncio.gather(client.check("p", "a", "r1"), client.check("p", "a", "r2"))

    verdicts = asyncio.run(ask(hostile(swap).endpoint))
    assert [type(verdict) for verdict in verdicts] == [Deny, Deny]


@pytest.mark.parametrize("extra", [0, 3])
def test_an_answer_left_over_never_meets_another_question(hostile: Any, extra: int) -> None:
    """The first answer comes doubled (or with a piece more): it must not serve the second question."""

    def double(call: dict[str, Any], connection: socket.socket) -> None:
        data = msgspec.msgpack.encode(good_answer(call))
        connection.sendall(len(data).to_bytes(4, "big") + data + (len(data).to_bytes(4, "big") + data)[: extra or None])

    node = hostile(double)
    with Client(node.endpoint, timeout=1) as client:
        assert isinstance(client.check(*ASK), Deny)
        assert isinstance(client.check(*ASK), Deny)
    assert node.connections == 2


def test_a_late_answer_never_meets_another_question(hostile: Any) -> None:
    held: list[dict[str, Any]] = []

    def late(call: dict[str, Any], connection: socket.socket) -> None:
        held.append(call)
        if len(held) > 1:
            answer(connection, good_answer(held[0]))

    node = hostile(late)
    with Client(node.endpoint, timeout=0.2) as client:
        assert isinstance(client.check(*ASK), Deny)
        assert isinstance(client.check("p", "a", "other"), Deny)


@pytest.mark.parametrize("protocol", [0, 2, "1", None])
def test_another_protocol_is_not_spoken(hostile: Any, protocol: object) -> None:
    def greet(call: dict[str, Any], connection: socket.socket) -> None:
        hello = {"protocol": protocol, "node": "n", "cluster": "c"}
        answer(connection, {"id": call["id"], "ok": True, "result": hello})

    for verdict in _ask_both(hostile(greet, greet=False).endpoint, 1):
        assert isinstance(verdict, Deny)


def test_a_node_that_refuses_the_connection_is_quoted(hostile: Any) -> None:
    error = {"code": "peer_refused", "message": "uid 7 may not", "definite": True, "kind": "unavailable"}
    node = hostile(lambda call, connection: answer(connection, {"id": 0, "ok": False, "error": error}), greet=False)
    for verdict in _ask_both(node.endpoint, 1):
        assert (verdict.reason, verdict.message) == ("node_unreachable", "uid 7 may not")


def test_reported_errors_keep_their_reason(hostile: Any) -> None:
    error = {"code": "node_starting", "message": "wait", "definite": True, "kind": "unavailable"}
    node = hostile(lambda call, connection: answer(connection, {"id": call["id"], "ok": False, "error": error}))
    for verdict in _ask_both(node.endpoint, 1):
        assert verdict.reason == "node_starting"


@pytest.mark.parametrize(
    "results",
    [[], [good_allow()], [good_allow()] * 3, [good_allow(seq=1), good_allow(valid_until=1)], [True, True], None, "xx"],
)
def test_a_batch_with_anything_wrong_allows_nothing(hostile: Any, results: object) -> None:
    def reply(call: dict[str, Any], connection: socket.socket) -> None:
        digest = request_digest(msgspec.msgpack.encode(call["requests"]))
        answer(connection, {"id": call["id"], "ok": True, "request": digest, "result": results})

    with Client(hostile(reply).endpoint, timeout=0.5) as client:
        verdicts = client.check_many([ASK, ASK], at_least=2)
    assert [type(verdict) for verdict in verdicts] == [Deny, Deny]


def _submit_with(hostile: Any, receipt: object, **changes: object) -> Any:
    def reply(call: dict[str, Any], connection: socket.socket) -> None:
        digest = request_digest(call["envelope"])
        answer(connection, {"id": call["id"], "ok": True, "request": digest, "result": receipt, **changes})

    with Client(hostile(reply).endpoint) as client:
        return client.submit(b"{}", timeout=1)


GOOD_RECEIPT = {"command_id": "c", "outcome": "applied", "seq": 4, "certified_seq": 4, "certificate": b"note"}


def test_a_good_receipt_is_believed(hostile: Any) -> None:
    assert _submit_with(hostile, GOOD_RECEIPT).seq == 4


@pytest.mark.parametrize(
    "changes", [{"certified_seq": 3}, {"certified_seq": 0}, {"certificate": b""}, {"seq": 0}, {"outcome": "pending"}]
)
def test_a_receipt_without_certificate_is_not_effective(hostile: Any, changes: dict[str, object]) -> None:
    with pytest.raises(GovraftError, match="receipt") as caught:
        _submit_with(hostile, {**GOOD_RECEIPT, **changes})
    assert not caught.value.definite


def test_a_receipt_of_a_rejection_raises_it(hostile: Any) -> None:
    with pytest.raises(RejectedError) as caught:
        _submit_with(hostile, {**GOOD_RECEIPT, "outcome": "entity_cycle"})
    assert caught.value.code == "entity_cycle"


def test_a_receipt_for_another_envelope_is_refused(hostile: Any) -> None:
    with pytest.raises(GovraftError, match="another question"):
        _submit_with(hostile, GOOD_RECEIPT, request=b"x" * 32)


@pytest.mark.parametrize("name", ["closes", "never answers", "huge length"])
def test_a_submit_without_answer_is_indefinite_and_sent_once(
    hostile: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("govraft.client.client._GRACE_S", 0.0)
    node = hostile(RAW[name])
    with Client(node.endpoint) as client, pytest.raises(GovraftError) as caught:
        client.submit(b"{}", timeout=0.2)
    assert not caught.value.definite
    assert len(node.calls) == 1


def test_a_submit_after_a_check_is_sent_once(hostile: Any) -> None:
    """On a kept connection nobody could tell a restarted node from one that took the command and broke off."""

    def reply(call: dict[str, Any], connection: socket.socket) -> None:
        if call["op"] == "check":
            answer(connection, good_answer(call))
        else:
            connection.shutdown(socket.SHUT_RDWR)

    node = hostile(reply)
    with Client(node.endpoint) as client:
        assert client.check(*ASK)
        with pytest.raises(AvailabilityError) as caught:
            client.submit(b"{}", timeout=1)
    assert not caught.value.definite
    assert [call["op"] for call in node.calls] == ["check", "submit"]


def test_an_answer_to_nothing_ends_the_wait_at_once(hostile: Any) -> None:
    node = hostile(lambda call, connection: answer(connection, good_answer(call, id=call["id"] + 1)))
    for verdict in _ask_both(node.endpoint, 5):
        assert verdict.reason == "internal_error"


def test_a_submit_to_nobody_is_definite(tmp_path: Path) -> None:
    with pytest.raises(AvailabilityError) as caught:
        Client(f"unix://{tmp_path}/none").submit(b"{}")
    assert caught.value.definite


def test_a_listener_that_never_accepts_denies_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "s"))
        listener.listen(0)
        filler = socket.socket(socket.AF_UNIX)
        filler.connect(os.fspath(tmp_path / "s"))
        start = time.monotonic()
        for verdict in _ask_both(f"unix://{tmp_path}/s", 0.2):
            assert verdict.reason == "node_unreachable"
        assert time.monotonic() - start < 2
        filler.close()


def test_require_raises_what_check_denies(hostile: Any) -> None:
    node = hostile(lambda call, connection: answer(connection, UNBELIEVABLE["expired"](call)))
    with Client(node.endpoint) as client, pytest.raises(Denied) as caught:
        client.require(*ASK)
    assert isinstance(caught.value.verdict, Deny)
    assert caught.value.code == "lease_expired"


def test_an_allow_runs_out_by_itself(hostile: Any) -> None:
    node = hostile(
        lambda call, connection: answer(
            connection, good_answer(call, result=good_allow(valid_until=time.clock_gettime_ns(7) + 300_000_000))
        )
    )
    with Client(node.endpoint) as client:
        allow = client.check(*ASK)
    assert isinstance(allow, Allow)
    assert allow
    while time.clock_gettime_ns(time.CLOCK_BOOTTIME) < allow.valid_until:
        time.sleep(0.01)
    assert not allow
