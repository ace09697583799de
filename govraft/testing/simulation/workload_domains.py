"""Domains in a simulated cluster: they come, move and go, and so do their entities and policies.

Nothing here touches what the simulated clients ask for: the root's policies and the resource that everybody asks about
stay as they are. In the domains themselves anything may happen.
"""

from __future__ import annotations

import random
from typing import Any

from govraft.core.machine.dispatch import requirement
from govraft.core.machine.policies import policy_id
from govraft.core.machine.requirement import Requirement
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    Command,
    DomainCreate,
    DomainMove,
    DomainRemove,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.testing.simulation.workload import Drawn, Stage, key_of

__all__ = ["draw_domains"]

_NAMES = tuple(f"d{number}" for number in range(1, 9))
_TOOLS = tuple(f'Tool::"d{number}"' for number in range(12))
_GROUPS = tuple(f'Group::"d{number}"' for number in range(8))
_POLICIES = tuple(
    f'{effect}(principal in Group::"d{number}", action, resource == Tool::"d{number}");'
    for number in range(8)
    for effect in ("permit", "forbid")
)
_ANY = (Role.ROOT, ROOT_DOMAIN)
"""Who signs what is refused whoever signs it."""
_MISTAKES = 0.1
"""Share of commands that somebody signs who may not."""


def draw_domains(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command about domains, their entities or their policies; None if none can be signed."""
    makers = (_draw_create, _draw_move, _draw_remove, _draw_put, _draw_put, _draw_patch, _draw_delete)
    command = rng.choice((*makers, _draw_publish, _draw_publish, _draw_activate, _draw_activate))(rng, stage)
    if isinstance(command, PolicyPublish | PolicyActivate) and command.domain == ROOT_DOMAIN:
        return None
    return _signed(rng, stage, command)


def _signed(rng: random.Random, stage: Stage, command: Command) -> Drawn | None:
    """By as many as it takes, chosen at random among those who may; mistaken now and then."""
    state = stage.machine.state
    required = requirement(state, command)
    if not isinstance(required, Requirement) or required.role is None:
        required = Requirement(*_ANY)
    path = state.domains.path(required.domain) or (ROOT_DOMAIN,)
    role = required.role or _ANY[0]
    everybody = sorted(stage.machine.authorities)
    holders = [name for name in everybody if stage.machine.authorities[name].holds(role, path)]
    chosen = rng.sample(holders, min(len(holders), state.authorities.needed(role, path)))
    if rng.random() < _MISTAKES:
        chosen = rng.sample([name for name in everybody if name not in holders] or everybody, 1)
    keys = [key for name in chosen if (key := key_of(stage, name)) is not None]
    return Drawn(command, tuple(keys)) if keys else None


def _draw_domain(rng: random.Random, stage: Stage) -> str:
    return rng.choice([ROOT_DOMAIN, "nowhere", *sorted(stage.machine.state.domains.domains) * 4])


def _draw_create(rng: random.Random, stage: Stage) -> Command:
    return DomainCreate(**stage.header(), id=rng.choice(_NAMES), parent=_draw_domain(rng, stage))


def _draw_move(rng: random.Random, stage: Stage) -> Command:
    return DomainMove(**stage.header(), id=_draw_domain(rng, stage), parent=_draw_domain(rng, stage))


def _draw_remove(rng: random.Random, stage: Stage) -> Command:
    return DomainRemove(**stage.header(), id=_draw_domain(rng, stage))


def _draw_put(rng: random.Random, stage: Stage) -> Command:
    uids = rng.sample([*_TOOLS, *_GROUPS], rng.randrange(1, 4))
    entities = tuple(EntityFields(uid, {}, tuple(rng.sample(_GROUPS, rng.randrange(2)))) for uid in uids)
    return EntityPut(**stage.header(), entities=entities, domain=_draw_domain(rng, stage))


def _draw_patch(rng: random.Random, stage: Stage) -> Command:
    uid = rng.choice([*_TOOLS, *_GROUPS])
    change: dict[str, Any] = {"set": {}, "unset": (), "add_parents": (), "remove_parents": ()}
    change[rng.choice(("add_parents", "remove_parents"))] = (rng.choice(_GROUPS),)
    return EntityPatch(**stage.header(), uid=uid, **change)


def _draw_delete(rng: random.Random, stage: Stage) -> Command:
    return EntityDelete(**stage.header(), uids=tuple(rng.sample([*_TOOLS, *_GROUPS], rng.randrange(1, 3))))


def _draw_publish(rng: random.Random, stage: Stage) -> Command:
    domain = _draw_domain(rng, stage)
    latest = stage.machine.state.policies.of(domain).latest
    have = () if latest is None else latest.policy_ids
    added = [text for text in rng.sample(_POLICIES, rng.randrange(3)) if policy_id(text) not in have]
    # All of them at times: only an empty domain can be removed.
    gone = have if rng.random() < 0.4 else tuple(rng.sample(have, min(len(have), rng.randrange(2))))
    return PolicyPublish(
        **stage.header(),
        domain=domain,
        version=(0 if latest is None else latest.version) + rng.choice([1] * 15 + [2]),
        expected="" if latest is None else latest.digest,
        schema=rng.choice([None] * 15 + ["entity Agent;"]),
        policies=tuple(added),
        removed=tuple(name.hex() for name in gone),
    )


def _draw_activate(rng: random.Random, stage: Stage) -> Command:
    domain = _draw_domain(rng, stage)
    versions = stage.machine.state.policies.of(domain).versions
    number = rng.choice([1, *versions, *sorted(versions)[-1:] * 8])
    digest = versions[number].digest if number in versions else "0" * 64
    return PolicyActivate(**stage.header(), domain=domain, version=number, digest=digest)
