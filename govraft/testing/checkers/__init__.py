"""Judges of what happened in a run. They know the history and nothing else: no fault, no clock, no I/O.

=================== =========================================================================================
property            broken when
=================== =========================================================================================
`malformed`         the record contradicts itself; nothing can be said about such a run
`stale_allow`       an allow that was asked for after seq s became effective is of an older seq
`fork`              two roots or states of one seq are certified, or answered on
`uncertified`       an allow or a receipt came before the certificate that it rests on (only if all were recorded)
`lineage_prefix`    two lineages differ at a seq that both reach
`lost_command`      an effective command is missing from a lineage
`doubled_command`   a command worked at two seqs
`refused_command`   a command worked although its author was told that it definitely did not
`stale_refusal`     a node told as final what only its own, old state says of a command
`same_verdict`      one request got two verdicts at one seq
`monotone`          a number that may only grow fell
`linearizability`   no order of the commands explains the answers about a target
`liveness`          a node does not allow again in time after the last fault (only if asked for)
`undecided`         a checker could not decide. Never passed over: it is a violation like any other
=================== =========================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from govraft.testing.checkers.certified import certified
from govraft.testing.checkers.commands import commands, commands_reach_all, stale_refusals
from govraft.testing.checkers.fork import fork, prefix
from govraft.testing.checkers.linearizability import linearizability
from govraft.testing.checkers.liveness import liveness
from govraft.testing.checkers.monotone import monotone
from govraft.testing.checkers.run import Run, malformed
from govraft.testing.checkers.same_verdict import same_verdict
from govraft.testing.checkers.stale_allow import stale_allow
from govraft.testing.checkers.unavailability import FaultEffect, KindEffect, effects, unavailability
from govraft.testing.checkers.violation import Violation, first_of_each
from govraft.testing.history import Event

__all__ = [
    "LIVE_WITHIN_NS",
    "VIOLATIONS_OF_EACH",
    "FaultEffect",
    "KindEffect",
    "Violation",
    "effects",
    "judge",
    "unavailability",
]

LIVE_WITHIN_NS = 10_000_000_000
VIOLATIONS_OF_EACH = 20
"""At most so many violations of one property are reported."""


def judge(
    events: Iterable[Event],
    *,
    expect_live: bool = False,
    live_within_ns: int = LIVE_WITHIN_NS,
    distrusted: Collection[str] = (),
    all_certificates: bool = False,
) -> list[Violation]:
    """Everything that this run broke; empty if it broke nothing.

    Args:
        events: Of one run, in any order.
        expect_live: All faults are over and the run went on: each running node must allow, and hold all commands.
        live_within_ns: How long after the last fault a node may take to allow again.
        distrusted: Nodes whose engine was made to lie. Their lineages and terms prove nothing; their answers count.
        all_certificates: The record holds every certificate, from the moment at which it came into being.
    """
    run = Run.of(events, distrusted)
    found: list[Violation] = []
    for checker in (
        malformed,
        stale_allow,
        fork,
        prefix,
        commands,
        stale_refusals,
        same_verdict,
        monotone,
        linearizability,
    ):
        found += checker(run)
    if all_certificates:
        found += certified(run)
    if expect_live:
        found += commands_reach_all(run)
        found += liveness(run, live_within_ns)
    return first_of_each(found, VIOLATIONS_OF_EACH)
