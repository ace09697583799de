"""What the workload writes, batch by batch, and what a store must hold after each of them.

Both sides derive it from the same seed: the process that writes, and the judge that looks at what a power failure
left. Batch `n` always sets the term to `n`, so that a store tells by itself how far it came.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from govraft.adapters.sqlite_store import SqliteStore
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    IsolationRecord,
    JournalEntry,
    StoredLeaf,
    StoredState,
    WriteBatch,
)

CLUSTER, NODE = "c" * 64, "node-1"
DATABASE = "node.db"

REOPEN_EVERY = 9
SNAPSHOT_EVERY = 5


class Held(NamedTuple):
    """All that a store holds, its snapshot apart."""

    journal: tuple[JournalEntry, ...] = ()
    hard_state: HardState = HardState()
    leaves: tuple[StoredLeaf, ...] = ()
    cosigner: CosignerRecord | None = None
    isolation: IsolationRecord | None = None


class Plan:
    """`batches[n]` leads from `states[n]` to `states[n + 1]`."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed = seed
        self.count = count
        self.batches: list[WriteBatch] = []
        self.states = [Held()]
        rng = random.Random(seed)
        for number in range(1, count + 1):
            batch, held = _step(rng, number, count, self.states[-1])
            self.batches.append(batch)
            self.states.append(held)

    def saves_snapshot(self, number: int) -> bool:
        """Whether a snapshot follows batch `number`."""
        return number % SNAPSHOT_EVERY == 0

    def reopens(self, number: int) -> bool:
        """Whether the store is closed and opened again after batch `number`."""
        return number % REOPEN_EVERY == 0

    def snapshot(self, number: int) -> bytes:
        """The snapshot that follows batch `number`; empty for 0, which means that there is none."""
        if not number:
            return b""
        rng = random.Random(f"{self.seed} {number}")
        return number.to_bytes(4, "big") + rng.randbytes(rng.choice((1, 700, 9_000)))


def held_by(store: SqliteStore) -> tuple[Held, bytes]:
    """What `store` holds, and its snapshot."""
    state: StoredState = store.load()
    held = Held(tuple(state.journal), state.hard_state, tuple(state.leaves), state.cosigner, state.isolation)
    return held, state.snapshot.data if state.snapshot else b""


def snapshot_number(data: bytes) -> int:
    """Which snapshot `data` claims to be."""
    return int.from_bytes(data[:4], "big")


def _step(rng: random.Random, number: int, count: int, old: Held) -> tuple[WriteBatch, Held]:
    batch = WriteBatch()
    journal, leaves = list(old.journal), list(old.leaves)
    commit_index, cosigner, isolation = old.hard_state.commit_index, old.cosigner, old.isolation
    if len(journal) > commit_index and rng.random() < 0.2:
        index = rng.randint(commit_index + 1, len(journal))
        batch.truncate_from(index)
        del journal[index - 1 :]
    for _ in range(rng.choice((0, 1, 1, 2))):
        # Some are longer than a page, so that a batch is torn between pages too.
        entry = JournalEntry(len(journal) + 1, number, rng.randbytes(rng.choice((0, 40, 300, 300, 9_000))))
        batch.append(entry)
        journal.append(entry)
    commit_index = rng.randint(commit_index, len(journal))
    hard_state = HardState(number, rng.choice((None, "node-2")), commit_index)
    batch.set_hard_state(hard_state)
    for _ in range(rng.choice((0, 1, 1, 2))):
        leaf = StoredLeaf(rng.randint(0, len(journal)), rng.randbytes(rng.choice((32, 200, 900))))
        leaves.append(leaf)
        batch.add_leaf(len(leaves), leaf.leaf, leaf.index)
    if leaves and rng.random() < 0.7:
        cosigner = CosignerRecord((cosigner.seq if cosigner else 0) + 1, rng.randbytes(32))
        batch.set_cosigner(cosigner)
    if number > count * 2 // 3 and rng.random() < 0.3:
        record = IsolationRecord("lineage_inconsistent", f"in batch {number}", rng.randbytes(500))
        batch.set_isolation(record.reason, record.detail, record.evidence)
        isolation = isolation or record
    return batch, Held(tuple(journal), hard_state, tuple(leaves), cosigner, isolation)
