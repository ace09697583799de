"""All mutants, by the part of the product that they weaken."""

from __future__ import annotations

from auditing import AUDITING_MUTANTS
from consensus import ENGINE_MUTANTS
from convergence import CONVERGENCE_MUTANTS
from durability import DURABILITY_MUTANTS
from enforcement import ENFORCEMENT_MUTANTS
from evidence import EVIDENCE_MUTANTS
from governance import GOVERNANCE_MUTANTS
from lending import LENDING_MUTANTS
from membership import MEMBERSHIP_MUTANTS
from mutant import Mutant
from portable import PORTABLE_MUTANTS
from scoping import SCOPING_MUTANTS
from trusting import TRUSTING_MUTANTS
from wall_clocks import WALL_CLOCK_MUTANTS

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = (
    *CONVERGENCE_MUTANTS,
    *WALL_CLOCK_MUTANTS,
    *EVIDENCE_MUTANTS,
    *ENFORCEMENT_MUTANTS,
    *ENGINE_MUTANTS,
    *DURABILITY_MUTANTS,
    *MEMBERSHIP_MUTANTS,
    *GOVERNANCE_MUTANTS,
    *SCOPING_MUTANTS,
    *LENDING_MUTANTS,
    *PORTABLE_MUTANTS,
    *TRUSTING_MUTANTS,
    *AUDITING_MUTANTS,
)
