"""Entities: put, patch, delete, all or nothing.

Uids are stored in their canonical spelling. Attributes are Cedar's JSON values; here their shape is checked, their
types by the schema when they are proposed. Parents need not exist, but the graph of parents has no cycle and no chain
longer than `ENTITY_PARENT_CHAIN`, at any time, because the native engine walks it.

An entity belongs to one domain. Whose signatures a command takes depends on all domains that it concerns: that to which
the entities are to belong, and those to which they belong now; it takes the operators of the lowest domain above them
all. Where those who signed are not enough for the root, they may name as new parents only entities of their part of the
tree. A group is how a policy is met: to put an entity into another domain's group would be to take what that domain
permits its members. Nor may they create an entity that is named elsewhere already: as a parent, in a policy, or as the
holder of a grant.

An entity that they delete stays in its domain: what is left of it says where its name is decided, until it is put again
or the operators of the root delete that too. Else deleting a resource would take it out of all that its domain forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from govraft.core.machine.ancestry import check_ancestry
from govraft.core.machine.records import ENTITY_PREFIX, GONE_PREFIX, Entity
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import EntityDelete, EntityPatch, EntityPut
from govraft.core.model.ids import ROOT_DOMAIN, EntityUid, is_action_type, is_entity_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.core.policy.hazards import HazardError, scan_value
from govraft.errors import DecodeError

__all__ = [
    "delete_entities",
    "of_deleted_entities",
    "of_patched_entity",
    "of_put_entities",
    "patch_entity",
    "put_entities",
]

_EXTENSIONS = frozenset({"datetime", "decimal", "duration", "ip"})


class _Refusal(Exception):  # noqa: N818 - carries a value to the handler's end, nothing went wrong
    """Ends a handler with a rejection from within."""

    def __init__(self, reason: Rejection, detail: str) -> None:
        super().__init__(detail)
        self.rejected = Rejected(reason, detail)


def put_entities(state: State, command: EntityPut, context: Context) -> Changes | Rejected:
    """Create or replace entities. Refused: too many, too large, malformed, one uid twice, a cycle, too long a chain."""
    required = of_put_entities(state, command)
    if isinstance(required, Rejected):
        return required
    if len(command.entities) > limits.ENTITIES_PER_COMMAND:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"over {limits.ENTITIES_PER_COMMAND} entities, send them in batches")
    try:
        uids = _distinct_uids(fields.uid for fields in command.entities)
        entities = [
            Entity(uid, _checked_attrs(fields.attrs), _parent_uids(fields.parents), command.domain)
            for uid, fields in zip(uids, command.entities, strict=True)
        ]
    except _Refusal as refusal:
        return refusal.rejected
    scope = _scope(state, required.domain, context)
    refused = _check_names(state, scope, uids) or _check_parents(state, scope, entities)
    return refused or _store(state, entities, context)


def patch_entity(state: State, command: EntityPatch, context: Context) -> Changes | Rejected:
    """Change an entity. Refused: unknown, nothing to change, contradictory, or as `put_entities` refuses the result."""
    try:
        uid = _entity_uid(command.uid)
        old = state.entities.entities.get(uid)
        if old is None:
            return Rejected(Rejection.ENTITY_UNKNOWN, f"`{uid}` does not exist, put it first")
        if not (command.set or command.unset or command.add_parents or command.remove_parents):
            return Rejected(Rejection.ENTITY_INVALID, "the patch changes nothing")
        attrs = _patched_attrs(old.attrs, _checked_attrs(command.set), command.unset)
        parents = _patched_parents(old.parents, command)
    except _Refusal as refusal:
        return refusal.rejected
    entity = Entity(uid, attrs, parents, old.domain)
    scope = _scope(state, old.domain, context)
    return _check_parents(state, scope, [entity]) or _store(state, [entity], context)


def delete_entities(state: State, command: EntityDelete, context: Context) -> Changes | Rejected:
    """Delete entities. Refused: too many at once, one uid twice, unknown."""
    if len(command.uids) > limits.ENTITIES_PER_COMMAND:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"over {limits.ENTITIES_PER_COMMAND} entities, send them in batches")
    try:
        uids = _distinct_uids(command.uids)
    except _Refusal as refusal:
        return refusal.rejected
    changes, view = Changes(), state.entities
    scope = _scope(state, of_deleted_entities(state, command).domain, context)
    for uid in uids:
        known = view.entities.get(uid)
        if known is not None:
            changes.remove("entities", ENTITY_PREFIX + uid)
        elif uid in view.gone and scope == ROOT_DOMAIN:
            changes.remove("entities", GONE_PREFIX + uid)
        else:
            return Rejected(Rejection.ENTITY_UNKNOWN, f"`{uid}` does not exist")
        # SAFETY: a name does not leave its domain by being deleted there.
        # test_domain_entities.test_a_deleted_resource_is_still_decided_in_its_domain
        if known is not None and scope != ROOT_DOMAIN:
            changes.put("entities", GONE_PREFIX + uid, known.domain)
    return changes


def of_put_entities(state: State, command: EntityPut) -> Requirement | Rejected:
    """The operators of the lowest domain above that of the command and those of the entities that it replaces."""
    if not state.domains.path(command.domain):
        return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{command.domain}` does not exist, create it first")
    # SAFETY: nobody takes an entity out of a domain that is not his. test_domain_entities.test_who_may_put
    return _requires_of(state, (fields.uid for fields in command.entities), [command.domain])


def of_patched_entity(state: State, command: EntityPatch) -> Requirement:
    """The operators of the entity's domain."""
    return _requires_of(state, [command.uid])


