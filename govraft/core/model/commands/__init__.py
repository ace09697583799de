"""The closed set of commands: what authorities can tell the machine to do, and what nodes put on record.

A command travels as canonical JSON in an envelope whose payload type names it. Every command carries the header that
binds it to one cluster, one id and a time. Shapes are checked here; whether it fits the state is for the machine.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.core.model.authority import Role
from govraft.core.model.commands.attestations import Attest, AttestationResolve
from govraft.core.model.commands.audit import AuditAnchor, PermitRedeem
from govraft.core.model.commands.authorities import (
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    NewKey,
    ThresholdSet,
)
from govraft.core.model.commands.boundaries import BoundaryRemove, BoundarySet, Rate, Window
from govraft.core.model.commands.cluster import ClusterRules
from govraft.core.model.commands.domains import DomainCreate, DomainMove, DomainRemove
from govraft.core.model.commands.enforcement import (
    EnforcementCommand,
    Invalidate,
    Isolate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.commands.entities import EntityDelete, EntityFields, EntityPatch, EntityPut
from govraft.core.model.commands.grants import GrantDelegate, GrantIssue, GrantRenew, GrantRevoke
from govraft.core.model.commands.header import CommandHeader
from govraft.core.model.commands.members import (
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
)
from govraft.core.model.commands.policies import PolicyActivate, PolicyPublish
from govraft.core.model.commands.proposals import (
    BallotChoice,
    ProposalOpen,
    ProposalVote,
    ProposalWithdraw,
    proposal_digest,
)
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.core.model.rules import RULES_FIRST, RULES_WITH_LISTS
from govraft.errors import DecodeError

__all__ = [
    "COMMANDS",
    "Attest",
    "AttestationResolve",
    "AuditAnchor",
    "AuthorityAdd",
    "AuthorityAssign",
    "AuthorityEmergencyRevoke",
    "AuthorityResume",
    "AuthorityRevoke",
    "AuthorityRotate",
    "AuthoritySuspend",
    "BallotChoice",
    "BoundaryRemove",
    "BoundarySet",
    "ClusterRules",
    "Command",
    "CommandHeader",
    "DomainCreate",
    "DomainMove",
    "DomainRemove",
    "EnforcementCommand",
    "EntityDelete",
    "EntityFields",
    "EntityPatch",
    "EntityPut",
    "GrantDelegate",
    "GrantIssue",
    "GrantRenew",
    "GrantRevoke",
    "Invalidate",
    "Isolate",
    "MemberAdd",
    "MemberEvict",
    "MemberFields",
    "MemberPromote",
    "MemberRemove",
    "MemberRotate",
    "NewKey",
    "PermitRedeem",
    "PolicyActivate",
    "PolicyPublish",
    "ProposalOpen",
    "ProposalVote",
    "ProposalWithdraw",
    "Quarantine",
    "Rate",
    "Release",
    "Revoke",
    "Signer",
    "TargetKind",
    "ThresholdSet",
    "Window",
    "command_name",
    "command_signer",
    "decode_command",
    "encode_command",
    "payload_type",
    "proposal_digest",
    "required_role",
    "rules_needed",
]

Command = CommandHeader


class Signer(StrEnum):
    """Who signs a command that is not for a threshold of one role."""

    MEMBER = "member"
    """The member node that the command names, with its own key."""
    ANYONE = "anyone"
    """Any one active authority or member: the command itself carries what it takes."""
    DELEGATE = "delegate"
    """As the command's handler says: a single named authority, or a threshold."""


