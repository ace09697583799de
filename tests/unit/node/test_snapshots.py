"""Snapshots of a node: when one is kept, that a start from one is the same node, and what is never believed."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from changing_electorate import ChangingArena
from sim_cluster import SimCluster
from simulation.arena import Arena, fake_is_valid, fake_sign
from simulation.checkers import ConvergenceWatcher

from govraft.core.codec.note import NoteSignature, cosignature_key_id, cosigned_message, format_note, parse_note
from govraft.core.convergence.certificate import verify_certificate
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.evidence.snapshot_proof import place_leaf
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.machine import Machine
from govraft.core.machine.snapshot import Snapshot
from govraft.errors import CorruptionError
from govraft.node.snapshots import SnapshotTaker
from govraft.ports.store import IsolationRecord, StoredLeaf
from govraft.testing.sample import SampleCluster

APPLIED = 14


@pytest.fixture
def sim() -> Arena:
    """Three nodes at seq 15, with a snapshot of seq 13 each."""
    sim = Arena(watcher=ConvergenceWatcher(), snapshot_entries=5)
    sim.lead("a", "b", "c")
    for number in range(4):
        sim.commit(2)
        sim.commit_envelopes(sim.quarantine(f"q{number}"))
        sim.step(100)
    sim.step(300)
    sim.commit(2)
    sim.advance("a", "b", "c")
    sim.step(300)
    assert sim.all_serving()
    return sim


def disk(sim: Arena, name: str = "b") -> Any:
    sim.crash(name)
    return sim.nodes[name].disk


def change(sim: Arena, **changes: object) -> None:
    """Change fields of the stored snapshot, with a checksum that fits."""
    store = disk(sim)
    store.snapshot = msgspec.structs.replace(Snapshot.decode(store.snapshot), **changes).encode()


def refused(sim: Arena, match: str) -> CorruptionError:
    with pytest.raises(CorruptionError, match=match) as caught:
        sim.start("b")
    assert sim.nodes["b"].core is None or sim.nodes["b"].core.machine is not None
    assert "disk.snapshot" in str(caught.value) or "at seq" in str(caught.value)
    return caught.value


def test_a_start_from_a_snapshot_is_the_same_node(sim: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sim.nodes["b"].core.machine
    snapshot = Snapshot.decode(disk(sim).snapshot)
    assert (snapshot.seq, before.seq) == (13, 15)
    applied: list[int] = []
    apply = Machine.apply
    monkeypatch.setattr(Machine, "apply", lambda self, entry: applied.append(self.seq + 1) or apply(self, entry))
    sim.start("b")
    core = sim.nodes["b"].core
    assert applied == list(range(snapshot.seq + 1, before.seq + 1)), "only what came later was replayed"
    assert (core.machine.seq, core.machine.root, core.machine.state_root) == (
        before.seq,
        before.root,
        before.state_root,
    )
    assert core.take_effects().batch.is_empty
    assert [core.entry(seq) for seq in range(APPLIED + 3)] == [
        None,
        None,
        *(sim.nodes["a"].core.entry(seq) for seq in range(2, APPLIED + 2)),
        None,
    ]
    assert [core.machine.leaf_bytes(seq) for seq in range(1, 16)] == [before.leaf_bytes(seq) for seq in range(1, 16)]
    sim.commit(7)
    sim.advance("a", "b", "c")
    sim.step(2500)
    assert sim.all_serving()
    assert core.machine.root == sim.nodes["a"].core.machine.root
    assert Snapshot.decode(sim.nodes["b"].disk.snapshot).seq > snapshot.seq


def test_a_missing_snapshot_is_only_slower(sim: Arena) -> None:
    root = sim.nodes["b"].core.machine.root
    disk(sim).snapshot = None
    sim.start("b")
    assert sim.nodes["b"].core.machine.root == root


def test_nothing_is_saved_without_a_certificate() -> None:
    sim = Arena(snapshot_entries=5)
    sim.commit(20)
    sim.advance("a", "b", "c")
    sim.step(500)  # nobody leads, so nothing is certified
    assert [node.disk.snapshot for node in sim.nodes.values()] == [None] * 3
    sim.lead("a", "b", "c")
    sim.step(500)
    assert [Snapshot.decode(node.disk.snapshot).seq for node in sim.nodes.values()] == [21] * 3


def test_a_later_certificate_will_do() -> None:
    sim = Arena(snapshot_entries=5)
    sim.commit(5)
    sim.advance("a", "b", "c")
    sim.step(20)
    sim.commit(4)
    sim.advance("a", "b", "c")
    sim.step(20)
    sim.lead("a", "b", "c")
    sim.step(500)
    store = disk(sim)
    assert Snapshot.decode(store.snapshot).seq == 6
    assert parse_note(Snapshot.decode(store.snapshot).certificate).body.split(b"\n")[1] == b"10"
    sim.start("b")
    assert sim.nodes["b"].core.machine.seq == 10


def test_an_isolated_node_keeps_none() -> None:
    sim = Arena(snapshot_entries=2)
    disk(sim).isolation = IsolationRecord("lineage_inconsistent", "found", b"evidence")
    sim.start("b")
    sim.lead("a", "b", "c")
    sim.commit(9)
    sim.advance("a", "b", "c")
    sim.step(2500)
    assert sim.nodes["a"].disk.snapshot is not None
    assert sim.nodes["b"].disk.snapshot is None


def test_what_waits_is_dropped_when_the_node_isolates_itself() -> None:
    machine = Machine(SampleCluster().genesis)
    for number in range(5):
        machine.apply(b"entry %d" % number)
    epochs = SimpleNamespace(rows=[])
    certified: Any = SimpleNamespace(isolation=None, certified_seq=1, certified_note=b"note", epochs=epochs)
    taker = SnapshotTaker(3, 1)
    assert taker.turn(machine, 5, certified) is None
    certified.isolation, certified.certified_seq = IsolationRecord("lineage_inconsistent", "found", b""), 7
    assert taker.turn(machine, 5, certified) is None
    certified.isolation = None
    machine.apply(b"more")
    snapshot = taker.turn(machine, 6, certified)
    assert snapshot is not None
    assert (snapshot.seq, snapshot.index) == (7, 6), "of the present state, not of the one that waited"
    assert taker.turn(machine, 6, certified) is None


# What is never believed.


@pytest.mark.parametrize("place", [0, 1, 100, -33, -1])
def test_damage_stops_the_start(sim: Arena, place: int) -> None:
    store = disk(sim)
    damaged = bytearray(store.snapshot)
    damaged[place] ^= 1
    store.snapshot = bytes(damaged)
    refused(sim, "checksum.*remove it and start again")


@pytest.mark.parametrize("length", [0, 31, 32, 33, 500])
def test_a_truncated_file_stops_the_start(sim: Arena, length: int) -> None:
    store = disk(sim)
    store.snapshot = store.snapshot[:length]
    refused(sim, "cut short or damaged.*remove it and start again")


def test_trailing_bytes_stop_the_start(sim: Arena) -> None:
    store = disk(sim)
    body = store.snapshot[:-32] + b"\0"
    store.snapshot = body + sha256(body).digest()
    refused(sim, "remove it and start again")


def test_a_certificate_of_too_few_is_refused(sim: Arena) -> None:
    certificate = Snapshot.decode(sim.nodes["b"].disk.snapshot).certificate
    note = parse_note(certificate)
    for signatures in ((note.signatures[0],), (note.signatures[0],) * 3):
        change(sim, certificate=format_note(msgspec.structs.replace(note, signatures=signatures)))
        refused(sim, "1 of 2 cosignatures")


def test_a_forged_cosignature_is_refused(sim: Arena) -> None:
    note = parse_note(Snapshot.decode(sim.nodes["b"].disk.snapshot).certificate)
    forged = msgspec.structs.replace(note.signatures[0], signature=bytes(64))
    change(sim, certificate=format_note(msgspec.structs.replace(note, signatures=(forged, *note.signatures[1:]))))
    refused(sim, "invalid cosignature")


def test_a_snapshot_of_another_cluster_is_refused(sim: Arena) -> None:
    other = Arena(5, snapshot_entries=5)
    other.lead("a", "b", "c", "d", "e")
    other.commit(6)
    other.advance(*other.nodes)
    other.step(500)
    disk(sim).snapshot = other.nodes["b"].disk.snapshot
    refused(sim, "certificate is of `govraft.dev/.*`, not of")


def test_a_snapshot_ahead_of_the_database_is_evidence_against_the_database(sim: Arena) -> None:
    store = disk(sim)
    del store.leaves[4:]
    del store.journal[3:]
    store.hard_state = msgspec.structs.replace(store.hard_state, commit_index=3)
    store.cosigner = None
    assert "remove it" not in str(refused(sim, "ahead of the database.*never run its key"))


def test_an_older_certificate_is_refused(sim: Arena) -> None:
    old = Snapshot.decode(sim.nodes["b"].disk.snapshot)
    sim.commit(9)
    sim.advance("a", "b", "c")
    sim.step(500)
    assert Snapshot.decode(sim.nodes["b"].disk.snapshot).seq > old.seq
    change(sim, certificate=old.certificate)
    refused(sim, "before its own seq")


def test_a_changed_record_is_refused(sim: Arena) -> None:
    sections = Snapshot.decode(sim.nodes["b"].disk.snapshot).sections
    entities = dict(sections["entities"])
    assert entities.popitem(), "a quarantine is in the snapshot"
    change(sim, sections={**sections, "entities": entities})
    refused(sim, "section `entities` has another digest.*remove it")


@pytest.mark.parametrize(
    ("section", "what"),
    [("electorate", "is not one of this genesis"), ("authorities", "has another digest than the lineage says")],
)
def test_another_electorate_or_other_authorities_are_refused(sim: Arena, section: str, what: str) -> None:
    sections = Snapshot.decode(sim.nodes["b"].disk.snapshot).sections
    change(sim, sections={**sections, section: {}})
    refused(sim, f"section `{section}` {what}")


# After the electorate has changed.


@pytest.fixture
def changed() -> ChangingArena:
    """`c` is removed at seq 3; the others have a snapshot of a later seq."""
    sim = ChangingArena(3, snapshot_entries=5)
    sim.lead("a", "b", "c")
    sim.commit()
    sim.commit_envelopes(sim.remove("c"))
    for number in range(8):
        sim.commit_envelopes(sim.put(f"p{number}"))
        sim.step(100)
    sim.run_until(lambda: sim.nodes["b"].disk.snapshot is not None and sim.serving("b"), limit_ms=3000)
    return sim


def test_a_start_from_a_snapshot_of_a_later_epoch(changed: ChangingArena) -> None:
    before = changed.core("b").machine
    changed.crash("b")
    changed.start("b")
    core = changed.core("b")
    assert (core.machine.root, core.machine.epoch) == (before.root, 2)
    assert (core.epochs.certified.epoch, core.epochs.waiting, core.epochs.absence) == (2, [], "")
    changed.run_until(lambda: changed.serving("b"), limit_ms=4000)


def test_what_is_saved_proves_itself_from_the_genesis(changed: ChangingArena) -> None:
    """To a stranger too, who has none of the node's lineage: a later epoch, and a certificate of a later seq."""
    snapshot = Snapshot.decode(changed.nodes["b"].disk.snapshot)
    genesis, history = changed.genesis, EpochHistory(changed.genesis, fake_is_valid)
    assert [history.verify(link).epoch for link in snapshot.epochs] == [2]
    checkpoint = verify_certificate(snapshot.certificate, history.newest, genesis.origin, is_valid=fake_is_valid)
    leaf = place_leaf(snapshot, checkpoint)
    assert (leaf.seq, leaf.epoch, leaf.encode()) == (snapshot.seq, 2, changed.core("a").machine.leaf_bytes(leaf.seq))


