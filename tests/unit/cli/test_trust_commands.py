"""`govraft trust`, and what `govraft verify` makes of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from govraft.cli.main import run
from govraft.cli.trust_file import TrustPlace
from govraft.core.codec.note import Note, format_note
from govraft.errors import AvailabilityError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.evidence_worlds import new_members
from govraft.testing.sample import CREATED, SampleCluster

NEW = ("n3", "n4")


class Stranger:
    """Somebody with files, a home directory, and no node."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capture = directory, capture
        self.world = new_members()
        self.path = Path(os.environ["XDG_DATA_HOME"]) / "govraft" / "trust" / f"{self.cluster}.json"
        self.genesis = self.keep("genesis.json", self.world.sample.genesis.encode())

    @property
    def cluster(self) -> str:
        return self.world.sample.genesis.cluster_id

    def keep(self, name: str, data: bytes | dict) -> Path:
        path = self.directory / name
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def __call__(self, *arguments: object) -> tuple[int, dict, str]:
        self._capture.readouterr()
        code = run([str(item) for item in (*arguments, "--genesis", self.genesis, "-o", "json")])
        out, err = self._capture.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else {}, err

    def fresh_permit(self, world: EvidenceSample, nodes: tuple[str, ...], name: str) -> Path:
        """Issued now, on a certificate that is cosigned now."""
        now = time.time_ns() // 1_000_000
        statement = world.permit_statement(issued=now, not_after=now + 100_000)
        body = world.checkpoint().encode()
        note = format_note(Note(body, tuple(world.cosignature(node, body, now // 1000) for node in nodes)))
        return self.keep(name, world.permit(statement, nodes=nodes, certificate=note))


@pytest.fixture
def stranger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stranger:
    return Stranger(tmp_path, capsys)


def test_a_forged_permit_is_superseded(stranger) -> None:
    """Two keys that left long ago, an old state, and everything dated now."""
    forged = stranger.fresh_permit(EvidenceSample(), ("n1", "n2"), "forged.json")
    real = stranger.fresh_permit(stranger.world, NEW, "real.json")
    code, proven, _ = stranger("verify", forged)
    assert (code, proven["trust"], proven["trusted"]) == (0, "genesis", None)
    trust = stranger.keep("t.json", stranger.world.trust().encode())
    code, _, err = stranger("verify", forged, "--trusted", trust)
    assert (code, "superseded" in err) == (1, True)
    code, proven, _ = stranger("verify", real, "--trusted", trust)
    assert (code, proven["trust"], proven["trusted"]) == (0, "state", str(trust))
    assert not stranger.path.exists()


def test_the_words_say_on_what_a_proof_rests(stranger, capsys) -> None:
    permit = stranger.fresh_permit(stranger.world, NEW, "p.json")
    assert run(["verify", str(permit), "--genesis", str(stranger.genesis)]) == 0
    assert "by the founders' keys alone" in capsys.readouterr().out


def test_the_default_file_is_used_and_none_is_said(stranger, monkeypatch) -> None:
    trust = stranger.keep("t.json", stranger.world.trust().encode())
    fingerprint = stranger.world.trust().fingerprint
    code, done, _ = stranger("trust", "set", trust, "--fingerprint", fingerprint.upper())
    assert (code, done["changed"], done["path"], done["fingerprint"]) == (0, True, str(stranger.path), fingerprint)
    assert stranger.path.read_bytes() == trust.read_bytes()
    forged = stranger.fresh_permit(EvidenceSample(), ("n1", "n2"), "forged.json")
    assert stranger("verify", forged)[0] == 1
    code, proven, _ = stranger("verify", forged, "--trusted", "none")
    assert (code, proven["trust"], proven["trusted"]) == (0, "genesis", "none")
    monkeypatch.setenv("GOVRAFT_TRUSTED", "none")
    assert stranger("verify", forged)[1]["trusted"] == "none"
    assert stranger("verify", forged, "--trusted", stranger.path)[0] == 1
    shown = stranger("trust", "show", "--trusted", stranger.path)[1]
    assert (shown["trust"], shown["epoch"], shown["seq"], shown["voters"]) == ("state", 7, 13, ["n3", "n4", "n5"])


def test_verify_writes_nothing(stranger) -> None:
    before = sorted(stranger.directory.iterdir())
    export = stranger.keep("l.jsonl", stranger.world.export(NEW))
    for _ in range(2):
        assert stranger("verify", export)[0] == 0
    assert sorted(stranger.directory.iterdir()) == [*sorted([*before, export])]
    assert not stranger.path.parent.exists()


def test_a_damaged_default_file_judges_nothing(stranger) -> None:
    forged = stranger.fresh_permit(EvidenceSample(), ("n1", "n2"), "forged.json")
    stranger.path.parent.mkdir(parents=True)
    other = EvidenceSample(SampleCluster(name="other")).trust().encode()
    for data in (b"", b"x", stranger.world.trust().encode()[:-1], other, b"x" * 100_000):
        stranger.path.write_bytes(data)
        code, proven, err = stranger("verify", forged)
        assert (code, proven) == (2, {})
        assert str(stranger.path) in err
        assert stranger("trust", "show")[0] == 2
        assert stranger("trust", "set", forged)[0] == 2
        assert stranger.path.read_bytes() == data
    stranger.path.unlink()
    stranger.path.symlink_to("nowhere")
    assert stranger("verify", forged)[0] == 2
    stranger.path.unlink()
    stranger.path.mkdir()
    assert stranger("verify", forged)[0] == 2
    stranger.path.rmdir()
    os.mkfifo(stranger.path)
    assert stranger("verify", forged)[0] == 2
    stranger.path.unlink()
    stranger.path.parent.rmdir()
    stranger.path.parent.write_text("not a directory")
    assert stranger("verify", forged)[0] == 2


def test_a_named_file_must_be_there(stranger, monkeypatch) -> None:
    permit = stranger.fresh_permit(stranger.world, NEW, "p.json")
    for named in (stranger.directory / "nosuch", stranger.directory, stranger.genesis, ""):
        assert stranger("verify", permit, "--trusted", named)[:2] == (2, {})
    monkeypatch.setenv("GOVRAFT_TRUSTED", str(stranger.directory / "nosuch"))
    assert stranger("verify", permit)[:2] == (2, {})
    assert stranger("trust", "show")[0] == 2


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_a_home_there_is_no_default(stranger, monkeypatch, home: str) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", home)
    permit = stranger.fresh_permit(stranger.world, NEW, "p.json")
    code, proven, _ = stranger("verify", permit)
    assert (code, proven["trust"]) == (0, "genesis")
    code, _, err = stranger("trust", "set", stranger.keep("t", stranger.world.trust().encode()))
    assert (code, "--trusted FILE" in err) == (2, True)
    assert stranger("trust", "set", "x", "--trusted", "none")[0] == 2


def test_without_a_terminal_a_fingerprint_is_wanted(stranger) -> None:
    export = stranger.keep("l.jsonl", stranger.world.export(NEW))
    code, _, err = stranger("trust", "set", export)
    assert (code, "--fingerprint" in err, stranger.world.trust().fingerprint in err) == (2, True, True)
    assert stranger("trust", "set", export, "--fingerprint", "x")[0] == 2
    assert not stranger.path.exists()


def test_a_fingerprint_decides(stranger) -> None:
    export = stranger.keep("l.jsonl", stranger.world.export(NEW))
    assert stranger("trust", "set", export, "--fingerprint", "0" * 64)[0] == 1
    assert not stranger.path.exists()
    assert stranger("trust", "set", export, "--fingerprint", stranger.world.trust().fingerprint)[0] == 0
    assert stranger.path.stat().st_mode & 0o777 == 0o644


def test_a_person_is_asked(stranger, monkeypatch) -> None:
    export = stranger.keep("l.jsonl", stranger.world.export(NEW))
    asked = []

    def confirm(text: str, **_: object) -> None:
        asked.append(text)

    monkeypatch.setattr("govraft.cli.trust.click.confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, _, err = stranger("trust", "set", export)
    assert (code, len(asked)) == (0, 1)
    for shown in (stranger.cluster, "epoch: 7", "seq: 13", stranger.world.trust().fingerprint):
        assert shown in err


def test_what_links_is_taken_without_a_question(stranger) -> None:
    older = stranger.keep("t.json", EvidenceSample().trust().encode())
    named = ("--trusted", stranger.directory / "mine.json")
    assert stranger("trust", "set", older, *named, "--fingerprint", EvidenceSample().trust().fingerprint)[0] == 0
    code, done, _ = stranger("trust", "set", stranger.keep("l.jsonl", stranger.world.export(NEW)), *named)
    assert (code, done["linked"], done["changed"], done["seq"]) == (0, True, True, 13)
    code, done, _ = stranger("trust", "set", older, *named)
    assert (code, done["changed"], done["seq"]) == (0, False, 13)
    receipt = stranger.keep("r.json", stranger.world.receipt(3, lease=stranger.world.lease(nodes=NEW)))
    assert stranger("trust", "set", receipt, *named)[1]["changed"] is False


def test_nothing_of_another_history_is_trusted(stranger) -> None:
    named = ("--trusted", stranger.keep("mine.json", stranger.world.trust().encode()))
    thief = EvidenceSample()
    while thief.machine.seq < 14:
        thief.quarantine(thief.machine.seq)
    for name, data in (("l", thief.export()), ("t", thief.trust().encode()), ("c", thief.certificate())):
        code, _, err = stranger("trust", "set", stranger.keep(name, data), *named)
        assert (code, "two histories" in err) == (1, True)
        code, _, err = stranger("trust", "set", stranger.keep(name, data), *named, "--fingerprint", "0" * 64)
        assert code == 1
    permit = stranger.fresh_permit(stranger.world, NEW, "p.json")
    assert stranger("trust", "set", permit, *named)[0] == 1
    for bad in (stranger.directory, stranger.directory / "nosuch"):
        assert stranger("trust", "set", bad, *named)[0] == 2
    assert named[1].read_bytes() == stranger.world.trust().encode()


def test_evidence_of_the_past_counts_with_a_time(stranger) -> None:
    """An old receipt is not shown to lie in the trusted history; whoever looks back is told so."""
    trust = ("--trusted", stranger.keep("mine.json", stranger.world.trust().encode()))
    receipt = stranger.keep("r.json", EvidenceSample().receipt(3))
    code, _, err = stranger("verify", receipt, *trust)
    assert (code, "signed by an electorate that has left" in err) == (1, True)
    code, proven, err = stranger("verify", receipt, *trust, "--at", CREATED + 200_000)
    assert (code, proven["trust"], "signed by an electorate that has left" in err) == (0, "not_shown", True)


def test_what_changed_meanwhile_is_not_overwritten(stranger, tmp_path) -> None:
    path = tmp_path / "t.json"
    place = TrustPlace(path, True, str(path))
    place.replace(None, b"one")
    with pytest.raises(AvailabilityError):
        place.replace(None, b"two")
    assert path.read_bytes() == b"one"
    place.replace(b"one", b"two")
    assert path.read_bytes() == b"two"
