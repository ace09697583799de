"""Proposals and ballots: every transition, every refusal, and what counts when."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.machine.dispatch import requirement
from govraft.core.machine.electorate_view import EPOCH_KEY
from govraft.core.machine.proposal_view import Proposal, ProposalStatus
from govraft.core.machine.proposals import Rules, proposed_command, vote_on_proposal
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    COMMANDS,
    AuthorityAssign,
    AuthorityResume,
    AuthoritySuspend,
    BallotChoice,
    Command,
    ProposalOpen,
    ProposalVote,
    ProposalWithdraw,
    Revoke,
    TargetKind,
    ThresholdSet,
    proposal_digest,
)
from govraft.core.model.outcome import Rejected, Rejection

AGENT = 'Agent::"a"'
ROOTS = ("rita", "ruth")
BODY: dict[str, Any] = {"kind": "subject", "id": AGENT, "reason": "leak"}


@pytest.fixture
def bench(make_bench: Any) -> Any:
    """Both operators, olga and oscar, must agree."""
    return make_bench(operators_needed=2)


def sequence_of(bench: Any, voter: str) -> int:
    number: int = bench.machine.state.proposals.last_sequence(voter) + 1
    return number


def draft(bench: Any, author: str = "olga", command: str = "revoke", **fields: Any) -> ProposalOpen:
    """A proposal; `revoke AGENT` by olga unless told otherwise."""
    defaults: dict[str, Any] = {
        "command": command,
        "body": BODY,
        "author": author,
        "epoch": 1,
        "sequence": sequence_of(bench, author),
        "expires": bench.time + 1_000,
    }
    opened: ProposalOpen = bench.command(ProposalOpen, **{**defaults, **fields})
    return opened


def opened(bench: Any, author: str = "olga", command: str = "revoke", **fields: Any) -> str:
    """Open a proposal that must be accepted; its digest."""
    proposal = draft(bench, author, command, **fields)
    assert bench.do(proposal, author) == "applied"
    return proposal_digest(proposal)


def vote(bench: Any, digest: str, voter: str, choice: str = "approve", **fields: Any) -> str:
    defaults: dict[str, Any] = {"epoch": bench.machine.epoch, "sequence": sequence_of(bench, voter)}
    command = bench.command(
        ProposalVote, proposal=digest, voter=voter, choice=BallotChoice(choice), **{**defaults, **fields}
    )
    code: str = bench.do(command, voter)
    return code


def withdraw(bench: Any, digest: str, author: str) -> str:
    code: str = bench.do(bench.command(ProposalWithdraw, proposal=digest, author=author), author)
    return code


def found(bench: Any, digest: str) -> Proposal:
    proposal: Proposal | None = bench.machine.state.proposals.find(digest)
    assert proposal is not None
    return proposal


def is_revoked(bench: Any) -> bool:
    return "revoked" in bench.machine.marks("subject", AGENT)


def more_operators(bench: Any, *names: str) -> None:
    """Let others be operators too."""
    for name in names:
        roles = sorted({*bench.machine.authorities[name].roles, Role.OPERATOR})
        command = bench.command(AuthorityAssign, id=name, assignments=tuple(Assignment(role, "root") for role in roles))
        assert bench.do(command, *ROOTS) == "applied"


# Voting.


@pytest.mark.parametrize(
    ("ballots", "codes", "status", "revoked"),
    [
        ([], [], "open", False),
        ([("oscar", "approve")], ["applied"], "executed", True),
        ([("oscar", "reject")], ["applied"], "rejected", False),
        ([("olga", "reject")], ["applied"], "rejected", False),
        ([("olga", "withdraw")], ["applied"], "open", False),
        ([("olga", "withdraw"), ("oscar", "approve")], ["applied"] * 2, "open", False),
        ([("olga", "withdraw"), ("oscar", "approve"), ("olga", "approve")], ["applied"] * 3, "executed", True),
        ([("olga", "approve")], ["applied"], "open", False),
        ([("oscar", "withdraw")], ["ballot_invalid"], "open", False),
        ([("olga", "withdraw"), ("olga", "withdraw")], ["applied", "ballot_invalid"], "open", False),
        ([("pat", "approve")], ["ballot_invalid"], "open", False),
        ([("pat", "reject")], ["ballot_invalid"], "open", False),
        ([("oscar", "reject"), ("oscar", "approve")], ["applied", "proposal_closed"], "rejected", False),
        ([("oscar", "approve"), ("olga", "reject")], ["applied", "proposal_closed"], "executed", True),
    ],
)
def test_voting(bench: Any, ballots: list[tuple[str, str]], codes: list[str], status: str, revoked: bool) -> None:
    digest = opened(bench)
    assert [vote(bench, digest, *ballot) for ballot in ballots] == codes
    assert found(bench, digest).status == status
    assert is_revoked(bench) is revoked


def test_a_ballot_replaces_the_one_before(bench: Any) -> None:
    more_operators(bench, "pat", "paula")
    digest = opened(bench)
    assert vote(bench, digest, "oscar", "reject") == "applied"
    assert vote(bench, digest, "pat", "reject") == "applied"
    assert vote(bench, digest, "pat", "approve") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED
    assert set(found(bench, digest).ballots) == {"olga", "oscar", "pat"}


def test_an_execution_is_as_if_all_had_signed(bench: Any) -> None:
    digest = opened(bench)
    assert vote(bench, digest, "oscar") == "applied"
    mark = bench.machine.marks("subject", AGENT)["revoked"]
    assert (mark.authors, mark.seq, mark.reason) == (("olga", "oscar"), 3, "leak")
    proposal = found(bench, digest)
    assert (proposal.code, proposal.closed_seq, proposal.closed_time, proposal.payload) == (
        "applied",
        3,
        bench.time,
        b"",
    )
    assert digest not in bench.machine.state.proposals.open


def test_the_handler_is_told_of_those_who_approved_and_nobody_else(bench: Any) -> None:
    """No signature of the deciding ballot's envelope passes for one of the command itself."""
    digest, told = opened(bench), []

    def handle(state: State, command: Command, context: Context) -> Rejected:
        del state, command
        told.append(context)
        return Rejected(Rejection.TARGET_UNKNOWN)

    ballot = bench.command(
        ProposalVote, proposal=digest, voter="oscar", choice=BallotChoice.APPROVE, epoch=1, sequence=1
    )
    given = Context(9, bench.time, ("oscar",), ("oscar",), "n1", "c", b"signed", {"key": b"signature"})
    vote_on_proposal(bench.machine.state, ballot, given, rules=Rules(requirement, handle))
    assert told == [Context(9, bench.time, ("olga", "oscar"), ("olga", "oscar"), None, "c", b"", {}, given.is_valid)]


