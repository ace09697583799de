"""The parts of the simulator do what they say: links, disks, clocks, clients, command line and report."""

from __future__ import annotations

import msgspec
import pytest
from simulation import plans

from govraft.core.model.verdict import Allow
from govraft.errors import CorruptionError, DecodeError, InvariantViolation, StorageError
from govraft.ports.store import CosignerRecord, HardState, JournalEntry, WriteBatch
from govraft.testing.history import Check, CommandTried
from govraft.testing.simulation.__main__ import main
from govraft.testing.simulation.agenda import Agenda
from govraft.testing.simulation.clock import TrueTime, VirtualClock
from govraft.testing.simulation.disk import VirtualDisk
from govraft.testing.simulation.minimise import keep_faults
from govraft.testing.simulation.network import Network
from govraft.testing.simulation.plan import draw_plan
from govraft.testing.simulation.report import Sum, append_sum, read_total
from govraft.testing.simulation.run import simulate
from govraft.testing.simulation.world import World

MS = 10**6


class Wire:
    """Two nodes that only note what arrives."""

    def __init__(self, **changes: object) -> None:
        self.time = TrueTime()
        self.agenda = Agenda(self.time)
        self.lives = {"n1": 1, "n2": 1, "n3": 1}
        self.got: list[bytes] = []
        self.links: list[tuple[str, str, bool]] = []
        self.network = Network(
            plans.configuration(delay_us=(1_000, 1_000), **changes),
            self.agenda,
            deliver=lambda target, source, channel, payload: self.got.append(payload),
            notify=lambda source, target, is_up: self.links.append((source, target, is_up)),
            life=lambda name: self.lives[name],
        )
        for name in self.lives:
            self.network.node_started(name)
        self.run(100)
        self.links.clear()
        self.link = self.network.links["n1", "n2"]
        assert self.link.is_up

    def run(self, ms: int) -> None:
        self.agenda.run_until(self.time.now + ms * MS)

    def send(self, payload: bytes) -> None:
        self.network.send("n1", "n2", 1, payload)


# Links.


def test_a_stream_keeps_order_whatever_the_weather():
    wire = Wire()
    wire.network.weather.delay_ms = 50
    wire.network.weather.loss = 30
    sent = [bytes([number]) for number in range(100)]
    for payload in sent:
        wire.send(payload)
    wire.run(100_000)
    assert wire.got == sent


def test_what_is_no_stream_loses_doubles_and_reorders():
    wire = Wire(is_stream=False)
    wire.network.weather.loss = wire.network.weather.duplication = 30
    wire.network.weather.reorder_ms = 20
    sent = [bytes([number]) for number in range(200)]
    for payload in sent:
        wire.send(payload)
        wire.run(1)
    wire.run(1_000)
    assert wire.got != sorted(wire.got)
    assert len(set(wire.got)) < len(sent)
    assert len(wire.got) > len(set(wire.got))


def test_a_frame_of_a_fallen_session_arrives_only_until_the_next_one_is_admitted():
    wire = Wire()
    wire.send(b"before the next session")
    wire.network.fall(wire.link, redial_ms=5)
    wire.run(3)
    assert wire.got == [b"before the next session"]
    wire.run(10)
    wire.link.lag_ms = 20
    wire.send(b"too late")
    wire.network.fall(wire.link, redial_ms=5)
    wire.link.lag_ms = 0
    wire.run(10)
    wire.send(b"of the next session")
    wire.run(100)
    assert wire.got[1:] == [b"of the next session"]
    assert [is_up for _, _, is_up in wire.links] == [False, True, False, True]


def test_a_frame_for_a_dead_process_never_reaches_its_next_life():
    wire = Wire()
    wire.send(b"for the first life")
    wire.lives["n2"] = 2
    wire.run(10)
    assert wire.got == []


