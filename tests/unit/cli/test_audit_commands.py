from __future__ import annotations

import json
import shutil
import sqlite3

import msgspec
import pytest
from unit.core.evidence.audit_bench import AuditBench, edited

from govraft.adapters.decision_log import DecisionLogFile
from govraft.cli.main import run
from govraft.core.evidence.decisions import Noted, gap_fields
from govraft.core.evidence.trust import Trust
from govraft.core.evidence.trust_state import bare_electorate
from govraft.ports.decisions import StoredAnchor


class Files:
    """A node's log on a disk, the lineage export, and the command line."""

    def __init__(self, directory, capture):
        self.directory, self._capture = directory, capture
        self.bench = AuditBench()
        self.log, self.lineage = directory / "data" / "decisions.db", directory / "lineage.jsonl"
        self.log.parent.mkdir()
        (directory / "genesis.json").write_bytes(self.bench.genesis.encode())
        self._stored = 0

    def store(self):
        """Write what the bench has recorded into the log as the node would, and export the lineage."""
        bench = self.bench
        log = DecisionLogFile(self.log, cluster=bench.genesis.cluster_id, node="n1")
        fields = [msgspec.msgpack.decode(leaf) for leaf in bench.records[self._stored :]]
        own = {"index", "kind", "v", "masked", "request", "request_digest"}
        noted = [
            Noted({name: item[name] for name in item if name not in own}, msgspec.msgpack.encode(item["request"]))
            for item in fields
        ]
        log.append(noted)
        self._stored = len(bench.records)
        # The bench's log takes the id of the one on the disk.
        self.id = log.head().log
        bench.anchor(log=self.id)
        log.keep_anchor(StoredAnchor(self._stored, bench.tree().root(), bench.machine.seq))
        log.close()
        self.lineage.write_bytes(b"".join(bench.lineage()))

    def __call__(self, *arguments):
        self._capture.readouterr()
        code = run(["-o", "json", *map(str, arguments)])
        out, err = self._capture.readouterr()
        return code, out, err

    def export(self, *options, log=None):
        path = self.directory / "decisions.jsonl"
        code, _, err = self("audit", "export", log or self.log, path, *options)
        assert code == 0, err
        assert path.stat().st_mode & 0o777 == 0o600, "who asked for what is nobody else's business"
        return path

    def replay(self, path):
        code, out, err = self(
            "audit", "replay", path, "--lineage", self.lineage, "--genesis", self.directory / "genesis.json"
        )
        return code, json.loads(out) if out else None, err


@pytest.fixture
def files(tmp_path, capsys):
    files = Files(tmp_path, capsys)
    for number in range(40):
        files.bench.ask(f"a{number % 5}", "run" if number % 3 else "stop", context={"n": number * 5})
    files.store()
    return files


def test_an_exported_log_is_evaluated_again(files):
    code, report, err = files.replay(files.export())
    assert (code, report["clean"], report["mismatch_count"], report["chain"]) == (0, True, 0, []), err
    assert (report["first"], report["last"], report["anchored"], report["log"]) == (0, 40, 40, files.id)
    assert report["counts"]["allow"] + report["counts"]["deny"] == 40


def test_exactly_three_that_were_tampered_with_are_reported(files):
    path = files.export()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3 + 1] = edited(lines[3 + 1], verdict="allow", reason="", message="")
    lines[20 + 1] = edited(lines[20 + 1], state_root="ab" * 32)
    del lines[31 + 1]
    path.write_bytes(b"".join(lines))
    code, report, err = files.replay(path)
    assert (code, report["clean"], report["mismatch_count"]) == (1, False, 3)
    assert [(item["index"], item["problem"]) for item in report["mismatches"]] == [
        (3, "verdict"),
        (20, "state"),
        (31, "missing"),
    ]
    assert "3 records are not what they should be" in err


def test_people_get_a_table(files, capsys):
    path = files.export()
    arguments = ["audit", "replay", str(path), "--lineage", str(files.lineage)]
    genesis = ["--genesis", str(files.directory / "genesis.json")]
    assert run([*arguments, *genesis]) == 0
    assert "mismatches" in capsys.readouterr().out
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = edited(lines[4], node="\x1b[31mred")
    path.write_bytes(b"".join(lines))
    assert run([*arguments, *genesis]) == 1
    out = capsys.readouterr().out
    assert "RECORDED" in out and "\x1b" not in out


@pytest.mark.parametrize(
    ("options", "stretch"),
    [
        (["--from", 10], (10, 40)),
        (["--to", 9], (0, 10)),
        (["--from", 10, "--to", 19], (10, 20)),
        (["--from", 39], (39, 40)),
    ],
)
def test_a_stretch_is_proven_too(files, options, stretch):
    code, report, err = files.replay(files.export(*options))
    assert (code, report["clean"], (report["first"], report["last"])) == (0, True, stretch), err
    assert report["anchored"] == stretch[1]


