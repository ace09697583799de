"""Allows and receipts rest on a certificate that existed when they were given.

Only for runs whose record holds *every* certificate from the moment at which it came into being, as simulated ones do.
A real cluster's certificates are seen now and then, so that nothing follows from one that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds

__all__ = ["certified"]


def certified(run: Run) -> Iterator[Violation]:
    """Allows on a state before any quorum certified it, and receipts that name a certificate before there was one."""
    since: dict[int, int] = {}
    for certificate in run.certificates:
        since.setdefault(certificate.seq, certificate.at)
    for check in run.checks:
        if check.allowed and not since.get(check.seq, check.at + 1) <= check.at:
            message = f"{check.node} allowed at {seconds(check.at)} on seq {check.seq}, which was not certified by then"
            yield Violation.of("uncertified", message, check)
    for command in run.commands:
        if command.certified_seq and not since.get(command.certified_seq, command.at + 1) <= command.at:
            message = (
                f"`{command.command_id}` had a receipt at {seconds(command.at)} that names seq "
                f"{command.certified_seq}, which was not certified by then"
            )
            yield Violation.of("uncertified", message, command)
