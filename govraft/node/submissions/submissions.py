"""From a signed envelope to an effective command: judge, forward, propose, watch it being applied and certified.

Any node takes a command. It refuses one for good only if it knows (`judging`); otherwise it hands it to the leader, or
answers `unavailable`: then nothing was proposed by this call. What becomes of a command, the node sees for itself: it
applies the same log and verifies the same certificates, so no answer of another node is believed, except a refusal to
propose, which changes nothing.

A ticket lives until its envelope has been applied (and, if asked for, certified) or its time is over. Until
then the envelope is sent again whenever the leader changes or stays silent: the machine deduplicates by command id.
Only the node that took a command from its client sends it: whoever gets it from a member and does not lead drops it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from govraft.core.codec.canonical import pack, unpack
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.digests import digest
from govraft.core.machine.machine import AppliedEntry, Machine
from govraft.core.model import limits
from govraft.core.model.outcome import Applied, Rejected, Rejection
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.errors import AvailabilityError, DecodeError, GovraftError, InputError, RejectedError
from govraft.node.convergence import Convergence
from govraft.node.effects import Effects, Send
from govraft.node.member_changes import NOT_NOW, change_of
from govraft.node.proposals import needs_examination
from govraft.node.submissions.answers import (
    UNAVAILABLE,
    Answer,
    Done,
    pending,
    receipt,
    refused,
    unavailable,
    unknown_outcome,
)
from govraft.node.submissions.judging import Advice, Judge, Judgement, StandingAt
from govraft.node.submissions.places import Places
from govraft.node.submissions.proposing import Proposer
from govraft.node.submissions.tickets import Ticket
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer

__all__ = ["SUBMISSION_CHANNEL", "Submissions"]

SUBMISSION_CHANNEL = 3
_RESEND_NS = 500 * NS_PER_MS
_PATIENCE_LEASES = 2
"""How long a command waits for a way to a leader, or for the lease that it takes to refuse it: about one election."""
_REFUSALS = frozenset(item.value for item in Rejection) | NOT_NOW | {UNAVAILABLE}


class Submissions:
    """The commands that clients of this node, and peers, have handed in.

    Args:
        standing: Whether this node may answer *allow* at all: then it may refuse for good, too.
        reaches: Whether a frame for that member can be sent, and it was heard within three heartbeats.
    """

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        convergence: Convergence,
        clock: Clock,
        timing: LeaseTiming,
        standing: StandingAt,
        reaches: Callable[[str], bool],
    ) -> None:
        self._node_id = node_id
        self._machine = machine
        self._convergence = convergence
        self._clock = clock
        self._patience_ns = _PATIENCE_LEASES * timing.lease_ms * NS_PER_MS
        self._judge = Judge(machine, clock, standing)
        self._reaches = reaches
        self._tickets: dict[bytes, list[Ticket]] = {}
        self._doubtful: list[Ticket] = []
        """Those of `_tickets` that this node's own state would refuse, for as long as it does not know better."""
        self._applied: list[Ticket] = []
        self._places = Places()
        self._proposer = Proposer(machine, convergence, clock, timing.lease_ms * NS_PER_MS)
        self.peer_rules = self._proposer.peer_rules
        """The newest number of the rules that each member, this node too, said it knows when its connection began."""

    def submit(self, envelope: bytes, wait: str, timeout_ms: int, done: Done, *, at_least: int = 0) -> None:
        """Take a command of a local client.

        Args:
            envelope: DSSE JSON.
            wait: `effective`, `committed` or `none`.
            timeout_ms: After that the outcome is reported as unknown, or as not done.
            done: Called once, perhaps before this returns.
            at_least: The lowest seq at which the author takes a refusal.
        """
        if wait not in ("effective", "committed", "none"):
            done(AvailabilityError(f"cannot wait for `{wait[:32]}`", code="input_invalid"))
            return
        name = digest("envelope", envelope)
        full = self._places.full_for(name)
        if full is not None:
            done(full)
            return
        # SAFETY: the log of a node that isolated itself is not the cluster's
        # (test_submissions_cut_off.py::test_an_isolated_node_says_nothing_of_commands).
        if self._convergence.isolation is not None:
            done(unavailable("this node is isolated", definite=True))
            return
        judgement = self._judge.judge(envelope, at_least)
        now = self._clock.boottime()
        deadline, patience = BoottimeNs(now + timeout_ms * NS_PER_MS), BoottimeNs(now + self._patience_ns)
        ticket = Ticket(name, envelope, "", wait, deadline, patience, done, at_least=at_least)
        if judgement.rejected is not None and self._recall_known(ticket, judgement.rejected):
            self._wait_for_answer(ticket)
            return
        if self._convergence.epochs.absence:
            # It would reach no leader: whoever asks must not wait for that. And what a removed node holds ends with its
            # removal: it must not tell as final what that makes of the command.
            done(AvailabilityError(f"{self._convergence.epochs.absence}; ask another one", code="not_a_member"))
            return
        if judgement.advice is Advice.REFUSE:
            done(judgement.refusal(definite=True))
            return
        self._take(ticket, judgement)

    def _take(self, ticket: Ticket, judgement: Judgement) -> None:
        """Give a command a place, if there is one."""
        command = judgement.command
        self._advise(ticket, judgement)
        if command is not None:
            ticket.command_id = command.command_id
        ticket.is_examinable = command is not None and not needs_examination(command)
        ticket.authors = self._judge.authors_of(ticket.envelope)
        # SAFETY: an authority that floods must not keep out the one that revokes it;
        # test_abuse_submissions.py::test_one_authority_leaves_places_for_the_others
        if not self._places.has_room(ticket.authors):
            message = "too many commands of this authority are pending; try again when some are done"
            ticket.done(AvailabilityError(message, code="queue_full"))
            return
        if ticket.wait == "none":
            ticket.done(pending(ticket.command_id))
        self._places.take(ticket)
        others = self._tickets.setdefault(ticket.digest, [])
        if others:
            ticket.sent_to, ticket.sent_at, ticket.is_out = others[0].sent_to, others[0].sent_at, others[0].is_out
        others.append(ticket)
        if ticket.advice is not Advice.PROPOSE:
            self._doubtful.append(ticket)

    def _advise(self, ticket: Ticket, judgement: Judgement) -> None:
        ticket.advice = judgement.advice
        if judgement.command is not None and judgement.advice is Advice.PROPOSE:
            ticket.change = change_of(judgement.command, self._machine)

    def _recall_known(self, ticket: Ticket, rejected: Rejected) -> bool:
        """Whether the command is known already: what became of it is the answer then."""
        known = None
        if rejected.reason is Rejection.DUPLICATE_COMMAND:
            known = self._machine.recall(ticket.envelope)
        if known is None:
            return False
        ticket.command_id, ticket.seq, ticket.code = known.command_id, known.seq, known.outcome
        return True

    def _wait_for_answer(self, ticket: Ticket) -> None:
        """Answer a command that the log has decided, once it is as far as its client waits for."""
        if ticket.wait == "none":
            ticket.done(pending(ticket.command_id))
            return
        self._places.take(ticket)
        self._applied.append(ticket)

    def on_frame(self, peer: str, payload: bytes, sequencer: Sequencer, effects: Effects) -> None:
        """Take a forwarded command, or the refusal of one that was forwarded."""
        try:
            fields = unpack(payload, max_bytes=limits.FRAME_BYTES)
            if not isinstance(fields, dict) or not isinstance(fields.get("digest"), bytes):
                raise DecodeError("submission frame lacks its digest")
            if isinstance(fields.get("envelope"), bytes):
                self._take_forwarded(peer, fields, sequencer, effects)
            elif isinstance(fields.get("code"), str) and isinstance(fields.get("detail"), str):
                self._take_refusal(peer, fields["digest"], fields["code"], fields["detail"], sequencer)
        except InputError:
            self._convergence.rejected_messages += 1

    def _take_forwarded(self, peer: str, fields: dict[str, Any], sequencer: Sequencer, effects: Effects) -> None:
        name, envelope, at_least = fields["digest"], fields["envelope"], fields.get("at_least", 0)
        # SAFETY: a command that goes from node to node could be proposed long after its client was told that nothing
        # was (test_submissions.py::test_who_does_not_lead_proposes_nothing_for_others).
        if not sequencer.is_leader or name != digest("envelope", envelope) or type(at_least) is not int:
            return
        # It is sent again until it is applied: judging it each time would take longer than applying it.
        if self._proposer.holds(name) or not self._proposer.has_room(self._judge.authors_of(envelope)):
            return
        judgement = self._judge.judge(envelope, at_least)
        rejected = judgement.rejected
        if judgement.command is None or judgement.advice is not Advice.PROPOSE:
            known = rejected is not None and rejected.reason is Rejection.DUPLICATE_COMMAND
            if known and self._machine.recall(envelope) is not None:
                return
            if rejected is not None and judgement.advice is Advice.REFUSE:
                self._answer(peer, name, rejected.reason.value, rejected.detail, effects)
            elif judgement.advice is Advice.UNSURE:
                self._answer(peer, name, UNAVAILABLE, "the leader holds no lease", effects)
            # Whoever waits for a lease sees it come again.
            return
        change = change_of(judgement.command, self._machine)
        if change is not None and not self._proposer.may_change(name):
            return
        unfit = self._proposer.unfit(name, change)
        if unfit is not None:
            self._answer(peer, name, unfit.code, unfit.detail, effects)
            return
        self._proposer.enqueue(name, envelope, self._judge.authors_of(envelope), is_change=change is not None)

    def _answer(self, peer: str, name: bytes, code: str, detail: str, effects: Effects) -> None:
        refusal = {"code": code, "detail": detail[:512], "digest": name}
        effects.sends.append(Send(peer, SUBMISSION_CHANNEL, pack(refusal)))

    def _take_refusal(self, peer: str, name: bytes, code: str, detail: str, sequencer: Sequencer) -> None:
        """The leader would not propose it; a lying one cannot be told from an honest one, so the client may retry."""
        if peer != sequencer.leader_hint or code not in _REFUSALS:
            return
        for ticket in self._tickets.pop(name, []):
            self._finish(ticket, refused(code, detail, definite=False))

    def on_applied(self, entry: AppliedEntry) -> None:
        """An entry was applied; its answers go out once it is durable, or certified."""
        if entry.envelope_digest is None:
            return
        self._proposer.on_applied(entry.envelope_digest, entry)
        for ticket in self._tickets.pop(entry.envelope_digest, []):
            ticket.seq, ticket.code, ticket.unchanged = entry.seq, entry.outcome.code, entry.unchanged
            if isinstance(entry.outcome, Rejected):
                ticket.detail = entry.outcome.detail
            if ticket.code == Rejection.DUPLICATE_COMMAND.value:
                self._recall(ticket)
            self._applied.append(ticket)

    def _recall(self, ticket: Ticket) -> None:
        """The same command, sealed differently, was applied first: what became of that is the answer."""
        known = self._machine.recall(ticket.envelope)
        if known is not None:
            ticket.seq, ticket.code, ticket.detail, ticket.unchanged = known.seq, known.outcome, "", ()

    def turn(self, sequencer: Sequencer, effects: Effects, *, is_held: bool = False) -> None:
        """Answer what can be answered, forward what waits, and propose the next batch if this node leads.

        Args:
            sequencer: Says who leads.
            effects: Takes what is to be sent.
            is_held: No batch is begun now: checks that waited for the last certificate come first.
        """
        now = self._clock.boottime()
        if self._convergence.isolation is None:
            self._answer_applied(effects)
        self._expire(now)
        self._doubtful = [ticket for ticket in self._doubtful if self._stays_doubtful(ticket, sequencer, now)]
        if sequencer.is_leader:
            for name, tickets in list(self._tickets.items()):
                self._enqueue_own(name, tickets)
            self._proposer.turn(sequencer, now, is_held=is_held)
            return
        self._proposer.stop()
        self._forward(sequencer, now, effects)

    def _stays_doubtful(self, ticket: Ticket, sequencer: Sequencer, now: BoottimeNs) -> bool:
        """Judge a command again that this node's own state refused when there was no lease to rely on."""
        if ticket.is_over or ticket.seq:
            return False
        if not sequencer.is_leader and not ticket.is_untried:
            return True  # Others have it now. Should this node lead one day, it judges it then.
        if self._judge.may_know(ticket.at_least):
            judgement = self._judge.judge(ticket.envelope, ticket.at_least)
            if judgement.rejected is not None and self._recall_known(ticket, judgement.rejected):
                self._leave(ticket)
                self._applied.append(ticket)
                return False
            if judgement.advice is Advice.REFUSE:
                self._leave(ticket)
                self._finish(ticket, judgement.refusal(definite=ticket.is_untried))
                return False
            self._advise(ticket, judgement)
            if ticket.advice is Advice.PROPOSE:
                return False
        if now < ticket.patience and self._judge.will_know(ticket.at_least):
            return True
        ticket.advice = Advice.UNSURE
        # SAFETY: content that was parsed nowhere is never proposed, and a leader proposes only what it would apply
        # (test_submissions_cut_off.py::test_what_must_be_parsed_first_is_not_forwarded_unparsed).
        if sequencer.is_leader or not ticket.is_examinable:
            self._leave(ticket)
            message = "this node has no live certificate, so it cannot tell whether the command is refused"
            self._finish(ticket, unavailable(message, definite=ticket.is_untried))
            return False
        return True

    def _enqueue_own(self, name: bytes, tickets: list[Ticket]) -> None:
        """Queue a command of a client of this node, or refuse it."""
        ready = next((ticket for ticket in tickets if ticket.advice is Advice.PROPOSE), None)
        if ready is None or (ready.change is not None and not self._proposer.may_change(name)):
            return
        unfit = self._proposer.unfit(name, ready.change)
        if unfit is not None:
            # SAFETY: what was sent or queued may be in a log. test_electorate_changes.test_an_earlier_reign_counts
            untried = all(ticket.is_untried for ticket in tickets)
            for ticket in self._tickets.pop(name):
                self._finish(ticket, refused(unfit.code, unfit.detail, definite=untried))
            return
        self._proposer.enqueue(name, ready.envelope, ready.authors, is_change=ready.change is not None)
        for ticket in tickets:
            ticket.sent_to, ticket.is_out = (self._node_id, 0), True

    def _answer_applied(self, effects: Effects) -> None:
        certified = self._convergence.certified_seq
        waiting = []
        for ticket in self._applied:
            rejected = ticket.code != Applied().code
            if ticket.wait == "effective" and ticket.seq > certified:
                waiting.append(ticket)
                continue
            answer: dict[str, Any] | GovraftError
            if rejected:
                said = f"rejected at seq {ticket.seq}: {ticket.code}" + (f": {ticket.detail}" if ticket.detail else "")
                answer = RejectedError(said, code=ticket.code, seq=ticket.seq)
            else:
                told = (ticket.command_id, ticket.seq, ticket.code, ticket.unchanged)
                answer = receipt(*told, self._machine, self._convergence)
            self._places.give_back(ticket)
            if ticket.wait != "none":
                effects.after.append(Answer(ticket.done, answer))
        self._applied = waiting

    def _expire(self, now: BoottimeNs) -> None:
        """Answer those whose time is over; once the node has isolated itself, everybody."""
        is_isolated = self._convergence.isolation is not None

        def is_over(ticket: Ticket) -> bool:
            return is_isolated or now >= ticket.deadline

        for ticket in [ticket for tickets in self._tickets.values() for ticket in tickets if is_over(ticket)]:
            self._leave(ticket)
            # SAFETY: nothing is told as not done that another node may be about to propose
            # (test_submissions.py::test_a_time_out_says_that_the_outcome_is_unknown).
            message = "the command reached no leader in time"
            self._finish(ticket, unavailable(message, definite=True) if ticket.is_untried else unknown_outcome())
        for ticket in [ticket for ticket in self._applied if is_over(ticket)]:
            self._applied.remove(ticket)
            self._finish(ticket, unknown_outcome())

    def _finish(self, ticket: Ticket, answer: dict[str, Any] | GovraftError) -> None:
        self._places.give_back(ticket)
        if ticket.wait != "none":
            ticket.done(answer)

    def _leave(self, ticket: Ticket) -> None:
        """Take a ticket out of those that wait for their envelope to be applied."""
        others = [other for other in self._tickets.pop(ticket.digest, []) if other is not ticket]
        if others:
            self._tickets[ticket.digest] = others

    def _forward(self, sequencer: Sequencer, now: BoottimeNs, effects: Effects) -> None:
        leader = sequencer.leader_hint
        is_reached = leader is not None and leader != self._node_id and self._reaches(leader)
        for name, tickets in list(self._tickets.items()):
            ready = [ticket for ticket in tickets if ticket.advice in (Advice.PROPOSE, Advice.UNSURE)]
            if leader is None or not is_reached:
                # SAFETY: a node that is cut off says so at once, and not that the outcome is unknown
                # (test_submissions_cut_off.py::test_a_node_that_is_cut_off_proposes_nothing).
                for ticket in ready:
                    if ticket.is_untried and now >= ticket.patience:
                        self._leave(ticket)
                        self._finish(ticket, unavailable("this node reaches no leader", definite=True))
                continue
            sent_at, sent_to = tickets[0].sent_at, tickets[0].sent_to
            if ready and not (sent_to == (leader, sequencer.term) and now - sent_at < _RESEND_NS):
                self._send(name, tickets, leader, sequencer.term, now, effects)

    def _send(
        self, name: bytes, tickets: list[Ticket], leader: str, term: int, now: BoottimeNs, effects: Effects
    ) -> None:
        for ticket in tickets:
            ticket.sent_to, ticket.sent_at = (leader, term), now
            ticket.on_the_way += 1
        at_least = max(ticket.at_least for ticket in tickets)
        fields = {"digest": name, "envelope": tickets[0].envelope} | ({"at_least": at_least} if at_least else {})
        sent = list(tickets)
        effects.sends.append(
            Send(leader, SUBMISSION_CHANNEL, pack(fields), lambda handed: self._on_handed(sent, is_handed=handed))
        )

    def _on_handed(self, tickets: list[Ticket], *, is_handed: bool) -> None:
        """Learn whether the network took the frame of these tickets."""
        for ticket in tickets:
            ticket.on_the_way -= 1
            ticket.is_out = ticket.is_out or is_handed
            if ticket.is_untried and not ticket.is_over and not ticket.seq:
                self._leave(ticket)
                self._finish(ticket, unavailable("the link to the leader is down", definite=True))
