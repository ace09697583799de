"""Only what may have changed something is doubted; a watch goes on with whoever answers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from govraft.errors import AvailabilityError


@pytest.mark.parametrize(
    "words", [("policy", "list"), ("lineage", "list"), ("watch",), ("mark", "list"), ("entity", "list")]
)
@pytest.mark.parametrize("form", [(), ("-o", "json")])
def test_a_read_leaves_no_doubt(cluster, tmp_path: Path, words: tuple[str, ...], form: tuple[str, ...]) -> None:
    done = cluster(*words, "--endpoint", f"unix://{tmp_path}/none.sock", *form)
    assert done.code == 3
    assert "took effect" not in done.err and '"definite": false' not in done.err


def test_a_command_without_an_answer_leaves_doubt(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(*_: object, **__: object) -> None:
        raise AvailabilityError("the node is gone", code="outcome_unknown", definite=False)

    monkeypatch.setattr(cluster.node, "submit", lose)
    done = cluster("quarantine", "subject", 'T::"a"', "--reason", "r", "--timeout", "0.3")
    assert done.code == 3
    assert "whether it took effect is unknown" in done.err


def test_a_watch_goes_on_after_its_node_went_away(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("govraft.cli.status._RECONNECT_S", 0)
    streams = iter([["one"], OSError("gone"), ["two", "three"]])

    def watch(_: object):
        for event in item if isinstance(item := next(streams), list) else []:
            yield {"event": "status", "node": event}
        raise AvailabilityError("the node is gone")

    monkeypatch.setattr("govraft.client.client.Client.watch", watch)
    done = cluster("watch", "--events", 3)
    assert done.code == 0
    assert done.out.split() == ["status", "one", "status", "two", "status", "three"]
    assert done.err.count("the node is gone; connecting again") == 1


def test_exports_are_as_readable_as_they_should_be(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        assert cluster("lineage", "export", tmp_path / "lineage.jsonl").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lineage.jsonl").stat().st_mode) == 0o640
