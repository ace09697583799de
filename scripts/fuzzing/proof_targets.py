"""Properties of evidence files and signed statements: nothing is proven that the nodes of a sample did not sign."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import msgspec

from fuzzing import reference
from fuzzing.target import Target, expect
from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae
from govraft.core.codec.in_toto import decode_statement, encode_statement
from govraft.core.convergence.certificate import key_name
from govraft.core.crypto.keys import key_id, verify
from govraft.core.evidence.chain import open_chain
from govraft.core.evidence.denial import prove_denial
from govraft.core.evidence.epochs import encode_links, verify_epochs
from govraft.core.evidence.equivocation import prove_equivocation
from govraft.core.evidence.evidence import Use, prove_evidence
from govraft.core.evidence.lineage_proof import prove_leaf
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.evidence.receipt import prove_receipt
from govraft.core.evidence.statements import DenialStatement, PermitStatement
from govraft.errors import InputError, VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED

__all__ = ["TARGETS", "signed"]

_NOW = CREATED + 101_000
_AUDIENCE = "gateway-7"
_LENGTH_MAX = 24_000
_STATEMENTS = (PermitStatement, DenialStatement)


class _Signed:
    """A sample in its third epoch, and all that its nodes have ever said."""

    def __init__(self) -> None:
        self.sample = EvidenceSample()
        self.sample.add_observer("n4")
        self.sample.promote("n4")
        self.sample.quarantine(9)
        self.genesis = self.sample.sample.genesis
        self.machine = self.sample.machine
        early = self.sample.machine.leaf(3)
        assert early is not None, "a short history is kept whole"  # noqa: S101 - of this sample
        self.permits = [
            self.sample.permit_statement(),
            self.sample.permit_statement(single_use=True, audience=_AUDIENCE),
            self.sample.permit_statement(epoch=1, seq=3, state_root=early.state_root.hex()),
        ]
        self.denials = [
            self.sample.denial_statement(),
            self.sample.denial_statement(seq=0, state_root="", request_digest="", principal="?", node="n4"),
        ]

    def leaf(self, seq: int) -> bytes:
        return self.sample.leaves[seq - 1]


@cache
def signed() -> _Signed:
    """The one sample of this process."""
    return _Signed()


def _expect_signed(data: bytes, electorate: Any, at_least: int) -> None:
    """A second reader counts the signatures of the file's envelope."""
    envelope = json.loads(data)["envelope"]
    payload = base64.b64decode(envelope["payload"])
    message = pae(envelope["payloadType"], payload)
    keys = {key_id(member.public_key): member.public_key for member in electorate.members}
    held = {
        part["keyid"]
        for part in envelope["signatures"]
        if part["keyid"] in keys and verify(keys[part["keyid"]], base64.b64decode(part["sig"]), message)
    }
    expect(len(held) == len(envelope["signatures"]) >= at_least, f"{len(held)} signatures of members")


def _permit(data: bytes) -> bool:
    try:
        proven = prove_permit(data, signed().genesis, at=_NOW, audience=_AUDIENCE)
    except VerificationError:
        return False
    expect(proven.statement in signed().permits, "a permit that no quorum gave")
    expect(proven.leaf.encode() == signed().leaf(proven.statement.seq), "a state that was never certified")
    electorate = open_chain(signed().genesis, json.loads(data)["epochs"]).electorate(proven.statement.epoch)
    expect(len(proven.voters) >= electorate.quorum_count, "a permit of too few")
    _expect_signed(data, electorate, electorate.quorum_count)
    expect(pack_json(json.loads(data)) == data.removesuffix(b"\n"), "a second spelling of a permit")
    keys = {key_name(signed().genesis.origin, item.id): item.public_key for item in electorate.voters}
    counted = reference.cosigners(json.loads(data)["certificate"].encode(), keys)
    expect(len(counted) >= electorate.quorum_count, f"only {counted} cosigned its state")
    return True


