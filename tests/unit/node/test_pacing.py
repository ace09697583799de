"""When the next batch goes out: the credit on its own, and a flood of commands at a simulated cluster."""

from __future__ import annotations

import pytest
from sim_cluster import LEASE_MS, SimCluster

from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.node.submissions.pacing import Pacing

LEASE_NS = 1_000 * NS_PER_MS
MOST = LEASE_NS // 4


class Paced:
    """A leader that hands over a batch whenever it may. Times in ms."""

    def __init__(self) -> None:
        self.pacing = Pacing(LEASE_NS)
        self.now = 0

    def look(self, *, certified: bool = True, is_open: bool = True) -> None:
        self.pacing.look(BoottimeNs(self.now * NS_PER_MS), is_certified=certified, is_open=is_open)

    def may(self) -> bool:
        return self.pacing.may_hand(BoottimeNs(self.now * NS_PER_MS))

    def batch(self, closed_ms: int) -> None:
        """Hand over a batch that is certified after a while."""
        assert self.may()
        self.pacing.handed(BoottimeNs(self.now * NS_PER_MS))
        for left in range(closed_ms, 0, -1):
            self.now += 1
            self.look(certified=left == 1, is_open=left == 1)

    def wait(self) -> int:
        """How long until the next batch may go out."""
        began = self.now
        while not self.may():
            self.now += 1
            self.look()
            assert self.now - began < 10_000
        return self.now - began


@pytest.fixture
def paced() -> Paced:
    paced = Paced()
    paced.look()
    return paced


def test_a_lone_command_goes_at_once(paced: Paced) -> None:
    assert paced.wait() == 0
    paced.batch(20)
    paced.now += 100
    paced.look()
    assert paced.wait() == 0


def test_a_new_leader_has_no_credit(paced: Paced) -> None:
    paced.now += 5_000
    paced.look()
    paced.pacing.restart()
    paced.look()
    paced.batch(40)
    assert paced.wait() == 40


@pytest.mark.parametrize("closed_ms", [1, 7, 50, 250])
def test_a_flood_leaves_half_of_the_time_open(paced: Paced, closed_ms: int) -> None:
    began = paced.now
    for _ in range(40):
        paced.batch(closed_ms)
        paced.wait()
    assert 40 * closed_ms <= (paced.now - began) / 2


def test_closed_times_of_a_lost_holder_leave_a_fifth_open(paced: Paced) -> None:
    began = paced.now
    for _ in range(10):
        paced.batch(1_010)
        assert paced.wait() == 250, "and no command waits longer than a quarter of a lease for this"
    assert (paced.now - began - 10 * 1_010) / (paced.now - began) > 0.19


def test_credit_is_bounded(paced: Paced) -> None:
    """A long quiet time buys no long closed one afterwards."""
    paced.now += 60_000
    paced.look()
    paced.batch(240)
    assert paced.wait() == 0
    paced.batch(240)
    assert paced.wait() == 230


def test_without_a_certificate_batches_go_out_once_a_lease(paced: Paced) -> None:
    """As before: what takes no certificate for so long may be what the next batch helps."""
    paced.pacing.handed(BoottimeNs(0))
    for paced.now in range(1, 3_001):
        paced.look(certified=False, is_open=False)
        assert paced.may() is (paced.now in (1_000, 2_000, 3_000)), paced.now
        if paced.may():
            paced.pacing.handed(BoottimeNs(paced.now * NS_PER_MS))


def test_heartbeats_close_nothing(paced: Paced) -> None:
    """Nothing is proposed, so nothing is taken; and what a certificate is due for gives no credit."""
    paced.batch(40)
    for _ in range(30):
        paced.now += 1
        paced.look(is_open=False)
    assert not paced.may()
    assert paced.wait() == 40


# A cluster under a flood.


class Flood:
    """`count` submitters that each hand in the next command as soon as the last one is answered."""

    def __init__(self, sim: SimCluster, count: int) -> None:
        self.sim, self.names = sim, list(sim.nodes)
        self.answers: list[list[object]] = [[] for _ in range(count)]
        self.done = 0
        self.number = 0
        for place in range(count):
            self._next(place)

    def _next(self, place: int) -> None:
        self.number += 1
        name = self.names[place % len(self.names)]
        self.answers[place] = self.sim.submit(name, self.sim.put(f"f{self.number}", f'Agent::"f{place}"'))

    def go_on(self) -> None:
        for place, answer in enumerate(self.answers):
            if answer:
                assert isinstance(answer[0], dict), answer
                self.done += 1
                self._next(place)


class Checks:
    """One check a node every few ms, which waits for a certificate as the runtime lets it."""

    WAIT_MS = 200

    def __init__(self, sim: SimCluster) -> None:
        self.sim = sim
        self.waiting: dict[str, list[int]] = {name: [] for name in sim.nodes}
        self.allowed = dict.fromkeys(sim.nodes, 0)
        self.denied = dict.fromkeys(sim.nodes, 0)
        self.last = dict.fromkeys(sim.nodes, 0)
        self.gap = dict.fromkeys(sim.nodes, 0)

    def step(self, now: int) -> None:
        for name, waiting in self.waiting.items():
            if now % 5 == 0:
                waiting.append(now)
            if self.sim.serving(name):
                self.allowed[name] += len(waiting)
                self.gap[name] = max(self.gap[name], now - self.last[name])
                self.last[name] = now
                waiting.clear()
            while waiting and now - waiting[0] >= self.WAIT_MS:
                waiting.pop(0)
                self.denied[name] += 1


@pytest.mark.parametrize("write_ms", [(2, 9), (15, 40)], ids=["disk", "slow disk"])
def test_under_a_flood_of_64_submitters_checks_are_allowed(write_ms: tuple[int, int]) -> None:
    sim = SimCluster(seed=3)
    sim.run_until(sim.all_serving)
    sim.write_ms = write_ms
    flood, checks = Flood(sim, 64), Checks(sim)
    served = dict.fromkeys(sim.nodes, 0)
    for now in range(1, 1_201):
        sim.step()
        flood.go_on()
        checks.step(now)
        for name in sim.nodes:
            served[name] += sim.serving(name)
    assert flood.done > 100
    for name in sim.nodes:
        assert checks.allowed[name] >= 0.95 * (checks.allowed[name] + checks.denied[name])
        assert checks.gap[name] <= LEASE_MS
        assert served[name] >= 0.4 * 1_200, "about half of the time is open on each node"


def test_a_lone_command_is_not_held() -> None:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    sim.step(300)
    for number in range(3):
        answers = sim.submit(sim.leader.id, sim.put(f"c{number}"), wait="committed")
        sim.run_until(lambda answers=answers: answers, limit_ms=15)
        sim.step(50)


def test_a_batch_is_not_begun_while_checks_wait_to_be_answered() -> None:
    sim = SimCluster(1)
    sim.run_until(sim.all_serving)
    core = sim.leader.core
    sim.submit("node-1", sim.put("c"))
    before = core.sequencer.last_index
    core.settle(is_held=True)
    assert core.sequencer.last_index == before
    core.settle()
    assert core.sequencer.last_index == before + 1
