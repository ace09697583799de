"""Grants, boundaries, conditions and attestations: what a permit of a policy takes besides."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["LENDING_MUTANTS"]

_MACHINE = "govraft/core/machine"
_DECISION = "govraft/core/decision"
_UNIT = "tests/unit/core/machine"
_DECIDED = "tests/unit/core/decision"
_GRANTS = f"{_MACHINE}/grants.py"
_GRANT_TESTS = (f"{_UNIT}/test_grants.py",)
_CHECKED_GRANTS = (f"{_DECIDED}/test_decision_grants.py",)
_BOUNDARY_TESTS = (f"{_DECIDED}/test_decision_boundaries.py",)
_CONDITION_TESTS = (f"{_DECIDED}/test_decision_conditions.py",)
_ATTESTATIONS = f"{_MACHINE}/attestations.py"
_ATTESTATION_TESTS = (f"{_UNIT}/test_attestations.py",)
_DISAGREEMENT_TESTS = (f"{_UNIT}/test_attestation_disagreement.py", f"{_DECIDED}/test_decision_attestations.py")
_RATE_TESTS = ("tests/unit/node/test_rates.py",)
_GATE_TESTS = ("tests/unit/node/test_gate_conditions.py",)

LENDING_MUTANTS = (
    Mutant(
        "grant-handed-on-without-end",
        "a grant is handed on at most as often as its parent says",
        _GRANTS,
        "    if grant.depth >= parent.depth:\n",
        "    if grant.depth > parent.depth:\n",
        _GRANT_TESTS,
    ),
    Mutant(
        "grant-with-more-actions",
        "a grant lends no action that its parent does not",
        _GRANTS,
        "    if not set(grant.actions) <= set(parent.actions):\n",
        "    if not set(grant.actions) & set(parent.actions):\n",
        _GRANT_TESTS,
    ),
    Mutant(
        "grant-with-more-resources",
        "a grant lends no resource that its parent does not",
        _GRANTS,
        "    if not all(_is_covered(",
        "    if not any(_is_covered(",
        _GRANT_TESTS,
    ),
    Mutant(
        "grant-outlasts-its-parent",
        "a grant lies within its parent's time",
        _GRANTS,
        "grant.not_before < parent.not_before or grant.not_after > parent.not_after:",
        "grant.not_before < parent.not_before:",
        _GRANT_TESTS,
    ),
    Mutant(
        "renewal-outlasts-the-parent",
        "a renewed grant ends no later than its parent",
        _GRANTS,
        "    if grant.parent is not None and end > state.grants.grants[grant.parent].not_after:\n",
        "    if grant.parent is not None and end < 0:\n",
        _GRANT_TESTS,
    ),
    Mutant(
        "renewal-undoes-a-revocation",
        "nothing brings a revoked grant back",
        _GRANTS,
        "    refused = _check_alive(state, grant, context.time)\n    if refused is not None:\n        return refused\n",
        "",
        _GRANT_TESTS,
    ),
    Mutant(
        "grant-in-a-sibling-domain",
        "a grant is handed on within its parent's domain",
        _GRANTS,
        "    if parent.domain not in state.domains.path(grant.domain):\n",
        "    if not state.domains.path(grant.domain):\n",
        _GRANT_TESTS,
    ),
    Mutant(
        "revoked-holder-is-granted",
        "who is revoked holds no new grant",
        _GRANTS,
        'if REVOKED in state.entities.marks.get(mark_key("subject", holder), {}):',
        "if not holder:",
        _GRANT_TESTS,
    ),
    Mutant(
        "revocation-does-not-cascade",
        "revoking a grant revokes all that came of it",
        f"{_DECISION}/grants.py",
        "any(link.revoked is not None for link in chain)",
        "grant.revoked is not None",
        _CHECKED_GRANTS,
    ),
    Mutant(
        "links-above-do-not-cover",
        "a grant never lends more than each one above it would now",
        f"{_DECISION}/grants.py",
        "or not all(_covers(link, reach) for link in chain):",
        "or not _covers(grant, reach):",
        _CHECKED_GRANTS,
    ),
    Mutant(
        "grant-never-ends",
        "the end of a grant is looked at in each decision",
        f"{_DECISION}/grants.py",
        "            if wall >= end:\n",
        "            if wall < 0:\n",
        _CHECKED_GRANTS,
    ),
    Mutant(
        "grant-counts-before-it-begins",
        "a grant counts from its beginning",
        f"{_DECISION}/grants.py",
        "elif all(link.not_before <= wall for link in chain):",
        "else:",
        _CHECKED_GRANTS,
    ),
    Mutant(
        "grant-of-another-domain-counts",
        "a grant counts in its domain and below",
        f"{_DECISION}/grants.py",
        "        grant.domain in reach.path\n        and _touches(grant.actions",
        "        _touches(grant.actions",
        _CHECKED_GRANTS,
    ),
    Mutant(
        "allow-outlives-its-grant",
        "an allow does not outlive what it rests on",
        "govraft/node/gate.py",
        "            end = min(end, BoottimeNs(began + left_ms * NS_PER_MS))\n",
        "            del left_ms\n",
        _GATE_TESTS,
    ),
    Mutant(
        "clock-behind-revives-the-expired",
        "what has expired at the machine's time does not count again",
        f"{_DECISION}/evaluator.py",
        "    wall = max(wall, machine.time)\n",
        "",
        _CONDITION_TESTS,
    ),
    Mutant(
        "unmet-condition-permits",
        "a permit whose conditions are not met is no permit",
        f"{_DECISION}/conditions.py",
        "    if not met:\n",
        "    if not met and not names:\n",
        _CONDITION_TESTS,
    ),
    Mutant(
        "one-of-two-conditions-is-enough",
        "all conditions of a permit must be met",
        f"{_DECISION}/conditions.py",
        "    for item in found:\n",
        "    for item in found[1:]:\n",
        _CONDITION_TESTS,
    ),
    Mutant(
        "boundary-above-ignored",
        "boundaries of every domain above bind",
        f"{_DECISION}/boundaries.py",
        "machine.state.boundaries.binding(reach.path):",
        "machine.state.boundaries.binding(reach.path[:1]):",
        _BOUNDARY_TESTS,
    ),
    Mutant(
        "region-unsaid-is-everywhere",
        "who says nothing of where is nowhere",
        f"{_DECISION}/boundaries.py",
        "if type(region) is not str or region not in boundary.regions:",
        "if region is not None and region not in boundary.regions:",
        _BOUNDARY_TESTS,
    ),
    Mutant(
        "level-may-be-true",
        "a level is a whole number",
        f"{_DECISION}/boundaries.py",
        "if type(level) is not int or not 0 <= level <= boundary.level_max:",
        "if not isinstance(level, int) or not 0 <= level <= boundary.level_max:",
        _BOUNDARY_TESTS,
    ),
    Mutant(
        "window-never-closes",
        "beyond a boundary's windows nothing is allowed",
        f"{_DECISION}/boundaries.py",
        "        if boundary.windows and not ends:\n",
        "        if boundary.windows and not ends and not boundary.id:\n",
        _BOUNDARY_TESTS,
    ),
    Mutant(
        "rate-for-each-node",
        "all members together never exceed a rate",
        "govraft/node/rates.py",
        "return most // max(len(self._electorate.members), *past, 1)",
        "return most",
        _RATE_TESTS,
    ),
    Mutant(
        "restart-empties-the-window",
        "what a node was not there to count is taken for used up",
        "govraft/node/rates.py",
        "        if now - self._since <= window_ns:\n            return 0\n",
        "",
        _RATE_TESTS,
    ),
    Mutant(
        "share-grows-at-once",
        "who has left may have used its share within the window",
        "govraft/node/rates.py",
        "return most // max(len(self._electorate.members), *past, 1)",
        "return most // max(len(self._electorate.members), 1)",
        _RATE_TESTS,
    ),
    Mutant(
        "rate-not-taken",
        "an allow beyond the rate is denied",
        "govraft/node/gate.py",
        "        if full is not None:\n",
        "        if full is not None and not full.key:\n",
        _GATE_TESTS,
    ),
    Mutant(
        "statement-in-anothers-name",
        "an attestation's signer signs the command too",
        _ATTESTATIONS,
        "if context.is_valid(state.authorities.by_id[author].public_key, signature, message)",
        "if signature",
        _ATTESTATION_TESTS,
    ),
    Mutant(
        "chain-of-statements-broken",
        "each statement names the one before it",
        _ATTESTATIONS,
        "    if command.supersedes != (None if last is None else last.digest):\n",
        "    if last is None and command.supersedes is not None:\n",
        _ATTESTATION_TESTS,
    ),
    Mutant(
        "expired-attestation-counts",
        "an attestation counts until it expires",
        _ATTESTATIONS,
        "        time < item.expires\n        and item.dropped is None\n",
        "        item.dropped is None\n",
        (*_ATTESTATION_TESTS, *_DISAGREEMENT_TESTS),
    ),
    Mutant(
        "settled-statement-counts",
        "what a resolution dropped counts no more",
        _ATTESTATIONS,
        "        and item.dropped is None\n",
        "",
        (*_ATTESTATION_TESTS, *_DISAGREEMENT_TESTS),
    ),
    Mutant(
        "marked-attestation-counts",
        "a revoked or invalidated attestation does not count",
        _ATTESTATIONS,
        '        and mark_key("attestation", item.digest) not in state.entities.marks\n',
        "",
        _ATTESTATION_TESTS,
    ),
    Mutant(
        "word-of-a-former-attestor-counts",
        "an attestation counts while its attestor holds the role there",
        _ATTESTATIONS,
        "        and authority.holds(Role.ATTESTOR, path)\n",
        "",
        _ATTESTATION_TESTS,
    ),
    Mutant(
        "disagreement-not-looked-up",
        "what attestors disagree on is denied",
        f"{_DECISION}/evaluator.py",
        "        stopped = find_disagreement(machine, (principal, resource), wall)\n",
        "        stopped = find_disagreement(machine, (principal,), wall)\n",
        _DISAGREEMENT_TESTS,
    ),
    Mutant(
        "attestation-never-too-old",
        "a demanded age is looked at in each decision",
        f"{_DECISION}/attestations.py",
        "item.expires if max_age_ms is None else min(item.expires, item.issued + max_age_ms)",
        "item.expires",
        (f"{_DECIDED}/test_decision_attestations.py",),
    ),
    Mutant(
        "attestation-of-another-digest",
        "a demanded digest is among the subjects",
        f"{_DECISION}/attestations.py",
        "if digest is None or digest in item.subjects]",
        "if digest is None or item.subjects]",
        (f"{_DECIDED}/test_decision_attestations.py",),
    ),
)
