"""A disk that fails on command, and a store on it that keeps the rules of `ports.store`.

A batch is atomic, as it is in SQLite's write-ahead log: after a crash or a power failure the batch that was under way
is there whole or not at all, and every batch before it is there. Tearing below that, within a block or a log frame,
is the real store's business and is tested on the real store. What can be lost here is therefore exactly one batch;
which of the two happens is drawn by the fault. Nothing is reordered, as only one write is ever under way.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from govraft.adapters.store_rules import Progress, advance
from govraft.core.model.genesis import FIRST_EPOCH
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import (
    AddEpoch,
    AddEquivocation,
    AddLeaf,
    Append,
    CosignerRecord,
    HardState,
    IsolationRecord,
    JournalEntry,
    SetCosigner,
    SetHardState,
    SetIsolation,
    StoredEpoch,
    StoredEquivocation,
    StoredLeaf,
    StoredSnapshot,
    StoredState,
    TruncateFrom,
    WriteBatch,
    WriteOp,
)

__all__ = ["VirtualDisk"]


class VirtualDisk:
    """The durable memory of one node, across its lives.

    Attributes:
        damage: What bit rot has hit; a store that holds it refuses to be read.
        failure: Why writes fail at present, empty while they do not.
        failed_write_lands: Whether the batch of the write that fails is found there later all the same, as after a
            failed fsync.
        writes: Batches written so far.

    Args:
        late: Whether it is made in the place of a lost one, as `create-store` makes it.
    """

    def __init__(self, *, late: bool = False) -> None:
        self.journal: list[JournalEntry] = []
        self.hard_state = HardState()
        self.leaves: list[StoredLeaf] = []
        self.epochs: list[StoredEpoch] = []
        self.equivocations: list[StoredEquivocation] = []
        self.snapshot: bytes | None = None
        self.cosigner: CosignerRecord | None = None
        self.isolation: IsolationRecord | None = None
        self.damage = ""
        self.is_snapshot_rotten = False
        self.failure = ""
        self.failed_write_lands = False
        self.writes = 0
        self._ran = False
        self._is_stopped = False
        self._progress = Progress(late=late)

    @property
    def last_index(self) -> int:
        """Index of the last durable journal entry, 0 for none."""
        return self.journal[-1].index if self.journal else 0

    def load(self) -> StoredState:
        """As `ports.Store.load`, for a new life."""
        if self.damage:
            raise CorruptionError(f"{self.damage} is damaged; rebuild the node from its peers")
        self._is_stopped = False
        ran, self._ran = self._ran, True
        return StoredState(
            journal=list(self.journal),
            hard_state=self.hard_state,
            leaves=list(self.leaves),
            cosigner=self.cosigner,
            isolation=self.isolation,
            has_run_before=ran,
            snapshot=None if self.snapshot is None else StoredSnapshot(self.snapshot, "disk.snapshot"),
            epochs=tuple(self.epochs),
            equivocations=tuple(self.equivocations),
            late=self._progress.late,
        )

    def enlist(self, epochs: Sequence[StoredEpoch]) -> None:
        """Take certified epochs in, which lead a member to its peers: a new one's store begins with them."""
        batch = WriteBatch()
        for row in epochs:
            batch.add_epoch(row.epoch, row.seq, row.lease, row.records, row.leaf, row.proof)
        self._apply(batch)

    def rot_snapshot(self, place: int) -> bool:
        """Flip one bit of the snapshot, if there is one. Unlike `damage`, what comes of it is for the node to find."""
        if not self.snapshot:
            return False
        place %= len(self.snapshot)
        flipped = self.snapshot[place] ^ 1 << place % 8
        self.snapshot = self.snapshot[:place] + bytes([flipped]) + self.snapshot[place + 1 :]
        self.is_snapshot_rotten = True
        return True

    def remove_snapshot(self) -> None:
        """What an operator does when a node refuses its snapshot: nothing is lost with it."""
        self.snapshot = None
        self.is_snapshot_rotten = False

    def read_journal(self, first: int, last: int) -> list[JournalEntry]:
        """As `ports.Store.read_journal`."""
        return self.journal[first - 1 : last]

    def save_snapshot(self, data: bytes) -> None:
        """As `ports.Store.save_snapshot`."""
        if self._is_stopped or self.failure:
            self._is_stopped = True
            raise StorageError(f"cannot write: {self.failure or 'an earlier write failed'}", definite=False)
        self.snapshot = data
        self.is_snapshot_rotten = False

    def write(self, batch: WriteBatch) -> None:
        """As `ports.Store.write`."""
        if self._is_stopped or self.failure:
            if self.failure and self.failed_write_lands and not self._is_stopped:
                self._apply(batch)
            self._is_stopped = True
            raise StorageError(f"cannot write: {self.failure or 'an earlier write failed'}", definite=False)
        self._apply(batch)

    def _apply(self, batch: WriteBatch) -> None:
        self._progress = advance(self._progress, batch)
        self.writes += 1
        for op in batch.ops:
            if isinstance(op, Append):
                self.journal.append(op.entry)
            elif isinstance(op, TruncateFrom):
                while self.journal and self.journal[-1].index >= op.index:
                    self.journal.pop()
            elif isinstance(op, SetHardState):
                self.hard_state = op.hard_state
            else:
                self._keep(op)

    def _keep(self, op: WriteOp) -> None:
        """What is never taken back."""
        if isinstance(op, AddLeaf):
            self.leaves.append(StoredLeaf(op.index, op.leaf))
        elif isinstance(op, AddEpoch):
            # One that is there already is the same: `advance` has seen to that.
            if op.epoch.epoch == len(self.epochs) + FIRST_EPOCH + 1:
                self.epochs.append(op.epoch)
        elif isinstance(op, AddEquivocation):
            self.equivocations.append(op.evidence)
        elif isinstance(op, SetCosigner):
            self.cosigner = op.record
        elif isinstance(op, SetIsolation):
            self.isolation = self.isolation or op.record

    def image(self) -> bytes:
        """Bytes that stand for what the disk holds, for the trace."""
        parts = (self.last_index, self.hard_state, len(self.leaves), self.cosigner, self.isolation, len(self.epochs))
        return msgspec.msgpack.encode(parts)