def test_a_leaf_that_is_not_of_the_lineage_is_refused(sim: Arena) -> None:
    snapshot = Snapshot.decode(sim.nodes["b"].disk.snapshot)
    forged = msgspec.structs.replace(Leaf.decode(snapshot.leaf), outcome="forged").encode()
    change(sim, leaf=forged)
    refused(sim, "inclusion.*remove it")


def test_a_former_electorate_certifies_no_snapshot(changed: ChangingArena) -> None:
    """`a` and `c` would have been a quorum before; now `c` counts for nothing."""
    snapshot = Snapshot.decode(changed.nodes["b"].disk.snapshot)
    note = parse_note(snapshot.certificate)
    former = [line for line in note.signatures if line.name.endswith("/a")]
    assert len(former) == 1
    name, key = f"{changed.genesis.origin}/c", changed.nodes["c"].identity.public_key
    cosigned = fake_sign(key, cosigned_message(note.body, 7))
    former.append(NoteSignature(name, cosignature_key_id(name, key), 7, cosigned))
    forged = format_note(msgspec.structs.replace(note, signatures=tuple(former)))
    change(changed, certificate=forged)
    refused(changed, "has 1 of 2 cosignatures")


def test_a_snapshot_without_the_epochs_that_lead_to_it_is_refused(changed: ChangingArena) -> None:
    disk(changed).epochs = []
    with pytest.raises(CorruptionError, match="epoch 2 is not that"):
        changed.start("b")


