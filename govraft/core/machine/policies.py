"""Policies: publish a version, activate a version, each domain for itself.

    published   0 → 1 → 2 → … each the latest version + 1, bound to the digest of the one before
    active      none → any published version → only ever a later one

What is active in a domain decides there together with what domains above it forbid (`core/decision/policy_shelf.py`).
The schema is that of the root domain, so that a forbid means the same in each domain below.

A version is published as a change of the one before it, because 10,000 policies do not fit into one envelope. Texts are
stored once, whichever versions use them, and dropped with the last version that does. Going back to older content
means publishing it again: else an activation signed long ago could arrive late and undo a later one.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.machine.policy_view import DomainPolicies, PoliciesView
from govraft.core.machine.records import (
    POLICY_PREFIX,
    SCHEMA_PREFIX,
    ActivePolicies,
    PolicyVersion,
    active_key,
    version_key,
)
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.commands import PolicyActivate, PolicyPublish
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.policy.hazards import HazardError, scan_policy, scan_schema

__all__ = ["activate_policies", "bundle_digest", "drop_domain", "policy_id", "publish_policies"]


def policy_id(text: str) -> bytes:
    """The id of a policy: SHA-256 of its text, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def bundle_digest(schema_digest: bytes, policy_ids: tuple[bytes, ...]) -> str:
    """The digest of a version, 64 hexadecimal digits.

    Args:
        schema_digest: SHA-256 of the schema's text; empty below the root domain.
        policy_ids: Sorted.
    """
    return digest("policies", pack({"policies": policy_ids, "schema": schema_digest})).hex()


def publish_policies(state: State, command: PolicyPublish, context: Context) -> Changes | Rejected:
    """Publish the next version. Refused: over a limit, not the next version, hazardous texts, an impossible change."""
    own = state.policies.of(command.domain)
    base = own.latest
    refused = _check_sizes(command) or _check_predecessor(command, base) or _check_hazards(command)
    if refused is not None:
        return refused
    schema_digest = _schema_digest(command, base)
    if isinstance(schema_digest, Rejected):
        return schema_digest
    ids = _next_ids(command, base)
    if isinstance(ids, Rejected):
        return ids
    version = PolicyVersion(
        command.version,
        bundle_digest(schema_digest, ids),
        schema_digest,
        ids,
        context.seq,
        context.time,
        context.authors,
    )
    changes = Changes()
    _drop_oldest(state.policies, own, command.domain, changes)
    changes.put("policies", version_key(version.version, command.domain), version)
    if command.schema is not None:
        changes.put("policies", SCHEMA_PREFIX + schema_digest.hex(), command.schema)
    for text in command.policies:
        changes.put("policies", POLICY_PREFIX + policy_id(text).hex(), text)
    return changes


def activate_policies(state: State, command: PolicyActivate, context: Context) -> Changes | Rejected:
    """Activate a published version. Refused: not published or no longer kept, another digest, not later than active."""
    own = state.policies.of(command.domain)
    version, active = own.versions.get(command.version), own.active
    if version is None:
        return Rejected(Rejection.POLICY_UNKNOWN, f"version {command.version} is not published, publish it first")
    if version.digest != command.digest:
        return Rejected(Rejection.POLICY_DIGEST_CONFLICT, f"version {command.version} has digest {version.digest}")
    # SAFETY: no late activation undoes a later one. test_policies.test_activation_never_goes_back
    if active is not None and version.version <= active.version:
        return Rejected(
            Rejection.POLICY_VERSION_CONFLICT,
            f"version {active.version} is active, publish older content as a new version to go back",
        )
    record = ActivePolicies(version.version, version.digest, context.seq, context.time, context.authors)
    changes = Changes()
    changes.put("policies", active_key(command.domain), record)
    return changes


def _check_sizes(command: PolicyPublish) -> Rejected | None:
    if command.schema is not None and len(command.schema.encode()) > limits.SCHEMA_BYTES:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the schema is over {limits.SCHEMA_BYTES} bytes")
    if any(len(text.encode()) > limits.POLICY_BYTES for text in command.policies):
        return Rejected(Rejection.LIMIT_EXCEEDED, f"a policy is over {limits.POLICY_BYTES} bytes, split it")
    return None


