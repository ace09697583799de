"""No fork: each seq has one certified root, one state, one leaf."""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import Certificate, Check, Event, Lineage

__all__ = ["fork", "prefix"]


def fork(run: Run) -> Iterator[Violation]:
    """Two certified roots or states of one seq, or an answer on another state than the certified one."""
    roots: dict[int, Certificate] = {}
    for certificate in run.certificates:
        known = roots.setdefault(certificate.seq, certificate)
        if (known.root, known.state_root) != (certificate.root, certificate.state_root):
            message = f"two roots are certified at seq {certificate.seq}: by {known.node} and by {certificate.node}"
            yield Violation.of("fork", message, known, certificate)
    states: dict[int, tuple[str, Event]] = {seq: (item.state_root, item) for seq, item in roots.items()}
    for check in run.checks:
        if not check.seq or not check.state_root:
            continue
        state_root, witness = states.setdefault(check.seq, (check.state_root, check))
        if state_root != check.state_root:
            yield Violation.of("fork", _other_state(check, witness), witness, check)


def _other_state(check: Check, witness: Event) -> str:
    verb = "allowed" if check.allowed else "denied"
    other = f"{witness.node} answered on" if isinstance(witness, Check) else "is certified"
    return f"{check.node} {verb} at {seconds(check.at)} on another state of seq {check.seq} than {other}"


def prefix(run: Run) -> Iterator[Violation]:
    """Of any two lineages one continues the other, of one node or of two, at any time.

    A node that starts again may hold a shorter one until it has caught up, never another one.
    """
    leaves: dict[int, tuple[str, Lineage]] = {}
    for lineage in run.trusted_lineages():
        for seq, leaf in enumerate(lineage.leaves, lineage.first):
            known, witness = leaves.setdefault(seq, (leaf, lineage))
            if known != leaf:
                message = (
                    f"{lineage.node} at {seconds(lineage.at)} holds another leaf at seq {seq} "
                    f"than {witness.node} at {seconds(witness.at)}"
                )
                yield Violation.of("lineage_prefix", message, witness, lineage)
                break
