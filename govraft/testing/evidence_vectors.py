"""Vectors for verifiers of evidence: files that prove something, files that do not, and what must come of each.

Made from seeded keys and fixed times, so that they are the same on every machine. `scripts/vectors` writes them to
`tests/vectors`, one file a kind; a second implementation reads them there.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec

from govraft.core.codec.envelope import decode_envelope, encode_envelope
from govraft.core.codec.note import Note, NoteSignature, format_note, parse_note
from govraft.core.convergence.certificate import key_name
from govraft.core.evidence.evidence import Use, prove_evidence
from govraft.core.evidence.trust import Trust
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.limits import PERMIT_MS
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import VerificationError
from govraft.testing.evidence_sample import SAMPLE_REQUEST, EvidenceSample
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.trust_vectors import make_trust_cases

__all__ = ["KINDS", "file_of", "make_vectors", "outcome"]

NOW = CREATED + 101_000
_FOUR = ("n1", "n2", "n4")

Case = dict[str, Any]


def outcome(case: Case) -> tuple[str, dict[str, Any] | None]:
    """What a case comes to: `ok` and what is proven, or the code of the error."""
    from govraft.core.model.genesis import Genesis

    request = None if "request" not in case else msgspec.convert(case["request"], Request)
    genesis = Genesis.decode(case["genesis"].encode())
    trust = Trust.decode(case["trust"].encode(), genesis) if "trust" in case else None
    past = case.get("is_past", False)
    use = Use(case.get("at", NOW), request, case.get("audience"), case.get("at_least", 0), trust, past)
    try:
        if trust is not None and "advance" in case:
            return "ok", {"kind": "trust", "file": trust.advance(file_of(case), genesis).encode().decode()}
        return "ok", prove_evidence(file_of(case), genesis, use)
    except VerificationError as error:
        return error.code, None


def file_of(case: Case) -> bytes:
    """The file of a case: text, or base64 where it is none."""
    return base64.b64decode(case["file_base64"]) if "file_base64" in case else case["file"].encode()


def make_vectors(kind: str) -> list[Case]:
    """The cases of one kind, each with what the verifier here makes of it."""
    found = []
    for case in KINDS[kind]():
        expect, proven = outcome(case)
        found.append({**case, "expect": expect, **({} if proven is None else {"proven": proven})})
    return found


def _case(name: str, world: EvidenceSample, file: bytes, **options: Any) -> Case:
    return {"name": name, "genesis": world.sample.genesis.encode().decode(), "file": file.decode(), **options}


def _later() -> EvidenceSample:
    """A world in its third epoch: n4 was added and is a voter."""
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    world.quarantine(9)
    return world


def _spoil(data: bytes, before: str, after: str) -> bytes:
    return data.replace(before.encode(), after.encode(), 1)


def _permits() -> list[Case]:
    world, other = EvidenceSample(), EvidenceSample(SampleCluster(name="other"))
    statement = world.permit_statement()
    good = world.permit()
    asked = msgspec.to_builtins(SAMPLE_REQUEST)
    single = world.permit(world.permit_statement(single_use=True, audience="gateway-7"))
    envelope = decode_envelope(world.permit_envelope())
    first, second = envelope.signatures
    later, changed = _later(), EvidenceSample()
    changed.add_observer("n4")
    in_epoch_3 = later.permit(nodes=_FOUR, certificate=later.certificate(nodes=_FOUR))
    return [
        _case("two of three voters", world, good, request=asked),
        _case("all voters", world, world.permit(nodes=("n1", "n2", "n3"))),
        _case("a newline at the end", world, good + b"\n"),
        _case("two newlines at the end", world, good + b"\n\n"),
        _case("a space", world, _spoil(good, ":", ": ")),
        _case("single use, for its audience", world, single, audience="gateway-7"),
        _case("another audience", world, single, audience="gateway-8"),
        _case("no audience", world, single),
        _case("the first moment", world, good, at=statement.issued - world.sample.genesis.clock_skew_max_ms),
        _case("too early", world, good, at=statement.issued - world.sample.genesis.clock_skew_max_ms - 1),
        _case("the last moment", world, good, at=statement.not_after - 1),
        _case("too late", world, good, at=statement.not_after),
        _case("too long a life", world, world.permit(world.permit_statement(not_after=CREATED + 100_001 + PERMIT_MS))),
        _case("another request", world, good, request={**asked, "context": {"env": "prod", "replicas": 4}}),
        _case("another spelling of the request", world, good, request={**asked, "principal": 'Agent::"ci\\x2dbot"'}),
        _case("on the seq that is known", world, good, at_least=6),
        _case("older than what is known", world, good, at_least=7),
        _case("one of three voters", world, world.permit(nodes=("n1",))),
        _case("no signature", world, world.permit(nodes=())),
        _case(
            "one voter twice",
            world,
            world.permit(envelope=encode_envelope(msgspec.structs.replace(envelope, signatures=(first, first)))),
        ),
        _case(
            "signatures out of order",
            world,
            world.permit(envelope=encode_envelope(msgspec.structs.replace(envelope, signatures=(second, first)))),
        ),
        _case("a signature of another statement", world, _swap_payload(world)),
        _case("an id that is not its own", world, _another_id(world)),
        _case("another cluster", world, other.permit()),
        _case("another state", world, world.permit(world.permit_statement(state_root="0" * 64))),
        _case("a certificate of one voter", world, world.permit(certificate=world.certificate(nodes=("n1",)))),
        _case("a certificate of an earlier seq", world, world.permit(certificate=world.certificate(5))),
        _case("a certificate with a line of nobody", world, world.permit(certificate=_padded(world))),
        _case("a certificate of a day before", world, world.permit(certificate=_dated(world, -86_400))),
        _case("a certificate of a day and a second before", world, world.permit(certificate=_dated(world, -86_401))),
        _case("a certificate of a day and a second later", world, world.permit(certificate=_dated(world, 86_401))),
        _case("a certificate that was never made", world, world.permit(certificate=_dated(world, 2**62))),
        _case("the old certificate of a change", changed, changed.permit(certificate=_dated(changed, -10 * 86_400))),
        _case("no leaf", world, world.permit(leaf=b"")),
        _case("no proof", world, world.permit(proof=[])),
        _case("epoch 3", later, in_epoch_3),
        _case("epoch 3, without its links", later, later.permit(nodes=_FOUR, links=[])),
        _case("epoch 3, a quorum of epoch 1", later, later.permit(certificate=later.certificate(nodes=_FOUR))),
        _case("epoch 1, at a seq of epoch 3", later, later.permit(later.permit_statement(epoch=1))),
        _case("epoch 3, a broken link", later, _spoil(in_epoch_3, "/n3 ", "/n5 ")),
        _case("not json", world, b"{"),
        _case("another format", world, b'{"format":"govraft.permit.v9"}'),
        _case("empty", world, b""),
    ]


def _dated(world: EvidenceSample, seconds: int) -> bytes:
    """A certificate made so long after the permit."""
    body, time_s = world.checkpoint().encode(), world.permit_statement().issued // 1000 + seconds
    return format_note(Note(body, tuple(world.cosignature(node, body, time_s) for node in ("n1", "n2"))))


def _swap_payload(world: EvidenceSample) -> bytes:
    envelope = decode_envelope(world.permit_envelope())
    payload = world.permit_statement(single_use=True).encode()
    return world.permit(envelope=encode_envelope(msgspec.structs.replace(envelope, payload=payload)))


def _another_id(world: EvidenceSample) -> bytes:
    statement = msgspec.structs.replace(world.permit_statement(), audience="gateway")
    return world.permit(envelope=world.permit_envelope(statement))


def _padded(world: EvidenceSample) -> bytes:
    note = parse_note(world.certificate())
    stranger = NoteSignature(key_name(world.sample.genesis.origin, "n9"), b"\x01\x02\x03\x04", 1, bytes(64))
    return format_note(msgspec.structs.replace(note, signatures=(*note.signatures, stranger)))


def _denials() -> list[Case]:
    world, other, later = EvidenceSample(), EvidenceSample(SampleCluster(name="other")), _later()
    unread = world.denial_statement(
        request_digest="", principal="x", action="", resource="", seq=0, state_root="", reason="request_invalid"
    )
    alone, alone_before = (
        world.denial_statement(seq=0, state_root="", reason=reason)
        for reason in (Reason.NODE_ISOLATED, Reason.ISOLATED)
    )
    asked = msgspec.to_builtins(SAMPLE_REQUEST)
    return [
        _case("a denial", world, world.denial(), request=asked),
        _case("of a request that cannot be read", world, world.denial(unread)),
        _case("a refusal to sign a permit", world, world.denial(world.denial_statement(permit="0" * 64))),
        _case("of a node that isolated itself", world, world.denial(alone)),
        _case("of one from before `node_isolated`", world, world.denial(alone_before)),
        _case("another request", world, world.denial(), request={**asked, "action": 'Action::"other"'}),
        _case("signed by another node", world, world.denial(nodes=["n2"])),
        _case("signed by two", world, world.denial(nodes=["n1", "n2"])),
        _case("signed by nobody", world, world.denial(nodes=[])),
        _case("of no member", world, world.denial(world.denial_statement(node="n9"), nodes=["n1"])),
        _case("another cluster", world, other.denial()),
        _case("an epoch to come", world, world.denial(world.denial_statement(epoch=2))),
        _case("of a member of epoch 3", later, later.denial(later.denial_statement(node="n4"))),
        _case("another layout", world, _spoil(world.denial(), ",", ", ")),
    ]


def _receipts() -> list[Case]:
    world, other, later = EvidenceSample(), EvidenceSample(SampleCluster(name="other")), _later()

    def file(fields: dict[str, Any]) -> bytes:
        return json.dumps(fields, sort_keys=True).encode()

    forged = msgspec.structs.replace(Leaf.decode(world.leaves[5]), outcome="applied").encode()
    both = ("n1", "n2", "n3")
    late = world.lease(nodes=both, outstanding=("n3",), times_s=(CREATED // 1000, CREATED // 1000, CREATED // 1000 + 9))
    return [
        _case("an applied command", world, file(world.receipt())),
        _case("a rejected command", world, file(world.receipt(6))),
        _case("another layout", world, json.dumps(world.receipt(), indent=3).encode()),
        _case("a holder that has moved on", world, file(world.receipt(lease=late))),
        _case("a holder that is silent", world, file(world.receipt(lease=world.lease(outstanding=("n3",))))),
        _case("acks of one voter", world, file(world.receipt(lease=world.lease(nodes=("n1",))))),
        _case("a lease on an earlier seq", world, file(world.receipt(5, lease=world.lease(4), certified_seq=4))),
        _case("another outcome", world, file(world.receipt(6, outcome="applied"))),
        _case("another leaf", world, file(world.receipt(6, outcome="applied", leaf=forged))),
        _case("another envelope", world, file(world.receipt(3, envelope=world.envelopes[3], command_id="c3"))),
        _case("another command id", world, file(world.receipt(command_id="c9"))),
        _case("no proof", world, file(world.receipt(proof=[]))),
        _case("no lease", world, file(world.receipt(lease=b""))),
        _case("another cluster", world, file(other.receipt())),
        _case("epoch 3", later, file(later.receipt(9, command_id="c8", lease=later.lease(nodes=_FOUR)))),
        _case("epoch 3, a quorum of epoch 1", later, file(later.receipt(9, command_id="c8"))),
        _case("an older version", world, file(world.receipt() | {"format": "govraft.receipt.v1"})),
        *(_case(name, world, file(world.receipt(lease=lease))) for name, lease in _leases_by_clock(world)),
    ]


def _leases_by_clock(world: EvidenceSample) -> list[tuple[str, bytes]]:
    """Leases whose probe says its leader's wall clock, and some whose acks say strange times."""
    wall, three, at_s = CREATED + 60_000, ("n1", "n2", "n3"), CREATED // 1000 + 60
    last_s, year_9999_s = at_s + 3, 253_402_300_799 - PERMIT_MS // 1000 - 2
    more = {"z": [1, {"k": bytes(3)}], "a": None}

    def lease(*times_s: int, **options: Any) -> bytes:
        return world.lease(nodes=three[: len(times_s)], times_s=times_s, **options)

    return [
        ("probe format 2", lease(at_s, at_s, wall=wall)),
        ("statements that nobody knows", lease(at_s, at_s, wall=wall, more=more)),
        ("grants to holders behind a relay", lease(at_s, at_s, wall=wall, grants={"n1": bytes(16), "n2": bytes(32)})),
        ("the latest time of an ack", lease(at_s, at_s, last_s, wall=wall)),
        ("an ack that is a second later", lease(at_s, at_s, last_s + 1, wall=wall)),
        ("an ack that is a second later, of a voter", lease(at_s, last_s + 1, wall=wall)),
        ("an ack that is much later, format 1", lease(at_s, at_s, at_s + 10_000)),
        ("an ack of long ago", lease(at_s, at_s, 0, wall=wall)),
        ("an ack of the year 9999", lease(at_s, at_s, year_9999_s)),
        ("an ack past the year 9999", lease(at_s, at_s, year_9999_s + 2)),
        ("an ack of the end of time", lease(at_s, at_s, 2**63 - 1)),
        ("all past the year 9999", lease(year_9999_s + 2, year_9999_s + 2, wall=year_9999_s * 1000)),
        ("an ack without a cosignature", lease(at_s, at_s, wall=wall, uncosigned=("n2",))),
        ("a holder without a cosignature", lease(at_s, at_s, at_s, uncosigned=("n3",), outstanding=("n3",))),
        ("an idle ack without a cosignature, format 1", lease(at_s, at_s, at_s, uncosigned=("n3",))),
    ]