def test_a_clogged_link_keeps_everything_and_tells_nobody():
    wire = Wire()
    wire.network.block(7, [("n1", "n2")], is_noticed=False)
    for payload in (b"1", b"2", b"3"):
        wire.send(payload)
    wire.run(60_000)
    assert wire.got == wire.links == []
    assert wire.network.waiting == 3
    wire.network.unblock(7)
    wire.run(10)
    assert wire.got == [b"1", b"2", b"3"]


def test_a_cut_link_falls_is_empty_and_comes_back_when_the_last_fault_is_over():
    wire = Wire()
    wire.network.block(1, [("n1", "n2")])
    wire.network.block(2, [("n1", "n2")])
    wire.send(b"lost")
    wire.run(4_000)
    assert wire.links == [("n1", "n2", False)]
    wire.network.unblock(1)
    wire.run(4_000)
    assert not wire.link.is_up
    wire.network.unblock(2)
    wire.run(4_000)
    wire.send(b"found")
    wire.run(10)
    assert wire.got == [b"found"]


# Disks.


def batch(*indexes: int, commit: int = 0, seq: int = 0) -> WriteBatch:
    found = WriteBatch()
    for index in indexes:
        found.append(JournalEntry(index, 1, b"x"))
    found.set_hard_state(HardState(1, None, commit))
    if seq:
        found.set_cosigner(CosignerRecord(seq, bytes(32)))
    return found


def test_a_disk_keeps_the_rules_of_every_store():
    disk = VirtualDisk()
    assert not disk.load().has_run_before
    disk.write(batch(1, 2, commit=2, seq=5))
    with pytest.raises(InvariantViolation):
        disk.write(batch(4, commit=2))
    with pytest.raises(InvariantViolation):
        disk.write(batch(3, commit=1))
    stored = disk.load()
    assert (len(stored.journal), stored.hard_state.commit_index, stored.cosigner.seq) == (2, 2, 5)
    assert stored.has_run_before


@pytest.mark.parametrize("lands", [False, True])
def test_after_a_failed_write_nothing_is_written_until_the_next_start(lands):
    disk = VirtualDisk()
    disk.load()
    disk.write(batch(1))
    disk.failure, disk.failed_write_lands = "input/output error", lands
    with pytest.raises(StorageError):
        disk.write(batch(2))
    disk.failure = ""
    with pytest.raises(StorageError):
        disk.write(batch(3))
    assert disk.last_index == 1 + lands
    disk.load()
    disk.write(batch(2 + lands))


def test_a_damaged_store_says_what_is_damaged_and_is_not_read():
    disk = VirtualDisk()
    disk.damage = "journal entry 7"
    with pytest.raises(CorruptionError, match="journal entry 7"):
        disk.load()


# Clocks.


def test_a_clock_never_steps_when_its_rate_changes():
    time = TrueTime()
    clock = VirtualClock(time, 1.01)
    shown = []
    for rate in (0.99, 1.3, 0.7, 1.0):
        time.now += 10**9
        shown.append(clock.boottime())
        clock.set_rate(rate)
        assert clock.boottime() == shown[-1]
    time.now += 10**9
    assert clock.boottime() - shown[-1] == 10**9
    assert [round(b - a, -6) for a, b in zip(shown, shown[1:], strict=False)] == [0.99e9, 1.3e9, 0.7e9]


def test_the_rates_of_each_kind_of_seed_keep_or_break_the_bound():
    """No stale allow is promised if and only if every voter's L(1+ρ) outlasts every holder's L(1-ρ)."""
    seen = set()
    for seed in range(200):
        setup = draw_plan(seed, "drift" if seed % 2 else "faults", 1.0).configuration
        drift = setup.drift_ppm / 1_000_000
        fits = all(
            voter * (1 - drift) <= holder * (1 + drift) + 1e-9 for voter in setup.rates for holder in setup.rates
        )
        assert fits or setup.clocks == "beyond", setup
        assert setup.is_fresh_promised == (setup.clocks != "beyond")
        seen.add((setup.clocks, fits))
    assert {("within", True), ("unison", True), ("beyond", False)} <= seen


