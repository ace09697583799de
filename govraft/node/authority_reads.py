"""What a node tells about those who command it: authorities, proposals, and whose signatures a command takes."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from govraft.core.codec.canonical import unpack_json
from govraft.core.crypto.keys import key_id
from govraft.core.machine.dispatch import requirement
from govraft.core.machine.machine import Machine
from govraft.core.machine.proposal_view import Proposal, ProposalStatus
from govraft.core.model import limits
from govraft.core.model.authority import Authority
from govraft.core.model.commands import CommandHeader, command_name, decode_command
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError, InputError

__all__ = ["AUTHORITY_PAGE_MAX", "authority_reads"]

AUTHORITY_PAGE_MAX = 1_000

Reader = Callable[[dict[str, Any]], object]


def authority_reads(machine: Machine) -> dict[str, Reader]:
    """The reads by name. Each may raise `InputError` for unusable parameters."""
    return {
        "authorities": lambda params: _authorities(machine, params),
        "ballots": lambda params: _ballots(machine, params),
        "proposal": lambda params: _proposal(machine, params),
        "proposals": lambda params: _proposals(machine, params),
        "signers": lambda params: _signers(machine, params),
    }


def _authorities(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`after`: an id; a page of those behind it, and all thresholds."""
    after = _text(params, "after", "")
    found = heapq.nsmallest(AUTHORITY_PAGE_MAX + 1, (name for name in machine.authorities if name > after))
    page = [_authority_fields(machine.authorities[name]) for name in found[:AUTHORITY_PAGE_MAX]]
    return {
        "authorities": page,
        "next": page[-1]["id"] if len(found) > len(page) else None,
        "thresholds": machine.thresholds,
    }


def _authority_fields(item: Authority) -> dict[str, Any]:
    return {
        "id": item.id,
        "key_id": key_id(item.public_key),
        "public_key": item.public_key.hex(),
        "roles": sorted(role.value for role in item.roles),
        "scoped": [f"{assignment.role.value}@{assignment.domain}" for assignment in item.scoped],
        "status": item.status.value,
        "reason": item.reason,
    }


def _ballots(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`voter`: what its next ballot must be bound to."""
    voter = _text(params, "voter")
    return {"epoch": machine.epoch, "last_sequence": machine.state.proposals.last_sequence(voter)}


def _proposals(machine: Machine, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Open ones first to expire first, then closed ones, the youngest first; without their bodies."""
    del params
    view = machine.state.proposals
    opened = sorted(view.open.values(), key=lambda item: (item.expires, item.digest))
    closed = sorted(view.closed.values(), key=lambda item: (-item.closed_seq, item.digest))
    return [_proposal_fields(machine, item) for item in (*opened, *closed)]


def _proposal(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`digest`: the proposal with its ballots, and while it is open its body."""
    digest = _text(params, "digest")
    item = machine.state.proposals.find(digest)
    if item is None:
        raise InputError(f"there is no proposal `{digest[:64]}`; see `govraft proposal list`", code="proposal_unknown")
    body = None
    if item.payload:
        fields = unpack_json(item.payload, max_bytes=limits.ENVELOPE_BYTES)
        body = {name: value for name, value in fields.items() if name not in CommandHeader.__struct_fields__}
    ballots = {
        voter: {"choice": ballot.choice.value, "epoch": ballot.epoch, "seq": ballot.seq}
        for voter, ballot in sorted(item.ballots.items())
    }
    return {**_proposal_fields(machine, item), "body": body, "ballots": ballots}


def _proposal_fields(machine: Machine, item: Proposal) -> dict[str, Any]:
    is_over = item.status is ProposalStatus.OPEN and item.expires <= machine.time
    return {
        "digest": item.digest,
        "command": item.command,
        "author": item.author,
        "epoch": item.epoch,
        "sequence": item.sequence,
        "expires": item.expires,
        "seq": item.seq,
        "time": item.time,
        "status": (ProposalStatus.EXPIRED if is_over else item.status).value,
        "code": item.code,
        "closed_seq": item.closed_seq,
        "approvals": sum(ballot.choice.value == "approve" for ballot in item.ballots.values()),
        "rejections": sum(ballot.choice.value == "reject" for ballot in item.ballots.values()),
    }


def _signers(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`kind` and `payload` of a command: how many of which authorities must sign it, in the state as it is.

    Returns:
        `needed` and `holders`, ids; `alone`: an authority whose signature suffices by itself; `what`, for people.
        Of a command that is refused whoever signs it only `refused`, the code, and `what`.
    """
    name, payload = command_name(_text(params, "kind")), params.get("payload")
    if name is None or not isinstance(payload, bytes):
        raise DecodeError("`kind` must be the payload type of a command and `payload` its bytes")
    state = machine.state
    required = requirement(state, decode_command(name, payload))
    if isinstance(required, Rejected):
        return {"refused": required.code, "what": required.detail}
    active = sorted(item.id for item in machine.authorities.values() if item.is_active)
    alone = required.authority if required.authority in active else None
    if required.role is None:
        holders = active if required.is_anyone else [alone] if alone is not None else []
        what = required.authority or required.member or "any one"
        return {"needed": 1, "holders": holders, "alone": alone, "what": f"`{what}`"}
    path = state.domains.path(required.domain)
    if not path:
        return {"refused": Rejection.DOMAIN_UNKNOWN.value, "what": f"domain `{required.domain}` does not exist"}
    needed = state.authorities.needed(required.role, path) if required.least is None else required.least
    holders = [name for name in active if machine.authorities[name].holds(required.role, path)]
    what = required.role.value if len(path) < 2 else f"{required.role.value}@{required.domain}"
    return {"needed": needed, "holders": holders, "alone": alone, "what": f"`{what}`"}


def _text(params: dict[str, Any], name: str, default: str | None = None) -> str:
    value = params.get(name, default)
    if not isinstance(value, str):
        raise DecodeError(f"`{name}` must be text")
    return value
