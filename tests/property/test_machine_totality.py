"""Whatever bytes come in, the machine takes them as the next entry and rejects them in the same way as `examine` foresaw."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.codec.canonical import pack, pack_json
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry, encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    COMMANDS,
    Command,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyPublish,
    Quarantine,
    TargetKind,
)
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.model.units import WallMs
from govraft.errors import InputError
from govraft.testing.sample import CREATED, SampleCluster

CLUSTER = SampleCluster()
HEADER: dict[str, Any] = {"cluster": CLUSTER.genesis.cluster_id, "command_id": "x", "not_after": CREATED + 100_000}
COMMANDS_SIGNED: list[tuple[Command, str]] = [
    (
        PolicyPublish(
            **HEADER,
            version=1,
            expected="",
            schema="entity A;",
            policies=("permit(principal,action,resource);",),
            removed=(),
        ),
        "pat",
    ),
    (EntityPut(**HEADER, entities=(EntityFields('A::"1"', {"x": [1, {"y": True}]}, ('A::"2"',)),)), "olga"),
    (EntityPatch(**HEADER, uid='A::"0"', set={"z": 1}, unset=(), add_parents=(), remove_parents=()), "olga"),
    (Quarantine(**HEADER, kind=TargetKind.SUBJECT, id='A::"1"', reason="r"), "olga"),
]
ENVELOPES = [CLUSTER.sign(command, author) for command, author in COMMANDS_SIGNED]
ENTRIES = [encode_entry(WallMs(CREATED + 5), envelope) for envelope in ENVELOPES]
CODES = {"applied"} | {code.value for code in Rejection}

# One machine for all: it must go on working after whatever came before.
MACHINE = Machine(CLUSTER.genesis)


def take(entry: bytes) -> str:
    machine = MACHINE
    seq, time = machine.seq, machine.time
    try:
        decoded = decode_entry(entry)
    except InputError:
        foreseen = Rejection.ENTRY_MALFORMED.value
    else:
        examined = machine.examine(decoded.envelope, decoded.time)
        foreseen = examined.code if isinstance(examined, Rejected) else "applied"
    applied = machine.apply(entry)
    assert applied.outcome.code == foreseen
    assert foreseen in CODES
    assert foreseen != "internal_error"
    assert (applied.seq, machine.seq) == (seq + 1, seq + 1)
    assert machine.time >= time
    leaf = Leaf.decode(applied.leaf)
    assert (leaf.seq, leaf.outcome) == (seq + 1, foreseen)
    assert machine.lineage.size == machine.seq
    return foreseen


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_random_bytes(entry: bytes) -> None:
    assert take(entry) != "applied"
    assert take(pack({"v": 1, "time": CREATED, "envelope": entry})) != "applied"


@given(st.sampled_from(ENTRIES), st.data())
@settings(max_examples=200)
def test_valid_entries_with_bytes_changed(entry: bytes, data: st.DataObject) -> None:
    mutant = bytearray(entry)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(mutant) - 1))
        action = data.draw(st.sampled_from(["change", "drop", "insert"]))
        if action == "change":
            mutant[place] ^= data.draw(st.integers(1, 255))
        elif action == "drop" and len(mutant) > 1:
            del mutant[place]
        else:
            mutant.insert(place, data.draw(st.integers(0, 255)))
    if bytes(mutant) != entry and take(bytes(mutant)) == "applied":
        # Only what nobody signs may differ: the proposer's stamp, and the spelling of the envelope's JSON.
        good, bad = (json.loads(decode_entry(item).envelope) for item in (entry, bytes(mutant)))
        assert good == bad


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text('ab_:"\\{}', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "b", "type", "id", "fn", "arg", "__entity", "__extn", "uid", "attrs"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(COMMANDS_SIGNED), st.data())
@settings(max_examples=200)
def test_properly_signed_commands_with_any_content(signed: tuple[Command, str], data: st.DataObject) -> None:
    """A valid signature under nonsense: only the handlers are left to refuse it."""
    command, author = signed
    name = next(name for name, (kind, _) in COMMANDS.items() if kind is type(command))
    fields = json.loads(base64.b64decode(json.loads(CLUSTER.sign(command, author))["payload"]))
    fields["command_id"] = f"id{MACHINE.seq}"
    for field in data.draw(st.lists(st.sampled_from(sorted(fields.keys() - HEADER.keys())), max_size=2)):
        fields[field] = data.draw(VALUES)
    if name == "entity.put" and data.draw(st.booleans()):
        fields["entities"] = [{"uid": 'A::"7"', "attrs": {"v": data.draw(VALUES)}, "parents": []}]
    payload = pack_json(fields)
    envelope = CLUSTER.sign_payload(f"application/vnd.govraft.{name}.v1+json", payload, [author])
    take(encode_entry(WallMs(CREATED + 6), envelope))
