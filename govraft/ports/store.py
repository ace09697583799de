"""What a node must not forget, and the one way to write it down.

Rules that every store keeps:

1. `write` is one transaction: all of the batch is durable when it returns, or none of it is.
2. The journal has no gaps: it starts at the lowest stored index and each further index is one higher.
3. Nothing at or below the stored commit index is ever truncated or replaced.
4. `commit_index` never falls; within one term a vote, once cast, never changes; the term never falls.
5. Leaves have no gaps and start at seq 1.
6. The cosigner record only rises: a lower seq, or another root at the same seq, halts the node.
7. Isolation, once recorded, stays; the first record wins.
8. After a failed write the store refuses all further writes: what the disk holds is unknown until it is loaded again.
9. The journal is never shortened from its front: memory may be compacted, the disk keeps every committed entry.
10. Epochs have no gaps and start at 2, in the order of their seqs; one that is stored is never replaced: adding it
    again at the same seq changes nothing, at another one halts the node.
11. A snapshot is a copy of what the journal leads to, kept for a quick start: it replaces its predecessor whole or not
    at all, and is the only thing here that may be removed without loss.
12. A store that may stand in the place of a lost one is late from its creation until `EndLate`, and never again. Until
    then it takes no vote and no cosigner record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

__all__ = [
    "AddEpoch",
    "AddEquivocation",
    "AddLeaf",
    "Append",
    "CosignerRecord",
    "EndLate",
    "HardState",
    "IsolationRecord",
    "JournalEntry",
    "SetCosigner",
    "SetHardState",
    "SetIsolation",
    "Store",
    "StoreBeginning",
    "StoredEpoch",
    "StoredEquivocation",
    "StoredLeaf",
    "StoredSnapshot",
    "StoredState",
    "TruncateFrom",
    "WriteBatch",
    "WriteOp",
]


class JournalEntry(msgspec.Struct, frozen=True):
    """One entry of the Raft journal. `payload` is opaque to the store."""

    index: int
    term: int
    payload: bytes


class HardState(msgspec.Struct, frozen=True):
    """What Raft must remember across a restart.

    Attributes:
        term: Highest term seen.
        voted_for: The node that got this node's vote in `term`, or None.
        commit_index: Highest journal index known to be committed, 0 for none.
    """

    term: int = 0
    voted_for: str | None = None
    commit_index: int = 0


class StoredLeaf(msgspec.Struct, frozen=True):
    """The leaf of one seq, and the journal index of its entry: 0 for the genesis, which has none."""

    index: int
    leaf: bytes


class StoredEpoch(msgspec.Struct, frozen=True):
    """A change of the electorate, with what proves it to whoever knows the electorate before.

    Attributes:
        epoch: Of the new electorate.
        seq: Of the entry that changed it.
        lease: The signed joint lease for exactly that seq, as received: the certificate with the acks that carry it.
        records: The records of the section `electorate` at that seq, canonical MessagePack of a map to bytes.
        leaf: Of that seq.
        proof: Inclusion of that leaf in the lineage of that size, canonical MessagePack of a list of nodes.
    """

    epoch: int
    seq: int
    lease: bytes
    records: bytes
    leaf: bytes
    proof: bytes


class StoredSnapshot(msgspec.Struct, frozen=True):
    """A snapshot as it was found, unverified. `path` names it in messages."""

    data: bytes
    path: str


class CosignerRecord(msgspec.Struct, frozen=True):
    """The highest seq this node ever acked, with the 32-byte lineage root it signed there (protocol.md §3)."""

    seq: int
    root: bytes


class IsolationRecord(msgspec.Struct, frozen=True):
    """Why the node isolated itself (protocol.md §5). `evidence` holds the signed objects, exactly as received."""

    reason: str
    detail: str
    evidence: bytes


class Append(msgspec.Struct, frozen=True):
    """Add one journal entry, one index above the last."""

    entry: JournalEntry


class TruncateFrom(msgspec.Struct, frozen=True):
    """Drop the journal entries with this index and above."""

    index: int


class SetHardState(msgspec.Struct, frozen=True):
    """Replace the hard state."""

    hard_state: HardState


class AddLeaf(msgspec.Struct, frozen=True):
    """Add the leaf of `seq`, one above the last; `index` is that of its journal entry, 0 for the genesis."""

    seq: int
    leaf: bytes
    index: int = 0


class AddEpoch(msgspec.Struct, frozen=True):
    """Add an epoch, one above the last."""

    epoch: StoredEpoch


class SetCosigner(msgspec.Struct, frozen=True):
    """Raise the cosigner record."""

    record: CosignerRecord


class SetIsolation(msgspec.Struct, frozen=True):
    """Record the isolation; ignored when one is recorded already."""

    record: IsolationRecord


class StoredEquivocation(msgspec.Struct, frozen=True):
    """Two acks of one node with different roots for one seq.

    Attributes:
        node: Who signed both.
        public_key: With which key.
        first, second: The signed acks, exactly as received.
    """

    node: str
    public_key: bytes
    first: bytes
    second: bytes


class AddEquivocation(msgspec.Struct, frozen=True):
    """Keep evidence against a node; ignored when there is some against its key already."""

    evidence: StoredEquivocation


class EndLate(msgspec.Struct, frozen=True):
    """The node has learnt what it may have promised: its store is as good as any other from now on."""


WriteOp = (
    Append | TruncateFrom | SetHardState | AddLeaf | AddEpoch | SetCosigner | SetIsolation | AddEquivocation | EndLate
)


class WriteBatch:
    """Writes in the order of the calls, made durable together by `Store.write`."""

    __slots__ = ("_ops",)

    def __init__(self) -> None:
        self._ops: list[WriteOp] = []

    @property
    def ops(self) -> tuple[WriteOp, ...]:
        """The writes collected so far, in call order."""
        return tuple(self._ops)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was collected."""
        return not self._ops

    def append(self, entry: JournalEntry) -> None:
        """Add `entry` to the journal."""
        self._ops.append(Append(entry))

    def truncate_from(self, index: int) -> None:
        """Drop the journal from `index` on."""
        self._ops.append(TruncateFrom(index))

    def set_hard_state(self, hard_state: HardState) -> None:
        """Replace term, vote and commit index."""
        self._ops.append(SetHardState(hard_state))

    def add_leaf(self, seq: int, leaf: bytes, index: int = 0) -> None:
        """Add the leaf of `seq` to the lineage; `index` is that of its journal entry."""
        self._ops.append(AddLeaf(seq, leaf, index))

    def add_epoch(self, epoch: int, seq: int, lease: bytes, records: bytes, leaf: bytes, proof: bytes) -> None:
        """Add a certified change of the electorate; the fields are those of `StoredEpoch`."""
        self._ops.append(AddEpoch(StoredEpoch(epoch, seq, lease, records, leaf, proof)))

    def set_cosigner(self, record: CosignerRecord) -> None:
        """Raise the highest acked seq and its root."""
        self._ops.append(SetCosigner(record))

    def end_late(self) -> None:
        """Record that the node knows what it may have promised."""
        self._ops.append(EndLate())

    def add_equivocation(self, evidence: StoredEquivocation) -> None:
        """Keep the evidence that a node signed two roots for one seq."""
        self._ops.append(AddEquivocation(evidence))

    def set_isolation(self, reason: str, detail: str, evidence: bytes) -> None:
        """Record why the node isolates itself, with the evidence."""
        self._ops.append(SetIsolation(IsolationRecord(reason, detail, evidence)))


