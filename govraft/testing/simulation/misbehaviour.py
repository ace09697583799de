"""An engine that lies: the real one, inside a wrapper that forgets, invents, drops and repeats.

The engine is not trusted for safety (protocol §1). So whatever these do, every node must end in denial, refuse to
start, or isolate itself with evidence; none may allow wrongly.

======================  ======================================================================================
`forget_vote`           at the next start term and vote are those of a new node; the store hears of no vote
`vote_twice`            every request for a vote is granted, whatever was granted before
`ack_blindly`           whatever a leader appends is acknowledged, whether it was taken or not
`self_styled_leader`    the node believes, and says, that it leads the present term
`replace_entry`         the next committed entry reaches the machine with other bytes
`apply_twice`           the next committed entry reaches the machine twice
`skip_entry`            the next committed entry never reaches it
`lose_journal`          at the next start the journal is empty
`lose_suffix`           at the next start its end is missing
`alter_journal`         at the next start a committed entry has other bytes
======================  ======================================================================================

The node around the engine, its machine, store, gate and convergence, is honest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from govraft.adapters.engine.frames import (
    AppendEntries,
    Message,
    NextNodeIndex,
    RequestVote,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.errors import AvailabilityError, DecodeError
from govraft.ports.sequencer import AdvanceCommit, JournalOp, Sequencer
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState

__all__ = ["LIES", "LIES_AT_START", "Liar", "LyingSequencer"]

LIES = (
    "forget_vote",
    "vote_twice",
    "ack_blindly",
    "self_styled_leader",
    "replace_entry",
    "apply_twice",
    "skip_entry",
    "lose_journal",
    "lose_suffix",
    "alter_journal",
)
LIES_AT_START = frozenset({"forget_vote", "lose_journal", "lose_suffix", "alter_journal"})


class Liar:
    """Which lies the engine of one node tells at present; outlives the node's lives.

    Attributes:
        lies: Those it tells, in the order in which they began.
        suffix: How many entries `lose_suffix` drops.
        told: How often each lie was really told.
    """

    def __init__(self) -> None:
        self.lies: list[str] = []
        self.suffix = 1
        self.told: dict[str, int] = {}

    def tell(self, lie: str) -> bool:
        """Whether this lie is told now; counts it."""
        if lie not in self.lies:
            return False
        self.told[lie] = self.told.get(lie, 0) + 1
        return True

    def tell_once(self, lie: str) -> bool:
        """As `tell`, for the last time."""
        if not self.tell(lie):
            return False
        self.lies.remove(lie)
        return True

    def journal(
        self, journal: Sequence[JournalEntry], hard_state: HardState
    ) -> tuple[Sequence[JournalEntry], HardState]:
        """What the engine claims at a start to have found."""
        if self.tell_once("forget_vote"):
            hard_state = msgspec.structs.replace(hard_state, voted_for=None)
        if journal and self.tell_once("lose_journal"):
            return [], HardState(hard_state.term, hard_state.voted_for, 0)
        if journal and self.tell_once("lose_suffix"):
            journal = list(journal)[: -self.suffix]
            commit = min(hard_state.commit_index, len(journal))
            hard_state = msgspec.structs.replace(hard_state, commit_index=commit)
        if hard_state.commit_index and self.tell_once("alter_journal"):
            changed = list(journal)
            place = hard_state.commit_index - 1
            entry = changed[place]
            if len(entry.payload) > 1:
                changed[place] = msgspec.structs.replace(entry, payload=entry.payload[:-1] + b"\x00\x01")
            journal = changed
        return journal, hard_state


class LyingSequencer:
    """`ports.Sequencer` around the real one."""

    def __init__(
        self, name: str, liar: Liar, given: dict[str, Any], make: Callable[[dict[str, Any]], Sequencer]
    ) -> None:
        self._name, self._liar = name, liar
        self._send, self._record, self._on_commit = given["send"], given["record"], given["on_commit"]
        self._is_forgetful = "forget_vote" in liar.lies
        journal, hard_state = liar.journal(given["journal"], given["hard_state"])
        own = {"journal": journal, "hard_state": hard_state, "record": self._recorded, "on_commit": self._committed}
        self._inner = make(given | own)

    def _recorded(self, operation: JournalOp) -> None:
        if self._is_forgetful and isinstance(operation, SetHardState):
            # The store never hears of the second vote, so it cannot object to it.
            return
        if self._is_forgetful and isinstance(operation, Append | AdvanceCommit):
            self._is_forgetful = False
        self._record(operation)

    def _committed(self, index: int, term: int, entry: bytes) -> None:
        if self._liar.tell_once("skip_entry"):
            return
        if self._liar.tell_once("replace_entry"):
            entry = entry[:-1] + bytes([entry[-1] ^ 1])
        self._on_commit(index, term, entry)
        if self._liar.tell_once("apply_twice"):
            self._on_commit(index, term, entry)

    @property
    def leader_hint(self) -> str | None:
        """As the port; a usurper names itself."""
        return self._name if "self_styled_leader" in self._liar.lies else self._inner.leader_hint

    @property
    def term(self) -> int:
        """As the port."""
        return self._inner.term

    @property
    def term_jumps(self) -> Mapping[str, int]:
        """As the port."""
        return self._inner.term_jumps

    @property
    def is_leader(self) -> bool:
        """As the port."""
        return self._liar.tell("self_styled_leader") or self._inner.is_leader

    @property
    def commit_index(self) -> int:
        """As the port."""
        return self._inner.commit_index

    @property
    def last_index(self) -> int:
        """As the port."""
        return self._inner.last_index

    @property
    def has_unapplied(self) -> bool:
        """As the port."""
        return self._inner.has_unapplied

    @property
    def has_more(self) -> bool:
        """As the port."""
        return self._inner.has_more

    @property
    def epoch(self) -> int:
        """As the port."""
        return self._inner.epoch

    def set_voters(self, voters: Sequence[str], observers: Sequence[str], epoch: int, *, led_term: int = 0) -> None:
        """As the port."""
        self._inner.set_voters(voters, observers, epoch, led_term=led_term)

    def holders(self, index: int) -> frozenset[str]:
        """As the port."""
        return self._inner.holders(index)

    def resign(self, seconds: float) -> None:
        """As the port; a usurper never gives up."""
        if "self_styled_leader" not in self._liar.lies:
            self._inner.resign(seconds)

    def withhold_votes(self) -> None:
        """As the port."""
        self._inner.withhold_votes()

    def release_votes(self) -> None:
        """As the port."""
        self._inner.release_votes()

    def entry(self, index: int) -> bytes | None:
        """As the port."""
        return self._inner.entry(index)

    def mark(self) -> int:
        """As the port."""
        return self._inner.mark()

    def made_durable(self, mark: int) -> None:
        """As the port."""
        self._inner.made_durable(mark)

    def propose(self, entry: bytes) -> None:
        """As the port."""
        if not self._inner.is_leader:
            raise AvailabilityError("the usurper has nobody to propose to", code="not_leader")
        self._inner.propose(entry)

    def receive(self, peer: str, frame: bytes) -> None:
        """As the port; some lies say yes before anybody thinks."""
        if "vote_twice" in self._liar.lies or "ack_blindly" in self._liar.lies:
            try:
                answer = self._say_yes(decode_frame(frame))
            except DecodeError:
                answer = None
            if answer is not None:
                self._send(peer, encode_frame(answer))
        self._inner.receive(peer, frame)

    def _say_yes(self, message: Message) -> Message | None:
        if isinstance(message, RequestVote) and self._liar.tell("vote_twice"):
            return ResponseVote(message.term)
        if isinstance(message, AppendEntries) and self._liar.tell("ack_blindly"):
            end = message.prev_index + len(message.entries) + 1
            return NextNodeIndex(message.term, message.prev_index, end, reset=False, success=True)
        return None

    def link(self, peer: str, up: bool) -> None:  # noqa: FBT001 - the port's signature
        """As the port."""
        self._inner.link(peer, up)

    def adopt_term(self, term: int, leader: str) -> None:
        """As the port."""
        self._inner.adopt_term(term, leader)

    def turn(self) -> None:
        """As the port."""
        self._inner.turn()
