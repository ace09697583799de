"""All targets by name."""

from __future__ import annotations

from fuzzing import (
    audit_targets,
    cli_targets,
    codec_targets,
    database_target,
    evidence_targets,
    exchange_targets,
    file_targets,
    governed_targets,
    option_targets,
    planted,
    proof_targets,
    protocol_targets,
)
from fuzzing.target import Target

__all__ = ["TARGETS", "find"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        codec_targets,
        evidence_targets,
        proof_targets,
        protocol_targets,
        exchange_targets,
        governed_targets,
        audit_targets,
        file_targets,
        cli_targets,
        option_targets,
        database_target,
    )
    for target in module.TARGETS
}


def find(name: str) -> Target | None:
    """The target of that name; the planted one, too, which `--all` leaves out."""
    return planted.TARGET if name == planted.TARGET.name else TARGETS.get(name)
