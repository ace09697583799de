"""Random commands about grants and boundaries, such as fit the state and such as do not.

Nothing here touches what the simulated clients ask for: grants are demanded by annotated permits only, and boundaries
are set for a subject that nobody asks about.
"""

from __future__ import annotations

import random
from typing import Any

from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    BoundaryRemove,
    BoundarySet,
    Command,
    GrantDelegate,
    GrantIssue,
    GrantRenew,
    GrantRevoke,
    Rate,
    Window,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.limits import GRANT_DEPTH
from govraft.testing.simulation.workload import Drawn, Stage, signed_by

__all__ = ["BOUNDED_SUBJECT", "draw_boundaries", "draw_grants"]

BOUNDED_SUBJECT = 'Agent::"bounded"'

_HOLDERS = ('Agent::"granted"', 'Group::"granted"', 'Agent::"a"')
_ACTIONS = ('Action::"run"', 'Action::"stop"')
_RESOURCES = ('Tool::"t"', 'Tool::"u"', 'Group::"tools"')
_WRONG_UID = 'Action::"misplaced"'
_LONG_MS = 600_000
_OPERATOR = "olga"


def draw_grants(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command about grants. Any operator's signature does for each of them."""
    return signed_by(stage, _draw_grant(rng, stage), _OPERATOR)


def draw_boundaries(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command about boundaries. Any operator's signature does."""
    return signed_by(stage, _draw_boundary(rng, stage), _OPERATOR)


def _draw_grant(rng: random.Random, stage: Stage) -> Command:
    machine, header = stage.machine, stage.header()
    known = sorted(machine.state.grants.grants)
    chosen = rng.choice(known) if known and rng.random() < 0.9 else "unknown"
    # Short ones end while the run goes on, others outlast it.
    end = machine.time + rng.choice([1, 500, 5_000, _LONG_MS, -1_000])
    draw = rng.random()
    if draw < 0.3:
        return GrantIssue(**header, id=_name(rng, known), **_fields(rng, end), domain=_domain(rng, machine))
    if draw < 0.65:
        return GrantDelegate(**header, id=_name(rng, known), parent=chosen, **_inner(rng, machine, chosen, end))
    if draw < 0.85:
        return GrantRenew(**header, id=chosen, not_after_grant=end)
    return GrantRevoke(**header, id=chosen, reason="simulated")


def _draw_boundary(rng: random.Random, stage: Stage) -> Command:
    machine, header, domain = stage.machine, stage.header(), _domain(rng, stage.machine)
    known = sorted(machine.state.boundaries.of(domain))
    name = rng.choice(known) if known and rng.random() < 0.6 else f"b{rng.randrange(6)}"
    if rng.random() < 0.3:
        return BoundaryRemove(**header, id=name, domain=domain)
    bounds: dict[str, Any] = rng.choice(
        [
            {"windows": (Window((0, 1, 2, 3, 4), 540, 1020), Window((6,), 0, 1440))},
            {"regions": ("eu", "us")},
            {"rate": Rate(rng.randint(1, 9), rng.randint(1, 5))},
            {"level_max": rng.randrange(5)},
            {},
            {"windows": (Window((0,), 60, 60),)},
            {"regions": ("eu", "eu")},
        ]
    )
    return BoundarySet(
        **header, id=name, domain=domain, subject=rng.choice([BOUNDED_SUBJECT] * 9 + [_WRONG_UID]), **bounds
    )


def _name(rng: random.Random, known: list[str]) -> str:
    return rng.choice(known) if known and rng.random() < 0.1 else f"g{rng.randrange(10_000)}"


def _domain(rng: random.Random, machine: Machine) -> str:
    domains = [ROOT_DOMAIN, *sorted(machine.state.domains.domains)]
    return rng.choice(domains) if rng.random() < 0.95 else "nowhere"


def _fields(rng: random.Random, end: int) -> dict[str, Any]:
    resources = _RESOURCES if rng.random() < 0.95 else (_WRONG_UID,)
    return {
        "holder": rng.choice(_HOLDERS),
        "actions": tuple(rng.sample(_ACTIONS, rng.randint(1, len(_ACTIONS)))),
        "resources": tuple(rng.sample(resources, rng.randint(1, len(resources)))),
        "not_before": max(1, end - rng.choice([0, 1, 5_000, _LONG_MS])),
        "not_after_grant": end,
        "delegate": rng.choice([None, "ruth", "olga", "nobody"]),
        "depth": rng.choice([0, 1, 3, GRANT_DEPTH]),
    }


def _inner(rng: random.Random, machine: Machine, parent: str, end: int) -> dict[str, Any]:
    """Fields of a delegation: mostly within the parent, now and then wider in some respect."""
    fields = {**_fields(rng, end), "domain": _domain(rng, machine)}
    grant = machine.state.grants.grants.get(parent)
    if grant is None:
        return fields
    within = {
        "actions": grant.actions[:1],
        "resources": grant.resources[-1:],
        "not_before": grant.not_before,
        "not_after_grant": grant.not_after,
        "depth": max(0, grant.depth - 1),
        "domain": grant.domain,
        "delegate": grant.delegate,
    }
    wider = rng.choice([None, None, None, *within])
    return {**fields, **{name: value for name, value in within.items() if name != wider}}
