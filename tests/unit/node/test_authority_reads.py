"""What a node tells about authorities, proposals, and whose signatures a command takes."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.state import Changes
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAssign,
    AuthorityRevoke,
    AuthoritySuspend,
    BallotChoice,
    Command,
    MemberEvict,
    PermitRedeem,
    PolicyActivate,
    ProposalOpen,
    ProposalVote,
    Quarantine,
    TargetKind,
    ThresholdSet,
    encode_command,
    payload_type,
    proposal_digest,
)
from govraft.core.model.units import WallMs
from govraft.errors import DecodeError, InputError
from govraft.node import authority_reads as module
from govraft.node.authority_reads import authority_reads
from govraft.testing.sample import CREATED, SampleCluster

ROOTS = ("rita", "ruth")


class Reads:
    """A machine, and the reads on it."""

    def __init__(self, **options: Any) -> None:
        self.sample = SampleCluster(**options)
        self.machine = Machine(self.sample.genesis)
        self.time = CREATED + 1_000

    def read(self, what: str, **params: object) -> Any:
        return authority_reads(self.machine)[what](params)

    def do(self, command: Command, *authors: str) -> None:
        applied = self.machine.apply(encode_entry(WallMs(self.time), self.sample.sign(command, *authors)))
        assert applied.outcome.code == "applied"

    def signers(self, kind: type[Command], /, **fields: object) -> Any:
        command = kind(**self.sample.header(), **fields)
        return self.read("signers", kind=payload_type(command), payload=encode_command(command))

    def grow(self, name: str, parent: str) -> None:
        changes = Changes()
        changes.put("domains", DOMAIN_PREFIX + name, Domain(name, parent, 1, 1, ()))
        self.machine.state.commit(changes)


@pytest.fixture
def node() -> Reads:
    return Reads(operators_needed=2)


def open_one(node: Reads, **fields: Any) -> str:
    command = ProposalOpen(
        **node.sample.header(),
        command="quarantine",
        body={"kind": "subject", "id": 'A::"1"', "reason": "x"},
        author="olga",
        epoch=1,
        sequence=node.read("ballots", voter="olga")["last_sequence"] + 1,
        expires=node.time + 1_000,
        **fields,
    )
    node.do(command, "olga")
    return proposal_digest(command)


def test_authorities(node: Reads) -> None:
    node.do(AuthoritySuspend(**node.sample.header(), id="pat", reason="away"), *ROOTS)
    node.grow("a", "root")
    given = (Assignment(Role.AUDITOR, "root"), Assignment(Role.OPERATOR, "a"))
    node.do(AuthorityAssign(**node.sample.header(), id="pat", assignments=given), *ROOTS)
    found = node.read("authorities")
    assert found["thresholds"] == {"operator": 2, "policy": 1, "root": 2}
    pat = found["authorities"][2]
    assert {name: pat[name] for name in ("id", "roles", "scoped", "status", "reason")} == {
        "id": "pat",
        "roles": ["auditor"],
        "scoped": ["operator@a"],
        "status": "suspended",
        "reason": "away",
    }


def test_authorities_come_in_pages(node: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUTHORITY_PAGE_MAX", 4)
    first = node.read("authorities")
    assert [item["id"] for item in first["authorities"]] == ["olga", "oscar", "pat", "paula"]
    assert first["next"] == "paula"
    second = node.read("authorities", after="paula")
    assert ([item["id"] for item in second["authorities"]], second["next"]) == (["rita", "ruth"], None)


def test_who_signs_for_a_role(node: Reads) -> None:
    fields = {"kind": TargetKind.SUBJECT, "id": 'A::"1"', "reason": "x"}
    assert node.signers(Quarantine, **fields) == {
        "needed": 2,
        "holders": ["olga", "oscar"],
        "alone": None,
        "what": "`operator`",
    }
    node.do(ThresholdSet(**node.sample.header(), role=Role.OPERATOR, count=1), *ROOTS)
    node.do(AuthorityRevoke(**node.sample.header(), id="olga", reason="x"), *ROOTS)
    assert node.signers(Quarantine, **fields)["holders"] == ["oscar"]
    node.grow("a", "root")
    found = node.signers(PolicyActivate, version=1, digest="0" * 64, domain="a")
    assert (found["needed"], found["holders"], found["what"]) == (1, ["pat", "paula"], "`policy@a`")


def test_who_signs_otherwise(node: Reads) -> None:
    ballot = {"proposal": "0" * 64, "choice": BallotChoice.APPROVE, "epoch": 1, "sequence": 1}
    assert node.signers(ProposalVote, voter="olga", **ballot) == {
        "needed": 1,
        "holders": ["olga"],
        "alone": "olga",
        "what": "`olga`",
    }
    assert node.signers(ProposalVote, voter="nobody", **ballot)["holders"] == []
    assert node.signers(PermitRedeem, node="n1", permit="AAAA")["holders"] == []
    assert len(node.signers(MemberEvict, id="n1", first="AAAA", second="AAAA")["holders"]) == 6


def test_what_is_refused_whoever_signs(node: Reads) -> None:
    assert node.signers(AuthoritySuspend, id="nobody", reason="x")["refused"] == "authority_unknown"
    assert node.signers(PolicyActivate, version=1, digest="0" * 64, domain="no")["refused"] == "domain_unknown"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"kind": "text/plain", "payload": b"{}"},
        {"kind": 7, "payload": b"{}"},
        {"kind": "application/vnd.govraft.revoke.v1+json"},
        {"kind": "application/vnd.govraft.revoke.v1+json", "payload": "{}"},
        {"kind": "application/vnd.govraft.revoke.v1+json", "payload": b"{}"},
        {"kind": "application/vnd.govraft.revoke.v1+json", "payload": b"\xff"},
    ],
)
def test_commands_that_are_none(node: Reads, params: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        node.read("signers", **params)


def test_proposals(node: Reads) -> None:
    digest = open_one(node)
    (listed,) = node.read("proposals")
    assert (listed["digest"], listed["status"], listed["approvals"], listed["rejections"]) == (digest, "open", 1, 0)
    assert "body" not in listed
    shown = node.read("proposal", digest=digest)
    assert shown["body"] == {"kind": "subject", "id": 'A::"1"', "reason": "x"}
    assert shown["ballots"] == {"olga": {"choice": "approve", "epoch": 1, "seq": 2}}
    assert node.read("ballots", voter="olga") == {"epoch": 1, "last_sequence": 1}
    assert node.read("ballots", voter="nobody") == {"epoch": 1, "last_sequence": 0}


def test_a_proposal_whose_time_is_over_is_shown_as_expired(node: Reads) -> None:
    first = open_one(node)
    node.time += 1_000
    node.machine.apply(encode_entry(WallMs(node.time), b""))
    assert node.read("proposal", digest=first)["status"] == "expired"
    second = open_one(node)
    assert [(item["digest"], item["status"]) for item in node.read("proposals")] == [
        (second, "open"),
        (first, "expired"),
    ]
    assert node.read("proposal", digest=first)["body"] is None


@pytest.mark.parametrize(
    ("what", "params"),
    [
        ("proposal", {}),
        ("proposal", {"digest": 7}),
        ("ballots", {}),
        ("ballots", {"voter": None}),
        ("authorities", {"after": 7}),
    ],
)
def test_unusable_parameters(node: Reads, what: str, params: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        node.read(what, **params)
    with pytest.raises(InputError, match="no proposal"):
        node.read("proposal", digest="0" * 64)
