"""Proposals in a simulated cluster: opened, voted on by several at once, replaced, withdrawn, left to expire."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from govraft.core.model.commands import BallotChoice, Command, ProposalOpen, ProposalVote, ProposalWithdraw
from govraft.testing.simulation.workload import Drawn, Stage, key_of

__all__ = ["draw_proposals"]

_BODIES: tuple[Callable[[random.Random], tuple[str, dict[str, Any]]], ...] = (
    lambda rng: ("quarantine", {"kind": "resource", "id": f'Tool::"p{rng.randrange(4)}"', "reason": "voted"}),
    lambda rng: ("release", {"kind": "resource", "id": f'Tool::"p{rng.randrange(4)}"', "reason": "voted"}),
    lambda rng: ("entity.put", {"entities": [{"uid": f'Tool::"q{rng.randrange(4)}"', "attrs": {}, "parents": []}]}),
    lambda rng: ("authority.suspend", {"id": f"x{rng.randrange(1, 9)}", "reason": "voted"}),
    lambda rng: ("authority.resume", {"id": f"x{rng.randrange(1, 9)}", "reason": "voted"}),
    lambda rng: ("threshold.set", {"role": "auditor", "count": rng.randrange(3)}),
    lambda rng: ("proposal.withdraw", {"proposal": "0" * 64, "author": f"x{rng.randrange(1, 9)}"}),
)


def draw_proposals(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command of this family; None if none can be signed."""
    voter = rng.choice(sorted(stage.machine.authorities))
    key = key_of(stage, voter)
    return None if key is None else Drawn(_draw(rng, stage, voter), (key,))


def _draw(rng: random.Random, stage: Stage, voter: str) -> Command:
    view = stage.machine.state.proposals
    digests = [*sorted(view.open), *sorted(view.open), *sorted(view.closed)[:2]]
    # Now and then a ballot of another epoch, or one that was overtaken.
    epoch = max(1, stage.machine.epoch + rng.choice((0, 0, 0, 0, 0, 0, -1, 1)))
    sequence = max(1, view.last_sequence(voter) + rng.choice((1, 1, 1, 1, 2, 7, 0)))
    if not digests or rng.random() < 0.3:
        command, body = rng.choice(_BODIES)(rng)
        return ProposalOpen(
            **stage.header(),
            command=command,
            body=body,
            author=voter,
            epoch=epoch,
            sequence=sequence,
            expires=stage.machine.time + rng.choice((500, 5_000, 60_000)),
        )
    digest = rng.choice(digests)
    if rng.random() < 0.1:
        return ProposalWithdraw(**stage.header(), proposal=digest, author=voter)
    choice = rng.choice((BallotChoice.APPROVE, BallotChoice.APPROVE, BallotChoice.REJECT, BallotChoice.WITHDRAW))
    return ProposalVote(**stage.header(), proposal=digest, voter=voter, choice=choice, epoch=epoch, sequence=sequence)
