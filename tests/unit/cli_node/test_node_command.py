"""`govraft-node`: what it checks before it opens anything, and how it ends."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from govraft import __version__, daemon, startup
from govraft.adapters.node_key import NodeIdentity
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.cli.node import main
from govraft.core.model.electorate import QuorumRule
from govraft.errors import ConfigError, CorruptionError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    plan = plan_cluster(name="test", nodes=3, quorum=QuorumRule.MAJORITY, profile="lan")
    directory = create_cluster(plan, tmp_path / "c")
    return Path(directory.nodes[0].config)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_fresh_configuration_is_usable(config: Path) -> None:
    result = invoke("check-config", str(config))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "node-1" in result.stdout


def test_checking_starts_and_writes_nothing(config: Path) -> None:
    before = sorted(config.parent.parent.parent.rglob("*"))
    invoke("check-config", str(config))
    assert sorted(config.parent.parent.parent.rglob("*")) == before


def test_the_version_is_printed() -> None:
    assert invoke("version").stdout == f"govraft-node {__version__}\n"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('id = "node-1"', 'id = "node-9"', "node.id"),
        ('profile = "lan"', 'profile = "moon"', "timing.profile"),
        ('genesis = "../../genesis.json"', 'genesis = "absent.json"', "node.genesis"),
        ('profile = "lan"', 'profile = "lan"\nheartbeat_ms = 0', "timing.heartbeat_ms"),
        ("[listen]", "[listen]\nunknown = 1", "listen"),
        ('key = "node-1.key.pem"\ncertificate = "node-1.cert.pem"', "", "node"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(config: Path, old: str, new: str, key: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    result = invoke("check-config", str(config))
    assert (result.exit_code, result.stdout) == (2, "")
    assert str(config) in result.stderr
    assert key in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_key_of_another_node_is_refused(config: Path) -> None:
    for kind in ("key", "cert"):
        stranger = config.parent.parent / "node-2" / f"node-2.{kind}.pem"
        (config.parent / f"node-1.{kind}.pem").write_bytes(stranger.read_bytes())
    result = invoke("check-config", str(config))
    assert result.exit_code == 2
    assert "genesis pins" in result.stderr


def test_another_certificate_of_the_same_key_is_refused(config: Path) -> None:
    key, certificate = config.parent / "node-1.key.pem", config.parent / "node-1.cert.pem"
    private = NodeIdentity.load(key, certificate)._private_key
    from govraft.adapters.node_key import _self_signed  # noqa: PLC0415

    other = NodeIdentity(private, _self_signed(private, "node-1"))
    for path in (key, certificate):
        path.unlink()
    other.save(key, certificate)
    assert invoke("check-config", str(config)).exit_code == 2


@pytest.mark.parametrize(
    "now", [dt.datetime(2019, 12, 31, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 1, dt.UTC)]
)
def test_a_certificate_that_is_not_valid_now_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, now: dt.datetime
) -> None:
    class Calendar(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return now

    monkeypatch.setattr(startup.dt, "datetime", Calendar)
    result = invoke("check-config", str(config))
    assert result.exit_code == 2
    assert "node-1.cert.pem` has expired or is not valid yet" in result.stderr


def test_a_key_that_others_can_read_is_refused(config: Path) -> None:
    (config.parent / "node-1.key.pem").chmod(0o644)
    result = invoke("check-config", str(config))
    assert result.exit_code == 2
    assert "0644" in result.stderr


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for command in (["check-config"], ["run", "--config"]):
        result = invoke(*command, str(tmp_path / "absent.toml"))
        assert result.exit_code == 2
        assert "absent.toml" in result.stderr


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ConfigError("is wrong", file="node.toml", key="node.id"), 2),
        (CorruptionError("damaged"), 3),
        (OSError(28, "No space left on device"), 3),
    ],
)
def test_a_run_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, raised: Exception, code: int) -> None:
    def fail(_: Path) -> int:
        raise raised

    monkeypatch.setattr(daemon, "run", fail)
    result = invoke("run", "--config", "node.toml")
    assert (result.exit_code, result.stdout) == (code, "")
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_a_run_ends_with_the_code_of_the_node(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(daemon, "run", lambda _: code)
    assert invoke("run", "--config", "node.toml").exit_code == code


def test_checking_a_configuration_loads_neither_engine_nor_policies(config: Path) -> None:
    program = (
        "import sys; from govraft.startup import load_node_files; load_node_files(sys.argv[1]);"
        "print([name for name in ('pysyncobj', 'cedarpy', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(config)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
