"""What a node makes sure of before it proposes a command, beyond what apply decides.

Apply never calls the native policy engine (one bad text could kill every node, again at each replay), so it accepts
policies that no engine compiles: all nodes would then deny. Here, where only this proposal is at stake, they are
parsed and type-checked in a process that may die, and entities are held against the active schema. A command that is
put to the vote is examined when it is, because nobody looks again when it executes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from govraft.core.machine.machine import Machine
from govraft.core.machine.policies import policy_id
from govraft.core.machine.proposals import proposed_command
from govraft.core.model.commands import Command, EntityPatch, EntityPut, PolicyPublish, ProposalOpen
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import InputError, RejectedError

__all__ = ["Examine", "examine_proposal", "needs_examination"]

Examine = Callable[[str, Mapping[str, str], list[dict[str, Any]] | None], Awaitable[None]]
"""Parses and type-checks policies and entities where a crash hurts nobody; raises `InputError`."""


def needs_examination(command: Command) -> bool:
    """Whether the command may bring content that has to be parsed before it is proposed."""
    return isinstance(command, PolicyPublish | EntityPut | EntityPatch | ProposalOpen)


async def examine_proposal(machine: Machine, command: Command, examine: Examine) -> None:
    """Return if the command's policies or entities can be put to use.

    Args:
        machine: The state that the command would meet.
        command: Authenticated, and acceptable to the machine: strangers must not make a node start processes.
        examine: The isolated parser.

    Raises:
        RejectedError: They cannot.
    """
    if isinstance(command, ProposalOpen):
        inner = proposed_command(command)
        if isinstance(inner, Rejected):
            raise RejectedError(inner.detail or inner.code, code=inner.code)
        command = inner
    try:
        if isinstance(command, PolicyPublish):
            await _examine_policies(machine, command, examine)
        elif isinstance(command, EntityPut | EntityPatch):
            await _examine_entities(machine, command, examine)
    except InputError as error:
        fallback = Rejection.POLICY_INVALID if isinstance(command, PolicyPublish) else Rejection.ENTITY_INVALID
        known = isinstance(command, PolicyPublish) and error.code in {item.value for item in Rejection}
        raise RejectedError(str(error), code=error.code if known else fallback.value) from error


async def _examine_policies(machine: Machine, command: PolicyPublish, examine: Examine) -> None:
    view = machine.state.policies
    latest = view.of(command.domain).latest
    base = None if latest is None else view.bundle(latest.version, command.domain)
    schema = command.schema
    if schema is None and command.domain != ROOT_DOMAIN:
        # Only the root has one, and what decides in a domain is compiled with the one that is active there.
        schema = view.schema()
    elif schema is None and base is not None:
        schema = base.schema
    if schema is None:
        raise InputError("there is no schema yet: publish policies with one in `root` first", code="policy_invalid")
    policies = {policy_id(text).hex(): text for text in command.policies}
    if command.schema is not None and base is not None:
        # What stays must fit the new schema too.
        removed = set(command.removed)
        policies |= {name: text for name, text in base.policies.items() if name not in removed}
    await examine(schema, policies, None)


async def _examine_entities(machine: Machine, command: EntityPut | EntityPatch, examine: Examine) -> None:
    active = machine.active_policies
    if active is None:
        return
    if isinstance(command, EntityPut):
        entities = [_cedar_entity(item.uid, item.attrs, item.parents) for item in command.entities]
    else:
        entities = [_patched(machine, command)]
    await examine(active.schema, {}, entities)


def _patched(machine: Machine, command: EntityPatch) -> dict[str, Any]:
    """The entity as it would be after the patch."""
    uid = canonical_uid(command.uid)
    before = machine.entities.get(uid)
    if before is None:
        raise InputError(f"entity `{uid}` does not exist; put it first")
    attrs = {name: value for name, value in before.attrs.items() if name not in command.unset} | command.set
    removed = {canonical_uid(parent) for parent in command.remove_parents}
    parents = [parent for parent in before.parents if parent not in removed]
    return _cedar_entity(uid, attrs, (*parents, *command.add_parents))


def _cedar_entity(uid: str, attrs: dict[str, Any], parents: tuple[str, ...]) -> dict[str, Any]:
    return {"uid": _cedar_uid(uid), "attrs": attrs, "parents": [_cedar_uid(parent) for parent in parents]}


def _cedar_uid(text: str) -> dict[str, str]:
    uid = parse_uid(text)
    return {"type": uid.type, "id": uid.id}
