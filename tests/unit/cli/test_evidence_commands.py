"""Lineage, verify, status, watch, and how the program behaves as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from govraft.cli.main import COMMANDS, cli

AGENT = 'Agent::"a"'


@pytest.fixture
def history(cluster, tmp_path: Path):
    """Seven seqs, so that every reader needs more than one page."""
    (tmp_path / "e.json").write_text(json.dumps([{"uid": AGENT}]))
    cluster("entity", "put", tmp_path / "e.json")
    for number in range(4):
        cluster("quarantine", "subject", f'Agent::"{number}"', "--reason", "x")
    cluster("revoke", "subject", AGENT, "--reason", "x", "--receipt", tmp_path / "r.json")
    return cluster


def test_lineage_list_and_show(history) -> None:
    listed = history("lineage", "list", "-o", "json").data
    assert [item["seq"] for item in listed] == [1, 2, 3, 4, 5, 6, 7]
    assert [item["command"] for item in listed][:3] == ["genesis", "entity.put", "quarantine"]
    assert [item["seq"] for item in history("lineage", "list", "--from", 3, "--to", 4, "-o", "json").data] == [3, 4]
    shown = history("lineage", "show", 7, "-o", "json").data
    assert (shown["signers"], shown["payload"]["id"]) == (["olga"], AGENT)
    assert "signed by" in history("lineage", "show", 7).out
    assert history("lineage", "show", 99).code == 2


def test_an_export_is_proven_from_the_genesis_alone(history, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = history("lineage", "export", tmp_path / "l.jsonl")
    assert (exported.code, exported.out) == (0, "")
    monkeypatch.delenv("GOVRAFT_CLUSTER")
    genesis = history.directory / "genesis.json"
    done = history("verify", tmp_path / "l.jsonl", "--genesis", genesis, "-o", "json")
    assert done.code == 0, done.err
    machine = history.node.machine
    assert (done.data["seq"], done.data["state_root"]) == (7, machine.state_root.hex())
    assert (done.data["applied"], done.data["rejected"], done.data["cosigners"]) == (7, 0, ["n1", "n2"])
    data = (tmp_path / "l.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(data[: len(data) // 2])
    done = history("verify", tmp_path / "cut.jsonl", "--genesis", genesis)
    assert (done.code, done.out) == (1, "")
    assert history("verify", tmp_path / "l.jsonl").code == 2


def test_receipt_and_certificate_are_proven(history, tmp_path: Path) -> None:
    done = history("verify", tmp_path / "r.json", "-o", "json")
    assert done.code == 0, done.err
    assert (done.data["command"], done.data["command_seq"], done.data["fields"]["id"]) == ("revoke", 7, AGENT)
    assert done.data["nodes_until"] < done.data["clients_until"] < done.data["permits_until"]
    (tmp_path / "note").write_bytes(history.node.certificate())
    done = history("verify", tmp_path / "note", "-o", "json")
    assert (done.code, done.data["kind"], done.data["seq"]) == (0, "certificate", 7)


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", "\x00\xff", '{"format":"govraft.lineage.v1"}'])
def test_what_proves_nothing_exits_1(history, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    done = history("verify", tmp_path / "x")
    assert (done.code, done.out) == (1, "")


def test_an_unusable_genesis_is_2(history, tmp_path: Path) -> None:
    (tmp_path / "g").write_text("{}")
    assert history("verify", tmp_path / "r.json", "--genesis", tmp_path / "g").code == 2
    assert history("verify", tmp_path / "nosuch").code == 2


def test_an_export_replaces_no_pipe_and_no_link(history, tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    assert history("lineage", "export", link).code == 0
    assert (link.is_symlink(), target.stat().st_size > 0) == (True, True)
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:  # noqa: S607
        assert history("lineage", "export", pipe).code == 0
        assert reader.communicate(timeout=10)[0] == target.read_bytes()
    assert pipe.is_fifo()


def test_a_failed_export_leaves_no_file(history, tmp_path: Path) -> None:
    history.node.leaves[4] = "not bytes"
    assert history("lineage", "export", tmp_path / "l.jsonl").code == 3
    assert [path.name for path in tmp_path.iterdir() if "l.jsonl" in path.name] == []
    assert history("lineage", "export", "/nonexistent/l.jsonl").code == 2


def test_status_and_health(cluster, tmp_path: Path) -> None:
    done = cluster("status")
    assert (done.code, done.out.split()[:2]) == (0, ["NODE", "ROLE"])
    assert cluster("endpoint", "health").code == 0
    nobody = f"unix://{tmp_path}/nobody"
    done = cluster("status", "--endpoint", "n1", "--endpoint", nobody, "-o", "json")
    assert done.code == 3
    assert [item["status"] is None for item in done.data] == [False, True, True, True]
    assert [item.get("voter") for item in done.data] == [None, None, True, True]
    assert [item["endpoint"] for item in done.data[2:]] == ["n2", "n3"]
    cluster.node.read_status = lambda _: {"node": "n1", "standing": "lease_expired", "message": "cut off"}
    done = cluster("endpoint", "health", "-o", "json")
    assert (done.code, done.data[0]["healthy"], done.data[0]["error"]) == (3, False, "lease_expired: cut off")


def test_watch(cluster) -> None:
    done = cluster("watch", "--events", 2)
    assert done.code == 0
    assert done.out.startswith("certified  seq 1")
    assert "\x1b" not in done.out
    events = [json.loads(line) for line in cluster("watch", "--events", 2, "-o", "json").out.splitlines()]
    assert [event["event"] for event in events] == ["certified", "status"]


def test_inventory(cluster) -> None:
    assert [item["id"] for item in cluster("member", "list", "-o", "json").data] == ["n1", "n2", "n3"]
    found = cluster("authority", "list", "-o", "json").data
    assert {item["id"] for item in found["authorities"]} == {"olga", "oscar", "pat", "paula", "rita", "ruth"}
    assert "policy (2 needed)" in cluster("authority", "list").out


def test_options_stand_on_either_side(cluster) -> None:
    assert cluster("-o", "json", "version").data["version"]
    assert cluster("version", "-o", "json").data == cluster("-o", "yaml", "version", "-o", "json").data
    assert cluster("--dry-run", "revoke", "subject", AGENT, "--reason", "x").code == 0
    assert cluster.node.machine.seq == 1


@pytest.mark.parametrize("arguments", [(), ("--help",), *[(name, "--help") for name in COMMANDS]])
def test_help(cluster, arguments: tuple[str, ...]) -> None:
    done = cluster(*arguments)
    assert "Usage: govraft" in done.out + done.err
    assert "Traceback" not in done.err


def test_completion(cluster) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = cluster("completion", shell)
        assert "_GOVRAFT_COMPLETE" in done.out


def test_unknown_commands_and_directories_are_2(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster("frob").code == 2
    assert cluster("--cluster", "/nonexistent", "status").code == 2
    (cluster.directory / "cluster.json").write_text("[]")
    assert cluster("status").code == 2


def test_a_defect_is_one_line_and_no_success(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(cli, "main", broken)
    done = cluster("version")
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)


def test_a_closed_pipe_is_no_traceback() -> None:
    command = [sys.executable, "-m", "govraft.cli.main", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        errors = child.stderr.read()
    assert (child.returncode, errors) == (141, b"")


def test_a_check_does_not_load_what_decides_or_signs() -> None:
    text = (
        "import sys; from govraft.cli.main import run; run(['check', 'A::\"a\"', 'A::\"a\"', 'A::\"a\"']); "
        "print([m for m in sys.modules if m.split('.')[0] in ('cedarpy', 'securesystemslib', 'pysyncobj', 'sqlite3')])"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
