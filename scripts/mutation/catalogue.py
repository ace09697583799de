"""All mutants, by the part of the product that they weaken."""

from __future__ import annotations

from consensus import ENGINE_MUTANTS
from convergence import CONVERGENCE_MUTANTS
from durability import DURABILITY_MUTANTS
from enforcement import ENFORCEMENT_MUTANTS
from evidence import EVIDENCE_MUTANTS
from mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = (
    *CONVERGENCE_MUTANTS,
    *EVIDENCE_MUTANTS,
    *ENFORCEMENT_MUTANTS,
    *ENGINE_MUTANTS,
    *DURABILITY_MUTANTS,
)
