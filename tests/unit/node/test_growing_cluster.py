"""A cluster of the real engine that grows from one node to five and shrinks back to one under a stream of commands."""

import random

import pytest
from changing_electorate import ChangingCluster
from simulation.checkers import check_commands, history


class Traffic:
    """Commands without end, handed in at nodes that run; what is answered is kept."""

    def __init__(self, sim: ChangingCluster, seed: int) -> None:
        self.sim, self.rng = sim, random.Random(seed)
        self.sent: dict[str, list] = {}
        self.next = 0

    def tick(self) -> None:
        if self.sim.now_ns < self.next:
            return
        self.next = self.sim.now_ns + 25_000_000
        self.break_something()
        running = members(self.sim)
        name = f"command-{len(self.sent) + 1}"
        if running:
            self.sent[name] = self.sim.submit(self.rng.choice(running), self.sim.quarantine(name), timeout_ms=8_000)

    def break_something(self) -> None:
        """Nothing; see `Havoc`."""

    def end(self) -> None:
        """Let the cluster be."""
        self.next = 10**30

    @property
    def effective(self) -> dict[str, int]:
        answers = {name: got[0] for name, got in self.sent.items() if got and isinstance(got[0], dict)}
        return {name: answer["seq"] for name, answer in answers.items() if answer["outcome"] == "applied"}


class Havoc(Traffic):
    """And now and then a node dies, in the middle of a write too, or is cut off, the leader first of all."""

    def __init__(self, sim: ChangingCluster, seed: int) -> None:
        super().__init__(sim, seed)
        self.down: dict[str, int] = {}
        self.heal_at = 0
        self.kills = 0

    def break_something(self) -> None:
        sim, rng = self.sim, self.rng
        for name, at in list(self.down.items()):
            if sim.now_ns >= at:
                del self.down[name]
                sim.start(name)
        if self.heal_at and sim.now_ns >= self.heal_at:
            self.heal_at = 0
            sim.heal()
        running = [name for name in members(sim) if name not in self.down]
        if not running or rng.random() > 0.03:
            return
        leader = sim.leader.id if sim.leader is not None else running[0]
        victim = leader if leader in running and rng.random() < 0.6 else rng.choice(running)
        if rng.random() < 0.6 and not self.down:
            sim.crash(victim, lands=rng.random() < 0.5)
            self.kills += 1
            self.down[victim] = sim.now_ns + rng.randint(50, 1500) * 1_000_000
        elif not self.heal_at:
            sim.partition(victim)
            self.heal_at = sim.now_ns + rng.randint(100, 2000) * 1_000_000

    def end(self) -> None:
        super().end()
        for name in self.down:
            self.sim.start(name)
        self.down = {}
        self.sim.heal()


def until(sim, traffic, condition, limit_ms=30_000):
    def tick():
        traffic.tick()
        return condition()

    sim.run_until(tick, limit_ms=limit_ms)


def change(sim, traffic, make, *, limit_ms=30_000):
    """Hand a command in until it is effective, as a client would."""
    envelope, answers = make(), []
    at = [0]

    def done():
        if any(isinstance(answer, dict) for answer in answers[-1] if answers) if answers else False:
            return True
        if sim.now_ns >= at[0]:
            at[0] = sim.now_ns + 2_000_000_000
            for name in members(sim)[:1]:
                leader = sim.leader.id if sim.leader is not None and sim.leader.id in members(sim) else name
                answers.append(sim.submit(leader, envelope, timeout_ms=5_000))
        return any(isinstance(item, dict) for got in answers for item in got)

    until(sim, traffic, done, limit_ms)
    return next(item for got in answers for item in got if isinstance(item, dict))


def grow(sim, traffic, name):
    sim.enlist(name)
    change(sim, traffic, lambda: sim.add(name))
    until(sim, traffic, lambda: sim.serving(name))
    change(sim, traffic, lambda: sim.promote(name))


def shrink(sim, traffic, name):
    change(sim, traffic, lambda: sim.remove(name))
    until(sim, traffic, lambda: not sim.serving(name), limit_ms=2000)


def members(sim):
    """The running nodes of the newest certified electorate."""
    known = [node.core.epochs.certified for node in sim.nodes.values() if node.core is not None]
    newest = max(known, key=lambda electorate: electorate.epoch, default=None)
    return [member.id for member in newest.members if sim.core(member.id) is not None] if newest else []


def finish(sim, traffic):
    """Whoever is still a member serves the same history, in which everything that was effective stands."""
    sim.loss = 0.0
    traffic.end()
    until(sim, traffic, lambda: all(sim.serving(name) for name in members(sim)))
    sim.step(1500)
    assert sim.watcher.unverified == 0
    assert sim.watcher.allowed > 0
    check_commands({name: history(sim.core(name)) for name in members(sim)}, traffic.effective)


def test_one_node_becomes_two():
    sim = ChangingCluster(1)
    traffic = Traffic(sim, 1)
    until(sim, traffic, sim.all_serving)
    grow(sim, traffic, "node-2")
    until(sim, traffic, sim.all_serving)
    assert {sim.epoch(name) for name in sim.nodes} == {3}
    finish(sim, traffic)


def grow_and_shrink(sim, traffic, names):
    for name in names:
        grow(sim, traffic, name)
    for name in ["node-1", *names[:-1]]:
        shrink(sim, traffic, name)


@pytest.mark.parametrize("seed", range(2))
def test_one_node_grows_to_five_and_shrinks_back(seed):
    sim = ChangingCluster(1, seed=seed)
    traffic = Traffic(sim, seed)
    until(sim, traffic, sim.all_serving)
    sim.loss, sim.duplication = 0.02, 0.01
    grow_and_shrink(sim, traffic, [f"node-{number}" for number in range(2, 6)])
    finish(sim, traffic)
    assert members(sim) == ["node-5"]
    assert sim.epoch("node-5") == 13
    assert len(traffic.effective) > 20


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(3))
def test_it_does_so_while_nodes_die_and_links_break(seed):
    sim = ChangingCluster(1, seed=seed)
    sim.write_ms = (0, 4)
    traffic = Havoc(sim, seed)
    until(sim, traffic, sim.all_serving)
    sim.loss, sim.duplication = 0.03, 0.02
    grow_and_shrink(sim, traffic, [f"node-{number}" for number in range(2, 6)])
    finish(sim, traffic)
    assert members(sim) == ["node-5"]
    assert len(traffic.effective) > 20
