"""Entities, marks and policies of the root domain, for machines alone: in a run these would change every answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from govraft.core.model.commands import (
    ClusterRules,
    Command,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.rules import RULES_NEWEST
from govraft.testing.simulation.workload import Drawn, Stage, signed_by

__all__ = ["draw_root"]

_UIDS = tuple(f'T::"{number}"' for number in range(12))


def draw_root(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command that concerns the whole tree of domains; None if none can be signed."""
    header = stage.header()
    uids = [rng.choice(_UIDS) for _ in range(3)]
    target: dict[str, Any] = {
        "kind": rng.choice(list(TargetKind)),
        "id": rng.choice([*uids, "n1", 'Action::"go"']),
        "reason": "r",
    }
    makers: list[Callable[[], Command]] = [
        lambda: EntityPut(
            **header,
            entities=tuple(EntityFields(uid, {"n": rng.randrange(9)}, tuple(rng.sample(uids, 1))) for uid in uids),
        ),
        lambda: EntityPut(**header, entities=(EntityFields(uids[0], {"b": 1, "a": {"d": [1], "c": "x"}}, ()),)),
        lambda: EntityPatch(
            **header, uid=uids[0], set={"m": rng.randrange(9)}, unset=(), add_parents=(uids[1],), remove_parents=()
        ),
        lambda: EntityDelete(**header, uids=(uids[0],)),
        lambda: Quarantine(**header, **target),
        lambda: Release(**header, **target),
        lambda: Revoke(**header, **target),
        # Never beyond what this govraft knows: nothing could be drawn any more.
        lambda: ClusterRules(**header, to=rng.randint(1, RULES_NEWEST)),
        lambda: _publish(rng, stage),
        lambda: _activate(rng, stage),
    ]
    command = rng.choice(makers)()
    if isinstance(command, ClusterRules):
        return signed_by(stage, command, "rita", "ruth")
    return signed_by(stage, command, "pat" if isinstance(command, PolicyPublish | PolicyActivate) else "olga")


def _publish(rng: random.Random, stage: Stage) -> Command:
    versions = stage.machine.policy_versions
    latest = versions[-1] if versions else None
    return PolicyPublish(
        **stage.header(),
        version=1 if latest is None else latest.version + 1,
        expected="" if latest is None else latest.digest,
        schema="entity T;" if latest is None else None,
        policies=(f'permit(principal == T::"{rng.randrange(200)}", action, resource);',),
        removed=(),
    )


def _activate(rng: random.Random, stage: Stage) -> Command:
    versions = stage.machine.policy_versions
    chosen = rng.choice(versions) if versions else None
    number, digest = (1, "0" * 64) if chosen is None else (chosen.version, chosen.digest)
    return PolicyActivate(**stage.header(), version=number, digest=digest)
