"""The rules of `ports.store`, decided before a byte is written. No I/O, so that every store can share them.

`advance` takes what is stored and a batch, and gives what will be stored; it raises instead of giving a state that
breaks a rule. A store writes the batch only after `advance` returned.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.genesis import FIRST_EPOCH
from govraft.errors import require
from govraft.ports.store import (
    AddEpoch,
    AddEquivocation,
    AddLeaf,
    Append,
    CosignerRecord,
    EndLate,
    HardState,
    IsolationRecord,
    SetCosigner,
    SetHardState,
    SetIsolation,
    StoredEpoch,
    TruncateFrom,
    WriteBatch,
    WriteOp,
)

__all__ = ["INDEX_MAX", "ROOT_BYTES", "Progress", "Summary", "advance", "commit_index_bound"]

INDEX_MAX = 2**63 - 1
ROOT_BYTES = 32


class Progress(msgspec.Struct, frozen=True):
    """How far a store has come.

    Attributes:
        journal_first: Index of the first journal entry ever stored, 0 before there was one.
        journal_last: Index of the last stored journal entry, `journal_first` - 1 when all were truncated.
        leaf_count: Highest stored seq.
        epoch_seqs: Seqs of the stored epochs, from epoch 2 on.
        late: Whether the store may stand in the place of a lost one.
    """

    journal_first: int = 0
    journal_last: int = 0
    leaf_count: int = 0
    epoch_seqs: tuple[int, ...] = ()
    hard_state: HardState = HardState()
    cosigner: CosignerRecord | None = None
    isolation: IsolationRecord | None = None
    late: bool = False


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the store says about itself; written with every batch.

    Attributes:
        writes: Number of the last write; the guard repeats it.
        cosigner_seq: 0 when there is no cosigner record.
        late: Left out where it is false.
    """

    # More would not fit into the guard.
    writes: Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
    journal_first: int
    journal_last: int
    leaf_count: int
    epoch_count: int
    cosigner_seq: int
    isolated: bool
    late: bool = False

    @property
    def journal_count(self) -> int:
        """How many journal entries there are."""
        return self.journal_last - self.journal_first + 1 if self.journal_first else 0

    @classmethod
    def of(cls, progress: Progress, writes: int) -> Summary:
        """The summary of `progress` after write number `writes`."""
        return cls(
            writes=writes,
            journal_first=progress.journal_first,
            journal_last=progress.journal_last,
            leaf_count=progress.leaf_count,
            epoch_count=len(progress.epoch_seqs),
            cosigner_seq=progress.cosigner.seq if progress.cosigner else 0,
            isolated=progress.isolation is not None,
            late=progress.late,
        )


def commit_index_bound(progress: Progress) -> int:
    """The highest commit index that the stored journal can back.

    An engine may begin with a built-in entry 1 that it never stores; before the first stored entry that one may be
    committed.
    """
    return progress.journal_last if progress.journal_first else 1


def advance(progress: Progress, batch: WriteBatch) -> Progress:
    """What a store at `progress` holds after `batch`.

    Raises:
        InvariantViolation: A write of the batch breaks a rule of `ports.store`.
    """
    for op in batch.ops:
        progress = _advance_one(progress, op)
    require(
        progress.hard_state.commit_index <= commit_index_bound(progress),
        "the commit index must not pass the last journal entry",
    )
    return progress


def _advance_one(progress: Progress, op: WriteOp) -> Progress:
    match op:
        case Append():
            return _append(progress, op)
        case TruncateFrom():
            return _truncate(progress, op)
        case SetHardState():
            return _set_hard_state(progress, op.hard_state)
        case AddLeaf():
            require(op.seq == progress.leaf_count + 1, f"leaf {op.seq} does not follow leaf {progress.leaf_count}")
            return msgspec.structs.replace(progress, leaf_count=op.seq)
        case AddEpoch():
            return _add_epoch(progress, op.epoch)
        case SetCosigner():
            return _set_cosigner(progress, op.record)
        case AddEquivocation():
            return progress
        case EndLate():
            return msgspec.structs.replace(progress, late=False)
        case SetIsolation():
            return msgspec.structs.replace(progress, isolation=progress.isolation or op.record)