def _certificates() -> list[Case]:
    world, other = EvidenceSample(), EvidenceSample(SampleCluster(name="other"))
    observed = EvidenceSample(SampleCluster(observers=1))
    good = world.certificate()
    return [
        _case("two of three voters", world, good),
        _case("with a line of nobody", world, _padded(world)),
        _case("one of three voters", world, world.certificate(nodes=("n1",))),
        _case("one voter twice", world, world.certificate(nodes=("n1", "n1"))),
        _case("an observer", observed, observed.certificate(nodes=("n1", "n4"))),
        _case("another cluster", world, other.certificate()),
        _case("another seq", world, _spoil(good, "\n6\n", "\n7\n")),
        _case("no signatures", world, good.split(b"\n\n")[0] + b"\n\n"),
    ]


def _lineages() -> list[Case]:
    world, later = EvidenceSample(), _later()

    lines = world.export_lines(world.certificate())
    return [
        _case("the whole", world, b"".join(lines)),
        _case("cut off", world, b"".join(lines[:-1])),
        _case("without an entry", world, b"".join([*lines[:3], *lines[4:]])),
        _case("two entries exchanged", world, b"".join([*lines[:3], lines[4], lines[3], *lines[5:]])),
        _case("something after the end", world, b"".join([*lines, lines[-1]])),
        _case("certified by one voter", world, world.export(("n1",))),
        _case("an earlier certificate", world, world.export(certificate=world.certificate(5))),
        _case("with changes of the electorate", later, later.export(_FOUR)),
    ]


