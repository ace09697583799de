"""When a node keeps a snapshot of its machine, and when it believes one at its start.

A snapshot saves a replay and nothing else: the journal and the lineage stay whole. So it can be strict. It is made of
a state which a quorum has certified, and is taken back only if all of this holds:

1. its bytes are whole and canonical;
2. its certificate, for its seq or a later one, carries the quorums that this seq needs, as the certified epochs say,
   and its leaf lies under the certified root: here the stored epochs are believed, not the links that it carries;
3. the stored lineage has, at the certificate's seq, the root that the quorum signed;
4. its records have the digests, and it has the time and epoch, that the leaf of its seq says;
5. each stored entry up to it is the one that its leaf was made from, and its index is that of its entry.

Anything else stops the start with a message that names the file. Never is a snapshot that does not fit passed over in
silence: it may be the only witness that the database beside it has gone back in time.

| image   | becomes                        | when                                      |
|---------|--------------------------------|-------------------------------------------|
| none    | waiting                        | enough entries since the last snapshot    |
| waiting | none, handed out as a snapshot | a certificate for its seq or a later one  |
| waiting | none                           | the node isolated itself                  |
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.convergence.certificate import IsValid, verify_certificate
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.evidence.snapshot_proof import place_leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.entry import entry_digest
from govraft.core.machine.machine import Machine
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import LEAVES_KEPT
from govraft.errors import CorruptionError, InputError, LineageError, VerificationError
from govraft.node.convergence import Convergence
from govraft.node.epochs import link_of
from govraft.ports.store import StoredState

__all__ = ["TAKE_OUT", "FoundSnapshot", "Restored", "SnapshotTaker", "find_snapshot", "restore"]

TAKE_OUT = "take the node out of service and keep its data directory; never run its key on a restored or empty one"
"""A data directory that was rolled back or emptied has forgotten what this key has signed."""


class _Image(NamedTuple):
    """The records of the machine at one seq, while they wait for a certificate."""

    seq: int
    journal_index: int
    time: int
    leaf: bytes
    records: Mapping[str, Mapping[str, bytes]]


class SnapshotTaker:
    """Decides when a snapshot is due, and waits with it for its certificate.

    A busy leader certifies only now and then, and seldom the newest seq. So the records are copied when a snapshot is
    due, and a certificate of any later seq will do: its lineage includes theirs.

    Args:
        entries: Applied entries between two snapshots.
        last_seq: Of the last snapshot, 1 if there is none.
    """

    def __init__(self, entries: int, last_seq: int) -> None:
        self._entries = max(1, entries)
        self._last_seq = last_seq
        self._image: _Image | None = None

    def turn(self, machine: Machine, index: int, convergence: Convergence) -> Snapshot | None:
        """A snapshot that may be saved as soon as all that was recorded so far is durable.

        Args:
            machine: After the entry of `index`.
            index: Of the journal entry that was applied last.
            convergence: Knows the newest certificate, and whether the node is isolated.
        """
        if convergence.isolation is not None:
            self._image = None
            return None
        if self._image is None and machine.seq - self._last_seq >= self._entries:
            leaf = machine.leaf_bytes(machine.seq) or b""
            self._image = _Image(machine.seq, index, machine.time, leaf, machine.copy_records())
        image = self._image
        # SAFETY: only what a quorum certified is kept, so that a start needs to trust nothing on this disk
        # (test_snapshots.py::test_nothing_is_saved_without_a_certificate).
        if image is None or convergence.certified_seq < image.seq:
            return None
        self._image, self._last_seq = None, image.seq
        return Snapshot.make(
            seq=image.seq,
            index=image.journal_index,
            time=image.time,
            sections=image.records,
            leaf=image.leaf,
            proof=machine.lineage.inclusion_proof(image.seq - 1, convergence.certified_seq),
            certificate=convergence.certified_note,
            epochs=[link_of(row) for row in convergence.epochs.rows if row.seq <= convergence.certified_seq],
        )


class FoundSnapshot(NamedTuple):
    """A snapshot whose bytes and certificate hold, and that the stored state is long enough for."""

    snapshot: Snapshot
    checkpoint: Checkpoint
    path: str


class Restored(NamedTuple):
    """A machine, and the journal index of each seq's entry from seq 2 on."""

    machine: Machine
    indexes: array[int]


