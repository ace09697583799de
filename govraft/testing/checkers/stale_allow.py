"""No stale allow: whoever asks after seq s became effective is never allowed on an older state.

A certificate recorded at `at` existed by then, and so did the one behind a receipt. An allow that was *asked for*
later must be of that seq or a newer one. Equal times are no order.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import Certificate, CommandTried

__all__ = ["stale_allow"]


def stale_allow(run: Run) -> Iterator[Violation]:
    """Allows on a state older than one that was known to be effective when they were asked for."""
    effective = sorted(_effective(run), key=lambda item: item[0])
    place, newest, proof = 0, 0, None
    for check in sorted((item for item in run.checks if item.allowed), key=lambda item: item.began):
        while place < len(effective) and effective[place][0] < check.began:
            if effective[place][1] > newest:
                newest, proof = effective[place][1], effective[place][2]
            place += 1
        if check.seq < newest and proof is not None:
            message = (
                f"{check.node} allowed `{check.target}` at seq {check.seq}, asked at {seconds(check.began)}; "
                f"seq {newest} was effective since {seconds(proof.at)}"
            )
            yield Violation.of("stale_allow", message, proof, check)


def _effective(run: Run) -> Iterator[tuple[int, int, Certificate | CommandTried]]:
    for certificate in run.certificates:
        yield certificate.at, certificate.seq, certificate
    for command in run.commands:
        if command.certified_seq:
            yield command.at, command.certified_seq, command
