"""Commands: closed, typed, canonical."""

from __future__ import annotations

import json
import typing
from typing import Any

import msgspec
import pytest

from govraft.core.codec.canonical import NOT_CANONICAL, pack_json
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    COMMANDS,
    Attest,
    AttestationResolve,
    AuditAnchor,
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    BallotChoice,
    BoundaryRemove,
    BoundarySet,
    ClusterRules,
    Command,
    DomainCreate,
    DomainMove,
    DomainRemove,
    EnforcementCommand,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    GrantDelegate,
    GrantIssue,
    GrantRenew,
    GrantRevoke,
    Invalidate,
    Isolate,
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    NewKey,
    PermitRedeem,
    PolicyActivate,
    PolicyPublish,
    ProposalOpen,
    ProposalVote,
    ProposalWithdraw,
    Quarantine,
    Rate,
    Release,
    Revoke,
    Signer,
    TargetKind,
    ThresholdSet,
    Window,
    command_name,
    command_signer,
    decode_command,
    encode_command,
    payload_type,
    required_role,
)
from govraft.core.model.limits import COMMAND_ID_CHARS
from govraft.errors import DecodeError

HEADER: dict[str, Any] = {"cluster": "c", "command_id": "id", "not_after": 1}
TARGET: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": 'A::"1"', "reason": "why"}
GRANT: dict[str, Any] = {
    "id": "g",
    "holder": 'A::"1"',
    "actions": ('Action::"x"',),
    "resources": ('R::"1"',),
    "not_before": 1,
    "not_after_grant": 2,
    "delegate": "olga",
    "depth": 0,
    "domain": "payments",
}
MEMBER = MemberFields("n4", "AAAA", "AAAA", "127.0.0.1:7004")
ROLES = (Assignment(Role.OPERATOR, "payments"), Assignment(Role.ROOT, "root"))

SAMPLES: list[Command] = [
    PolicyPublish(**HEADER, version=1, expected="", schema="s", policies=("p",), removed=("0" * 64,), domain="a"),
    PolicyActivate(**HEADER, version=1, digest="a" * 64, domain="a"),
    EntityPut(**HEADER, entities=(EntityFields('A::"1"', {"x": [1, True, {"y": "z"}]}, ('A::"2"',)),), domain="a"),
    EntityPatch(**HEADER, uid='A::"1"', set={"a": 1}, unset=("b",), add_parents=(), remove_parents=()),
    EntityDelete(**HEADER, uids=('A::"1"',)),
    Quarantine(**HEADER, **TARGET),
    Release(**HEADER, **TARGET),
    Isolate(**HEADER, **TARGET),
    Invalidate(**HEADER, **TARGET),
    AuthorityAdd(**HEADER, id="nina", public_key="AAAA", assignments=ROLES),
    AuthorityAssign(**HEADER, id="nina", assignments=ROLES),
    AuthorityRotate(**HEADER, keys=(NewKey("nina", "AAAA"),)),
    AuthoritySuspend(**HEADER, id="nina", reason="why"),
    AuthorityResume(**HEADER, id="nina", reason="why"),
    AuthorityRevoke(**HEADER, id="nina", reason="why"),
    AuthorityEmergencyRevoke(**HEADER, id="nina", reason="why"),
    ThresholdSet(**HEADER, role=Role.POLICY, domain="a", count=0),
    ProposalOpen(**HEADER, command="revoke", body={"id": "x"}, author="olga", epoch=1, sequence=1, expires=2),
    ProposalVote(**HEADER, proposal="0" * 64, voter="olga", choice=BallotChoice.REJECT, epoch=1, sequence=1),
    ProposalWithdraw(**HEADER, proposal="0" * 64, author="olga"),
    MemberAdd(**HEADER, member=MEMBER),
    MemberPromote(**HEADER, id="n4"),
    MemberRemove(**HEADER, id="n4", reason="why"),
    MemberRotate(**HEADER, member=MEMBER),
    MemberEvict(**HEADER, id="n4", first="AAAA", second="AAAA"),
    ClusterRules(**HEADER, to=2),
    DomainCreate(**HEADER, id="a", parent="root"),
    DomainMove(**HEADER, id="a", parent="b"),
    DomainRemove(**HEADER, id="a"),
    Attest(**HEADER, statement="AAAA", entity='A::"1"', expires=2, supersedes="0" * 64, domain="a"),
    AttestationResolve(**HEADER, entity='A::"1"', predicate_type="urn:x", keep="0" * 64, reason="why"),
    GrantIssue(**HEADER, **GRANT),
    GrantDelegate(**HEADER, parent="f", **GRANT),
    GrantRenew(**HEADER, id="g", not_after_grant=3),
    GrantRevoke(**HEADER, id="g", reason="why"),
    BoundarySet(
        **HEADER,
        id="b",
        subject='A::"1"',
        action='Action::"x"',
        windows=(Window((0, 6), 0, 1440),),
        regions=("eu",),
        rate=Rate(1, 60),
        level_max=3,
        domain="a",
    ),
    BoundaryRemove(**HEADER, id="b", domain="a"),
    AuditAnchor(**HEADER, node="n1", log="0" * 32, size=1, root="0" * 64, proof=("AAAA",)),
    PermitRedeem(**HEADER, node="n1", permit="AAAA"),
    Revoke(**HEADER, **TARGET),
]

