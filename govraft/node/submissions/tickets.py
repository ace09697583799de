"""One call that handed in a command, until it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from govraft.core.model.commands import Command
from govraft.core.model.units import BoottimeNs
from govraft.node.submissions.answers import Done
from govraft.node.submissions.judging import Advice

__all__ = ["Ticket"]


@dataclass(slots=True)
class Ticket:
    """One call.

    Attributes:
        digest: Names the envelope.
        wait: `effective`, `committed` or `none`.
        deadline: Boot time after which the outcome is told as unknown, or as not done.
        patience: Boot time until which it may wait for a lease, or for a way to the leader.
        at_least: The lowest seq at which its author takes a refusal.
        authors: Whose places it takes.
        advice: What this node makes of it: `PROPOSE`, or what still has to be found out.
        change: The change of the electorate that it makes.
        is_examinable: Another node may judge it in place of this one: nothing has to be parsed in isolation first.
        sent_to: Leader and term to which it was sent last; this node and 0 if it was queued here.
        sent_at: When.
        on_the_way: How often it is about to be handed to the network.
        is_out: It may be in somebody's hands: from then on nobody here can say that nothing comes of it.
        is_over: It was answered.
        seq, code, detail: What the log says.
    """

    digest: bytes
    envelope: bytes
    command_id: str
    wait: str
    deadline: BoottimeNs
    patience: BoottimeNs
    done: Done
    at_least: int = 0
    authors: tuple[str, ...] = ()
    advice: Advice = Advice.PROPOSE
    change: Command | None = None
    is_examinable: bool = True
    sent_to: tuple[str, int] | None = None
    sent_at: int = 0
    on_the_way: int = 0
    is_out: bool = False
    is_over: bool = False
    seq: int = 0
    code: str = ""
    detail: str = ""
    unchanged: tuple[str, ...] = ()

    @property
    def is_untried(self) -> bool:
        """Whether it is certain that nothing was proposed for this call."""
        return not self.is_out and not self.on_the_way