class StoredState(msgspec.Struct, frozen=True):
    """All that a store held when it was opened.

    The two sequences may read what they are asked for from the disk, in pieces: whoever walks through them keeps little
    in memory. They show what was stored at the time of `load`, as long as nothing is written.

    Attributes:
        journal: Contiguous, ascending by index.
        hard_state: All zero in a new store.
        leaves: Those of seq 1 to n.
        cosigner: None if the node never acked.
        isolation: None if the node is not isolated.
        has_run_before: False only for a store that this open created.
        snapshot: None if there is none.
        epochs: The certified changes of the electorate, from epoch 2 on.
        equivocations: What other nodes are convicted of.
        late: Whether the store may stand in the place of a lost one, and nobody has told yet what the node promised.
    """

    journal: Sequence[JournalEntry]
    hard_state: HardState
    leaves: Sequence[StoredLeaf]
    cosigner: CosignerRecord | None
    isolation: IsolationRecord | None
    has_run_before: bool
    snapshot: StoredSnapshot | None = None
    epochs: tuple[StoredEpoch, ...] = ()
    equivocations: tuple[StoredEquivocation, ...] = ()
    late: bool = False


class StoreBeginning(msgspec.Struct, frozen=True):
    """What the store of a node that never ran begins with, proven by whoever makes it. Never a vote or a signed seq.

    Attributes:
        epochs: The certified changes of the electorate, from epoch 2 on.
        leaves: Those of seq 1 to n. Read once, as is the journal.
        journal: From index 1 up to the entry of the last leaf.
        hard_state: The term of the last entry, no vote, and the entry's index as committed.
    """

    epochs: Sequence[StoredEpoch] = ()
    leaves: Iterable[StoredLeaf] = ()
    journal: Iterable[JournalEntry] = ()
    hard_state: HardState = HardState()


class Store(Protocol):
    """The durable memory of one node. One caller at a time, but for `read_journal`; calls block."""

    def load(self) -> StoredState:
        """Read and check everything.

        Raises:
            CorruptionError: Stored bytes are damaged or contradict each other. Nothing was changed.
            StorageError: The disk failed.
        """
        ...

    def write(self, batch: WriteBatch) -> None:
        """Apply `batch` in one transaction and return when it is durable.

        Raises:
            InvariantViolation: A write breaks a rule of this module. Nothing of the batch was written.
            StorageError: The disk failed; the store accepts no further write.
        """
        ...

    def read_journal(self, first: int, last: int) -> list[JournalEntry]:
        """The durable journal entries with the indexes `first` to `last`. Any thread, also while a write is under way.

        The caller bounds the range, and asks for nothing that is not durable.

        Raises:
            CorruptionError: An entry is damaged or missing.
            StorageError: The disk failed.
        """
        ...

    def save_snapshot(self, data: bytes) -> None:
        """Replace the snapshot and return when it is durable.

        Called only when all that `data` speaks of is durable, and, unlike `write`, on any thread: one call at a time.

        Raises:
            StorageError: The disk failed; the store accepts no further write.
        """
        ...

    def close(self) -> None:
        """Release the file. Idempotent."""
        ...
