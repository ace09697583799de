"""A history in which the electorate changes, certified by whom it takes, with all keys at hand."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, probe_digest, sign
from govraft.core.evidence.epochs import EpochLink
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    MemberAdd,
    MemberFields,
    MemberPromote,
    MemberRemove,
    encode_command,
    payload_type,
)
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster, seeded_key


class ChangedMembers:
    """Voters n1 to n3. `steps` add, promote or remove; each one is an epoch.

    Attributes:
        links: What proves each epoch, from 2 on.
        leases: The joint lease of each.
    """

    def __init__(self, *steps: str) -> None:
        self.sample = SampleCluster()
        self.keys: dict[str, Ed25519PrivateKey] = dict(self.sample.node_keys)
        self.machine = Machine(self.sample.genesis)
        self.leaves, self.entries = [self.machine.genesis_leaf], [None]
        self.links: list[EpochLink] = []
        self.leases: dict[int, bytes] = {}
        for step in steps:
            self.do(step)

    def do(self, step: str) -> None:
        verb, name = step.split()
        before = self.machine.electorate
        kind, also = {"add": (self._add, [name]), "promote": (self._promote, []), "remove": (self._remove, [])}[verb]
        self.apply(kind(name), *also)
        voters = {item.id for item in before.voters} | {item.id for item in self.machine.electorate.voters}
        machine = self.machine
        proof = tuple(machine.lineage.inclusion_proof(machine.seq - 1, machine.seq))
        records = dict(machine.records("electorate"))
        self.links.append(EpochLink(machine.epoch, self.leaves[-1], records, self.note(voters), proof))
        self.leases[machine.epoch] = self.lease(voters)

    def apply(self, command: Any, *seeds: str) -> None:
        name, payload = payload_type(command), encode_command(command)
        message = pae(name, payload)
        keys = [self.sample.authority_keys[author] for author in ("rita", "ruth")] + [self.keys[seed] for seed in seeds]
        envelope = seal(name, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])
        entry = encode_entry(WallMs(CREATED + 1_000 * len(self.leaves)), envelope)
        applied = self.machine.apply(entry)
        assert applied.outcome.code == "applied", applied.outcome
        self.leaves.append(applied.leaf)
        self.entries.append(entry)

    def _add(self, name: str) -> MemberAdd:
        key = self.keys.setdefault(name, seeded_key(f"node {name}")).public_key().public_bytes_raw()
        given = [base64.b64encode(item).decode() for item in (key, b"certificate of " + key)]
        return MemberAdd(**self.sample.header(), member=MemberFields(name, *given, "127.0.0.1:7100"))

    def _promote(self, name: str) -> MemberPromote:
        return MemberPromote(**self.sample.header(), id=name)

    def _remove(self, name: str) -> MemberRemove:
        return MemberRemove(**self.sample.header(), id=name, reason="test")

    # What nodes sign.

    def checkpoint(self, seq: int | None = None) -> Checkpoint:
        seq = self.machine.seq if seq is None else seq
        return Checkpoint(self.sample.genesis.origin, seq, self.machine.lineage.root(seq))

    def note(self, signers: Iterable[str], checkpoint: Checkpoint | None = None) -> bytes:
        body = (checkpoint or self.checkpoint()).encode()
        lines = []
        for node in sorted(signers):
            name, key = key_name(self.sample.genesis.origin, node), self.keys[node]
            key_id = cosignature_key_id(name, key.public_key().public_bytes_raw())
            lines.append(NoteSignature(name, key_id, 7, key.sign(cosigned_message(body, 7))))
        return format_note(Note(body, tuple(lines)))

    def lease(self, signers: Iterable[str], checkpoint: Checkpoint | None = None) -> bytes:
        signers, cluster = sorted(signers), bytes.fromhex(self.sample.genesis.cluster_id)
        checkpoint = checkpoint or self.checkpoint()
        probe = Probe(self.machine.epoch, 1, 1, signers[0], checkpoint, self.machine.sections, {})
        leader = {"signer": signers[0], "cluster": cluster, "signing": self.keys[signers[0]].sign}
        asked = sign(Kind.PROBE, probe.encode(), **leader)
        acks = []
        for node in signers:
            cosignature = self.keys[node].sign(cosigned_message(checkpoint.encode(), 7))
            ack = Ack(probe_digest(asked), 1, checkpoint.seq, checkpoint.root, node, bytes(16), (), 7, cosignature)
            acks.append(sign(Kind.ACK, ack.encode(), signer=node, cluster=cluster, signing=self.keys[node].sign))
        lease = Lease(asked, tuple(acks), self.note(signers, checkpoint))
        return sign(Kind.LEASE, lease.encode(), **leader).encode()
