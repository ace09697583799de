"""A store that may stand in the place of a lost one, and what every node asks at its start.

A voter that has forgotten what it acked could help to certify a second history. So a store that was made by
`create-store` is *late* until others have told what their nodes acked; and whoever is shown an own signature that its
store knows nothing of is mute for good.

==========  ==================================================  =================================================
state       event                                               then
==========  ==================================================  =================================================
silent      L(1+ρ) has passed since the start                   asking
asking      too few other voters have answered                  asking: it takes entries, acks and votes nothing
asking      enough have; its lineage does not reach all seqs    asking: it is fed by the leader
asking      enough have; a root that one named is not its own   asking, for as long as it is so; `status` names the
                                                                member, which may be the one that lies
asking      enough have, and its lineage has each root          settled: the greatest seq named is its record, durable
                                                                before anything else; it votes from the next term on
settled     start                                               settled: asks too, and waits for nobody
any         an ack signed by its own key above its own record   mute, for good: isolated, with the evidence
==========  ==================================================  =================================================

*Enough* is n - q + 1 other voters of the electorate that the node knows as certified, by the byzantine rule
⌊(n-1)/3⌋ more: so one of any quorum that certified anything is among them, and is honest. An answer of a member whose
own store is late rules nothing out: two lost stores would vouch for each other. Such answers count only when all other
voters have answered, as when no store of a new cluster was there before.

A change of the electorate is certified by a quorum of the electorate before it, so its seq is among those that are
named, or it is not certified. Whoever reaches that seq counts the voters before it and those after it, until it holds
the certificate.

A store starts as settled or as silent; only the first is ever left for mute.

Source: protocol, "Stores".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from govraft.core.convergence.acked_messages import AckedAnswer, AckedRequest
from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.cosigner import Acked, Cosigner
from govraft.core.convergence.messages import Ack, Kind, Signed
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.core.model.units import BoottimeNs
from govraft.errors import InputError
from govraft.node.effects import Effects
from govraft.node.epochs import Epochs
from govraft.node.seen_acks import SeenAcks
from govraft.node.voice import Voice
from govraft.ports.store import CosignerRecord, IsolationRecord

__all__ = ["OLDER_THAN_OWN_SIGNATURES", "Forgotten", "LateStore", "enough"]

OLDER_THAN_OWN_SIGNATURES = "store_older_than_own_signatures"


class Forgotten(NamedTuple):
    """An ack of this node's own key that its store knows nothing of."""

    seq: int
    ack: bytes
    detail: str


def enough(electorate: Electorate) -> int:
    """How many other voters must have told what they acked, so that nothing certified is missed."""
    voters = len(electorate.voters)
    liars = (voters - 1) // 3 if electorate.rule is QuorumRule.BYZANTINE else 0
    return voters - electorate.quorum_count + 1 + liars


