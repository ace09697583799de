"""The leader's side: ask everybody, and make a lease once nobody can be serving an older state.

=========  =========================  ====================================================================
state      event                      then
=========  =========================  ====================================================================
idle       `begin`                    a probe goes to all; collecting
collecting  ack of the probe, too few  collecting
collecting  acks of a quorum of each   a lease goes to all; complete
            electorate, and of every
            outstanding holder
any        `begin`                    a new probe goes to all; collecting
=========  =========================  ====================================================================

The few latest rounds on the same state stay open side by side, so that a link slower than the heartbeat still
completes one; a round on a newer state gives up the older ones, and none is open longer than a grant runs.

Acks of earlier rounds still tell two things that never become untrue: which seq a node has moved on to, and the
latest nonce it made.

At the seq of a change of the electorate two electorates must agree, and an id whose key the change replaces is two
nodes: acks and nonces are kept by id and key.

A round is open, and an ack tells that a holder has moved on, for at most L(1-ρ) after the probe went out: a member
whose store is lost is silent for longer, and what it signed in its earlier life then proves nothing any more
(`node/late_store.py`).

Nothing here is trusted by anybody: a leader that breaks these rules makes leases that holders reject.

Source: protocol, "The round", steps 2 and 4, and "Epochs".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, format_note
from govraft.core.convergence.certificate import count_quorum, key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Sign, Signed, probe_digest, sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.units import BoottimeNs, WallMs

__all__ = ["RoundLeader"]

ROUNDS_OPEN_MAX = 8

_Node = tuple[str, bytes]
"""Node id and public key."""


class _Heard(msgspec.Struct, frozen=True):
    """The latest a node said: its highest ack with its time, and its newest nonce with when it arrived.

    Attributes:
        asked: When the probe that it answers went out; None if that was too long ago to know.
    """

    ack: Signed
    seq: int
    time_s: int
    nonce: bytes
    at: BoottimeNs
    asked: BoottimeNs | None


class _Open(msgspec.Struct):
    """A round that is collecting acks."""

    probe: Signed
    content: Probe
    electorates: tuple[Electorate, ...]
    acks: dict[_Node, tuple[Signed, Ack]]
    began: BoottimeNs


class RoundLeader:
    """Collects acks and makes leases for as long as the node styles itself leader.

    Args:
        timing: From genesis.
        recent_ns: A holder silent for longer gets no further grant: every grant to a node that is gone makes the next
            command wait until the grant is over.
    """

    def __init__(
        self,
        *,
        node_id: str,
        origin: str,
        cluster: bytes,
        timing: LeaseTiming,
        recent_ns: int,
        signing: Sign,
    ) -> None:
        self._node_id = node_id
        self._origin = origin
        self._cluster = cluster
        self._timing = timing
        self._recent_ns, self._open_ns = recent_ns, timing.hold_ns
        self._signing = signing
        self._heard: dict[_Node, _Heard] = {}
        self._round = 0
        self._open: dict[bytes, _Open] = {}
        self.completed = 0
        """How many rounds have come to a lease."""
        self._began: dict[bytes, BoottimeNs] = {}

    def begin(
        self,
        *,
        seq: int,
        root: bytes,
        sections: Mapping[str, bytes],
        electorates: tuple[Electorate, ...],
        term: int,
        now: BoottimeNs,
        wall: WallMs,
    ) -> Signed:
        """Open a new round on the state that this node holds.

        Args:
            seq: Of that state.
            root: Its lineage root.
            sections: The digests of its sections.
            electorates: Whose quorums it takes: that of its epoch, after the one before it where it takes both.
            term: In which this node believes to lead.
            now: Boot time.
            wall: Wall time.

        Returns:
            The probe, for every member, this node included.
        """
        self._round += 1
        self._heard = {node: heard for node, heard in self._heard.items() if _is_of(node, electorates)}
        # From a change on, grants are for the members after it, under their keys of then.
        recent = {
            node[0]: heard.nonce
            for node, heard in self._heard.items()
            if now - heard.at < self._recent_ns and _is_of(node, electorates[-1:])
        }
        probe = Probe(
            epoch=electorates[-1].epoch,
            term=term,
            round=self._round,
            leader=self._node_id,
            checkpoint=Checkpoint(self._origin, seq, root),
            sections=dict(sections),
            grants=recent,
            wall=wall,
        )
        signed = sign(Kind.PROBE, probe.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)
        self._close_old(now)
        same = [(key, item) for key, item in self._open.items() if _state(item.content) == _state(probe)]
        self._open = dict(same[-(ROUNDS_OPEN_MAX - 1) :])
        digest = probe_digest(signed)
        self._open[digest] = _Open(signed, probe, electorates, {}, now)
        self._began = {key: began for key, began in self._began.items() if now - began < self._open_ns}
        self._began[digest] = now
        return signed

    def _close_old(self, now: BoottimeNs) -> None:
        """Give up the rounds that began a lease ago: acks of today would come too late for their grants."""
        self._open = {key: item for key, item in self._open.items() if now - item.began < self._open_ns}

    def close(self) -> None:
        """Stop leading: the open rounds are given up."""
        self._open = {}

    def progress(self, member: Member, now: BoottimeNs) -> int | None:
        """The highest seq that a member has acked, if it was heard of recently."""
        heard = self._heard.get((member.id, member.public_key))
        return None if heard is None or now - heard.at >= self._recent_ns else heard.seq

    def take(self, signed: Signed, ack: Ack, member: Member, now: BoottimeNs) -> Signed | None:
        """Take an ack whose signatures have been verified, both with the key of `member`, whose id is `ack.node`.

        Returns:
            The lease, for every member, if this ack completes a round.
        """
        self._close_old(now)
        newest = next(reversed(self._open.values()), None)
        if newest is not None and not self._is_timely(ack.time_s, newest):
            # A lease with it would be none: its node is as good as silent.
            return None
        node = (member.id, member.public_key)
        before = self._heard.get(node)
        if before is None or ack.seq >= before.seq:
            self._heard[node] = _Heard(signed, ack.seq, ack.time_s, ack.nonce, now, self._began.get(ack.probe))
        # SAFETY: nobody who has forgotten an ack of this round, and has said so to the others, is counted on it
        # (test_round.py::test_a_round_is_not_open_for_longer_than_a_lease).
        self._close_old(now)
        answered = self._open.get(ack.probe)
        if answered is not None and _names(ack, answered.content) and self._is_timely(ack.time_s, answered):
            answered.acks[node] = (signed, ack)
        # An ack of one round can also be the one that another was waiting for: it proves that a holder moved on.
        for opened in reversed(self._open.values()):
            evidence = self._evidence(opened, now)
            if evidence is not None:
                return self._complete(opened, evidence)
        return None

    def _complete(self, opened: _Open, evidence: tuple[Signed, ...]) -> Signed:
        number = opened.content.round
        self.completed += 1
        # At a change the rounds that both electorates take part in are over with the first that is complete.
        later = {key: item for key, item in self._open.items() if item.content.round > number}
        self._open = later if len(opened.electorates) == 1 else {}
        lease = Lease(opened.probe, evidence, self._certificate(opened))
        return sign(Kind.LEASE, lease.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)

    def _evidence(self, opened: _Open, now: BoottimeNs) -> tuple[Signed, ...] | None:
        """The acks that prove the round, or None while some are missing.

        A voter whose outstanding holders have not all moved on is left out while it waits for them: if the others are a
        quorum, one voter that names a holder which never answers does not stop the cluster.
        """
        moved_on = self._moved_on(opened, now)
        # Holders of older leases hold them under their keys of before the change.
        holders = {node[0]: node for node in moved_on if _is_of(node, opened.electorates[:1])}
        voters = _voters(opened)
        granting = {
            node: ack
            for node, (_, ack) in opened.acks.items()
            if node in voters and holders.keys() >= set(ack.outstanding)
        }
        if count_quorum(set(granting), opened.electorates) is not None:
            return None
        needed = set(granting).union(holders[name] for ack in granting.values() for name in ack.outstanding)
        return tuple(moved_on[node] for node in sorted(needed))

    def _moved_on(self, opened: _Open, now: BoottimeNs) -> dict[_Node, Signed]:
        """For each node known to have acked the round's seq or a higher one, the ack that shows it."""
        seq = opened.content.checkpoint.seq
        # SAFETY: a holder whose store is lost may serve an older state again, a lease after it said that it moved on
        # (test_round.py::test_who_moved_on_long_ago_must_say_so_again).
        later = {
            node: heard.ack
            for node, heard in self._heard.items()
            if heard.seq >= seq
            and heard.asked is not None
            and now - heard.asked < self._open_ns
            and self._is_timely(heard.time_s, opened)
        }
        return later | {node: signed for node, (signed, _) in opened.acks.items()}

    def _is_timely(self, time_s: int, opened: _Open) -> bool:
        return self._timing.is_timely(time_s, opened.content.wall)

    def _certificate(self, opened: _Open) -> bytes:
        voters, signatures = _voters(opened), []
        for node in sorted(opened.acks.keys() & voters):
            ack = opened.acks[node][1]
            name = key_name(self._origin, node[0])
            key_id = cosignature_key_id(name, node[1])
            signatures.append(NoteSignature(name, key_id, ack.time_s, ack.cosignature))
        return format_note(Note(opened.content.checkpoint.encode(), tuple(signatures)))


def _names(ack: Ack, probe: Probe) -> bool:
    """Whether an ack of that probe also names its round and checkpoint, as each honest one does."""
    checkpoint = probe.checkpoint
    return (ack.round, ack.seq, ack.root) == (probe.round, checkpoint.seq, checkpoint.root)


def _voters(opened: _Open) -> set[_Node]:
    return {(voter.id, voter.public_key) for electorate in opened.electorates for voter in electorate.voters}


def _is_of(node: _Node, electorates: tuple[Electorate, ...]) -> bool:
    """Whether one of the electorates has that id under that key."""
    found = (electorate.find(node[0]) for electorate in electorates)
    return any(member is not None and member.public_key == node[1] for member in found)


def _state(probe: Probe) -> tuple[int, int, int, bytes]:
    return probe.epoch, probe.term, probe.checkpoint.seq, probe.checkpoint.root
