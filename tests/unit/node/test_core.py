import dataclasses

import msgspec
import pytest
from simulation.arena import Arena
from simulation.checkers import ConvergenceWatcher

from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import AddLeaf, CosignerRecord, JournalEntry, StoredLeaf


@pytest.fixture
def sim() -> Arena:
    sim = Arena(watcher=ConvergenceWatcher())
    sim.commit(3)
    sim.advance("a", "b", "c")
    sim.lead("a", "b", "c")
    sim.step(300)
    assert sim.all_serving()
    return sim


def test_replay_comes_to_the_same_state_and_writes_nothing(sim):
    before = sim.nodes["b"].core.machine
    sim.crash("b")
    sim.start("b")
    core = sim.nodes["b"].core
    assert (core.machine.seq, core.machine.root, core.machine.state_root) == (
        before.seq,
        before.root,
        before.state_root,
    )
    assert core.take_effects().batch.is_empty
    assert core.entry(2) == b"entry 1 of log 0"
    assert [core.entry(seq) for seq in (0, 1, 5, 99)] == [None] * 4
    assert core.entry(4) == b"entry 3 of log 0"


def test_a_new_node_writes_its_genesis_leaf():
    core = Arena(1).nodes["a"].core
    leaves = [op for op in core.take_effects().batch.ops if isinstance(op, AddLeaf)]
    assert [op.seq for op in leaves] == [1]
    assert leaves[0].leaf == core.machine.genesis_leaf


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_changed_leaf_stops_the_start(sim, place):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    disk.leaves[place] = disk.leaves[(place + 1) % 4]
    with pytest.raises(CorruptionError, match=f"at seq {place + 1}.*never run its key"):
        sim.start("b")


def test_a_changed_entry_stops_the_start(sim):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    disk.journal[1] = msgspec.structs.replace(disk.journal[1], payload=b"another")
    with pytest.raises(CorruptionError, match="at seq 3"):
        sim.start("b")


def test_a_journal_that_lost_entries_stops_the_start(sim):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    disk.journal.pop()
    disk.hard_state = msgspec.structs.replace(disk.hard_state, commit_index=2)
    sim.views["b"].target = 2
    with pytest.raises(CorruptionError, match="replays only to seq 3"):
        sim.start("b")


def test_leaves_that_were_lost_are_no_damage_but_are_written_again(sim):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    del disk.leaves[3:]
    disk.progress = msgspec.structs.replace(disk.progress, leaf_count=3)
    sim.start("b")
    assert [op.seq for op in sim.nodes["b"].core.take_effects().batch.ops if isinstance(op, AddLeaf)] == [4]


@pytest.mark.parametrize("record", [CosignerRecord(3, bytes(32)), CosignerRecord(9, bytes(32))], ids=str)
def test_a_lineage_that_does_not_hold_what_was_signed_stops_the_start(sim, record):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    disk.cosigner = record
    with pytest.raises(CorruptionError, match="cosigned another lineage"):
        sim.start("b")


def test_the_codes_tell_lineage_from_disk(sim):
    disk = sim.nodes["b"].disk
    sim.crash("b")
    disk.leaves[0] = StoredLeaf(0, b"")
    with pytest.raises(StorageError) as caught:
        sim.start("b")
    assert caught.value.code == "lineage_inconsistent"


def test_what_was_isolated_stays_isolated(sim):
    core = sim.nodes["b"].core
    sim.crash("b")
    sim.nodes["b"].disk.isolation = isolation = core.convergence.isolation or _isolation()
    sim.start("b")
    sim.step(2500)
    assert sim.nodes["b"].core.convergence.isolation == isolation
    assert not sim.serving("b")


def _isolation():
    from govraft.ports.store import IsolationRecord

    return IsolationRecord("lineage_inconsistent", "found", b"evidence")


def test_effects_are_taken_once(sim):
    core = sim.nodes["a"].core
    sim.commit()
    sim.advance("a")
    core.settle()
    effects = core.take_effects()
    assert not effects.is_empty
    assert not effects.batch.is_empty
    assert effects.sends
    assert core.take_effects().is_empty
    assert dataclasses.is_dataclass(effects)


def test_links_count_what_can_be_reached(sim):
    core = sim.nodes["b"].core
    assert core.links == {"a", "b", "c"}
    core.on_link("a", up=False)
    core.on_link("a", up=False)
    assert core.links == {"b", "c"}
    core.on_link("a", up=True)
    assert core.links == {"a", "b", "c"}


def test_an_entry_of_any_bytes_is_applied(sim):
    for payload in (b"\0", b"\xff" * 1000, b"{}", b"\xc1"):
        sim.logs[0].append(payload)
    sim.advance("a", "b", "c")
    sim.step(300)
    assert sim.nodes["b"].core.machine.seq == 8
    assert sim.all_serving()
    assert len({node.core.machine.root for node in sim.nodes.values()}) == 1
    assert isinstance(sim.nodes["b"].disk.journal[-1], JournalEntry)
