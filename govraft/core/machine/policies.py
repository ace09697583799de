"""Policies: publish a version, activate a version.

    published   0 → 1 → 2 → … each the latest version + 1, bound to the digest of the one before
    active      none → any published version → only ever a later one

A version is published as a change of the one before it, because 10,000 policies do not fit into one envelope. Texts are
stored once, whichever versions use them, and dropped with the last version that does. Going back to older content
means publishing it again: else an activation signed long ago could arrive late and undo a later one.
"""

from __future__ import annotations

import hashlib

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.machine.records import (
    ACTIVE_KEY,
    POLICY_PREFIX,
    SCHEMA_PREFIX,
    ActivePolicies,
    PolicyVersion,
    version_key,
)
from govraft.core.machine.state import Changes, Context, State
from govraft.core.machine.views import PoliciesView
from govraft.core.model import limits
from govraft.core.model.commands import PolicyActivate, PolicyPublish
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.policy.hazards import HazardError, scan_policy, scan_schema

__all__ = ["activate_policies", "bundle_digest", "policy_id", "publish_policies"]


def policy_id(text: str) -> bytes:
    """The id of a policy: SHA-256 of its text, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def bundle_digest(schema_digest: bytes, policy_ids: tuple[bytes, ...]) -> str:
    """The digest of a version, 64 hexadecimal digits.

    Args:
        schema_digest: SHA-256 of the schema's text.
        policy_ids: Sorted.
    """
    return digest("policies", pack({"policies": policy_ids, "schema": schema_digest})).hex()


def publish_policies(state: State, command: PolicyPublish, context: Context) -> Changes | Rejected:
    """Publish the next version. Refused: over a limit, not the next version, hazardous texts, an impossible change."""
    view = state.policies
    base = view.latest
    refused = _check_sizes(command) or _check_predecessor(command, base) or _check_hazards(command)
    if refused is not None:
        return refused
    if command.schema is not None:
        schema_digest = hashlib.sha256(command.schema.encode()).digest()
    elif base is not None:
        schema_digest = base.schema_digest
    else:
        return Rejected(Rejection.POLICY_INVALID, "the first version needs a schema")
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
    _drop_oldest(view, changes)
    changes.put("policies", version_key(version.version), version)
    if command.schema is not None:
        changes.put("policies", SCHEMA_PREFIX + schema_digest.hex(), command.schema)
    for text in command.policies:
        changes.put("policies", POLICY_PREFIX + policy_id(text).hex(), text)
    return changes


def activate_policies(state: State, command: PolicyActivate, context: Context) -> Changes | Rejected:
    """Activate a published version. Refused: not published or no longer kept, another digest, not later than active."""
    version, active = state.policies.versions.get(command.version), state.policies.active
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
    changes.put("policies", ACTIVE_KEY, record)
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
    if len(ids) > limits.POLICIES:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"a version holds at most {limits.POLICIES} policies")
    return tuple(sorted(ids))


def _drop_oldest(view: PoliciesView, changes: Changes) -> None:
    """Make room among the kept versions, and forget the texts that no version uses any more."""
    if len(view.versions) < limits.POLICY_VERSIONS_KEPT:
        return
    active = 0 if view.active is None else view.active.version
    oldest = view.versions[min(version for version in view.versions if version != active)]
    changes.remove("policies", version_key(oldest.version))
    # Whatever the new version adds is put after this, so what it shares with the oldest alone is not lost.
    for unused in oldest.policy_ids:
        if view.policy_uses[unused] == 1:
            changes.remove("policies", POLICY_PREFIX + unused.hex())
    if view.schema_uses[oldest.schema_digest] == 1:
        changes.remove("policies", SCHEMA_PREFIX + oldest.schema_digest.hex())
