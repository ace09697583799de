"""Checks whose allow waits for its record, and denials that the service never gave."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from unit.api.test_socket_server import ASK, Peer, wait_until

from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_office import SocketLimits
from govraft.core.model.limits import REQUEST_BYTES
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny
from govraft.ports.decisions import RecordedVerdict
from govraft.testing.node_stub import NodeStub, StubService, allow

ME = PeerRules(frozenset({os.getuid()}))


class StrictService(StubService):
    """Every allow waits until its record is said to be durable."""

    def __init__(self) -> None:
        super().__init__(self.decide_later)
        self.held: list[RecordedVerdict] = []
        self.denials: list[tuple[Deny, bytes | None, str]] = []

    def decide_later(self, request: Request) -> Any:
        self.held.append(RecordedVerdict(loop=asyncio.get_running_loop()))
        return self.held[-1]

    def record(self) -> None:
        """From any thread: all records that are waited for are durable."""

        def done(future: RecordedVerdict) -> None:
            if not future.done():
                future.set_result(allow())

        for future in list(self.held):
            future.get_loop().call_soon_threadsafe(done, future)

    def stub(self, path: Path, **limits: int) -> NodeStub:
        return NodeStub(
            path,
            self,
            rules=ME,
            limits=SocketLimits(**limits),
            on_denial=lambda denial, request, source: self.denials.append((denial, request, source)),
        )


@pytest.fixture
def service() -> StrictService:
    return StrictService()


def test_an_allow_waits_for_its_record(tmp_path: Path, service: StrictService) -> None:
    with service.stub(tmp_path / "s") as stub, Peer(stub) as peer:
        peer.send({"op": "check", "id": 1, "request": ASK})
        wait_until(lambda: service.held)
        peer.send({"op": "hello", "id": 2})
        assert (peer.receive() or {})["id"] == 2  # Nobody else waits for it.
        service.record()
        assert (peer.receive() or {})["result"]["verdict"] == "allow"
        assert service.denials == []


def test_an_allow_that_the_node_no_longer_gives_is_withdrawn_and_recorded(
    tmp_path: Path, service: StrictService
) -> None:
    with service.stub(tmp_path / "s") as stub, Peer(stub) as peer:
        for call in ({"op": "check", "request": ASK}, {"op": "check_many", "requests": [ASK]}):
            service.held.clear()
            service.denials.clear()
            service.serving = lambda _: False
            peer.send({**call, "id": 1})
            for rounds in range(3 if "requests" in call else 1):
                wait_until(lambda wanted=rounds + 1: len(service.held) == wanted)
                service.record()
            found = (peer.receive() or {})["result"]
            verdict = found[0] if isinstance(found, list) else found
            assert (verdict["verdict"], verdict["reason"]) == ("deny", "synchronizing")
            ((denial, _, source),) = service.denials
            assert (denial.decision, denial.reason, source) == (allow().decision, Reason.SYNCHRONIZING, "withdrawn")


def test_waiting_for_a_record_takes_no_place_of_those_that_wait_for_a_certificate(
    tmp_path: Path, service: StrictService
) -> None:
    with service.stub(tmp_path / "s", waiting_calls=2, waiting_bytes=100) as stub, Peer(stub) as peer:
        peer.send({"op": "check_many", "id": 1, "requests": [ASK] * 50})
        wait_until(lambda: len(service.held) == 50)
        service.record()
        assert [item["verdict"] for item in (peer.receive() or {})["result"]] == ["allow"] * 50


def test_a_client_that_goes_leaves_nothing_behind(tmp_path: Path, service: StrictService) -> None:
    with service.stub(tmp_path / "s") as stub:
        with Peer(stub) as peer:
            peer.send({"op": "check", "id": 1, "request": ASK})
            wait_until(lambda: service.held)
        wait_until(lambda: service.held[0].cancelled())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"principal": "p"}, "request_invalid"),
        ({**ASK, "context": {"x": "y" * REQUEST_BYTES}}, "request_invalid"),
        ("no request", "request_invalid"),
    ],
)
def test_a_denial_that_never_came_to_the_gate_is_told(
    tmp_path: Path, service: StrictService, request_: Any, reason: str
) -> None:
    with service.stub(tmp_path / "s") as stub, Peer(stub) as peer:
        peer.send({"op": "check", "id": 1, "request": request_})
        assert (peer.receive() or {})["result"]["reason"] == reason
    ((denial, _, source),) = service.denials
    assert (denial.reason, source) == (reason, "edge")


def test_a_service_that_fails_denies_and_the_denial_is_told(tmp_path: Path, service: StrictService) -> None:
    service.decide_later = None  # type: ignore[assignment]
    service.decide = lambda _: 1 / 0
    with service.stub(tmp_path / "s") as stub, Peer(stub) as peer:
        peer.send({"op": "check", "id": 1, "request": ASK})
        assert (peer.receive() or {})["result"]["reason"] == "internal_error"
    assert [(denial.reason, source) for denial, _, source in service.denials] == [(Reason.INTERNAL_ERROR, "edge")]
