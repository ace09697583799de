"""What a new node takes over of another node's store, and that it takes nothing that is not proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from govraft.adapters.engine.frames import NO_OP, REGULAR, read_payload
from govraft.core.codec.canonical import pack
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.snapshot import Snapshot
from govraft.errors import DecodeError, VerificationError
from govraft.node.joining import prove_beginning
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    IsolationRecord,
    JournalEntry,
    StoreBeginning,
    StoredEpoch,
    StoredLeaf,
    StoredSnapshot,
    StoredState,
)
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import SampleCluster

FOUR = ("n1", "n2", "n4")
SNAPSHOT_SEQ, LAST = 5, 9


def make_world(sample: SampleCluster | None = None) -> EvidenceSample:
    """Seq 9, in epoch 3: n4 was added at seq 7 and is a voter from seq 8 on."""
    world = EvidenceSample(sample)
    world.add_observer("n4")
    world.promote("n4")
    world.quarantine(9)
    return world


def make_copy(world: EvidenceSample) -> StoredState:
    """A node's store: leaders opened their terms at the indexes 1, 4 and 12; seq 9 is certified, seq 10 is not."""
    payloads = [REGULAR + (entry or b"") for entry in world.entries[1:]] + [REGULAR + b"not certified"]
    journal = [*payloads[:2], NO_OP, *payloads[2:]]
    entries = [JournalEntry(1, 1, NO_OP)]
    entries += [JournalEntry(index, 1 if index < 4 else 3, payload) for index, payload in enumerate(journal, 2)]
    entries.append(JournalEntry(12, 4, NO_OP))
    indexes = [0, *(item.index for item in entries if item.payload != NO_OP)]
    leaves = [StoredLeaf(index, leaf) for index, leaf in zip(indexes, [*world.leaves, b"not certified"], strict=True)]
    epochs = []
    for link in world.links:
        seq = Leaf.decode(link.leaf).seq
        lease = world.lease(seq, nodes=("n1", "n2", "n3"))
        epochs.append(StoredEpoch(link.epoch, seq, lease, pack(dict(link.records)), link.leaf, pack(list(link.proof))))
    snapshot = world.snapshot(SNAPSHOT_SEQ, index=indexes[SNAPSHOT_SEQ - 1], certificate=world.certificate(nodes=FOUR))
    return StoredState(
        journal=entries,
        hard_state=HardState(9, "n2", 12),
        leaves=leaves,
        cosigner=CosignerRecord(LAST, bytes(32)),
        isolation=IsolationRecord("lineage_inconsistent", "x", b""),
        has_run_before=True,
        snapshot=StoredSnapshot(snapshot, "node.db.snapshot"),
        epochs=tuple(epochs),
    )


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return make_world()


@pytest.fixture(scope="module")
def copy(world: EvidenceSample) -> StoredState:
    return make_copy(world)


def proven(world: EvidenceSample, copy: StoredState) -> StoreBeginning:
    return prove_beginning(copy, world.sample.genesis, read_payload)


def refused(world: EvidenceSample, copy: StoredState, match: str) -> None:
    with pytest.raises(VerificationError, match=match):
        proven(world, copy)


def test_all_that_is_certified_is_taken(world: EvidenceSample, copy: StoredState) -> None:
    found = proven(world, copy)
    assert (list(found.leaves), list(found.journal)) == (list(copy.leaves[:LAST]), list(copy.journal[:10]))
    assert list(found.journal) == [], "read once"
    assert found.epochs == copy.epochs


def test_a_change_of_the_electorate_certifies_what_came_before_it(world: EvidenceSample, copy: StoredState) -> None:
    """Mostly its own addition: a busy cluster makes snapshots seldom."""
    older = with_snapshot(
        copy, certificate=world.certificate(6), proof=tuple(world.machine.lineage.inclusion_proof(4, 6))
    )
    found = proven(world, older)
    assert (list(found.leaves), list(found.journal)) == (list(copy.leaves[:8]), list(copy.journal[:9]))
    shorter = msgspec.structs.replace(older, leaves=copy.leaves[:7])
    assert len(list(proven(world, shorter).leaves)) == 7
    refused(world, changed("leaves", lambda rows: changed_rows(rows, 6, leaf=forged_leaf(rows[6].leaf)))(older), "root")


def test_nothing_is_promised(world: EvidenceSample, copy: StoredState) -> None:
    """Neither the donor's vote nor its term: only that what is certified is committed."""
    assert proven(world, copy).hard_state == HardState(term=3, voted_for=None, commit_index=10)


