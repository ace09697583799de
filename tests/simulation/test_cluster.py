"""Whole clusters through random faults: safety all the time, liveness once everything has healed.

A failure names its seed; `pytest tests/simulation/test_cluster.py -k 'seed_17'` replays it.
"""

from __future__ import annotations

import random

import pytest
from sim_cluster import SimCluster, SimNode
from simulation import test_rules as rules
from simulation.arena import Arena
from simulation.checkers import CommandError, ConvergenceWatcher, ForkError, StaleAllowError, check_commands, history

from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import QuorumRule
from govraft.errors import AvailabilityError


def named(seeds: range) -> list:
    return [pytest.param(seed, id=f"seed_{seed}") for seed in seeds]


# An adversary instead of Raft.


class Riot:
    """One seed of an adversary that leads, lies about leaders, cuts, stops, restarts and shifts clocks at random."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        count = self.rng.choice((3, 3, 3, 4, 5))
        quorum = QuorumRule.BYZANTINE if count == 4 else QuorumRule.MAJORITY
        rates = {name: 1 + self.rng.uniform(-0.01, 0.01) for name in "abcde"[:count]}
        self.watcher = ConvergenceWatcher()
        self.sim = Arena(count, seed=seed, watcher=self.watcher, rates=rates, quorum=quorum)
        self.sim.step_ms = 5
        self.names = sorted(self.sim.nodes)
        self.forked = self.names[-1] if self.rng.random() < 0.3 else ""
        if self.forked:
            self.sim.views[self.forked].log = 1
        self.wake_at: dict[str, int] = {}

    def run(self, turns: int) -> None:
        for _ in range(turns):
            self._act()
            self._wake()
            self.sim.step(self.rng.choice((20, 150, 300, 600)))
        self._heal()

    def _act(self) -> None:
        action, weight = zip(
            (self._reign, 3),
            (self._split, 4),
            (self._usurp, 3),
            (self._sever, 1),
            (self._crash, 1.5),
            (self._pause, 0.7),
            (self._step_wall, 0.2),
            (self._weather, 0.7),
            strict=True,
        )
        self.rng.choices(action, weight)[0]()

    def _some(self, names: list[str]) -> list[str]:
        return self.rng.sample(names, self.rng.randint(1, len(names)))

    def _commit(self) -> None:
        for log in (0, 1):
            self.sim.commit(self.rng.randint(1, 2), log=log)

    def _reign(self) -> None:
        """One leader for many, all at one seq."""
        self.sim.heal()
        some = self._some(self.names)
        self.sim.advance(*some)
        self.sim.lead(*some)

    def _split(self) -> None:
        """Some are cut off with what they believe; the others move on."""
        self.sim.heal()
        some = self._some(self.names)
        self.sim.partition(*some)
        self._commit()
        self.sim.advance(*some)
        self.sim.lead(*some)

    def _usurp(self) -> None:
        """Whoever is furthest behind leads some others."""
        self.sim.heal()
        up = [node.id for node in self.sim.nodes.values() if node.core is not None]
        if up:
            last = min(up, key=lambda name: (self.sim.nodes[name].core.machine.seq, self.rng.random()))
            some = [last, *self._some([name for name in self.names if name != last])]
            self.sim.partition(*some)
            self.sim.lead(*some)

    def _sever(self) -> None:
        self.sim.sever(*self.rng.sample(self.names, 2))

    def _crash(self) -> None:
        name = self.rng.choice(self.names)
        self.sim.crash(name, lands=self.rng.random() < 0.5)
        self.wake_at[name] = self.sim.now_ns + self.rng.choice((0, 0, 100, 1500)) * 10**6

    def _pause(self) -> None:
        node = self.sim.nodes[self.rng.choice(self.names)]
        node.paused = node.core is not None
        self.wake_at[node.id] = self.sim.now_ns + self.rng.choice((50, 500, 1500)) * 10**6

    def _step_wall(self) -> None:
        self.sim.nodes[self.rng.choice(self.names)].clock.wall_step_ms = self.rng.randint(-5000, 5000)

    def _weather(self) -> None:
        self.sim.loss = self.rng.choice((0, 0, 0.1, 0.3))
        self.sim.duplication = self.rng.choice((0, 0.2))
        self.sim.delay_ms = self.rng.choice(((1, 5), (1, 5), (1, 50), (1, 900)))
        self.sim.write_ms = self.rng.choice(((0, 0), (1, 10), (5, 300)))

    def _wake(self, *, everybody: bool = False) -> None:
        for name, at in list(self.wake_at.items()):
            if everybody or self.sim.now_ns >= at:
                del self.wake_at[name]
                node = self.sim.nodes[name]
                node.paused = False
                if node.core is None:
                    self.sim.start(name)

    def _heal(self) -> None:
        sim = self.sim
        sim.loss, sim.duplication, sim.delay_ms, sim.write_ms = 0.0, 0.0, (1, 5), (0, 5)
        for node in sim.nodes.values():
            node.clock.wall_step_ms = 0
        self._wake(everybody=True)
        sim.heal()
        # A fork shows only at a seq that was certified.
        sim.commit(max(len(log) for log in sim.logs) + 1 - len(sim.logs[0]))
        sim.commit(len(sim.logs[0]) - len(sim.logs[1]), log=1)
        sim.advance(*self.names)
        sim.lead(*self.names)
        sim.step(4000)

    def check_liveness(self) -> None:
        for name in self.names:
            core = self.sim.nodes[name].core
            if name == self.forked:
                assert core.convergence.isolation is not None, name
                assert not self.sim.serving(name), name
            else:
                assert self.sim.serving(name), (name, self.sim.describe(self.sim.nodes[name]))
                assert core.machine.seq == core.convergence.certified_seq == len(self.sim.logs[0]) + 1


@pytest.mark.parametrize("seed", named(range(14)))
def test_an_untrusted_sequencer_gives_no_stale_allow(seed):
    riot = Riot(seed)
    riot.run(60)
    riot.check_liveness()
    assert riot.watcher.certificates > 10
    assert riot.watcher.allowed > 100


@pytest.mark.parametrize(
    ("plant", "error"),
    [
        (rules.no_outstanding, StaleAllowError),
        (rules.careless_leader_and_holders, StaleAllowError),
        (rules.no_memory_of_the_highest_ack, StaleAllowError),
        (rules.one_voter_is_a_quorum, (StaleAllowError, ForkError)),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_random_faults_alone_find_a_missing_rule(plant, error):
    """The scenarios of `test_rules` are written by who knows the rule; these seeds are not."""
    with rules.planted(plant), pytest.raises(error):
        for seed in range(24):
            Riot(seed).run(60)


# The real engine.


class Workload:
    """Commands from every node through random faults, each with an outcome that must keep being true."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.watcher = ConvergenceWatcher()
        self.sim = SimCluster(seed=seed, watcher=self.watcher)
        for node in self.sim.nodes.values():
            node.clock.rate = 1 + self.rng.uniform(-0.01, 0.01)
        self.names = list(self.sim.nodes)
        self.answers: dict[str, list] = {}
        self.envelopes: dict[str, bytes] = {}

    def run(self, turns: int) -> None:
        self.sim.run_until(self.sim.all_serving)
        for _ in range(turns):
            self._fault()
            for _ in range(3):
                self._submit()
                self.sim.step(self.rng.randint(5, 400))
        self._heal()
        self.sim.run_until(self.sim.all_serving)
        self.sim.run_until(lambda: all(answers for answers in self.answers.values()))
        self.sim.run_until(self._is_level)

    def check(self) -> None:
        histories = {node.id: history(node.core) for node in self.sim.nodes.values()}
        check_commands(histories, self.effective)

    @property
    def effective(self) -> dict[str, int]:
        found = {}
        for command_id, answers in self.answers.items():
            receipts = [answer for answer in answers if isinstance(answer, dict) and answer["certified_seq"]]
            if len({receipt["seq"] for receipt in receipts}) > 1:
                raise CommandError(f"receipts tell that {command_id} worked more than once")
            if receipts:
                found[command_id] = receipts[0]["seq"]
        return found

    def _is_level(self) -> bool:
        return len({node.core.machine.seq for node in self.sim.nodes.values()}) == 1 and self.sim.all_serving()

    def _running(self) -> list[SimNode]:
        return [node for node in self.sim.nodes.values() if node.core is not None and not node.paused]

    def _submit(self) -> None:
        """A new command; or an old one again, at another node."""
        running = self._running()
        if not running:
            return
        node = self.rng.choice(running)
        retried = self.answers and self.rng.random() < 0.3
        command_id = self.rng.choice(sorted(self.answers)) if retried else f"c{len(self.answers)}"
        envelope = self.envelopes.setdefault(command_id, self.sim.put(command_id))
        node.core.submit(
            envelope,
            wait="effective",
            timeout_ms=2000,
            done=self.answers.setdefault(command_id, []).append,
        )

    def _fault(self) -> None:
        self._repair()
        sim, name = self.sim, self.rng.choice(self.names)
        match self.rng.randint(0, 6):
            case 0:
                sim.partition(name)
            case 1:
                for other in self.names:
                    sim.cut.add((name, other))
            case 2:
                sim.crash(name, lands=self.rng.random() < 0.5)
            case 3:
                sim.nodes[name].paused = True
            case 4:
                sim.loss, sim.duplication, sim.delay_ms = 0.15, 0.1, (1, 40)
            case 5:
                sim.nodes[name].clock.wall_step_ms = self.rng.choice((-4000, -300, 300, 4000))
            case 6:
                sim.crash(name, lands=False)
                sim.start(name)
        sim.write_ms = self.rng.choice(((0, 0), (1, 4), (2, 40)))

    def _repair(self) -> None:
        sim = self.sim
        if self.rng.random() < 0.2:
            return
        sim.heal()
        sim.loss, sim.duplication, sim.delay_ms = 0.0, 0.0, (1, 3)
        for node in sim.nodes.values():
            node.paused, node.clock.wall_step_ms = False, 0
            if node.core is None:
                sim.start(node.id)

    def _heal(self) -> None:
        while self.sim.loss or self.sim.cut or len(self._running()) < len(self.names):
            self._repair()
        for node in self.sim.nodes.values():
            node.clock.wall_step_ms = 0
        for answers in self.answers.values():
            # A client whose node died knows nothing; that is no answer to wait for.
            answers or answers.append(AvailabilityError("", definite=False))


