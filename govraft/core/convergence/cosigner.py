"""The cosigner: which probes a node answers.

A node acks a probe only if all of these hold; each refusal has its own name.

======================  =====================================================================================
refusal                 unless
======================  =====================================================================================
`isolated`              the node is not isolated
`not_leader`            the sender is the node's own Raft leader, in the node's own Raft term
`foreign`               the probe says all that this version asks for, and nothing that it does not know
`restarting`            the node has been up for L(1+ρ), or had never run before
`late`                  its store knows all that the node may have acked (`node/late_store.py`)
`behind`                it has applied the probe's seq (the probe is kept, and answered once it has)
`forgotten`             it still remembers its own leaf at that seq
`divergent`             origin, root and sections at that seq are its own
`epoch_uncertified`     it holds the certificate of each change of the electorate below that seq (kept too)
`wrong_epoch`           the probe is of the electorate at that seq, and its sender one of its members
`not_member`            the node itself is one of them, under its own key
`regressed`             it has never acked a higher seq, nor another root at this one
`lineage_changed`       its lineage at its last signed seq still has the root that it signed
`clock_apart`           its own wall clock can have been near the leader's when the probe was signed
`clock_ahead`           the newest entry's time is not far ahead of its own wall clock
======================  =====================================================================================

At the seq that changes its own key a node that still has the key of before acks under both: the quorum of the old
electorate may need the one, that of the new electorate the other, for one and the same probe.

The highest acked seq, with its root, must be durable before the ack leaves. Grants live in memory only: that is
why a restarted node waits until every grant it may have made is over.

Source: protocol, "The round", step 3, and "Epochs".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.messages import Ack, Kind, Probe, Sign, Signed, probe_digest, sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.electorate import Electorate
from govraft.core.model.units import BoottimeNs, WallMs
from govraft.errors import require

__all__ = ["Acked", "Answer", "Cosigner", "FormerKey", "Held", "Refusal", "View"]


class Refusal(StrEnum):
    """Why a probe is not answered."""

    ISOLATED = "isolated"
    NOT_LEADER = "not_leader"
    WRONG_EPOCH = "wrong_epoch"
    FOREIGN = "foreign"
    RESTARTING = "restarting"
    LATE = "late"
    BEHIND = "behind"
    EPOCH_UNCERTIFIED = "epoch_uncertified"
    NOT_MEMBER = "not_member"
    FORGOTTEN = "forgotten"
    DIVERGENT = "divergent"
    REGRESSED = "regressed"
    LINEAGE_CHANGED = "lineage_changed"
    CLOCK_APART = "clock_apart"
    CLOCK_AHEAD = "clock_ahead"


class Held(msgspec.Struct, frozen=True):
    """What the node itself holds at one seq."""

    root: bytes
    sections: Mapping[str, bytes]


class View(Protocol):
    """What the cosigner needs to know of its node, now."""

    boottime: BoottimeNs
    wall: WallMs
    leader_hint: str | None
    term: int
    applied: int
    uncertified: int | None
    """The seq of the first applied change of the electorate whose certificate the node does not hold."""
    newest_time: WallMs
    isolated: bool

    def electorates(self, seq: int) -> tuple[Electorate, ...]:
        """Whose quorums certify that seq: those of one electorate; of two at `uncertified`; of none if out of reach."""
        ...

    def held(self, seq: int) -> Held | None:
        """Root and sections at an applied seq, or None if the leaf is no longer remembered."""
        ...

    def root(self, seq: int) -> bytes:
        """The lineage root at an applied seq."""
        ...

    def apart_ms(self, probe: Probe) -> int:
        """By how much its wall clock differs from that of the probe's leader; 0 if it may be within the skew."""
        ...


class FormerKey(NamedTuple):
    """The key that a node had before its own was changed."""

    public_key: bytes
    signing: Sign


class Acked(msgspec.Struct, frozen=True):
    """The highest seq ever acked, with the root it had. Durable, and it only grows."""

    seq: int
    root: bytes


class Answer(msgspec.Struct, frozen=True):
    """A signed ack, and what must be durable before it leaves (None: it already is)."""

    ack: Signed
    seq: int
    record: Acked | None