def changed_rows(rows: Any, place: int, **changes: Any) -> list[Any]:
    rows = list(rows)
    rows[place] = msgspec.structs.replace(rows[place], **changes)
    return rows


def with_snapshot(copy: StoredState, **changes: Any) -> StoredState:
    assert copy.snapshot is not None
    data = msgspec.structs.replace(Snapshot.decode(copy.snapshot.data), **changes).encode()
    return msgspec.structs.replace(copy, snapshot=StoredSnapshot(data, "node.db.snapshot"))


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[StoredState], StoredState]:
    return lambda copy: msgspec.structs.replace(copy, **{name: change(getattr(copy, name))})


def forged_leaf(leaf: bytes) -> bytes:
    """It names the same entry."""
    return msgspec.structs.replace(Leaf.decode(leaf), outcome="expired").encode()


JOURNAL: dict[str, tuple[Callable[[list[JournalEntry]], list[JournalEntry]], str]] = {
    "another entry": (
        lambda rows: changed_rows(rows, 1, payload=REGULAR + b"x"),
        "entry at journal index 2 is not that of seq 2",
    ),
    "an entry of nobody": (
        lambda rows: changed_rows(rows, 3, payload=REGULAR + b"x"),
        "seq 4 does not stand at journal index 5",
    ),
    "an entry is left out": (lambda rows: changed_rows(rows, 2, payload=NO_OP), "seq 3 does not stand at .* index 3"),
    "of no known kind": (lambda rows: changed_rows(rows, 2, payload=b"\2x"), "journal entry 3 cannot be read"),
    "a gap": (lambda rows: [*rows[:5], *rows[6:]], "index 7, term 3 out of order"),
    "not from the first index on": (lambda rows: rows[1:], "index 2, term 1 out of order"),
    "a term that falls": (lambda rows: changed_rows(rows, 5, term=2), "index 6, term 2 out of order"),
    "no term": (lambda rows: changed_rows(rows, 0, term=0), "index 1, term 0 out of order"),
    "it ends too early": (lambda rows: rows[:9], "entry of seq 9 does not stand at journal index 10"),
    "it is empty": (lambda _: [], "entry of seq 2 does not stand at journal index 2"),
}


@pytest.mark.parametrize("case", JOURNAL)
def test_an_entry_that_is_not_that_of_its_leaf(world: EvidenceSample, copy: StoredState, case: str) -> None:
    change, match = JOURNAL[case]
    refused(world, changed("journal", change)(copy), match)


LEAVES: dict[str, tuple[Callable[[list[StoredLeaf]], list[StoredLeaf]], str]] = {
    "another genesis": (
        lambda rows: changed_rows(rows, 0, leaf=forged_leaf(rows[0].leaf)),
        "leaf of seq 1 is not that of the genesis",
    ),
    "an entry for the genesis": (lambda rows: changed_rows(rows, 0, index=1), "leaf of seq 1 is not that of"),
    "another leaf below the snapshot": (
        lambda rows: changed_rows(rows, 2, leaf=forged_leaf(rows[2].leaf)),
        "not the certified root at seq 7",
    ),
    "another leaf above the snapshot": (
        lambda rows: changed_rows(rows, 8, leaf=forged_leaf(rows[8].leaf)),
        "not the certified root at seq 9",
    ),
    "no leaf at all": (lambda rows: changed_rows(rows, 4, leaf=b"x"), "leaf of seq 5 cannot be read"),
    "the leaf of another seq": (lambda rows: changed_rows(rows, 3, leaf=rows[4].leaf), "index 5 is not that of seq 4"),
    "another index": (lambda rows: changed_rows(rows, 4, index=7), "seq 5 does not stand at journal index 7"),
    "it ends too early": (lambda rows: rows[:8], "ends at seq 8, before the certified seq 9"),
}


@pytest.mark.parametrize("case", LEAVES)
def test_a_leaf_that_is_not_of_the_lineage(world: EvidenceSample, copy: StoredState, case: str) -> None:
    change, match = LEAVES[case]
    refused(world, changed("leaves", change)(copy), match)


