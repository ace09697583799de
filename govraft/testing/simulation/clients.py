"""Clients: they ask and hand in what the plan says, and write down what they learnt.

A client of a node lives on the node's machine, so it reads the node's boot-time clock, as the client library does: an
allow whose `valid_until` has passed when the answer arrives is a denial.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Allow, Verdict
from govraft.errors import AvailabilityError, GovraftError, RejectedError
from govraft.testing.history import Check, CommandTried
from govraft.testing.simulation.commands import REQUEST_ACTION, REQUEST_RESOURCE, CommandBook
from govraft.testing.simulation.families import FAMILIES
from govraft.testing.simulation.host import Submitted
from govraft.testing.simulation.network import NS_PER_US
from govraft.testing.simulation.plan import Question, Submission, stream

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Clients"]

NODE_TIMEOUT_MS = 6_000
INSTALL_EVERY_MS = 250


class Clients:
    """All clients of one run.

    Attributes:
        checks, allows, commands, effective: How many questions were answered, allowed; commands tried, and effective.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.book = CommandBook(world.cast.sample)
        self._requests: dict[str, tuple[Request, str]] = {}
        self._busy: set[str] = set()
        self._unanswered: dict[int, Submitted] = {}
        self._is_closed = False
        self.checks = self.allows = self.commands = self.effective = 0
        self.reasons: dict[str, int] = {}

    def begin(self) -> None:
        """Put the whole plan on the agenda."""
        plan, agenda = self._world.plan, self._world.agenda
        for submission in plan.submissions:
            agenda.after(submission.at_ms * NS_PER_MS, self._submit, submission)
        for question in plan.questions:
            agenda.after(question.at_ms * NS_PER_MS, self._ask, question)
        self._install(0)

    def close(self) -> None:
        """Ask and hand in nothing more."""
        self._is_closed = True

    def finish(self) -> None:
        """Let everybody give up who still waits: what was handed in may have worked, whoever knows of it or not."""
        for tell in list(self._unanswered.values()):
            tell(_gave_up())

    # Questions.

    def _ask(self, question: Question) -> None:
        if self._is_closed or question.client in self._busy:
            return
        world, began = self._world, self._world.now
        host = world.hosts[question.node]
        if host.is_paused:
            # Nobody answers; the client gives up for a denial of its own.
            self._record(question, began, None)
            return
        request, _ = self._request(question.target)
        self._busy.add(question.client)

        def done(verdict: Verdict) -> None:
            world.agenda.after(question.travel_us * NS_PER_US, self._arrive, question, began, verdict)

        host.check(request, done)

    def _arrive(self, question: Question, began: int, verdict: Verdict) -> None:
        self._busy.discard(question.client)
        self._record(question, began, verdict)

    def _record(self, question: Question, began: int, verdict: Verdict | None) -> None:
        now = self._world.now
        host = self._world.hosts[question.node]
        clock = host.clock
        allowed = isinstance(verdict, Allow) and verdict.is_valid_at(clock.boottime())
        if verdict is None:
            reason, seq, state_root = "node_unreachable", 0, ""
        else:
            late = isinstance(verdict, Allow) and not allowed
            reason = "" if allowed else ("lease_expired" if late else str(getattr(verdict, "reason", "")))
            seq, state_root = verdict.seq, verdict.state_root
        self.checks += 1
        self.allows += allowed
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        digest = self._request(question.target)[1]
        event = Check(
            began, now, question.client, host.label, question.target, digest, allowed, reason, seq, state_root
        )
        self._world.history.append(event)
        self._world.trace.note(now, f"check {question.target} {reason} {seq}", question.node)

    def _request(self, target: str) -> tuple[Request, str]:
        if target not in self._requests:
            digest = hashlib.sha256(target.encode()).hexdigest()[:16]
            self._requests[target] = (Request(target, REQUEST_ACTION, REQUEST_RESOURCE), digest)
        return self._requests[target]

    # Commands.

    def _submit(self, item: Submission) -> None:
        if self._is_closed:
            return
        envelope = self._envelope(item)
        if envelope is not None:
            self.hand_in(item, envelope)

    def _envelope(self, item: Submission) -> bytes | None:
        if item.kind == "policy":
            return self._policy_envelope(item)
        if item.kind in FAMILIES:
            core = self._world.hosts[item.node].core
            if core is None:
                return None
            rng = stream(self._world.plan.configuration.seed, f"family {item.command_id}")
            return self.book.drawn(item.command_id, item.kind, core.machine, rng)
        return self.book.envelope(item.command_id, item.kind, item.target)

    def hand_in(self, item: Submission, envelope: bytes, told: Submitted = lambda _: None) -> None:
        """Hand in one command, write down what becomes of it, and say so."""
        world, began = self._world, self._world.now
        host = world.hosts[item.node]
        self.commands += 1
        number = self.commands

        def tell(answer: dict[str, Any] | GovraftError) -> None:
            if self._unanswered.pop(number, None) is not None:
                self._tell(item, began, answer)
                told(answer)

        self._unanswered[number] = tell
        world.agenda.after(item.patience_ms * NS_PER_MS, tell, _gave_up())
        if not host.is_paused:
            host.submit(envelope, NODE_TIMEOUT_MS, tell)

    def _tell(self, item: Submission, began: int, answer: dict[str, Any] | GovraftError) -> None:
        now, target = self._world.now, item.target if item.kind in ("quarantine", "release", "revoke") else ""
        outcome, code, seq, certified = "unknown", "", 0, 0
        if isinstance(answer, dict):
            outcome, seq, certified = "effective", answer["seq"], answer["certified_seq"]
            self.effective += 1
            self._world.watcher.answering(self._world.hosts[item.node], seq)
        else:
            code = answer.code
            told = answer.diagnostics().get("seq")
            seq = told if isinstance(told, int) else 0
            if answer.definite:
                outcome = "rejected" if isinstance(answer, RejectedError) else "refused"
        event = CommandTried(began, now, item.command_id, item.kind, target, item.node, outcome, code, seq, certified)
        self._world.history.append(event)
        self._world.trace.note(now, f"command {item.command_id} {outcome} {code} {seq}", item.node)

    def _policy_envelope(self, item: Submission) -> bytes | None:
        """The next version, or the activation of the last one, as the node asked sees it."""
        core = self._world.hosts[item.node].core
        if core is None:
            return None
        versions, active = core.machine.policy_versions, core.machine.active_policies
        if not versions:
            return self.book.publish(item.command_id, 1, "")
        last = versions[-1]
        if active is None or active.version < last.version:
            return self.book.activate(item.command_id, last.version, last.digest)
        return self.book.publish(item.command_id, last.version + 1, last.digest)

    def _install(self, turn: int) -> None:
        """Publish and activate the first policies, again and again until a node has them."""
        world = self._world
        hosts = [host for host in world.hosts.values() if host.core is not None]
        done = any(host.core is not None and host.core.machine.active_policies is not None for host in hosts)
        if done or self._is_closed:
            return
        if hosts:
            host = hosts[turn % len(hosts)]
            published = host.core is not None and host.core.machine.policy_versions
            name = "setup-activate" if published else "setup-publish"
            item = Submission(0, host.name, "policy", "", name, 2_000)
            envelope = self._policy_envelope(item)
            if envelope is not None:
                self.hand_in(item, envelope)
        world.agenda.after(INSTALL_EVERY_MS * NS_PER_MS, self._install, turn + 1)


def _gave_up() -> AvailabilityError:
    return AvailabilityError("the client gave up", code="outcome_unknown", definite=False)