# Clients.


def test_an_allow_that_arrives_after_it_ran_out_is_a_denial():
    plan = plans.plan(seconds=8.0)
    slow = tuple(msgspec.structs.replace(item, travel_us=1_500_000) for item in plan.questions)
    outcome = simulate(msgspec.structs.replace(plan, questions=slow))
    checks = [event for event in outcome.history if isinstance(event, Check) and event.seq]
    assert checks
    assert not any(event.allowed for event in checks)
    assert "lease_expired" in {event.reason for event in checks} <= {"lease_expired", "policy_denied"}


def test_a_client_that_gives_up_knows_nothing():
    plan = plans.plan(seconds=4.0)
    hasty = tuple(msgspec.structs.replace(item, patience_ms=1) for item in plan.submissions)
    outcome = simulate(msgspec.structs.replace(plan, submissions=hasty))
    tried = [event for event in outcome.history if isinstance(event, CommandTried) and event.kind == "put"]
    assert {(event.outcome, event.code) for event in tried} == {("unknown", "outcome_unknown")}
    assert outcome.certified_seq > 5


def test_every_command_handed_in_leaves_an_outcome():
    """Also one whose client still waits when the run ends: it may have worked."""
    plan = plans.plan(plans.fault("partition", 2_500, "n1", for_ms=60_000), seconds=4.0)
    patient = tuple(msgspec.structs.replace(item, patience_ms=60_000) for item in plan.submissions)
    plan = msgspec.structs.replace(plan, submissions=patient)
    outcome = simulate(plan)
    told = [event for event in outcome.history if isinstance(event, CommandTried)]
    assert len(told) == outcome.commands
    assert {event.command_id for event in told} >= {item.command_id for item in plan.submissions}


def test_questions_are_answered_by_the_policies():
    world = World(plans.plan(seconds=5.0))
    outcome = simulate(world.plan, world=world)
    assert outcome.allows > 60
    assert isinstance(world.hosts["n1"].core.check(_request()), Allow)


def _request():
    from govraft.core.model.request import Request
    from govraft.testing.simulation.commands import REQUEST_ACTION, REQUEST_RESOURCE

    return Request('Agent::"a0"', REQUEST_ACTION, REQUEST_RESOURCE)


# Faults, each seen to do what its name says.


@pytest.mark.parametrize(
    "point",
    [
        "crash_before_turn",
        "crash_before_write",
        "crash_in_write",
        "crash_after_write",
        "crash_between_sends",
        "crash_before_answers",
        "crash_in_snapshot",
        "crash_in_start",
    ],
)
@pytest.mark.parametrize("amount", [0, 1])
def test_a_node_dies_at_each_step_of_persistence_and_lives_on(point, amount):
    faults = [
        plans.fault(point, 3_000 + 3_000 * place, name, for_ms=2_000, amount=amount, number=place)
        for place, name in enumerate(plans.NAMES)
    ]
    plan = plans.plan(*faults, seconds=12.0, snapshot_entries=2, window_entries=1)
    outcome = simulate(plan)
    assert outcome.findings == ()
    assert outcome.faults == {point: 3}
    assert outcome.effective > 5


def test_a_node_whose_disk_fails_stops_and_may_be_started_again():
    outcome = simulate(plans.plan(plans.fault("disk_full", 3_000, "n1"), seconds=8.0))
    assert outcome.findings == ()
    assert [(node, code) for node, code, _ in outcome.endings] == [("n1", "halted")]


def test_a_rotten_node_stays_down_and_the_others_go_on():
    world = World(plans.plan(plans.fault("bit_rot", 3_000, "n1", amount=3), seconds=8.0))
    outcome = simulate(world.plan, world=world)
    assert outcome.findings == ()
    assert world.hosts["n1"].core is None
    assert {code for _, code, _ in outcome.endings} == {"refused"}
    assert "cosigner record" in outcome.endings[0][2]