class Cosigner:
    """The durable monotone cosigner state of one node, and its grants.

    Args:
        node_id: This node.
        public_key: Its key.
        origin: `govraft.dev/<cluster id>`; no checkpoint of another origin is ever cosigned.
        cluster: 32-byte cluster digest.
        timing: From genesis.
        signing: Signs with the node's key.
        acked: The durable record of an earlier life, if any.
        started: When this process started, boot time.
        has_run_before: False only on the very first start of this node.
        is_late: Whether the store may have forgotten what the node acked; until `settle`.
    """

    def __init__(
        self,
        *,
        node_id: str,
        public_key: bytes,
        origin: str,
        cluster: bytes,
        timing: LeaseTiming,
        signing: Sign,
        acked: Acked | None,
        started: BoottimeNs,
        has_run_before: bool,
        is_late: bool = False,
    ) -> None:
        self._node_id = node_id
        self._public_key = public_key
        self._origin = origin
        self._cluster = cluster
        self._timing = timing
        self._signing = signing
        self._ready_at = timing.grant_end(started) if has_run_before or is_late else started
        self._grants: dict[str, dict[int, BoottimeNs]] = {}
        self._cosignature: tuple[bytes, int, bytes] | None = None
        self.acked = acked
        self.is_late = is_late

    def answer(self, signed: Signed, probe: Probe, nonce: bytes, view: View) -> Answer | Refusal:
        """Decide about a probe whose signature has been verified and whose signer is a member.

        Returns:
            The ack and the record that must be durable before it leaves, or why there is none. On `BEHIND` the
            caller keeps the probe and asks again after applying more.
        """
        refusal = self._refusal(signed, probe, view)
        if refusal is not None:
            return refusal
        checkpoint, now = probe.checkpoint, view.boottime
        outstanding = self._outstanding(checkpoint.seq, now)
        # SAFETY: grants are recorded before the ack exists, so no certificate can carry a grant that this voter
        # does not count as outstanding (test_cosigner.py::test_grants_are_outstanding_from_the_ack_on).
        end = self._timing.grant_end(now)
        # From a change of the electorate on, grants are for the members after it: nobody else may use one.
        members = {member.id for member in view.electorates(checkpoint.seq)[-1].members}
        for holder in probe.grants.keys() & members:
            self._grants.setdefault(holder, {})[checkpoint.seq] = end
        record = None
        if self.acked is None or checkpoint.seq > self.acked.seq:
            record = self.acked = Acked(checkpoint.seq, checkpoint.root)
        time_s, cosignature = self._cosign(checkpoint.encode(), view.wall)
        ack = Ack(
            probe=probe_digest(signed),
            round=probe.round,
            seq=checkpoint.seq,
            root=checkpoint.root,
            node=self._node_id,
            nonce=nonce,
            outstanding=outstanding,
            time_s=time_s,
            cosignature=cosignature,
        )
        author = sign(Kind.ACK, ack.encode(), signer=self._node_id, cluster=self._cluster, signing=self._signing)
        return Answer(author, checkpoint.seq, record)

    def repeat(self, ack: Signed, former: FormerKey) -> Signed:
        """The same ack under the node's former key: one store remembers what was promised under either.

        Args:
            ack: This node's own, of a probe at the seq that changes its key.
            former: The key of before.
        """
        said = Ack.decode(ack.body)
        body = Checkpoint(self._origin, said.seq, said.root).encode()
        said = msgspec.structs.replace(said, cosignature=former.signing(cosigned_message(body, said.time_s)))
        return sign(Kind.ACK, said.encode(), signer=self._node_id, cluster=self._cluster, signing=former.signing)

    def is_ready(self, now: BoottimeNs) -> bool:
        """Whether every grant of an earlier life is over."""
        return now >= self._ready_at

    def settle(self, floor: Acked | None) -> None:
        """Nothing below `floor` was ever acked by others, or may be acked here: the store is not late any more."""
        require(self.is_late and self.acked is None, "only a late store has nothing acked")
        self.acked, self.is_late = floor, False

    def forget_below(self, seq: int) -> None:
        """Forget the grants of lower seqs: a lease for `seq`, verified whole, has been seen.

        Args:
            seq: At which the electorate changed.
        """
        # SAFETY: whoever was granted a lease below `seq` by a quorum shares an honest voter with the quorum that acked
        # `seq`, and that voter either saw the holder's own ack of `seq` or counted its grant as over. So what is
        # forgotten here is over, and no ack need name holders who may have left the electorate and never answer
        # (test_joint_cosigner.py::test_grants_below_a_certified_change_are_forgotten). A note alone would not do: it
        # does not show that anybody waited for the outstanding holders.
        for holder, ends in list(self._grants.items()):
            kept = {granted: end for granted, end in ends.items() if granted >= seq}
            if kept:
                self._grants[holder] = kept
            else:
                del self._grants[holder]

    def _refusal(self, signed: Signed, probe: Probe, view: View) -> Refusal | None:
        checkpoint = probe.checkpoint
        if view.isolated:
            return Refusal.ISOLATED
        if probe.leader != signed.signer or probe.leader != view.leader_hint or probe.term != view.term:
            return Refusal.NOT_LEADER
        # SAFETY: nobody helps to certify a statement that it cannot read
        # (test_cosigner.py::test_each_condition_has_its_refusal).
        if probe.foreign:
            return Refusal.FOREIGN
        # SAFETY: grants of an earlier life are unknown to this one
        # (test_cosigner.py::test_a_restarted_node_waits_until_its_old_grants_are_over).
        if not self.is_ready(view.boottime):
            return Refusal.RESTARTING
        # SAFETY: a voter that has forgotten what it acked could help to certify a second history
        # (test_late_store.py::test_two_of_three_lost_stores_certify_no_second_history).
        if self.is_late:
            return Refusal.LATE
        if checkpoint.seq > view.applied:
            return Refusal.BEHIND
        refusal = self._difference(probe, view) or self._stranger(probe, view)
        if refusal is not None:
            return refusal
        # SAFETY: a node never acks below what it has acked (test_cosigner.py::test_a_lower_seq_is_never_acked).
        if self.acked is not None:
            if checkpoint.seq < self.acked.seq:
                return Refusal.REGRESSED
            if view.root(self.acked.seq) != self.acked.root:
                return Refusal.LINEAGE_CHANGED
        # SAFETY: test_wall_clocks.py::test_a_voter_does_not_vouch_for_a_clock_that_is_not_its_own
        if view.apart_ms(probe):
            return Refusal.CLOCK_APART
        return Refusal.CLOCK_AHEAD if view.newest_time > view.wall + self._timing.skew_ms else None

    def _difference(self, probe: Probe, view: View) -> Refusal | None:
        """The probe must say what this node holds itself."""
        checkpoint = probe.checkpoint
        held = view.held(checkpoint.seq)
        if held is None:
            return Refusal.FORGOTTEN
        if checkpoint.origin != self._origin or held.root != checkpoint.root or dict(held.sections) != probe.sections:
            return Refusal.DIVERGENT
        return None

    def _stranger(self, probe: Probe, view: View) -> Refusal | None:
        """Sender and answerer must both be of an electorate that certifies the seq."""
        seq, electorates = probe.checkpoint.seq, view.electorates(probe.checkpoint.seq)
        # SAFETY: the certificates of epochs form an unbroken chain: nobody helps to certify what follows a change
        # before both electorates have certified that (test_joint_cosigner.py::test_nothing_is_acked_beyond_a_change).
        if view.uncertified is not None and seq > view.uncertified:
            return Refusal.EPOCH_UNCERTIFIED
        if not electorates or probe.epoch != electorates[-1].epoch:
            return Refusal.WRONG_EPOCH
        if all(electorate.find(probe.leader) is None for electorate in electorates):
            return Refusal.WRONG_EPOCH
        own = [member for electorate in electorates if (member := electorate.find(self._node_id)) is not None]
        # SAFETY: a removed node, or one whose key was changed, cosigns nothing more
        # (test_joint_cosigner.py::test_a_removed_node_acks_only_its_own_removal).
        return None if any(member.public_key == self._public_key for member in own) else Refusal.NOT_MEMBER

    def _outstanding(self, seq: int, now: BoottimeNs) -> tuple[str, ...]:
        for holder in list(self._grants):
            live = {granted: end for granted, end in self._grants[holder].items() if end > now}
            if live:
                self._grants[holder] = live
            else:
                del self._grants[holder]
        # SAFETY: every holder with a live grant at a lower seq is named
        # (test_cosigner.py::test_grants_are_outstanding_from_the_ack_on).
        return tuple(sorted(holder for holder, ends in self._grants.items() if min(ends) < seq))

    def _cosign(self, body: bytes, wall: WallMs) -> tuple[int, bytes]:
        """A cosignature over `body`: the last one within its second, else a fresh one.

        So `time_s` is the second in which the ack was made, and an ack says until when its node may have served an
        older state (test_receipt_times.py::test_an_ack_names_the_second_in_which_it_was_made).
        """
        now_s = wall // 1000
        if self._cosignature is not None:
            last_body, time_s, signature = self._cosignature
            if last_body == body and time_s == now_s:
                return time_s, signature
        require(now_s >= 0, "the wall clock is before 1970")
        signature = self._signing(cosigned_message(body, now_s))
        self._cosignature = (body, now_s, signature)
        return now_s, signature
