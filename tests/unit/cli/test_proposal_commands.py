"""`govraft proposal`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

AGENT = 'Agent::"a"'


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.json"
    path.write_text(json.dumps({"id": "olga", "reason": "away"}))
    return path


def opened(cluster, body: Path, *more: str) -> str:
    done = cluster("proposal", "open", "authority.suspend", body, "--key", "rita", "-o", "json", *more)
    assert done.code == 0, done.err
    digest: str = done.data["proposal"]
    assert digest in done.err
    return digest


def test_open_vote_list_show(cluster, body: Path) -> None:
    digest = opened(cluster, body)
    assert digest in cluster("proposal", "list").out
    shown = cluster("proposal", "show", digest).out
    for text in ("authority.suspend", "ballot of rita", '"away"', "open"):
        assert text in shown
    voted = cluster("proposal", "vote", digest, "approve", "--key", "ruth")
    assert voted.code == 0
    assert '"reason": "away"' in voted.err  # What is voted on is shown.
    assert cluster.node.machine.authorities["olga"].status == "suspended"
    assert cluster("proposal", "list", "-o", "json").data == []
    (closed,) = cluster("proposal", "list", "--all", "-o", "json").data
    assert (closed["status"], closed["code"], closed["approvals"]) == ("executed", "applied", 2)
    assert cluster("proposal", "show", digest, "-o", "json").data["body"] is None
    late = cluster("proposal", "vote", digest, "approve", "--key", "ruth")
    assert (late.code, "[proposal_closed]" in late.err) == (2, True)


def test_ballots_follow_each_other(cluster, body: Path) -> None:
    first, second = opened(cluster, body), opened(cluster, body)
    for digest in (first, second):
        assert cluster("proposal", "vote", digest, "withdraw", "--key", "rita").code == 0
        assert cluster("proposal", "vote", digest, "approve", "--key", "ruth").code == 0
    assert cluster("proposal", "vote", first, "reject", "--key", "ruth").code == 0
    assert cluster("proposal", "show", first, "-o", "json").data["status"] == "rejected"
    assert cluster("proposal", "show", second, "-o", "json").data["status"] == "open"


def test_withdraw(cluster, body: Path) -> None:
    digest = opened(cluster, body)
    refused = cluster("proposal", "withdraw", digest, "--key", "ruth")
    assert (refused.code, "[proposal_invalid]" in refused.err) == (1, True)
    assert cluster("proposal", "withdraw", digest, "--key", "rita").code == 0
    assert cluster("proposal", "show", digest, "-o", "json").data["status"] == "withdrawn"


def test_one_key_signs(cluster, body: Path) -> None:
    for keys in ((), ("--key", "rita", "--key", "ruth")):
        done = cluster("proposal", "open", "authority.suspend", body, *keys)
        assert (done.code, "exactly one" in done.err) == (2, True)
    refused = cluster("proposal", "open", "authority.suspend", body, "--key", "olga")
    assert (refused.code, "[ballot_invalid]" in refused.err) == (1, True)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"a":1,"a":2}', "{"])
def test_a_body_that_is_none_is_2(cluster, tmp_path: Path, text: str) -> None:
    (tmp_path / "b").write_text(text)
    done = cluster("proposal", "open", "revoke", tmp_path / "b", "--key", "rita")
    assert (done.code, done.out, cluster.node.machine.seq) == (2, "", 1)


@pytest.mark.parametrize(
    ("command", "text", "code"),
    [
        ("nonsense", "{}", 1),
        ("proposal.open", "{}", 1),
        ("revoke", '{"x":1}', 1),
        ("revoke", '{"x":1.5}', 2),
    ],
)
def test_what_cannot_be_proposed(cluster, tmp_path: Path, command: str, text: str, code: int) -> None:
    (tmp_path / "b").write_text(text)
    done = cluster("proposal", "open", command, tmp_path / "b", "--key", "rita")
    assert (done.code, cluster.node.machine.seq) == (code, 1)


def test_expiry_is_bounded(cluster, body: Path) -> None:
    for minutes in ("0", "10081", "x"):
        assert cluster("proposal", "open", "authority.suspend", body, "--key", "rita", "--expires", minutes).code == 2
    opened(cluster, body, "--expires", "10080")


def test_unknown_proposals(cluster) -> None:
    for arguments in (("show",), ("vote",)):
        more = ("approve", "--key", "rita") if arguments == ("vote",) else ()
        done = cluster("proposal", *arguments, "0" * 64, *more)
        assert (done.code, "[proposal_unknown]" in done.err) == (2, True)
    assert cluster("proposal", "withdraw", "0" * 64, "--key", "rita").code == 1
    assert cluster("proposal", "withdraw", "nonsense", "--key", "rita").code == 2


def test_a_lying_node(cluster, body: Path) -> None:
    """Whoever votes is shown what the digest stands for, or nothing."""
    digest, read = opened(cluster, body), cluster.node.read

    def lie(what: str, params: dict[str, object]) -> object:
        answer = read(what, params)
        return {**answer, "body": {"id": "pat", "reason": "away"}} if what == "proposal" else answer

    cluster.node.read = lie
    done = cluster("proposal", "vote", digest, "approve", "--key", "ruth")
    assert (done.code, "[answer_invalid]" in done.err) == (3, True)
    assert "away" not in done.err
    cluster.node.read = read
    assert cluster("proposal", "vote", digest, "approve", "--key", "ruth").code == 0
