"""Members: add, promote, remove, rotate, evict. Each command that is applied begins the next epoch.

    member         add             promote         remove, evict   rotate
    none           observer        MEMBER_UNKNOWN  MEMBER_UNKNOWN  MEMBER_UNKNOWN
    observer       MEMBER_EXISTS   voter           none            observer, new key
    voter          MEMBER_EXISTS   MEMBER_STATE    none            voter, new key

A removed or replaced key never comes back; an id may, with another key. There is always a voter. The new electorate is
in force once a quorum of it and one of the old have certified the entry (protocol, "Epochs"); nothing of that is
decided here.
"""

from __future__ import annotations

from govraft.core.codec.base64_text import from_base64
from govraft.core.convergence.messages import Ack, Kind, Signed
from govraft.core.crypto.keys import key_id
from govraft.core.machine.electorate_view import EPOCH_KEY, MEMBER_PREFIX, RETIRED_PREFIX, EpochRecord
from govraft.core.machine.new_key import check_possession, decode_new_key
from govraft.core.machine.requirement import Requirement
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.commands import (
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
)
from govraft.core.model.electorate import Member, is_address
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import InputError

__all__ = ["add_member", "evict_member", "of_evidence", "promote_member", "remove_member", "rotate_member"]


def add_member(state: State, command: MemberAdd, context: Context) -> Changes | Rejected:
    """Add a node as an observer."""
    identifier = command.member.id
    if identifier in state.members.members:
        return Rejected(Rejection.MEMBER_EXISTS, f"`{identifier}` is a member already")
    observers = sum(not member.voter for member in state.members.members.values())
    if observers >= limits.OBSERVERS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"there are {limits.OBSERVERS} observers, remove one first")
    member = _new_member(state, command.member, context, voter=False)
    return member if isinstance(member, Rejected) else _next_epoch(state, {identifier: member}, {})


def promote_member(state: State, command: MemberPromote, context: Context) -> Changes | Rejected:
    """Make an observer a voter."""
    del context
    member = state.members.members.get(command.id)
    if member is None:
        return _unknown(command.id)
    if member.voter:
        return Rejected(Rejection.MEMBER_STATE, f"`{command.id}` is a voter already")
    if len(state.electorate.voters) >= limits.VOTERS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"there are {limits.VOTERS} voters, remove one first")
    voter = Member(member.id, member.public_key, member.certificate, voter=True, address=member.address)
    return _next_epoch(state, {command.id: voter}, {})


def remove_member(state: State, command: MemberRemove, context: Context) -> Changes | Rejected:
    """Remove a node."""
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    return _without(state, command.id, context)


def rotate_member(state: State, command: MemberRotate, context: Context) -> Changes | Rejected:
    """Give a node another key."""
    old = state.members.members.get(command.member.id)
    if old is None:
        return _unknown(command.member.id)
    electorate = state.electorate
    if old.voter and len(electorate.voters) - 1 < electorate.quorum_count:
        # Neither key may be there while they change places: the others must be able to certify that without it.
        message = f"without `{old.id}` the other voters are no quorum, add another voter first"
        return Rejected(Rejection.QUORUM_AT_RISK, message)
    member = _new_member(state, command.member, context, voter=old.voter)
    if isinstance(member, Rejected):
        return member
    return _next_epoch(state, {old.id: member}, {key_id(old.public_key): context.seq})


def evict_member(state: State, command: MemberEvict, context: Context) -> Changes | Rejected:
    """Remove a node that has signed two roots for one seq."""
    member = state.members.members.get(command.id)
    if member is None:
        return _unknown(command.id)
    acks = [_signed_ack(text, member, context) for text in (command.first, command.second)]
    first, second = acks
    # SAFETY: nobody can be evicted for what it did not sign, or by what an honest node may sign
    # (test_members.py::test_evidence_must_convict).
    if first is None or second is None or first.seq != second.seq or first.root == second.root:
        message = (
            f"these are not two acks of `{command.id}` with different roots for one seq, signed by its present key"
        )
        return Rejected(Rejection.EVIDENCE_INVALID, message)
    return _without(state, command.id, context)


def of_evidence(state: State, command: MemberEvict) -> Requirement:
    """Any one authority or member hands it in: what convicts is the evidence."""
    del state, command
    return Requirement(is_anyone=True)


def _without(state: State, identifier: str, context: Context) -> Changes | Rejected:
    member = state.members.members.get(identifier)
    if member is None:
        return _unknown(identifier)
    # SAFETY: an electorate without a voter could certify nothing ever again
    # (test_members.py::test_the_last_voter_stays).
    if member.voter and len(state.electorate.voters) == 1:
        return Rejected(Rejection.LAST_VOTER, f"`{identifier}` is the last voter, promote another one first")
    return _next_epoch(state, {identifier: None}, {key_id(member.public_key): context.seq})


def _next_epoch(state: State, members: dict[str, Member | None], retired: dict[str, int]) -> Changes:
    electorate, changes = state.electorate, Changes()
    changes.put("electorate", EPOCH_KEY, EpochRecord(electorate.epoch + 1, electorate.rule))
    for identifier, member in members.items():
        if member is None:
            changes.remove("electorate", MEMBER_PREFIX + identifier)
        else:
            changes.put("electorate", MEMBER_PREFIX + identifier, member)
    for name, seq in retired.items():
        changes.put("electorate", RETIRED_PREFIX + name, seq)
    return changes


def _new_member(state: State, fields: MemberFields, context: Context, *, voter: bool) -> Member | Rejected:
    key = decode_new_key(state, fields.public_key)
    if isinstance(key, Rejected):
        return key
    certificate = from_base64(fields.certificate)
    if certificate is None or len(certificate) > limits.CERTIFICATE_BYTES or key not in certificate:
        message = f"the certificate of `{fields.id}` does not hold its key, or is over {limits.CERTIFICATE_BYTES} bytes"
        return Rejected(Rejection.MEMBER_INVALID, message)
    # SAFETY: two members with one certificate would be one node to the network (test_members.py::test_table).
    if any(member.certificate == certificate for member in state.members.members.values()):
        return Rejected(Rejection.MEMBER_INVALID, f"the certificate of `{fields.id}` is another member's")
    if not is_address(fields.address):
        return Rejected(Rejection.MEMBER_INVALID, f"`{fields.address[:300]}` is no address, write `host:port`")
    refused = check_possession(context, key)
    return refused or Member(fields.id, key, certificate, voter, fields.address)


def _signed_ack(text: str, member: Member, context: Context) -> Ack | None:
    """The ack in a piece of evidence, if that member's key signed it and it speaks for that member."""
    data = from_base64(text)
    try:
        signed = None if data is None else Signed.decode(data, Kind.ACK)
        if signed is None or signed.signer != member.id:
            return None
        message = signed.message(bytes.fromhex(context.cluster_id))
        if not context.is_valid(member.public_key, signed.signature, message):
            return None
        ack = Ack.decode(signed.body)
    except InputError:
        return None
    return ack if ack.node == member.id else None


def _unknown(identifier: str) -> Rejected:
    return Rejected(Rejection.MEMBER_UNKNOWN, f"`{identifier[:64]}` is not a member, see `govraft member list`")
