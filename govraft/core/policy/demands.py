"""What a permit demands besides what Cedar can tell: its annotations.

    @requires_grant("true")                      the principal holds a grant for this action and resource
    @requires_attestation("<predicate type>")    an attestor's statement of this type, a URI, is on record
    @attestation_digest("sha256:<64 hex>")       … about these bytes
    @attestation_max_age("<seconds>")            … recorded less than so long ago
    @attested("principal" or "resource")         … about this entity; without it: the resource

Anything else that is named like one of these is a mistake, and so is a condition on a `forbid`: either would look like
a protection and be none. Such a policy cannot be used. Other annotations are the author's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from govraft.errors import InputError

__all__ = ["NO_DEMANDS", "AttestationDemand", "DemandError", "Demands", "read_demands"]

_GRANT = "requires_grant"
_ATTESTATION = "requires_attestation"
_DIGEST = "attestation_digest"
_MAX_AGE = "attestation_max_age"
_ATTESTED = "attested"
_OF_ATTESTATION = (_DIGEST, _MAX_AGE, _ATTESTED)
_KNOWN = frozenset({_GRANT, _ATTESTATION, *_OF_ATTESTATION})

_RESERVED = re.compile(r"require|attest|grant", re.IGNORECASE)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,500}")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_SECONDS = re.compile(r"[1-9][0-9]{0,9}")


class DemandError(InputError):
    """Annotations that demand nothing that can be met, or are not understood."""

    default_code = "policy_invalid"


class AttestationDemand(NamedTuple):
    """An attestation that must be there.

    Attributes:
        predicate_type: URI.
        digest: SHA-256 of what it must be about, 64 hexadecimal digits; None: of anything.
        max_age_ms: It must have been recorded less than this ago; None: whenever.
        about: Whose it is.
    """

    predicate_type: str
    digest: str | None = None
    max_age_ms: int | None = None
    about: Literal["principal", "resource"] = "resource"


class Demands(NamedTuple):
    """What must hold for a permit to count."""

    grant: bool = False
    attestation: AttestationDemand | None = None


NO_DEMANDS = Demands()


def read_demands(tree: Mapping[str, Any]) -> Demands:
    """The demands of a policy in Cedar's JSON form.

    Raises:
        DemandError: An annotation is unknown, malformed, or has no place there.
    """
    annotations = tree.get("annotations") or {}
    given = {name: value for name, value in annotations.items() if name in _KNOWN or _RESERVED.match(name)}
    if not given:
        return NO_DEMANDS
    # SAFETY: what is not understood is refused, not skipped. test_policy_demands.test_refused
    for name in given:
        if name not in _KNOWN:
            raise DemandError(f"annotation `@{name}` is unknown: use one of {', '.join(sorted(_KNOWN))}")
    if tree.get("effect") != "permit":
        raise DemandError(f"`@{min(given)}` has no place on a forbid: put conditions on permits")
    if _GRANT in given:
        _match(given, _GRANT, re.compile("true"), 'the text "true"; without a demand leave it out')
    return Demands(_GRANT in given, _read_attestation(given))


def _read_attestation(given: Mapping[str, Any]) -> AttestationDemand | None:
    if _ATTESTATION not in given:
        for name in _OF_ATTESTATION:
            if name in given:
                raise DemandError(f"`@{name}` needs `@{_ATTESTATION}` beside it")
        return None
    predicate_type = _match(given, _ATTESTATION, _URI, "a URI")
    digest = _match(given, _DIGEST, _SHA256, "`sha256:` and 64 lowercase hexadecimal digits")
    max_age = _match(given, _MAX_AGE, _SECONDS, "a number of seconds, at least 1")
    about = _match(given, _ATTESTED, re.compile("principal|resource"), "`principal` or `resource`")
    return AttestationDemand(
        predicate_type[0] if predicate_type else "",
        digest[1] if digest else None,
        int(max_age[0]) * 1_000 if max_age else None,
        "principal" if about and about[0] == "principal" else "resource",
    )


def _match(given: Mapping[str, Any], name: str, pattern: re.Pattern[str], wanted: str) -> re.Match[str] | None:
    """What a pattern finds in an annotation's value; None only if there is no such annotation."""
    if name not in given:
        return None
    value = given[name]
    found = pattern.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise DemandError(f"`@{name}({str(value)[:100]!r})` must hold {wanted}")
    return found
