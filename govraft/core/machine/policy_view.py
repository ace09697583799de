"""The section `policies`, decoded: versions by domain, and the texts that they share.

    version/<n>             PolicyVersion of the root domain
    version/<domain>/<n>    PolicyVersion of another domain
    active                  ActivePolicies of the root domain
    active/<domain>         ActivePolicies of another domain
    policy/<id>             text, as long as any version of any domain uses it
    schema/<digest>         text, as long as any version of the root domain uses it

Only the root domain has a schema: a forbid must mean the same in each domain below.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from govraft.core.machine.records import (
    ACTIVE_KEY,
    POLICY_PREFIX,
    VERSION_PREFIX,
    ActivePolicies,
    PolicyBundle,
    PolicyVersion,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.policy.names import named_entities

__all__ = ["DomainPolicies", "PoliciesView"]

_decode_version = msgspec.msgpack.Decoder(PolicyVersion).decode
_decode_active = msgspec.msgpack.Decoder(ActivePolicies).decode
_decode_text = msgspec.msgpack.Decoder(str).decode


class DomainPolicies:
    """What one domain has published, and what of it decides."""

    def __init__(self) -> None:
        self.versions: dict[int, PolicyVersion] = {}
        self.active: ActivePolicies | None = None
        self.active_bundle: PolicyBundle | None = None
        """Put together when it is first asked for."""

    @property
    def latest(self) -> PolicyVersion | None:
        """The latest published version."""
        return self.versions[max(self.versions)] if self.versions else None

    @property
    def oldest_unused(self) -> PolicyVersion:
        """The oldest version that is not active. There must be one."""
        active = 0 if self.active is None else self.active.version
        return self.versions[min(version for version in self.versions if version != active)]


_NONE = DomainPolicies()


class PoliciesView:
    """Published versions of each domain, the texts that they share, and the active ones."""

    def __init__(self) -> None:
        self.by_domain: dict[str, DomainPolicies] = {}
        """Domains that have published anything."""
        self.policy_uses: dict[bytes, Counter[str]] = {}
        """In how many versions a policy is, by domain."""
        self.schema_uses: Counter[bytes] = Counter()
        self._naming: dict[str, dict[str, None]] = {}
        """Ids of the policies that name an entity, by its uid."""
        self._policies: dict[str, str] = {}
        self._schemas: dict[str, str] = {}

    def of(self, domain: str) -> DomainPolicies:
        """What a domain has published. For reading only."""
        return self.by_domain.get(domain, _NONE)

    def active_bundle(self, domain: str = ROOT_DOMAIN) -> PolicyBundle | None:
        """The version that a domain has activated, with its texts; the same object until another one is."""
        own = self.of(domain)
        if own.active_bundle is None and own.active is not None:
            own.active_bundle = self.bundle(own.active.version, domain)
        return own.active_bundle

    def bundle(self, version: int, domain: str = ROOT_DOMAIN) -> PolicyBundle | None:
        """A published version with its texts, or None when it is not kept. Without a schema below the root."""
        record = self.of(domain).versions.get(version)
        if record is None:
            return None
        policies = {policy_id.hex(): self._policies[policy_id.hex()] for policy_id in record.policy_ids}
        schema = self._schemas[record.schema_digest.hex()] if record.schema_digest else ""
        return PolicyBundle(version, record.digest, schema, policies)

    def schema(self) -> str | None:
        """The schema that a policy proposed now has to fit: the active one, else the latest; None without any."""
        root = self.of(ROOT_DOMAIN)
        number = root.active.version if root.active is not None else max(root.versions, default=0)
        record = root.versions.get(number)
        return None if record is None else self._schemas[record.schema_digest.hex()]

    def text(self, policy_id: str) -> str | None:
        """Text of a policy that any kept version uses, by its id in hexadecimal."""
        return self._policies.get(policy_id)

    def domains_of(self, policy_id: bytes) -> tuple[str, ...]:
        """Ids of the domains of which a kept version holds the policy, sorted."""
        return tuple(sorted(self.policy_uses.get(policy_id, ())))

    def naming(self, *uids: str) -> tuple[str, ...]:
        """Ids of the domains of which a kept version names one of these entities, sorted.

        Args:
            uids: Canonical.
        """
        # SAFETY: each policy is looked at once, however many of them it names, and no version is searched for it: what
        # one entry costs must not grow with all that was ever published
        # (test_review_issue_governance.py::test_names_are_looked_up_without_searching_versions).
        policies: set[str] = set().union(*(self._naming.get(uid, ()) for uid in uids))
        uses = (self.policy_uses.get(bytes.fromhex(policy), ()) for policy in policies)
        return tuple(sorted({domain for domains in uses for domain in domains}))

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        kind, _, name = key.partition("/")
        if kind == ACTIVE_KEY:
            own = self._own(name or ROOT_DOMAIN)
            own.active = None if value is None else _decode_active(value)
            own.active_bundle = None
            self._forget_if_empty(name or ROOT_DOMAIN)
        elif key.startswith(VERSION_PREFIX):
            domain, _, number = name.rpartition("/")
            self._note_version(domain or ROOT_DOMAIN, int(number), value)
        elif key.startswith(POLICY_PREFIX):
            self._note_policy(name, value)
        elif value is None:
            self._schemas.pop(name, None)
        else:
            self._schemas[name] = _decode_text(value)

    def _note_policy(self, policy_id: str, value: bytes | None) -> None:
        old = self._policies.pop(policy_id, None)
        for uid in named_entities(old) if old is not None else ():
            del self._naming[uid][policy_id]
            if not self._naming[uid]:
                del self._naming[uid]
        if value is not None:
            text = self._policies[policy_id] = _decode_text(value)
            for uid in named_entities(text):
                self._naming.setdefault(uid, {})[policy_id] = None

    def _own(self, domain: str) -> DomainPolicies:
        return self.by_domain.setdefault(domain, DomainPolicies())

    def _forget_if_empty(self, domain: str) -> None:
        own = self.by_domain[domain]
        if not own.versions and own.active is None:
            del self.by_domain[domain]

    def _note_version(self, domain: str, number: int, value: bytes | None) -> None:
        own = self._own(domain)
        old = own.versions.pop(number, None)
        if old is not None:
            self._count(domain, old, -1)
        if value is not None:
            record = own.versions[number] = _decode_version(value)
            self._count(domain, record, 1)
        self._forget_if_empty(domain)

    def _count(self, domain: str, version: PolicyVersion, change: int) -> None:
        """Count uses, and forget what has none."""
        for name in version.policy_ids:
            uses = self.policy_uses.setdefault(name, Counter())
            uses[domain] += change
            if not uses[domain]:
                del uses[domain]
                if not uses:
                    del self.policy_uses[name]
        self.schema_uses[version.schema_digest] += change
        if not self.schema_uses[version.schema_digest]:
            del self.schema_uses[version.schema_digest]