def of_deleted_entities(state: State, command: EntityDelete) -> Requirement:
    """The operators of the lowest domain above those of all the entities."""
    return _requires_of(state, command.uids)


def _requires_of(state: State, texts: Iterable[str], domains: Iterable[str] = ()) -> Requirement:
    """For entities of these names, as far as they exist: what is no name is refused by the handler."""
    concerned = dict.fromkeys(domains)
    for text in texts:
        try:
            uid = str(parse_uid(text))
        except DecodeError:
            continue
        if uid in state.entities.entities or uid in state.entities.gone:
            concerned[state.entities.domain(uid)] = None
    return Requirement(Role.OPERATOR, state.domains.common(concerned))


def _scope(state: State, domain: str, context: Context) -> str:
    """The widest domain, at or above this one, for which those who signed are enough operators."""
    view, path = state.authorities, state.domains.path(domain)
    authors = [view.by_id[author] for author in context.authors if author in view.by_id]
    for place in range(len(path) - 1, 0, -1):
        above = path[place:]
        if sum(author.holds(Role.OPERATOR, above) for author in authors) >= view.needed(Role.OPERATOR, above):
            return path[place]
    return domain


def _check_names(state: State, domain: str, uids: list[str]) -> Rejected | None:
    """Whether those who signed for a domain may create entities of these names.

    A group may count before it is an entity: named as a parent, in a policy, or as the holder of a grant. Whoever could
    create it then could put members into it; and a resource would be decided by other policies than those that name it.
    """
    if domain == ROOT_DOMAIN:
        return None
    view, grants = state.entities, state.grants

    def is_foreign(user: str) -> bool:
        return domain not in state.domains.path(user)

    new = [uid for uid in uids if uid not in view.entities and uid not in view.gone]
    # Asked for all at once, as it seldom is the case; only then one by one.
    is_named = any(map(is_foreign, state.policies.naming(*new)))
    for uid in new:
        users = {view.entities[child].domain for child in view.children.get(uid, ())}
        users.update(grants.grants[name].domain for name in grants.of_holder(uid))
        if is_named:
            users.update(state.policies.naming(uid))
        # SAFETY: nobody becomes what others speak of.
        # test_domain_entities.test_names_in_use_elsewhere_cannot_be_claimed,
        # test_review_issue_governance.py::test_nobody_becomes_the_holder_of_anothers_grant
        if any(map(is_foreign, users)):
            detail = f"`{uid}` is named outside of `{domain}` already, so operators from there must put it"
            return Rejected(Rejection.ENTITY_CLAIMED, detail)
    return None


def _check_parents(state: State, domain: str, entities: list[Entity]) -> Rejected | None:
    """Whether those who signed for a domain may name the parents that these entities get."""
    if domain == ROOT_DOMAIN:
        return None
    known, put = state.entities.entities, {entity.uid: entity.domain for entity in entities}
    for entity in entities:
        old = known.get(entity.uid)
        for parent in entity.parents:
            # What somebody else allowed before is not taken away by who changes something else.
            if old is not None and parent in old.parents:
                continue
            place = put.get(parent) or (known[parent].domain if parent in known else None)
            # SAFETY: nobody joins a group of another domain.
            # test_domain_entities.test_parents_of_other_domains_are_refused
            if place is None or domain not in state.domains.path(place):
                detail = f"`{parent}` is no entity of `{domain}` or below, so it can be no parent here"
                return Rejected(Rejection.PARENT_OUTSIDE, detail)
    return None


