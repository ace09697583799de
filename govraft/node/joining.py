"""What a new node may begin with, out of another node's store: as much of it as proves itself from the genesis.

Nothing in the copy is believed:

1. each change of the electorate is certified by a joint lease, from the genesis on;
2. the snapshot's certificate carries the quorums that its seq needs by these changes, its leaf lies under the certified
   root, and its records have the digests that the leaf says;
3. the leaves up to the certified seq, which is that of the snapshot's certificate or of the last change of the
   electorate, have exactly the certified root;
4. each of them names the entry that stands at its index, and beside these entries the journal holds nothing but the
   entries with which leaders open their terms.

What comes after the certified seq is left to the other members. Which index and term an entry has is Raft's matter, and
nobody signs it: a copy that lies about these makes a node that the leader cannot feed, and that halts when it would
have to take back what it holds as committed; its state is the certified one all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Kind, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.evidence.snapshot_proof import ProvenSnapshot, prove_by_history
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.entry import entry_digest
from govraft.core.machine.machine import Machine
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.genesis import Genesis
from govraft.errors import CertificateError, InputError, LineageError, VerificationError
from govraft.node.epochs import link_of
from govraft.ports.store import HardState, JournalEntry, StoreBeginning, StoredEpoch, StoredLeaf, StoredState

__all__ = ["ReadPayload", "prove_beginning"]

ReadPayload = Callable[[bytes], bytes | None]
"""The entry in the payload of a journal entry; None if a leader opened its term with it. Raises `InputError`."""


def prove_beginning(copy: StoredState, genesis: Genesis, read_payload: ReadPayload) -> StoreBeginning:
    """Verify another node's history, and give what a new node's store may begin with.

    Args:
        copy: Of another node's store.
        genesis: Trusted.
        read_payload: Knows the engine's payloads.

    Raises:
        VerificationError: Something in the copy is not proven; the message says what.
        StorageError: It cannot be read, or is damaged.
    """
    if copy.snapshot is None:
        raise VerificationError("there is no snapshot: nothing in it is certified", code="snapshot_missing")
    history, ends = _prove_epochs(copy.epochs, genesis)
    proven, index = _prove_snapshot(copy.snapshot.data, genesis, history)
    if proven.checkpoint.seq > len(copy.leaves):
        message = f"its lineage ends at seq {len(copy.leaves)}, before the certified seq {proven.checkpoint.seq}"
        raise LineageError(f"{message}: copy the snapshot first, then the database")
    # A change of the electorate may have been certified since: that of this very node has, if the copy is recent.
    ends = [end for end in ends if end.seq <= len(copy.leaves)]
    ends.append(_End(proven.checkpoint.seq, proven.checkpoint.root))
    last = _prove_leaves(copy, history, ends, genesis, read_payload)
    if copy.leaves[proven.leaf.seq - 1].index != index:
        raise LineageError(f"its snapshot says another journal index than its lineage for seq {proven.leaf.seq}")
    return StoreBeginning(
        copy.epochs,
        islice(copy.leaves, max(end.seq for end in ends)),
        islice(copy.journal, last.index),
        # SAFETY: no vote of another node is this node's, and no signed seq
        # (test_joining.py::test_nothing_is_promised).
        HardState(term=last.term, voted_for=None, commit_index=last.index),
    )


class _End(NamedTuple):
    """A seq at which a quorum has certified the root of the lineage."""

    seq: int
    root: bytes


def _prove_epochs(rows: Sequence[StoredEpoch], genesis: Genesis) -> tuple[EpochHistory, list[_End]]:
    history, ends = EpochHistory(genesis), list[_End]()
    cluster, timing = bytes.fromhex(genesis.cluster_id), LeaseTiming.of(genesis)
    for row in rows:
        before = history.newest
        try:
            after = history.verify(link_of(row))
            # SAFETY: the whole lease: a note alone does not show that older leases are over
            # (test_joining.py::test_a_lease_without_the_acks_that_carry_it).
            signed = Signed.decode(row.lease, Kind.LEASE)
            lease = verify_lease(signed, (before, after), genesis.origin, cluster, timing, is_valid=verify)
        except (InputError, VerificationError) as error:
            raise CertificateError(f"epoch {row.epoch} is not proven: {error}", code=error.code) from error
        if history.newest_seq != row.seq:
            raise LineageError(f"epoch {row.epoch} began at seq {history.newest_seq}, not at {row.seq}")
        ends.append(_End(row.seq, lease.probe.checkpoint.root))
    return history, ends


def _prove_snapshot(data: bytes, genesis: Genesis, history: EpochHistory) -> tuple[ProvenSnapshot, int]:
    try:
        snapshot = Snapshot.decode(data)
        return prove_by_history(snapshot, genesis, history), snapshot.index
    except InputError as error:
        raise LineageError(f"its snapshot cannot be used: {error}") from error
    except VerificationError as error:
        raise LineageError(f"its snapshot cannot be used: {error}", code=error.code) from error


def _prove_leaves(
    copy: StoredState, history: EpochHistory, ends: Sequence[_End], genesis: Genesis, read_payload: ReadPayload
) -> JournalEntry:
    """Verify all leaves up to the last of `ends`, and the entries up to that of the last one, which is returned."""
    tree, journal = MerkleTree(), _Walk(copy.journal, read_payload)
    for seq, row in enumerate(islice(copy.leaves, max(end.seq for end in ends)), 1):
        tree.append(row.leaf)
        if seq == 1:
            _check_genesis(row, genesis)
            continue
        entry = journal.advance(seq, row.index)
        leaf = _decode(row.leaf, seq)
        # SAFETY: no change of the electorate is kept from the node, so that a former one cannot certify for it
        # (test_joining.py::test_an_epoch_that_is_left_out).
        if leaf.epoch != history.in_force(seq).epoch:
            raise LineageError(f"its leaf of seq {seq} is of epoch {leaf.epoch}, which it does not prove")
        # SAFETY: each entry is the one of its leaf (test_joining.py::test_an_entry_that_is_not_that_of_its_leaf).
        if entry_digest(entry) != leaf.entry_digest:
            raise LineageError(f"the entry at journal index {row.index} is not that of seq {seq}")
    for seq, root in ends:
        # SAFETY: a quorum stands for every leaf that is taken, and for each change of the electorate among them
        # (test_joining.py::test_a_leaf_that_is_not_of_the_lineage, ::test_an_epoch_that_is_not_of_the_lineage).
        if tree.root(seq) != root:
            raise LineageError(f"its lineage has not the certified root at seq {seq}")
    return journal.last


def _check_genesis(row: StoredLeaf, genesis: Genesis) -> None:
    if (row.index, row.leaf) != (0, Machine(genesis).genesis_leaf):
        raise LineageError("its leaf of seq 1 is not that of the genesis")


def _decode(leaf: bytes, seq: int) -> Leaf:
    try:
        return Leaf.decode(leaf)
    except InputError as error:
        raise LineageError(f"its leaf of seq {seq} cannot be read: {error}") from error


class _Walk:
    """Goes through a journal once, from entry to entry."""

    def __init__(self, journal: Sequence[JournalEntry], read_payload: ReadPayload) -> None:
        self._left = iter(journal)
        self._read_payload = read_payload
        self.last = JournalEntry(0, 1, b"")

    def advance(self, seq: int, index: int) -> bytes:
        """The entry at `index`, which is that of `seq`: the next one in the journal that is one at all."""
        for item in self._left:
            if item.index != self.last.index + 1 or item.term < self.last.term:
                raise LineageError(f"its journal has index {item.index}, term {item.term} out of order")
            self.last = item
            try:
                entry = self._read_payload(item.payload)
            except InputError as error:
                raise LineageError(f"its journal entry {item.index} cannot be read: {error}") from error
            if entry is not None:
                if item.index != index:
                    break
                return entry
        raise LineageError(f"the entry of seq {seq} does not stand at journal index {index}")
