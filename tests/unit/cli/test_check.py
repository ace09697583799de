from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Deny, Verdict
from govraft.testing.node_stub import allow

ASKED = ('Agent::"a"', 'Action::"x"', 'Tool::"t"')


def test_an_allow_is_printed_and_exits_0(cluster) -> None:
    done = cluster("check", *ASKED, "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert done.data["verdict"] == "allow"
    assert done.data["seq"] == 1


@pytest.mark.parametrize(
    ("reason", "code"), [(Reason.REVOKED, 1), (Reason.REQUEST_INVALID, 2), (Reason.PARTITION_AMBIGUOUS, 1)]
)
def test_a_deny_says_why(cluster, denying: Callable[..., None], reason: Reason, code: int) -> None:
    denying(reason)
    done = cluster("check", *ASKED)
    assert done.code == code
    assert f"reason   {reason.value}" in done.out
    assert done.err == ""


def test_context_and_request_arrive(cluster, tmp_path: Path) -> None:
    seen = []
    cluster.node.decide = lambda request: seen.append(request) or allow()
    (tmp_path / "context.json").write_text('{"n": 2}')
    assert cluster("check", *ASKED, "--context", '{"n": 1}').code == 0
    assert cluster("check", *ASKED, "--context", f"@{tmp_path}/context.json").code == 0
    assert [request.context for request in seen] == [{"n": 1}, {"n": 2}]
    assert (seen[0].principal, seen[0].action, seen[0].resource) == ASKED


def test_an_allow_that_has_run_out_is_a_deny(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # It holds on arrival, and no longer when it is printed.
    cluster.node.decide = lambda _: allow(valid_ms=400)
    from govraft.client.client import Client

    real = Client.check

    def late(self, *arguments, **options):
        verdict = real(self, *arguments, **options)
        while verdict:
            time.sleep(0.01)
        return verdict

    monkeypatch.setattr(Client, "check", late)
    done = cluster("check", *ASKED, "-o", "json")
    assert done.code == 1
    assert done.data["reason"] == "lease_expired"


def test_no_node_is_3(cluster, tmp_path: Path) -> None:
    done = cluster("check", *ASKED, "--endpoint", f"unix://{tmp_path}/nobody", "-o", "json")
    assert done.code == 3
    assert done.data["reason"] == "node_unreachable"


def test_the_next_endpoint_is_asked(cluster, tmp_path: Path) -> None:
    assert cluster("check", *ASKED, "--endpoint", f"unix://{tmp_path}/nobody", "--endpoint", "n1").code == 0


def test_a_denial_is_not_appealed_to_the_next_endpoint(cluster, denying: Callable[..., None], tmp_path: Path) -> None:
    asked = []
    denying(Reason.LEASE_EXPIRED)
    decide = cluster.node.decide
    cluster.node.decide = lambda request: asked.append(1) or decide(request)
    assert cluster("check", *ASKED, "--endpoint", "n1", "--endpoint", "n1").code == 1
    assert len(asked) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "Agent::a", *ASKED[1:]),
        ("check", *ASKED, "--context", "[1]"),
        ("check", *ASKED, "--context", '{"a":1,"a":2}'),
        ("check", *ASKED, "--context", "@/nonexistent"),
        ("check", *ASKED, "--endpoint", "http://x"),
        ("check", *ASKED, "--endpoint", "n9"),
        ("check", *ASKED, "--at-least", "-1"),
        ("check", "--batch", "/nonexistent"),
    ],
)
def test_bad_input_is_2_and_prints_no_data(cluster, arguments: tuple[str, ...]) -> None:
    done = cluster(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert done.err


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("govraft.cli.batch._PAUSE_S", 0)


def test_lines_that_a_node_cannot_answer_are_asked_again(cluster, tmp_path: Path) -> None:
    asked = Counter()

    def decide(request) -> Verdict:
        asked[request.principal] += 1
        if request.principal == 'T::"late"' and asked[request.principal] < 5:
            return Deny(Reason.SYNCHRONIZING, "because", seq=5, node="n1")
        return allow()

    cluster.node.decide = decide
    assert (
        batch(cluster, tmp_path, {"principal": 'T::"early"'}, {"principal": 'T::"late"', "expect": "allow"}).code == 0
    )
    assert asked == {'T::"early"': 1, 'T::"late"': 5}


def test_what_stays_unanswered_is_told_with_its_reasons(cluster, denying: Callable[..., None], tmp_path: Path) -> None:
    denying(Reason.LEASE_EXPIRED)
    outcome = batch(cluster, tmp_path, {"expect": "allow"}, {})
    assert outcome.code == 3
    assert "2 lines were not answered: lease_expired (2); this host is too busy for the lease" in outcome.err


def lines(*items: dict[str, object]) -> str:
    base = {"principal": ASKED[0], "action": ASKED[1], "resource": ASKED[2]}
    return "".join(json.dumps({**base, **item}) + "\n" for item in items)


def batch(cluster, tmp_path: Path, *items: dict[str, object]):
    (tmp_path / "b.jsonl").write_text(lines(*items))
    return cluster("check", "--batch", tmp_path / "b.jsonl", "-o", "json")


def test_met_expectations_exit_0(cluster, denying: Callable[..., None], tmp_path: Path) -> None:
    assert batch(cluster, tmp_path, {"expect": "allow"}).code == 0
    denying(Reason.POLICY_DENIED)
    done = batch(cluster, tmp_path, *[{"expect": "deny"}] * 600)
    assert (done.code, done.data["matched"], done.data["expected"]) == (0, 600, 600)
    assert batch(cluster, tmp_path, {"reason": "policy_denied"}).code == 0


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.step is not None])
def test_a_deny_on_the_merits_meets_an_expected_deny(
    cluster, denying: Callable[..., None], tmp_path: Path, reason: Reason
) -> None:
    denying(reason)
    done = batch(cluster, tmp_path, {"expect": "deny"})
    assert (done.code, done.data["matched"], done.data["unanswered"]) == (0, 1, 0)