def _store(state: State, entities: list[Entity], context: Context) -> Changes | Rejected:
    view, most = state.entities, room(state, limits.ENTITIES, Role.OPERATOR, context.authors)
    new = sum(entity.uid not in view.entities and entity.uid not in view.gone for entity in entities)
    if new and len(view.entities) + len(view.gone) + new > most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"at most {most} entities, delete some")
    changes = Changes()
    for entity in entities:
        if changes.put("entities", ENTITY_PREFIX + entity.uid, entity) > limits.ENTITY_BYTES:
            return Rejected(Rejection.LIMIT_EXCEEDED, f"`{entity.uid}` takes over {limits.ENTITY_BYTES} bytes")
        if entity.uid in view.gone:
            changes.remove("entities", GONE_PREFIX + entity.uid)
    refused = check_ancestry(state.entities, {entity.uid: entity.parents for entity in entities})
    return changes if refused is None else refused


def _entity_uid(text: str) -> str:
    try:
        uid = parse_uid(text)
    except DecodeError as error:
        raise _Refusal(Rejection.ENTITY_INVALID, str(error)) from error
    if is_action_type(uid.type):
        raise _Refusal(Rejection.ENTITY_INVALID, f"`{text}` is an action, define it in the schema")
    return str(uid)


def _distinct_uids(texts: Iterable[str]) -> list[str]:
    uids = [_entity_uid(text) for text in texts]
    if len(set(uids)) != len(uids):
        raise _Refusal(Rejection.ENTITY_INVALID, "one uid appears twice, send it once")
    return uids


def _parent_uids(texts: Iterable[str]) -> tuple[str, ...]:
    uids = _distinct_uids(texts)
    if len(uids) > limits.ENTITY_PARENTS:
        raise _Refusal(Rejection.LIMIT_EXCEEDED, f"an entity has at most {limits.ENTITY_PARENTS} parents")
    return tuple(sorted(uids))


def _patched_attrs(old: Mapping[str, Any], changed: Mapping[str, Any], unset: tuple[str, ...]) -> dict[str, Any]:
    missing = [name for name in unset if name not in old]
    if missing or len(set(unset)) != len(unset) or not changed.keys().isdisjoint(unset):
        raise _Refusal(Rejection.ENTITY_INVALID, "`unset` must name attributes that are there, once, and not in `set`")
    return {name: value for name, value in {**old, **changed}.items() if name not in unset}


def _patched_parents(old: tuple[str, ...], command: EntityPatch) -> tuple[str, ...]:
    added, removed = _distinct_uids(command.add_parents), _distinct_uids(command.remove_parents)
    if not set(old).isdisjoint(added) or not set(old).issuperset(removed):
        raise _Refusal(Rejection.ENTITY_INVALID, "`add_parents` must be new and `remove_parents` must be there")
    return _parent_uids(sorted({*old, *added}.difference(removed)))


def _checked_attrs(attrs: dict[str, Any]) -> dict[str, Any]:
    try:
        # SAFETY: no value that could end the process reaches the native engine. test_entities.test_attributes_table
        scan_value(attrs, depth_max=limits.ENTITY_DEPTH)
    except HazardError as error:
        too_deep = error.code == "value_too_deep"
        raise _Refusal(Rejection.LIMIT_EXCEEDED if too_deep else Rejection.ENTITY_INVALID, str(error)) from error
    if not attrs.keys().isdisjoint({"__entity", "__extn"}):
        raise _Refusal(Rejection.ENTITY_INVALID, "an attribute cannot be named `__entity` or `__extn`")
    stack: list[Any] = list(attrs.values())
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict) and not _is_escape(value):
            stack.extend(value.values())
    return attrs


def _is_escape(value: dict[str, Any]) -> bool:
    """Whether a map is one of Cedar's two escapes. Refuses what merely resembles one."""
    if "__entity" in value:
        inner, names = value["__entity"], ("type", "id")
        well_formed = _is_text_map(inner, names) and is_entity_type(inner["type"]) and _fits(inner)
    elif "__extn" in value:
        inner, names = value["__extn"], ("fn", "arg")
        well_formed = _is_text_map(inner, names) and inner["fn"] in _EXTENSIONS
    else:
        return False
    if not well_formed or len(value) != 1:
        raise _Refusal(
            Rejection.ENTITY_INVALID,
            'write an entity as {"__entity":{"type","id"}} and an extension value as {"__extn":{"fn","arg"}}',
        )
    return True


def _is_text_map(value: object, names: tuple[str, str]) -> bool:
    return isinstance(value, dict) and value.keys() == set(names) and all(isinstance(v, str) for v in value.values())


def _fits(reference: dict[str, str]) -> bool:
    return len(str(EntityUid(reference["type"], reference["id"]))) <= limits.ENTITY_UID_CHARS
