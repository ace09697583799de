"""Forgeries that take the keys of nodes: each was seen to pass when the one line that refuses it was taken out."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass

import msgspec
import pytest
from verifier.javascript import Case, in_javascript, in_python

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.note import Note, cosignature_key_id, cosigned_message, format_note, parse_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Kind, Lease, Probe, Signed
from govraft.core.evidence.chain import encode_chain
from govraft.core.evidence.lineage_export import encode_end, encode_header, encode_record
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import SampleCluster

FOUR = ("n1", "n2", "n4")


@dataclass
class Forgery:
    """A file, and what both verifiers must say of it."""

    world: EvidenceSample
    file: bytes
    code: str


def of_another_cluster() -> Forgery:
    """The names of cosigners are not signed: a body of another cluster with the same keys stays of that cluster."""
    world, other = EvidenceSample(), EvidenceSample(SampleCluster(name="other"))
    note = parse_note(other.certificate())
    lines = []
    for line, node in zip(note.signatures, ("n1", "n2"), strict=True):
        name = key_name(world.sample.genesis.origin, node)
        assert line.signature == world.sign(node, cosigned_message(note.body, line.time_s))
        lines.append(msgspec.structs.replace(line, name=name, key_id=cosignature_key_id(name, world.public_key(node))))
    return Forgery(world, format_note(Note(note.body, tuple(lines))), "certificate_invalid")


def at_a_change_by_the_new_members_alone() -> Forgery:
    world = three_again()
    return Forgery(world, world.proof(3, certificate=world.certificate(nodes=("n1", "n2"))), "certificate_invalid")


def at_a_change_by_both() -> Forgery:
    world = three_again()
    return Forgery(world, world.proof(3, certificate=world.certificate(nodes=("n1", "n2", "n3"))), "ok")


def three_again() -> EvidenceSample:
    """Its newest entry removes the fourth of four voters: a quorum of those who stay is none of those before."""
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    world.remove("n4")
    return world


def a_link_without_a_quorum_after_it() -> Forgery:
    world = EvidenceSample()
    world.add_observer("n4")
    world.promote("n4")
    seq = world.machine.seq
    link = msgspec.structs.replace(world.links[1], note=world.certificate(seq, nodes=("n1", "n2")))
    world.quarantine(9)
    links = encode_chain(world.sample.genesis, [world.links[0], link])
    return Forgery(
        world, world.permit(nodes=FOUR, certificate=world.certificate(nodes=FOUR), links=links), "certificate_invalid"
    )


def acks_of_another_probe() -> Forgery:
    world = EvidenceSample()
    own, other = world.probe(6), world.probe(6, leader="n2")
    return lease_of(world, own, [world.ack(node, other) for node in ("n1", "n2")], world.certificate())


def a_certificate_of_another_seq() -> Forgery:
    world = EvidenceSample()
    probe = world.probe(6)
    return lease_of(world, probe, [world.ack(node, probe) for node in ("n1", "n2")], world.certificate(5))


def a_lease_of_another_leader() -> Forgery:
    world = EvidenceSample()
    probe = world.probe(6, leader="n2")
    return lease_of(world, probe, [world.ack(node, probe) for node in ("n1", "n2")], world.certificate())


def a_probe_of_another_epoch() -> Forgery:
    world = EvidenceSample()
    honest = world.probe(6)
    content = msgspec.structs.replace(Probe.decode(honest.body), epoch=2)
    probe = world._message(Kind.PROBE, content.encode(), "n1")
    acks = [world.ack(node, probe) for node in ("n1", "n2")]
    return lease_of(world, probe, acks, world.certificate(), "wrong_epoch")


def an_ack_in_the_name_of_another() -> Forgery:
    world = EvidenceSample()
    probe = world.probe(6)
    forged = world._message(Kind.ACK, world.ack("n2", probe).body, "n3")
    return lease_of(world, probe, [world.ack("n1", probe), forged], world.certificate())


def an_ack_with_another_key() -> Forgery:
    world = EvidenceSample()
    probe = world.probe(6)
    forged = msgspec.structs.replace(world._message(Kind.ACK, world.ack("n2", probe).body, "n3"), signer="n2")
    return lease_of(world, probe, [world.ack("n1", probe), forged], world.certificate(), "signature_invalid")


def a_lineage_with(spoil) -> Forgery:
    world = EvidenceSample()
    leaves, entries, certificate = list(world.leaves), list(world.entries), world.certificate()
    certificate = spoil(world, leaves, entries) or certificate
    lines = [encode_header(world.sample.genesis, last=len(leaves))]
    lines += [encode_record(seq, *parts) for seq, parts in enumerate(zip(leaves, entries, strict=True), 1)]
    return Forgery(world, b"".join([*lines, encode_end(certificate)]), "lineage_inconsistent")


def exchanged_entries() -> Forgery:
    """Under their leaves, which the root holds; the entries hang on their digests alone."""

    def spoil(world, leaves, entries) -> None:
        entries[2], entries[3] = entries[3], entries[2]

    return a_lineage_with(spoil)


def another_certified_root() -> Forgery:
    return a_lineage_with(lambda world, leaves, entries: world.certificate(root=bytes(32)))


def another_first_leaf() -> Forgery:
    """A quorum of liars, and a past that is not that of the genesis."""

    def spoil(world, leaves, entries) -> bytes:
        leaves[0] = msgspec.structs.replace(Leaf.decode(leaves[0]), outcome="rejected").encode()
        tree = MerkleTree()
        for leaf in leaves:
            tree.append(leaf)
        return world.certificate(root=tree.root())

    return a_lineage_with(spoil)


def an_earlier_root_of_another_lineage() -> Forgery:
    """Of a size that is no power of two: then its root is not a node of the proof itself."""
    world = EvidenceSample()
    fields = json.loads(world.proof(3, 5))
    fields["earlier"]["root"] = "A" * 43 + "="
    return Forgery(world, pack_json(fields), "lineage_inconsistent")


def an_ack_in_another_encoding() -> Forgery:
    world = EvidenceSample()
    fields = msgspec.msgpack.decode(world.ack("n3", world.probe(6)).encode())
    backwards = msgspec.msgpack.encode(dict(sorted(fields.items(), reverse=True)))
    return Forgery(world, world.equivocation(first=backwards), "certificate_invalid")


def a_mark_before_a_certificate() -> Forgery:
    """A byte order mark, that many a reader drops."""
    world = EvidenceSample()
    return Forgery(world, b"\xef\xbb\xbf" + world.certificate(), "certificate_invalid")


def stray_bits_in_a_signature() -> Forgery:
    world = EvidenceSample()
    fields = json.loads(world.permit())
    part = fields["envelope"]["signatures"][0]
    assert part["sig"].endswith("==")
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    part["sig"] = part["sig"][:-3] + digits[digits.index(part["sig"][-3]) + 1] + "=="
    return Forgery(world, pack_json(fields), "evidence_malformed")


def lease_of(
    world: EvidenceSample, probe: Signed, acks: list[Signed], note: bytes, code: str = "certificate_invalid"
) -> Forgery:
    lease = world._message(Kind.LEASE, Lease(probe, tuple(acks), note).encode(), "n1").encode()
    return Forgery(world, json.dumps(world.receipt(lease=lease)).encode(), code)


@pytest.mark.parametrize(
    "make",
    [
        of_another_cluster,
        at_a_change_by_the_new_members_alone,
        at_a_change_by_both,
        a_link_without_a_quorum_after_it,
        acks_of_another_probe,
        a_certificate_of_another_seq,
        a_lease_of_another_leader,
        a_probe_of_another_epoch,
        an_ack_in_the_name_of_another,
        an_ack_with_another_key,
        exchanged_entries,
        another_certified_root,
        another_first_leaf,
        an_earlier_root_of_another_lineage,
        an_ack_in_another_encoding,
        a_mark_before_a_certificate,
        stray_bits_in_a_signature,
    ],
)
def test_both_say_the_same(make) -> None:
    forgery = make()
    case = Case(forgery.file, forgery.world.sample.genesis.encode(), {})
    (ours,) = in_javascript([case])
    assert (ours.code, in_python(case).code) == (forgery.code, forgery.code), ours.message


def test_a_key_that_appears_twice_is_refused() -> None:
    """Two readers would see two receipts."""
    world = EvidenceSample()
    receipt = json.dumps(world.receipt()).encode()
    twice = receipt.replace(b'"outcome":', b'"outcome": "rejected", "outcome":', 1)
    assert twice != receipt
    case = Case(twice, world.sample.genesis.encode(), {})
    (ours,) = in_javascript([case])
    assert (ours.code, ours.message) == ("evidence_malformed", "one key appears twice")
    assert in_python(case).code == "evidence_malformed"
