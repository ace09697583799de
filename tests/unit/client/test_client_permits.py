"""Permits and signed answers, as the client library asks for them and believes them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hostile_node import HostileNode

from govraft import Allow, AsyncClient, Client, Denied, Deny, Permit, Receipt
from govraft.api.peer_credentials import PeerRules
from govraft.core.evidence.permit import permit_statement
from govraft.core.evidence.permit_file import envelope_in
from govraft.core.model.limits import AUTHORIZATIONS_OF_ONE
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny as ModelDeny
from govraft.errors import GovraftError, InputError, RejectedError
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.node_stub import NodeStub, allow

ME = PeerRules(frozenset({os.getuid()}))
ASK = (SAMPLE_REQUEST.principal, SAMPLE_REQUEST.action, SAMPLE_REQUEST.resource, SAMPLE_REQUEST.context)


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def granting(world: EvidenceSample, **changes: Any):
    """A service that grants what is asked for, but for `changes`."""

    def authorized(request: Request, asked: dict[str, Any]) -> dict[str, Any]:
        fields = {
            "single_use": asked["single_use"],
            "audience": asked["audience"],
            "not_after": world.permit_statement().issued + asked["ttl_ms"],
        }
        return {"permit": world.permit(world.permit_statement(request, **(fields | changes)))}

    return authorized


def test_a_permit_is_handed_on_as_it_is(stub: NodeStub, world) -> None:
    stub.service.authorized = granting(world)
    with Client(stub.endpoint) as client:
        permit = client.authorize(*ASK, ttl=60, single_use=True, audience="gateway")
    assert isinstance(permit, Permit)
    assert bytes(permit) == permit.file
    assert permit.statement == permit_statement(envelope_in(permit.file))
    assert (permit.id, permit.statement.audience) == (permit.statement.permit, "gateway")

    async def ask() -> Permit:
        async with AsyncClient(stub.endpoint) as asynchronous:
            return await asynchronous.authorize(*ASK, ttl=60, single_use=True, audience="gateway")

    assert asyncio.run(ask()) == permit


@pytest.mark.parametrize(
    "changes",
    [
        {"request_digest": "0" * 64},
        {"not_after": 1_700_000_220_000},
        {"single_use": False},
        {"audience": "another"},
        {"audience": None},
        {"seq": 5},
    ],
)
def test_a_permit_for_something_else_is_refused(stub: NodeStub, world, changes: dict[str, Any]) -> None:
    stub.service.authorized = granting(world, **changes)
    with Client(stub.endpoint) as client, pytest.raises(Denied) as denied:
        client.authorize(*ASK, ttl=60, single_use=True, audience="gateway", at_least=6)
    assert denied.value.verdict.reason is Reason.INTERNAL_ERROR


def test_a_denial_comes_with_its_signature(stub: NodeStub, world) -> None:
    deny = ModelDeny(Reason.REVOKED, "gone", seq=6, node="n1")
    stub.service.authorized = lambda request, asked: {"deny": deny, "denial": b"signed"}
    with Client(stub.endpoint) as client, pytest.raises(Denied) as denied:
        client.authorize(*ASK)
    assert isinstance(denied.value.verdict, Deny)
    assert (denied.value.verdict.reason, denied.value.denial) == (Reason.REVOKED, b"signed")
    assert denied.value.code == "revoked"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"permit": b""},
        {"permit": b"{}"},
        {"permit": b'{"envelope":{"payload":7}}'},
        {"permit": b'{"envelope":{"payload":"e30="}}'},
        {"permit": 7},
        {"deny": "no"},
        {"permit": b"\xff", "deny": None},
        None,
        [],
        RuntimeError("defect"),
        GovraftError("defect"),
    ],
)
def test_every_failure_to_authorize_is_a_denial(stub: NodeStub, answer: Any) -> None:
    def authorized(request: Request, asked: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    stub.service.authorized = authorized
    with Client(stub.endpoint) as client, pytest.raises(Denied) as denied:
        client.authorize(*ASK)
    assert isinstance(denied.value.verdict, Deny)
    assert denied.value.denial == b""


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (("x", "y", "z"), {}),
        ((7, "y", "z"), {}),
        ((*ASK[:3], {"x": 1.5}), {}),
        (ASK, {"ttl": 0.5}),
        (ASK, {"ttl": 301}),
        (ASK, {"ttl": "60"}),
        (ASK, {"ttl": float("nan")}),
        (ASK, {"audience": ""}),
        (ASK, {"audience": 7}),
        (ASK, {"timeout": 0}),
        (ASK, {"at_least": -1}),
    ],
)
def test_what_cannot_be_asked_is_denied(stub: NodeStub, asked: Any, options: dict[str, Any]) -> None:
    with Client(stub.endpoint) as client, pytest.raises(Denied) as denied:
        client.authorize(*asked, **options)
    assert denied.value.verdict.reason is Reason.REQUEST_INVALID


def test_an_absent_or_silent_node_is_a_denial(tmp_path: Path) -> None:
    with Client(f"unix://{tmp_path}/nobody") as client, pytest.raises(Denied) as denied:
        client.authorize(*ASK, timeout=0.2)
    assert denied.value.verdict.reason is Reason.NODE_UNREACHABLE
    node = HostileNode(tmp_path / "s", lambda call, connection: time.sleep(3))
    try:
        with Client(node.endpoint) as client, pytest.raises(Denied) as denied:
            client.authorize(*ASK, timeout=0.05)
        assert denied.value.verdict.reason is Reason.NODE_UNREACHABLE
        assert client.check_signed(*ASK, timeout=0.05).verdict.reason is Reason.NODE_UNREACHABLE
    finally:
        node.close()


def test_one_client_has_few_authorizations_under_way(stub: NodeStub, world) -> None:
    async def wait(request: Request, asked: dict[str, Any]) -> Any:
        await asyncio.sleep(0.3)
        return granting(world)(request, asked)

    stub.service.authorized = wait

    async def ask() -> list[Any]:
        async with AsyncClient(stub.endpoint) as client:
            waits = (client.authorize(*ASK, ttl=60) for _ in range(AUTHORIZATIONS_OF_ONE + 4))
            return await asyncio.gather(*waits, return_exceptions=True)

    found = asyncio.run(ask())
    assert sum(isinstance(item, Permit) for item in found) == AUTHORIZATIONS_OF_ONE
    assert sum(isinstance(item, Denied) for item in found) == 4

    async def again() -> Permit:
        async with AsyncClient(stub.endpoint) as client:
            return await client.authorize(*ASK, ttl=60)

    assert isinstance(asyncio.run(again()), Permit)


def test_a_signed_check(stub: NodeStub) -> None:
    stub.service.denial = b"signed"
    stub.service.decide = lambda request: allow(seq=3)
    with Client(stub.endpoint) as client:
        answer = client.check_signed(*ASK)
        assert isinstance(answer.verdict, Allow)
        assert (bool(answer.verdict), answer.denial) == (True, b"")
        assert client.check_signed(*ASK, at_least=4).verdict.reason is Reason.INTERNAL_ERROR
        stub.service.decide = lambda request: ModelDeny(Reason.REVOKED, "gone", seq=3)
        answer = client.check_signed(*ASK)
        assert (answer.verdict.reason, answer.denial) == (Reason.REVOKED, b"signed")
        assert client.check_signed("x", "y", 7).verdict.reason is Reason.REQUEST_INVALID


def test_a_permit_is_redeemed_by_its_envelope(stub: NodeStub, world) -> None:
    stub.service.receipt = lambda envelope: Receipt("r", "applied", 7, 7, b"leaf", [], b"note", b"lease")
    with Client(stub.endpoint) as client:
        redeemed = client.redeem(world.permit() + b"\n")
    assert stub.service.submitted == [envelope_in(world.permit())]
    assert (redeemed.receipt.seq, redeemed.envelope) == (7, envelope_in(world.permit()))


@pytest.mark.parametrize(
    "receipt", [Receipt("r", "applied", 7, 6), Receipt("r", "pending"), Receipt("r", "expired", 7, 7, certificate=b"x")]
)
def test_a_redemption_without_certificate_is_none(stub: NodeStub, world, receipt: Receipt) -> None:
    stub.service.receipt = lambda envelope: receipt
    with Client(stub.endpoint) as client, pytest.raises(GovraftError):
        client.redeem(world.permit())


def test_a_used_permit_says_so(stub: NodeStub, world) -> None:
    def receipt(envelope: bytes) -> Receipt:
        raise RejectedError("used at seq 9", code="permit_used")

    stub.service.receipt = receipt
    with Client(stub.endpoint) as client:
        with pytest.raises(RejectedError) as refused:
            client.redeem(world.permit())
        assert refused.value.code == "permit_used"
        for junk in (b"", b"{}", b"[]", b"\xff", "text", b'{"envelope":7}'):
            with pytest.raises(InputError):
                client.redeem(junk)
