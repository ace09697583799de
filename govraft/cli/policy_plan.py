"""How to get from the latest published version to a wanted one, in envelopes that fit.

Removals come first, under the old schema, then the new schema with what is added. So every version on the way is a
part of the old bundle or a part of the new one, and type-checks if those do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from govraft.core.codec.canonical import pack_json
from govraft.core.machine.policies import bundle_digest
from govraft.core.model.limits import SCHEMA_BYTES
from govraft.errors import LimitExceededError

__all__ = ["EMPTY", "PAYLOAD_BYTES", "Bundle", "PlannedVersion", "plan_versions"]

PAYLOAD_BYTES = 36 * 1024
"""Of one command's variable part. Base64 makes 48 KiB of it, which leaves room for headers and signatures."""

_PAYLOAD_BYTES_MAX = 45 * 1024
_REMOVAL_BYTES = 68


class Bundle(NamedTuple):
    """A version with its texts; version 0 with nothing in it if none is published."""

    version: int
    digest: str
    schema: str
    policies: Mapping[str, str]


EMPTY = Bundle(0, "", "", {})


class PlannedVersion(NamedTuple):
    """One `policy.publish` command's fields, and the digest of the version that it makes."""

    version: int
    expected: str
    schema: str | None
    policies: tuple[str, ...]
    removed: tuple[str, ...]
    digest: str


def plan_versions(base: Bundle, schema: str | None, policies: Mapping[str, str]) -> list[PlannedVersion]:
    """The versions to publish, in order; empty if the latest one is as wanted.

    Args:
        base: The latest published version.
        schema: Wanted; None below the root domain, which alone has one.
        policies: Wanted, by id.

    Raises:
        LimitExceededError: The schema does not fit into an envelope.
    """
    removed = sorted(base.policies.keys() - policies.keys())
    added = sorted(policies.keys() - base.policies.keys())
    new_schema = schema if schema is not None and (schema != base.schema or base.version == 0) else None
    if not removed and not added and new_schema is None:
        return []
    size = len(pack_json(new_schema)) if new_schema is not None else 0
    if size > _PAYLOAD_BYTES_MAX:
        raise LimitExceededError(f"the schema takes {size} bytes: at most {_PAYLOAD_BYTES_MAX} of {SCHEMA_BYTES} fit")
    steps = _pack(removed, added, policies, size)
    planned: list[PlannedVersion] = []
    ids, version, digest, current = set(base.policies), base.version, base.digest, base.schema
    for step_schema, step_added, step_removed in steps:
        carried = new_schema if step_schema else None
        current = current if carried is None else carried
        ids = (ids - set(step_removed)) | set(step_added)
        version += 1
        schema_digest = b"" if schema is None else hashlib.sha256(current.encode()).digest()
        made = bundle_digest(schema_digest, tuple(sorted(bytes.fromhex(name) for name in ids)))
        texts = tuple(policies[name] for name in step_added)
        planned.append(PlannedVersion(version, digest, carried, texts, tuple(step_removed), made))
        digest = made
    return planned


def _pack(
    removed: list[str], added: list[str], policies: Mapping[str, str], schema_size: int
) -> list[tuple[bool, list[str], list[str]]]:
    """Steps of (carries the schema, ids to add, ids to remove)."""
    sizes = {name: len(pack_json(policies[name])) + 1 for name in added}
    if schema_size + sum(sizes.values()) + len(removed) * _REMOVAL_BYTES <= PAYLOAD_BYTES:
        return [(schema_size > 0, added, removed)]
    steps: list[tuple[bool, list[str], list[str]]] = []
    page = PAYLOAD_BYTES // _REMOVAL_BYTES
    steps += [(False, [], removed[start : start + page]) for start in range(0, len(removed), page)]
    current: list[str] = []
    room, carries = PAYLOAD_BYTES - schema_size, schema_size > 0
    for name in added:
        if sizes[name] > room and (current or carries):
            steps.append((carries, current, []))
            current, room, carries = [], PAYLOAD_BYTES, False
        current.append(name)
        room -= sizes[name]
    if current or carries:
        steps.append((carries, current, []))
    return steps
