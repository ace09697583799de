"""Many questions: in pieces that a busy host decides within a lease, and no allow that ran out meanwhile is left."""

from __future__ import annotations

import msgspec

from govraft.client.questions import ask_many
from govraft.client.verdicts import Allow, Deny
from govraft.core.model.reasons import Reason
from govraft.testing.node_stub import allow


def names(question) -> list[str]:
    """Whom a question is about."""
    call = msgspec.msgpack.decode(question.call(1))
    return [request["principal"] for request in call["requests"]]


def client_allow(valid_ms: int) -> Allow:
    return msgspec.convert(msgspec.to_builtins(allow(valid_ms=valid_ms)), Allow)


def run(count: int, answer) -> tuple[list[list[str]], list[Allow | Deny]]:
    """The pieces that are asked, and the verdicts, if `answer` gives those of each piece by its number."""
    plan = ask_many([(f"p{number}", "a", "r") for number in range(count)], at_least=0, explain=False)
    asked = []
    try:
        question = next(plan)
        while True:
            asked.append(names(question))
            question = plan.send(answer(len(asked), asked[-1]))
    except StopIteration as done:
        return asked, done.value


def test_pieces_are_small_and_in_order() -> None:
    asked, verdicts = run(250, lambda _, piece: [client_allow(60_000)] * len(piece))
    assert [len(piece) for piece in asked] == [100, 100, 50]
    assert sum(asked, []) == [f"p{number}" for number in range(250)]
    assert all(verdicts) and len(verdicts) == 250


def test_an_allow_that_ran_out_meanwhile_is_asked_again() -> None:
    asked, verdicts = run(250, lambda piece, names: [client_allow(-1 if piece == 2 else 60_000)] * len(names))
    assert [len(piece) for piece in asked] == [100, 100, 50, 100]
    assert asked[3] == asked[1]
    assert all(verdicts)


def test_asking_again_ends() -> None:
    asked, verdicts = run(3, lambda _, names: [client_allow(-1)] * len(names))
    assert asked == [["p0", "p1", "p2"]] * 4
    assert not any(verdicts) and len(verdicts) == 3


def test_a_denial_is_not_asked_again_and_a_failure_denies_its_piece_only() -> None:
    def answer(piece, names):
        return OSError("cut") if piece == 1 else [Deny(Reason.LEASE_EXPIRED, "m")] * len(names)

    asked, verdicts = run(101, answer)
    assert len(asked) == 2
    assert [verdict.reason for verdict in verdicts] == [Reason.NODE_UNREACHABLE] * 100 + [Reason.LEASE_EXPIRED]
