"""The leader's side: ask everybody, and make a lease once nobody can be serving an older state.

=========  =========================  ====================================================================
state      event                      then
=========  =========================  ====================================================================
idle       `begin`                    a probe goes to all; collecting
collecting  ack of the probe, too few  collecting
collecting  acks of a quorum, and of   a lease goes to all; complete
            every outstanding holder
any        `begin`                    a new probe goes to all; collecting
=========  =========================  ====================================================================

The few latest rounds on the same state stay open side by side, so that a link slower than the heartbeat still
completes one; a round on a newer state gives up the older ones.

Acks of earlier rounds still tell two things that never become untrue: which seq a node has moved on to, and the
latest nonce it made.

Nothing here is trusted by anybody: a leader that breaks these rules makes leases that holders reject.

Source: protocol, "The round", steps 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Sign, Signed, probe_digest, sign
from govraft.core.model.electorate import Electorate
from govraft.core.model.units import BoottimeNs

__all__ = ["RoundLeader"]

ROUNDS_OPEN_MAX = 8


class _Heard(msgspec.Struct, frozen=True):
    """The latest a node said: its highest ack, and its newest nonce with when it arrived."""

    ack: Signed
    seq: int
    nonce: bytes
    at: BoottimeNs


class _Open(msgspec.Struct):
    """A round that is collecting acks."""

    probe: Signed
    content: Probe
    acks: dict[str, tuple[Signed, Ack]]


class RoundLeader:
    """Collects acks and makes leases for as long as the node styles itself leader.

    Args:
        recent_ns: A holder silent for longer gets no further grant: every grant to a node that is gone makes the next
            command wait until the grant is over.
    """

    def __init__(self, *, node_id: str, origin: str, cluster: bytes, recent_ns: int, signing: Sign) -> None:
        self._node_id = node_id
        self._origin = origin
        self._cluster = cluster
        self._recent_ns = recent_ns
        self._signing = signing
        self._heard: dict[str, _Heard] = {}
        self._round = 0
        self._open: dict[bytes, _Open] = {}

    def begin(
        self, *, seq: int, root: bytes, sections: Mapping[str, bytes], epoch: int, term: int, now: BoottimeNs
    ) -> Signed:
        """Open a new round on the state that this node holds.

        Returns:
            The probe, for every member, this node included.
        """
        self._round += 1
        recent = {node: heard.nonce for node, heard in self._heard.items() if now - heard.at < self._recent_ns}
        probe = Probe(
            epoch=epoch,
            term=term,
            round=self._round,
            leader=self._node_id,
            checkpoint=Checkpoint(self._origin, seq, root),
            sections=dict(sections),
            grants=recent,
        )
        signed = sign(Kind.PROBE, probe.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)
        same = [(key, item) for key, item in self._open.items() if _state(item.content) == _state(probe)]
        self._open = dict(same[-(ROUNDS_OPEN_MAX - 1) :])
        self._open[probe_digest(signed)] = _Open(signed, probe, {})
        return signed

    def close(self) -> None:
        """Stop leading: the open rounds are given up."""
        self._open = {}

    def take(self, signed: Signed, ack: Ack, electorate: Electorate, now: BoottimeNs) -> Signed | None:
        """Take an ack whose signatures have been verified and whose signer is `ack.node`.

        Returns:
            The lease, for every member, if this ack completes a round.
        """
        before = self._heard.get(ack.node)
        if before is None or ack.seq >= before.seq:
            self._heard[ack.node] = _Heard(signed, ack.seq, ack.nonce, now)
        answered = self._open.get(ack.probe)
        if answered is not None and _names(ack, answered.content):
            answered.acks[ack.node] = (signed, ack)
        # An ack of one round can also be the one that another was waiting for: it proves that a holder moved on.
        for opened in reversed(self._open.values()):
            evidence = self._evidence(opened, electorate)
            if evidence is not None:
                return self._complete(opened, evidence, electorate)
        return None

    def _complete(self, opened: _Open, evidence: tuple[Signed, ...], electorate: Electorate) -> Signed:
        number = opened.content.round
        self._open = {key: item for key, item in self._open.items() if item.content.round > number}
        lease = Lease(opened.probe, evidence, self._certificate(opened, electorate))
        return sign(Kind.LEASE, lease.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)

    def _evidence(self, opened: _Open, electorate: Electorate) -> tuple[Signed, ...] | None:
        """The acks that prove the round, or None while some are missing.

        A voter whose outstanding holders have not all moved on is left out while it waits for them: if the others are a
        quorum, one voter that names a holder which never answers does not stop the cluster.
        """
        moved_on = self._moved_on(opened)
        voters = {member.id for member in electorate.voters}
        granting = {
            node: ack
            for node, (_, ack) in opened.acks.items()
            if node in voters and moved_on.keys() >= set(ack.outstanding)
        }
        if len(granting) < electorate.quorum_count:
            return None
        needed = set(granting).union(*(ack.outstanding for ack in granting.values()))
        return tuple(moved_on[node] for node in sorted(needed))

    def _moved_on(self, opened: _Open) -> dict[str, Signed]:
        """For each node known to have acked the round's seq or a higher one, the ack that shows it."""
        seq = opened.content.checkpoint.seq
        later = {node: heard.ack for node, heard in self._heard.items() if heard.seq >= seq}
        return later | {node: signed for node, (signed, _) in opened.acks.items()}

    def _certificate(self, opened: _Open, electorate: Electorate) -> bytes:
        signatures = []
        for node, (_, ack) in sorted(opened.acks.items()):
            member = electorate.find(node)
            if member is not None and member.voter:
                name = key_name(self._origin, node)
                key_id = cosignature_key_id(name, member.public_key)
                signatures.append(NoteSignature(name, key_id, ack.time_s, ack.cosignature))
        return format_note(Note(opened.content.checkpoint.encode(), tuple(signatures)))


def _names(ack: Ack, probe: Probe) -> bool:
    """Whether an ack of that probe also names its round and checkpoint, as each honest one does."""
    checkpoint = probe.checkpoint
    return (ack.round, ack.seq, ack.root) == (probe.round, checkpoint.seq, checkpoint.root)


def _state(probe: Probe) -> tuple[int, int, int, bytes]:
    return probe.epoch, probe.term, probe.checkpoint.seq, probe.checkpoint.root