def test_unmet_expectations_exit_1(cluster, denying: Callable[..., None], tmp_path: Path) -> None:
    done = batch(cluster, tmp_path, {"expect": "allow"}, {"expect": "deny"})
    assert (done.code, done.data["matched"]) == (1, 1)
    assert done.data["mismatches"][0]["line"] == 2
    denying(Reason.POLICY_DENIED)
    assert batch(cluster, tmp_path, {"reason": "revoked"}).code == 1


@pytest.mark.parametrize(
    ("reason", "seq"),
    [
        *((reason, 5) for reason in Reason if reason.step is None),
        (Reason.NODE_STARTING, 0),
        (Reason.REQUEST_INVALID, 0),
        (Reason.ISOLATED, 0),
        (Reason.ATTESTATION_DISAGREEMENT, 0),
    ],
)
def test_a_deny_off_the_merits_meets_nothing(
    cluster, denying: Callable[..., None], tmp_path: Path, reason: Reason, seq: int
) -> None:
    denying(reason, seq)
    done = batch(cluster, tmp_path, {"expect": "deny"})
    assert (done.code, done.data["matched"], done.data["unanswered"]) == (3, 0, 1)


def test_without_expectations_all_must_be_allowed(cluster, denying: Callable[..., None], tmp_path: Path) -> None:
    assert batch(cluster, tmp_path, {}, {}).code == 0
    denying(Reason.POLICY_DENIED)
    assert batch(cluster, tmp_path, {}).code == 1


def test_each_prints_every_verdict(cluster, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(lines({}, {}))
    done = cluster("check", "--batch", tmp_path / "b.jsonl", "--each")
    assert [json.loads(line)["line"] for line in done.out.splitlines()] == [1, 2]


@pytest.mark.parametrize(
    "line", ["", "[]", "7", '{"principal": "x"}', "{", '{"principal":"a","action":"b","resource":"c","expect":"maybe"}']
)
def test_malformed_batches_are_refused(cluster, tmp_path: Path, line: str) -> None:
    (tmp_path / "b.jsonl").write_text(line)
    done = cluster("check", "--batch", tmp_path / "b.jsonl")
    assert (done.code, done.out) == (2, "")
