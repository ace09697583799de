"""Changes of the electorate in a lineage, that the verifier in JavaScript follows without a machine."""

from __future__ import annotations

import base64
import json

import pytest
from verifier.javascript import Case, Outcome, in_javascript, in_python

from govraft.core.codec.canonical import pack
from govraft.core.codec.envelope import pae, seal
from govraft.core.crypto.digests import digest
from govraft.core.evidence.lineage_export import encode_end, encode_epoch, encode_header, encode_record
from govraft.core.lineage.leaf import Leaf
from govraft.core.model.commands import (
    BallotChoice,
    Command,
    MemberEvict,
    MemberFields,
    MemberRotate,
    ProposalOpen,
    ProposalVote,
    encode_command,
    payload_type,
    proposal_digest,
)
from govraft.core.model.outcome import Applied
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED, node_certificate, seeded_key

FOUR = ("n1", "n2", "n3", "n4")


class Changed(EvidenceSample):
    """A lineage with every change of the electorate that there is, and the joint lease of each."""

    def __init__(self) -> None:
        super().__init__(quarantined=(1,))
        self.leases: dict[int, bytes] = {}
        self.add_observer("n4")
        self.keep(FOUR[:3])
        self.promote("n4")
        self.keep(FOUR)
        self.rotate("n4")
        self.add_observer("n5")
        self.keep(FOUR)
        self.evict("n5")
        self.keep(FOUR)
        self.propose("member.remove", {"id": "n4", "reason": "moved away"})
        self.keep(FOUR[:3])
        self.add_observer("n6")
        self.keep(FOUR[:3])
        self.propose("member.promote", {"id": "n6"})
        self.keep((*FOUR[:3], "n6"))

    def keep(self, nodes: tuple[str, ...]) -> None:
        self.leases[self.machine.seq] = self.lease(nodes=nodes)

    def rotate(self, node: str) -> None:
        key = seeded_key(f"another {node}")
        text = [
            base64.b64encode(part).decode()
            for part in (key.public_key().public_bytes_raw(), node_certificate(node, key))
        ]
        member = MemberFields(id=node, public_key=text[0], certificate=text[1], address="127.0.0.1:7099")
        command = MemberRotate(**self.sample.header(), member=member)
        kind, payload = payload_type(command), encode_command(command)
        keys = [self.sample.authority_keys["rita"], self.sample.authority_keys["ruth"], key]
        parts = [(item.public_key().public_bytes_raw(), item.sign(pae(kind, payload))) for item in keys]
        assert self.apply_envelope(seal(kind, payload, parts)).outcome == Applied()
        self.keep(FOUR[:3])
        self.sample.node_keys[node] = key

    def evict(self, node: str) -> None:
        seq = self.machine.seq
        acks = [self.ack(node, self.probe(seq, root=root)).encode() for root in (None, bytes(32))]
        first, second = (base64.b64encode(ack).decode() for ack in acks)
        self.demand(MemberEvict(**self.sample.header(), id=node, first=first, second=second), "olga")

    def propose(self, name: str, body: dict[str, str]) -> None:
        opened = ProposalOpen(
            **self.sample.header(),
            command=name,
            body=body,
            author="rita",
            epoch=self.machine.epoch,
            sequence=self.machine.seq,
            expires=CREATED + 3_000_000,
        )
        self.demand(opened, "rita")
        self.quarantine(self.machine.seq)
        voted = ProposalVote(
            **self.sample.header(),
            proposal=proposal_digest(opened),
            voter="ruth",
            choice=BallotChoice.APPROVE,
            epoch=self.machine.epoch,
            sequence=self.machine.seq,
        )
        self.demand(voted, "ruth")

    def demand(self, command: Command, author: str) -> None:
        applied = self.apply(command, author)
        assert applied.outcome == Applied(), applied.outcome

    def export(self) -> list[bytes]:
        lines = [encode_header(self.sample.genesis, last=self.machine.seq)]
        for seq, (leaf, entry) in enumerate(zip(self.leaves, self.entries, strict=True), 1):
            lines.append(encode_record(seq, leaf, entry))
            if seq in self.leases:
                lines.append(encode_epoch(Leaf.decode(leaf).epoch, self.leases[seq]))
        return [*lines, encode_end(self.certificate(nodes=("n1", "n2", "n3", "n6")))]


@pytest.fixture(scope="module")
def world() -> Changed:
    return Changed()


def both(world: Changed, files: list[list[bytes]]) -> list[tuple[Outcome, Outcome]]:
    cases = [Case(b"".join(lines), world.sample.genesis.encode(), {}) for lines in files]
    return list(zip(in_javascript(cases), map(in_python, cases), strict=True))


def test_every_change_of_the_electorate_is_followed(world) -> None:
    ((ours, theirs),) = both(world, [world.export()])
    assert (ours.code, ours.message, theirs.code) == ("ok", "", "ok")
    assert ours.proven == theirs.proven
    assert ours.proven["epoch"] == 1 + len(world.leases) == 9


def test_each_certificate_of_an_epoch_is_needed(world) -> None:
    lines = world.export()
    changes = [place for place, line in enumerate(lines) if b'"epoch"' in line]
    assert len(changes) == len(world.leases)
    files = [lines[:place] + lines[place + 1 :] for place in changes]
    files += [lines[:place] + [lines[other]] + lines[place + 1 :] for place, other in zip(changes, changes[1:])]
    files += [lines[:place] + [lines[place]] + lines[place:] for place in changes]
    for ours, theirs in both(world, files):
        assert ours.code == theirs.code == "lineage_inconsistent"


def test_members_that_do_not_come_of_their_entry_are_refused(world) -> None:
    """Without the state: leaves that a quorum certified, and that no honest machine makes."""
    place = next(place for place, line in enumerate(world.export()) if b'"epoch"' in line) - 1
    lines = world.export()
    fields = json.loads(lines[place])
    leaf = Leaf.decode(base64.b64decode(fields["leaf"]))
    for change, epoch, message in (
        ({"electorate": bytes(32)}, leaf.epoch, "its entry makes other members than its leaf has"),
        ({}, leaf.epoch + 1, "its members changed, and not its epoch by one"),
        ({"audit": bytes(31) + b"x"}, leaf.epoch - 1, "its members changed, and not its epoch by one"),
    ):
        sections = leaf.sections | change
        root = digest("state", pack(sections))
        other = Leaf(leaf.seq, epoch, leaf.time, leaf.entry_digest, "applied", sections, root)
        spoiled = fields | {"leaf": base64.b64encode(other.encode()).decode()}
        ((ours, theirs),) = both(world, [[*lines[:place], json.dumps(spoiled).encode() + b"\n", *lines[place + 1 :]]])
        assert ours.code == theirs.code == "lineage_inconsistent"
        assert message in ours.message
