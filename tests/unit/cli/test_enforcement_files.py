"""`--from FILE`: one signed command for an incident."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

A, B, C = (f'Agent::"{name}"' for name in "abc")
REASON = ("--reason", "leaked keys")


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    path = tmp_path / "targets"
    path.write_text(f"# of the incident\n{B}\n\n  {A}\n{B}\n")
    return path


def test_a_file_of_targets_is_one_command(cluster: Any, targets: Path) -> None:
    refused = cluster("revoke", "subject", "--from", str(targets), *REASON)
    assert (refused.code, "needs rules 2" in refused.err, "govraft rules" in refused.err) == (1, True, True)
    assert cluster("rules", "raise", "2").code == 0
    assert cluster("revoke", "subject", A, *REASON).code == 0
    done = cluster("revoke", "subject", "--from", str(targets), *REASON, "-o", "json")
    assert (done.code, done.data["unchanged"], done.data["receipt"]["outcome"]) == (0, [A], "applied")
    again = cluster("revoke", "subject", "--from", str(targets), *REASON)
    assert again.code == 0
    assert f"{A}" in again.out
    assert f"{B}" in again.out


def test_a_thousand_agents_named_by_uuid_are_one_command(cluster: Any, tmp_path: Path) -> None:
    """Their names hold what else ends a line somewhere, and the file begins with a mark of its byte order."""
    names = [f'Agent::"{uuid.uuid4()}\u2028"' for _ in range(1000)]
    (tmp_path / "targets").write_text("\ufeff" + "\r\n".join(names), encoding="utf-8")
    assert cluster("rules", "raise", "2").code == 0
    before = cluster.node.machine.seq
    done = cluster("quarantine", "subject", "--from", tmp_path / "targets", *REASON, "-o", "json")
    assert (done.code, done.data["targets"], done.data["unchanged"]) == (0, 1000, []), done.err
    assert cluster.node.machine.seq == before + 1
    assert len(cluster.node.machine.marked) == 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names 0 targets"),
        ("# nothing\n", "names 0 targets"),
        ("".join(f'Agent::"{number}"\n' for number in range(1001)), "names 1001 targets"),
        (f"{A}\nnobody\n", "line 2"),
        ("".join(f'Agent::"{number:0100}"\n' for number in range(1000)), "bytes, one command has room for"),
    ],
)
def test_a_file_that_names_no_targets_is_2(cluster: Any, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "targets"
    path.write_text(text)
    done = cluster("quarantine", "subject", "--from", str(path), *REASON)
    assert (done.code, says in done.err) == (2, True)


def test_one_way_to_name_targets(cluster: Any, targets: Path, tmp_path: Path) -> None:
    for arguments in ((), (A, "--from", str(targets))):
        done = cluster("quarantine", "subject", *arguments, *REASON)
        assert (done.code, "--from" in done.err) == (2, True)
    missing = cluster("quarantine", "subject", "--from", str(tmp_path / "none"), *REASON)
    assert (missing.code, "cannot be read" in missing.err) == (2, True)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert cluster("quarantine", "subject", "--from", str(tmp_path / "binary"), *REASON).code == 2


def test_rules_are_raised_one_by_one(cluster: Any) -> None:
    assert cluster("rules", "raise", "3").code == 1
    assert cluster("rules", "raise", "0").code == 2
    assert cluster("rules", "raise", "2").code == 0
    assert cluster("rules", "raise", "2").code == 1
