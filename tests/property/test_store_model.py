"""The SQLite store against a list: any legal batches, and reopening in between, give the same state."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.adapters.sqlite_store import SqliteStore
from govraft.errors import InvariantViolation
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    IsolationRecord,
    JournalEntry,
    StoredEpoch,
    StoredLeaf,
    WriteBatch,
)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "truncate", "hard", "leaf", "epoch", "cosigner", "isolate", "commit", "reopen"]),
        st.integers(0, 6),
        st.binary(max_size=40),
    ),
    max_size=40,
)


class Model:
    """Dumb on purpose: what a store would be if it could forget nothing."""

    def __init__(self) -> None:
        self.journal: list[JournalEntry] = []
        self.hard_state = HardState()
        self.leaves: list[StoredLeaf] = []
        self.epochs: list[StoredEpoch] = []
        self.cosigner: CosignerRecord | None = None
        self.isolation: IsolationRecord | None = None

    def step(self, kind: str, number: int, content: bytes, batch: WriteBatch) -> None:
        if kind == "append":
            self.journal.append(JournalEntry(len(self.journal) + 1, number, content))
            batch.append(self.journal[-1])
        elif kind == "truncate":
            index = max(self.hard_state.commit_index + 1, len(self.journal) + 1 - number)
            del self.journal[index - 1 :]
            batch.truncate_from(index)
        elif kind == "hard":
            commit_index = max(self.hard_state.commit_index, len(self.journal) - number)
            voted_for = f"node-{number}" if number % 2 else None
            self.hard_state = HardState(self.hard_state.term + 1, voted_for, commit_index)
            batch.set_hard_state(self.hard_state)
        elif kind == "leaf":
            self.leaves.append(StoredLeaf(number, content))
            batch.add_leaf(len(self.leaves), content, number)
        elif kind == "epoch":
            seq = (self.epochs[-1].seq if self.epochs else 1) + number + 1
            new = StoredEpoch(len(self.epochs) + 2, seq, content, content[:3], content[3:], b"")
            self.epochs.append(new)
            batch.add_epoch(new.epoch, new.seq, new.lease, new.records, new.leaf, new.proof)
        elif kind == "cosigner":
            seq = (self.cosigner.seq if self.cosigner else 0) + number + 1
            self.cosigner = CosignerRecord(seq, content[:1].ljust(32, b"\0"))
            batch.set_cosigner(self.cosigner)
        elif kind == "isolate":
            self.isolation = self.isolation or IsolationRecord(f"reason {number}", "detail", content)
            batch.set_isolation(f"reason {number}", "detail", content)


def check(store: SqliteStore, model: Model) -> None:
    state = store.load()
    found = (list(state.journal), state.hard_state, list(state.leaves), list(state.epochs))
    assert found == (model.journal, model.hard_state, model.leaves, model.epochs)
    assert (state.cosigner, state.isolation) == (model.cosigner, model.isolation)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_store_equals_a_list(steps: list[tuple[str, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "node.db"
        store = SqliteStore(path, cluster_id="c", node_id="n")
        model = Model()
        batch = WriteBatch()
        for kind, number, content in [*steps, ("reopen", 0, b"")]:
            if kind in ("commit", "reopen"):
                store.write(batch)
                batch = WriteBatch()
            if kind == "reopen":
                store.close()
                store = SqliteStore(path, cluster_id="c", node_id="n")
                check(store, model)
            model.step(kind, number, content, batch)
        with pytest.raises(InvariantViolation):
            store.write(_illegal(model))
        check(store, model)
        store.close()


def _illegal(model: Model) -> WriteBatch:
    batch = WriteBatch()
    batch.add_leaf(len(model.leaves) + 1, b"")
    batch.append(JournalEntry(len(model.journal) + 2, 1, b"")) if model.journal else batch.add_leaf(9_999, b"")
    return batch
