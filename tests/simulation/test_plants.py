"""Planted bugs: seeds that know nothing of a rule find that it is missing."""

from __future__ import annotations

import msgspec
import pytest
from simulation import plans
from simulation import test_rules as rules

from govraft.adapters.engine.journal import EngineJournal
from govraft.core.convergence import certificate
from govraft.core.convergence.holder import Holder
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.node.effects import Effects
from govraft.node.gate import Standing
from govraft.node.submissions import judging
from govraft.testing.history import CommandTried
from govraft.testing.simulation import draw_plan, simulate
from govraft.testing.simulation.clients import Clients
from govraft.testing.simulation.disk import VirtualDisk
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.minimise import minimise, replay_command
from govraft.testing.simulation.world import World


def first_broken(profile: str, seeds: int = 24):
    """The first seed that breaks anything, and what."""
    for seed in range(1, seeds + 1):
        outcome = simulate(draw_plan(seed, profile, 16.0), keep_history=False)
        if outcome.findings:
            return seed, {finding.rule for finding in outcome.findings}
    return 0, set()


def leases_run_too_long(patch):
    """L(1+ρ) by the holder's clock."""
    patch.setattr(LeaseTiming, "hold_ns", LeaseTiming.grant_ns)


def grants_are_over_too_soon(patch):
    """L(1-ρ) by the voter's clock."""
    patch.setattr(LeaseTiming, "grant_ns", LeaseTiming.hold_ns)


def one_voter_too_few(patch):
    original = Electorate.quorum_count.fget
    patch.setattr(Electorate, "quorum_count", property(lambda self: original(self) - 1))


def holders_believe_the_leader(patch):
    """Whom an ack names as outstanding is no matter to whoever gets the lease; honest leaders look as ever."""
    original = certificate._granting_voters

    def granting(lease, probe, acks, electorate):
        return original(
            lease, probe, [(member, msgspec.structs.replace(ack, outstanding=())) for member, ack in acks], electorate
        )

    patch.setattr(certificate, "_granting_voters", granting)


def leases_outlive_the_ack(patch):
    """The gate denies even so: the state is newer than the lease."""
    patch.setattr(Holder, "stop_below", lambda self, seq: None)


def no_clock_is_held_against_the_leaders(patch):
    patch.setattr(LeaseTiming, "apart_ms", lambda self, leader, since, until: 0)


