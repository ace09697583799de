"""What a run is asked to do, and what it came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from govraft.testing.chaos.planner import Plan
from govraft.testing.checkers import Violation
from govraft.testing.history import Event, FaultStarted
from govraft.testing.local_cluster_errors import ClusterError

__all__ = ["ChaosError", "ChaosOptions", "ChaosResult", "Progress"]

Progress = Callable[[float, str], None]
"""Told the share of the run that is over, and what happens now."""


class ChaosError(ClusterError):
    """The run could not be made, or broke down for a reason of its own: it says nothing about the nodes."""

    default_code = "chaos_failed"


class ChaosOptions(msgspec.Struct, frozen=True):
    """What a run is asked to do.

    Attributes:
        out: Directory for report and history; must not exist.
        nodes: How many voters.
        scenario: A name of `scenarios`.
        seed: Chooses everything.
        duration_s: How long faults go on; making, healing and judging come on top.
        network: `namespaces`, `proxy` or `auto`.
        checks_per_s: How many questions are asked, all nodes together; an aim.
        commands_per_s: How many commands are handed in; an aim.
        own_mounts: This process may take itself a mount namespace of its own, for file systems of a few MiB.
        programs: As for `LocalCluster`: nodes that are not the stock program.
    """

    out: Path
    nodes: int = 3
    scenario: str = "mixed"
    seed: int = 1
    duration_s: float = 60.0
    network: str = "auto"
    checks_per_s: int = 1500
    commands_per_s: int = 12
    own_mounts: bool = False
    programs: Mapping[str, Sequence[str]] = {}


class ChaosResult(msgspec.Struct, frozen=True):
    """What a run came to.

    Attributes:
        network: The one that was used.
        events: The whole history, in the order of time.
        violations: What the checkers and the faults found; empty if nothing was broken.
        faults: Those that came about.
        skipped: Faults that could not be made as things were, with the reason.
        signed_reads: How often the highest signed seq was read from a node's own database.
    """

    options: ChaosOptions
    plan: Plan
    network: str
    events: list[Event]
    violations: list[Violation]
    faults: list[FaultStarted]
    skipped: list[str]
    signed_reads: int
