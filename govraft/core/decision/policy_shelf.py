"""The policies that decide, compiled once for as long as they are active.

What decides in a domain is its *effective set*: its own active policies, and of each domain above it, up to the root,
the active policies that forbid. What is permitted above is not inherited, so a domain can only narrow. A domain that
has activated nothing permits nothing, whatever is permitted above it; what it hands down is what it inherits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from govraft.core.machine.machine import Machine
from govraft.core.machine.records import PolicyBundle
from govraft.core.model import limits
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.reasons import Reason
from govraft.core.policy.bounded_cache import BoundedCache
from govraft.core.policy.compiled import CompiledPolicies, PolicyCompileError

__all__ = ["Effective", "PolicyShelf"]

Active = Callable[[str], PolicyBundle | None]
"""The version that a domain has activated. Only that of the root has a schema."""


class Effective(NamedTuple):
    """The effective set of a domain, or why it has none.

    Attributes:
        compiled: None: every request in the domain is denied.
        reason, message: With what.
    """

    compiled: CompiledPolicies | None
    reason: Reason = Reason.POLICY_DENIED
    message: str = ""


class _Shelved(NamedTuple):
    """A set with the digests that it was made of: of the domain and of those above it."""

    digests: tuple[str, ...]
    effective: Effective


class PolicyShelf:
    """Effective sets, made when they are first asked for."""

    def __init__(self) -> None:
        self._sets: BoundedCache[str, _Shelved] = BoundedCache(
            count_max=limits.EFFECTIVE_SETS_CACHED, weight_max=limits.EFFECTIVE_SETS_CACHED_POLICIES
        )

    def of(self, machine: Machine, domain: str) -> Effective:
        """What decides in a domain.

        Args:
            machine: Says what is active.
            domain: Of the resource that is asked about.
        """
        state = machine.state
        return self.effective(state.domains.path(domain), state.policies.active_bundle)

    def effective(self, path: Sequence[str], active: Active) -> Effective:
        """What decides in the first domain of a path.

        Args:
            path: The domain and all above it, up to the root; empty for one that does not exist.
            active: Says what is active in each of them.
        """
        if not path:
            return Effective(None, Reason.POLICY_ERROR, "the resource's domain does not exist")
        for domain in (ROOT_DOMAIN, path[0]):
            if active(domain) is None:
                message = f"no policy is active in `{domain}`, so nothing is permitted"
                return Effective(None, Reason.POLICY_DENIED, message)
        return self._inherit(path, active)

    def _inherit(self, path: Sequence[str], active: Active) -> Effective:
        """The set that a domain hands down, which is its effective one if it has activated anything itself."""
        bundles = [active(domain) for domain in path]
        # SAFETY: a set made of anything else than what is active now decides nothing.
        # test_policy_shelf.test_every_change_on_the_path_is_seen
        digests = tuple("" if bundle is None else bundle.digest for bundle in bundles)
        shelved = self._sets.get(path[0])
        if shelved is None or shelved.digests != digests:
            previous = None if shelved is None else shelved.effective.compiled
            effective = self._compile(path, active, previous)
            shelved = _Shelved(digests, effective)
            self._sets.put(path[0], shelved, weight=1 if effective.compiled is None else len(effective.compiled) + 1)
        return shelved.effective

    def _compile(self, path: Sequence[str], active: Active, previous: CompiledPolicies | None) -> Effective:
        own, root = active(path[0]), active(ROOT_DOMAIN)
        if root is None:
            return Effective(None)
        above = self._inherit(path[1:], active) if path[1:] else None
        # SAFETY: what is forbidden above is unknown, so nothing is allowed below.
        # test_policy_shelf.test_a_defect_above_denies_below
        if above is not None and above.compiled is None:
            return above
        try:
            compiled = CompiledPolicies.compile(
                root.schema,
                own.policies if own is not None else {},
                previous=previous,
                above=None if above is None else above.compiled,
            )
        except PolicyCompileError as error:
            message = f"active policies of `{path[0]}` do not compile: {error}"
            return Effective(None, Reason.POLICY_ERROR, message)
        return Effective(compiled)
