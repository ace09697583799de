"""Do the nodes of a cluster hold one lineage, and do their decision logs extend what they anchored?

No node is believed: a shorter lineage is the beginning of a longer one only if a consistency proof between the two
roots shows it. Where it does not, the first seq that differs is found by halving: roots that agree at a seq agree on
everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from govraft.core.lineage.proofs import verify_consistency
from govraft.errors import GovraftError, LineageError

__all__ = [
    "AnchoredHead",
    "Difference",
    "LineageView",
    "LogView",
    "check_log",
    "compare_lineages",
    "reconcile_lineages",
]


class LineageView(Protocol):
    """One node's lineage, as the node tells it. Every method may raise a `GovraftError`."""

    @property
    def name(self) -> str:
        """Of the node."""
        ...

    @property
    def seq(self) -> int:
        """The newest."""
        ...

    def root(self, seq: int) -> bytes:
        """Root of the lineage at a seq."""
        ...

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Proof that the lineage at `second` extends that at `first`."""
        ...


class Difference(NamedTuple):
    """Two nodes that disagree.

    Attributes:
        left, right: Their names.
        seq: The first at which their lineages differ; 0 if a node contradicts itself.
        left_root, right_root: At that seq, hex.
        message: For people.
    """

    left: str
    right: str
    seq: int
    left_root: str
    right_root: str
    message: str


def reconcile_lineages(views: Sequence[LineageView]) -> list[Difference]:
    """Compare all of them.

    Agreement carries over, so that comparing neighbours in order of length suffices; once two differ, every pair is
    compared, so as to tell who stands alone.

    Raises:
        GovraftError: A node does not answer.
    """
    ordered = sorted(views, key=lambda view: view.seq)
    if all(compare_lineages(left, right) is None for left, right in pairwise(ordered)):
        return []
    pairs = [(left, right) for place, left in enumerate(ordered) for right in ordered[place + 1 :]]
    found = [compare_lineages(left, right) for left, right in pairs]
    return [item for item in found if item is not None]


def compare_lineages(left: LineageView, right: LineageView) -> Difference | None:
    """Where two lineages differ, None if one is the beginning of the other.

    Raises:
        GovraftError: A node does not answer.
    """
    shorter, longer = (left, right) if left.seq <= right.seq else (right, left)
    own, other = shorter.root(shorter.seq), longer.root(shorter.seq)
    if own == other:
        proof = longer.consistency(shorter.seq, longer.seq)
        try:
            verify_consistency(shorter.seq, own, longer.seq, longer.root(longer.seq), proof)
        except LineageError as error:
            # SAFETY: a node that tells another its own root must prove that its lineage holds it
            # (test_reconcile.py::test_a_node_that_repeats_what_others_say_is_found).
            message = f"`{longer.name}` does not prove that its seq {longer.seq} extends seq {shorter.seq}: {error}"
            return Difference(shorter.name, longer.name, 0, own.hex(), other.hex(), message)
        return None
    seq = _first_difference(shorter, longer)
    roots = shorter.root(seq).hex(), longer.root(seq).hex()
    message = f"`{shorter.name}` and `{longer.name}` hold different lineages from seq {seq} on"
    return Difference(shorter.name, longer.name, seq, *roots, message)


def _first_difference(left: LineageView, right: LineageView) -> int:
    same, different = 0, left.seq
    while different - same > 1:
        middle = (same + different) // 2
        if left.root(middle) == right.root(middle):
            same = middle
        else:
            different = middle
    return different


class AnchoredHead(NamedTuple):
    """A node's anchor in the lineage."""

    log: str
    size: int
    root: bytes
    seq: int


class LogView(Protocol):
    """The decision log of a node, as the node tells it. `consistency` may raise a `GovraftError`."""

    @property
    def log(self) -> str:
        """Id of the log; empty if it cannot be read."""
        ...

    @property
    def size(self) -> int:
        """How many durable records."""
        ...

    @property
    def root(self) -> bytes:
        """Root over them."""
        ...

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        """Proof that the log of `second` records extends that of `first`."""
        ...


def check_log(anchor: AnchoredHead | None, log: LogView) -> str:
    """What is wrong with a node's log as its last anchor goes; empty if nothing is."""
    if anchor is None:
        return ""
    if not log.log:
        return f"its decision log cannot be read; {anchor.size} records are anchored at seq {anchor.seq}"
    if log.log != anchor.log:
        return f"its decision log was replaced by {log.log[:12]} after seq {anchor.seq} anchored {anchor.log[:12]}"
    if log.size < anchor.size:
        return f"its decision log has {log.size} records, {anchor.size} are anchored at seq {anchor.seq}"
    try:
        verify_consistency(anchor.size, anchor.root, log.size, log.root, log.consistency(anchor.size, log.size))
    except GovraftError as error:
        # SAFETY: test_reconcile.py::test_a_log_that_does_not_extend_its_anchor_is_found
        return f"its decision log does not extend what seq {anchor.seq} anchored: {error}"
    return ""