def test_a_threshold_of_one_executes_at_once(make_bench: Any) -> None:
    bench = make_bench()
    digest = opened(bench)
    assert found(bench, digest).status is ProposalStatus.EXECUTED
    assert is_revoked(bench)


def test_what_the_machine_rejects_fails_with_its_code(bench: Any) -> None:
    digest = opened(bench)
    assert bench.do(bench.command(Revoke, kind=TargetKind.SUBJECT, id=AGENT, reason="x"), "olga", "oscar") == "applied"
    before = bench.machine.sections["entities"]
    assert vote(bench, digest, "oscar") == "applied"
    proposal = found(bench, digest)
    assert (proposal.status, proposal.code) == ("failed", "already_revoked")
    assert bench.machine.sections["entities"] == before
    assert vote(bench, digest, "oscar") == "proposal_closed"


@pytest.mark.clause("8 deterministic authority resolution")
def test_of_two_that_contradict_each_other_the_first_decided_wins(bench: Any) -> None:
    bodies = [{"kind": "subject", "id": AGENT, "reason": text} for text in ("one", "two")]
    first, second = (opened(bench, command="quarantine", body=body) for body in bodies)
    assert vote(bench, second, "oscar") == "applied"
    assert vote(bench, first, "oscar") == "applied"
    assert (found(bench, second).code, found(bench, first).code) == ("applied", "already_quarantined")
    assert bench.machine.marks("subject", AGENT)["quarantined"].reason == "two"


# Who may, and what counts.


