"""Faults by themselves: which links they cut, what they do to files and clocks, and what they must notice."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from govraft.errors import GovraftError
from govraft.testing.chaos import nemesis_damage
from govraft.testing.chaos import nemesis_network as network
from govraft.testing.chaos.nemesis import UnavailableFaultError
from govraft.testing.chaos.nemesis_damage import _HARMS, DamageDatabase, content
from govraft.testing.chaos.nemesis_disk import FsyncError
from govraft.testing.chaos.nemesis_process import ColdRestart
from govraft.testing.chaos.skewed_node import ClockFile, SkewedClock
from govraft.testing.link_proxy import Mode


class Network:
    """Remembers how each link is."""

    def __init__(self):
        self.conditions = {}

    def change(self, links, condition):
        self.conditions.update(dict.fromkeys(links, condition))

    def cut(self):
        return {link for link, condition in self.conditions.items() if condition.mode is not Mode.OPEN}

    def disturbed(self):
        return {link for link, c in self.conditions.items() if c.mode is not Mode.OPEN or c.delay_ms or c.loss}


def arena(count, leader="node-1"):
    nodes = {f"node-{n}": SimpleNamespace(id=f"node-{n}", is_running=True) for n in range(1, count + 1)}
    cluster = SimpleNamespace(nodes=nodes, network=Network())
    return SimpleNamespace(cluster=cluster, leader=lambda: nodes.get(leader), quorum=count // 2 + 1)


def begun(kind, count, seed=1, **options):
    made = kind(arena(count, **options), random.Random(seed))
    return made, made.start(), made.cluster.network


def links(count):
    return set(itertools.permutations([f"node-{n}" for n in range(1, count + 1)], 2))


@pytest.mark.parametrize("count", [3, 5, 7])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "kind",
    [
        network.IsolateFollower, network.IsolateLeader, network.Mute, network.Deaf, network.Halves, network.Bridge,
        network.Ring, network.Swizzle, network.Delay, network.Loss, network.HalfOpen,
    ],
)  # fmt: skip
def test_every_network_fault_disturbs_links_and_ends_without_a_trace(kind, count, seed):
    made, hit, found = begun(kind, count, seed)
    assert found.disturbed()
    assert hit.nodes
    assert hit.detail
    for _ in range(30):
        made.tick()
    assert found.disturbed() <= links(count)
    made.end()
    assert not found.disturbed()


def test_isolation_cuts_exactly_the_links_of_one_node():
    for kind, victims in ((network.IsolateLeader, {"node-1"}), (network.IsolateFollower, {"node-2", "node-3"})):
        _, hit, found = begun(kind, 3)
        assert set(hit.nodes) <= victims
        assert found.cut() == {link for link in links(3) if hit.nodes[0] in link}


def test_one_way_faults_leave_the_other_way_open():
    _, hit, found = begun(network.Mute, 3)
    assert found.cut() == {link for link in links(3) if link[0] == hit.nodes[0]}
    _, hit, found = begun(network.Deaf, 3)
    assert found.cut() == {link for link in links(3) if link[1] == hit.nodes[0]}


@pytest.mark.parametrize("seed", range(10))
def test_halves_never_leave_two_quorums(seed):
    _, hit, found = begun(network.Halves, 5, seed)
    side = set(hit.nodes)
    assert 1 <= len(side) <= 2
    assert found.cut() == {(a, b) for a, b in links(5) if (a in side) != (b in side)}


@pytest.mark.parametrize("seed", range(10))
def test_a_bridge_sees_both_sides_and_they_not_each_other(seed):
    _, hit, found = begun(network.Bridge, 5, seed)
    (middle,) = {f"node-{n}" for n in range(1, 6)} - set(hit.nodes)
    assert not {link for link in found.cut() if middle in link}
    assert len(found.cut()) == 8


def test_a_ring_keeps_two_neighbours_each():
    _, _, found = begun(network.Ring, 5)
    kept = links(5) - found.cut()
    assert all(sum(link[0] == f"node-{n}" for link in kept) == 2 for n in range(1, 6))
    _, _, found = begun(network.Ring, 3)
    assert len(found.cut()) == 3


def test_without_a_leader_there_is_none_to_isolate():
    with pytest.raises(UnavailableFaultError):
        begun(network.IsolateLeader, 3, leader="")


# Files.


@pytest.fixture
def data(tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    with closing(sqlite3.connect(place / "node.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [(f"row {n}" * 20,) for n in range(500)])
        connection.commit()
    return place


@pytest.mark.parametrize("harm", _HARMS)
@pytest.mark.parametrize("seed", range(5))
def test_every_harm_changes_the_file_and_says_how(data, harm, seed):
    victim = data / "node.db"
    before = victim.read_bytes()
    said = _HARMS[harm](victim, random.Random(seed))
    assert victim.read_bytes() != before
    assert any(character.isdigit() for character in said)


@pytest.mark.parametrize("harm", ["noise", "truncate"])
@pytest.mark.parametrize("seed", range(5))
def test_damage_that_can_be_read_is_told_from_damage_that_cannot(data, tmp_path, harm, seed):
    undamaged = shutil.copytree(data, tmp_path / "undamaged")
    assert content(data, tmp_path / "a") == content(undamaged, tmp_path / "b") != ""
    _HARMS[harm](data / "node.db", random.Random(seed))
    assert content(data, tmp_path / "a") != content(undamaged, tmp_path / "b")


def damage_judged(tmp_path, code, said):
    made = DamageDatabase(SimpleNamespace(cluster=None), random.Random(1))
    node = SimpleNamespace(id="node-1", database=tmp_path / "node.db", config=tmp_path / "node.toml")
    made._judge(node, code, said, "node.db: page 1 is noise")
    return made.findings


def test_a_node_that_refuses_in_the_wrong_way_is_found(tmp_path):
    for code, said in ((0, "store refused: node.db"), (1, "Traceback"), (3, "node halted")):
        assert f"ended with {code} on node.db: page 1 is noise" in damage_judged(tmp_path, code, said)[0]
    assert "does not name the damaged file" in damage_judged(tmp_path, 3, "store refused: no idea")[0]


def test_a_refusal_without_a_way_back_is_found(tmp_path):
    # There is no such node, so `check-store` cannot tell anything.
    (found,) = damage_judged(tmp_path, 3, "store refused: node.db is damaged")
    assert "`check-store` ended with 2" in found


class Ended:
    """A node whose process is over, or goes on."""

    def __init__(self, code, running=False):
        self.id, self.is_running, self.started = "node-1", running, 0
        self.process = SimpleNamespace(exit_code=code, wait=lambda timeout: code, signal=lambda number: None)
        self.wrapper = []

    def log(self, last=0):
        return "said"

    def kill(self):
        self.is_running = False

    def start(self):
        self.is_running, self.started = True, self.started + 1


def injected(tmp_path, node, *, fired=True):
    made = FsyncError(SimpleNamespace(cluster=None), random.Random(1))
    made.taken, made._usual = [node], []
    made._trace = tmp_path / "trace"
    made._trace.write_text("fdatasync(5) = -1 EIO (Input/output error) (INJECTED)\n" if fired else "")
    return made


@pytest.mark.parametrize(
    ("node", "fired", "found"),
    [
        (Ended(3), True, ""),
        (Ended(0), True, "ended with 0"),
        (Ended(1), True, "ended with 1"),
        (Ended(None, running=True), True, "went on after the injected error"),
        (Ended(None, running=True), False, ""),
    ],
)
def test_a_node_that_goes_on_after_a_failed_sync_is_found(tmp_path, monkeypatch, node, fired, found):
    monkeypatch.setattr("govraft.testing.chaos.nemesis_disk._SETTLE_S", 0.1)
    made = injected(tmp_path, node, fired=fired)
    made.end()
    assert found in "".join(made.findings)
    assert bool(made.findings) == bool(found)
    assert node.is_running


def test_a_node_that_does_not_stop_in_order_is_found():
    node = Ended(1, running=True)
    made = ColdRestart(SimpleNamespace(cluster=SimpleNamespace(nodes={"node-1": node})), random.Random(1))
    made.arena.take = lambda count, dice, role="any": [node]
    made.start()
    assert "not in order" in made.findings[0]


# Clocks.


def test_a_clock_follows_its_file_and_boot_time_never_steps(tmp_path):
    file = ClockFile.create(tmp_path / "clock")
    clock = SkewedClock(tmp_path / "clock")

    def ahead():
        return clock.boottime() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    assert abs(ahead()) < 1_000_000
    assert abs(clock.wall() - time.time() * 1000) < 50
    file.set(wall_ms=5_000)
    assert abs(ahead()) < 1_000_000
    assert abs(clock.wall() - time.time() * 1000 - 5_000) < 50
    file.set(rate_ppm=500_000)
    before = clock.boottime()
    assert abs(clock.boottime() - before) < 5_000_000
    time.sleep(0.1)
    assert 45_000_000 < ahead() < 80_000_000
    file.set(rate_ppm=-500_000)
    clock.boottime()
    time.sleep(0.05)
    assert ahead() < 45_000_000
    file.set()
    ahead_at_last = ahead()
    time.sleep(0.05)
    assert abs(ahead() - ahead_at_last) < 2_000_000, "the right rate, from where it was"


def test_a_clock_made_later_follows_what_was_set_before(tmp_path):
    ClockFile.create(tmp_path / "clock").set(wall_ms=-7_000)
    clock = SkewedClock(tmp_path / "clock")
    assert abs(clock.wall() - time.time() * 1000 + 7_000) < 50


def test_errors_of_faults_are_govrafts_own():
    assert issubclass(UnavailableFaultError, GovraftError)


class Remade:
    """A node with a store that was made anew, and what it says of it."""

    id, is_running = "node-1", True

    def __init__(self, late=None, isolation=None):
        self.status = lambda: {"late": late, "isolation": isolation}


@pytest.mark.parametrize(
    ("node", "settles", "found"),
    [
        (Remade(), True, ""),
        (Remade(isolation={"reason": "store_older_than_own_signatures"}), False, ""),
        (Remade(isolation={"reason": "divergence"}), False, "not for its own signatures"),
        (Remade(late={"message": "store is late"}), False, "to learn what its key has signed"),
    ],
)
def test_a_store_made_anew_must_be_settled_or_mute(monkeypatch, node, settles, found):
    monkeypatch.setattr(nemesis_damage, "_DECIDES_WITHIN_S", 0.0)
    made = nemesis_damage.LostStore(SimpleNamespace(cluster=None), random.Random(1))
    assert made._settles(node) is settles
    assert [found in said for said in made.findings] == ([True] if found else [])
