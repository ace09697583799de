"""The holder: until when may this node serve, and on which state?

A lease is counted from when its nonce was made, never from when it arrived: between the two lies everything that
can delay a message, and the voters' clocks run from their acks, which came after the nonce.

Before a node acks a seq it calls `stop_below(seq)`; from then on no lease on an older state is held or accepted.

Source: protocol, "The round", steps 1 and 5; "The gate", rules 1 and 5.
"""

from __future__ import annotations

import msgspec

from govraft.core.convergence.certificate import VerifiedLease
from govraft.core.convergence.messages import NONCE_BYTES, Probe
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.errors import InvariantViolation, require

__all__ = ["HeldLease", "Holder"]

NONCES_MAX = 4_096


class _Made(msgspec.Struct, frozen=True):
    """When a nonce was made, on both clocks."""

    boottime: BoottimeNs
    wall: WallMs


class HeldLease(msgspec.Struct, frozen=True):
    """The permission to serve one certified state for a while.

    Attributes:
        seq, root, sections, epoch, term, leader: Of the certified round.
        begin: Boot time at which the lease's nonce was made.
        wall: Wall time at that moment.
        end: Boot time from which the lease must not be used.
        note: The quorum certificate's text.
    """

    seq: int
    root: bytes
    sections: dict[str, bytes]
    epoch: int
    term: int
    leader: str
    begin: BoottimeNs
    wall: WallMs
    end: BoottimeNs
    note: bytes

    def is_live(self, now: BoottimeNs) -> bool:
        """Whether the lease may be used now."""
        return self.begin <= now < self.end

    def jumped_ms(self, now: BoottimeNs, wall: WallMs) -> int:
        """By how much more the wall clock has moved than the boot clock since the lease began.

        They part when a machine resumes from a snapshot or its clock is stepped: in either case nobody can say
        how much time has really passed.
        """
        moved_ms = (now - self.begin) // NS_PER_MS
        return (wall - self.wall) - moved_ms


class Holder:
    """The leases of one node."""

    def __init__(self, *, node_id: str, timing: LeaseTiming) -> None:
        self._node_id = node_id
        self._timing = timing
        self._made: dict[bytes, _Made] = {}
        self._floor = 0
        self.lease: HeldLease | None = None

    def remember_nonce(self, nonce: bytes, now: BoottimeNs, wall: WallMs) -> None:
        """Note when a fresh random nonce was made; it goes out with the next ack."""
        require(len(nonce) == NONCE_BYTES and nonce not in self._made, "a nonce must be fresh")
        while self._made:
            oldest = next(iter(self._made))
            if now < self._timing.lease_end(self._made[oldest].boottime) and len(self._made) < NONCES_MAX:
                break
            del self._made[oldest]
        self._made[nonce] = _Made(now, wall)

    def stop_below(self, seq: int) -> None:
        """Stop serving every state older than `seq`, for good."""
        self._floor = max(self._floor, seq)
        if self.lease is not None and self.lease.seq < self._floor:
            self.lease = None

    def apart_ms(self, probe: Probe, now: BoottimeNs, wall: WallMs) -> tuple[int, bool]:
        """By how much this node's wall clock differs from that of a probe's leader, as `LeaseTiming.apart_ms`.

        Two moments of the own clocks enclose the signing of a probe that grants an own nonce: when that was made, and
        now. Of any other probe nobody knows how long it was on its way.

        Returns:
            The difference, and whether the probe grants a nonce that this node still remembers: if not, the difference
            may be delay.
        """
        leader = probe.wall
        if leader is None:
            raise InvariantViolation("a probe without a wall clock is never answered or used")
        made = self._made.get(probe.grants.get(self._node_id, b""))
        if made is None or now >= self._timing.lease_end(made.boottime):
            return self._timing.apart_ms(leader, wall, wall), False
        # A clock that was set forward meanwhile showed less at the moment of the nonce than it would now.
        since = WallMs(max(made.wall, wall - self._timing.grant_ns // NS_PER_MS))
        return self._timing.apart_ms(leader, since, wall), True

    def accept(self, verified: VerifiedLease, now: BoottimeNs, wall: WallMs) -> bool:
        """Take a verified lease if it grants this node more than it has.

        Returns:
            Whether a lease is held because of it.
        """
        probe = verified.probe
        nonce = probe.grants.get(self._node_id)
        made = self._made.get(nonce) if nonce is not None else None
        # SAFETY: after acking j no lease below j counts (test_holder.py::test_no_lease_below_the_floor).
        if made is None or probe.checkpoint.seq < self._floor:
            return False
        # SAFETY: counted from when the nonce was made (test_holder.py::test_a_lease_counts_from_its_nonce).
        end = self._timing.lease_end(made.boottime)
        if now >= end:
            return False
        # SAFETY: by the lease's own probe, whose time a quorum acked: what this node acked may have been another one,
        # made for it alone (test_wall_clocks.py::test_a_private_probe_with_the_wrong_time_gets_no_lease).
        if probe.foreign or self.apart_ms(probe, now, wall)[0]:
            return False
        held = self.lease
        newer = held is None or (probe.checkpoint.seq, probe.term, end) > (held.seq, held.term, held.end)
        if newer:
            self.lease = HeldLease(
                seq=probe.checkpoint.seq,
                root=probe.checkpoint.root,
                sections=dict(probe.sections),
                epoch=probe.epoch,
                term=probe.term,
                leader=probe.leader,
                begin=made.boottime,
                wall=made.wall,
                end=end,
                note=verified.note,
            )
        return newer

    def drop(self) -> None:
        """Forget the lease and every nonce: nothing granted so far may be used any more."""
        self.lease = None
        self._made.clear()
