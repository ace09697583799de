"""Which policies can apply to a request at all.

Cedar looks at every policy of a set for every request. Each policy's head, though, names the principals, actions
and resources that it is about, and a policy whose head does not match takes no part in the decision and cannot
fail. So policies are filed by head, and Cedar gets only those whose head may match. Leaving one out too many
would drop a `forbid`: tests/property/test_policy_buckets.py compares every decision with the full set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from govraft.core.policy.scopes import ANY, Key, Scope, UidPair

__all__ = ["Buckets", "keys_of"]

_NONE: frozenset[str] = frozenset()


def keys_of(uid: UidPair, ancestors: Iterable[UidPair]) -> list[Key]:
    """Every scope key that an entity satisfies.

    Args:
        uid: The entity.
        ancestors: All entities above it, at any distance.
    """
    keys: list[Key] = [ANY, ("is", uid[0], ""), ("eq", *uid), ("in", *uid)]
    keys.extend(("in", *ancestor) for ancestor in ancestors)
    return keys


class Buckets:
    """Policy ids filed by the keys of their heads. Immutable once built."""

    __slots__ = ("_actions", "_by_action", "_by_principal", "_by_resource", "_groups")

    def __init__(self, scopes: Mapping[str, Scope], action_parents: Mapping[UidPair, Iterable[UidPair]]) -> None:
        """File policies.

        Args:
            scopes: Head of each policy, by policy id.
            action_parents: Each action that the schema declares, with the groups directly above it.
        """
        self._groups = {action: _closure(action, action_parents) for action in action_parents}
        self._actions = {action: keys_of(action, groups) for action, groups in self._groups.items()}
        self._by_principal: dict[Key, set[str]] = {}
        self._by_action: dict[Key, set[str]] = {}
        self._by_resource: dict[Key, set[str]] = {}
        for policy_id, scope in scopes.items():
            for index, keys in (
                (self._by_principal, scope.principal),
                (self._by_action, scope.action),
                (self._by_resource, scope.resource),
            ):
                for key in keys:
                    index.setdefault(key, set()).add(policy_id)

    def groups_of(self, action: UidPair) -> set[UidPair]:
        """The action groups that hold an action, directly or through others; none for an action not declared."""
        return self._groups.get(action, set())

    def candidates(self, principal: Iterable[Key], action: UidPair, resource: Iterable[Key]) -> frozenset[str]:
        """Ids of the policies whose head may match; a superset of those whose head does.

        Args:
            principal: `keys_of` who asks.
            resource: `keys_of` what is asked about.
            action: One that the schema declares. An unknown one matches only what is not filed under an action.
        """
        actions = self._actions.get(action) or keys_of(action, ())
        found = _union(self._by_action, actions)
        return frozenset(found & _union(self._by_principal, principal) & _union(self._by_resource, resource))


def _union(index: Mapping[Key, set[str]], keys: Iterable[Key]) -> set[str]:
    return set().union(*(index.get(key, _NONE) for key in keys))


def _closure(start: UidPair, parents: Mapping[UidPair, Iterable[UidPair]]) -> set[UidPair]:
    found: set[UidPair] = set()
    stack = list(parents.get(start, ()))
    while stack:
        uid = stack.pop()
        if uid not in found:
            found.add(uid)
            stack.extend(parents.get(uid, ()))
    return found