def find_snapshot(
    stored: StoredState, genesis: Genesis, history: EpochHistory, is_valid: IsValid
) -> FoundSnapshot | None:
    """Verify the stored snapshot as far as it can be verified by itself; None if there is none.

    Args:
        stored: May hold one.
        genesis: Trusted.
        history: The certified epochs that are stored with it, verified.
        is_valid: Checks a signature.

    Raises:
        CorruptionError: It is damaged, of another cluster, or newer than the journal and the lineage.
    """
    if stored.snapshot is None:
        return None
    path = stored.snapshot.path
    try:
        snapshot = Snapshot.decode(stored.snapshot.data)
        # SAFETY: a quorum stands for what is about to be installed, not this disk
        # (test_snapshots.py::test_a_certificate_of_too_few_is_refused).
        judges = history.judges(Checkpoint.decode(parse_note(snapshot.certificate).body).seq)
        checkpoint = verify_certificate(snapshot.certificate, judges, genesis.origin, is_valid=is_valid)
        place_leaf(snapshot, checkpoint)
    except (InputError, VerificationError) as error:
        raise _unusable(path, str(error)) from error
    if checkpoint.seq > len(stored.leaves) or snapshot.index > len(stored.journal):
        # A quorum's word for a lineage longer than the stored one: if it is this node's own, the database lost entries.
        raise CorruptionError(
            f"`{path}` is ahead of the database: it proves seq {checkpoint.seq}, the stored lineage ends at "
            f"{len(stored.leaves)}; the database is an older copy, or the file is another node's; {TAKE_OUT}",
            code="lineage_inconsistent",
            path=path,
        )
    if stored.leaves[snapshot.seq - 1].index != snapshot.index:
        raise _unusable(path, f"its seq {snapshot.seq} is not that of journal index {snapshot.index}")
    return FoundSnapshot(snapshot, checkpoint, path)


def restore(
    found: FoundSnapshot, stored: StoredState, genesis: Genesis, entry: Callable[[int], bytes | None]
) -> Restored:
    """Make the machine of a snapshot, holding it against everything that is stored.

    Args:
        found: Of `find_snapshot`.
        stored: The same state.
        genesis: Trusted.
        entry: The stored entry with a journal index.

    Raises:
        CorruptionError: Something does not fit.
    """
    snapshot, path = found.snapshot, found.path
    tree, indexes, recent = MerkleTree(), array("Q"), deque[bytes](maxlen=min(LEAVES_KEPT, snapshot.seq))
    proof = tree
    for seq, row in enumerate(islice(stored.leaves, found.checkpoint.seq), 1):
        if seq == snapshot.seq + 1:
            proof = tree.copy()
        proof.append(row.leaf)
        if seq > snapshot.seq:
            continue
        recent.append(row.leaf)
        if seq > 1:
            is_next = not indexes or indexes[-1] < row.index
            _check_entry(seq, entry(row.index) if is_next else None, row.leaf)
            indexes.append(row.index)
    # SAFETY: the whole stored lineage below the snapshot is the one that a quorum signed
    # (test_snapshots.py::test_a_changed_leaf_below_the_snapshot_stops_the_start).
    if proof.root() != found.checkpoint.root:
        raise CorruptionError(
            f"stored lineage differs from the certificate in `{path}` at seq {found.checkpoint.seq}; {TAKE_OUT}",
            code="lineage_inconsistent",
            path=path,
        )
    try:
        machine = Machine.restored(
            genesis, time=snapshot.time, records=snapshot.sections, lineage=tree, recent=tuple(recent)
        )
    except (LineageError, InputError) as error:
        raise _unusable(path, str(error)) from error
    return Restored(machine, indexes)


def _check_entry(seq: int, entry: bytes | None, leaf: bytes) -> None:
    """A leaf names its entry's digest: 32 bytes that stand in it for nothing else."""
    if entry is None or entry_digest(entry) not in leaf:
        raise CorruptionError(
            f"stored lineage differs from the stored journal at seq {seq}; {TAKE_OUT}",
            code="lineage_inconsistent",
            seq=seq,
        )


def _unusable(path: str, what: str) -> CorruptionError:
    message = f"`{path}` cannot be used: {what}; remove it and start again, the node then replays its journal"
    return CorruptionError(message, path=path)
