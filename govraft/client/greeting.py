"""The first words on a connection: what the node offers, and whether its clock is the client's. No I/O but that clock.

`valid_until` is a time of the node's CLOCK_BOOTTIME. A socket that was forwarded from another machine, or a time
namespace on either side, makes it the time of another clock, and an allow could outlive its lease. So a node that
speaks protocol 2 shows its kernel's boot id and its clock; unless both are the client's own, nothing that rests on them
is asked over that connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from govraft.api.greeting import PROTOCOLS, Hello, Hello2, HelloCall
from govraft.api.host_clock import BOOT_ID_PATH, read_boot_id, read_boottime
from govraft.api.wire import encode, one_line
from govraft.client.answers import answer_decoder, convert, decode_answer, match
from govraft.client.questions import Question
from govraft.client.verdicts import ForeignClockError
from govraft.core.model.units import NS_PER_MS
from govraft.errors import AvailabilityError, DecodeError

__all__ = ["Greeting", "ask_first_protocol", "ask_greeting"]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the client remembers of its node, as long as the connection lasts.

    Attributes:
        protocol: Which both speak.
        features: What the node has named.
        clock_fault: Why its clock is not the client's, and what to do; empty if it is. A node that speaks protocol 1
            shows no clock: there it is empty too.
    """

    protocol: int = 1
    features: frozenset[str] = frozenset()
    clock_fault: str = ""

    def admit(self, question: Question[Any]) -> None:
        """Return if this node can be asked that.

        Raises:
            ForeignClockError: The answer would hold until a time of another clock.
            AvailabilityError: The node has not named the feature that the question needs.
        """
        # SAFETY: by another clock an allow may outlive its lease
        # (test_greeting.py::test_another_clock_denies_every_verdict).
        if question.timed and self.clock_fault:
            raise ForeignClockError(self.clock_fault)
        # SAFETY: a node that does not know a field refuses it or, worse, passes over what was asked for
        # (test_greeting.py::test_new_fields_are_sent_only_to_a_node_that_named_them).
        if question.requires and question.requires not in self.features:
            message = f"the node does not offer `{question.requires}`: upgrade it, or ask another one"
            raise AvailabilityError(message, code="feature_unsupported")


def ask_greeting() -> Question[Greeting | None]:
    """Ask who is there, and in which protocol. None: the node speaks protocol 1 only; ask `ask_first_protocol`.

    Judging raises an `AvailabilityError` for another protocol.
    """
    began = 0

    def call(call_id: int) -> bytes:
        nonlocal began
        began = read_boottime()
        return encode(HelloCall(call_id, PROTOCOLS))

    def judge(payload: bytes, call_id: int) -> Greeting | None:
        answer = decode_answer(answer_decoder, payload)
        error = answer.error
        if answer.id == call_id and not answer.ok and error is not None and error.code == DecodeError.default_code:
            return None  # So a node of protocol 1 says that it does not know the field.
        match(answer, call_id, b"")
        if convert(answer.result, Hello).protocol == PROTOCOLS[0]:
            return Greeting()
        _require_protocol(answer.result, PROTOCOLS[-1])
        hello = convert(answer.result, Hello2)
        return Greeting(hello.protocol, frozenset(hello.features), _clock_fault(hello, began, read_boottime()))

    return Question(call, judge)


def ask_first_protocol() -> Question[Greeting]:
    """Ask who is there, of a node that speaks protocol 1 only. Judging raises `AvailabilityError` for another one."""

    def judge(payload: bytes, call_id: int) -> Greeting:
        answer = decode_answer(answer_decoder, payload)
        match(answer, call_id, b"")
        _require_protocol(answer.result, PROTOCOLS[0])
        return Greeting()

    return Question(lambda call_id: encode(HelloCall(call_id)), judge)


def _require_protocol(result: object, wanted: int) -> None:
    protocol = convert(result, Hello).protocol
    if protocol != wanted:
        known = " and ".join(map(str, PROTOCOLS))
        raise AvailabilityError(
            f"the node speaks protocol {protocol}, this library {known}: upgrade the older one",
            code="protocol_unsupported",
        )


def _clock_fault(hello: Hello2, began: int, ended: int) -> str:
    """Why the node's clock is not this process's.

    The node has read its clock between `began` and `ended`, in ns of this process's clock: a difference smaller than
    that is not seen. It is at most what the greeting took.
    """
    own = read_boot_id()
    if not own:
        return f"`{BOOT_ID_PATH}` cannot be read here: mount the host's /proc where this program runs"
    if not hello.boot_id:
        return f"the node cannot read `{BOOT_ID_PATH}`: mount the host's /proc where the node runs"
    if own != hello.boot_id:
        return (
            f"the boot ids differ, `{one_line(hello.boot_id[:36])}` at the node and `{own}` here: the node runs on"
            " another machine or kernel; mount the socket of the node on this host, and forward none"
        )
    if not (began and ended and hello.time_ns):
        return "CLOCK_BOOTTIME cannot be read at both ends: let node and program read the host's clock"
    if not began <= hello.time_ns <= ended:
        apart_ms = (hello.time_ns - (began if hello.time_ns < began else ended)) // NS_PER_MS
        return (
            f"CLOCK_BOOTTIME differs, the node's is {apart_ms:+d} ms from this program's: one of them is in a time"
            " namespace; run both in the host's, and mount its socket there"
        )
    return ""
