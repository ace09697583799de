"""Clusters of real nodes and real signatures in which an attacker holds one member, its key and its certificate.

The attacker can say anything in the name of that member, to anybody, at any time, and change or hold back whatever
its node says. Nobody else's key is his. What the honest nodes make of it is the product's own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from changing_electorate import Members
from permit_cluster import PermitCluster
from sim_cluster import SimNode
from simulation.arena import CONVERGENCE, RAFT
from simulation.checkers import ConvergenceWatcher

from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest, sign
from govraft.core.machine.entry import encode_entry
from govraft.core.model.commands import Command, encode_command, payload_type
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.units import WallMs

__all__ = ["CONVERGENCE", "LIAR", "RAFT", "Liar", "StrickenCluster"]

LIAR = "node-4"
"""The attacker's of four."""


class HonestWatcher(ConvergenceWatcher):
    """Judges what honest nodes allow; the attacker's own node may say what it likes."""

    def __init__(self, liar: str) -> None:
        super().__init__()
        self._liar = liar

    def look(self, node: SimNode) -> None:
        if node.id != self._liar:
            super().look(node)


class StrickenCluster(Members, PermitCluster):
    """`node-1` to `node-4` serve; the last one is the attacker's. One of four may lie under `byzantine`."""

    def __init__(self, nodes: int = 4, *, quorum: QuorumRule = QuorumRule.BYZANTINE, seed: int = 0) -> None:
        liar = f"node-{nodes}"
        super().__init__(nodes, quorum=quorum, seed=seed, watcher=HonestWatcher(liar))
        self.prepare()
        self.honest = [name for name in self.nodes if name != liar]
        self.liar = Liar(self, liar)

    def elect_liar(self) -> None:
        """Have the attacker's node lead."""
        self.step_ms = 5
        while self.leader is None or self.leader.id != self.liar.id:
            if self.leader is not None:
                self.partition(self.leader.id)
            self.step(1_000)
            self.heal()
            self.step(1_000)
        self.run_until(self.all_serving)
        self.step_ms = 1

    def elect_honest(self) -> str:
        """Have one of the others lead; returns which."""
        self.step_ms = 5
        while self.leader is None or self.leader.id == self.liar.id:
            self.partition(self.liar.id)
            self.step(2_000)
            self.heal()
            self.step(500)
        self.run_until(self.all_serving)
        self.step_ms = 1
        return self.leader.id

    def govern_honest(self, envelope: bytes) -> None:
        """Have a command effective, whatever has become of the attacker's node."""
        answers = self.submit(self.honest[0], envelope)
        self.run_until(lambda: answers)
        assert not isinstance(answers[0], Exception), answers
        self.run_until(self.honest_serve)

    def honest_serve(self) -> bool:
        return all(self.serving(name) for name in self.honest)

    def roots(self) -> set[tuple[int, bytes]]:
        return {(self.core(name).machine.seq, self.core(name).machine.root) for name in self.honest}


