"""From a signed envelope to an effective command: examine, forward, propose, watch it being applied and certified.

Any node takes a command and forwards it to the leader. What becomes of it, the node sees for itself: it applies
the same log and verifies the same certificates, so no answer of another node is believed, except a refusal to
propose, which changes nothing.

A ticket lives until its envelope has been applied (and, if asked for, certified) or its time is over. Until
then the envelope is sent again whenever the leader changes or stays silent: the machine deduplicates by command id.

The leader proposes the next batch once the last one is certified, or a lease has passed. Then every node has, in
each round, a moment at which nothing is committed above the certified state, and checks go on under a
constant stream of commands.

A change of the electorate is proposed alone: while one is under way, another one waits like any command that the leader
has no place for yet.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.envelope import decode_envelope
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.digests import digest
from govraft.core.machine.machine import AppliedEntry, Machine
from govraft.core.model import limits
from govraft.core.model.commands import Command
from govraft.core.model.outcome import Applied, Rejected, Rejection
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.errors import AvailabilityError, DecodeError, GovraftError, InputError, RejectedError
from govraft.node.convergence import Convergence
from govraft.node.effects import Effects, Send
from govraft.node.member_changes import NOT_NOW, Unfit, change_of, judge_change
from govraft.node.shares import Shares
from govraft.node.submission_answers import Answer, Done, pending, refused, unknown_outcome
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer

__all__ = ["SUBMISSION_CHANNEL", "Done", "Submissions"]

SUBMISSION_CHANNEL = 3
_RESEND_NS = 500 * NS_PER_MS
_TICKETS_OF_ONE_ENVELOPE = 16
_REJECTIONS = frozenset(item.value for item in Rejection)


@dataclass(slots=True)
class _Ticket:
    digest: bytes
    envelope: bytes
    command_id: str
    wait: str
    deadline: BoottimeNs
    done: Done
    authors: tuple[str, ...] = ()
    change: Command | None = None
    sent_to: tuple[str, int] | None = None
    sent_at: int = 0
    seq: int = 0
    code: str = ""


class _Queued(NamedTuple):
    """A command that waits to be proposed."""

    envelope: bytes
    authors: tuple[str, ...]


class Submissions:
    """The commands that clients of this node, and peers, have handed in."""

    def __init__(
        self, *, node_id: str, machine: Machine, convergence: Convergence, clock: Clock, timing: LeaseTiming
    ) -> None:
        self._node_id = node_id
        self._machine = machine
        self._convergence = convergence
        self._clock = clock
        self._lease_ns = timing.lease_ms * NS_PER_MS
        self._tickets: dict[bytes, list[_Ticket]] = {}
        self._applied: list[_Ticket] = []
        self._count = 0
        self._copies: Counter[bytes] = Counter()
        self._shares = Shares()
        self._queue: dict[bytes, _Queued] = {}
        self._queue_shares = Shares()
        self._key_holders: tuple[bytes, frozenset[str]] = (b"", frozenset())
        self._flight: dict[bytes, None] = {}
        self._flight_at = BoottimeNs(0)
        self._changes: set[bytes] = set()
        """Digests of the changes of the electorate that are queued or proposed: at most one."""
        self._flight_seq = 0
        self.peer_rules: dict[str, int] = {}
        """The newest number of the rules that each member said it knows, when its present connection began."""

    def submit(self, envelope: bytes, wait: str, timeout_ms: int, done: Done) -> None:
        """Take a command of a local client.

        Args:
            envelope: DSSE JSON.
            wait: `effective`, `committed` or `none`.
            timeout_ms: After that the outcome is reported as unknown.
            done: Called once, perhaps before this returns.
        """
        if wait not in ("effective", "committed", "none"):
            done(AvailabilityError(f"cannot wait for `{wait[:32]}`", code="input_invalid"))
            return
        if self._count >= limits.PENDING_SUBMITS:
            done(AvailabilityError("too many commands are pending; try again", code="queue_full"))
            return
        name = digest("envelope", envelope)
        # SAFETY: whoever has seen an envelope can hand it in again and again: that must not use up the places of its
        # authority, or of all; test_review_findings.py::test_copies_of_one_command_take_few_places
        if self._copies[name] >= _TICKETS_OF_ONE_ENVELOPE:
            message = "this very command is pending many times already; wait for one of them"
            done(AvailabilityError(message, code="queue_full", definite=False))
            return
        examined = self._machine.examine(envelope, self._clock.wall())
        now = self._clock.boottime()
        ticket = _Ticket(name, envelope, "", wait, BoottimeNs(now + timeout_ms * NS_PER_MS), done)
        if isinstance(examined, Rejected):
            self._refuse_or_recall(ticket, examined)
            return
        if self._convergence.epochs.absence:
            # It would reach no leader: whoever asks must not wait for that.
            done(self._absent())
            return
        ticket.command_id, ticket.authors = examined.command_id, self._authors_of(envelope)
        ticket.change = change_of(examined, self._machine)
        # SAFETY: an authority that floods must not keep out the one that revokes it;
        # test_abuse_submissions.py::test_one_authority_leaves_places_for_the_others
        if not self._shares.has_room(ticket.authors, limits.PENDING_SUBMITS_OF_ONE):
            message = "too many commands of this authority are pending; try again when some are done"
            done(AvailabilityError(message, code="queue_full"))
            return
        if wait == "none":
            done(pending(ticket.command_id))
        self._take_place(ticket)
        self._tickets.setdefault(name, []).append(ticket)

    def _absent(self) -> AvailabilityError:
        return AvailabilityError(f"{self._convergence.epochs.absence}; ask another one", code="not_a_member")

    def _authors_of(self, envelope: bytes) -> tuple[str, ...]:
        """Key ids of the authorities and members that signed an envelope which was examined and found good."""
        # SAFETY: members too: one that anchors or redeems without end fills its own places only
        # (test_review_issue_governance.py::test_one_member_leaves_places_for_the_others).
        sections = self._machine.sections["authorities"] + self._machine.sections["electorate"]
        if self._key_holders[0] != sections:
            self._key_holders = (sections, frozenset(self._machine.state.keys))
        signed = (part.key_id for part in decode_envelope(envelope).signatures)
        return tuple(sorted(self._key_holders[1].intersection(signed)))

    def _refuse_or_recall(self, ticket: _Ticket, rejected: Rejected) -> None:
        """A command that is known already is answered with what became of it; any other refusal is final."""
        known = None
        if rejected.reason is Rejection.DUPLICATE_COMMAND:
            known = self._machine.recall(ticket.envelope)
        if known is None:
            # SAFETY: what a removed node holds ends with its removal: it must not tell as final what that makes of it
            # (test_submissions_of_nonmembers.py::test_a_removed_node_does_not_judge_by_what_it_knew).
            is_absent = bool(self._convergence.epochs.absence)
            text, code = rejected.detail or rejected.reason.value, rejected.reason.value
            ticket.done(self._absent() if is_absent else RejectedError(text, code=code))
            return
        ticket.command_id, ticket.seq, ticket.code = known.command_id, known.seq, known.outcome
        if ticket.wait == "none":
            ticket.done(pending(ticket.command_id))
            return
        self._take_place(ticket)
        self._applied.append(ticket)

    def on_frame(self, peer: str, payload: bytes, sequencer: Sequencer, effects: Effects) -> None:
        """Take a forwarded command, or the refusal of one that was forwarded."""
        try:
            fields = unpack(payload, max_bytes=limits.FRAME_BYTES)
            if not isinstance(fields, dict) or not isinstance(fields.get("digest"), bytes):
                raise DecodeError("submission frame lacks its digest")
            if isinstance(fields.get("envelope"), bytes):
                self._take_forwarded(peer, fields["digest"], fields["envelope"], sequencer, effects)
            elif isinstance(fields.get("code"), str) and isinstance(fields.get("detail"), str):
                self._take_refusal(peer, fields["digest"], fields["code"], fields["detail"], sequencer)
        except InputError:
            self._convergence.rejected_messages += 1

    def _take_forwarded(self, peer: str, name: bytes, envelope: bytes, sequencer: Sequencer, effects: Effects) -> None:
        if not sequencer.is_leader or name != digest("envelope", envelope):
            return
        examined = self._machine.examine(envelope, self._clock.wall())
        if isinstance(examined, Rejected):
            if examined.reason is not Rejection.DUPLICATE_COMMAND:
                refusal = {"code": examined.reason.value, "detail": examined.detail[:512], "digest": name}
                effects.sends.append(Send(peer, SUBMISSION_CHANNEL, pack(refusal)))
            return
        change = change_of(examined, self._machine)
        if change is not None and not self._may_change(name):
            return
        unfit = self._unfit(name, change)
        if unfit is not None:
            refusal = {"code": unfit.code, "detail": unfit.detail, "digest": name}
            effects.sends.append(Send(peer, SUBMISSION_CHANNEL, pack(refusal)))
            return
        self._enqueue(name, envelope, self._authors_of(envelope), is_change=change is not None)

    def _may_change(self, name: bytes) -> bool:
        """Whether no other change of the electorate is under way."""
        others = self._changes - {name}
        return not others and self._convergence.epochs.uncertified is None

    def _unfit(self, name: bytes, change: Command | None) -> Unfit | None:
        """Why a change of the electorate is not proposed; None if it may be, or already is."""
        if change is None or name in self._flight or name in self._queue:
            return None
        convergence, now = self._convergence, self._clock.boottime()
        return judge_change(change, self._machine, convergence.leading, convergence.certified_seq, now)

    def _take_refusal(self, peer: str, name: bytes, code: str, detail: str, sequencer: Sequencer) -> None:
        """The leader would not propose it; a lying one cannot be told from an honest one, so the client may retry."""
        if peer != sequencer.leader_hint or code not in _REJECTIONS | NOT_NOW:
            return
        for ticket in self._tickets.pop(name, []):
            self._finish(ticket, refused(code, detail, definite=False))

    def _enqueue_own(self, name: bytes, tickets: list[_Ticket]) -> bool:
        """Queue a command of a client of this node. False if it is refused."""
        first = tickets[0]
        if first.change is not None and not self._may_change(name):
            return True
        unfit = self._unfit(name, first.change)
        if unfit is not None:
            # SAFETY: what was sent or queued may be in a log. test_electorate_changes.test_an_earlier_reign_counts
            untried = all(ticket.sent_to is None for ticket in tickets)
            for ticket in tickets:
                self._finish(ticket, refused(unfit.code, unfit.detail, definite=untried))
            return False
        self._enqueue(name, first.envelope, first.authors, is_change=first.change is not None)
        for ticket in tickets:
            ticket.sent_to = (self._node_id, 0)
        return True

    def _enqueue(self, name: bytes, envelope: bytes, authors: tuple[str, ...], *, is_change: bool) -> None:
        if name in self._flight or name in self._queue or len(self._queue) >= limits.PENDING_SUBMITS:
            return
        if self._queue_shares.has_room(authors, limits.PENDING_SUBMITS_OF_ONE):
            self._queue[name] = _Queued(envelope, authors)
            self._changes |= {name} if is_change else set()
            self._queue_shares.take(authors)

    def _dequeue(self, name: bytes) -> None:
        queued = self._queue.pop(name, None)
        if queued is not None:
            self._queue_shares.give_back(queued.authors)

    def on_applied(self, entry: AppliedEntry) -> None:
        """An entry was applied; its answers go out once it is durable, or certified."""
        if entry.envelope_digest is None:
            return
        self._dequeue(entry.envelope_digest)
        if entry.envelope_digest in self._flight:
            del self._flight[entry.envelope_digest]
            self._flight_seq = entry.seq
        self._changes.discard(entry.envelope_digest)
        for ticket in self._tickets.pop(entry.envelope_digest, []):
            ticket.seq, ticket.code = entry.seq, entry.outcome.code
            if ticket.code == Rejection.DUPLICATE_COMMAND.value:
                self._recall(ticket)
            self._applied.append(ticket)

    def _recall(self, ticket: _Ticket) -> None:
        """The same command, sealed differently, was applied first: what became of that is the answer."""
        known = self._machine.recall(ticket.envelope)
        if known is not None:
            ticket.seq, ticket.code = known.seq, known.outcome

    def turn(self, sequencer: Sequencer, effects: Effects) -> None:
        """Answer what can be answered, forward what waits, and propose the next batch if this node leads."""
        now = self._clock.boottime()
        self._answer_applied(effects)
        self._expire(now)
        if sequencer.is_leader:
            over = [name for name, tickets in self._tickets.items() if not self._enqueue_own(name, tickets)]
            for name in over:
                del self._tickets[name]
            self._propose(sequencer, now)
            return
        self._queue.clear()
        self._queue_shares.clear()
        self._flight.clear()
        self._changes.clear()
        self._flight_seq = 0
        self._forward(sequencer, now, effects)

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
                answer = RejectedError(f"rejected at seq {ticket.seq}: {ticket.code}", code=ticket.code, seq=ticket.seq)
            else:
                answer = self._receipt(ticket)
            self._give_up_place(ticket)
            if ticket.wait != "none":
                effects.after.append(Answer(ticket.done, answer))
        self._applied = waiting

    def _receipt(self, ticket: _Ticket) -> dict[str, Any]:
        certified = self._convergence.certified_seq
        receipt: dict[str, Any] = {
            "seq": ticket.seq,
            "outcome": ticket.code,
            "command_id": ticket.command_id,
            "certified_seq": 0,
        }
        if certified < ticket.seq:
            return receipt
        receipt["certified_seq"] = certified
        receipt["certificate"] = self._convergence.certified_note
        receipt["lease"] = self._convergence.certified_lease
        # An old command's leaf is no longer in memory; `govraft lineage` has it.
        leaf = self._machine.leaf_bytes(ticket.seq)
        if leaf is not None:
            receipt["leaf"] = leaf
            receipt["proof"] = self._machine.lineage.inclusion_proof(ticket.seq - 1, certified)
        return receipt

    def _expire(self, now: BoottimeNs) -> None:
        for name in [name for name, tickets in self._tickets.items() if any(now >= item.deadline for item in tickets)]:
            live = []
            for ticket in self._tickets.pop(name):
                if now < ticket.deadline:
                    live.append(ticket)
                else:
                    self._finish(ticket, unknown_outcome())
            if live:
                self._tickets[name] = live
        for ticket in [ticket for ticket in self._applied if now >= ticket.deadline]:
            self._applied.remove(ticket)
            self._finish(ticket, unknown_outcome())

    def _finish(self, ticket: _Ticket, answer: dict[str, Any] | GovraftError) -> None:
        self._give_up_place(ticket)
        if ticket.wait != "none":
            ticket.done(answer)

    def _take_place(self, ticket: _Ticket) -> None:
        self._count += 1
        self._shares.take(ticket.authors)
        self._copies[ticket.digest] += 1

    def _give_up_place(self, ticket: _Ticket) -> None:
        self._count -= 1
        self._shares.give_back(ticket.authors)
        self._copies[ticket.digest] -= 1
        if not self._copies[ticket.digest]:
            del self._copies[ticket.digest]

    def _forward(self, sequencer: Sequencer, now: BoottimeNs, effects: Effects) -> None:
        leader = sequencer.leader_hint
        if leader is None or leader == self._node_id:
            return
        for name, tickets in self._tickets.items():
            first = tickets[0]
            if first.sent_to == (leader, sequencer.term) and now - first.sent_at < _RESEND_NS:
                continue
            for ticket in tickets:
                ticket.sent_to, ticket.sent_at = (leader, sequencer.term), now
            frame = pack({"digest": name, "envelope": first.envelope})
            effects.sends.append(Send(leader, SUBMISSION_CHANNEL, frame))

    def _propose(self, sequencer: Sequencer, now: BoottimeNs) -> None:
        # Nothing beyond a change of the electorate can become effective before it is certified.
        if self._convergence.epochs.uncertified is not None:
            return
        settled = not self._flight and self._convergence.certified_seq >= self._flight_seq
        if not self._queue or not (settled or now - self._flight_at >= self._lease_ns):
            return
        self._flight.clear()
        self._changes &= self._queue.keys()
        self._flight_at = now
        batch = deque(self._queue.items())
        size = 0
        while batch and len(self._flight) < limits.PROPOSAL_BATCH_ENTRIES and size < limits.PROPOSAL_BATCH_BYTES:
            name, queued = batch.popleft()
            entry = pack({"envelope": queued.envelope, "time": self._clock.wall(), "v": 1})
            try:
                sequencer.propose(entry)
            except AvailabilityError:
                return
            self._dequeue(name)
            self._flight[name] = None
            size += len(entry)
