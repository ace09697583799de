"""Whether what somebody types exists: a stop that names nobody would be applied, and stop nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from govraft.cli.nodes import choose_client
from govraft.cli.output import note
from govraft.cli.policy_world import active_bundle
from govraft.cli.settings import Settings
from govraft.client.client import Client
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid, is_action_type, parse_uid
from govraft.core.policy.declared_actions import DeclaredActions
from govraft.core.policy.engine import entity_types, parse_schema
from govraft.errors import GovraftError, InputError

__all__ = ["check_known"]

_REFUSALS = ("action_unknown", "entity_unknown", "type_unknown")


def check_known(settings: Settings, uids: Iterable[str], *, unregistered: bool) -> None:
    """Hold uids against the active schema and the registered entities; without a schema there is nothing to compare.

    Args:
        settings: Name the nodes to ask. If none can tell, that is said, and nothing refused.
        uids: Of entities and actions.
        unregistered: Whether an entity may be one that is not registered. Its type must be declared all the same.

    Raises:
        InputError: A type or an action is not declared, or an entity is not registered.
    """
    try:
        with choose_client(settings) as client:
            active = active_bundle(client, ROOT_DOMAIN)
            if active is not None:
                _check(client, active.schema, [canonical_uid(uid) for uid in uids], unregistered=unregistered)
    except GovraftError as error:
        if error.code in _REFUSALS:
            raise
        # Whatever else fails must not keep anybody from stopping something.
        note(f"whether what is named exists could not be looked up: {error}")


def _check(client: Client, schema: str, uids: Iterable[str], *, unregistered: bool) -> None:
    actions, types = set(DeclaredActions(schema)), entity_types(parse_schema(schema))
    for uid in uids:
        kind = parse_uid(uid).type
        if is_action_type(kind):
            if uid not in actions:
                hint = _guess(uid, actions)
                raise InputError(f"the active schema declares no action `{uid}`{hint}", code="action_unknown")
        elif kind not in types:
            raise InputError(f"the active schema has no entity type `{kind}`{_guess(kind, types)}", code="type_unknown")
        elif not unregistered and not _is_registered(client, uid):
            message = f"no entity `{uid}` is registered: if that is no typing error, add `--unregistered`"
            raise InputError(message, code="entity_unknown")


def _is_registered(client: Client, uid: str) -> bool:
    try:
        client.read("entity", uid=uid)
    except GovraftError as error:
        if error.code == "entity_unknown":
            return False
        raise
    return True


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean `{close[0]}`?" if close else ""
