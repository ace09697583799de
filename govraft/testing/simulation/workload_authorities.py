"""Authorities in a simulated cluster: they come, change roles and keys, are suspended, and go.

Those who sign everybody else's commands keep their roles and their keys: `abe`, `ada`, `olga` and `pat`. So a
run may grow strange, but never ends because nobody can sign any more.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    Command,
    NewKey,
    ThresholdSet,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.testing.simulation.workload import KEY_GENERATIONS, Drawn, Stage, by_holders, key_of, spare_key

__all__ = ["draw_authorities"]

_SPARED = frozenset({"abe", "ada", "olga", "pat"})
_NEWCOMERS = tuple(f"x{number}" for number in range(1, 9))
_STATUS: tuple[Callable[..., Command], ...] = (
    AuthoritySuspend,
    AuthoritySuspend,
    AuthorityResume,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityEmergencyRevoke,
)
_MISTAKES = 0.15
"""Share of commands that somebody forgot to sign, or signed who may not."""


def draw_authorities(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command of this family; None if none can be signed."""
    makers = (_draw_add, _draw_add, _draw_assign, _draw_rotate, _draw_status, _draw_status, _draw_threshold)
    drawn = rng.choice(makers)(rng, stage)
    if drawn is None or rng.random() >= _MISTAKES:
        return drawn
    stranger = key_of(stage, rng.choice(sorted(_SPARED)))
    keys = [key for key in drawn.keys if rng.random() < 0.5]
    wrong = [] if stranger is None or stranger in keys else [stranger]
    return Drawn(drawn.command, (*keys, *wrong)) if keys or wrong else drawn


def _draw_add(rng: random.Random, stage: Stage) -> Drawn | None:
    name = rng.choice(_NEWCOMERS)
    key = spare_key(name, rng.randrange(3))
    command = AuthorityAdd(**stage.header(), id=name, public_key=_text(key), assignments=_draw_assignments(rng, stage))
    return _by_roots(stage, command, key)


def _draw_assign(rng: random.Random, stage: Stage) -> Drawn | None:
    name = _draw_target(rng, stage)
    return _by_roots(stage, AuthorityAssign(**stage.header(), id=name, assignments=_draw_assignments(rng, stage)))


def _draw_rotate(rng: random.Random, stage: Stage) -> Drawn | None:
    names = sorted({_draw_target(rng, stage) for _ in range(rng.randrange(1, 3))})
    keys = {name: spare_key(name, rng.randrange(KEY_GENERATIONS)) for name in names}
    fields = tuple(NewKey(name, _text(key)) for name, key in keys.items())
    return _by_roots(stage, AuthorityRotate(**stage.header(), keys=fields), *keys.values())


def _draw_status(rng: random.Random, stage: Stage) -> Drawn | None:
    make = rng.choice(_STATUS)
    command = make(**stage.header(), id=_draw_target(rng, stage), reason="simulated")
    if isinstance(command, AuthorityEmergencyRevoke):
        return by_holders(stage, command, Role.EMERGENCY)
    return _by_roots(stage, command)


def _draw_threshold(rng: random.Random, stage: Stage) -> Drawn | None:
    role = rng.choice((Role.ATTESTOR, Role.AUDITOR, Role.EMERGENCY, Role.ROOT))
    domain = rng.choice(_domains(stage))
    # The commands of everybody else are signed by one key each.
    return _by_roots(stage, ThresholdSet(**stage.header(), role=role, domain=domain, count=rng.randrange(4)))


def _draw_target(rng: random.Random, stage: Stage) -> str:
    present = [name for name in sorted(stage.machine.authorities) if name not in _SPARED]
    return rng.choice([*present, rng.choice(_NEWCOMERS)])


def _draw_assignments(rng: random.Random, stage: Stage) -> tuple[Assignment, ...]:
    drawn = {Assignment(rng.choice(list(Role)), rng.choice(_domains(stage))) for _ in range(rng.randrange(1, 4))}
    return tuple(sorted(drawn))


def _domains(stage: Stage) -> list[str]:
    return [ROOT_DOMAIN, ROOT_DOMAIN, *sorted(stage.machine.state.domains.domains)]


def _by_roots(stage: Stage, command: Command, *more: Ed25519PrivateKey) -> Drawn | None:
    return by_holders(stage, command, Role.ROOT, *more)


def _text(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode("ascii")
