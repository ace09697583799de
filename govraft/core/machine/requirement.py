"""Whose signatures a command takes.

One of three: the threshold of a role in a domain (or `least` holders of it), one named authority, one member node.
Whoever holds a role in a domain holds it in all domains below; so the path from the command's domain up to the root
says who may sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from govraft.core.machine.state import State
from govraft.core.model.authority import Role
from govraft.core.model.commands import Command, required_role
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.outcome import Rejected, Rejection

__all__ = ["Requirement", "Satisfied", "holds_in_root", "of_role", "room", "satisfy"]


class Requirement(NamedTuple):
    """Whose signatures a command takes. Exactly one of `role`, `authority`, `is_member`, `is_anyone` says it.

    With both `role` and `authority`, either will do.

    Attributes:
        role: Holders of this role in `domain` or above it.
        domain: Which the command changes.
        least: How many of them; None: the threshold.
        authority: Id of the one authority that must be active and sign; its roles do not matter.
        member: Id of the member node that must sign.
        is_anyone: Any one active authority or member.
    """

    role: Role | None = None
    domain: str = ROOT_DOMAIN
    least: int | None = None
    authority: str | None = None
    member: str | None = None
    is_anyone: bool = False


class Satisfied(NamedTuple):
    """Ids of the authorities whose signatures were needed and there, sorted; the member that signed; and the role."""

    authors: tuple[str, ...]
    node: str | None
    role: Role | None = None


def of_role(state: State, command: Command) -> Requirement:
    """The threshold of the command's role in the root domain, or in that which it names."""
    del state
    return Requirement(required_role(command), getattr(command, "domain", ROOT_DOMAIN))


def holds_in_root(state: State, role: Role, authors: Iterable[str]) -> bool:
    """Whether these authorities could sign for the role in the root domain."""
    view, path = state.authorities, (ROOT_DOMAIN,)
    able = sum(view.by_id[author].holds(role, path) for author in authors if author in view.by_id)
    return able >= view.needed(role, path)


def room(state: State, limit: int, role: Role, authors: Iterable[str]) -> int:
    """How much of a limit of the whole cluster may be used up once the command of these authors is done.

    Whoever acts only below the root, or alone, leaves half of it.
    """
    # SAFETY: no part of the tree keeps the rest of it from acting: some of what is counted never goes away
    # (test_review_issue_governance.py::test_no_domain_uses_up_what_all_need).
    return limit if holds_in_root(state, role, authors) else limit // 2


def satisfy(state: State, requirement: Requirement, key_ids: list[str]) -> Satisfied | Rejected:
    """Hold verified signatures against a requirement.

    Args:
        state: Says who holds which key and role.
        requirement: Of the command.
        key_ids: Of the known keys that signed, each once.
    """
    holders = state.authorities.key_holders
    signed = [holders[name] for name in key_ids if name in holders]
    nodes = sorted(state.members.key_holders[name].id for name in key_ids if name in state.members.key_holders)
    node = nodes[0] if len(nodes) == 1 else None
    active = sorted(item.id for item in signed if item.is_active)
    if requirement.role is not None and requirement.authority not in active:
        return _of_role(state, requirement, signed_ids=[item.id for item in signed], node=node)
    if requirement.authority is not None:
        if requirement.authority not in active:
            return Rejected(Rejection.THRESHOLD_UNMET, f"`{requirement.authority}` must sign, and be active")
        return Satisfied((requirement.authority,), node)
    if requirement.member is not None:
        if requirement.member not in nodes:
            return Rejected(Rejection.THRESHOLD_UNMET, f"node `{requirement.member}` must sign with its own key")
        return Satisfied((), requirement.member)
    if requirement.is_anyone and (active or nodes):
        return Satisfied(tuple(active), node)
    return Rejected(Rejection.THRESHOLD_UNMET, "an active authority or a member must sign")


def _of_role(
    state: State, requirement: Requirement, *, signed_ids: list[str], node: str | None
) -> Satisfied | Rejected:
    role, path = requirement.role, state.domains.path(requirement.domain)
    if role is None or not path:
        return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{requirement.domain[:64]}` does not exist, create it first")
    view = state.authorities
    authors = sorted(name for name in signed_ids if view.by_id[name].holds(role, path))
    needed = view.needed(role, path) if requirement.least is None else requirement.least
    # SAFETY: distinct keys that hold the role, never signatures. test_admission.test_threshold_counts_role_holders
    if len(authors) < needed:
        where = "" if requirement.domain == ROOT_DOMAIN else f" in `{requirement.domain}`"
        return Rejected(
            Rejection.THRESHOLD_UNMET, f"{len(authors)} of {needed} `{role.value}` signatures{where}, add more"
        )
    return Satisfied(tuple(authors), node, role)
