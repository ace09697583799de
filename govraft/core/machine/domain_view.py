"""The section `domains`, decoded: the tree of domains.

    domain/<id>     Domain
    rules           Number of the rules, once it has been raised above that of the genesis
    removed/<id>    WallMs until which the name of a removed domain rests: nothing signed for that one meets its heir

The root domain has no record: it is always there.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import msgspec

from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["DOMAIN_PREFIX", "REMOVED_PREFIX", "RULES_KEY", "Domain", "DomainsView"]

DOMAIN_PREFIX = "domain/"
REMOVED_PREFIX = "removed/"
RULES_KEY = "rules"


class Domain(msgspec.Struct, frozen=True):
    """A part of the governed world.

    Attributes:
        id: Its name.
        parent: Id of the domain above it.
        seq, time, authors: Of the entry that put it there.
    """

    id: str
    parent: str
    seq: int
    time: int
    authors: tuple[str, ...]


_decode_domain = msgspec.msgpack.Decoder(Domain).decode
_decode_number = msgspec.msgpack.Decoder(int).decode


class DomainsView:
    """Domains by id, and who stands below whom."""

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        self.resting: dict[str, int] = {}
        """WallMs until which a name rests, by the name; those that are over too, until they are removed."""
        self.rules: int | None = None
        """The number of the rules; None while it is that of the genesis."""
        self._paths: dict[str, tuple[str, ...]] = {}

    def path(self, domain: str) -> tuple[str, ...]:
        """The domain and all above it, up to the root; empty when there is no such domain."""
        known = self._paths.get(domain)
        if known is None:
            known = self._paths[domain] = self._climb(domain) if domain in self.domains else ()
            if not known:
                del self._paths[domain]
                return (ROOT_DOMAIN,) if domain == ROOT_DOMAIN else ()
        return known

    def common(self, domains: Iterable[str]) -> str:
        """The lowest domain at or above all of these; the root for none, and for unknown ones."""
        paths = [self.path(domain) or (ROOT_DOMAIN,) for domain in domains]
        if not paths:
            return ROOT_DOMAIN
        return next(domain for domain in paths[0] if all(domain in path for path in paths))

    def children(self, domain: str) -> tuple[str, ...]:
        """Ids of the domains right below, sorted."""
        return tuple(sorted(item.id for item in self.domains.values() if item.parent == domain))

    def below(self, domain: str) -> tuple[str, ...]:
        """The domain and all below it, sorted."""
        return tuple(sorted({name for name in (domain, *self.domains) if domain in self.path(name)}))

    def rested(self, time: int, count: int) -> list[str]:
        """At most `count` names that no longer rest at a time, in an order that does not depend on history."""
        over = ((until, name) for name, until in self.resting.items() if until <= time)
        return [name for _, name in heapq.nsmallest(count, over)]

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key == RULES_KEY:
            self.rules = None if value is None else _decode_number(value)
            return
        if key.startswith(REMOVED_PREFIX):
            self._note_removed(key[len(REMOVED_PREFIX) :], value)
            return
        identifier = key[len(DOMAIN_PREFIX) :]
        if value is None:
            self.domains.pop(identifier, None)
        else:
            self.domains[identifier] = _decode_domain(value)
        self._paths = {}

    def _note_removed(self, identifier: str, value: bytes | None) -> None:
        if value is None:
            self.resting.pop(identifier, None)
        else:
            self.resting[identifier] = _decode_number(value)

    def _climb(self, domain: str) -> tuple[str, ...]:
        path = [domain]
        while path[-1] != ROOT_DOMAIN:
            path.append(self.domains[path[-1]].parent)
        return tuple(path)
