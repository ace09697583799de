"""`govraft mark list`: what is stopped now, with its filters; and who did what to whom in `lineage list`."""

import pytest

STOPS = (
    ("quarantine", "subject", 'T::"a"', "odd calls"),
    ("quarantine", "resource", 'T::"a"', "looked at"),
    ("revoke", "subject", 'T::"b"', "leaked"),
    ("isolate", "node", "n1", "host is owned"),
)


@pytest.fixture
def stopped(cluster):
    for command, kind, target, reason in STOPS:
        assert cluster(command, kind, target, "--reason", reason).code == 0
    return cluster


def test_everything_that_is_stopped_is_listed_with_who_when_and_why(stopped):
    found = stopped("mark", "list", "-o", "json").data
    assert [(item["mark"], item["kind"], item["id"], item["reason"], item["seq"]) for item in found] == [
        ("isolated", "node", "n1", "host is owned", 5),
        ("quarantined", "resource", 'T::"a"', "looked at", 3),
        ("quarantined", "subject", 'T::"a"', "odd calls", 2),
        ("revoked", "subject", 'T::"b"', "leaked", 4),
    ]
    assert all(item["authors"] == ["olga"] and item["time"] > 0 and item["domain"] == "root" for item in found)
    table = stopped("mark", "list").out
    assert table.splitlines()[0].split() == ["MARK", "KIND", "ID", "SINCE", "SEQ", "BY", "DOMAIN", "REASON"]
    assert 'revoked      subject   T::"b"' in table


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        (("--mark", "revoked"), [4]),
        (("--kind", "subject"), [2, 4]),
        (("--id", 'T::"a"'), [3, 2]),
        (("--id", 'T::"a"', "--kind", "subject"), [2]),
        (("--domain", "root"), [5, 3, 2, 4]),
        (("--domain", "leaf"), []),
        (("--by", "olga"), [5, 3, 2, 4]),
        (("--by", "rita"), []),
    ],
)
def test_filters(stopped, options, seqs):
    assert [item["seq"] for item in stopped("mark", "list", "-o", "json", *options).data] == seqs


def test_what_was_released_is_gone(stopped):
    assert stopped("release", "subject", 'T::"a"', "--reason", "fine").code == 0
    assert [item["seq"] for item in stopped("mark", "list", "-o", "json").data] == [5, 3, 4]


def test_an_unknown_mark_is_2(stopped):
    assert stopped("mark", "list", "--mark", "stopped").code == 2


def test_the_lineage_says_who_did_what_to_whom(stopped, tmp_path):
    (tmp_path / "e.json").write_text('[{"uid": "T::\\"x\\""}, {"uid": "T::\\"y\\""}]')
    assert stopped("entity", "put", tmp_path / "e.json").code == 0
    listed = stopped("lineage", "list", "-o", "json").data
    assert [(item["command"], item["target"], item["signers"]) for item in listed] == [
        ("genesis", "", []),
        *((command, f"{kind} {target}", ["olga"]) for command, kind, target, _ in STOPS),
        ("entity.put", 'T::"x" and 1 more', ["olga"]),
    ]
    assert stopped("lineage", "list").out.splitlines()[0].split()[-3:] == ["TARGET", "SIGNED", "BY"]