def _denial(data: bytes) -> bool:
    try:
        statement = prove_denial(data, signed().genesis)
    except VerificationError:
        return False
    expect(statement in signed().denials, "a denial that its node did not give")
    expect(pack_json(json.loads(data)) == data.removesuffix(b"\n"), "a second spelling of a denial")
    _expect_signed(data, signed().machine.electorate, 1)
    return True


def _proof(data: bytes) -> bool:
    try:
        proven = prove_leaf(data, signed().genesis)
    except VerificationError:
        return False
    lineage = signed().machine.lineage
    expect(proven.leaf.encode() == signed().leaf(proven.leaf.seq), "a leaf that the lineage does not hold")
    expect(proven.checkpoint.root == lineage.root(proven.checkpoint.seq), "a root that the lineage never had")
    if proven.earlier_seq:
        expect(proven.earlier_root == lineage.root(proven.earlier_seq), "an earlier root that the lineage never had")
    return True


def _equivocation(data: bytes) -> bool:
    try:
        proven = prove_equivocation(data, signed().genesis)
    except VerificationError:
        return False
    expect(proven.member.id == "n3", "convicts a node that signed no two roots")
    honest = signed().machine.lineage.root(proven.seq)
    expect(set(proven.roots) == {honest, bytes(32)}, "roots that were never signed")
    return True