def test_only_holders_of_the_role_vote(bench: Any) -> None:
    assert bench.do(draft(bench, "pat"), "pat") == "ballot_invalid"
    assert bench.do(draft(bench, "rita"), "rita") == "ballot_invalid"
    assert bench.machine.state.proposals.find(proposal_digest(draft(bench, "pat"))) is None
    digest = opened(bench)
    for voter in ("pat", "rita"):
        assert vote(bench, digest, voter) == "ballot_invalid"
    assert vote(bench, digest, "oscar") == "applied"


def test_a_voter_is_who_signs(bench: Any) -> None:
    assert bench.do(draft(bench, "olga"), "oscar") == "threshold_unmet"
    digest = opened(bench)
    command = bench.command(
        ProposalVote, proposal=digest, voter="oscar", choice=BallotChoice.APPROVE, epoch=1, sequence=1
    )
    assert bench.do(command, "olga") == "threshold_unmet"
    assert bench.do(bench.command(ProposalWithdraw, proposal=digest, author="olga"), "oscar") == "threshold_unmet"


def test_ballots_are_signed_alone(bench: Any) -> None:
    assert bench.do(draft(bench), "olga", "oscar") == "ballot_invalid"
    digest = opened(bench)
    command = bench.command(
        ProposalVote, proposal=digest, voter="oscar", choice=BallotChoice.APPROVE, epoch=1, sequence=1
    )
    assert bench.do(command, "oscar", "pat") == "ballot_invalid"


def test_who_counts(bench: Any) -> None:
    """Whoever is suspended, or lost the role, does not count, but does again once it is back."""
    more_operators(bench, "pat", "paula")
    digest = opened(bench)
    assert bench.do(bench.command(AuthoritySuspend, id="olga", reason="x"), *ROOTS) == "applied"
    assert vote(bench, digest, "oscar") == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert vote(bench, digest, "olga") == "threshold_unmet"
    assert bench.do(bench.command(AuthorityResume, id="olga", reason="x"), *ROOTS) == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert vote(bench, digest, "oscar") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED


def test_only_approvals_count_towards_the_threshold(bench: Any) -> None:
    more_operators(bench, "pat", "paula")
    assert bench.do(bench.command(ThresholdSet, role="operator", count=3), *ROOTS) == "applied"
    digest = opened(bench)
    assert vote(bench, digest, "oscar", "reject") == "applied"
    assert vote(bench, digest, "pat") == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert vote(bench, digest, "paula") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED


def test_a_rejection_of_somebody_suspended_does_not_count(bench: Any) -> None:
    more_operators(bench, "pat")
    digest = opened(bench)
    assert vote(bench, digest, "oscar", "reject") == "applied"
    assert bench.do(bench.command(AuthoritySuspend, id="oscar", reason="x"), *ROOTS) == "applied"
    assert vote(bench, digest, "pat") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED


def test_the_threshold_is_that_of_the_moment(bench: Any) -> None:
    more_operators(bench, "pat")
    digest = opened(bench)
    assert bench.do(bench.command(ThresholdSet, role="operator", count=3), *ROOTS) == "applied"
    assert vote(bench, digest, "oscar") == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert bench.do(bench.command(ThresholdSet, role="operator", count=2), *ROOTS) == "applied"
    # Nothing executes without an approval, and a rejection is none.
    assert vote(bench, digest, "pat", "reject") == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert vote(bench, digest, "oscar") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED


# What ballots are bound to.


@pytest.mark.clause("8 replay-resistant governance voting")
def test_ballots_cannot_be_replayed(bench: Any) -> None:
    first, second = opened(bench), opened(bench)
    for sequence in (0, 1, 2):
        if sequence:
            assert bench.do(draft(bench, sequence=sequence), "olga") == "ballot_replayed"
            assert vote(bench, first, "olga", "reject", sequence=sequence) == "ballot_replayed"
    assert vote(bench, second, "oscar", "reject", sequence=7) == "applied"
    # One voter, one sequence, whatever it votes on.
    assert vote(bench, first, "oscar", sequence=7) == "ballot_replayed"
    assert vote(bench, first, "oscar", sequence=6) == "ballot_replayed"
    assert vote(bench, first, "oscar", sequence=8) == "applied"
    assert bench.machine.state.proposals.sequences == {"olga": 2, "oscar": 8}


