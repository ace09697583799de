"""Does a recorded decision follow from the state that it names?

| recorded | compared with | counted as |
|---|---|---|
| allow, or deny by the state, of an unmasked request | all that evaluating it again gives | `allow`, `deny` |
| deny on a state that allows, for a reason of the node's own | that the state allows | `standing` |
| deny by a rate on a state that allows within a rate | that there is such a rate | `rate` |
| deny because another member, on the same state, refused a permit | that the state allows | `contradiction` |
| deny without a state, for a reason of the node's own | nothing more can be known | `standing` |
| deny because the node failed, or could not record | the state that it names | `failure` |
| a request that is masked, or has no canonical form | the state that it names | `masked`, `unreadable` |

An allow that cannot be evaluated again because its request is missing is a mismatch: no such request is ever allowed.

Some codes speak of the node in one record and of what was asked in another (`Reason.of_node`). The record tells: with a
state it is evaluated again, without one it is about the node. So it was in logs from before `node_isolated`, too.
"""

from __future__ import annotations

from typing import NamedTuple

from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.finding import Finding
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.evidence.decisions import DecisionRecord, asked_digest, cut_text, request_of
from govraft.core.evidence.denial import contradicted_by
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import About, Reason
from govraft.errors import InputError

__all__ = ["Judgement", "judge", "judge_stateless"]


class Judgement(NamedTuple):
    """What was found about one record.

    Attributes:
        kind: How it is counted; see the table.
        problem: Empty, or what is wrong: `verdict`, `state`, `request` or `record`.
        recorded, expected: What the record says and what it should say, for people.
    """

    kind: str
    problem: str = ""
    recorded: str = ""
    expected: str = ""


def judge_stateless(record: DecisionRecord) -> Judgement:
    """Judge a record that names no state: only a denial can, and for no reason that takes a state."""
    # SAFETY: an allow is always held against a state (test_audit_replay.py::test_an_allow_without_a_state_is_found).
    reason = _reason(record)
    if record.verdict == "allow" or reason is None or record.state_root:
        return Judgement("", "record", _said(record), "a denial, for a reason that is known")
    # SAFETY: test_audit_replay.py::test_what_takes_a_state_cannot_be_the_reason_without_one
    if reason.about is About.STATE and not reason.is_about_node(0):
        return Judgement("", "verdict", _said(record), "the state on which it was decided")
    return Judgement("failure" if reason is Reason.INTERNAL_ERROR else "standing")


def judge(record: DecisionRecord, machine: Machine, shelf: PolicyShelf) -> Judgement:
    """Judge a record on the machine as it was at the record's seq."""
    if record.state_root != machine.state_root.hex():
        expected = f"state root {machine.state_root.hex()}"
        return Judgement("", "state", f"state root {record.state_root or 'none'} at seq {record.seq}", expected)
    if (record.verdict == "deny") != bool(record.reason) or (record.reason and _reason(record) is None):
        return Judgement("", "record", _said(record), "a reason that is known with a denial, and none with an allow")
    if record.masked:
        return Judgement("masked")
    if record.reason == Reason.INTERNAL_ERROR:
        return Judgement("failure")
    return _judge_request(record, machine, shelf)


def _judge_request(record: DecisionRecord, machine: Machine, shelf: PolicyShelf) -> Judgement:
    if record.request is None:
        if record.verdict == "allow":
            return Judgement("", "request", "no request", "the request that was allowed")
        return Judgement("unreadable")
    try:
        request = request_of(record)
        if asked_digest(record.request) != record.request_digest:
            expected = f"request digest {asked_digest(record.request)}"
            return Judgement("", "request", f"request digest {record.request_digest or 'none'}", expected)
    except InputError as error:
        return Judgement("", "request", str(error), "a request")
    if request is None:
        return Judgement("unreadable")
    finding = evaluate(machine, shelf, request, node_id=record.node, wall=record.time)
    if finding.is_allow and _is_contradiction(record, machine):
        return Judgement("contradiction")
    return _compare(record, finding)


def _is_contradiction(record: DecisionRecord, machine: Machine) -> bool:
    """Whether a record says which other member refused to sign what this state allows. No gate decided that."""
    if record.reason != Reason.AUTHORIZATION_INCONSISTENT or record.decision:
        return False
    others = (member.id for member in machine.electorate.members if member.id != record.node)
    return any(record.message == contradicted_by(member) for member in others)


def _compare(record: DecisionRecord, finding: Finding) -> Judgement:
    reason = _reason(record)
    # SAFETY: only what is about the node is believed
    # (test_audit_replay.py::test_a_log_full_of_false_denials_is_found).
    if finding.is_allow and reason is not None and reason.is_about_node(record.seq):
        return Judgement("standing")
    if finding.is_allow and reason is not None and finding.explains(reason):
        return Judgement("rate")
    message, errors = cut_text(finding.message, finding.errors)
    recorded = (reason, record.message, record.policies, sorted(record.errors))
    expected = (finding.reason, message, list(finding.policies), sorted(errors))
    # SAFETY: test_audit_replay.py::test_exactly_the_records_that_were_tampered_with_are_found
    if recorded != expected:
        return Judgement("", "verdict", _said(record), _found(finding, message, errors))
    return Judgement(record.verdict)


def _reason(record: DecisionRecord) -> Reason | None:
    try:
        return Reason(record.reason)
    except ValueError:
        return None


def _said(record: DecisionRecord) -> str:
    return _text(record.verdict, record.reason, record.message, record.policies, record.errors)


def _found(finding: Finding, message: str, errors: list[str]) -> str:
    verdict = "allow" if finding.reason is None else "deny"
    return _text(verdict, finding.reason or "", message, list(finding.policies), errors)


def _text(verdict: str, reason: str, message: str, policies: list[str], errors: list[str]) -> str:
    said = " ".join(part for part in (verdict, reason) if part)
    if message:
        said += f" ({message[:200]})"
    if policies:
        said += f" by {', '.join(name[:12] for name in policies[:8])}"
    if errors:
        said += f" with {len(errors)} errors"
    return said
