"""A node with a fault, for tests: `python faulty_node.py FAULT CONFIG`. All else is the stock daemon.

======================  ==========================================================================================
fault                   what it does
======================  ==========================================================================================
propose-anything        as leader it puts whatever a client hands in into the log, unexamined; what begins with
                        `raw:` even without the form of an entry
diverge:SECTION         its machine puts a record into SECTION when it applies a command with the reason `diverge`
======================  ==========================================================================================
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import govraft.core.machine.machine as machine_module
import govraft.node.core as core_module
from govraft import daemon
from govraft.core.crypto.digests import digest
from govraft.core.machine.state import Changes
from govraft.core.model.outcome import Rejected
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.node.effects import Effects
from govraft.node.submissions import Done, Submissions
from govraft.node.submissions.tickets import Ticket
from govraft.ports.sequencer import Sequencer

RAW = b"raw:"


class Reckless(Submissions):
    """Submissions that examine nothing."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._raw: list[bytes] = []

    def submit(self, envelope: bytes, wait: str, timeout_ms: int, done: Done, *, at_least: int = 0) -> None:
        del at_least
        if envelope.startswith(RAW):
            self._raw.append(envelope.removeprefix(RAW))
            done({"seq": 0, "outcome": "pending", "certified_seq": 0, "command_id": "raw"})
            return
        name = digest("envelope", envelope)
        deadline = BoottimeNs(self._clock.boottime() + timeout_ms * NS_PER_MS)
        ticket = Ticket(name, envelope, "hostile", wait, deadline, deadline, done)
        self._places.take(ticket)
        self._tickets.setdefault(name, []).append(ticket)

    def turn(self, sequencer: Sequencer, effects: Effects, *, is_held: bool = False) -> None:
        while self._raw and sequencer.is_leader:
            sequencer.propose(self._raw.pop())
        super().turn(sequencer, effects, is_held=is_held)


def diverge(section: str) -> None:
    """Let the machine put a record into `section` that no other node has."""
    honest = machine_module.handle

    def handle(state: Any, command: Any, context: Any) -> Changes | Rejected:
        result = honest(state, command, context)
        if getattr(command, "reason", "") == "diverge" and isinstance(result, Changes):
            result.put(section, "policy/00", "permit (principal, action, resource);")
        return result

    machine_module.handle = handle


def main() -> int:
    fault, config = sys.argv[1], Path(sys.argv[2])
    if fault == "propose-anything":
        core_module.Submissions = Reckless  # type: ignore[misc]
    else:
        diverge(fault.removeprefix("diverge:"))
    return daemon.run(config)


if __name__ == "__main__":
    sys.exit(main())