class LateStore:
    """What one node asks about its own past, and answers to others.

    Args:
        cosigner: Of this node; late, or not.
        voice: Of this node.
        is_valid: Checks a signature.
        nonce: Random, of this life.
        pause_ns: Between two requests to a member, and between two answers to one.
        long_pause_ns: As that, of a store that is not late, once every grant of an earlier life is over.
    """

    def __init__(
        self,
        machine: Machine,
        epochs: Epochs,
        cosigner: Cosigner,
        voice: Voice,
        is_valid: IsValid,
        nonce: bytes,
        pause_ns: int,
        long_pause_ns: int,
    ) -> None:
        self._machine, self._epochs, self._cosigner = machine, epochs, cosigner
        self._voice, self._is_valid, self._nonce = voice, is_valid, nonce
        self._cluster = bytes.fromhex(machine.genesis.cluster_id)
        self._pause_ns, self._long_pause_ns = pause_ns, long_pause_ns
        self._asked: dict[str, BoottimeNs] = {}
        self._served: dict[str, BoottimeNs] = {}
        self._told: dict[tuple[str, bytes], AckedAnswer] = {}
        self.seen = SeenAcks()
        self.waits_for = "waiting until grants of an earlier life are over" if cosigner.is_late else ""
        """Why the store is late yet, for people; empty once it is settled."""
        self.contradicted_by: tuple[str, ...] = ()
        """Members that named another root than the node's own."""

    @property
    def own_ack(self) -> bytes:
        """The newest ack of this node that it has seen come back; empty for none."""
        return self.seen.of(self._epochs.node_id)

    def is_silent(self, now: BoottimeNs) -> bool:
        """Whether the node may not even acknowledge entries: a leader of its earlier life may still count it."""
        return self._cosigner.is_late and not self._cosigner.is_ready(now)

    def status(self) -> dict[str, Any] | None:
        """For `status`: why the store is late, None if it is not."""
        if not self._cosigner.is_late:
            return None
        return {"message": self.waits_for, "contradicted_by": list(self.contradicted_by)}

    def turn(self, now: BoottimeNs, effects: Effects) -> bool:
        """Ask whoever has not answered.

        Returns:
            Whether the store has just been settled: the record is in the batch.
        """
        if self.is_silent(now):
            return False
        self._ask(now, effects)
        if not self._cosigner.is_late:
            return False
        floor = self._floor()
        if floor is None:
            return False
        # SAFETY: the floor is durable before any ack, and nothing below it is ever acked
        # (test_late_store.py::test_nothing_is_acked_below_the_floor).
        effects.batch.end_late()
        if floor:
            record = Acked(floor, self._machine.lineage.root(floor))
            effects.batch.set_cosigner(CosignerRecord(record.seq, record.root))
        else:
            record = None
        self._cosigner.settle(record)
        self.waits_for = ""
        return True

    def on_message(
        self, signed: Signed, member: Member, now: BoottimeNs, isolation: IsolationRecord | None, effects: Effects
    ) -> Forgotten | None:
        """Take a request or an answer, signed by `member`; gives what this node must have forgotten, if that is proven.

        Raises:
            DecodeError: It is malformed.
        """
        if signed.kind is Kind.ACKED:
            return self.take(member, AckedAnswer.decode(signed.body))
        is_mute = isolation is not None and isolation.reason == OLDER_THAN_OWN_SIGNATURES
        self.answer(member.id, AckedRequest.decode(signed.body), now, mute=is_mute, effects=effects)
        return None

    def answer(self, peer: str, request: AckedRequest, now: BoottimeNs, *, mute: bool, effects: Effects) -> None:
        """Tell a member what this node acked, and show what it saw that member sign."""
        if now - self._served.get(peer, -self._pause_ns) < self._pause_ns // 2:
            return
        self._served[peer] = now
        acked = self._cosigner.acked or Acked(0, b"")
        body = AckedAnswer(
            nonce=request.nonce,
            seq=acked.seq,
            root=acked.root,
            forgetful=mute or self._cosigner.is_late,
            shown=self.seen.of(peer, self._epochs.rows),
        ).encode()
        self._voice.send(peer, Kind.ACKED, body, effects)

    def take(self, member: Member, answer: AckedAnswer) -> Forgotten | None:
        """Take an answer whose signature is that of `member`.

        Returns:
            What the node must have forgotten, if the answer proves that.
        """
        # SAFETY: what was said to an earlier life, before its last acks could be certified, says too little
        # (test_late_store.py::test_an_answer_to_an_earlier_life_is_ignored).
        if answer.nonce != self._nonce:
            return None
        self._told[member.id, member.public_key] = answer
        return self.forgotten(answer.shown) if answer.shown else None

    def take_lease(self, acks: tuple[Signed, ...], seq: int) -> Forgotten | None:
        """Keep the acks of a verified lease for `seq`; one of this node's own may be news to it."""
        self.seen.keep(acks, seq)
        acked = self._cosigner.acked
        if acked is not None and seq <= acked.seq:
            return None
        own = next((signed for signed in acks if signed.signer == self._epochs.node_id), None)
        return None if own is None else self.forgotten(own.encode())

    def forgotten(self, shown: bytes) -> Forgotten | None:
        """What an ack proves that this node's store does not know, or None.

        A member's word is nothing: only this node's own signature is.
        """
        try:
            signed = Signed.decode(shown, Kind.ACK)
            # SAFETY: nobody but the holder of its key can silence a node
            # (test_late_store.py::test_a_claim_without_a_signature_does_nothing).
            if signed.signer != self._epochs.node_id or not self._is_valid(
                self._epochs.public_key, signed.signature, signed.message(self._cluster)
            ):
                return None
            ack = Ack.decode(signed.body)
        except InputError:
            return None
        acked = self._cosigner.acked or Acked(0, b"")
        # SAFETY: a store that does not know what its key has signed is an old one, or a second one under that key
        # (test_late_store.py::test_an_own_signature_above_the_record_mutes).
        if ack.seq < acked.seq or (ack.seq == acked.seq and ack.root == acked.root):
            return None
        own = f"knows of seq {acked.seq} at most" if acked.seq != ack.seq else "knows of another root there"
        detail = (
            f"{OLDER_THAN_OWN_SIGNATURES}: this node's key has acked seq {ack.seq} (root {ack.root.hex()[:16]}), its"
            f" store {own}; put a new node in its place with `govraft member replace`"
        )
        return Forgotten(ack.seq, shown, detail)

    def _ask(self, now: BoottimeNs, effects: Effects) -> None:
        is_late = self._cosigner.is_late
        pause_ns = self._pause_ns if is_late or not self._cosigner.is_ready(now) else self._long_pause_ns
        heard = {name for name, _ in self._told} - {*self.contradicted_by}
        for peer in self._epochs.member_ids:
            if peer == self._epochs.node_id or (peer in heard and not (is_late and self._is_rekeyed(peer))):
                continue
            if now - self._asked.get(peer, -pause_ns) >= pause_ns:
                self._asked[peer] = now
                self._voice.send(peer, Kind.ACKED_REQUEST, AckedRequest(self._nonce).encode(), effects)

    def _is_rekeyed(self, peer: str) -> bool:
        """Whether its answer was given under another key than it has now."""
        member = self._epochs.certified.find(peer)
        return member is not None and (member.id, member.public_key) not in self._told

    def _floor(self) -> int | None:
        """The least seq that may be acked, 0 for any; None while that is not known."""
        own = (self._epochs.node_id, self._epochs.public_key)
        told: dict[tuple[str, bytes], AckedAnswer] = {}
        lacking = ""
        # SAFETY: by the electorate after a change other voters count, whether or not its certificate has arrived; to
        # wait for that would be for ever if this node must help to make it
        # (test_late_store.py::test_the_voters_after_a_change_count, ::test_a_change_that_late_stores_must_certify).
        for electorate in self._epochs.speakers:
            others = [(voter.id, voter.public_key) for voter in electorate.voters]
            others = [key for key in others if key != own]
            answers = {key: self._told[key] for key in others if key in self._told}
            told |= answers
            vouching, needed = sum(not answer.forgetful for answer in answers.values()), enough(electorate)
            # SAFETY: one voter of every quorum that certified anything is among those that vouch
            # (test_late_store.py::test_too_few_answers_settle_nothing,
            # ::test_two_lost_stores_do_not_vouch_for_each_other).
            if vouching < needed and not (others and len(answers) == len(others)):
                heard = f"{vouching} of {needed} other voters whose stores are whole"
                lacking = lacking or f"store is late: {heard} have told what they acked"
        self.contradicted_by = tuple(key[0] for key, answer in told.items() if self._contradicts(answer))
        if lacking:
            self.waits_for = lacking
            return None
        # SAFETY: a lineage that lacks what another voter signed may be a second one
        # (test_late_store.py::test_a_root_that_differs_keeps_the_store_late).
        if self.contradicted_by:
            named = ", ".join(f"`{name}`" for name in self.contradicted_by)
            self.waits_for = f"store is late: {named} named another root than this node holds at that seq; if it stays"
            self.waits_for += " so, put a new node in its place with `govraft member replace`"
            return None
        floor = max(answer.seq for answer in told.values())
        if floor > self._machine.seq:
            self.waits_for = f"store is late: this node holds seq {self._machine.seq}, others have acked seq {floor}"
            return None
        return floor

    def _contradicts(self, answer: AckedAnswer) -> bool:
        seq = answer.seq
        return 0 < seq <= self._machine.seq and self._machine.lineage.root(seq) != answer.root
