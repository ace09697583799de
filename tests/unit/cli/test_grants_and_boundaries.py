"""`govraft grant` and `govraft boundary`."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from govraft.cli.times import parse_moment, parse_time
from govraft.core.model.commands import Rate, Window
from govraft.errors import InputError
from govraft.node import grant_reads as reads

AGENT, RUN, TOOL = 'Agent::"a"', 'Action::"run"', 'Tool::"t"'


@pytest.fixture
def governed(cluster: Any) -> Any:
    clock = SimpleNamespace(wall=lambda: time.time_ns() // 1_000_000)
    for name, reader in reads.grant_reads(cluster.node.machine, clock).items():
        setattr(cluster.node, f"read_{name}", reader)
    return cluster


def issue(governed: Any, identifier: str = "g", *more: object, until: str = "2h") -> Any:
    what = ("--holder", AGENT, "--action", RUN, "--resource", TOOL, "--until", until)
    return governed("grant", "issue", identifier, *what, *more)


def test_issue_show_renew_revoke(governed: Any) -> None:
    done = issue(governed, "g", "--delegate", "ruth", "--depth", 2, "--action", 'Action::"\\u{73}top"')
    assert done.code == 0, done.err
    grant = governed.node.machine.state.grants.grants["g"]
    assert (grant.actions, grant.delegate, grant.depth) == ((RUN, 'Action::"stop"'), "ruth", 2)
    assert abs(grant.not_after - grant.not_before - 7_200_000) < 1_000
    shown = governed("grant", "show", "g")
    assert "valid" in shown.out
    assert governed("grant", "show", "g", "-o", "json").data["above"] == []
    assert governed("grant", "renew", "g", "--until", "+3h").code == 0
    assert governed.node.machine.state.grants.grants["g"].not_after > grant.not_after
    assert governed("grant", "revoke", "g", "--reason", "why").code == 0
    assert governed("grant", "show", "g", "-o", "json").data["status"] == "revoked"
    assert "why" in governed("grant", "show", "g").out
    again = governed("grant", "revoke", "g", "--reason", "why")
    assert (again.code, "[grant_revoked]" in again.err) == (1, True)
    missing = governed("grant", "show", "nothing")
    assert (missing.code, "[grant_unknown]" in missing.err) == (2, True)


def test_list_reads_all_pages(governed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "GRANT_PAGE_MAX", 2)
    for number in range(5):
        assert issue(governed, f"g{number}").code == 0
    assert issue(governed, "other", "--holder", 'Agent::"b"', "--from", "1h").code == 0
    listed = governed("grant", "list", "-o", "json").data
    assert [item["id"] for item in listed] == ["g0", "g1", "g2", "g3", "g4", "other"]
    assert {item["status"] for item in listed} == {"valid", "pending"}
    assert [item["id"] for item in governed("grant", "list", "--holder", 'Agent::"\\x62"', "-o", "json").data] == [
        "other"
    ]
    assert governed("grant", "list").out.count("\n") == 7


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--holder", "x"), "uid"),
        (("--until", "soon"), "soon"),
        (("--until", "2027-01-01T00:00:00"), "--until"),
        (("--depth", "17"), "depth"),
        (("--domain", "No Domain"), "domain"),
        (("--from", "-1h"), "--from"),
    ],
)
def test_mistakes_are_2(governed: Any, more: tuple[str, ...], word: str) -> None:
    done = issue(governed, "g", *more)
    assert (done.code, word in done.err) == (2, True)
    assert governed.node.machine.state.grants.grants == {}


def test_a_dry_run_signs_and_submits_nothing(governed: Any) -> None:
    done = issue(governed, "g", "--dry-run")
    assert (done.code, "grant.issue" in done.out + done.err) == (0, True)
    assert governed.node.machine.state.grants.grants == {}


def test_boundaries(governed: Any) -> None:
    done = governed(
        *("boundary", "set", "work", "--subject", AGENT, "--action", RUN, "--rate", "100/60", "--level-max", 3),
        *("--window", "mon-wed,fri 09:00-17:30", "--window", "sun 00:00-24:00", "--region", "eu", "--region", "us"),
    )
    assert done.code == 0, done.err
    found = governed.node.machine.state.boundaries.of("root")["work"]
    assert found.windows == (Window((0, 1, 2, 4), 540, 1050), Window((6,), 0, 1440))
    assert (found.rate, found.level_max, found.regions) == (Rate(100, 60), 3, ("eu", "us"))
    assert (found.subject, found.action) == (AGENT, RUN)
    listed = governed("boundary", "list", "--domain", "root")
    assert "mon,tue,wed,fri 09:00-17:30; sun 00:00-24:00; regions eu,us; rate 100/60; level 3" in listed.out
    assert governed("boundary", "list", "--domain", "moon").code == 2
    assert governed("boundary", "remove", "work").code == 0
    gone = governed("boundary", "remove", "work")
    assert (gone.code, "[boundary_unknown]" in gone.err) == (1, True)


def test_boundary_list_reads_all_pages(governed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "GRANT_PAGE_MAX", 2)
    for number in range(5):
        assert governed("boundary", "set", f"b{number}", "--level-max", number).code == 0
    listed = governed("boundary", "list", "-o", "json").data
    assert [item["level_max"] for item in listed] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "more",
    [
        ("--window", "mon"),
        ("--window", "09:00-17:00"),
        ("--window", "mon 9-17"),
        ("--window", "mon 17:00-09:00"),
        ("--window", "mon 09:00-24:01"),
        ("--window", "fri-mon 09:00-17:00"),
        ("--window", "someday 09:00-17:00"),
        ("--rate", "100"),
        ("--rate", "1.5/60"),
        ("--rate", "0/60"),
        ("--rate", "9" * 5_000 + "/60"),
        ("--rate", "1/86401"),
        ("--level-max", "-1"),
        ("--level-max", "1", "--subject", "x"),
    ],
)
def test_what_is_no_boundary_is_2(governed: Any, more: tuple[str, ...]) -> None:
    done = governed("boundary", "set", "b", *more)
    assert (done.code, done.out) == (2, "")
    assert len(governed.node.machine.state.boundaries) == 0


def test_a_boundary_of_nothing_is_rejected(governed: Any) -> None:
    done = governed("boundary", "set", "b", "--subject", AGENT)
    assert (done.code, "[boundary_invalid]" in done.err) == (1, True)


def test_a_rate_that_leaves_no_node_a_share_is_refused(governed: Any) -> None:
    nodes = len(governed.node.read_members({}))
    assert nodes > 1
    done = governed("boundary", "set", "b", "--rate", f"{nodes - 1}/60")
    assert (done.code, done.out) == (2, "")
    assert (
        f"none for each of the {nodes} nodes that share it, and would deny everybody: set a count of {nodes}"
        in done.err
    )
    assert governed("boundary", "set", "b", "--rate", f"{nodes}/60").code == 0


def test_times() -> None:
    now = time.time_ns() // 1_000_000
    for text, ms in (("90s", 90_000), ("+15m", 900_000), ("2h", 7_200_000), ("1h30m", 5_400_000), ("1d", 86_400_000)):
        assert 0 <= parse_time(text, "--until") - now - ms < 5_000
    assert parse_time("1970-01-01T00:00:01Z", "--until") == 1_000
    assert parse_time("1970-01-01T01:00:01+01:00", "--until") == 1_000
    assert parse_moment("1700000000000", "--at") == 1_700_000_000_000
    assert parse_moment("1970-01-01T00:00:01Z", "--at") == 1_000
    for text in ("0", "9" * 18, "1x", "-1"):
        with pytest.raises(InputError):
            parse_moment(text, "--at")
    for text in (
        "",
        "5",
        "1h30",
        "2x",
        "-2h",
        "2027-01-01",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "999999999d",
    ):
        with pytest.raises(InputError):
            parse_time(text, "--until")


def test_the_delegate_alone_hands_on(governed: Any) -> None:
    assert issue(governed, "g", "--delegate", "ruth", "--depth", 1).code == 0
    what = ("--holder", 'Agent::"b"', "--action", RUN, "--resource", TOOL, "--until", "1h")
    done = governed("grant", "delegate", "g", "h", *what, "--key", "rita")
    assert (done.code, "[threshold_unmet]" in done.err) == (2, True)
    done = governed("grant", "delegate", "g", "h", *what, "--key", "ruth")
    assert done.code == 0, done.err
    grant = governed.node.machine.state.grants.grants["h"]
    assert (grant.parent, grant.domain, grant.depth, grant.authors) == ("g", "root", 0, ("ruth",))
    assert governed("grant", "show", "h", "-o", "json").data["above"] == ["g"]
    # Without keys given, the operators of the cluster directory sign.
    assert governed("grant", "delegate", "g", "i", *what).code == 0
    wider = governed("grant", "delegate", "g", "j", *what, "--depth", 1)
    assert (wider.code, "[grant_wider]" in wider.err) == (1, True)
    lost = governed("grant", "delegate", "nothing", "j", *what)
    assert (lost.code, "[grant_unknown]" in lost.err) == (2, True)