SIGNERS: dict[Role | Signer, set[str]] = {
    Role.ROOT: {
        *("authority.add", "authority.assign", "authority.rotate", "authority.suspend", "authority.resume"),
        *("authority.revoke", "threshold.set", "cluster.rules", "domain.create", "domain.move", "domain.remove"),
        *("member.add", "member.promote", "member.remove", "member.rotate"),
    },
    Role.POLICY: {"policy.publish", "policy.activate"},
    Role.OPERATOR: {
        *("entity.put", "entity.patch", "entity.delete", "grant.issue", "grant.renew", "grant.revoke"),
        *("quarantine", "release", "isolate", "revoke", "invalidate"),
        *("boundary.set", "boundary.remove", "attestation.resolve"),
    },
    Role.ATTESTOR: {"attest"},
    Role.EMERGENCY: {"authority.emergency_revoke"},
    Signer.MEMBER: {"audit.anchor", "permit.redeem"},
    Signer.ANYONE: {"member.evict"},
    Signer.DELEGATE: {"proposal.open", "proposal.vote", "proposal.withdraw", "grant.delegate"},
}


def name_of(command: Command) -> str:
    name = command_name(payload_type(command))
    assert name is not None
    return name


def fields_of(command: Command) -> dict[str, Any]:
    """As they travel; none may be at its default, or a change of it would not be seen."""
    fields: dict[str, Any] = json.loads(encode_command(command))
    left_out = {"targets"} if isinstance(command, EnforcementCommand) else set()
    assert set(fields) == set(command.__struct_fields__) - left_out
    return fields


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_round_trip(command: Command) -> None:
    name = name_of(command)
    assert payload_type(command) == f"application/vnd.govraft.{name}.v1+json"
    assert decode_command(name, encode_command(command)) == command


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_who_signs(command: Command) -> None:
    signer = command_signer(command)
    assert name_of(command) in SIGNERS[signer]
    if isinstance(signer, Role):
        assert required_role(command) is signer
    else:
        with pytest.raises(DecodeError, match="not by a role"):
            required_role(command)


