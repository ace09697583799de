"""Snapshots as bytes, and what a machine takes from them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from govraft.core.codec.canonical import pack
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import SECTIONS
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model import limits
from govraft.errors import DecodeError, InputError, LimitExceededError, LineageError

EMPTY: dict[str, dict[str, bytes]] = {name: {} for name in SECTIONS}

PROOF: dict[str, Any] = {"leaf": b"leaf", "proof": (b"node",), "certificate": b"note", "epochs": ()}


def fields(**changes: object) -> dict[str, object]:
    plain = {"v": 2, "seq": 7, "index": 9, "time": 1_700_000_000_000, "sections": EMPTY, **PROOF}
    return {**plain, **changes}


def sealed(value: object) -> bytes:
    body = pack(value)
    return body + sha256(body).digest()


def test_encode_and_decode() -> None:
    sections = {**EMPTY, "entities": {"b": b"\0", "a": b"\1"}}
    snapshot = Snapshot.make(seq=7, index=9, time=1_700_000_000_000, sections=sections, **PROOF)
    data = snapshot.encode()
    assert data == sealed(fields(sections=sections))
    assert Snapshot.decode(data) == snapshot


def test_every_damaged_byte_is_found() -> None:
    data = sealed(fields())
    for place in range(len(data)):
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[place] ^= bit
            with pytest.raises(DecodeError, match="checksum"):
                Snapshot.decode(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(DecodeError, match="checksum"):
            Snapshot.decode(data[:length])


@pytest.mark.parametrize(
    "value",
    [
        fields(v=1),
        fields(v="1"),
        fields(seq=0),
        fields(seq=-1),
        fields(seq=2**63),
        fields(index=0),
        fields(time=0),
        fields(time="1"),
        fields(certificate="note"),
        fields(certificate=bytes(65 * 1024)),
        fields(leaf="leaf"),
        fields(proof=[b"node", "node"]),
        fields(epochs=[{}]),
        fields(sections={}),
        fields(sections={**EMPTY, "more": {}}),
        fields(sections={**EMPTY, "audit": {"a": "text"}}),
        fields(sections=[]),
        fields(more=1),
        {key: value for key, value in fields().items() if key != "index"},
        [],
        None,
    ],
)
def test_what_is_no_snapshot_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        Snapshot.decode(sealed(value))


def test_a_second_spelling_is_refused() -> None:
    body = pack(fields())
    for other in (body + b"\0", body.replace(b"\xa1v\x02", b"\xa1v\xcc\x02")):
        with pytest.raises(DecodeError):
            Snapshot.decode(other + sha256(other).digest())


def test_the_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("govraft.core.machine.snapshot.SNAPSHOT_BYTES", 100)
    with pytest.raises(LimitExceededError):
        Snapshot.make(seq=7, index=9, time=1, sections=EMPTY, **PROOF).encode()
    with pytest.raises(LimitExceededError):
        Snapshot.decode(sealed(fields()))


# Restoring.


@pytest.fixture
def machine(bench: Any) -> Machine:
    bench.put(('Agent::"a"', {"n": 1}, ()))
    bench.publish("permit(principal, action, resource);")
    bench.activate(1)
    machine: Machine = bench.machine
    assert machine.seq == 4
    return machine


def restore(machine: Machine, **changes: Any) -> Machine:
    recent = [machine.leaf_bytes(seq) for seq in range(2, machine.seq + 1)]
    given: dict[str, Any] = {
        "time": machine.time,
        "records": machine.copy_records(),
        "lineage": machine.lineage.copy(),
        "recent": recent,
    }
    return Machine.restored(machine.genesis, **{**given, **changes})


def test_a_restored_machine_has_the_recent_leaves(machine: Machine) -> None:
    copy = restore(machine)
    assert [copy.leaf_bytes(seq) for seq in range(6)] == [None, None, *(machine.leaf_bytes(s) for s in (2, 3, 4)), None]
    assert copy.genesis_leaf == machine.genesis_leaf


def test_the_copy_is_apart(machine: Machine) -> None:
    records = machine.copy_records()
    records["entities"].clear()
    assert machine.entities
    lineage = machine.lineage.copy()
    lineage.append(b"more")
    assert lineage.size == machine.lineage.size + 1
    assert lineage.root(4) == machine.lineage.root()


def changed(machine: Machine, section: str, key: str, value: bytes | None) -> dict[str, dict[str, bytes]]:
    records = machine.copy_records()
    if value is None:
        del records[section][key]
    else:
        records[section][key] = value
    return records


def test_a_changed_record_is_refused(machine: Machine) -> None:
    for name in SECTIONS:
        with pytest.raises(LineageError, match=name):
            restore(machine, records=changed(machine, name, "planted", b"\xc0"))
        for key in machine.records(name):
            for value in (None, machine.records(name)[key] + b"\0"):
                with pytest.raises(LineageError, match=name):
                    restore(machine, records=changed(machine, name, key, value))


def test_another_time_is_refused(machine: Machine) -> None:
    with pytest.raises(LineageError, match="time"):
        restore(machine, time=machine.time + 1)


def test_leaves_that_are_not_of_the_lineage_are_refused(machine: Machine, make_bench: Any) -> None:
    leaves = [machine.leaf_bytes(seq) for seq in range(1, 5)]
    for recent in ([], leaves[:3], leaves[:2] + leaves[3:], [*leaves, leaves[3]], [leaves[3], leaves[3]]):
        with pytest.raises(LineageError):
            restore(machine, recent=recent)
    with pytest.raises(InputError):
        restore(machine, recent=[b""])
    other = make_bench(name="other").machine
    with pytest.raises(LineageError, match="this genesis"):
        restore(machine, lineage=other.lineage, recent=[other.leaf_bytes(1)])


def test_a_restored_machine_keeps_a_bounded_number_of_leaves(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEAVES_KEPT", 2)
    copy = restore(machine)
    copy.apply(b"x")
    assert [copy.leaf(seq) is None for seq in (3, 4, 5)] == [True, False, False]
