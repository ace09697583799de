"""Why a node denies. Append-only: a code, once published, never changes its meaning.

This is the one place where a code is described. Whoever needs a set of codes derives it from what the members carry;
the tables in the documents are written from here (`scripts/reasons`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

__all__ = ["About", "Reason", "Step"]


class About(StrEnum):
    """What a reason speaks of: the node that denies, what was asked, or the state that it was asked on."""

    NODE = "node"
    REQUEST = "request"
    STATE = "state"


class Step(StrEnum):
    """Which part of an evaluation finds a reason: see `govraft.core.decision.evaluator`."""

    MARKS = "marks"
    POLICIES = "policies"
    CONDITIONS = "conditions"


class _Facts(NamedTuple):
    about: About
    sentence: str
    step: Step | None = None
    of_node: bool = False
    varies: bool = False
    passing: bool = False
    exit_code: int = 1
    http_status: int = 403


def _node(sentence: str, *, passing: bool = False, exit_code: int = 1) -> _Facts:
    return _Facts(About.NODE, sentence, passing=passing, exit_code=exit_code, http_status=503)


def _state(step: Step | None, sentence: str, *, of_node: bool = False, varies: bool = False) -> _Facts:
    return _Facts(About.STATE, sentence, step, of_node, varies)


class Reason(StrEnum):
    """Exactly one goes with every `Deny`.

    Attributes:
        about: What it speaks of, in a denial that names a certified state. Without one, see `is_about_node`.
        sentence: What it means, in one line of Markdown.
        step: Part of an evaluation that finds it; None if no evaluation gives it.
        of_node: A denial that names no state may have it too, and is then about the node.
        varies: Two honest nodes may answer differently on one state: it follows from the time, from a node's share of a
            rate, or from what other members answered.
        passing: The next certificate may end it: the gate may hold a request for that long before it denies.
        exit_code: Of a program that is denied with it: 1 denied, 2 bad input, 3 unavailable.
        http_status: Of an answer over HTTP: 400 bad input, 403 denied, 503 the node cannot tell. It is 503 for
            whatever `is_about_node`.
    """

    about: About
    sentence: str
    step: Step | None
    of_node: bool
    varies: bool
    passing: bool
    exit_code: int
    http_status: int

    # `facts` may be missing where a code is looked up (`Reason("revoked")`), never where a member is made.
    def __new__(cls, code: str, facts: _Facts | None = None) -> Self:
        if facts is None:
            raise TypeError(f"`{code}` must say what it is about")
        member = str.__new__(cls, code)
        member._value_ = code
        for name, fact in zip(facts._fields, facts, strict=True):
            setattr(member, name, fact)
        return member

    # The ten consensus failures of RFC-EG-028 clause 4.
    POLICY_DIVERGENCE = "policy_divergence", _node("the node's policies are not those of the certified state")
    AUTHORIZATION_INCONSISTENT = (
        "authorization_inconsistent",
        _state(
            None,
            "members that hold one state differ in what it permits; without a state: the node's authorities, grants or "
            "electorate are not those of the certified state",
            of_node=True,
            varies=True,
        ),
    )
    RUNTIME_STATE_FRAGMENTED = (
        "runtime_state_fragmented",
        _node("the node's entities or boundaries are not those of the certified state"),
    )
    GOVERNANCE_DESYNCHRONIZED = (
        "governance_desynchronized",
        _node("a later state is certified than the node has", passing=True),
    )
    ATTESTATION_DISAGREEMENT = (
        "attestation_disagreement",
        _state(
            Step.CONDITIONS,
            "attestors disagree on principal or resource; without a state: the node's attestations are not those of "
            "the certified state",
            of_node=True,
            varies=True,
        ),
    )
    LINEAGE_INCONSISTENT = "lineage_inconsistent", _node("the node's lineage is not the certified one")
    UNSIGNED_TRANSITION = "unsigned_transition", _node("the leader asks for a state without its signature")
    AUTHORITY_CONFLICT = "authority_conflict", _node("a voter has signed two roots for one seq")
    QUORUM_UNVERIFIABLE = (
        "quorum_unverifiable",
        _node("a certificate did not verify, or too few voters signed a permit in time"),
    )
    PARTITION_AMBIGUOUS = "partition_ambiguous", _node("the node hears fewer voters than make a quorum")
    # The state of this node.
    LEASE_EXPIRED = "lease_expired", _node("the lease, or what else the allow rested on, is over")
    LEADER_UNCONFIRMED = "leader_unconfirmed", _node("the leader is unknown, or not the one that the lease is of")
    SYNCHRONIZING = "synchronizing", _node("the node's newest state is not yet certified", passing=True)
    CLOCK_UNSAFE = "clock_unsafe", _node("the node's clocks cannot be relied on")
    NODE_ISOLATED = "node_isolated", _node("the node has isolated itself")
    NODE_UNREACHABLE = "node_unreachable", _node("no node answers, or it has halted", exit_code=3)
    NODE_STARTING = "node_starting", _node("the node waits after its start, or for its first certificate")
    INTERNAL_ERROR = "internal_error", _node("the node failed, or could not record the decision")
    # The state of what is asked about.
    ISOLATED = (
        "isolated",
        _state(
            Step.MARKS,
            "what is asked about is isolated; without a state, in files from before `node_isolated`: the node is",
            of_node=True,
        ),
    )
    QUARANTINED = "quarantined", _state(Step.MARKS, "what is asked about is quarantined")
    REVOKED = (
        "revoked",
        _state(Step.MARKS, "what is asked about is revoked; without a state: the node is no member", of_node=True),
    )
    INVALIDATED = "invalidated", _state(Step.MARKS, "what is asked about is invalidated")
    ATTESTATION_MISSING = "attestation_missing", _state(Step.CONDITIONS, "no attestation that counts is there")
    ATTESTATION_EXPIRED = "attestation_expired", _state(Step.CONDITIONS, "the attestation is too old", varies=True)
    GRANT_MISSING = "grant_missing", _state(Step.CONDITIONS, "the principal holds no grant for it")
    GRANT_EXPIRED = "grant_expired", _state(Step.CONDITIONS, "the grant for it has ended", varies=True)
    BOUNDARY_EXCEEDED = (
        "boundary_exceeded",
        _state(Step.CONDITIONS, "a boundary is exceeded, or the node's share of a rate is used up", varies=True),
    )
    POLICY_DENIED = "policy_denied", _state(Step.POLICIES, "no policy permits it, or one forbids it")
    POLICY_ERROR = "policy_error", _state(Step.POLICIES, "a policy failed to compile or to evaluate")
    REQUEST_INVALID = (
        "request_invalid",
        _Facts(
            About.REQUEST,
            "the request is malformed or does not fit the schema",
            Step.POLICIES,
            exit_code=2,
            http_status=400,
        ),
    )

    def is_about_node(self, seq: int) -> bool:
        """Whether a denial with this reason is about the node that gave it.

        Args:
            seq: The certified state that the denial names; 0 if it names none.
        """
        return self.about is About.NODE or (self.of_node and seq == 0)