def test_a_missing_rule_of_wall_clocks_is_found():
    """Of the two places one is enough while leaders are honest: for each alone see `test_wall_clocks.py`."""
    with rules.planted(no_clock_is_held_against_the_leaders):
        assert "wall_apart" in first_broken("clocks")[1]


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (rules.no_outstanding, "stale_allow"),
        (rules.careless_leader_and_holders, "stale_allow"),
        (rules.no_waiting_after_a_restart, "stale_allow"),
        (rules.no_memory_of_the_highest_ack, "signed_seq_fell"),
        (rules.no_record_on_disk, "sent_before_durable"),
        (rules.one_voter_is_a_quorum, "stale_allow"),
        (rules.serving_goes_on_after_the_ack, "fork"),
        (rules.leases_counted_from_receipt, "stale_allow"),
        (rules.clocks_trusted_to_be_exact, "stale_allow"),
        (leases_run_too_long, "stale_allow"),
        (grants_are_over_too_soon, "stale_allow"),
        (one_voter_too_few, "stale_allow"),
        (holders_believe_the_leader, "stale_allow"),
        (leases_outlive_the_ack, "held_below_ack"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_a_missing_rule_of_the_protocol_is_found(plant, rule):
    with rules.planted(plant):
        assert rule in first_broken("adversary")[1]


def release_without_the_write(patch):
    """What a runtime that does not wait for its disk would do."""
    pump = Host._pump

    def early(self):
        core = self.core
        if core is None:
            return
        effects = core.take_effects()
        sends, effects.sends = effects.sends, []
        after, effects.after = effects.after, []
        if self._writing is not None:
            self._writing.batch._ops.extend(effects.batch.ops)
        else:
            core._effects.batch._ops[:0] = effects.batch.ops
            pump(self)
        self._release(Effects(sends=sends, after=after))

    patch.setattr(Host, "_pump", early)


def go_on_after_a_failed_write(patch):
    def write(self, batch):
        if not self.failure:
            self._apply(batch)

    patch.setattr(VirtualDisk, "write", write)


def commands_work_twice(patch):
    original = Machine._decide_admitted
    patch.setattr(
        Machine,
        "_decide_admitted",
        lambda self, admitted, time: original(self, admitted._replace(duplicate=False), time),
    )


def votes_are_not_recorded(patch):
    original = EngineJournal.setCurrentTerm

    def forgetful(self, term, voted_for):
        record, self._record = self._record, lambda operation: None
        try:
            original(self, term, voted_for)
        finally:
            self._record = record

    patch.setattr(EngineJournal, "setCurrentTerm", forgetful)


@pytest.mark.parametrize(
    ("plant", "profile", "allowed"),
    [
        (release_without_the_write, "faults", {"sent_before_durable"}),
        (go_on_after_a_failed_write, "storage", {"sent_before_durable", "halted"}),
        (commands_work_twice, "calm", {"doubled_command"}),
        (votes_are_not_recorded, "faults", {"sent_before_durable"}),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_a_bug_around_the_protocol_is_found(monkeypatch, plant, profile, allowed):
    plant(monkeypatch)
    assert first_broken(profile)[1] & allowed


def power_fails_right_after_a_receipt():
    """Every machine loses power at the moment at which a client has its receipt; slow disks have no time to spare."""
    world = World(plans.plan(submit_every_ms=60_000, write_us=(60_000, 60_000), seconds=10.0))
    tell = Clients._tell

    def told(self, item, began, answer):
        tell(self, item, began, answer)
        if isinstance(answer, dict) and item.kind == "put":
            for host in world.hosts.values():
                world.agenda.after(0, host.crash)
                world.agenda.after(10**9, host.start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clients, "_tell", told)
        outcome = simulate(world.plan, world=world)
    assert all(host.life == 2 for host in world.hosts.values())
    return {finding.rule for finding in outcome.findings}


def test_an_effective_command_survives_a_power_failure_everywhere():
    assert power_fails_right_after_a_receipt() == set()


def test_a_command_that_was_told_before_it_was_written_is_missed(monkeypatch):
    release_without_the_write(monkeypatch)
    assert "lost_command" in power_fails_right_after_a_receipt()


def test_a_node_that_judges_by_an_old_state_is_found(monkeypatch):
    """As it was: whatever its own state says is told as final."""
    live = Standing(lease=object())
    monkeypatch.setattr(judging, "ABOUT_TARGET", frozenset())
    init = judging.Judge.__init__
    monkeypatch.setattr(
        judging.Judge, "__init__", lambda self, machine, clock, _: init(self, machine, clock, lambda at_least: live)
    )
    outcome = simulate(plans.plan(plans.fault("cut_off_submit", 4_000, "n2", for_ms=4_500), seconds=10.0))
    assert "stale_refusal" in {finding.rule for finding in outcome.findings}


def test_a_submit_at_a_node_that_is_cut_off_happens():
    """The same run, with the rules: nothing is broken, and the node did answer."""
    outcome = simulate(plans.plan(plans.fault("cut_off_submit", 4_000, "n2", for_ms=4_500), seconds=10.0))
    assert outcome.findings == ()
    told = {event.command_id: event for event in outcome.history if isinstance(event, CommandTried)}
    again = told["cut_off_submit-0-again"]
    assert (told["cut_off_submit-0-free"].outcome, again.outcome) == ("effective", "refused")
    assert again.code == "unavailable"


def test_a_failing_seed_is_made_small():
    """Of all faults of the seed a few are enough, and the command that is printed repeats exactly them."""
    with rules.planted(rules.no_outstanding):
        seed = first_broken("adversary")[0]
        plan = draw_plan(seed, "adversary", 40.0)
        outcome = simulate(plan)
        minimal = minimise(plan, outcome)
        assert minimal.outcome.findings[0].rule == outcome.findings[0].rule
        assert 2 * len(minimal.plan.faults) <= len(plan.faults)
        assert simulate(minimal.plan).trace == minimal.outcome.trace
    command = replay_command(minimal.plan, plan)
    assert f"--seed {seed} --profile adversary" in command
    assert "--only-faults " in command
    assert simulate(minimal.plan).findings == ()


def test_a_cluster_that_does_not_come_back_is_found(monkeypatch):
    """One node stays deaf although everything has healed."""
    on_frame = Host.on_frame

    def deaf(self, source, channel, payload):
        if self.name != "n2" or self._world.now < 3 * 10**9:
            on_frame(self, source, channel, payload)

    monkeypatch.setattr(Host, "on_frame", deaf)
    found = simulate(plans.plan(seconds=5.0)).findings
    assert {(finding.rule, finding.node) for finding in found} >= {("not_live", "n2")}


def test_a_leader_that_skips_a_rule_convinces_nobody_and_is_noticed():
    with rules.planted(rules.careless_leader):
        assert first_broken("adversary")[1] == {"unverified_lease"}
