"""The machine: total, all or nothing, once only, and readable."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.crypto.digests import digest
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.machine import dispatch
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import SECTIONS
from govraft.core.machine.state import State
from govraft.core.model import limits
from govraft.core.model.commands import EntityDelete, Revoke, TargetKind
from govraft.core.model.outcome import Applied, Rejected, Rejection
from govraft.core.model.units import WallMs
from govraft.errors import InvariantViolation
from govraft.testing.sample import CREATED, SampleCluster

A = 'Agent::"a"'


def revoke(bench: Any, **fields: Any) -> Revoke:
    defaults: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": A, "reason": "x"}
    command: Revoke = bench.command(Revoke, **{**defaults, **fields})
    return command


def test_a_fresh_machine() -> None:
    genesis = SampleCluster().genesis
    machine = Machine(genesis)
    assert (machine.seq, machine.epoch, machine.time) == (1, 1, CREATED)
    leaf = Leaf.decode(machine.genesis_leaf)
    assert leaf.entry_digest == digest("genesis", genesis.encode()) == bytes.fromhex(genesis.cluster_id)
    assert (leaf.outcome, leaf.sections, leaf.state_root) == ("applied", machine.sections, machine.state_root)
    assert tuple(machine.sections) == SECTIONS
    assert machine.lineage.size == 1
    assert machine.electorate == genesis.electorate()
    assert set(machine.authorities) == {"olga", "oscar", "pat", "paula", "rita", "ruth"}
    assert machine.thresholds == genesis.thresholds
    other = Machine(SampleCluster(lease_ms=2_000).genesis)
    assert other.sections["electorate"] != machine.sections["electorate"]


def test_an_applied_entry(bench: Any) -> None:
    machine = bench.machine
    envelope = bench.cluster.sign(revoke(bench), "olga")
    entry = encode_entry(WallMs(bench.time), envelope)
    applied = machine.apply(entry)
    assert (applied.seq, applied.outcome, applied.command_id) == (2, Applied(), "c1")
    assert applied.entry_digest == digest("entry", entry)
    assert applied.envelope_digest == digest("envelope", envelope)
    assert applied.touched == {"entities", "audit"}
    leaf = Leaf.decode(applied.leaf)
    assert leaf == machine.leaf(2)
    assert applied.leaf == machine.leaf_bytes(2)
    assert (leaf.seq, leaf.time, leaf.sections, leaf.state_root) == (
        2,
        bench.time,
        machine.sections,
        machine.state_root,
    )
    verify_inclusion(applied.leaf, 1, 2, machine.lineage.inclusion_proof(1, 2), machine.root)


def test_leaves_keep_the_sections_of_their_seq(bench: Any) -> None:
    before = bench.machine.leaf(1).sections
    assert bench.do(revoke(bench)) == "applied"
    assert bench.machine.leaf(1).sections == before != bench.machine.leaf(2).sections
    assert bench.machine.leaf(0) is None
    assert bench.machine.leaf(3) is None
    assert bench.machine.leaf(-1) is None


def test_only_recent_leaves_are_kept(monkeypatch: pytest.MonkeyPatch, make_bench: Any) -> None:
    monkeypatch.setattr(limits, "LEAVES_KEPT", 3)
    bench = make_bench()
    for _ in range(5):
        bench.machine.apply(b"")
    assert [seq for seq in range(8) if bench.machine.leaf(seq) is not None] == [4, 5, 6]
    assert bench.machine.leaf(5).seq == 5


@pytest.mark.parametrize("entry", [b"", b"\xff", b"\x80", b"x" * (limits.ENTRY_BYTES + 1), b"\x91" * 60_000])
def test_malformed_entries_take_a_seq_and_nothing_else(bench: Any, entry: bytes) -> None:
    state_root = bench.machine.state_root
    applied = bench.machine.apply(entry)
    assert applied.outcome == Rejected(Rejection.ENTRY_MALFORMED)
    assert (applied.envelope_digest, applied.command_id, applied.touched) == (None, None, frozenset())
    assert (bench.machine.seq, bench.machine.time, bench.machine.state_root) == (2, CREATED, state_root)
    assert Leaf.decode(applied.leaf).outcome == "entry_malformed"


@pytest.mark.clause("6 timestamp-bound synchronization validation")
def test_time_never_runs_backwards(bench: Any) -> None:
    for stamped, expected in [(CREATED + 50, CREATED + 50), (CREATED + 10, CREATED + 50), (0, CREATED + 50)]:
        bench.machine.apply(encode_entry(WallMs(stamped), b"junk"))
        assert bench.machine.time == expected
    # An early stamp does not bring an expired command back.
    envelope = bench.cluster.sign(revoke(bench, not_after=CREATED + 20), "olga")
    assert bench.machine.apply(encode_entry(WallMs(CREATED), envelope)).outcome.code == "expired"
    assert isinstance(bench.machine.examine(envelope, WallMs(CREATED)), Rejected)


def test_replay(bench: Any) -> None:
    command = revoke(bench)
    assert bench.do(command) == "applied"
    assert bench.do(command) == "duplicate_command"
    # The same id for another command, or signed by another authority: still the same id.
    assert bench.do(revoke(bench, command_id="c1", id='Agent::"b"')) == "duplicate_command"
    assert bench.do(command, "oscar") == "duplicate_command"
    known = bench.machine.known_command("c1")
    assert (known.seq, known.outcome, known.not_after) == (2, "applied", command.not_after)


def test_a_command_that_was_refused_is_remembered_too(bench: Any) -> None:
    command = bench.command(EntityDelete, uids=(A,))
    assert bench.do(command) == "entity_unknown"
    assert bench.put((A, {}, ())) == "applied"
    assert bench.do(command) == "duplicate_command"
    assert bench.machine.known_command("c1").outcome == "entity_unknown"
    assert A in bench.machine.entities


def test_ids_are_free_again_once_expired(bench: Any) -> None:
    assert bench.do(revoke(bench, command_id="id", not_after=bench.time + 10)) == "applied"
    bench.time += 9
    assert bench.do(revoke(bench, command_id="id", id='Agent::"b"')) == "duplicate_command"
    bench.time += 1
    # In the very entry that would also forget it.
    assert bench.do(revoke(bench, command_id="id", id='Agent::"b"')) == "applied"
    assert bench.machine.known_command("id").seq == 4
    assert bench.do(revoke(bench, command_id="id", id='Agent::"c"')) == "duplicate_command"


def test_expired_commands_are_forgotten_a_few_at_a_time(bench: Any) -> None:
    count = 3 * limits.COMMANDS_PRUNED_PER_ENTRY
    empty = bench.machine.sections["audit"]
    for number in range(count):
        assert bench.do(revoke(bench, id=f'Agent::"{number}"', not_after=bench.time + 10)) == "applied"
    assert len(bench.machine.records("audit")) == count
    bench.time += 10
    for step in range(1, 4):
        bench.apply_envelope(b"")
        assert len(bench.machine.records("audit")) == count - step * limits.COMMANDS_PRUNED_PER_ENTRY
    assert bench.machine.sections["audit"] == empty
    assert bench.machine.known_command("c1") is None


def test_an_id_used_again_survives_the_end_of_its_first_life(bench: Any) -> None:
    """More commands expire at once than one entry forgets, so the first life is still queued when the second begins."""
    first_end = bench.time + 10
    for number in range(2 * limits.COMMANDS_PRUNED_PER_ENTRY):
        command = revoke(bench, command_id=f"a{number:02}", id=f'Agent::"{number}"', not_after=first_end)
        assert bench.do(command) == "applied"
    assert bench.do(revoke(bench, command_id="z", not_after=first_end)) == "applied"
    bench.time = first_end
    assert bench.do(revoke(bench, command_id="z", id='Agent::"second"')) == "applied"
    for _ in range(4):
        bench.apply_envelope(b"")
    assert bench.do(revoke(bench, command_id="z", id='Agent::"third"')) == "duplicate_command"
    assert set(bench.machine.records("audit")) == {"command/z"}


def test_the_number_of_known_commands_is_limited(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.do(revoke(bench)) == "applied"
    monkeypatch.setattr(limits, "KNOWN_COMMANDS", 1)
    command = revoke(bench, id='Agent::"b"')
    assert bench.do(command) == "limit_exceeded"
    assert bench.machine.known_command(command.command_id) is None
    monkeypatch.undo()
    assert bench.do(command) == "applied"


def test_recall(bench: Any) -> None:
    command = revoke(bench)
    envelope = bench.cluster.sign(command, "olga")
    assert bench.machine.recall(envelope) is None
    assert bench.do(command) == "applied"
    assert bench.machine.recall(envelope).seq == 2
    # Sealed again with another signature it is still the same command; another command under its id is not.
    assert bench.machine.recall(bench.cluster.sign(command, "olga", "oscar")).seq == 2
    other = revoke(bench, command_id=command.command_id, id='Agent::"b"')
    assert bench.machine.recall(bench.cluster.sign(other, "olga")) is None
    for junk in (b"", b"{}", bench.cluster.sign_payload("text/plain", b"", ["olga"])):
        assert bench.machine.recall(junk) is None


def break_handler(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setitem(dispatch.HANDLERS, Revoke, dispatch.HANDLERS[Revoke]._replace(decide=broken))


def test_defect_while_deciding_is_rejected(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_handler(monkeypatch, ZeroDivisionError("defect"))
    applied = bench.apply_envelope(bench.cluster.sign(revoke(bench), "olga"))
    assert applied.outcome.code == "internal_error"
    assert applied.touched == {"audit"}
    assert not bench.machine.has_marks
    assert bench.machine.known_command("c1").outcome == "internal_error"
    monkeypatch.undo()
    assert bench.do(revoke(bench)) == "applied"


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), KeyboardInterrupt()])
def test_exhaustion_halts(bench: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    break_handler(monkeypatch, error)
    envelope = bench.cluster.sign(revoke(bench), "olga")
    with pytest.raises(InvariantViolation):
        bench.machine.examine(envelope, WallMs(bench.time))
    with pytest.raises(InvariantViolation):
        bench.machine.apply(encode_entry(WallMs(bench.time), envelope))
    assert bench.machine.seq == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt(), MemoryError()])
def test_defect_while_committing_halts(bench: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(State, "commit", broken)
    envelope = bench.cluster.sign(revoke(bench), "olga")
    with pytest.raises(InvariantViolation):
        bench.machine.apply(encode_entry(WallMs(bench.time), envelope))
    monkeypatch.undo()
    with pytest.raises(InvariantViolation, match="restart"):
        bench.machine.apply(b"")
    with pytest.raises(InvariantViolation, match="restart"):
        bench.machine.examine(envelope, WallMs(bench.time))


@pytest.mark.clause("6 runtime consensus hashes")
def test_the_state_root_covers_every_section(bench: Any) -> None:
    roots = {bench.machine.state_root}
    assert bench.do(bench.command(EntityDelete, uids=(A,))) == "entity_unknown"
    roots.add(bench.machine.state_root)
    assert bench.put((A, {}, ())) == "applied"
    roots.add(bench.machine.state_root)
    assert bench.publish() == "applied"
    roots.add(bench.machine.state_root)
    assert len(roots) == 4
    with pytest.raises(KeyError):
        bench.machine.records("elsewhere")


def test_examine_gives_the_command(bench: Any) -> None:
    command = revoke(bench)
    assert bench.machine.examine(bench.cluster.sign(command, "olga"), WallMs(bench.time)) == command
    assert isinstance(bench.machine.examine(b"", WallMs(bench.time)), Rejected)


def test_a_fresh_machine_has_the_electorate_of_the_genesis() -> None:
    machine = Machine(SampleCluster(voters=1, observers=2).genesis)
    assert [member.id for member in machine.electorate.voters] == ["n1"]
    assert len(machine.electorate.members) == 3
    assert machine.has_marks is False
    assert machine.marks("node", "n1") == {}
    assert machine.known_command("x") is None
