"""The section `attestations`, decoded: what each attestor says last about each entity.

    attestation/<digest>    Attestation, by the SHA-256 of its statement's exact bytes

A statement that is superseded leaves no record: the lineage holds it. So there is one record for each entity, predicate
type and attestor, the head of a chain.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import msgspec

from govraft.core.machine.records import Mark

__all__ = ["ATTESTATION_PREFIX", "Attestation", "AttestationsView"]

ATTESTATION_PREFIX = "attestation/"


class Attestation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one attestor says last about an entity.

    Attributes:
        digest: SHA-256 of the statement's DSSE envelope, 64 hexadecimal digits.
        entity: Canonical uid.
        predicate_type: URI.
        attestor: Id of the authority that signed the statement.
        subjects: SHA-256 digests of what the statement is about, in hexadecimal: sorted, distinct.
        predicate: SHA-256 of the predicate in canonical JSON, in hexadecimal.
        seq, issued: Of the entry that recorded it; `issued` is its WallMs.
        expires: WallMs; from then on it does not count.
        length: Of the attestor's chain of statements about this, this one included.
        supersedes: Digest of the one before it in the chain; None for the first.
        dropped: When and why a disagreement was settled against it.
    """

    digest: str
    entity: str
    predicate_type: str
    attestor: str
    subjects: tuple[str, ...]
    predicate: str
    seq: int
    issued: int
    expires: int
    length: int
    supersedes: str | None = None
    dropped: Mark | None = None

    @property
    def claim(self) -> tuple[tuple[str, ...], str]:
        """What it says. Two that differ in this contradict each other."""
        return self.subjects, self.predicate


_decode = msgspec.msgpack.Decoder(Attestation).decode
_NONE: Mapping[str, Attestation] = {}


class AttestationsView:
    """Attestations by digest, and by what they are about."""

    def __init__(self) -> None:
        self.by_digest: dict[str, Attestation] = {}
        self.by_entity: dict[str, dict[str, dict[str, Attestation]]] = {}
        """By entity, predicate type and attestor."""
        self._expiries: list[tuple[int, str]] = []

    def heads(self, entity: str, predicate_type: str) -> Mapping[str, Attestation]:
        """What attestors say last about an entity, by attestor; whether it counts is not asked here."""
        return self.by_entity.get(entity, {}).get(predicate_type, _NONE)

    def longest_expired(self, time: int) -> Attestation | None:
        """The attestation whose time was over first, if there is one whose time is over."""
        while self._expiries:
            expires, digest = self._expiries[0]
            found = self.by_digest.get(digest)
            # One that was superseded left its place in the heap behind: nobody can tell whether it is still there.
            if found is not None and found.expires == expires:
                return found if expires <= time else None
            heapq.heappop(self._expiries)
        return None

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        digest = key[len(ATTESTATION_PREFIX) :]
        old = self.by_digest.pop(digest, None)
        if old is not None:
            self._forget(old)
        if value is not None:
            item = self.by_digest[digest] = _decode(value)
            self.by_entity.setdefault(item.entity, {}).setdefault(item.predicate_type, {})[item.attestor] = item
            if len(self._expiries) > 2 * len(self.by_digest) + 64:  # Mostly of statements that are gone.
                self._expiries = sorted((known.expires, name) for name, known in self.by_digest.items())
            else:
                heapq.heappush(self._expiries, (item.expires, digest))

    def _forget(self, old: Attestation) -> None:
        types = self.by_entity[old.entity]
        heads = types[old.predicate_type]
        # One that supersedes it may have been noted first and taken the place.
        if heads[old.attestor].digest != old.digest:
            return
        del heads[old.attestor]
        if not heads:
            del types[old.predicate_type]
        if not types:
            del self.by_entity[old.entity]