@pytest.mark.clause("8 replay-resistant governance voting")
def test_ballots_are_bound_to_the_epoch(bench: Any) -> None:
    for epoch in (2, 9):
        assert bench.do(draft(bench, epoch=epoch), "olga") == "wrong_epoch"
    digest = opened(bench)
    assert vote(bench, digest, "oscar", epoch=2) == "wrong_epoch"
    changes = Changes()
    changes.put("electorate", EPOCH_KEY, {"epoch": 2, "rule": "majority"})
    bench.machine.state.commit(changes)
    assert vote(bench, digest, "oscar", epoch=1) == "wrong_epoch"
    # An approval of another epoch is no approval in this one.
    assert vote(bench, digest, "oscar") == "applied"
    assert found(bench, digest).status is ProposalStatus.OPEN
    assert vote(bench, digest, "olga") == "applied"
    assert found(bench, digest).status is ProposalStatus.EXECUTED


def test_nobody_votes_once_it_has_expired(bench: Any) -> None:
    digest = opened(bench)
    bench.time += 999
    assert vote(bench, digest, "oscar", "reject") == "applied"
    assert found(bench, digest).status is ProposalStatus.REJECTED
    digest = opened(bench)
    bench.time += 1_000
    assert vote(bench, digest, "oscar") == "proposal_closed"
    assert withdraw(bench, digest, "olga") == "proposal_closed"
    assert found(bench, digest).status is ProposalStatus.OPEN
    opened(bench)
    assert found(bench, digest).status is ProposalStatus.EXPIRED
    assert vote(bench, digest, "oscar") == "proposal_closed"
    assert not is_revoked(bench)


@pytest.mark.parametrize(
    ("ahead", "code"),
    [
        (0, "proposal_invalid"),
        (-1, "proposal_invalid"),
        (1, "applied"),
        (limits.PROPOSAL_LIFE_MS, "applied"),
        (limits.PROPOSAL_LIFE_MS + 1, "proposal_invalid"),
    ],
)
def test_the_life_of_a_proposal(bench: Any, ahead: int, code: str) -> None:
    assert bench.do(draft(bench, expires=bench.time + ahead), "olga") == code


# What can be proposed.


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("nonsense", BODY),
        ("", {}),
        ("revoke", {}),
        ("revoke", {**BODY, "more": 1}),
        ("revoke", {**BODY, "reason": ""}),
        ("revoke", {**BODY, "command_id": "mine"}),
        ("revoke", {**BODY, "cluster": "0" * 64}),
        ("revoke", {**BODY, "not_after": 1}),
    ],
)
def test_what_is_no_command_cannot_be_proposed(bench: Any, command: str, body: dict[str, Any]) -> None:
    assert bench.do(draft(bench, command=command, body=body), "olga") == "proposal_invalid"


IN_PERSON = [
    "attest",
    "audit.anchor",
    "authority.add",
    "authority.rotate",
    "member.add",
    "member.evict",
    "member.rotate",
    "permit.redeem",
    "proposal.open",
    "proposal.vote",
    "proposal.withdraw",
]


@pytest.mark.parametrize("command", IN_PERSON)
def test_what_must_be_signed_in_person_cannot_be_proposed(bench: Any, command: str) -> None:
    assert command in COMMANDS
    refused = proposed_command(draft(bench, command=command))
    assert isinstance(refused, Rejected)
    assert "sign it" in refused.detail
    assert bench.do(draft(bench, command=command), "olga") == "proposal_invalid"


def test_what_is_refused_whoever_signs_cannot_be_proposed(bench: Any) -> None:
    body = {"id": "nobody", "reason": "x"}
    assert bench.do(draft(bench, "rita", "authority.revoke", body=body), "rita") == "authority_unknown"
    body = {"role": "operator", "domain": "nowhere", "count": 1}
    assert bench.do(draft(bench, "rita", "threshold.set", body=body), "rita") == "domain_unknown"


def test_roots_vote_on_authorities(bench: Any) -> None:
    digest = opened(bench, "rita", "authority.suspend", body={"id": "pat", "reason": "away"})
    assert vote(bench, digest, "olga") == "ballot_invalid"
    assert vote(bench, digest, "ruth") == "applied"
    assert bench.machine.authorities["pat"].status == "suspended"


