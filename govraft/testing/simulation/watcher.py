"""What must hold at every moment of every run, watched while it happens.

=====================  ================================================================================================
`stale_allow`          no node may allow at a seq below one that is effective; a certificate exists from the moment at
                       which a leader has put together one that verifies, whether or not anybody ever receives it
`fork`                 two roots are certified for one seq, or a node could allow on a state that is not the certified
`held_below_ack`       a node that has acked a seq holds no lease on a lower one, live or not
`signed_seq_fell`      a node acked a lower seq than before, in any of its lives, or another root at the same seq
`sent_before_durable`  a frame or an answer spoke of a vote, an entry, an ack or a leaf that the disk does not hold
`unverified_lease`     a leader that was not made careless put together a lease that does not verify
`halted`               a broken invariant, or a store refused, though nothing was done to engine or disk
`isolated`             a node isolated itself, though no engine lies
=====================  ================================================================================================

`epoch_watcher` adds what must hold of electorates, `permit_watcher` what must hold of permits. A watcher changes
nothing, and knows nothing of the faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from govraft.adapters.engine.frames import NextNodeIndex, RequestVote, ResponseVote, decode_frame
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, decode_kind
from govraft.core.machine.entry import entry_digest
from govraft.core.model.units import NS_PER_MS
from govraft.errors import CertificateError, CorruptionError, InputError, InvariantViolation
from govraft.node.convergence import CONVERGENCE_CHANNEL
from govraft.node.core import RAFT_CHANNEL
from govraft.node.effects import Send
from govraft.node.late_store import OLDER_THAN_OWN_SIGNATURES
from govraft.testing.history import Certificate, NodeState
from govraft.testing.simulation.commands import command_id_of
from govraft.testing.simulation.epoch_watcher import EpochWatcher
from govraft.testing.simulation.permit_watcher import PermitWatcher

if TYPE_CHECKING:
    from govraft.testing.simulation.host import Host
    from govraft.testing.simulation.world import World

__all__ = ["Finding", "Watcher"]

FINDINGS_OF_EACH = 5
"""A broken run breaks the same rule a thousand times; that must not hide the others."""


class Finding(msgspec.Struct, frozen=True):
    """Something that must never be."""

    at: int
    rule: str
    node: str
    detail: str


class Watcher:
    """Of one run.

    Attributes:
        findings: What was broken, the first of each rule.
        certified_seq: The highest seq that is effective.
        certificates: How many came into being.
        unverified: Leases put together that would convince nobody.
        looks: How often a node that could allow was looked at.
        commands: Command id of each entry ever written, by its digest.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.findings: list[Finding] = []
        self.certified_seq = 0
        self.certificates = 0
        self.unverified = 0
        self.looks = 0
        self.roots: dict[int, bytes] = {}
        self.commands: dict[bytes, str] = {}
        self.endings: list[tuple[str, str, str]] = []
        self.isolated: set[str] = set()
        self._signed: dict[tuple[str, int], tuple[int, bytes]] = {}
        self.permits = PermitWatcher(world, self.find)
        self.chain = EpochWatcher(world.cast.genesis, world.cast.is_valid(), self.find)
        self._shown: dict[str, tuple[Any, ...]] = {}
        self._counts: dict[str, int] = {}
        self._is_fresh_promised = world.plan.configuration.is_fresh_promised

    def find(self, rule: str, node: str, detail: str) -> None:
        """Note that a rule is broken."""
        self._counts[rule] = self._counts.get(rule, 0) + 1
        if self._counts[rule] <= FINDINGS_OF_EACH:
            self.findings.append(Finding(self._world.now, rule, node, detail))
        self._world.trace.note(self._world.now, f"finding {rule}", node, detail.encode())

    # Lives.

    def started(self, host: Host) -> None:
        """A life began: watch what its leader puts together."""
        core = host.core
        if core is None:
            return
        convergence: Any = core.convergence
        broadcast = convergence._broadcast  # noqa: SLF001 - the only place that sees a lease before anybody gets it

        def watched(payload: bytes, effects: Any) -> None:
            self._put_together(host, payload)
            broadcast(payload, effects)

        convergence._broadcast = watched  # noqa: SLF001
        self.look(host)

    def lost(self, host: Host) -> None:
        """The node's store is lost: of what it signed, it must keep to what was certified."""
        cosigner = (host.name, host.generation)
        signed = self._signed.get(cosigner, (0, b""))
        if signed[0] > self.certified_seq:
            self._signed[cosigner] = (self.certified_seq, self.roots.get(self.certified_seq, b""))

    def died(self, host: Host) -> None:
        """A life ended."""
        self._show(host, ("down", 0, 0, 0, "", 0))

    def ended(self, host: Host, code: str, error: BaseException) -> None:
        """A node stopped of itself."""
        self.endings.append((host.name, code, f"{type(error).__name__}: {error}"))
        is_disk = not isinstance(error, CorruptionError) and not isinstance(error, InvariantViolation)
        is_rotten = bool(host.disk.damage) or host.disk.is_snapshot_rotten
        expected = is_rotten or (bool(host.disk.failure) and is_disk)
        if not expected and not self._world.plan.configuration.has_liar:
            self.find("halted", host.name, f"{code}: {type(error).__name__}: {error}")

    # Moments.

    def look(self, host: Host) -> None:
        """A node that runs, after its turn, or when a newer state has become effective."""
        core = host.core
        if core is None or host.is_paused:
            return
        if core.convergence.isolation is not None:
            self.isolated.add(host.name)
            is_mute = host.has_lost and core.convergence.isolation.reason == OLDER_THAN_OWN_SIGNATURES
            if not is_mute and not self._world.plan.configuration.has_liar:
                self.find("isolated", host.name, f"isolated itself: {core.convergence.isolation.detail}")
        self.chain.look(host)
        standing = core.gate.standing()
        lease = standing.lease
        signed = core.convergence.cosigner.acked
        sequencer = core.sequencer
        state = (
            "allow" if lease is not None else standing.reason.value,
            core.machine.seq,
            core.convergence.certified_seq,
            0 if host.disk.cosigner is None or signed is None else host.disk.cosigner.seq,
            sequencer.leader_hint or "",
            # In memory the term may be ahead of the disk; nobody is told of it before it is durable.
            host.disk.hard_state.term,
        )
        self._show(host, state)
        held = core.convergence.lease
        if held is not None and signed is not None and held.seq < signed.seq:
            self.find("held_below_ack", host.name, f"holds a lease at seq {held.seq}, has acked {signed.seq}")
        if lease is None:
            return
        self.looks += 1
        if lease.seq < self.certified_seq and self._is_fresh_promised:
            self.find("stale_allow", host.name, f"could allow at seq {lease.seq}; {self.certified_seq} is effective")
        self._look_at_the_clock(host)
        if core.machine.root != self.roots.get(lease.seq):
            self.find("fork", host.name, f"could allow on another state at seq {lease.seq} than was certified")

    def _look_at_the_clock(self, host: Host) -> None:
        """Whoever may allow tells about the time that a quorum tells."""
        core, now = host.core, self._world.now
        if core is None or not self._is_fresh_promised:
            return
        timing, wall = core.timing, host.clock.wall()
        most_ms = 4 * (timing.skew_ms + timing.grant_ns // NS_PER_MS)
        # Clocks may have been set since the round, and rotated or new members are not all hosts by their id.
        recent, electorate = 6 * timing.grant_ns, core.epochs.certified
        hosts = [self._world.hosts.get(voter.id) for voter in electorate.voters]
        near = sum(
            other is None or now - other.clock.stepped_at < recent or abs(other.clock.wall() - wall) <= most_ms
            for other in hosts
        )
        if near < electorate.quorum_count:
            self.find("wall_apart", host.name, f"could allow by a wall clock that {near} voters have")

    def appended(self, payload: bytes) -> None:
        """An entry is being written somewhere."""
        entry = payload[1:]
        name = entry_digest(entry)
        if name not in self.commands:
            self.commands[name] = command_id_of(entry)

    def sending(self, host: Host, send: Send) -> None:
        """A frame is about to leave."""
        try:
            if send.channel == RAFT_CHANNEL and host.name not in self._world.distrusted:
                self._sending_raft(host, send.payload)
            elif send.channel == CONVERGENCE_CHANNEL and decode_kind(send.payload) is Kind.ACK:
                self._sending_ack(host, Ack.decode(Signed.decode(send.payload, Kind.ACK).body))
        except InputError as error:
            self.find("malformed", host.name, f"sends what nobody can read: {error}")

    def _sending_raft(self, host: Host, frame: bytes) -> None:
        message, disk = decode_frame(frame), host.disk
        if isinstance(message, NextNodeIndex):
            if message.success and message.next_index - 1 > disk.last_index:
                self._early(host, f"acknowledges index {message.next_index - 1}, the disk ends at {disk.last_index}")
        elif isinstance(message, ResponseVote | RequestVote) and disk.hard_state.term < message.term:
            self._early(host, f"speaks of term {message.term}, the disk of {disk.hard_state.term}")

    def _sending_ack(self, host: Host, ack: Ack) -> None:
        record = host.disk.cosigner
        if record is None or record.seq < ack.seq:
            self._early(host, f"acks seq {ack.seq}, the disk tells {None if record is None else record.seq}")
        self.chain.acking(host, ack)
        # Another key is another cosigner.
        cosigner = (host.name, host.generation)
        before = self._signed.get(cosigner)
        if before is not None and (ack.seq < before[0] or (ack.seq == before[0] and ack.root != before[1])):
            self.find("signed_seq_fell", host.name, f"acks seq {ack.seq} after seq {before[0]}")
        self._signed[cosigner] = (ack.seq, ack.root)

    def answering(self, host: Host, seq: int) -> None:
        """A receipt for a seq is about to be given."""
        if len(host.disk.leaves) < seq:
            self._early(host, f"answers for seq {seq}, the disk ends at {len(host.disk.leaves)}")

    def _early(self, host: Host, detail: str) -> None:
        self.find("sent_before_durable", host.name, detail)

    # Certificates.

    def _put_together(self, host: Host, payload: bytes) -> None:
        if decode_kind(payload) is not Kind.LEASE or host.core is None:
            return
        signed = Signed.decode(payload, Kind.LEASE)
        opened = Lease.decode(signed.body)
        checkpoint = Probe.decode(opened.probe.body).checkpoint
        if self.roots.get(checkpoint.seq) == checkpoint.root and checkpoint.seq <= self.certified_seq:
            self.certificates += 1
            return
        judges = self.chain.judges(host, checkpoint.seq)
        if not judges:
            return
        machine = host.core.machine
        cluster = bytes.fromhex(machine.genesis.cluster_id)
        try:
            is_valid = self._world.cast.is_valid()
            verify_lease(signed, judges, machine.genesis.origin, cluster, host.core.timing, is_valid=is_valid)
        except CertificateError as error:
            if host.name in self._world.careless:
                return
            self.unverified += 1
            self.find("unverified_lease", host.name, f"puts together what convinces nobody: {error}")
            return
        lacking = self.chain.lacking(opened, checkpoint, judges)
        if lacking:
            self.find("unverified_lease", host.name, f"puts seq {checkpoint.seq} together, {lacking}")
            return
        self.certificates += 1
        self.chain.put_together(checkpoint.seq, judges)
        leaf = machine.leaf(checkpoint.seq)
        state_root = "" if leaf is None else leaf.state_root.hex()
        now = self._world.now
        self._world.history.append(Certificate(now, checkpoint.seq, checkpoint.root.hex(), state_root, host.name))
        self._world.trace.note(now, f"certificate {checkpoint.seq}", host.name, checkpoint.root)
        if self.roots.setdefault(checkpoint.seq, checkpoint.root) != checkpoint.root:
            self.find("fork", host.name, f"a second root is certified at seq {checkpoint.seq}")
        if checkpoint.seq > self.certified_seq:
            self.certified_seq = checkpoint.seq
            for other in self._world.hosts.values():
                self.look(other)

    def _show(self, host: Host, state: tuple[Any, ...]) -> None:
        if self._shown.get(host.label) != (host.life, state):
            self._shown[host.label] = (host.life, state)
            standing, seq, certified, signed, leader, term = state
            self._world.history.append(
                NodeState(self._world.now, host.label, host.life, standing, seq, certified, signed, leader, term)
            )