def test_an_unknown_section_is_refused(sim: Arena) -> None:
    sections = Snapshot.decode(sim.nodes["b"].disk.snapshot).sections
    change(sim, sections={**sections, "more": {}})
    refused(sim, "does not have the sections")


def test_another_time_is_refused(sim: Arena) -> None:
    time = Snapshot.decode(sim.nodes["b"].disk.snapshot).time
    change(sim, time=time + 1)
    refused(sim, "its time is not that of its leaf")


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_snapshot_of_another_seq_or_index_is_refused(sim: Arena, difference: int) -> None:
    snapshot = Snapshot.decode(sim.nodes["b"].disk.snapshot)
    change(sim, index=snapshot.index + difference)
    refused(sim, "is not that of journal index")
    change(sim, seq=snapshot.seq - 1, index=snapshot.index - 1)
    refused(sim, "its leaf is of seq 13, not of its own seq 12")


def test_a_changed_leaf_below_the_snapshot_stops_the_start(sim: Arena) -> None:
    store = disk(sim)
    leaf = bytearray(store.leaves[3].leaf)
    leaf[-1] ^= 1  # not a byte of the entry's digest
    store.leaves[3] = StoredLeaf(store.leaves[3].index, bytes(leaf))
    store.cosigner = None
    refused(sim, "stored lineage differs from the certificate.*never run its key")


