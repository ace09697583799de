"""What a leader makes sure of before it proposes a change of the electorate or of the rules, beyond what apply decides.

Nothing here is needed for safety. A change that does not fit would be certified late or never, and until then nothing
else either: so one change at a time, only while those who are to certify it are there, and an observer becomes a voter
only when it keeps up.

Source: protocol, "Epochs".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from govraft.core.convergence.round import RoundLeader
from govraft.core.crypto.keys import certificate_key
from govraft.core.machine.machine import Machine
from govraft.core.machine.proposals import proposed_command
from govraft.core.model.commands import (
    COMMANDS,
    BallotChoice,
    ClusterRules,
    Command,
    MemberAdd,
    MemberEvict,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    ProposalOpen,
    ProposalVote,
    decode_command,
)
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.model.units import BoottimeNs

__all__ = [
    "MEMBER_NOT_SYNCED",
    "NOT_NOW",
    "VOTERS_SILENT",
    "MemberCommand",
    "Unfit",
    "change_of",
    "judge_change",
    "judge_rules",
]

MEMBER_NOT_SYNCED = "member_not_synced"
VOTERS_SILENT = "voters_silent"
RULES_NOT_KNOWN = "rules_not_known"
NOT_NOW = frozenset({MEMBER_NOT_SYNCED, RULES_NOT_KNOWN, VOTERS_SILENT})
"""Codes of what cannot be now, and may be possible later."""
LAG_ENTRIES = 256
"""How far an observer may be behind the certified seq when it is promoted: less than a batch or two."""

MemberCommand = MemberAdd | MemberPromote | MemberRemove | MemberRotate | MemberEvict
_NAMES = frozenset(name for name, (kind, _) in COMMANDS.items() if issubclass(kind, MemberCommand | ClusterRules))


class Unfit(NamedTuple):
    """Why a change is not proposed."""

    code: str
    detail: str


def change_of(command: Command, machine: Machine) -> Command | None:
    """The change of electorate or rules that a command makes, or may make: as a ballot it may execute one."""
    if isinstance(command, ProposalVote):
        proposal = machine.state.proposals.find(command.proposal)
        approves = command.choice is BallotChoice.APPROVE
        if proposal is None or not proposal.payload or not approves or proposal.command not in _NAMES:
            return None
        return decode_command(proposal.command, proposal.payload)
    if isinstance(command, ProposalOpen) and command.command in _NAMES:
        inner = proposed_command(command)
        return None if isinstance(inner, Rejected) else inner
    return command if isinstance(command, MemberCommand | ClusterRules) else None


def judge_change(
    command: Command, machine: Machine, leading: RoundLeader, certified_seq: int, now: BoottimeNs
) -> Unfit | None:
    """Whether the leader should propose a change of the electorate now.

    Args:
        command: That the machine would apply.
        machine: The leader's.
        leading: Knows who acked what, and when.
        certified_seq: That a new voter should have come near.
        now: Boot time.
    """
    if isinstance(command, MemberAdd | MemberRotate):
        # Apply parses no certificate, as parsers differ. A wrong one would only keep its own node from connecting.
        key, certificate = (base64.b64decode(text) for text in (command.member.public_key, command.member.certificate))
        if certificate_key(certificate) != key:
            message = f"the certificate of `{command.member.id}` is no X.509 certificate of its key"
            return Unfit(Rejection.MEMBER_INVALID.value, message)
    if isinstance(command, MemberPromote):
        member = machine.electorate.find(command.id)
        acked = None if member is None else leading.progress(member, now)
        if acked is None or acked < certified_seq - LAG_ENTRIES:
            behind = "has not been heard of lately" if acked is None else f"is at seq {acked} of {certified_seq}"
            return Unfit(MEMBER_NOT_SYNCED, f"`{command.id[:64]}` {behind}; wait until it keeps up, then promote it")
    return _judge_quorums(command, machine.electorate, leading, now) if isinstance(command, MemberCommand) else None


def judge_rules(command: ClusterRules, electorate: Electorate, known: Mapping[str, int]) -> Unfit | None:
    """Whether the leader should propose to go over to other rules now.

    Args:
        command: That the machine would apply.
        electorate: All its members must know the number.
        known: The newest number that each member said it knows, for those that are connected.
    """
    # SAFETY: a member that does not know the rules stops applying, and denies
    # (test_unknown_rules.py::test_the_leader_waits_for_every_member).
    late = [f"`{member.id}`" for member in electorate.members if known.get(member.id, 0) < command.to]
    if not late:
        return None
    message = f"rules {command.to} are not known to {', '.join(late)}, or it cannot be asked; update or remove it first"
    return Unfit(RULES_NOT_KNOWN, message)


def _judge_quorums(
    command: MemberCommand, electorate: Electorate, leading: RoundLeader, now: BoottimeNs
) -> Unfit | None:
    """Whether those who answer now can certify the change: a quorum before it, and one after it."""
    missing: dict[str, None] = {}
    too_few = []
    before = (len(electorate.voters), electorate.voters)
    for when, (total, known) in (("before", before), ("after", _voters_after(command, electorate))):
        silent = [voter.id for voter in known if leading.progress(voter, now) is None]
        needed, heard = electorate.rule.quorum_size(total), len(known) - len(silent)
        # SAFETY: a change that its electorates cannot certify stops all that comes after it, for ever if the silent
        # ones are gone (test_member_changes.py::test_a_change_that_the_living_cannot_certify_is_refused).
        if heard < needed:
            too_few.append(f"of the {total} voters {when} this change {needed} must certify it, and {heard} can")
            missing.update(dict.fromkeys(silent))
    if not too_few:
        return None
    names = ", ".join(f"`{name}`" for name in missing)
    silence = f"{names} {'has' if len(missing) == 1 else 'have'} not answered within three heartbeats: "
    advice = "bring back who is missing, or first remove who is gone for good"
    return Unfit(VOTERS_SILENT, f"{silence if missing else ''}{'; '.join(too_few)}; {advice}")


def _voters_after(command: MemberCommand, electorate: Electorate) -> tuple[int, Sequence[Member]]:
    """How many voters there are after a change, and those of them whose keys are there already.

    A key that the change itself brings in is not counted: whoever holds it may not be there yet, or never come.
    """
    voters = {voter.id: voter for voter in electorate.voters}
    match command:
        case MemberPromote(id=name):
            promoted = electorate.find(name)
            voters |= {} if promoted is None else {name: promoted}
        case MemberRemove(id=name) | MemberEvict(id=name):
            voters.pop(name, None)
        case MemberRotate(member=fields) if fields.id in voters:
            return len(voters), [voter for name, voter in voters.items() if name != fields.id]
    return len(voters), list(voters.values())
