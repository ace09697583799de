"""The section `boundaries`, decoded: what binds each domain.

boundary/<domain>/<id>    Boundary
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from govraft.core.model.commands import Rate, Window

__all__ = ["BOUNDARY_PREFIX", "BoundariesView", "Boundary", "boundary_key"]

BOUNDARY_PREFIX = "boundary/"

_NONE: Mapping[str, Boundary] = {}


class Boundary(msgspec.Struct, frozen=True, omit_defaults=True):
    """What bounds a domain and all below it.

    Attributes:
        id: Unique in the domain.
        domain: In which it was set.
        seq, time, authors: Of the entry that set it.
        subject, action: Canonical uids that it is about, or groups of them; None: all.
        windows: When; none: always.
        regions: Where, sorted, distinct; none: everywhere.
        rate: How often; None: as often as one likes.
        level_max: At what level; None: at any.
    """

    id: str
    domain: str
    seq: int
    time: int
    authors: tuple[str, ...]
    subject: str | None = None
    action: str | None = None
    windows: tuple[Window, ...] = ()
    regions: tuple[str, ...] = ()
    rate: Rate | None = None
    level_max: int | None = None


_decode_boundary = msgspec.msgpack.Decoder(Boundary).decode


def boundary_key(domain: str, identifier: str) -> str:
    """Key of a boundary. Neither name holds a slash."""
    return f"{BOUNDARY_PREFIX}{domain}/{identifier}"


class BoundariesView:
    """Boundaries by domain and id."""

    def __init__(self) -> None:
        self._by_domain: dict[str, dict[str, Boundary]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def of(self, domain: str) -> Mapping[str, Boundary]:
        """The boundaries of exactly this domain by id."""
        return self._by_domain.get(domain, _NONE)

    def binding(self, path: Iterable[str]) -> Iterator[Boundary]:
        """All that bind a domain, in the order of its path and of their ids: each binds, and none undoes another.

        Args:
            path: The domain and all above it, up to the root.
        """
        if self._count:
            for domain in path:
                yield from self._by_domain.get(domain, _NONE).values()

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        domain, _, identifier = key[len(BOUNDARY_PREFIX) :].partition("/")
        found = self._by_domain.setdefault(domain, {})
        self._count -= len(found)
        if value is None:
            found.pop(identifier, None)
        else:
            found[identifier] = _decode_boundary(value)
        self._count += len(found)
        if found:
            # The order must not depend on the order of the commands: a restored state has learned of them otherwise.
            self._by_domain[domain] = dict(sorted(found.items()))
        else:
            del self._by_domain[domain]
