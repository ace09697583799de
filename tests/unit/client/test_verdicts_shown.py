"""What people see of an answer: short, and an allow that has run out says so."""

from govraft.api.wire import Receipt
from govraft.client.client import Client
from govraft.client.verdicts import Allow, Deny, now_ns
from govraft.core.model.reasons import Reason


def allow(left_ns: int) -> Allow:
    return Allow(7, "ab" * 32, now_ns() + left_ns, ["cd" * 32], "d-1", "node-1")


def test_an_allow_that_has_run_out_has_reason_and_message():
    holds, over = allow(60_000_000_000), allow(-1)
    assert (bool(holds), holds.reason, holds.message) == (True, None, "")
    assert (bool(over), over.reason, over.message) == (False, Reason.LEASE_EXPIRED, "the allow has run out: ask again")


def test_each_is_shown_in_a_few_words():
    assert repr(allow(60_000_900_000)).startswith("<Allow seq=7 node=node-1 for 60000 ms>"[:27])
    assert repr(allow(-1)) == "<Allow seq=7 node=node-1 has run out>"
    assert repr(Deny(Reason.REVOKED, "it is revoked", seq=7, node="n")) == "<Deny revoked: it is revoked seq=7 node=n>"
    receipt = Receipt("c-1", "applied", 7, 8, b"leaf", [b"x" * 32], b"note", b"lease")
    assert repr(receipt) == "<Receipt applied seq=7 certified_seq=8 command_id=c-1>"


def test_what_is_no_request_is_denied_as_such(tmp_path):
    asked = [1, None, object(), "x", b"y", {}, ("a",), [1, 2, 3]]
    verdicts = Client(f"unix://{tmp_path}/none").check_many(asked)
    assert [verdict.reason for verdict in verdicts] == [Reason.REQUEST_INVALID] * len(asked)
    assert "failed" not in "".join(verdict.message for verdict in verdicts)
