"""The section `grants`, decoded: who holds what for how long, and what came of which grant.

    grant/<id>    Grant

A grant counts only while it and every grant above it do: not revoked, begun, not ended. Nothing is written into the
grants below one that is revoked, so revoking costs the same whatever came of it.

A grant stays for `GRANT_KEPT_MS` after its end or revocation, and as long as one that came of it is there. Only then is
its id free: no signed command, and no grant below, can meet another grant of the same name.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import msgspec

from govraft.core.machine.records import Mark
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.limits import GRANT_KEPT_MS

__all__ = ["GRANT_PREFIX", "Grant", "GrantsView"]

GRANT_PREFIX = "grant/"

_NONE: Mapping[str, None] = {}
_ENDS_SPARE = 64


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """Permission lent for a time.

    Attributes:
        id: Its name.
        holder: Canonical uid.
        actions, resources: Canonical uids, sorted, distinct.
        not_before, not_after: WallMs; it counts from the first until before the second.
        depth: How many times it may be handed on.
        seq, time, authors: Of the entry that made it.
        delegate: Id of the authority that may hand it on.
        parent: Id of the grant that it was handed on from.
        domain: Where it counts, with all below.
        revoked: Why it does not count any more.
    """

    id: str
    holder: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_before: int
    not_after: int
    depth: int
    seq: int
    time: int
    authors: tuple[str, ...]
    delegate: str | None = None
    parent: str | None = None
    domain: str = ROOT_DOMAIN
    revoked: Mark | None = None

    @property
    def over(self) -> int:
        """WallMs from which it counts no more, whatever becomes of those above it."""
        return self.not_after if self.revoked is None else min(self.not_after, self.revoked.time)


_decode_grant = msgspec.msgpack.Decoder(Grant).decode


class GrantsView:
    """Grants by id, by holder and by domain."""

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._by_holder: dict[str, dict[str, None]] = {}
        self._by_domain: dict[str, dict[str, None]] = {}
        self._ends: list[tuple[int, str]] = []
        """A heap of grants that nothing came of, by their end. Its first is always one that is there."""

    def chain(self, grant: Grant) -> tuple[Grant, ...]:
        """The grant and all above it, up to the one that was issued."""
        found = [grant]
        while found[-1].parent is not None:
            found.append(self.grants[found[-1].parent])
        return tuple(found)

    def of_holder(self, uid: str) -> Mapping[str, None]:
        """Ids of the grants that a canonical uid holds itself, ended ones too."""
        return self._by_holder.get(uid, _NONE)

    def has_live(self, domain: str, time: int) -> bool:
        """Whether a grant of exactly this domain may still count at a WallMs or later."""
        return any(self.grants[name].over > time for name in self._by_domain.get(domain, _NONE))

    def removable(self, time: int) -> str | None:
        """Id of the grant that is over for the longest time, if it need not be kept any more."""
        if not self._ends or self._ends[0][0] + GRANT_KEPT_MS > time:
            return None
        return self._ends[0][1]

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        identifier = key[len(GRANT_PREFIX) :]
        old = self.grants.pop(identifier, None)
        if old is not None:
            _unfile(self._by_holder, old.holder, identifier)
            _unfile(self._by_domain, old.domain, identifier)
            if old.parent is not None:
                _unfile(self._children, old.parent, identifier)
                self._schedule(old.parent)
        if value is not None:
            grant = self.grants[identifier] = _decode_grant(value)
            self._by_holder.setdefault(grant.holder, {})[identifier] = None
            self._by_domain.setdefault(grant.domain, {})[identifier] = None
            if grant.parent is not None:
                self._children.setdefault(grant.parent, {})[identifier] = None
            self._schedule(identifier)
        while self._ends and not self._is_due(*self._ends[0]):
            heapq.heappop(self._ends)
        if len(self._ends) > 2 * len(self.grants) + _ENDS_SPARE:
            # What renewals have left behind.
            self._ends = sorted({place for place in self._ends if self._is_due(*place)})

    def _schedule(self, identifier: str) -> None:
        grant = self.grants.get(identifier)
        if grant is not None:
            heapq.heappush(self._ends, (grant.over, identifier))

    def _is_due(self, over: int, identifier: str) -> bool:
        grant = self.grants.get(identifier)
        return grant is not None and grant.over == over and identifier not in self._children


def _unfile(index: dict[str, dict[str, None]], place: str, identifier: str) -> None:
    names = index[place]
    del names[identifier]
    if not names:
        del index[place]