def _proofs() -> list[Case]:
    world, later = EvidenceSample(), _later()
    forged = msgspec.structs.replace(Leaf.decode(world.leaves[5]), outcome="applied").encode()
    return [
        _case("a leaf", world, world.proof()),
        _case("the newest leaf", world, world.proof(6)),
        _case("the genesis", world, world.proof(1)),
        _case("with an earlier lineage", world, world.proof(3, 4)),
        _case("with the same lineage", world, world.proof(3, 6)),
        _case("another leaf", world, world.proof(6, leaf=forged)),
        _case("no proof", world, world.proof(proof=[])),
        _case("another earlier root", world, _earlier(world, "root", "A" * 43 + "=")),
        _case("another earlier seq", world, _earlier(world, "seq", 5)),
        _case("an earlier seq that is later", world, _earlier(world, "seq", 7)),
        _case("no consistency proof", world, _earlier(world, "proof", [])),
        _case("a certificate of one voter", world, world.proof(certificate=world.certificate(nodes=("n1",)))),
        _case("epoch 3", later, later.proof(9, 3, certificate=later.certificate(nodes=_FOUR))),
        _case("epoch 3, a quorum of epoch 1", later, later.proof(9, 3)),
    ]


def _snapshots() -> list[Case]:
    world, other, later = EvidenceSample(), EvidenceSample(SampleCluster(name="other")), _later()

    def case(name: str, it: EvidenceSample, file: bytes) -> Case:
        genesis = it.sample.genesis.encode().decode()
        return {"name": name, "genesis": genesis, "file_base64": base64.b64encode(file).decode("ascii")}

    sections = {name: dict(world.machine.records(name)) for name in world.machine.sections}
    fewer, more = dict(sections), {**sections, "grants": {"planted": b"\xc0"}}
    fewer["entities"] = dict(list(sections["entities"].items())[1:])
    good, four = world.snapshot(), later.certificate(nodes=_FOUR)
    in_epoch_3 = later.snapshot(certificate=four)
    unknown = {name: records for name, records in sections.items() if name != "grants"}
    return [
        case("the newest state", world, good),
        case("an earlier state, certified later", world, world.snapshot(4)),
        case("of another journal index", world, world.snapshot(index=77)),
        case("cut short", world, good[:-1]),
        case("one bit is wrong", world, good[:200] + bytes([good[200] ^ 1]) + good[201:]),
        case("something after the end", world, _sealed(good[:-32] + b"\0")),
        case("an unknown version", world, _sealed(good[:-32].replace(b"\xa1v\x02", b"\xa1v\x03"))),
        case("a section is missing", world, world.snapshot(sections=unknown)),
        case("a record is missing", world, world.snapshot(sections=fewer)),
        case("a record too many", world, world.snapshot(sections=more)),
        case("another time", world, world.snapshot(time=CREATED + 1)),
        case("another seq", world, msgspec.structs.replace(Snapshot.decode(good), seq=5).encode()),
        case("the leaf of another seq", world, world.snapshot(leaf=world.leaves[3])),
        case("the records of another seq", world, world.snapshot(4, sections=sections)),
        case("no leaf", world, world.snapshot(leaf=b"")),
        case("no proof", world, world.snapshot(4, proof=())),
        case("an earlier certificate", world, world.snapshot(certificate=world.certificate(5))),
        case("a certificate of one voter", world, world.snapshot(certificate=world.certificate(nodes=("n1",)))),
        case("a certificate of another root", world, world.snapshot(certificate=world.certificate(root=bytes(32)))),
        case("another cluster", world, other.snapshot()),
        case("epoch 3", later, in_epoch_3),
        case("an earlier epoch, certified in epoch 3", later, later.snapshot(6, certificate=four)),
        case("epoch 3, a quorum of epoch 1", later, later.snapshot()),
        case("epoch 3, without its links", later, later.snapshot(epochs=(), certificate=later.certificate())),
        case("epoch 3, without its last link", later, later.snapshot(epochs=later.links[:1], certificate=four)),
    ]