class Liar:
    """All that a thief of one node's key can make."""

    def __init__(self, sim: StrickenCluster, name: str) -> None:
        self.sim, self.id = sim, name
        self.identity = sim.nodes[name].identity
        self.cluster = bytes.fromhex(sim.genesis.cluster_id)
        self.origin = sim.genesis.origin

    @property
    def core(self) -> Any:
        return self.sim.core(self.id)

    # What it signs.

    def says(self, kind: Kind, body: bytes, *, as_node: str | None = None) -> Signed:
        """Anything, signed with its key, perhaps in another's name."""
        return sign(kind, body, signer=as_node or self.id, cluster=self.cluster, signing=self.identity.sign)

    def command(self, command: Command, *others: Any) -> bytes:
        """An envelope signed with its node's key, and with other keys that it has made."""
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        own = (self.identity.public_key, self.identity.sign(message))
        return seal(kind, payload, [own, *((item.public_key, item.sign(message)) for item in others)])

    def checkpoint(self, seq: int | None = None, root: bytes | None = None) -> Checkpoint:
        machine = self.core.machine
        seq = machine.seq if seq is None else seq
        return Checkpoint(self.origin, seq, machine.lineage.root(seq) if root is None else root)

    def probe(self, *, grants: dict[str, bytes] | None = None, **changes: Any) -> Signed:
        """A probe of the state that its node holds; `changes` replace fields."""
        machine, checkpoint = self.core.machine, changes.pop("checkpoint", None) or self.checkpoint()
        leaf = machine.leaf(checkpoint.seq)
        fields = {
            "epoch": machine.epoch,
            "term": self.core.sequencer.term,
            "round": 1_000_000,
            "leader": self.id,
            "checkpoint": checkpoint,
            "sections": dict(machine.sections if leaf is None else leaf.sections),
            "grants": grants or {},
            "wall": self.sim.wall,
        }
        return self.says(Kind.PROBE, Probe(**(fields | changes)).encode())

    def ack(self, probe: Signed, *, as_node: str | None = None, node: str | None = None, **changes: Any) -> Signed:
        """An ack of that probe that claims to be of `node`, signed with its own key under the name of `as_node`."""
        asked = Probe.decode(probe.body)
        checkpoint = Checkpoint(self.origin, changes.get("seq", asked.checkpoint.seq), asked.checkpoint.root)
        checkpoint = Checkpoint(self.origin, checkpoint.seq, changes.get("root", checkpoint.root))
        time_s = self.sim.wall // 1000
        fields = {
            "probe": probe_digest(probe),
            "round": asked.round,
            "seq": checkpoint.seq,
            "root": checkpoint.root,
            "node": node or as_node or self.id,
            "nonce": bytes(16),
            "outstanding": (),
            "time_s": time_s,
            "cosignature": self.identity.sign(cosigned_message(checkpoint.encode(), time_s)),
        }
        return self.says(Kind.ACK, Ack(**(fields | changes)).encode(), as_node=as_node)

    def note(self, checkpoint: Checkpoint, lines: Iterable[tuple[str, bytes, int, bytes]]) -> bytes:
        """A note with lines of (node, key, time, signature), true or not."""
        made = []
        for node, public_key, time_s, signature in lines:
            name = key_name(self.origin, node)
            made.append(NoteSignature(name, cosignature_key_id(name, public_key), time_s, signature))
        return format_note(Note(checkpoint.encode(), tuple(made)))

    def lease(self, probe: Signed, acks: Iterable[Signed], note: bytes | None = None) -> bytes:
        """A lease of these acks; its note, unless given, of their cosignatures."""
        acks = tuple(acks)
        if note is None:
            electorate = self.sim.genesis.electorate()
            decoded = [Ack.decode(ack.body) for ack in acks]
            lines = [(a.node, electorate.find(a.node).public_key, a.time_s, a.cosignature) for a in decoded]
            note = self.note(Probe.decode(probe.body).checkpoint, lines)
        return self.says(Kind.LEASE, Lease(probe, acks, note).encode()).encode()

    # What it does.

    def send(self, target: str, payload: bytes, channel: int = CONVERGENCE) -> None:
        """A frame on the connection that its certificate opens."""
        self.sim.core(target).on_frame(self.id, channel, payload)

    def tell_all(self, payload: bytes, channel: int = CONVERGENCE) -> None:
        for name in self.sim.honest:
            self.send(name, payload, channel)

    def propose(self, *envelopes: bytes, time: int | None = None) -> None:
        """Put entries into the log, unexamined. It must lead."""
        for envelope in envelopes:
            stamped = WallMs(self.sim.wall if time is None else time)
            self.core.sequencer.propose(encode_entry(stamped, envelope))

    def silence(self, *channels: int) -> None:
        """Its own node says nothing more on these channels, so that only the attacker speaks for it."""
        before = self.sim.tap

        def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
            if source == self.id and target != self.id and channel in channels:
                return None
            return before(source, target, channel, payload)

        self.sim.tap = tap

    def overhear(self, channel: int = CONVERGENCE) -> list[tuple[str, bytes]]:
        """From now on, what others send to it, with who sent it."""
        heard: list[tuple[str, bytes]] = []
        before = self.sim.tap

        def tap(source: str, target: str, number: int, payload: bytes) -> bytes | None:
            if target == self.id and source != self.id and number == channel:
                heard.append((source, payload))
            return before(source, target, number, payload)

        self.sim.tap = tap
        return heard

    def collect(self, probe: Signed, *names: str) -> list[Signed]:
        """Show a probe to honest nodes and take their acks."""
        heard = self.overhear()
        for name in names:
            self.send(name, probe.encode())
        self.sim.step(20)
        acks = [Signed.decode(payload, Kind.ACK) for _, payload in heard if _is_ack_of(payload, probe)]
        return list({ack.signer: ack for ack in acks}.values())


def _is_ack_of(payload: bytes, probe: Signed) -> bool:
    try:
        return Ack.decode(Signed.decode(payload, Kind.ACK).body).probe == probe_digest(probe)
    except Exception:  # noqa: BLE001 - whatever else there was on the line
        return False