def _later_receipt(data: bytes) -> bool:
    try:
        proven = prove_receipt(data, signed().genesis)
    except VerificationError:
        return False
    expect(proven.leaf.encode() == signed().leaf(proven.leaf.seq), "a leaf that the lineage does not hold")
    envelope = signed().sample.envelopes[proven.leaf.seq - 1]
    expect(base64.b64decode(json.loads(data)["envelope"]) == envelope, "another envelope than the one at its seq")
    expect(len(proven.voters) >= signed().machine.electorate.quorum_count, "a receipt of too few")
    expect(proven.nodes_until >= (CREATED // 1000 + 61) * 1000, "an ack that was left out")
    return True


def _links(data: bytes) -> bool:
    try:
        links = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(links, list):
        return False
    try:
        chain = open_chain(signed().genesis, links)
    except VerificationError:
        return False
    known = verify_epochs(signed().genesis, signed().sample.links).electorates
    for electorate in chain.all:
        expect(known.get(electorate.epoch) == electorate, "an electorate that nobody certified")
    return True


def _evidence(data: bytes) -> bool:
    """Whatever the kind: either an error that is documented, or values that JSON can carry."""
    try:
        proven = prove_evidence(data, signed().genesis, Use(_NOW, audience=_AUDIENCE))
    except VerificationError:
        return False
    json.dumps(proven)
    expect(proven["kind"] in {"permit", "denial", "receipt", "proof", "equivocation", "certificate", "lineage"}, "kind")
    return True


def _statement(data: bytes) -> bool:
    """Payloads of permits and denials; the first byte chooses."""
    kind = _STATEMENTS[data[0] % 2] if data else _STATEMENTS[0]
    try:
        statement = kind.decode(data[1:])
    except InputError:
        return False
    expect(statement.encode() == data[1:], "encodes again to other bytes")
    if isinstance(statement, PermitStatement):
        expect(statement.permit == statement.permit_id, "an id of other fields")
        expect(0 < statement.not_after - statement.issued <= 300_000, "a permit for ever")
    return True


def _in_toto(data: bytes) -> bool:
    try:
        statement = decode_statement(data)
    except InputError:
        return False
    # A second reader, who keeps the last of two equal keys, must see the same.
    fields = json.loads(data)
    digests = {item["digest"]["sha256"] for item in fields["subject"]}
    expect(tuple(sorted(digests)) == statement.subjects, "two readers see two subjects")
    expect(fields["predicateType"] == statement.predicate_type, "two readers see two types")
    canonical, _ = reference.canonical_json(pack_json(fields["predicate"]))
    expect(canonical, "a predicate that has no one spelling")
    expect(hashlib.sha256(pack_json(fields["predicate"])).hexdigest() == statement.predicate, "another predicate")
    return True


def _permit_seeds() -> list[bytes]:
    found, sample = signed(), signed().sample
    one, single, early = found.permits
    certificate = sample.certificate(nodes=("n1", "n2", "n4"))
    return [
        sample.permit(one, nodes=("n1", "n2", "n4"), certificate=certificate),
        sample.permit(single, nodes=("n2", "n3", "n4"), certificate=certificate),
        sample.permit(early),
    ]


def _denial_seeds() -> list[bytes]:
    return [signed().sample.denial(statement) for statement in signed().denials]


def _receipt_seeds() -> list[bytes]:
    lease = signed().sample.lease(nodes=("n1", "n2", "n4"))
    return [msgspec.json.encode(signed().sample.receipt(at, lease=lease)) for at in (3, 7, 9)]


def _proof_seeds() -> list[bytes]:
    certificate = signed().sample.certificate(nodes=("n1", "n2", "n4"))
    return [signed().sample.proof(seq, since, certificate=certificate) for seq, since in ((3, 0), (4, 2), (9, 8))]


def _statement_seeds() -> list[bytes]:
    permits = [b"\0" + item.encode() for item in signed().permits]
    return permits + [b"\1" + item.encode() for item in signed().denials]


def _in_toto_seeds() -> list[bytes]:
    subjects = {"image": "ab" * 32, "é": "cd" * 32}
    nested = {"a": [1, {"b": None}], "c": "é\u2028"}
    statement = encode_statement("https://slsa.dev/provenance/v1", subjects, nested)
    return [statement, json.dumps(json.loads(statement), indent=1).encode()]


def _any_seeds() -> list[bytes]:
    seeds = (_permit_seeds, _denial_seeds, _receipt_seeds, _proof_seeds, _equivocation_seeds)
    return [made()[0] for made in seeds] + [signed().sample.certificate(3)]


def _equivocation_seeds() -> list[bytes]:
    return [signed().sample.equivocation()]


TARGETS = (
    Target(
        "permit",
        "permit files: no permit that a quorum did not give",
        _permit,
        _permit_seeds,
        "json",
        tuple(f"govraft.core.evidence.{name}" for name in ("permit_file", "permit", "sealed", "chain", "files")),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "denial",
        "denial files: nobody speaks for another node",
        _denial,
        _denial_seeds,
        "json",
        ("govraft.core.evidence.denial", "govraft.core.evidence.sealed"),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "proof",
        "proofs of leaves and of earlier lineages",
        _proof,
        _proof_seeds,
        "json",
        ("govraft.core.evidence.lineage_proof",),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "equivocation",
        "evidence against nodes: nobody is convicted who did not do it",
        _equivocation,
        _equivocation_seeds,
        "json",
        ("govraft.core.evidence.equivocation",),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "later-receipt",
        "receipt files that carry changes of the electorate",
        _later_receipt,
        _receipt_seeds,
        "json",
        ("govraft.core.evidence.receipt", "govraft.core.evidence.epochs"),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "epoch-links",
        "links from the genesis to later electorates",
        _links,
        lambda: [pack_json(signed().sample.chain()), pack_json(encode_links(signed().sample.links[:1]))],
        "json",
        ("govraft.core.evidence.epochs", "govraft.core.evidence.chain"),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "evidence",
        "evidence files of any kind, as `govraft verify` takes them",
        _evidence,
        _any_seeds,
        "json",
        ("govraft.core.evidence.evidence",),
        length_max=_LENGTH_MAX,
    ),
    Target(
        "statement",
        "payloads of permits and denials",
        _statement,
        _statement_seeds,
        "json",
        ("govraft.core.evidence.statements",),
        prefix=1,
    ),
    Target(
        "in-toto",
        "in-toto statements against the standard library's reader",
        _in_toto,
        _in_toto_seeds,
        "json",
        ("govraft.core.codec.in_toto",),
    ),
)
