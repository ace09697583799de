"""A voter whose store lies on a file system that forgets does not run, unless its whole cluster may be thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster

from govraft import daemon, startup
from govraft.adapters import file_systems
from govraft.adapters.storage_status import StorageStatus
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.cli.main import run
from govraft.cli.node import main as node_program
from govraft.cli.throwaway_storage import allow_forgetful
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, StorageError
from govraft.node.config import load_config

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_cluster(name="test", nodes=3, quorum=QuorumRule.MAJORITY, profile="lan")
    return create_cluster(plan, tmp_path_factory.mktemp("c") / "c").path


@pytest.fixture
def config(home: Path) -> Path:
    return home / "nodes" / "node-1" / "node.toml"


@pytest.fixture
def on_tmpfs(config: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As the kernel would say of a directory on such a file system."""
    monkeypatch.setattr(file_systems, "file_system_of", lambda _: "tmpfs")
    return "tmpfs"


def checks(config: Path) -> tuple[int, str]:
    done = CliRunner().invoke(node_program, ["check-config", str(config)])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(file_systems.FORGETFUL))
def test_a_voter_does_not_run_where_its_store_is_forgotten(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(file_systems, "file_system_of", lambda _: name)
    code, said = checks(config)
    assert (code, f"lies on {name}" in said, "storage.unsafe_volatile" in said) == (2, True, True), said
    with pytest.raises(ConfigError, match="put it on a disk"):
        daemon.run(config)


@pytest.mark.parametrize("name", ["ext4", "xfs", "zfs", "nfs4", "never heard of"])
def test_other_file_systems_are_taken_for_disks(config: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(file_systems, "file_system_of", lambda _: name)
    assert checks(config)[0] == 0


def test_an_unknown_place_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(file_systems, "_MOUNTS", tmp_path / "nothing")
    code, said = checks(config)
    assert (code, "cannot tell on which file system" in said, "mount /proc" in said) == (2, True, True), said
    (tmp_path / "nothing").write_text("1 2 0:3 / / rw - ext4 /dev/x rw\nno mount\n")
    assert checks(config)[0] == 2


def test_an_observer_may(config: Path, on_tmpfs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = startup.load_genesis

    def observing(loaded: object) -> Genesis:
        genesis = load(loaded)  # type: ignore[arg-type]
        first, *rest = genesis.members
        return msgspec.structs.replace(genesis, members=(msgspec.structs.replace(first, voter=False), *rest))

    monkeypatch.setattr(startup, "load_genesis", observing)
    assert checks(config)[0] == 0
    (alarm,) = StorageStatus(load_config(config).database, unsafe_volatile=False)()["alarms"]
    assert alarm == f"unfit_to_vote: the store lies on {on_tmpfs}; do not promote this node"


@pytest.mark.parametrize("lines", ["", "[storage]\nsnapshot_entries = 500\n"])
def test_what_is_thrown_away_is_said_so(config: Path, on_tmpfs: str, lines: str) -> None:
    config.write_text(config.read_text() + lines)
    before = load_config(config)
    said = allow_forgetful([config])
    assert "node-1" in said and on_tmpfs in said
    assert load_config(config) == msgspec.structs.replace(before, unsafe_volatile=True)
    assert checks(config)[0] == 0
    assert allow_forgetful([config]) == ""


def test_a_disk_and_a_broken_file_are_left_alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_systems, "file_system_of", lambda _: "ext4")
    text = config.read_text()
    assert allow_forgetful([config]) == ""
    monkeypatch.setattr(file_systems, "file_system_of", lambda _: "tmpfs")
    config.write_text("no toml")
    assert allow_forgetful([config, config.with_name("absent.toml")]) == ""
    assert config.read_text() == "no toml" != text


def test_the_kernel_is_asked_of_what_a_link_leads_to(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or file_systems.file_system_of(memory) != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    link = tmp_path / "link"
    link.symlink_to(memory)
    assert file_systems.file_system_of(link) == file_systems.forgets(link) == "tmpfs"
    assert file_systems.file_system_of(Path("/proc")) == "proc"
    with pytest.raises(StorageError, match="No such file"):
        file_systems.file_system_of(tmp_path / "absent")


def test_a_file_bound_to_another_place_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node.db").touch()
    monkeypatch.setattr(file_systems, "file_system_of", lambda path: "overlay" if path.name == "node.db" else "ext4")
    assert file_systems.forgets(tmp_path, "node.db", "absent") == "overlay"
    assert file_systems.forgets(tmp_path) == ""


def test_a_database_that_is_a_link_to_another_name_counts(config: Path, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or file_systems.file_system_of(memory) != "tmpfs":
        pytest.skip("NOT SHOWN: /dev/shm is no tmpfs that can be written to")
    database = load_config(config).database
    database.unlink(missing_ok=True)
    database.symlink_to(memory / f"govraft-absent-{os.getpid()}.db")
    assert "lies on tmpfs" in checks(config)[1]
    # A link that leads nowhere is no traceback.
    database.unlink()
    database.symlink_to(database.name)
    code, said = checks(config)
    assert (code, "cannot tell on which file system" in said, "symbolic links" in said) == (2, True, True), said


def test_a_bound_database_under_another_name_counts(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = load_config(config).database
    other = database.rename(database.with_name("other.db"))
    database.symlink_to(other)
    monkeypatch.setattr(file_systems, "file_system_of", lambda path: "overlay" if path == other else "ext4")
    assert "lies on overlay" in checks(config)[1]
    assert "as overlay forgets" in allow_forgetful([config])


# Real mounts.


@pytest.fixture
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What to put before a command that is to find a tmpfs at the last of these words, in a namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("NOT SHOWN on a real tmpfs: only root can mount one")
    place = str(tmp_path_factory.mktemp("m"))
    script = 'mount -t tmpfs govraft-test "$0" && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, place]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("NOT SHOWN on a real tmpfs: the kernel refuses to mount one here")
    yield prefix


@pytest.mark.cluster
@pytest.mark.timeout(320)
def test_the_tour_runs_on_a_tmpfs(mounted: list[str]) -> None:
    tour = [sys.executable, "-P", str(ROOT / "scripts" / "quickstart.py"), "--once", "--dir", f"{mounted[-1]}/c"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [*mounted, *tour], check=False, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "`storage.unsafe_volatile = true` is written, as tmpfs forgets" in done.stdout + done.stderr


@pytest.mark.cluster
def test_a_node_stays_off_a_tmpfs(mounted: list[str], home: Path) -> None:
    program = [sys.executable, "-P", "-m", "govraft.cli.node", "run", "--config"]
    copied = ["/bin/sh", "-c", 'cp -r "$0" "$1/c" && shift && exec "$@"', str(home), mounted[-1], *program]
    copied.append(f"{mounted[-1]}/c/nodes/node-1/node.toml")
    done = subprocess.run([*mounted, *copied], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "lies on tmpfs" in done.stderr) == (2, True), done.stderr


@pytest.mark.cluster
def test_a_local_cluster_runs_where_it_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or file_systems.forgets(memory) != "tmpfs":
        pytest.skip("NOT SHOWN: /dev/shm is no tmpfs that can be written to")
    home = memory / f"govraft-test-{os.getpid()}"
    try:
        with Cluster(1, directory=home) as cluster:
            cluster.start()
            cluster.permit_all()
            node = cluster.nodes["node-1"]
            assert node.check("a")
            storage = node.status()["storage"]
            assert (storage["file_system"], storage["unsafe_volatile"]) == ("tmpfs", True)
            assert run(["status", "--endpoint", node.endpoint]) == 0
            assert "unsafe_volatile" in capsys.readouterr().out
    finally:
        shutil.rmtree(home, ignore_errors=True)


OVERLAY = """
set -e
place="$0" lower="$1"; shift
mkdir "$place/up" "$place/work" "$place/view"
mount -t overlay govraft-test -o "lowerdir=$lower,upperdir=$place/up,workdir=$place/work" "$place/view"
exec "$@"
"""


def on_overlay(place: Path, home: Path) -> list[str]:
    """What to put before a command that is to find a writable view of `home` at `place/view`, in a namespace."""
    if shutil.which("unshare") is None:
        pytest.skip("NOT SHOWN on a real overlayfs: unshare is missing")
    rights = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    prefix = ["unshare", *rights, "--propagation", "private", "/bin/sh", "-c", OVERLAY, str(place), str(home)]
    done = subprocess.run([*prefix, "true"], check=False, capture_output=True, text=True)
    for name in ("up", "work", "view"):
        shutil.rmtree(place / name, ignore_errors=True)
    if done.returncode != 0:
        pytest.skip(f"NOT SHOWN on a real overlayfs: the kernel refuses to mount one here: {done.stderr}")
    return prefix


@pytest.mark.cluster
def test_a_second_node_does_not_run_on_a_view_of_a_running_store(tmp_path: Path) -> None:
    place = tmp_path / "o"
    place.mkdir()
    with Cluster(1) as cluster:
        prefix = on_overlay(place, cluster.home)
        cluster.start()
        cluster.permit_all()
        node = cluster.nodes["node-1"]
        assert node.check("a")
        view = place / "view" / node.config.relative_to(cluster.home)
        program = [sys.executable, "-P", "-m", "govraft.cli.node", "run", "--config", str(view)]
        done = subprocess.run([*prefix, *program], check=False, capture_output=True, text=True, timeout=100)
        assert (done.returncode, "lies on overlay" in done.stderr) == (2, True), done.stderr
        assert "storage.unsafe_volatile" in done.stderr and "Traceback" not in done.stderr
        assert node.check("a")
        assert not node.status()["storage"]["unsafe_volatile"]


@pytest.mark.cluster
def test_a_cluster_that_is_thrown_away_runs_on_an_overlay(tmp_path: Path) -> None:
    place, home = tmp_path / "o", tmp_path / "lower"
    place.mkdir()
    home.mkdir()
    script = """
import sys
from pathlib import Path
from govraft.testing.local_cluster import LocalCluster
with LocalCluster(1, directory=Path(sys.argv[1])) as cluster:
    cluster.start()
    storage = cluster.nodes["node-1"].status()["storage"]
    print(storage["file_system"], storage["unsafe_volatile"], storage["alarms"])
"""
    program = [sys.executable, "-P", "-c", script, str(place / "view" / "c")]
    done = subprocess.run(
        [*on_overlay(place, home), *program], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.startswith("overlay True ['unsafe_volatile: "), done.stdout + done.stderr
