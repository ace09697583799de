"""What a client that handed in a command is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from govraft.core.machine.machine import Machine
from govraft.errors import AvailabilityError, GovraftError, RejectedError
from govraft.node.convergence import Convergence
from govraft.node.member_changes import NOT_NOW

__all__ = ["UNAVAILABLE", "Answer", "Done", "pending", "receipt", "refused", "unavailable", "unknown_outcome"]

UNAVAILABLE = AvailabilityError.default_code

Done = Callable[[dict[str, Any] | GovraftError], None]
"""Called once, with the receipt or with why there is none."""


class Answer:
    """A client's answer that waits until what it speaks of is durable."""

    __slots__ = ("_answer", "_done")

    def __init__(self, done: Done, answer: dict[str, Any] | GovraftError) -> None:
        self._done = done
        self._answer = answer

    def __call__(self) -> None:
        self._done(self._answer)


def pending(command_id: str) -> dict[str, Any]:
    """For a client that does not wait."""
    return {"seq": 0, "outcome": "pending", "certified_seq": 0, "command_id": command_id}


def receipt(
    command_id: str, seq: int, outcome: str, unchanged: tuple[str, ...], machine: Machine, convergence: Convergence
) -> dict[str, Any]:
    """For a client whose command the log holds, with the proof that it is certified, if it is."""
    certified = convergence.certified_seq
    told: dict[str, Any] = {
        "seq": seq,
        "outcome": outcome,
        "command_id": command_id,
        "certified_seq": 0,
    }
    if unchanged:
        told["unchanged"] = list(unchanged)
    if certified < seq:
        return told
    told["certified_seq"] = certified
    told["certificate"] = convergence.certified_note
    told["lease"] = convergence.certified_lease
    # An old command's leaf is no longer in memory; `govraft lineage` has it.
    leaf = machine.leaf_bytes(seq)
    if leaf is not None:
        told["leaf"] = leaf
        told["proof"] = machine.lineage.inclusion_proof(seq - 1, certified)
    return told


def unknown_outcome() -> AvailabilityError:
    """For a client whose time is over."""
    message = "the outcome is not known in time; retry only with the same command id"
    return AvailabilityError(message, code="outcome_unknown", definite=False)


def unavailable(why: str, *, definite: bool) -> AvailabilityError:
    """For a client whose command this node neither refuses for good nor brings to a leader."""
    told = "nothing was proposed by this call" if definite else "an earlier try may still take effect"
    return AvailabilityError(f"{why}; {told}: ask another node, or try again", code=UNAVAILABLE, definite=definite)


def refused(code: str, detail: str, *, definite: bool) -> GovraftError:
    """For a client whose command the leader does not propose: what cannot be now may be possible later."""
    if code == UNAVAILABLE:
        return unavailable(detail, definite=definite)
    if code in NOT_NOW:
        return AvailabilityError(detail or code, code=code, definite=definite)
    return RejectedError(detail or code, code=code, definite=definite)
