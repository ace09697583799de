"""What must hold in every run, told apart from the faults that try to break it."""

from __future__ import annotations

from typing import Any

from sim_cluster import SimNode, Watcher

from govraft.core.codec.canonical import unpack
from govraft.core.codec.envelope import decode_envelope
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Kind, Lease, Probe, Signed, decode_kind
from govraft.core.model.commands import command_name, decode_command
from govraft.core.model.limits import ENTRY_BYTES
from govraft.errors import CertificateError, InputError


class StaleAllowError(AssertionError):
    """A node could allow on a state although a newer one was effective."""


class ForkError(AssertionError):
    """Two states of one seq were certified, or one node served another state than was certified."""


class CommandError(AssertionError):
    """An effective command was lost, or one worked twice."""


class ConvergenceWatcher(Watcher):
    """No node may allow at seq i once a certificate for j > i exists anywhere; certified states never fork.

    A certificate exists from the moment at which a leader has put one together that verifies, whether or not anybody
    ever receives it.
    """

    def __init__(self) -> None:
        self.certified_seq = 0
        self.certificates = 0
        self.unverified = 0
        self.allowed = 0
        self.roots: dict[int, bytes] = {}

    def started(self, node: SimNode) -> None:
        convergence: Any = node.core.convergence
        broadcast = convergence._broadcast

        def watched(payload: bytes, effects: Any) -> None:
            if decode_kind(payload) is Kind.LEASE:
                self._certified(convergence, Signed.decode(payload, Kind.LEASE))
            broadcast(payload, effects)

        convergence._broadcast = watched

    def _certified(self, convergence: Any, lease: Signed) -> None:
        try:
            verified = verify_lease(
                lease,
                convergence.epochs.electorates(Probe.decode(Lease.decode(lease.body).probe.body).checkpoint.seq),
                convergence._origin,
                convergence._cluster,
                convergence._timing,
                is_valid=convergence._is_valid,
            )
        except CertificateError:
            self.unverified += 1
            return
        checkpoint = verified.probe.checkpoint
        self.certificates += 1
        self.certified_seq = max(self.certified_seq, checkpoint.seq)
        if self.roots.setdefault(checkpoint.seq, checkpoint.root) != checkpoint.root:
            raise ForkError(f"two roots are certified at seq {checkpoint.seq}")

    def look(self, node: SimNode) -> None:
        lease = node.core.gate.standing().lease
        if lease is None:
            return
        self.allowed += 1
        if lease.seq < self.certified_seq:
            raise StaleAllowError(f"{node.id} allows at seq {lease.seq}; seq {self.certified_seq} is effective")
        if node.core.machine.lineage.root(lease.seq) != self.roots.get(lease.seq):
            raise ForkError(f"{node.id} serves another state at seq {lease.seq} than was certified")


def history(core: Any) -> list[tuple[str, str]]:
    """(command id, outcome) of each seq that a node has applied; the id is empty where an entry holds no command."""
    found = []
    for seq in range(2, core.machine.seq + 1):
        found.append((_command_id(core.entry(seq)), core.machine.leaf(seq).outcome))
    return found


def check_commands(histories: dict[str, list[tuple[str, str]]], effective: dict[str, int]) -> None:
    """Nothing that was reported effective is missing anywhere, and nothing has worked twice.

    Args:
        histories: `history` of each node, after healing.
        effective: The seq that was reported for each command id.
    """
    for node, entries in histories.items():
        worked = [command_id for command_id, outcome in entries if outcome == "applied"]
        doubled = {command_id for command_id in worked if worked.count(command_id) > 1}
        if doubled:
            raise CommandError(f"{node} applied {sorted(doubled)} more than once")
        for command_id, seq in effective.items():
            if seq - 2 >= len(entries) or entries[seq - 2] != (command_id, "applied"):
                raise CommandError(f"{node} lacks the effective command {command_id} at seq {seq}")


def _command_id(entry: bytes) -> str:
    try:
        opened = decode_envelope(unpack(entry, max_bytes=ENTRY_BYTES)["envelope"])
        return decode_command(command_name(opened.payload_type), opened.payload).command_id
    except (InputError, KeyError, TypeError):
        return ""
