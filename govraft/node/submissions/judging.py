"""What one node makes of an envelope: propose it, refuse it for good, or leave that to a node that knows more.

==============================================  ==========================================================
by its own state the command                    then
==============================================  ==========================================================
would be applied                                `PROPOSE`
lacks the form, or a signature is bad           `REFUSE`: every node says so, now and later
stops something, and fails for its target only  `PROPOSE`: the log says what it came to
fails otherwise, under a live lease             `REFUSE`
fails otherwise, and a lease is due             `WAIT`: within a moment this node knows
fails otherwise, without a lease                `UNSURE`: the state is old, or a clock wrong
==============================================  ==========================================================

Source: protocol.md, "What a node may say of a command".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from govraft.core.codec.envelope import decode_envelope
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    Invalidate,
    Isolate,
    Quarantine,
    Revoke,
    command_name,
    decode_command,
    rules_needed,
)
from govraft.core.model.outcome import ABOUT_TARGET, Ground, Rejected, Rejection
from govraft.errors import InputError, RejectedError
from govraft.node.gate import Standing
from govraft.ports.clock import Clock

__all__ = ["Advice", "Judge", "Judgement", "StandingAt", "command_in"]

StandingAt = Callable[[int], Standing]
"""Whether the node may answer *allow* at all, at that seq or a later one."""

_STOPS = Quarantine | Isolate | Revoke | Invalidate


_NOBODY = ("",)
"""Whose places commands take that nobody known here has signed."""


class Advice(Enum):
    """What to do with an envelope."""

    PROPOSE = "propose"
    REFUSE = "refuse"
    WAIT = "wait"
    UNSURE = "unsure"


class Judgement(NamedTuple):
    """What one node makes of an envelope.

    Attributes:
        advice: What to do.
        command: Decoded; None if it cannot be, or is refused for good.
        rejected: What its own state would answer; None if it would apply it.
    """

    advice: Advice
    command: Command | None
    rejected: Rejected | None = None

    def refusal(self, *, definite: bool) -> RejectedError:
        """What the author is told of the refusal."""
        rejected = self.rejected or Rejected(Rejection.INTERNAL_ERROR)
        return RejectedError(rejected.detail or rejected.code, code=rejected.code, definite=definite)


class Judge:
    """Judges envelopes by the state of one node, and says how much that is worth."""

    def __init__(self, machine: Machine, clock: Clock, standing: StandingAt) -> None:
        self._machine = machine
        self._clock = clock
        self._standing = standing
        self._key_holders: tuple[bytes, frozenset[str]] = (b"", frozenset())

    def judge(self, envelope: bytes, at_least: int = 0) -> Judgement:
        """What this node makes of an envelope now. Changes nothing.

        Args:
            envelope: DSSE JSON.
            at_least: The lowest seq at which its author takes a refusal.
        """
        before = self._standing(at_least)
        examined = self._machine.examine(envelope, self._clock.wall())
        if not isinstance(examined, Rejected):
            return Judgement(Advice.PROPOSE, examined)
        command = command_in(envelope)
        # SAFETY: what only later rules know is malformed by the state, which may be an old one, not by its form
        # (test_judging.py::test_what_later_rules_know_is_not_malformed_for_good).
        is_later = command is not None and (
            rules_needed(command) > self._machine.rules or examined.reason is Rejection.ENVELOPE_TOO_LARGE
        )
        if examined.reason.ground is Ground.FORM and not is_later:
            return Judgement(Advice.REFUSE, None, examined)
        # SAFETY: who hears "stopped already" believes it; a release that this node has not seen may have made it
        # untrue (test_submissions_cut_off.py::test_a_stop_is_never_refused_for_its_target).
        if isinstance(command, _STOPS) and examined.reason in ABOUT_TARGET:
            return Judgement(Advice.PROPOSE, command, examined)
        after = self._standing(at_least)
        # SAFETY: an old state refuses what the cluster would apply
        # (test_submissions_cut_off.py::test_no_refusal_by_an_old_state_is_definite).
        if before.lease is not None and after.lease is not None:
            return Judgement(Advice.REFUSE, None, examined)
        return Judgement(Advice.WAIT if after.may_pass else Advice.UNSURE, command, examined)

    def authors_of(self, envelope: bytes) -> tuple[str, ...]:
        """Key ids of the authorities and members that signed an envelope, or say so as long as nobody has examined it.

        Raises:
            InputError: It is no envelope.
        """
        # SAFETY: members too: one that anchors or redeems without end fills its own places only
        # (test_review_issue_governance.py::test_one_member_leaves_places_for_the_others).
        sections = self._machine.sections["authorities"] + self._machine.sections["electorate"]
        if self._key_holders[0] != sections:
            self._key_holders = (sections, frozenset(self._machine.state.keys))
        signed = (part.key_id for part in decode_envelope(envelope).signatures)
        return tuple(sorted(self._key_holders[1].intersection(signed))) or _NOBODY

    def may_know(self, at_least: int) -> bool:
        """Whether judging again may refuse for good: the lease is live."""
        return self._standing(at_least).lease is not None

    def will_know(self, at_least: int) -> bool:
        """Whether the lease that it takes is live, or due within a moment."""
        standing = self._standing(at_least)
        return standing.lease is not None or standing.may_pass


def command_in(envelope: bytes) -> Command | None:
    """The command in an envelope, whoever signed it; None if there is none that this node knows."""
    try:
        opened = decode_envelope(envelope)
        name = command_name(opened.payload_type)
        return None if name is None else decode_command(name, opened.payload)
    except InputError:
        return None
