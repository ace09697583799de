"""A machine with attestors, domains and policies, and the commands of attestation and enforcement in short forms."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from govraft.core.codec.in_toto import STATEMENT_TYPE, encode_statement
from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import ENTITY_PREFIX, Entity
from govraft.core.machine.state import Changes
from govraft.core.model.authority import Assignment
from govraft.core.model.commands import (
    Attest,
    AuthorityAdd,
    Command,
    EnforcementCommand,
    PolicyActivate,
    PolicyPublish,
    TargetKind,
)
from govraft.core.model.outcome import Rejected
from govraft.core.model.units import WallMs
from govraft.errors import require
from govraft.testing.sample import CREATED, SampleCluster, seeded_key

__all__ = ["ARTEFACT", "SBOM", "Attesting"]

SBOM = "https://spdx.dev/Document/v2.3"
ARTEFACT = hashlib.sha256(b"an artefact").hexdigest()
_HOUR_MS = 3_600_000
_SCHEMA = (
    "entity Team; entity Agent in [Team]; entity Tool;"
    'action "run", "stop" appliesTo { principal: [Agent], resource: [Tool] };'
)


class Attesting:
    """A machine with the attestors ada and abe."""

    def __init__(self) -> None:
        self.cluster = SampleCluster(attestors=2)
        self.machine = Machine(self.cluster.genesis)
        self.time = CREATED + 1_000

    def command(self, kind: Any, /, **fields: Any) -> Any:
        """A command of this cluster that holds for another hour."""
        return kind(**{**self.cluster.header(not_after=self.time + _HOUR_MS), **fields})

    def do(self, command: Command, *authors: str) -> str:
        """Apply a command, signed by these, and give its outcome's code; `examine` must have foreseen it."""
        envelope = self.cluster.sign(command, *authors)
        foreseen = self.machine.examine(envelope, WallMs(self.time))
        code = self.machine.apply(encode_entry(WallMs(self.time), envelope)).outcome.code
        require(code == (foreseen.code if isinstance(foreseen, Rejected) else "applied"), "`examine` foresees outcomes")
        return code

    def add_authority(self, name: str, *assignments: Assignment) -> None:
        """Add an authority."""
        key = self.cluster.authority_keys[name] = seeded_key(f"authority {name}")
        public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        command = self.command(AuthorityAdd, id=name, public_key=public, assignments=tuple(sorted(assignments)))
        require(self.do(command, "rita", "ruth", name) == "applied", f"`{name}` can be added")

    def add_domain(self, name: str, parent: str = "root") -> None:
        """Have a domain, whoever would have had to sign for it."""
        changes = Changes()
        changes.put("domains", DOMAIN_PREFIX + name, Domain(name, parent, 1, CREATED, ()))
        self.machine.state.commit(changes)

    def place(self, uid: str, domain: str = "root", parents: tuple[str, ...] = ()) -> None:
        """Have an entity, whoever would have had to sign for it."""
        changes = Changes()
        changes.put("entities", ENTITY_PREFIX + uid, Entity(uid, {}, parents, domain))
        self.machine.state.commit(changes)

    def activate(self, *policies: str, domain: str = "root", removed: tuple[str, ...] = ()) -> None:
        """Publish these policies as the next version of a domain, and activate it."""
        latest = self.machine.state.policies.of(domain).latest
        version, expected = (1, "") if latest is None else (latest.version + 1, latest.digest)
        schema = _SCHEMA if latest is None and domain == "root" else None
        change: dict[str, Any] = {"schema": schema, "policies": policies, "removed": removed, "domain": domain}
        publish = self.command(PolicyPublish, version=version, expected=expected, **change)
        require(self.do(publish, "pat") == "applied", "the policies can be published")
        latest = self.machine.state.policies.of(domain).latest
        digest = "" if latest is None else latest.digest
        activate = self.command(PolicyActivate, version=version, digest=digest, domain=domain)
        require(self.do(activate, "pat") == "applied", "the policies can be activated")

    def statement(
        self,
        attestor: str = "ada",
        *,
        predicate_type: str = SBOM,
        subjects: Mapping[str, str] | None = None,
        predicate: Mapping[str, Any] | None = None,
    ) -> bytes:
        """A statement in its envelope, signed by an attestor."""
        payload = encode_statement(predicate_type, subjects or {"artefact": ARTEFACT}, predicate or {"clean": True})
        return self.cluster.sign_payload(STATEMENT_TYPE, payload, [attestor])

    def last(self, entity: str, attestor: str = "ada", predicate_type: str = SBOM) -> str | None:
        """Digest of what an attestor says last."""
        found = self.machine.state.attestations.heads(entity, predicate_type).get(attestor)
        return None if found is None else found.digest

    def attest(
        self,
        entity: str,
        attestor: str = "ada",
        *,
        statement: bytes | str | None = None,
        signers: tuple[str, ...] = (),
        life_ms: int = _HOUR_MS,
        **fields: Any,
    ) -> str:
        """Record a statement and give the code. Without `supersedes` it follows the attestor's last one.

        Args:
            entity: Uid.
            attestor: Signs statement and command.
            statement: Bytes of the envelope, or what stands for them in the command; None makes one.
            signers: Of the command, in place of the attestor.
            life_ms: From now until it expires.
            fields: Of the command, or of `statement`.
        """
        made = {name: fields.pop(name) for name in ("predicate_type", "subjects", "predicate") if name in fields}
        data = self.statement(attestor, **made) if statement is None else statement
        text = data if isinstance(data, str) else base64.b64encode(data).decode()
        last = self.last(entity, attestor, made.get("predicate_type", SBOM))
        defaults = {"entity": entity, "expires": self.time + life_ms, "supersedes": last}
        command = self.command(Attest, statement=text, **{**defaults, **fields})
        return self.do(command, *(signers or (attestor,)))

    def mark(self, kind: type[EnforcementCommand], on: str, target: str, *authors: str) -> str:
        """Quarantine, isolate, …, signed by olga unless told otherwise, and give the code. `on` is a kind of target."""
        return self.do(self.command(kind, kind=TargetKind(on), id=target, reason="why"), *(authors or ("olga",)))

    def marks(self, on: str, target: str) -> set[str]:
        """Names of the marks on a target."""
        return set(self.machine.marks(on, target))
