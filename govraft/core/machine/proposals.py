"""Proposals: a command that is put to the vote, and executes by itself once its threshold holds.

    status     approve                      reject                 take back   author withdraws   its time is over
    open       open, executed or failed     open or rejected       open        withdrawn          expired
    any other  PROPOSAL_CLOSED              PROPOSAL_CLOSED        …_CLOSED    PROPOSAL_CLOSED    as it is

Rules:
1. The proposed command itself says whose role it takes, where, and how many: asked anew at each ballot, of the state
   at that entry. A ballot counts while its voter is active and holds that role under the key that signed it, in the
   epoch in which it was cast.
2. A ballot is bound to the cluster (the command's header), the epoch, the proposal's digest and a sequence that only
   grows, whatever the voter votes on: no ballot counts twice, for anything else, or after a later one.
3. The entry of the approval with which the threshold holds executes the command, through the same handler that takes
   it with all signatures in one envelope. What that handler rejects closes the proposal as failed; the ballot stands.
4. So of two proposals that contradict each other the one executes that is decided first in the log; the other one
   fails, with the code that says why.
5. What is decided, and what is no more possible to decide, is closed in the same entry. Expired proposals are closed
   a few with each command of this family; nobody can vote on them in the meantime.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from govraft.core.codec.canonical import pack_json
from govraft.core.crypto.keys import key_id
from govraft.core.machine.proposal_view import PROPOSAL_PREFIX, SEQUENCE_PREFIX, Ballot, Proposal, ProposalStatus
from govraft.core.machine.requirement import Requirement
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    COMMANDS,
    BallotChoice,
    Command,
    CommandHeader,
    ProposalOpen,
    ProposalVote,
    ProposalWithdraw,
    decode_command,
    proposal_digest,
    rules_needed,
)
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import InputError

__all__ = [
    "Rules",
    "of_author",
    "of_voter",
    "open_proposal",
    "proposed_command",
    "vote_on_proposal",
    "withdraw_proposal",
]

_IN_PERSON = frozenset(
    {
        "attest",
        "authority.add",
        "authority.rotate",
        "member.add",
        "member.evict",
        "member.rotate",
        "audit.anchor",
        "permit.redeem",
        "proposal.open",
        "proposal.vote",
        "proposal.withdraw",
    }
)
"""Commands that must be signed themselves: by a new key, by somebody whom they name, or as a ballot."""

_HEADER = CommandHeader.__struct_fields__


class Rules(NamedTuple):
    """What the table of all commands says; given from there, because that table also lists the commands of this module.

    Attributes:
        requirement: Whose signatures a command takes in a state.
        handle: What a command does.
    """

    requirement: Callable[[State, Command], Requirement | Rejected]
    handle: Callable[[State, Command, Context], Changes | Rejected]


class _Vote(NamedTuple):
    """Who votes, how, and what the ballot is bound to."""

    voter: str
    choice: BallotChoice
    epoch: int
    sequence: int


class _Franchise(NamedTuple):
    """Who may vote on a command, and how many must approve."""

    role: Role
    path: tuple[str, ...]
    needed: int


class _Turn(NamedTuple):
    """One ballot's entry: what it meets, and what it has changed so far."""

    state: State
    context: Context
    rules: Rules
    changes: Changes

    def cast(self, proposal: Proposal, inner: Command, vote: _Vote) -> Changes | Rejected:
        """Count a ballot, and do what it decides."""
        franchise = self._franchise(inner)
        if isinstance(franchise, Rejected):
            return franchise
        role, path, needed = franchise
        holders = {name: item for name, item in self.state.authorities.by_id.items() if item.holds(role, path)}
        # SAFETY: nobody votes who could not sign the command. test_proposals.py::test_only_holders_of_the_role_vote
        if vote.voter not in holders:
            return Rejected(Rejection.BALLOT_INVALID, f"`{vote.voter}` does not hold `{role.value}` in `{path[0]}`")
        ballots = {name: ballot for name, ballot in proposal.ballots.items() if name != vote.voter}
        if vote.choice is not BallotChoice.WITHDRAW:
            signed_by = key_id(holders[vote.voter].public_key)
            ballots[vote.voter] = Ballot(vote.choice, vote.epoch, vote.sequence, self.context.seq, signed_by)
        # SAFETY: of voters who hold the role at this moment, in this epoch, and by no key that was replaced since: that
        # may have been in wrong hands. test_proposals.py::test_who_counts,
        # test_review_issue_governance.py::test_a_ballot_of_a_replaced_key_does_not_count
        counted = {
            name: item.choice
            for name, item in ballots.items()
            if name in holders and item.epoch == vote.epoch and item.key == key_id(holders[name].public_key)
        }
        approvals = tuple(sorted(name for name, choice in counted.items() if choice is BallotChoice.APPROVE))
        possible = len(holders) - sum(choice is BallotChoice.REJECT for choice in counted.values())
        voted = msgspec.structs.replace(proposal, ballots=ballots)
        changes = self.changes
        # SAFETY: only an approval executes, and only with the threshold. test_proposals.py::test_voting
        if vote.choice is BallotChoice.APPROVE and len(approvals) >= needed:
            changes = self._execute(voted, inner, approvals)
        elif possible < needed:
            _close(self.state, changes, voted, ProposalStatus.REJECTED, self.context)
        else:
            changes.put("proposals", PROPOSAL_PREFIX + voted.digest, voted)
        changes.put("proposals", SEQUENCE_PREFIX + vote.voter, vote.sequence)
        return changes

    def _franchise(self, inner: Command) -> _Franchise | Rejected:
        required = self.rules.requirement(self.state, inner)
        if isinstance(required, Rejected):
            return required
        path = self.state.domains.path(required.domain)
        if required.role is None:
            return Rejected(Rejection.PROPOSAL_INVALID, "the command is for one signer, it cannot be proposed")
        if not path:
            return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{required.domain[:64]}` does not exist")
        least = self.state.authorities.needed(required.role, path) if required.least is None else required.least
        return _Franchise(required.role, path, least)

    def _execute(self, proposal: Proposal, inner: Command, approvals: tuple[str, ...]) -> Changes:
        """Let the command's own handler decide, as if all who approved had signed it."""
        context = self.context._replace(authors=approvals, signers=approvals, node=None, signed_bytes=b"", foreign={})
        result = self.rules.handle(self.state, inner, context)
        if isinstance(result, Rejected):
            _close(self.state, self.changes, proposal, ProposalStatus.FAILED, self.context, result.code)
            return self.changes
        _close(self.state, self.changes, proposal, ProposalStatus.EXECUTED, self.context, "applied")
        result.by_section["proposals"] = self.changes.by_section["proposals"]
        return result


def of_author(state: State, command: ProposalOpen | ProposalWithdraw) -> Requirement:
    """The author itself."""
    del state
    return Requirement(authority=command.author)


def of_voter(state: State, command: ProposalVote) -> Requirement:
    """The voter itself."""
    del state
    return Requirement(authority=command.voter)


def proposed_command(command: ProposalOpen) -> Command | Rejected:
    """The command that a proposal would execute, with the header that the machine gives it."""
    name, own = command.command, [field for field in _HEADER if field in command.body]
    if name not in COMMANDS:
        return Rejected(Rejection.PROPOSAL_INVALID, f"`{name[:64]}` is no command here")
    # SAFETY: nothing that proves possession, or speaks for one node or attestor, is done in its absence.
    # test_proposals.py::test_what_must_be_signed_in_person_cannot_be_proposed
    if name in _IN_PERSON:
        return Rejected(Rejection.PROPOSAL_INVALID, f"`{name}` cannot be proposed, sign it instead")
    if own:
        return Rejected(Rejection.PROPOSAL_INVALID, f"leave `{own[0]}` out of the body, the machine sets it")
    try:
        return decode_command(name, _payload(command))
    except InputError as error:
        return Rejected(Rejection.PROPOSAL_INVALID, str(error))


def open_proposal(state: State, command: ProposalOpen, context: Context, *, rules: Rules) -> Changes | Rejected:
    """Put a command to the vote, with its author's approval."""
    vote = _Vote(command.author, BallotChoice.APPROVE, command.epoch, command.sequence)
    refused = _check_vote(state, vote, context)
    if refused is not None:
        return refused
    if not context.time < command.expires <= context.time + limits.PROPOSAL_LIFE_MS:
        message = f"`expires` must be later than now, by at most {limits.PROPOSAL_LIFE_MS} ms"
        return Rejected(Rejection.PROPOSAL_INVALID, message)
    inner = proposed_command(command)
    if isinstance(inner, Rejected):
        return inner
    if rules_needed(inner) > state.rules:
        message = f"such a command needs rules {rules_needed(inner)}, the cluster goes by {state.rules}"
        return Rejected(Rejection.PROPOSAL_INVALID, message)
    changes = _close_expired(state, context)
    full = _check_room(state, command.author, changes)
    if full is not None:
        return full
    proposal = Proposal(
        digest=proposal_digest(command),
        command=command.command,
        payload=_payload(command),
        author=command.author,
        epoch=command.epoch,
        sequence=command.sequence,
        expires=command.expires,
        seq=context.seq,
        time=context.time,
        ballots={},
    )
    return _Turn(state, context, rules, changes).cast(proposal, inner, vote)


def vote_on_proposal(state: State, command: ProposalVote, context: Context, *, rules: Rules) -> Changes | Rejected:
    """Cast a ballot, and do what it decides."""
    proposal = _find_open(state, command.proposal, context)
    if isinstance(proposal, Rejected):
        return proposal
    vote = _Vote(command.voter, command.choice, command.epoch, command.sequence)
    refused = _check_vote(state, vote, context)
    if refused is not None:
        return refused
    if vote.choice is BallotChoice.WITHDRAW and vote.voter not in proposal.ballots:
        return Rejected(Rejection.BALLOT_INVALID, f"`{vote.voter}` has no ballot here to take back")
    inner = decode_command(proposal.command, proposal.payload)
    return _Turn(state, context, rules, _close_expired(state, context)).cast(proposal, inner, vote)


def withdraw_proposal(state: State, command: ProposalWithdraw, context: Context) -> Changes | Rejected:
    """Close one's own proposal."""
    proposal = _find_open(state, command.proposal, context)
    if isinstance(proposal, Rejected):
        return proposal
    if proposal.author != command.author:
        return Rejected(Rejection.PROPOSAL_INVALID, f"it was opened by `{proposal.author}`, vote against it instead")
    changes = _close_expired(state, context)
    _close(state, changes, proposal, ProposalStatus.WITHDRAWN, context)
    return changes


def _payload(command: ProposalOpen) -> bytes:
    header = {
        "cluster": command.cluster,
        "command_id": f"proposal/{proposal_digest(command)}",
        "not_after": command.expires,
    }
    fields: dict[str, Any] = {**command.body, **header}
    return pack_json(fields)


def _find_open(state: State, digest: str, context: Context) -> Proposal | Rejected:
    proposal = state.proposals.find(digest)
    if proposal is None:
        return Rejected(Rejection.PROPOSAL_UNKNOWN, f"there is no proposal `{digest}`, see `govraft proposal list`")
    # SAFETY: what is over cannot be decided any more, whether its record says so yet or not.
    # test_proposals.py::test_nobody_votes_once_it_has_expired
    expired = proposal.status is ProposalStatus.OPEN and proposal.expires <= context.time
    if expired or proposal.status is not ProposalStatus.OPEN:
        status = ProposalStatus.EXPIRED if expired else proposal.status
        return Rejected(Rejection.PROPOSAL_CLOSED, f"the proposal is {status.value}, open another one")
    return proposal


def _check_vote(state: State, vote: _Vote, context: Context) -> Rejected | None:
    # SAFETY: one ballot an envelope, of the one who signed it. test_proposals.py::test_ballots_are_signed_alone
    if context.signers != (vote.voter,):
        return Rejected(Rejection.BALLOT_INVALID, f"a ballot is signed by its voter alone, here `{vote.voter}`")
    epoch = state.electorate.epoch
    # SAFETY: a ballot speaks of one electorate. test_proposals.py::test_ballots_are_bound_to_the_epoch
    if vote.epoch != epoch:
        return Rejected(Rejection.WRONG_EPOCH, f"it is epoch {epoch}, not {vote.epoch}: vote again")
    last = state.proposals.last_sequence(vote.voter)
    # SAFETY: no ballot counts twice, nor after a later one. test_proposals.py::test_ballots_cannot_be_replayed
    if vote.sequence <= last:
        return Rejected(Rejection.BALLOT_REPLAYED, f"`sequence` must be over {last}, that of the last ballot")
    return None


def _check_room(state: State, author: str, changes: Changes) -> Rejected | None:
    """Those that this entry closes make room already."""
    closing = changes.by_section.get("proposals", {})
    present = [item for name, item in state.proposals.open.items() if PROPOSAL_PREFIX + name not in closing]
    if len(present) >= limits.PROPOSALS_OPEN:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{limits.PROPOSALS_OPEN} proposals are open, decide some first")
    own = sum(item.author == author for item in present)
    if own >= limits.PROPOSALS_OPEN_OF_ONE:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"`{author}` has {own} proposals open, withdraw some first")
    return None


def _close(
    state: State, changes: Changes, proposal: Proposal, status: ProposalStatus, context: Context, code: str = ""
) -> None:
    """Put down what became of a proposal; forget the oldest closed one if there are too many."""
    closed = msgspec.structs.replace(
        proposal, payload=b"", status=status, code=code, closed_seq=context.seq, closed_time=context.time
    )
    changes.put("proposals", PROPOSAL_PREFIX + proposal.digest, closed)
    of_now = sum(value is not None for value in changes.by_section["proposals"].values())
    excess = len(state.proposals.closed) + of_now - limits.PROPOSALS_CLOSED
    ages = ((item.closed_seq, name) for name, item in state.proposals.closed.items())
    for _, name in heapq.nsmallest(excess, ages):
        changes.remove("proposals", PROPOSAL_PREFIX + name)


def _close_expired(state: State, context: Context) -> Changes:
    """Close the longest expired proposals, at most `PROPOSALS_PRUNED_PER_ENTRY`."""
    changes = Changes()
    over = ((item.expires, name) for name, item in state.proposals.open.items() if item.expires <= context.time)
    for _, name in heapq.nsmallest(limits.PROPOSALS_PRUNED_PER_ENTRY, over):
        _close(state, changes, state.proposals.open[name], ProposalStatus.EXPIRED, context)
    return changes
