"""Which faults come when: a pure function of scenario, seed, number of nodes and capabilities.

A plan is a list of steps. A step is one fault, or a fault of a node and one of the network that overlap. After each
step the run waits until all nodes serve again, so the steps have a fixed order but no fixed times; whom a fault hits is
chosen with a seed of its own, among the nodes that are there then.
"""

from __future__ import annotations

import random
from collections.abc import Collection

import msgspec

from govraft.errors import InputError
from govraft.testing.chaos.catalogue import CAPABILITIES, NEMESES
from govraft.testing.chaos.scenarios import SCENARIOS

__all__ = ["Plan", "PlannedFault", "Step", "make_plan"]

_STEPS_MAX = 100_000
_SHORTEST_STEP_S = 0.5
_GAP_MS = (300, 1200)


class PlannedFault(msgspec.Struct, frozen=True):
    """One fault: its kind, when it starts in its step, how long it lasts, and what chooses its victims."""

    kind: str
    after_ms: int
    hold_ms: int
    seed: int


class Step(msgspec.Struct, frozen=True):
    """Faults that overlap, and how long the cluster is left alone after them."""

    faults: tuple[PlannedFault, ...]
    gap_ms: int


class Plan(msgspec.Struct, frozen=True):
    """What a run will do. `missing`: kinds of the scenario that this host cannot make, each with what is missing."""

    scenario: str
    seed: int
    steps: tuple[Step, ...]
    missing: dict[str, str]


def make_plan(scenario: str, *, seed: int, duration_s: float, capabilities: Collection[str]) -> Plan:
    """Plan more steps than fit into the time: the run ends in the middle of the list.

    Raises:
        InputError: There is no such scenario, or this host can make none of its faults.
    """
    if scenario not in SCENARIOS:
        raise InputError(f"scenario `{scenario}` is unknown; choose one of {', '.join(SCENARIOS)}")
    chosen = SCENARIOS[scenario]
    missing = {
        kind: "; ".join(CAPABILITIES[need] for need in sorted(NEMESES[kind].needs - set(capabilities)))
        for kind in chosen.kinds
        if not NEMESES[kind].needs <= set(capabilities)
    }
    kinds = [kind for kind in chosen.kinds if kind not in missing]
    if chosen.kinds and not kinds:
        raise InputError(f"scenario `{scenario}` cannot run here, it needs {'; '.join(sorted(set(missing.values())))}")
    dice = random.Random(f"{scenario}/{seed}")  # noqa: S311 - a plan that can be repeated
    most = min(_STEPS_MAX, int(duration_s / _SHORTEST_STEP_S) + 1)
    steps: list[Step] = []
    bag: list[str] = []
    while kinds and len(steps) < (chosen.limit or most):
        if not bag:
            bag = dice.sample(kinds, len(kinds))
        faults = [_fault(bag.pop(), 0, dice)]
        partner = _partner(faults[0].kind, bag) if dice.random() < chosen.overlap else None
        if partner is not None:
            bag.remove(partner)
            faults.append(_fault(partner, dice.randint(0, faults[0].hold_ms), dice))
        steps.append(Step(tuple(faults), dice.randint(*_GAP_MS)))
    return Plan(scenario, seed, tuple(steps), missing)


def _fault(kind: str, after_ms: int, dice: random.Random) -> PlannedFault:
    return PlannedFault(kind, after_ms, dice.randint(*NEMESES[kind].hold_ms), dice.getrandbits(32))


def _partner(kind: str, bag: list[str]) -> str | None:
    """A kind that may come together with `kind`: one of a node with one of the network."""
    wanted = {"node": "network", "network": "node"}.get(NEMESES[kind].group)
    return next((other for other in reversed(bag) if NEMESES[other].group == wanted), None)