COMMANDS: dict[str, tuple[type[Command], Role | Signer]] = {
    "policy.publish": (PolicyPublish, Role.POLICY),
    "policy.activate": (PolicyActivate, Role.POLICY),
    "entity.put": (EntityPut, Role.OPERATOR),
    "entity.patch": (EntityPatch, Role.OPERATOR),
    "entity.delete": (EntityDelete, Role.OPERATOR),
    "quarantine": (Quarantine, Role.OPERATOR),
    "release": (Release, Role.OPERATOR),
    "isolate": (Isolate, Role.OPERATOR),
    "revoke": (Revoke, Role.OPERATOR),
    "invalidate": (Invalidate, Role.OPERATOR),
    "authority.add": (AuthorityAdd, Role.ROOT),
    "authority.assign": (AuthorityAssign, Role.ROOT),
    "authority.rotate": (AuthorityRotate, Role.ROOT),
    "authority.suspend": (AuthoritySuspend, Role.ROOT),
    "authority.resume": (AuthorityResume, Role.ROOT),
    "authority.revoke": (AuthorityRevoke, Role.ROOT),
    "authority.emergency_revoke": (AuthorityEmergencyRevoke, Role.EMERGENCY),
    "threshold.set": (ThresholdSet, Role.ROOT),
    "proposal.open": (ProposalOpen, Signer.DELEGATE),
    "proposal.vote": (ProposalVote, Signer.DELEGATE),
    "proposal.withdraw": (ProposalWithdraw, Signer.DELEGATE),
    "member.add": (MemberAdd, Role.ROOT),
    "member.promote": (MemberPromote, Role.ROOT),
    "member.remove": (MemberRemove, Role.ROOT),
    "member.rotate": (MemberRotate, Role.ROOT),
    "member.evict": (MemberEvict, Signer.ANYONE),
    "cluster.rules": (ClusterRules, Role.ROOT),
    "domain.create": (DomainCreate, Role.ROOT),
    "domain.move": (DomainMove, Role.ROOT),
    "domain.remove": (DomainRemove, Role.ROOT),
    "attest": (Attest, Role.ATTESTOR),
    "attestation.resolve": (AttestationResolve, Role.OPERATOR),
    "grant.issue": (GrantIssue, Role.OPERATOR),
    "grant.delegate": (GrantDelegate, Signer.DELEGATE),
    "grant.renew": (GrantRenew, Role.OPERATOR),
    "grant.revoke": (GrantRevoke, Role.OPERATOR),
    "boundary.set": (BoundarySet, Role.OPERATOR),
    "boundary.remove": (BoundaryRemove, Role.OPERATOR),
    "audit.anchor": (AuditAnchor, Signer.MEMBER),
    "permit.redeem": (PermitRedeem, Signer.MEMBER),
}
"""Every command by name: its type, and the role whose threshold must sign it, or who else does."""

_NAMES = {kind: name for name, (kind, _) in COMMANDS.items()}
_BY_PAYLOAD_TYPE = {f"application/vnd.govraft.{name}.v1+json": name for name in COMMANDS}
_PAYLOAD_TYPES = {name: text for text, name in _BY_PAYLOAD_TYPE.items()}


def command_name(payload_type: str) -> str | None:
    """The name of the command that a payload type stands for, or None."""
    return _BY_PAYLOAD_TYPE.get(payload_type)


def payload_type(command: Command) -> str:
    """The DSSE payload type of a command."""
    return _PAYLOAD_TYPES[_NAMES[type(command)]]


def command_signer(command: Command) -> Role | Signer:
    """The role whose threshold must sign a command, or who else does."""
    return COMMANDS[_NAMES[type(command)]][1]


def required_role(command: Command) -> Role:
    """The role whose threshold must sign a command.

    Raises:
        DecodeError: It is not for a role: `command_signer` says for whom.
    """
    signer = command_signer(command)
    if isinstance(signer, Signer):
        raise DecodeError(f"`{_NAMES[type(command)]}` is signed by {signer.value}, not by a role")
    return signer


def rules_needed(command: Command) -> int:
    """The number of the rules from which on a command of this shape exists; below it, it is malformed."""
    return RULES_WITH_LISTS if isinstance(command, EnforcementCommand) and command.targets else RULES_FIRST


def encode_command(command: Command) -> bytes:
    """The payload of a command: canonical JSON.

    Raises:
        InputError: An attribute value that JSON cannot carry canonically.
    """
    return pack_json(msgspec.to_builtins(command))


def decode_command(name: str, payload: bytes) -> Command:
    """Decode the payload of the command of that name.

    Raises:
        DecodeError: Not canonical JSON (code `not_canonical`), or a field is missing, unknown or of the wrong type.
    """
    fields = unpack_json(payload, max_bytes=ENVELOPE_BYTES)
    try:
        return msgspec.convert(fields, COMMANDS[name][0])
    except msgspec.ValidationError as error:
        raise DecodeError(f"{name}: {in_words(error)}") from error
