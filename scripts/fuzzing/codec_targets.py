"""Properties of the encodings: one value, one spelling; what decodes encodes again to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable

from fuzzing import reference
from fuzzing.target import Target, expect
from fuzzing.world import world
from govraft.core.codec.canonical import pack, pack_json, unpack, unpack_json
from govraft.core.codec.envelope import Envelope, EnvelopeSignature, decode_envelope, encode_envelope
from govraft.core.codec.note import Checkpoint, format_note, parse_note
from govraft.core.crypto.keys import certificate_key
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry, encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import COMMANDS, command_name, decode_command, encode_command, payload_type
from govraft.core.model.genesis import Genesis
from govraft.core.model.ids import parse_uid
from govraft.core.policy import engine
from govraft.errors import DecodeError, InputError

__all__ = ["TARGETS"]

_LENGTH_MAX = 70_000
_NAMES = tuple(COMMANDS)


def _canonical(
    decode: Callable[..., object], encode: Callable[[object], bytes], agreed: tuple[bool, object], data: bytes
) -> bool:
    canonical, other = agreed
    try:
        value = decode(data, max_bytes=_LENGTH_MAX)
    except InputError:
        expect(not canonical, "refused what another reader finds canonical")
        return False
    expect(canonical, "accepted what another reader does not find canonical")
    expect(repr(value) == repr(other), f"two readers see {value!r:.100} and {other!r:.100}")
    expect(encode(value) == data, "encodes again to other bytes")
    return True


def _json(data: bytes) -> bool:
    return _canonical(unpack_json, pack_json, reference.canonical_json(data), data)


def _msgpack(data: bytes) -> bool:
    return _canonical(unpack, pack, reference.canonical_msgpack(data), data)


def _envelope(data: bytes) -> bool:
    try:
        envelope = decode_envelope(data)
    except InputError:
        return False
    again = encode_envelope(envelope)
    expect(decode_envelope(again) == envelope, "another envelope after encoding it again")
    fields = json.loads(data, object_pairs_hook=_distinct)
    names = [part["keyid"] for part in fields["signatures"]]
    expect(fields["payloadType"] == envelope.payload_type, "two readers see two payload types")
    expect(names == [part.key_id for part in envelope.signatures], "two readers see two signers")
    expect(str(len(envelope.payload)).encode() in envelope.signed_bytes, "the length is not signed")
    return True


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    expect(len(dict(pairs)) == len(pairs), "a key twice: another reader may take the other one")
    return dict(pairs)


def _command(data: bytes) -> bool:
    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    try:
        command = decode_command(name, data[1:])
    except InputError:
        return False
    expect(encode_command(command) == data[1:], "encodes again to other bytes")
    expect(command_name(payload_type(command)) == name, "is of another type than it was read as")
    return True


def _entry(data: bytes) -> bool:
    try:
        entry = decode_entry(data)
    except InputError:
        return False
    expect(encode_entry(entry.time, entry.envelope) == data, "encodes again to other bytes")
    return True


def _leaf(data: bytes) -> bool:
    try:
        leaf = Leaf.decode(data)
    except InputError:
        return False
    expect(leaf.encode() == data, "encodes again to other bytes")
    return True


def _genesis(data: bytes) -> bool:
    try:
        genesis = Genesis.decode(data)
    except DecodeError:
        return False
    expect(genesis.encode() == data, "encodes again to other bytes")
    electorate = genesis.electorate()
    expect(1 <= electorate.quorum_count <= len(electorate.voters), "a quorum that no voters can make")
    return True


def _certificate_key(data: bytes) -> bool:
    return certificate_key(data) is not None


def _note(data: bytes) -> bool:
    other = reference.read_note(data)
    try:
        note = parse_note(data)
    except DecodeError:
        few = other is not None and 1 <= len(other[1]) <= 64 and len(data) <= 65_536
        expect(not few, "refused what another reader finds a note")
        return False
    expect(other is not None and other[0] == note.body, "two readers see two bodies")
    expect(other is not None and len(other[1]) == len(note.signatures) + len(note.others), "a line is lost")
    if not note.others:
        expect(format_note(note) == data, "prints to other bytes")
    try:
        checkpoint = Checkpoint.decode(note.body)
    except DecodeError:
        return True
    expect(checkpoint.encode() == note.body, "another checkpoint after encoding it again")
    return True


def _uid(data: bytes) -> bool:
    text = (
        data.decode("utf-8", "surrogatepass") if b"\xed" in data and _is_text(data) else data.decode("utf-8", "replace")
    )
    try:
        uid = parse_uid(text)
    except DecodeError:
        return False
    expect(parse_uid(str(uid)) == uid and str(parse_uid(str(uid))) == str(uid), "two canonical spellings")
    # A second reader decides what is denied: if Cedar saw another entity in this text, a mark on it would miss. It may
    # refuse a spelling that is read here, a bare carriage return for one; never the canonical one.
    for spelling in (text, str(uid)):
        try:
            tree = engine.policy_tree(f"permit(principal == {spelling}, action, resource);")
        except engine.EngineError:
            expect(spelling != str(uid), "Cedar refuses the canonical spelling")
            continue
        expect(
            tree["principal"]["entity"] == {"type": uid.type, "id": uid.id}, f"Cedar reads {tree['principal']!r:.200}"
        )
    return True


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _apply(data: bytes) -> bool:
    """Two machines, one entry: never raises, and the same leaf. A second time as if every signature held."""
    codes = []
    for is_trusting in (False, True):
        leaves = []
        for _ in range(2):
            machine = _machine(is_trusting=is_trusting)
            seq = machine.seq + 1
            applied = machine.apply(data)
            expect(machine.seq == applied.seq == seq, "an entry must take exactly one place")
            expect(Leaf.decode(applied.leaf).seq == seq, "a leaf that says another seq")
            expect(applied.outcome.code != "internal_error", f"a defect, contained: {applied.outcome!r:.300}")
            leaves.append(applied.leaf)
        expect(leaves[0] == leaves[1], "two machines differ")
        codes.append(applied.outcome.code)
    return codes[0] == "applied"


def _machine(*, is_trusting: bool) -> Machine:
    """With policies and entities, so that there is something to change and to remove."""
    machine = Machine(world().genesis)
    for entry in world().entries[:3]:
        machine.apply(entry)
    if is_trusting:
        machine._is_valid = _believe  # type: ignore[assignment]  # noqa: SLF001 - stands for good signatures
    return machine


def _believe(_public_key: bytes, _signature: bytes, _message: bytes) -> bool:
    return True


def _command_seeds() -> list[bytes]:
    return [
        bytes([_NAMES.index(command_name(payload_type(command)) or "")]) + encode_command(command)
        for command, _ in world().commands
    ]


def _sealed(signatures: int) -> bytes:
    parts = tuple(EnvelopeSignature(str(number), b"") for number in range(signatures))
    return encode_envelope(Envelope("t", b"p", parts))


def _payload_seeds() -> list[bytes]:
    return [seed[1:] for seed in _command_seeds()]


def _note_seeds() -> list[bytes]:
    three = world().certify(world().checkpoint, ("n1", "n2", "n3"))
    return [world().certificate, three, three + "— stranger/x AAAAAAAAAAAA\n".encode()]


def _uid_seeds() -> list[bytes]:
    texts = ('Agent::"b"', r'A::B_1::"\n\u{1F_6}\x41\'\"\\\0"', 'Ä::"x"', '__cedar::"x"', 'Agent::"\u200b\ufeffé"')
    return [text.encode() for text in texts]


TARGETS = (
    Target(
        "canonical-json",
        "canonical JSON against the standard library's reader and printer",
        _json,
        _payload_seeds,
        "json",
        ("govraft.core.codec.canonical",),
    ),
    Target(
        "canonical-msgpack",
        "canonical MessagePack against the msgpack package",
        _msgpack,
        lambda: [*world().leaves[:2], *world().entries[:2], world().lease().encode()],
        "msgpack",
        ("govraft.core.codec.canonical",),
    ),
    Target(
        "envelope",
        "DSSE envelopes",
        _envelope,
        lambda: [*world().envelopes, _sealed(64), _sealed(65), _sealed(0) + b" " * _LENGTH_MAX],
        "json",
        ("govraft.core.codec.envelope",),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "command",
        "payloads of all commands",
        _command,
        _command_seeds,
        "json",
        ("govraft.core.model.commands",),
        prefix=1,
    ),
    Target(
        "entry", "entries of the log", _entry, lambda: list(world().entries), "msgpack", ("govraft.core.machine.entry",)
    ),
    Target(
        "leaf", "leaves of the lineage", _leaf, lambda: list(world().leaves), "msgpack", ("govraft.core.lineage.leaf",)
    ),
    Target(
        "genesis",
        "genesis files",
        _genesis,
        lambda: [world().genesis.encode()],
        "json",
        ("govraft.core.model.genesis", "govraft.core.crypto.keys"),
    ),
    Target(
        "certificate",
        "X.509 certificates of members",
        _certificate_key,
        lambda: [member.certificate for member in world().genesis.members],
        "bytes",
        ("govraft.core.crypto.keys",),
        length_max=4096,
    ),
    Target(
        "note",
        "signed notes and checkpoints against a reader from the specification",
        _note,
        _note_seeds,
        "lines",
        ("govraft.core.codec.note",),
        words=("— ".encode(), b"\n\n"),
    ),
    Target(
        "uid",
        "entity uids against Cedar's own parser",
        _uid,
        _uid_seeds,
        "text",
        ("govraft.core.model.ids",),
        length_max=1024,
        words=(b'::"', b"\\u{", b"\\x", b"__cedar", b"\\"),
    ),
    Target(
        "apply",
        "entries applied by two fresh machines: total, and the same",
        _apply,
        lambda: list(world().entries[3:] + world().entries[:3]),
        "msgpack",
        tuple(
            f"govraft.core.machine.{name}" for name in ("admission", "entities", "policies", "enforcement", "ancestry")
        ),
    ),
)