def test_a_rotten_snapshot_is_refused_and_the_journal_is_enough_without_it():
    fault = plans.fault("snapshot_rot", 5_000, "n1", salt=12_345)
    world = World(plans.plan(fault, seconds=9.0, snapshot_entries=3))
    outcome = simulate(world.plan, world=world)
    assert outcome.findings == ()
    assert outcome.faults == {"snapshot_rot": 1}
    assert [(node, code) for node, code, _ in outcome.endings] == [("n1", "refused")]
    assert "disk.snapshot" in outcome.endings[0][2]
    assert world.hosts["n1"].core.gate.standing().lease is not None


def test_a_start_from_a_snapshot_replays_only_what_came_after_it(monkeypatch):
    applied = []
    make_sequencer = World.make_sequencer

    def watched(self, host, given):
        applied.append((host.name, host.life, given["applied"]))
        return make_sequencer(self, host, given)

    monkeypatch.setattr(World, "make_sequencer", watched)
    fault = plans.fault("restart", 6_000, "n1", for_ms=10)
    world = World(plans.plan(fault, seconds=9.0, snapshot_entries=3, window_entries=2))
    outcome = simulate(world.plan, world=world)
    assert outcome.findings == ()
    assert outcome.snapshots > 6
    assert {(name, life): index > 3 for name, life, index in applied} == {
        **{(name, 1): False for name in plans.NAMES},
        ("n1", 2): True,
    }


# Command line and report.


def test_a_plan_can_be_cut_down():
    plan = draw_plan(3, "faults")
    assert [fault.number for fault in keep_faults(plan, [2, 5]).faults] == [2, 5]
    assert keep_faults(plan, []).faults == ()
    until = keep_faults(plan, None, 10.0)
    assert until.configuration.seconds == 10.0
    assert until.faults == tuple(fault for fault in plan.faults if fault.at_ms < 10_000)


def test_the_command_adds_up_runs_in_pieces(tmp_path, capsys):
    report = tmp_path / "report.jsonl"
    for seeds in ("1-2", "3-3"):
        assert main(["--seeds", seeds, "--profile", "calm", "--seconds", "4", "--report", str(report)]) == 0
    assert main(["--total", str(report)]) == 0
    assert "3 seeds" in capsys.readouterr().out
    total = read_total(report)
    assert (total.seeds, total.first_seed, total.last_seed) == (3, 1, 3)
    assert total.profiles["calm"].seeds == 3
    assert total.simulated_s > 12
    assert total.broken == []


def test_a_broken_seed_is_shown_and_exits_with_1(monkeypatch, capsys):
    monkeypatch.setattr(VirtualDisk, "image", lambda self: b"")
    monkeypatch.setattr("govraft.testing.simulation.run.HEALING_LEASES", -100)
    monkeypatch.setattr("govraft.testing.simulation.run.HEALING_MS", 0)
    assert main(["--seed", "1", "--profile", "calm", "--seconds", "4"]) == 1
    shown = capsys.readouterr().out
    assert "scripts/sim --seed 1 --profile calm --seconds 4" in shown
    assert "not_live" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seeds", "5"],
        ["--seeds", "5-1"],
        ["--seed", "-1"],
        ["--count", "0"],
        ["--profile", "sunny"],
        ["--seconds", "0"],
        ["--report", "/nonexistent/report"],
        ["--jobs", "0"],
        ["--seed", "1", "--only-faults", "1000"],
        ["--seed", "1", "--until", "99"],
        ["--seeds", "1-2", "--trace"],
        ["--total", "/nowhere"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert next(word for word in reversed(arguments) if word.startswith("--")) in capsys.readouterr().err


def test_a_spoiled_report_is_refused(tmp_path):
    report = tmp_path / "report.jsonl"
    append_sum(report, Sum())
    report.write_bytes(report.read_bytes() + b"{}}\n")
    with pytest.raises(DecodeError, match="line 2"):
        read_total(report)
