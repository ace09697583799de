"""What a snapshot proves to somebody who holds nothing but the genesis: the whole state at one seq.

1. Its links lead from the genesis to the electorate that certified it (`epochs`).
2. Its certificate, for its seq or a later one, carries the quorums that this seq needs.
3. Its leaf is that of its seq in the lineage with the certified root.
4. Its records have the digests, and it has the time, that the leaf says.

The journal index in it is of use to the node that made it, and proven by nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from govraft.core.evidence.certificate import ProvenCheckpoint, prove_in_history
from govraft.core.evidence.epochs import EpochHistory, verify_epochs
from govraft.core.evidence.files import malformed
from govraft.core.evidence.trust_state import Shown
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import root_up_to, verify_inclusion
from govraft.core.machine import trie
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.genesis import Genesis
from govraft.errors import InputError, LineageError

__all__ = ["ProvenSnapshot", "place_leaf", "prove_by_history", "prove_snapshot"]


class _Certified(Protocol):
    @property
    def seq(self) -> int: ...
    @property
    def root(self) -> bytes: ...


class ProvenSnapshot(msgspec.Struct, frozen=True):
    """What a snapshot proves.

    Attributes:
        checkpoint: The certified lineage.
        leaf: It holds this leaf at `leaf.seq`.
        records: How many records the state has after that entry, by section. Their bytes are those of the snapshot.
        shown: Of the history, to be held against a trust state.
    """

    checkpoint: ProvenCheckpoint
    leaf: Leaf
    records: dict[str, int]
    shown: Shown


def prove_snapshot(data: bytes, genesis: Genesis) -> ProvenSnapshot:
    """Verify a snapshot file against the genesis and nothing else.

    Raises:
        VerificationError: Malformed, of another cluster, or it proves nothing.
    """
    try:
        snapshot = Snapshot.decode(data)
    except InputError as error:
        raise malformed(f"not a snapshot: {error}") from error
    return prove_by_history(snapshot, genesis, verify_epochs(genesis, snapshot.epochs))


def prove_by_history(snapshot: Snapshot, genesis: Genesis, history: EpochHistory) -> ProvenSnapshot:
    """As `prove_snapshot`, by epochs that are verified already: the links in the snapshot count for nothing.

    Raises:
        VerificationError: It proves nothing.
    """
    checkpoint = prove_in_history(snapshot.certificate, genesis, history)
    leaf = place_leaf(snapshot, checkpoint)
    _require_epoch(leaf, history)
    # SAFETY: not a record counts that the leaf's digests do not vouch for
    # (test_snapshot_proof.py::test_each_part_counts).
    found = {name: _section_digest(records) for name, records in snapshot.sections.items()}
    if found != leaf.sections:
        wrong = ", ".join(sorted(name for name in found if found[name] != leaf.sections.get(name)))
        raise LineageError(f"section `{wrong}` has another digest than the leaf says")
    roots = {
        leaf.seq: root_up_to(snapshot.leaf, leaf.seq - 1, checkpoint.seq, snapshot.proof),
        checkpoint.seq: checkpoint.root,
    }
    shown = Shown(history, checkpoint.epoch, checkpoint.seq, roots)
    return ProvenSnapshot(checkpoint, leaf, {name: len(found) for name, found in snapshot.sections.items()}, shown)


def place_leaf(snapshot: Snapshot, checkpoint: _Certified) -> Leaf:
    """The leaf of a snapshot, which lies under the certified root at the seq and time that the snapshot says.

    Args:
        snapshot: Unverified.
        checkpoint: What its certificate proves.

    Raises:
        LineageError: The leaf does not belong to the one or the other.
    """
    if checkpoint.seq < snapshot.seq:
        raise LineageError(f"its certificate is of seq {checkpoint.seq}, before its own seq {snapshot.seq}")
    try:
        leaf = Leaf.decode(snapshot.leaf)
    except InputError as error:
        raise malformed(f"its leaf cannot be read: {error}") from error
    if leaf.seq != snapshot.seq:
        raise LineageError(f"its leaf is of seq {leaf.seq}, not of its own seq {snapshot.seq}")
    if leaf.time != snapshot.time:
        raise LineageError("its time is not that of its leaf")
    # SAFETY: the leaf is one of the lineage that the quorum signed (test_snapshot_proof.py::test_each_part_counts).
    verify_inclusion(snapshot.leaf, snapshot.seq - 1, checkpoint.seq, snapshot.proof, checkpoint.root)
    return leaf


def _require_epoch(leaf: Leaf, history: EpochHistory) -> None:
    # SAFETY: a link that was left out would let an electorate judge that is no more
    # (test_snapshot_proof.py::test_the_links_must_lead_to_the_epoch_of_the_leaf).
    in_force = history.in_force(leaf.seq).epoch
    if leaf.epoch != in_force:
        raise LineageError(f"its leaf is of epoch {leaf.epoch}, as far as is shown epoch {in_force} was in force")


def _section_digest(records: Mapping[str, bytes]) -> bytes:
    return trie.node_digest(trie.build((key.encode(), value) for key, value in records.items()))
