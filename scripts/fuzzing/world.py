"""A real cluster's objects, made once: where the seeds come from, and what forgeries are held against."""

from __future__ import annotations

from functools import cache

from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest, sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.evidence.lineage_export import encode_end, encode_header, encode_record
from govraft.core.evidence.receipt import encode_receipt_file
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

__all__ = ["SCHEMA", "World", "world"]

SCHEMA = """
entity Team;
entity Agent in [Team] { level: Long, tags: Set<String>, boss?: Agent };
entity Service { owner: Team, region: String };
action deploy appliesTo { principal: [Agent], resource: [Service], context: { env: String, count?: Long } };
"""
POLICIES = (
    (
        '@id("one")\npermit(principal in Team::"a", action == Action::"deploy", resource is Service)\n'
        'when { principal.level > 3 && context.env == "prod" && !(principal.tags.contains("x")) };'
    ),
    "forbid(principal, action, resource) unless { if principal has boss then principal.boss.level >= 2 else true };",
    'permit(principal == Agent::"b", action, resource == Service::"p") when { resource.region like "eu-*" };',
)


class World:
    """A cluster that applied one command of every kind, and certified the result.

    Attributes:
        commands: One of each kind, by name of the author.
        envelopes, entries, leaves: By seq, from 2; leaf 1 is the genesis'.
    """

    def __init__(self) -> None:
        self.sample = SampleCluster()
        self.genesis = self.sample.genesis
        self.origin = self.genesis.origin
        self.cluster = bytes.fromhex(self.genesis.cluster_id)
        self.timing = LeaseTiming.of(self.genesis)
        self.electorate = self.genesis.electorate()
        self.machine = Machine(self.genesis)
        self.leaves = [self.machine.genesis_leaf]
        self.commands = self._commands()
        self.envelopes: list[bytes] = []
        self.entries: list[bytes] = []
        for number, (command, author) in enumerate(self.commands):
            envelope = self.sample.sign(command, author)
            entry = encode_entry(WallMs(CREATED + 1_000 * (number + 1)), envelope)
            self.envelopes.append(envelope)
            self.entries.append(entry)
            self.leaves.append(self.machine.apply(entry).leaf)
        self.seq = self.machine.seq
        self.checkpoint = Checkpoint(self.origin, self.seq, self.machine.root)
        self.certificate = self.certify(self.checkpoint, ("n1", "n2"))

    def _commands(self) -> list[tuple[Command, str]]:
        header = self.sample.header
        agent, team, service = 'Agent::"b"', 'Team::"a"', 'Service::"p"'
        publish = PolicyPublish(**header(), version=1, expected="", schema=SCHEMA, policies=POLICIES, removed=())
        draft = Machine(self.genesis)
        draft.apply(self.sample.entry(publish, "pat"))
        active = draft.policy_versions[-1]
        entities = (
            EntityFields(
                agent, {"level": 4, "tags": ["x", "é"], "boss": {"__entity": {"type": "Agent", "id": "b"}}}, (team,)
            ),
            EntityFields(team, {}, ()),
            EntityFields(service, {"owner": {"__entity": {"type": "Team", "id": "a"}}, "region": "eu-1"}, ()),
        )
        mark = {"kind": TargetKind.SUBJECT, "id": agent, "reason": "why"}
        patch = EntityPatch(
            **header(), uid=agent, set={"level": 5}, unset=("boss",), add_parents=(), remove_parents=(team,)
        )
        return [
            (publish, "pat"),
            (PolicyActivate(**header(), version=1, digest=active.digest), "pat"),
            (EntityPut(**header(), entities=entities), "olga"),
            (patch, "olga"),
            (Quarantine(**header(), **mark), "olga"),
            (Release(**header(), **mark), "olga"),
            (Revoke(**header(), kind=TargetKind.NODE, id="n3", reason="why"), "olga"),
            (EntityDelete(**header(), uids=(service,)), "olga"),
        ]

    def certify(self, checkpoint: Checkpoint, nodes: tuple[str, ...], time_s: int = 7) -> bytes:
        """A certificate cosigned by these nodes."""
        lines = []
        for node in nodes:
            key, name = self.sample.node_keys[node], key_name(self.origin, node)
            key_id = cosignature_key_id(name, key.public_key().public_bytes_raw())
            lines.append(NoteSignature(name, key_id, time_s, key.sign(cosigned_message(checkpoint.encode(), time_s))))
        return format_note(Note(checkpoint.encode(), tuple(lines)))

    def signed(self, kind: Kind, body: bytes, node: str) -> Signed:
        """A message of a node."""
        return sign(kind, body, signer=node, cluster=self.cluster, signing=self.sample.node_keys[node].sign)

    def probe(self) -> Signed:
        """The probe of n1 for the newest seq."""
        grants = {"n1": bytes(16), "n2": bytes(15) + b"\1"}
        probe = Probe(1, 3, 5, "n1", self.checkpoint, self.machine.sections, grants, WallMs(7_000))
        return self.signed(Kind.PROBE, probe.encode(), "n1")

    def ack(self, node: str, outstanding: tuple[str, ...] = ()) -> Signed:
        """A node's answer to it."""
        cosignature = self.sample.node_keys[node].sign(cosigned_message(self.checkpoint.encode(), 7))
        digest, nonce = probe_digest(self.probe()), node.encode().ljust(16, b"\0")
        ack = Ack(digest, 5, self.seq, self.machine.root, node, nonce, outstanding, 7, cosignature)
        return self.signed(Kind.ACK, ack.encode(), node)

    def lease(self, outstanding: tuple[str, ...] = ()) -> Signed:
        """The lease that n1 made of the acks of n1 and n2."""
        acks = (self.ack("n1"), self.ack("n2", outstanding))
        return self.signed(Kind.LEASE, Lease(self.probe(), acks, self.certificate).encode(), "n1")

    def export(self) -> bytes:
        """The whole lineage in one file."""
        lines = [encode_header(self.genesis, last=self.seq), encode_record(1, self.leaves[0], None)]
        lines += [encode_record(seq, self.leaves[seq - 1], self.entries[seq - 2]) for seq in range(2, self.seq + 1)]
        return b"".join([*lines, encode_end(self.certificate)])

    def receipt(self, seq: int) -> dict[str, object]:
        """The receipt file of the command at `seq`."""
        from govraft.api.wire import Receipt

        command, _ = self.commands[seq - 2]
        proof = self.machine.lineage.inclusion_proof(seq - 1, self.seq)
        receipt = Receipt(
            command.command_id,
            "applied",
            seq,
            self.seq,
            self.leaves[seq - 1],
            proof,
            self.certificate,
            self.lease().encode(),
        )
        return encode_receipt_file(receipt, cluster=self.genesis.cluster_id, envelope=self.envelopes[seq - 2])


@cache
def world() -> World:
    """The one world of this process."""
    return World()