@pytest.mark.parametrize("seed", named(range(5)))
def test_effective_commands_are_neither_lost_nor_doubled(seed):
    workload = Workload(seed)
    workload.run(14)
    workload.check()
    assert len(workload.effective) >= 10
    assert workload.watcher.unverified == 0


def test_a_command_that_works_twice_is_noticed(monkeypatch):
    original = Machine._decide_admitted

    def forgetful(self: Machine, admitted, time):
        return original(self, admitted._replace(duplicate=False), time)

    monkeypatch.setattr(Machine, "_decide_admitted", forgetful)
    with pytest.raises(CommandError, match="more than once"):
        for seed in range(8):
            workload = Workload(seed)
            workload.run(14)
            workload.check()


def power_fails_right_after_a_receipt(*, early_send: bool) -> None:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    sim.early_send, sim.write_ms = early_send, (60, 60)
    answers = sim.submit("node-1", sim.quarantine("c"))
    sim.run_until(lambda: answers)
    for name in sim.nodes:
        sim.crash(name, lands=False)
    for name in sim.nodes:
        sim.start(name)
    sim.run_until(sim.all_serving)
    check_commands({node.id: history(node.core) for node in sim.nodes.values()}, {"c": answers[0]["seq"]})


def test_an_effective_command_survives_a_power_failure_everywhere():
    power_fails_right_after_a_receipt(early_send=False)


def test_a_command_that_was_sent_before_it_was_written_is_missed():
    with pytest.raises(CommandError, match="lacks"):
        power_fails_right_after_a_receipt(early_send=True)
