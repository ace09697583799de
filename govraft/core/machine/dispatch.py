"""The closed table from commands to their handlers.

A handler is pure: it reads the state and returns what it wants changed, or why it refuses. It changes nothing itself,
so a handler that fails has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from govraft.core.machine.enforcement import quarantine, release, revoke
from govraft.core.machine.entities import delete_entities, patch_entity, put_entities
from govraft.core.machine.policies import activate_policies, publish_policies
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model.commands import (
    COMMANDS,
    Command,
    EntityDelete,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
)
from govraft.core.model.outcome import Rejected
from govraft.errors import require

__all__ = ["HANDLERS", "handle"]

# Each handler takes exactly the command type that it stands beside, which a dict's type cannot express.
HANDLERS: dict[type[Command], Callable[[State, Any, Context], Changes | Rejected]] = {
    PolicyPublish: publish_policies,
    PolicyActivate: activate_policies,
    EntityPut: put_entities,
    EntityPatch: patch_entity,
    EntityDelete: delete_entities,
    Quarantine: quarantine,
    Release: release,
    Revoke: revoke,
}

require(HANDLERS.keys() == {kind for kind, _ in COMMANDS.values()}, "every command has exactly one handler")


def handle(state: State, command: Command, context: Context) -> Changes | Rejected:
    """Let a command's handler decide."""
    return HANDLERS[type(command)](state, command, context)
