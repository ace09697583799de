"""Why a node has no lease, in the words of the reason codes."""

from __future__ import annotations

from govraft.core.convergence.messages import Probe
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import Reason

__all__ = ["Diagnosis", "difference"]

_SECTION_REASONS = {
    "policies": Reason.POLICY_DIVERGENCE,
    "authorities": Reason.AUTHORIZATION_INCONSISTENT,
    "grants": Reason.AUTHORIZATION_INCONSISTENT,
    "electorate": Reason.AUTHORIZATION_INCONSISTENT,
    "entities": Reason.RUNTIME_STATE_FRAGMENTED,
    "boundaries": Reason.RUNTIME_STATE_FRAGMENTED,
    "attestations": Reason.ATTESTATION_DISAGREEMENT,
}


class Diagnosis:
    """Why no lease is coming, as far as this node has seen; cleared by the next lease."""

    __slots__ = ("message", "reason")

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.message = ""

    def set(self, reason: Reason, message: str) -> None:
        """Remember the latest finding."""
        self.reason, self.message = reason, message

    def clear(self) -> None:
        """Forget it."""
        self.reason, self.message = None, ""


def difference(machine: Machine, probe: Probe) -> tuple[Reason, str]:
    """The first section in which a probe differs from the node's own state at its seq: its reason, and in words."""
    own = machine.leaf(probe.checkpoint.seq)
    if own is None:
        return Reason.LINEAGE_INCONSISTENT, "the lineage differs"
    # A command that did something else here also left another trace in `audit`: what it governs says more.
    names = own.sections.keys() | probe.sections.keys()
    for name in sorted(names, key=lambda name: (name not in _SECTION_REASONS, name)):
        if own.sections.get(name) != probe.sections.get(name):
            return _SECTION_REASONS.get(name, Reason.LINEAGE_INCONSISTENT), f"section `{name}` differs"
    return Reason.LINEAGE_INCONSISTENT, "the sections agree, the lineage differs"