def test_a_stretch_of_time(files):
    times = [json.loads(line)["time"] for line in files.export().read_bytes().splitlines()[1:-1]]
    _, report, _ = files.replay(files.export("--since", times[10], "--until", times[20]))
    assert (report["first"], report["last"]) == (10, 20)


def test_a_log_that_grew_is_exported_while_its_node_writes(files):
    log = DecisionLogFile(files.log, cluster=files.bench.genesis.cluster_id, node="n1")
    log.head()
    for number in range(10):
        files.bench.ask(f"b{number}")
    files.store()
    code, report, _ = files.replay(files.export())
    assert (code, report["last"], report["anchored"]) == (0, 50, 50)
    log.close()


def test_a_directory_and_a_copy_will_do(files, tmp_path):
    assert files.replay(files.export(log=files.log.parent))[0] == 0
    copy = tmp_path / "copy.db"
    shutil.copy(files.log, copy)
    assert files.replay(files.export(log=copy))[0] == 0


def test_a_damaged_log_is_not_exported(files):
    log = DecisionLogFile(files.log, cluster=files.bench.genesis.cluster_id, node="n1")
    log.append([Noted(gap_fields("n1", 7, 1)) for _ in range(300)])
    log.close()
    other = sqlite3.connect(files.log, isolation_level=None)
    (leaf,) = other.execute("SELECT leaf FROM record WHERE idx = 7").fetchone()
    other.execute("UPDATE record SET leaf = ? WHERE idx = 7", (leaf.replace(b"n1-life-7", b"n1-life-8"),))
    other.close()
    code, _, err = files("audit", "export", files.log, files.directory / "x.jsonl")
    assert code != 0 and "damaged" in err
    assert not (files.directory / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["export", "{dir}/none", "{dir}/x"], 2, "no decision log"),
        (["export", "{dir}/genesis.json", "{dir}/x"], 3, "decision log"),
        (["export", "{log}", "{dir}/x", "--from", "40"], 2, "records 0 to 39"),
        (["export", "{log}", "{dir}/x", "--from", "5", "--to", "4"], 2, "records 0 to 39"),
        (["export", "{log}", "{dir}/x", "--since", "9999999999999"], 2, "records 0 to 39"),
        (["export", "{log}", "/none/x"], 2, "cannot be written"),
        (["replay", "{dir}/none", "--lineage", "{lineage}", "--genesis", "{dir}/genesis.json"], 2, "cannot be read"),
        (["replay", "{lineage}", "--lineage", "{lineage}", "--genesis", "{dir}/genesis.json"], 1, "decision export"),
        (["replay", "{lineage}", "--lineage", "{lineage}"], 2, "needs the genesis"),
        (["replay", "/dev/null", "--lineage", "{lineage}", "--genesis", "{dir}/genesis.json"], 2, "must be a file"),
        (["reconcile", "unix:///none"], 2, "two nodes"),
        (["reconcile", "unix:///none", "unix:///none2"], 3, "none"),
    ],
)
def test_mistakes_are_said_in_one_line(files, arguments, code, said):
    places = {"dir": files.directory, "log": files.log, "lineage": files.lineage}
    found, _, err = files("audit", *(argument.format(**places) for argument in arguments))
    assert found == code, err
    assert said in err.lower() and err.count("\n") == 1 and "Traceback" not in err


def test_a_lineage_of_another_cluster_proves_nothing(files):
    path = files.export()
    other = AuditBench()
    genesis = files.directory / "other.json"
    genesis.write_bytes(other.genesis.encode().replace(b'"sample"', b'"simple"'))
    code, _, err = files("audit", "replay", path, "--lineage", files.lineage, "--genesis", genesis)
    assert code == 1 and "another cluster" in err


def test_an_audit_says_what_stands_for_its_lineage(files):
    """Of the past: an electorate that has left is said, another history is refused."""
    path, machine = files.export(), files.bench.machine
    known = bare_electorate(files.bench.genesis.electorate())
    later = msgspec.structs.replace(known, epoch=2)

    def replay(*state):
        trust = files.directory / "trust.json"
        trust.write_bytes(Trust(files.bench.genesis.cluster_id, *state).encode())
        genesis = files.directory / "genesis.json"
        command = ("audit", "replay", path, "--lineage", files.lineage, "--genesis", genesis, "--trusted", trust)
        code, out, err = files(*command)
        return code, json.loads(out)["trust"] if out else None, err

    assert files.replay(path)[1]["trust"] == "genesis"
    assert replay(known, machine.seq, machine.root) == (0, "state", "")
    code, trust, err = replay(later, machine.seq + 1, bytes(32))
    assert (code, trust, "signed by an electorate that has left" in err) == (0, "not_shown", True)
    code, trust, err = replay(known, machine.seq, bytes(32))
    assert (code, trust, "two histories" in err) == (1, None, True)
    assert files("audit", "replay", path, "--lineage", files.lineage, "--trusted", files.directory / "nosuch")[0] == 2