def _sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def _earlier(world: EvidenceSample, name: str, value: object) -> bytes:
    fields = json.loads(world.proof(3, 4))
    fields["earlier"][name] = value
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _equivocations() -> list[Case]:
    world, other, later = EvidenceSample(), EvidenceSample(SampleCluster(name="other")), _later()
    honest, earlier = world.ack("n3", world.probe(6)).encode(), world.ack("n3", world.probe(5)).encode()
    lie = world.certificate(nodes=("n3",), root=bytes(32))
    return [
        _case("two acks", world, world.equivocation()),
        _case("an ack and a note", world, world.equivocation(second=lie)),
        _case("two notes", world, world.equivocation(first=world.certificate(nodes=("n3",)), second=lie)),
        _case("the same ack twice", world, world.equivocation(second=honest)),
        _case("two seqs", world, world.equivocation(second=earlier)),
        _case("two nodes", world, world.equivocation(second=world.ack("n2", world.probe(6, root=bytes(32))).encode())),
        _case("a note with two cosignatures", world, world.equivocation(second=world.certificate(root=bytes(32)))),
        _case("not signed", world, world.equivocation(second=b"")),
        _case("another cluster", world, other.equivocation()),
        _case("a member of epoch 3", later, later.equivocation("n4")),
    ]


KINDS: dict[str, Callable[[], list[Case]]] = {
    "certificate": _certificates,
    "denial": _denials,
    "equivocation": _equivocations,
    "lineage": _lineages,
    "permit": _permits,
    "proof": _proofs,
    "receipt": _receipts,
    "snapshot": _snapshots,
    "trust": make_trust_cases,
}