def test_policies_are_published_by_vote(make_bench: Any) -> None:
    bench = make_bench(policies_needed=2)
    fields = {
        "version": 1,
        "expected": "",
        "schema": 'entity A; action "x" appliesTo { principal: A, resource: A };',
        "policies": ["permit(principal, action, resource);"],
        "removed": [],
    }
    digest = opened(bench, "pat", "policy.publish", body=fields)
    assert vote(bench, digest, "paula") == "applied"
    assert bench.machine.policy_versions[0].authors == ("pat", "paula")


# Withdrawing, limits, digests.


def test_withdrawing(bench: Any) -> None:
    digest = opened(bench)
    assert withdraw(bench, digest, "oscar") == "proposal_invalid"
    assert withdraw(bench, digest, "olga") == "applied"
    assert found(bench, digest).status is ProposalStatus.WITHDRAWN
    for code in (withdraw(bench, digest, "olga"), vote(bench, digest, "oscar")):
        assert code == "proposal_closed"
    assert withdraw(bench, "0" * 64, "olga") == "proposal_unknown"
    assert vote(bench, "0" * 64, "olga") == "proposal_unknown"


def test_the_number_of_open_proposals_is_limited(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROPOSALS_OPEN", 3)
    monkeypatch.setattr(limits, "PROPOSALS_OPEN_OF_ONE", 2)
    first = opened(bench)
    opened(bench)
    assert bench.do(draft(bench), "olga") == "limit_exceeded"
    opened(bench, "oscar")
    assert bench.do(draft(bench, "oscar"), "oscar") == "limit_exceeded"
    assert withdraw(bench, first, "olga") == "applied"
    opened(bench, "oscar")
    bench.time += 1_000
    # Those whose time is over make room.
    for author in ("olga", "olga", "oscar"):
        opened(bench, author)
    assert len(bench.machine.state.proposals.open) == 3


def test_expired_proposals_are_closed_a_few_at_a_time(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [opened(bench, expires=bench.time + 100 + number) for number in range(5)]
    bench.time += 200
    monkeypatch.setattr(limits, "PROPOSALS_PRUNED_PER_ENTRY", 2)
    last = opened(bench)
    view = bench.machine.state.proposals
    assert [digest in view.closed for digest in digests] == [True, True, False, False, False]
    assert vote(bench, last, "oscar") == "applied"
    assert [digest in view.closed for digest in digests] == [True] * 4 + [False]
    assert is_revoked(bench)


def test_the_oldest_closed_proposals_are_forgotten(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROPOSALS_CLOSED", 3)
    digests = []
    for _ in range(5):
        digests.append(opened(bench))
        assert withdraw(bench, digests[-1], "olga") == "applied"
    view = bench.machine.state.proposals
    assert list(view.closed) == digests[2:]
    assert vote(bench, digests[0], "oscar") == "proposal_unknown"


def test_the_digest_names_everything_that_is_put_to_the_vote(bench: Any) -> None:
    base = draft(bench)
    others = [
        {"command": "release"},
        {"body": {**BODY, "reason": "other"}},
        {"author": "oscar"},
        {"epoch": 2},
        {"sequence": 2},
        {"expires": base.expires + 1},
        {"cluster": "0" * 64},
    ]
    digests = {proposal_digest(draft(bench, **fields)) for fields in others}
    assert len(digests | {proposal_digest(base)}) == len(others) + 1
    # The rest of the header only carries it.
    assert proposal_digest(draft(bench, command_id="z", not_after=base.not_after + 1)) == proposal_digest(base)


def test_the_digest_of_a_proposal_is_fixed() -> None:
    command = ProposalOpen(
        cluster="c" * 64,
        command_id="id",
        not_after=9,
        command="revoke",
        body={"kind": "subject", "id": 'Agent::"é"', "reason": "x"},
        author="olga",
        epoch=1,
        sequence=2,
        expires=3,
    )
    named = (
        '{"author":"olga","body":{"id":"Agent::\\"é\\"","kind":"subject","reason":"x"},'
        f'"cluster":"{"c" * 64}","command":"revoke","epoch":1,"expires":3,"sequence":2}}'
    )
    assert proposal_digest(command) == hashlib.sha256(b"govraft/proposal/v1\0" + named.encode()).hexdigest()
    assert proposal_digest(command) == "a7a2b621468c02690511efc482a6d49a50fe549ad092bb050ef314d3b18f851b"