def test_a_changed_entry_below_the_snapshot_stops_the_start(sim: Arena) -> None:
    store = disk(sim)
    store.journal[1] = msgspec.structs.replace(store.journal[1], payload=b"another")
    refused(sim, "stored lineage differs from the stored journal at seq 3")


@pytest.mark.parametrize("index", [2, 4, 0, 99])
def test_a_changed_index_below_the_snapshot_stops_the_start(sim: Arena, index: int) -> None:
    store = disk(sim)
    store.leaves[3] = StoredLeaf(index, store.leaves[3].leaf)
    refused(sim, "stored lineage differs from the stored journal at seq 4")


def test_two_leaves_do_not_share_an_entry() -> None:
    sim = Arena(snapshot_entries=5)
    sim.lead("a", "b", "c")
    sim.logs[0].extend([b"twice"] * 8)
    sim.advance("a", "b", "c")
    sim.step(500)
    store = disk(sim)
    assert store.snapshot is not None
    store.leaves[4] = StoredLeaf(store.leaves[3].index, store.leaves[4].leaf)
    refused(sim, "stored lineage differs from the stored journal at seq 5")


def test_a_changed_leaf_above_the_snapshot_stops_the_start(sim: Arena) -> None:
    store = disk(sim)
    store.leaves[-1] = StoredLeaf(store.leaves[-1].index, store.leaves[-2].leaf)
    with pytest.raises(CorruptionError, match="lineage differs"):
        sim.start("b")


# With the real engine.


def test_the_stored_commit_index_may_lag_behind_the_snapshot() -> None:
    sim = SimCluster(1, snapshot_entries=5)
    for number in range(12):
        sim.run_until(sim.all_serving)
        sim.submit("node-1", sim.quarantine(f"q{number}"), wait="committed")
        sim.step(50)
    seq, root = sim.nodes["node-1"].core.machine.seq, sim.nodes["node-1"].core.machine.root
    sim.crash("node-1")
    store = sim.nodes["node-1"].disk
    store.hard_state = msgspec.structs.replace(store.hard_state, commit_index=3)
    store.progress = msgspec.structs.replace(store.progress, hard_state=store.hard_state)
    store.leaves, store.cosigner = store.leaves[: Snapshot.decode(store.snapshot).seq], None
    store.progress = msgspec.structs.replace(store.progress, leaf_count=len(store.leaves), cosigner=None)
    sim.start("node-1")
    sim.run_until(sim.all_serving)
    machine = sim.nodes["node-1"].core.machine
    assert machine.lineage.root(seq) == root


def test_a_follower_far_behind_is_fed_from_the_disk() -> None:
    sim = SimCluster(3, snapshot_entries=10, window_entries=4)
    sim.run_until(sim.all_serving)
    late = next(name for name in sim.nodes if not sim.nodes[name].core.sequencer.is_leader)
    sim.crash(late)
    for number in range(40):
        leader = sim.leader
        assert leader is not None
        sim.submit(leader.id, sim.quarantine(f"q{number}"), wait="committed")
        sim.step(20)
    sim.run_until(lambda: sim.leader is not None and sim.leader.core.machine.seq >= 41)
    leader = sim.leader
    assert leader is not None
    assert leader.core.sequencer.last_index - leader.core.sequencer.journal_floor <= 8
    reads = leader.disk.reads
    sim.start(late)
    sim.run_until(lambda: sim.nodes[late].core.machine.seq == leader.core.machine.seq)
    assert leader.disk.reads > reads
    sim.run_until(sim.all_serving)
    # Old entries and leaves are still there for whoever asks.
    assert [leader.core.entry(seq) for seq in (2, 20, 41)] == [sim.nodes[late].core.entry(seq) for seq in (2, 20, 41)]
    for name in list(sim.nodes):
        sim.crash(name)
    for name in sim.nodes:
        sim.start(name)
    assert all(node.core.machine.seq >= 31 for node in sim.nodes.values())
    sim.run_until(sim.all_serving)
    assert len({node.core.machine.root for node in sim.nodes.values()}) == 1
