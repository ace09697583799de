"""`govraft member`: the files of a new node, and the commands that bring nodes in and take them out."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.adapters.node_key import NodeIdentity
from govraft.cli import member, member_creation
from govraft.cli.cluster_directory import load_directory
from govraft.cli.member_creation import read_member
from govraft.cli.settings import Settings
from govraft.errors import AvailabilityError, ConfigError, GovraftError
from govraft.node.config import load_config, load_genesis

LISTEN = ("--listen", "127.0.0.1:7199")


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a short name: socket paths are short."""
    yield tmp_path_factory.mktemp("m")


@pytest.fixture
def home(cluster, short: Path) -> Path:
    made = cluster("member", "init", "--id", "n9", *LISTEN, "--out", short / "n9")
    assert made.code == 0, made.err
    return short / "n9"


def voters(cluster) -> dict[str, bool]:
    return {item["id"]: item["voter"] for item in cluster("member", "list", "-o", "json").data}


FOUNDERS = {"n1": True, "n2": True, "n3": True}


def test_the_files_of_a_new_node_fit_together(cluster, home: Path) -> None:
    config = load_config(home / "node.toml")
    assert load_genesis(config) == cluster.node.sample.genesis
    identity = NodeIdentity.load(config.key_path, config.certificate_path)
    fields = json.loads((home / "member.json").read_text())
    assert fields["id"] == config.node_id == "n9"
    assert fields["address"] == "127.0.0.1:7199"
    assert read_member(home) == read_member(home / "member.json")
    assert NodeIdentity.load(home / "n9.key.pem", home / "n9.cert.pem").public_key == identity.public_key
    assert stat.S_IMODE((home / "n9.key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_one_more_node_of_a_directory(cluster, short: Path) -> None:
    home = short / "c"
    assert cluster("init", "--out", home).code == 0
    where = ("--cluster", home, "--address", "host.example:99")
    done = cluster("member", "init", "--id", "node-4", *LISTEN, *where, "-o", "json")
    assert done.code == 0, done.err
    assert done.data["address"] == read_member(home / "nodes" / "node-4").address == "host.example:99"
    assert [node.id for node in load_directory(home).nodes] == ["node-1", "node-2", "node-3", "node-4"]
    config = load_config(load_directory(home).nodes[-1].config)
    assert load_genesis(config).cluster_id == load_directory(home).cluster_id
    assert config.socket_path.parent == load_config(load_directory(home).nodes[0].config).socket_path.parent
    before = (home / "cluster.json").read_bytes()
    for name in ("node-4", "node-1"):
        done = cluster("member", "init", "--id", name, *LISTEN, *where)
        assert (done.code, "not overwritten" in done.err) == (2, True)
    assert cluster("member", "init", "--id", "n" * 63, *LISTEN, *where).code == 2
    assert (home / "cluster.json").read_bytes() == before
    assert len(list((home / "nodes").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--id", "../n9", *LISTEN), "cannot be a node id"),
        (("--id", "n/9", *LISTEN), "cannot be a node id"),
        (("--id", "n9", "--listen", "nowhere"), "no address"),
        (("--id", "n9", "--listen", "127.0.0.1:1", "--address", "h:70000"), "no address"),
    ],
)
def test_what_cannot_be_a_node_leaves_nothing(cluster, short: Path, arguments: tuple[str, ...], said: str) -> None:
    done = cluster("member", "init", *arguments, "--out", short / "x")
    assert (done.code, said in done.err) == (2, True), done.err
    assert len(done.err.splitlines()) == 1
    assert list(short.iterdir()) == []


def test_nothing_is_overwritten(cluster, home: Path) -> None:
    before = {item.name: item.read_bytes() for item in home.iterdir()}
    done = cluster("member", "init", "--id", "n9", *LISTEN, "--out", home)
    assert (done.code, "not overwritten" in done.err) == (2, True)
    assert {item.name: item.read_bytes() for item in home.iterdir()} == before


def test_a_genesis_that_is_none_is_refused(cluster, short: Path) -> None:
    (short / "g.json").write_text("{}")
    done = cluster("member", "init", "--id", "n9", *LISTEN, "--out", short / "x", "--genesis", short / "g.json")
    assert (done.code, "genesis" in done.err) == (2, True)
    done = cluster("member", "init", "--id", "n9", *LISTEN, "--out", short / "x", "--genesis", short / "none.json")
    assert (done.code, "cannot be read" in done.err) == (2, True)
    assert not (short / "x").exists()


def test_where_must_be_said(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVRAFT_CLUSTER")
    done = cluster("member", "init", "--id", "n9", *LISTEN)
    assert (done.code, "--out DIR" in done.err) == (2, True)


def test_add_promote_remove(cluster, home: Path) -> None:
    done = cluster("member", "add", home)
    assert done.code == 0, done.err
    assert "create-store" in done.err
    assert voters(cluster) == {**FOUNDERS, "n9": False}
    assert cluster("member", "promote", "n9").code == 0
    assert voters(cluster) == {**FOUNDERS, "n9": True}
    again = cluster("member", "promote", "n9")
    assert (again.code, "voter already" in again.err) == (1, True)
    assert cluster("member", "remove", "n2", "--reason", "old").code == 0
    assert voters(cluster) == {"n1": True, "n3": True, "n9": True}
    gone = cluster("member", "remove", "n2", "--reason", "old")
    assert (gone.code, "not a member" in gone.err) == (1, True)


def test_the_nodes_key_may_lie_elsewhere_but_must_be_there(cluster, home: Path, short: Path) -> None:
    shutil.move(home / "n9.key.pem", short / "k.pem")
    done = cluster("member", "add", home)
    assert done.code == 2
    assert voters(cluster) == FOUNDERS
    other = NodeIdentity.create("x")
    other.save(short / "other.pem", short / "other.cert")
    done = cluster("member", "add", home, "--node-key", f"file2:{short / 'other.pem'}")
    assert done.code != 0
    assert voters(cluster) == FOUNDERS
    assert cluster("member", "add", home / "member.json", "--node-key", f"file2:{short / 'k.pem'}").code == 0


def test_a_dry_run_adds_nobody(cluster, home: Path) -> None:
    done = cluster("member", "add", home, "--dry-run")
    assert done.code == 0
    assert json.loads(done.out)["payloadType"] == "application/vnd.govraft.member.add.v1+json"
    assert len(json.loads(done.out)["signatures"]) >= 2
    assert voters(cluster) == FOUNDERS


def test_rotate(cluster, short: Path) -> None:
    assert cluster("member", "init", "--id", "n2", *LISTEN, "--out", short / "new").code == 0
    done = cluster("member", "rotate", short / "new")
    assert done.code == 0, done.err
    found = cluster.node.machine.electorate.find("n2")
    assert (found.address, found.voter) == ("127.0.0.1:7199", True)
    assert found.public_key == NodeIdentity.load(short / "new" / "n2.key.pem", short / "new" / "n2.cert.pem").public_key


def test_replace_in_one_go_and_again(cluster, home: Path) -> None:
    done = cluster("member", "replace", "n2", home, "-o", "json")
    assert done.code == 0, done.err
    assert (done.data["removed"], done.data["in_its_place"]) == ("n2", "n9")
    assert voters(cluster) == {"n1": True, "n3": True, "n9": True}
    assert cluster("member", "replace", "n2", home).code == 0
    done = cluster("member", "replace", "n9", home)
    assert (done.code, "cannot replace itself" in done.err) == (2, True)


def test_replace_goes_on_where_it_stopped(cluster, home: Path) -> None:
    assert cluster("member", "add", home).code == 0
    seq = cluster.node.machine.seq
    assert cluster("member", "replace", "n2", home).code == 0
    assert cluster.node.machine.seq == seq + 2


def test_replacing_nobody_by_nobody_is_refused(cluster, home: Path) -> None:
    done = cluster("member", "replace", "n77", home)
    assert (done.code, "neither" in done.err) == (2, True)
    assert voters(cluster) == FOUNDERS


def test_a_lagging_node_is_waited_for(cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster("member", "add", home).code == 0
    refusals: list[GovraftError] = [
        AvailabilityError("not yet", code="member_not_synced"),
        AvailabilityError("not yet", code="epoch_uncertified"),
    ]
    submit = cluster.node.submit

    async def lagging(*arguments: object, **named: object):
        if refusals:
            raise refusals.pop()
        return await submit(*arguments, **named)

    monkeypatch.setattr(cluster.node, "submit", lagging)
    done = cluster("member", "promote", "n9")
    assert done.code == 0, done.err
    assert refusals == []
    refusals.append(AvailabilityError("no leader", code="no_leader"))
    assert cluster("member", "remove", "n2", "--reason", "x").code == 3


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": "n9"}', b"\xff"])
def test_a_member_file_that_is_none_is_refused(cluster, home: Path, content: bytes) -> None:
    (home / "member.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a member file"):
        read_member(home)
    assert cluster("member", "add", home).code == 2
    (home / "member.json").unlink()
    assert cluster("member", "add", home).code == 2


def test_what_cannot_be_written_leaves_nothing(cluster, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(member_creation, "write_new", fail)
    done = cluster("member", "init", "--id", "n9", *LISTEN, "--out", short / "x")
    assert (done.code, "No space left" in done.err) == (2, True), done.err
    assert not (short / "x").exists()


def test_a_change_that_silent_voters_must_certify_is_refused_after_a_moment(
    cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "_SILENCE_S", 0.3)
    tries = []

    async def refusing(*_: object, **__: object):
        tries.append(1)
        raise AvailabilityError("`n3` has not answered", code="voters_silent")

    monkeypatch.setattr(cluster.node, "submit", refusing)
    done = cluster("member", "remove", "n2", "--reason", "x")
    assert (done.code, "`n3`" in done.err, "unknown" in done.err) == (3, True, False), done.err
    assert len(tries) > 1


def test_the_leader_is_asked_first(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    leading = ["unix:///c.sock"]
    monkeypatch.setattr(member, "_leads", lambda endpoint: endpoint in leading)
    settings = Settings(endpoints=("unix:///a.sock", "unix:///b.sock", "unix:///c.sock"))
    monkeypatch.setattr(member, "Submitter", lambda settings: settings)
    asked = member._submitter(settings)
    assert [target.endpoint for target in asked.targets()] == ["unix:///c.sock", "unix:///a.sock", "unix:///b.sock"]
    leading.clear()
    assert member._submitter(settings).targets() == settings.targets()


def test_two_nodes_do_not_get_one_address(cluster, short: Path) -> None:
    taken = cluster("member", "list", "-o", "json").data[1]
    made = cluster("member", "init", "--id", "n9", "--listen", taken["address"], "--out", short / "n9")
    assert made.code == 0, made.err
    done = cluster("member", "add", short / "n9")
    assert (done.code, done.out) == (2, "")
    assert f"`{taken['id']}` has the address {taken['address']} already" in done.err
