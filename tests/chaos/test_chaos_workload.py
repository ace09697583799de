"""The load: what is written about an answer, and in which order."""

from __future__ import annotations

import io
import threading

import pytest

from govraft.api.wire import Receipt
from govraft.client.verdicts import Allow, Deny
from govraft.core.model.reasons import Reason
from govraft.errors import AvailabilityError, GovraftError, InputError, RejectedError
from govraft.testing.chaos.workload import Recorder, _check, _submit, now
from govraft.testing.history import NodeState, decode_event


class Node:
    def __init__(self, answer):
        self.answer = answer

    def submit(self, envelope, **options):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Receipt("c", "applied", 4, 5), ("effective", "", 4, 5)),
        (Receipt("c", "duplicate_command", 4, 5), ("rejected", "duplicate_command", 4, 5)),
        (RejectedError("no", code="not_quarantined", seq=7), ("rejected", "not_quarantined", 7, 0)),
        (RejectedError("no", code="expired"), ("rejected", "expired", 0, 0)),
        (RejectedError("perhaps", code="expired", definite=False), ("unknown", "expired", 0, 0)),
        (AvailabilityError("busy", code="queue_full"), ("refused", "queue_full", 0, 0)),
        (AvailabilityError("late", code="timed_out", definite=False), ("unknown", "timed_out", 0, 0)),
        (InputError("bad", code="malformed"), ("refused", "malformed", 0, 0)),
        (GovraftError("odd", code="answer_invalid"), ("unknown", "answer_invalid", 0, 0)),
    ],
)
def test_only_what_is_definite_is_written_as_not_done(answer, outcome):
    assert _submit(Node(answer), b"", again=False) == outcome


def test_an_allow_that_ran_out_on_its_way_is_written_as_a_denial():
    allow = Allow(seq=3, state_root="ab", valid_until=now() - 1, policies=[], decision="d", node="n")
    event = _check(1, 2, "c", "node-1", "agent-1", allow, holds=bool(allow))
    assert (event.allowed, event.reason) == (False, "lease_expired")
    allow = Allow(seq=3, state_root="ab", valid_until=now() + 10**9, policies=[], decision="d", node="n")
    event = _check(1, 2, "c", "node-1", "agent-1", allow, holds=bool(allow))
    assert (event.allowed, event.reason, event.seq, event.state_root) == (True, "", 3, "ab")
    denied = _check(1, 2, "c", "node-1", "agent-1", Deny(Reason.QUARANTINED, "m", seq=3), holds=False)
    assert (denied.allowed, denied.reason, denied.seq) == (False, "quarantined", 3)
    assert event.request == denied.request


def test_many_threads_write_one_ordered_record():
    file = io.BytesIO()
    recorder = Recorder(file)

    def write():
        for _ in range(200):
            recorder.write(lambda at: [NodeState(at, "node-1", 1, "allow")])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = [decode_event(line).at for line in file.getvalue().splitlines()]
    assert len(times) == 1600
    assert times == sorted(times)