def _check_predecessor(command: PolicyPublish, base: PolicyVersion | None) -> Rejected | None:
    version, expected = (0, "") if base is None else (base.version, base.digest)
    if command.version != version + 1:
        return Rejected(Rejection.POLICY_VERSION_CONFLICT, f"the next version is {version + 1}, not {command.version}")
    # SAFETY: what an author changes is what the author saw. test_policies.test_publish_table
    if command.expected != expected:
        return Rejected(Rejection.POLICY_DIGEST_CONFLICT, f"the latest version has digest `{expected}`")
    return None


def _check_hazards(command: PolicyPublish) -> Rejected | None:
    # SAFETY: no text that could end the process reaches the native engine. test_policies.test_hazards_are_refused
    try:
        if command.schema is not None:
            scan_schema(command.schema)
        for text in command.policies:
            scan_policy(text)
    except HazardError as error:
        return Rejected(Rejection.POLICY_HAZARDOUS, str(error))
    return None


def _schema_digest(command: PolicyPublish, base: PolicyVersion | None) -> bytes | Rejected:
    if command.domain != ROOT_DOMAIN:
        # SAFETY: a domain with a schema of its own could read what is forbidden above it as something else.
        # test_domain_policies.test_only_the_root_has_a_schema
        if command.schema is not None:
            return Rejected(Rejection.POLICY_INVALID, "only the root domain has a schema, leave it out")
        return b""
    if command.schema is not None:
        return hashlib.sha256(command.schema.encode()).digest()
    if base is not None:
        return base.schema_digest
    return Rejected(Rejection.POLICY_INVALID, "the first version needs a schema")


def _next_ids(command: PolicyPublish, base: PolicyVersion | None) -> tuple[bytes, ...] | Rejected:
    ids = set() if base is None else set(base.policy_ids)
    for name in command.removed:
        removed = bytes.fromhex(name)
        if removed not in ids:
            return Rejected(Rejection.POLICY_UNKNOWN, f"policy {name} is not in the latest version")
        ids.remove(removed)
    for text in command.policies:
        added = policy_id(text)
        if added in ids:
            return Rejected(Rejection.POLICY_INVALID, f"policy {added.hex()} is there already, leave it out")
        ids.add(added)
    most = limits.POLICIES if command.domain == ROOT_DOMAIN else limits.DOMAIN_POLICIES
    if len(ids) > most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"a version holds at most {most} policies")
    return tuple(sorted(ids))


def _drop_oldest(view: PoliciesView, own: DomainPolicies, domain: str, changes: Changes) -> None:
    """Make room among the kept versions, and forget the texts that no version uses any more."""
    kept = limits.POLICY_VERSIONS_KEPT if domain == ROOT_DOMAIN else limits.DOMAIN_POLICY_VERSIONS_KEPT
    if len(own.versions) < kept:
        return
    # Whatever the new version adds is put after this, so what it shares with the oldest alone is not lost.
    _drop(view, [own.oldest_unused], domain, changes)


def drop_domain(view: PoliciesView, domain: str, changes: Changes) -> None:
    """Forget all that a domain has published, and the texts that only it uses."""
    own = view.of(domain)
    _drop(view, [own.versions[number] for number in sorted(own.versions)], domain, changes)
    if own.active is not None:
        changes.remove("policies", active_key(domain))


def _drop(view: PoliciesView, versions: list[PolicyVersion], domain: str, changes: Changes) -> None:
    uses = Counter(name for version in versions for name in version.policy_ids)
    for version in versions:
        changes.remove("policies", version_key(version.version, domain))
        if view.schema_uses[version.schema_digest] == 1 and version.schema_digest:
            changes.remove("policies", SCHEMA_PREFIX + version.schema_digest.hex())
    for name in sorted(uses):
        # SAFETY: a text that any other version of any domain uses stays. test_domain_policies.test_texts_are_shared
        if view.policy_uses[name].total() == uses[name]:
            changes.remove("policies", POLICY_PREFIX + name.hex())
