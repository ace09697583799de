"""A trust state, set and moved by what a cluster of real processes certifies while its members change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.cluster_harness import ACTION, TOOL, Cluster

from govraft.cli.free_ports import find_free_ports
from govraft.cli.main import run

pytestmark = pytest.mark.cluster

Program = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as made:
        made.start()
        made.permit_all()
        yield made


@pytest.fixture
def govraft(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Program:
    def invoke(*arguments: object) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = run([*map(str, arguments), "--cluster", str(cluster.home), "-o", "json", "--timeout", "20"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out.strip() else None, printed.err

    return invoke


def test_a_trust_state_follows_the_members(
    cluster: Cluster, govraft: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOVRAFT_TRUSTED", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    export, old, new = tmp_path / "l.jsonl", tmp_path / "old.json", tmp_path / "new.json"
    assert govraft("lineage", "export", export)[0] == 0
    code, _, asked = govraft("trust", "set", export)
    assert code == 2
    fingerprint = next(line.split(": ")[1] for line in asked.splitlines() if line.startswith("fingerprint"))
    code, first, _ = govraft("trust", "set", export, "--fingerprint", fingerprint)
    assert (code, first["epoch"], first["linked"]) == (0, 1, False)
    client = cluster.nodes["node-1"].client
    old.write_bytes(client.authorize('Agent::"ann"', ACTION, TOOL).file)
    code, proven, _ = govraft("verify", old)
    assert (code, proven["trust"], proven["trusted"]) == (0, "state", first["path"])

    (port,) = find_free_ports(1)
    assert govraft("member", "init", "--id", "node-4", "--listen", f"127.0.0.1:{port}")[0] == 0
    assert govraft("member", "add", cluster.home / "nodes" / "node-4")[0] == 0
    new.write_bytes(client.authorize('Agent::"ann"', ACTION, TOOL).file)
    code, proven, _ = govraft("verify", new)
    assert (code, proven["trust"], proven["epoch"]) == (0, "state", 2)
    assert govraft("verify", old)[0] == 0

    code, proof, _ = govraft("lineage", "prove", 1, "--consistency", first["seq"])
    assert code == 0
    (tmp_path / "p.json").write_text(json.dumps(proof, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    code, moved, err = govraft("trust", "set", tmp_path / "p.json")
    assert (code, moved["epoch"], moved["linked"], err) == (0, 2, True, "")
    assert govraft("verify", new)[0] == 0
    code, _, err = govraft("verify", old)
    assert (code, "superseded" in err) == (1, True)