def test_the_samples_cover_every_command() -> None:
    assert {type(command) for command in SAMPLES} == {kind for kind, _ in COMMANDS.values()}
    assert sorted(name for names in SIGNERS.values() for name in names) == sorted(COMMANDS)
    assert len({type(command) for command in SAMPLES}) == len(SAMPLES) == len(COMMANDS)


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_missing_unknown_and_wrongly_typed_fields_are_refused(command: Command) -> None:
    name, fields = name_of(command), fields_of(command)
    decode_command(name, pack_json(fields))
    mutants = [{**fields, "unknown": 1}]
    for field in msgspec.structs.fields(type(command)):
        if field.encode_name not in fields:
            continue
        value = fields[field.encode_name]
        without = {key: fields[key] for key in fields if key != field.encode_name}
        if field.required or (field.encode_name == "id" and isinstance(command, EnforcementCommand)):
            mutants.append(without)
        else:
            decode_command(name, pack_json(without))
        wrong: list[object] = [7, "seven", None, [7], {"seven": 7}, True]
        if type(None) in typing.get_args(field.type):
            wrong.remove(None)
            decode_command(name, pack_json({**fields, field.encode_name: None}))
        mutants += [{**fields, field.encode_name: other} for other in wrong if type(other) is not type(value)]
    for mutant in mutants:
        with pytest.raises(DecodeError) as caught:
            decode_command(name, pack_json(mutant))
        assert caught.value.code != NOT_CANONICAL


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_nested_fields_are_closed_too(command: Command) -> None:
    """Whatever object a command holds, it holds exactly its fields; but attributes and bodies are free."""
    name, fields = name_of(command), fields_of(command)
    for field, value in fields.items():
        items = value if isinstance(value, list) else [value]
        if field in ("set", "body") or not items or not isinstance(items[0], dict):
            continue
        for changed in ({**items[0], "unknown": 1}, {}):
            given = [changed, *items[1:]] if isinstance(value, list) else changed
            with pytest.raises(DecodeError):
                decode_command(name, pack_json({**fields, field: given}))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("revoke", {"command_id": ""}),
        ("revoke", {"command_id": "a b"}),
        ("revoke", {"command_id": "é"}),
        ("revoke", {"command_id": "a\n"}),
        ("revoke", {"command_id": "x" * (COMMAND_ID_CHARS + 1)}),
        ("revoke", {"not_after": 0}),
        ("revoke", {"not_after": 2**60}),
        ("revoke", {"reason": ""}),
        ("revoke", {"targets": ["x"]}),
        ("revoke", {"kind": "planet"}),
        ("policy.activate", {"version": 0}),
        ("policy.activate", {"digest": "A" * 64}),
        ("policy.activate", {"digest": ""}),
        ("policy.publish", {"expected": "0"}),
        ("policy.publish", {"expected": "0" * 64 + "\n"}),
        ("policy.publish", {"removed": ["x"]}),
        ("entity.put", {"entities": []}),
        ("entity.delete", {"uids": []}),
        ("authority.add", {"id": "a b"}),
        ("authority.add", {"public_key": "é"}),
        ("authority.add", {"assignments": []}),
        ("authority.add", {"assignments": [{"role": "king", "domain": "root"}]}),
        ("authority.add", {"assignments": [{"role": "root", "domain": "Root"}]}),
        ("authority.add", {"assignments": [{"role": "root", "domain": "a" * 64}]}),
        ("authority.add", {"assignments": [{"role": "root"}]}),
        ("authority.assign", {"assignments": []}),
        ("authority.rotate", {"keys": []}),
        ("authority.revoke", {"reason": ""}),
        ("threshold.set", {"count": -1}),
        ("threshold.set", {"count": 65}),
        ("threshold.set", {"role": "king"}),
        ("threshold.set", {"domain": "-a"}),
        ("proposal.open", {"epoch": 0}),
        ("proposal.open", {"sequence": 0}),
        ("proposal.open", {"sequence": 2**53 + 1}),
        ("proposal.open", {"expires": 0}),
        ("proposal.vote", {"choice": "abstain"}),
        ("proposal.vote", {"proposal": "0" * 63}),
        ("proposal.vote", {"sequence": 0}),
        ("member.add", {"member": {"id": "a b", "public_key": "", "certificate": "", "address": ""}}),
        ("domain.create", {"id": "A"}),
        ("domain.create", {"parent": ""}),
        ("attest", {"supersedes": ""}),
        ("grant.issue", {"id": ""}),
        ("boundary.set", {"level_max": -1}),
        ("boundary.set", {"rate": {"count": 0, "seconds": 1}}),
        ("boundary.set", {"windows": [{"days": [7], "start": 0, "end": 1}]}),
        ("audit.anchor", {"log": "0"}),
        ("audit.anchor", {"size": 0}),
    ],
)
def test_unusable_values_are_refused(name: str, changes: dict[str, object]) -> None:
    fields = fields_of(next(command for command in SAMPLES if name_of(command) == name))
    with pytest.raises(DecodeError):
        decode_command(name, pack_json({**fields, **changes}))


def test_unknown_payload_types_name_nothing() -> None:
    for text in ("", "application/json", "application/vnd.govraft.revoke.v2+json", "application/vnd.govraft.x.v1+json"):
        assert command_name(text) is None


def test_only_the_canonical_spelling_is_read() -> None:
    spaced = json.dumps(json.loads(encode_command(SAMPLES[-1]))).encode()
    with pytest.raises(DecodeError) as caught:
        decode_command("revoke", spaced)
    assert caught.value.code == NOT_CANONICAL