def _append(progress: Progress, op: Append) -> Progress:
    index = op.entry.index
    require(0 <= op.entry.term <= INDEX_MAX and 0 < index <= INDEX_MAX, "journal index or term out of range")
    if not progress.journal_first:
        return msgspec.structs.replace(progress, journal_first=index, journal_last=index)
    require(
        index == progress.journal_last + 1,
        f"journal entry {index} does not follow entry {progress.journal_last}",
    )
    return msgspec.structs.replace(progress, journal_last=index)


def _truncate(progress: Progress, op: TruncateFrom) -> Progress:
    # SAFETY: a committed entry is never taken back; test_store_rules.py::test_truncation_never_crosses_the_commit_index
    require(
        op.index > progress.hard_state.commit_index,
        f"truncation from {op.index} would drop committed entries up to {progress.hard_state.commit_index}",
    )
    if op.index > progress.journal_last or not progress.journal_first:
        return progress
    require(op.index >= progress.journal_first, f"truncation from {op.index} starts before the journal")
    return msgspec.structs.replace(progress, journal_last=op.index - 1)


def _set_hard_state(progress: Progress, new: HardState) -> Progress:
    old = progress.hard_state
    require(0 <= new.term <= INDEX_MAX and 0 <= new.commit_index <= INDEX_MAX, "hard state out of range")
    require(new.term >= old.term, f"the term must not fall from {old.term} to {new.term}")
    require(new.commit_index >= old.commit_index, f"commit index must not fall from {old.commit_index}")
    # SAFETY: one vote a term; test_store_rules.py::test_a_vote_never_changes_within_a_term
    require(
        new.term > old.term or old.voted_for is None or new.voted_for == old.voted_for,
        f"the vote of term {new.term} was cast already",
    )
    # SAFETY: whoever may have forgotten its votes casts none;
    # test_store_rules.py::test_a_late_store_takes_no_vote_and_no_signature
    require(not progress.late or new.voted_for == old.voted_for, "a late store must not take a vote")
    return msgspec.structs.replace(progress, hard_state=new)


def _add_epoch(progress: Progress, new: StoredEpoch) -> Progress:
    known = progress.epoch_seqs
    place = new.epoch - FIRST_EPOCH - 1
    require(0 <= place <= len(known), f"epoch {new.epoch} does not follow epoch {FIRST_EPOCH + len(known)}")
    if place < len(known):
        # SAFETY: one certificate for each epoch, for ever; test_store_rules.py::test_an_epoch_is_never_replaced
        require(new.seq == known[place], f"epoch {new.epoch} began at seq {known[place]}, not at {new.seq}")
        return progress
    require(max((1, *known)) < new.seq <= INDEX_MAX, f"epoch {new.epoch} must begin after seq {max((1, *known))}")
    return msgspec.structs.replace(progress, epoch_seqs=(*known, new.seq))


def _set_cosigner(progress: Progress, new: CosignerRecord) -> Progress:
    old = progress.cosigner
    require(0 < new.seq <= INDEX_MAX and len(new.root) == ROOT_BYTES, "cosigner record out of range")
    # SAFETY: an acked seq is never forgotten, nor signed with two roots;
    # test_store_rules.py::test_the_cosigner_record_only_rises
    require(
        old is None or new.seq > old.seq or new == old,
        f"the cosigner record must not go from seq {old.seq if old else 0} to {new.seq} or to another root",
    )
    # SAFETY: whoever may have forgotten what it signed signs nothing;
    # test_store_rules.py::test_a_late_store_takes_no_vote_and_no_signature
    require(not progress.late, "a late store must not take a cosigner record")
    return msgspec.structs.replace(progress, cosigner=new)
