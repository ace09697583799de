"""Cluster descriptions: what is read from them, and which are refused with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import AUTHORITIES, Allotment, load_plan
from govraft.core.model.authority import Role
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, InputError
from govraft.node.config import load_config

FULL = """
[cluster]
name = "five"
quorum = "byzantine"
profile = "wan"
lease_ms = 5000
clock_drift_max_ppm = 20000
clock_skew_max_ms = 700
[[nodes]]
id = "b"
address = "10.0.0.2:7101"
listen = "0.0.0.0:7101"
[[nodes]]
id = "a"
[authorities]
policy = { keys = 4, threshold = 3 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text(FULL)
    return path


def test_everything_in_a_description_is_used(file: Path) -> None:
    plan = load_plan(file)
    assert (plan.name, plan.quorum, plan.profile, plan.lease_ms) == ("five", QuorumRule.BYZANTINE, "wan", 5_000)
    assert (plan.clock_drift_max_ppm, plan.clock_skew_max_ms) == (20_000, 700)
    assert [node.id for node in plan.nodes] == ["a", "b"]
    assert plan.authorities == {**AUTHORITIES, Role.POLICY: Allotment(4, 3)}


def test_everything_in_a_plan_reaches_the_files(file: Path, tmp_path: Path) -> None:
    directory = create_cluster(load_plan(file), tmp_path / "c", base_port=9000)
    genesis = Genesis.decode((tmp_path / "c" / "genesis.json").read_bytes())
    assert (genesis.quorum, genesis.lease_ms, genesis.clock_drift_max_ppm) == (QuorumRule.BYZANTINE, 5_000, 20_000)
    assert genesis.clock_skew_max_ms == 700
    assert [member.address for member in genesis.members] == ["127.0.0.1:9000", "10.0.0.2:7101"]
    assert genesis.thresholds == {"root": 2, "policy": 3, "operator": 1}
    assert sum(Role.POLICY in authority.roles for authority in genesis.authorities) == 4
    assert load_config(directory.find("a").config).peer_listen == ("127.0.0.1", 9000)
    assert load_config(directory.find("b").config).peer_listen == ("0.0.0.0", 7101)


def test_optional_keys_have_defaults_of_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[cluster]\nname = "x"\n[[nodes]]\nid = "a"\n')
    plan = load_plan(path)
    assert (plan.quorum, plan.profile, plan.lease_ms, plan.clock_skew_max_ms) == (
        QuorumRule.MAJORITY,
        "lan",
        1_000,
        500,
    )
    assert plan.authorities == AUTHORITIES


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('profile = "wan"', 'profile = "moon"', "cluster.profile"),
        ('quorum = "byzantine"', 'quorum = "half"', "cluster.quorum"),
        ('name = "five"', "", "cluster"),
        ('id = "a"', 'id = "b"', "nodes"),
        ('id = "a"', 'id = "../a"', "nodes.id"),
        ('id = "a"', 'id = ".hidden"', "nodes.id"),
        ('id = "a"', 'id = "a"\nlisten = "0.0.0.0:1"', "nodes.address"),
        ('address = "10.0.0.2:7101"', 'address = "10.0.0.2"', "nodes.address"),
        ("keys = 4, threshold = 3", "keys = 2, threshold = 3", "authorities.policy"),
        ("keys = 4, threshold = 3", "keys = 4, threshold = 0", "authorities.policy"),
        ("keys = 4, threshold = 3", "keys = 65, threshold = 1", "authorities.policy"),
        ("policy = {", "nobody = {", "authorities"),
        ("[authorities]", "[authority]", "authority"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(file: Path, old: str, new: str, key: str) -> None:
    assert old in FULL
    file.write_text(FULL.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_plan(file)
    assert str(file) in str(caught.value)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"[cluster", b"\xff\xfe", b"x" * (1024 * 1024 + 1)])
def test_what_is_not_a_description_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cluster.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cluster\.toml"):
        load_plan(path)


def test_an_absent_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_plan(tmp_path / "absent.toml")


@pytest.mark.parametrize("lease_ms", [99, 600_001])
def test_a_lease_that_genesis_refuses_makes_no_cluster(file: Path, tmp_path: Path, lease_ms: int) -> None:
    file.write_text(FULL.replace("lease_ms = 5000", f"lease_ms = {lease_ms}"))
    with pytest.raises(InputError, match="lease_ms"):
        create_cluster(load_plan(file), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_lease_too_short_for_the_heartbeat_makes_no_cluster(file: Path, tmp_path: Path) -> None:
    file.write_text(FULL.replace("lease_ms = 5000", "lease_ms = 1199"))
    with pytest.raises(ConfigError, match="heartbeat"):
        create_cluster(load_plan(file), tmp_path / "c")
    assert not (tmp_path / "c").exists()
