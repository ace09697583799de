"""Which node is asked if nobody says: that of the environment."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from govraft.client.endpoint import resolve_endpoint
from govraft.errors import InputError


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GOVRAFT_ENDPOINT", raising=False)
    monkeypatch.setenv("GOVRAFT_CLUSTER", str(tmp_path))
    nodes = [{"id": name, "socket": f"run/{name}.sock"} for name in ("n1", "n2")]
    (tmp_path / "cluster.json").write_text(json.dumps({"nodes": nodes, "genesis": "genesis.json"}))
    (tmp_path / "run").mkdir()
    return tmp_path


def test_the_first_node_that_has_a_socket(cluster: Path) -> None:
    assert resolve_endpoint(None) == f"{cluster}/run/n1.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{cluster}/run/n2.sock")
        assert resolve_endpoint(None) == f"{cluster}/run/n2.sock"


def test_who_names_an_endpoint_means_it(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_endpoint("unix:///a") == "/a"
    monkeypatch.setenv("GOVRAFT_ENDPOINT", "unix:///b")
    assert resolve_endpoint(None) == "/b"


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"nodes": []}', '{"nodes": [{"socket": 1}]}', "[" * 100_000]
)
def test_a_directory_that_is_none_is_named(cluster: Path, content: str | None) -> None:
    (cluster / "cluster.json").unlink()
    if content is not None:
        (cluster / "cluster.json").write_text(content)
    with pytest.raises(InputError, match=f"`GOVRAFT_CLUSTER` is `{cluster}`, which is no directory that"):
        resolve_endpoint(None)
