"""What happened in a run, as values: the one record that simulated runs and real processes share.

Whoever drives a cluster writes a history; `govraft.testing.checkers` judges it and knows nothing else. All times are
nanoseconds of one clock that everybody in the run reads: the simulation's true time, or the harness machine's
`CLOCK_BOOTTIME`.

A history is stored as JSON lines, one event a line in the order of `at`; the field `type` names the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.errors import DecodeError

__all__ = [
    "Certificate",
    "Check",
    "CommandTried",
    "Event",
    "FaultEnded",
    "FaultStarted",
    "Lineage",
    "NodeState",
    "decode_event",
    "encode_event",
    "read_history",
    "write_history",
]


class Check(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """One question and its answer.

    Attributes:
        began, at: When it was asked, and when the answer was in the client's hand.
        client: Who asked; a client asks one question at a time.
        node: Whom.
        target: What was asked about: the subject by which linearizability is partitioned.
        request: Digest of the whole request, so that equal questions can be compared.
        allowed: The verdict.
        reason: Reason code of a denial, empty for an allow.
        seq: The seq at which it was decided, 0 when the node could not tell.
        state_root: Hexadecimal, of the state at `seq`; empty when the node could not tell.
    """

    began: int
    at: int
    client: str
    node: str
    target: str
    request: str
    allowed: bool
    reason: str = ""
    seq: int = 0
    state_root: str = ""


class CommandTried(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """One command handed in, and what its author learnt.

    Attributes:
        began, at: When it was handed in, and when the author had the outcome, or gave up.
        command_id: Unique in the run; a retry of the same envelope is another event with the same id.
        kind: `quarantine`, `release`, `revoke` or any other command's name.
        target: As in `Check`; empty for a command that concerns no target.
        node: Where it was handed in.
        outcome: `effective`, `rejected`, `refused` (definitely not done) or `unknown`.
        code: Code of the rejection or error.
        seq: Of its entry, 0 when not known.
        certified_seq: Of the certificate that made it effective, 0 for none.
    """

    began: int
    at: int
    command_id: str
    kind: str
    target: str
    node: str
    outcome: str
    code: str = ""
    seq: int = 0
    certified_seq: int = 0


class Certificate(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """A quorum certificate came into being at `at`, or was first seen then."""

    at: int
    seq: int
    root: str
    state_root: str
    node: str


class NodeState(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """How a node was at `at`.

    Attributes:
        life: Counts its starts.
        standing: `allow`, or the reason code with which it denies; `down` when it does not run.
        signed_seq: The highest seq that it has ever acked and made durable.
    """

    at: int
    node: str
    life: int
    standing: str
    seq: int = 0
    certified_seq: int = 0
    signed_seq: int = 0
    leader_hint: str = ""
    term: int = 0


class FaultStarted(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """A fault of this kind began, on these nodes. `fault` numbers it."""

    at: int
    fault: int
    kind: str
    nodes: tuple[str, ...]
    detail: str = ""


class FaultEnded(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """The fault of that number is over."""

    at: int
    fault: int


class Lineage(msgspec.Struct, frozen=True, tag=True, tag_field="type"):
    """What a node held at `at`, from seq `first` on: leaf digests, and (command id, outcome) of each entry.

    The command id is empty where an entry holds no readable command. Genesis, seq 1, has the id `genesis`.
    """

    at: int
    node: str
    first: int
    leaves: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]


Event = Check | CommandTried | Certificate | NodeState | FaultStarted | FaultEnded | Lineage

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """One line, without its end."""
    return _encoder.encode(event)


def decode_event(line: bytes) -> Event:
    """Read one line.

    Raises:
        DecodeError: It is no event.
    """
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise DecodeError(f"not an event of a history: {in_words(error)}") from error


def write_history(events: Iterable[Event], file: BinaryIO) -> None:
    """Write JSON lines."""
    file.writelines(encode_event(event) + b"\n" for event in events)


def read_history(path: Path) -> Iterator[Event]:
    """The events of a file, in its order.

    Raises:
        DecodeError: A line is no event; the message names it.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decode_event(line)
            except DecodeError as error:
                raise DecodeError(f"`{path}` line {number}: {error}") from error
