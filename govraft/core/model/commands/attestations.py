"""Attestations: what attestors state about subjects."""

from __future__ import annotations

from govraft.core.model.commands.header import Base64, CommandHeader, DomainId, HexDigest, ReasonText, Time
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["Attest", "AttestationResolve"]


class Attest(CommandHeader, frozen=True, kw_only=True):
    """Record an attestation.

    Attributes:
        statement: A DSSE envelope of payload type `application/vnd.in-toto+json`, signed by one attestor: exact bytes.
        entity: Uid of the entity that the statement is about.
        expires: WallMs; from then on it does not count.
        supersedes: Digest of the attestor's own attestation that this one continues; None for the first.
        domain: In which the attestor holds the role.
    """

    statement: Base64
    entity: str
    expires: Time
    supersedes: HexDigest | None
    domain: DomainId = ROOT_DOMAIN


class AttestationResolve(CommandHeader, frozen=True, kw_only=True):
    """Settle a disagreement: of the attestors' statements about an entity and predicate type, `keep` counts.

    Attributes:
        entity: Uid.
        predicate_type: URI.
        keep: Digest of the attestation that counts; None drops all of them.
    """

    entity: str
    predicate_type: str
    keep: HexDigest | None
    reason: ReasonText