SNAPSHOTS: dict[str, tuple[Callable[[EvidenceSample, Snapshot], dict[str, Any]], str]] = {
    "another index": (lambda _, it: {"index": it.index + 1}, "another journal index than its lineage for seq 5"),
    "another time": (lambda _, it: {"time": it.time + 1}, "its time is not that of its leaf"),
    "a record more": (
        lambda _, it: {"sections": {**it.sections, "grants": {"planted": b"\xc0"}}},
        "section `grants` has another digest",
    ),
    "another leaf": (lambda _, it: {"leaf": forged_leaf(it.leaf)}, "inclusion proof"),
    "an earlier certificate": (
        lambda world, _: {"certificate": world.certificate(4)},
        "of seq 4, before its own seq 5",
    ),
    "a former quorum": (lambda world, _: {"certificate": world.certificate()}, "2 of 3 cosignatures"),
}


@pytest.mark.parametrize("case", SNAPSHOTS)
def test_a_snapshot_that_proves_nothing(world: EvidenceSample, copy: StoredState, case: str) -> None:
    change, match = SNAPSHOTS[case]
    assert copy.snapshot is not None
    changes = change(world, Snapshot.decode(copy.snapshot.data))
    refused(world, with_snapshot(copy, **changes), match)


def test_a_damaged_snapshot_and_none(world: EvidenceSample, copy: StoredState) -> None:
    assert copy.snapshot is not None
    damaged = StoredSnapshot(copy.snapshot.data[:-1], "node.db.snapshot")
    refused(world, msgspec.structs.replace(copy, snapshot=damaged), "snapshot cannot be used.*cut short or damaged")
    refused(world, msgspec.structs.replace(copy, snapshot=None), "there is no snapshot")


def test_the_links_in_the_snapshot_count_for_nothing(world: EvidenceSample, copy: StoredState) -> None:
    assert proven(world, with_snapshot(copy, epochs=())).epochs == copy.epochs


@pytest.mark.parametrize("field", ["lease", "records", "leaf", "proof"])
def test_each_change_of_the_electorate_must_be_certified(world: EvidenceSample, copy: StoredState, field: str) -> None:
    for place in (0, 1):
        other = getattr(copy.epochs[1 - place], field)
        for value in (other, b"", getattr(copy.epochs[place], field)[:-1]):
            rows = tuple(changed_rows(copy.epochs, place, **{field: value}))
            refused(world, msgspec.structs.replace(copy, epochs=rows), f"epoch {place + 2}")


def test_an_epoch_that_is_not_of_the_lineage(world: EvidenceSample, copy: StoredState) -> None:
    refused(world, changed("epochs", lambda rows: tuple(changed_rows(rows, 0, seq=6)))(copy), "began at seq 7, not at")
    refused(world, changed("epochs", lambda rows: rows[1:])(copy), "epoch 3 does not follow epoch 1")
    # A change that two lineages certify at one seq needs quorums that lie; the lineage here is none of theirs.
    elsewhere = make_copy(make_world_with_another_entry())
    refused(world, msgspec.structs.replace(copy, epochs=elsewhere.epochs), "not the certified root at seq 7")


def make_world_with_another_entry() -> EvidenceSample:
    world = EvidenceSample(quarantined=(1, 2, 3, 5, 5))
    world.add_observer("n4")
    world.promote("n4")
    return world


def test_an_epoch_that_is_left_out(world: EvidenceSample, copy: StoredState) -> None:
    """Two of those who certified in epoch 3 would have been a quorum in epoch 2."""
    refused(world, changed("epochs", lambda rows: rows[:1])(copy), "leaf of seq 8 is of epoch 3, which it does not")


def test_a_lease_without_the_acks_that_carry_it(world: EvidenceSample, copy: StoredState) -> None:
    """Its note alone would do for a stranger; for a node it does not."""
    lease = world.lease(7, nodes=("n1", "n2", "n3"), outstanding=("n3", "n4"))
    rows = tuple(changed_rows(copy.epochs, 0, lease=lease))
    refused(world, msgspec.structs.replace(copy, epochs=rows), "epoch 2 is not proven: .*may still be serving")


def test_another_cluster(world: EvidenceSample) -> None:
    other = make_copy(make_world(SampleCluster(name="other")))
    refused(world, other, "epoch 2|certificate is of")
    refused(world, msgspec.structs.replace(other, epochs=()), "certificate is of `govraft.dev/")


def test_payloads() -> None:
    assert (read_payload(NO_OP), read_payload(REGULAR + b"x")) == (None, b"x")
    for payload in (b"", REGULAR, NO_OP + b"x", b"\2"):
        with pytest.raises(DecodeError):
            read_payload(payload)
