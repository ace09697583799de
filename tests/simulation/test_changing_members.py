"""Changes of the electorate, several at a time, under an adversary in the place of Raft: nobody ever allows stale.

Random ones; and for each rule of changes a scene in which somebody would, were the rule not kept.
"""

import random

import pytest
from changing_electorate import ChangingArena
from sim_cluster import WALL_START
from simulation.arena import kind_of
from simulation.checkers import StaleAllowError

from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.convergence.cosigner import Cosigner
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.machine.entry import encode_entry
from govraft.core.model.units import NS_PER_MS, WallMs
from govraft.node import convergence
from govraft.node.convergence import Convergence
from govraft.node.epochs import Epochs
from govraft.node.probed import Probed

ROUNDS = 110


class Wild(ChangingArena):
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"changing members {seed}")
        rates = {name: 1 + self.dice.uniform(-0.009, 0.009) for name in "abc"}
        super().__init__(3, seed=seed, rates=rates)
        self.gone: set[str] = set()
        self.heirs: set[str] = set()
        """Who was given another key: a node of that id with an apostrophe has it, beside the old one."""
        self.step_ms = 10
        self.delay_ms = (1, self.dice.choice([5, 40, 200]))
        self.loss = self.dice.choice([0.0, 0.05, 0.2])
        for name in "defgh":
            self.enlist(name)
            self.nodes[name].clock.rate = 1 + self.dice.uniform(-0.009, 0.009)
        self.lead("a", "b", "c")
        self.step(500)

    @property
    def electorate(self):
        """After all that is committed, if somebody has applied it; else nobody's."""
        cores = [node.core for node in self.nodes.values() if node.core is not None]
        newest = max(cores, key=lambda core: core.machine.seq)
        return newest.machine.electorate if newest.machine.seq == len(self.logs[0]) + 1 else None

    def change_members(self) -> None:
        electorate = self.electorate
        if electorate is None:
            return
        known = {member.id: member.voter for member in electorate.members}
        fresh = [name for name in self.nodes if name not in known and name not in self.gone]
        voters = [name for name, is_voter in known.items() if is_voter]
        options = [("promote", name) for name, is_voter in known.items() if not is_voter]
        options += [("add", name) for name in fresh[:1]]
        options += [("remove", name) for name in voters] if len(voters) > 1 else []
        options += [("rotate", name) for name in voters if name not in self.heirs] if len(voters) > 2 else []
        if not options:
            return
        verb, name = self.dice.choice(options)
        if verb == "remove":
            self.gone.add(name)
        stamped = WallMs(WALL_START + self.now_ns // NS_PER_MS)
        if verb == "rotate":
            self.heirs.add(name)
            self.enlist(f"{name}'")
            self.nodes[f"{name}'"].clock.rate = self.nodes[name].clock.rate
            envelope = self.rotate(name, self.nodes[f"{name}'"].identity)
        else:
            envelope = getattr(self, verb)(name)
        self.logs[0].append(encode_entry(stamped, envelope))

    def act(self) -> None:
        dice, names = self.dice, list(self.nodes)
        some = dice.sample(names, dice.randint(1, len(names)))
        match dice.choice(
            [
                "lead",
                "lead",
                "lead",
                "advance",
                "advance",
                "advance",
                "commit",
                "change",
                "change",
                "cut",
                "heal",
                "crash",
            ]
        ):
            case "lead":
                electorate = self.electorate
                leaders = [item.id for item in electorate.voters] if electorate and dice.random() < 0.8 else names
                leader = dice.choice(leaders)
                self.lead(leader, *[name for name in (names if dice.random() < 0.5 else some) if name != leader])
            case "advance":
                self.advance(*(names if dice.random() < 0.5 else some))
            case "commit":
                self.commit()
            case "change":
                # One that knows it, so that the next one can be made; the rest may hear of it later.
                self.change_members()
                self.advance(dice.choice(names))
            case "cut":
                self.cut.clear()
                self.partition(*some)
            case "heal":
                self.heal()
            case "crash":
                self.crash(some[0], lands=dice.random() < 0.5)
                self.start(some[0])

    def run(self) -> None:
        for _ in range(ROUNDS):
            self.act()
            self.step(self.dice.choice([10, 50, 150, 400]))


def run(seed: int) -> Wild:
    sim = Wild(seed)
    sim.run()
    return sim


def test_nobody_allows_stale_while_members_change():
    changes, allowed, isolated = 0, 0, 0
    for seed in range(6):
        sim = run(seed)
        changes += max(sim.epoch(name) for name in sim.nodes) - 1
        allowed += sim.watcher.allowed
        isolated += sum(sim.core(name).convergence.isolation is not None for name in sim.nodes)
        assert sim.watcher.unverified == 0
    assert changes > 10
    assert allowed > 1000
    assert not isolated


# What each rule is good for.


def the_new_members_alone_certify_the_change(patch):
    """Before their own records are read, nobody stands for them; that there is a certificate must do."""
    honest, judge = Epochs.electorates, EpochHistory._certified
    patch.setattr(Epochs, "electorates", lambda self, seq: honest(self, seq)[-1:])

    def certified(self, note, judges):
        return judge(self, note, judges[-1:]) if len(judges) > 1 else Checkpoint.decode(parse_note(note).body)

    patch.setattr(EpochHistory, "_certified", certified)


def nobody_waits_for_the_certificate_of_a_change(patch):
    """Each state is certified by the members of its own epoch, as the machine says, and by nobody else."""

    def electorates(self, seq):
        known = [(self.certified_seq, self.certified), *((item.seq, item.electorate) for item in self.waiting)]
        return tuple(electorate for begin, electorate in known if begin <= seq)[-1:]

    patch.setattr(Epochs, "electorates", electorates)
    patch.setattr(Epochs, "uncertified", property(lambda self: None))
    patch.setattr(convergence, "probed", probed_anyway)


def probed_anyway(machine, epochs):
    return Probed(machine.seq, machine.root, machine.sections, epochs.electorates(machine.seq))


def grants_are_forgotten_when_the_change_is_applied(patch):
    honest = Epochs.applied

    def applied(self, machine, leaf):
        is_new = honest(self, machine, leaf)
        if is_new and id(self) in COSIGNERS:
            COSIGNERS[id(self)].forget_below(machine.seq)
        return is_new

    patch.setattr(Epochs, "applied", applied)
    begin = Convergence.begin
    patch.setattr(
        Convergence, "begin", lambda self: (COSIGNERS.update({id(self.epochs): self.cosigner}), begin(self))[1]
    )


def more_is_forgotten_than_is_over(patch):
    """Also what was granted at the change itself, and may still run when the next state is certified."""
    honest = Cosigner.forget_below
    patch.setattr(Cosigner, "forget_below", lambda self, seq: honest(self, seq + 1))


COSIGNERS: dict = {}


def reign(*names: str) -> ChangingArena:
    sim = ChangingArena(3)
    for name in names:
        sim.enlist(name)
    sim.lead("c", *[name for name in sim.nodes if name != "c"])
    sim.step(500)
    assert all(sim.serving(name) for name in "abc")
    return sim


def hear(sim: ChangingArena, leader: str, *names: str, envelopes: tuple[bytes, ...]) -> None:
    """Only these hear of the commands, and follow that leader."""
    for envelope in envelopes:
        sim.logs[0].append(encode_entry(WallMs(WALL_START + sim.now_ns // NS_PER_MS), envelope))
    sim.advance(leader, *names)
    for name in (leader, *names):
        sim.views[name].leader, sim.views[name].term = leader, 9


def halves_of_a_rotation() -> ChangingArena:
    """The old key of `b` stays with `c` on one side, its new key with `a` on the other: each is a quorum of its time."""
    sim = reign("b'")
    sim.partition("a", "b'")
    hear(sim, "a", "b'", envelopes=(sim.rotate("b", sim.nodes["b'"].identity),))
    sim.step(3000)
    assert sim.serving("c"), "the old members go on"
    return sim


def several_changes_at_a_time() -> ChangingArena:
    """`b` and `c` hear of nothing, while `a` and two newcomers are all that is left of the electorate."""
    sim = reign("d", "e")
    sim.partition("a", "d", "e")
    steps = [sim.add("d"), sim.promote("d"), sim.add("e"), sim.promote("e"), sim.remove("b"), sim.remove("c")]
    hear(sim, "a", "d", "e", envelopes=tuple(steps))
    sim.step(3000)
    assert sim.serving("c"), "the old members go on"
    return sim


def a_removed_holder_is_cut_off() -> ChangingArena:
    """`a` still holds a lease when the others remove it."""
    sim = reign()
    sim.partition("a")
    hear(sim, "c", "b", envelopes=(sim.remove("a"),))
    sim.views["b"].term = sim.views["c"].term = 1
    sim.step(20)
    assert sim.serving("a")
    assert sim.watcher.certified_seq == 1
    sim.run_until(lambda: sim.watcher.certified_seq == 2, limit_ms=3000)
    return sim


def a_holder_is_cut_off_right_after_a_change() -> ChangingArena:
    """The leader holds a lease of the change itself, and is cut off before it renews that; another one leads on."""
    sim = reign("d")
    before = sim.tap

    def tap(source, target, channel, payload):
        is_renewal = kind_of(payload) == "probe" and sim.epoch("c") == 2
        return None if source == "c" and is_renewal else before(source, target, channel, payload)

    sim.tap = tap
    sim.commit_envelopes(sim.add("d"))
    sim.run_until(lambda: all(sim.epoch(name) == 2 for name in "abc") and sim.serving("c"), limit_ms=1000)
    assert sim.core("c").gate.standing().lease.seq == 2
    sim.partition("c")
    hear(sim, "b", "a", envelopes=(sim.put("later"),))
    sim.step(20)
    assert sim.serving("c")
    assert sim.watcher.certified_seq == 2
    sim.run_until(lambda: sim.watcher.certified_seq == 3, limit_ms=3000)
    return sim


SCENES = [
    (halves_of_a_rotation, the_new_members_alone_certify_the_change),
    (several_changes_at_a_time, nobody_waits_for_the_certificate_of_a_change),
    (a_removed_holder_is_cut_off, grants_are_forgotten_when_the_change_is_applied),
    (a_holder_is_cut_off_right_after_a_change, more_is_forgotten_than_is_over),
]


@pytest.mark.parametrize("scene", [scene for scene, _ in SCENES])
def test_under_the_rules_of_changes_nobody_is_stale(scene):
    assert scene().watcher.unverified == 0


@pytest.mark.parametrize(("scene", "plant"), SCENES)
def test_each_rule_of_changes_is_needed(scene, plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(StaleAllowError):
        scene()
