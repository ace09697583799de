"""The actions that a schema declares, with the groups above each: what an entity file may say of them too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from govraft.core.model.ids import EntityUid, parse_uid
from govraft.core.policy import engine, hazards
from govraft.core.policy.scopes import UidPair

__all__ = ["DeclaredActions"]


class DeclaredActions:
    """Of one schema, in Cedar syntax. Raises `InputError` if it does not parse."""

    def __init__(self, schema: str) -> None:
        hazards.scan_schema(schema)
        self._parents: Mapping[UidPair, tuple[UidPair, ...]] = engine.action_parents(engine.parse_schema(schema))

    def __iter__(self) -> Iterator[str]:
        """Their uids, canonical; groups too."""
        return (str(EntityUid(*pair)) for pair in self._parents)

    def difference(self, uid: str, attrs: Mapping[str, Any], parents: Iterable[str]) -> str:
        """How the action is declared otherwise; empty if it is not.

        Args:
            uid: Canonical.
            attrs: What is said of its attributes: an action has none.
            parents: Groups, by uid: all above it, or only those from which the others follow.
        """
        own = _pair(uid)
        if own not in self._parents:
            return "it declares no such action"
        if attrs:
            return f"an action has no attributes, here it has {', '.join(f'`{name}`' for name in sorted(attrs))}"
        said = {_pair(parent) for parent in parents}
        above = said.union(*map(self._above, said))
        missing, unknown = self._above(own) - above, above - self._above(own)
        told = [f"it is also in {_listed(missing)}"] if missing else []
        told += [f"it is not in {_listed(unknown)}"] if unknown else []
        return ", and ".join(told)

    def _above(self, action: UidPair) -> set[UidPair]:
        found: set[UidPair] = set()
        stack = [action]
        while stack:
            new = set(self._parents.get(stack.pop(), ())) - found
            found |= new
            stack.extend(new)
        return found


def _pair(uid: str) -> UidPair:
    parsed = parse_uid(uid)
    return parsed.type, parsed.id


def _listed(pairs: set[UidPair]) -> str:
    return ", ".join(f"`{EntityUid(*pair)}`" for pair in sorted(pairs))
