"""A wall clock that is wrong and stays wrong: its node never allows, says why, and is back when the clock is right."""

from __future__ import annotations

import msgspec
import pytest
from sim_cluster import LEASE_MS, SimCluster, SimNode

from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import Kind, Probe, Signed, decode_kind, sign
from govraft.core.model.reasons import Reason
from govraft.core.model.units import WallMs
from govraft.node.convergence import CONVERGENCE_CHANNEL

WRONG_MS = (3_900_000, 7_200_000, -30_000, -3_900_000, 1_100, -1_100)
SETTLED_MS = 7 * LEASE_MS
"""Until a leader that nobody answers has resigned, another one leads, and that one's leases are there."""


def reign(**options) -> SimCluster:
    sim = SimCluster(**options)
    sim.run_until(sim.all_serving)
    return sim


def followers(sim: SimCluster) -> list[SimNode]:
    return [node for node in sim.nodes.values() if node is not sim.leader]


def standing(node: SimNode):
    return node.core.gate.standing()


def stays_unsafe(sim: SimCluster, node: SimNode, others: list[SimNode], *, ms: int = 3_000) -> str:
    """That a node denies all the time with the reason, while the others allow; its last message."""
    for _ in range(ms):
        sim.step()
        assert standing(node).reason is Reason.CLOCK_UNSAFE, sim.describe(node)
        assert standing(node).lease is None
        assert all(sim.serving(other.id) for other in others), [sim.describe(other) for other in others]
    return standing(node).message


@pytest.mark.parametrize("wrong_ms", WRONG_MS)
def test_a_clock_that_is_wrong_and_stays_wrong_gets_no_lease(wrong_ms: int) -> None:
    sim = reign()
    node, other = followers(sim)
    leader = sim.leader
    node.clock.wall_step_ms = wrong_ms
    # For the rest of its lease the gate sees the jump; after that its clock is held against the leader's.
    message = stays_unsafe(sim, node, [leader, other], ms=4 * LEASE_MS)
    told = float(message.removeprefix("this node's wall clock is ").split(" s ")[0])
    assert abs(told - wrong_ms / 1000) < 1, message
    assert f"leader `{leader.id}`" in message
    node.clock.wall_step_ms = 0
    sim.run_until(sim.all_serving, limit_ms=LEASE_MS)


@pytest.mark.parametrize("wrong_ms", [3_900_000, -3_900_000])
def test_a_node_that_starts_with_a_wrong_clock_says_so_within_two_leases(wrong_ms: int) -> None:
    """Its first probes might be late: that alone is no reason. A lease later it is."""
    sim = reign()
    node, other = followers(sim)
    sim.crash(node.id)
    node.clock.wall_step_ms = wrong_ms
    sim.step(2 * LEASE_MS)
    sim.start(node.id)
    sim.step(2 * LEASE_MS + 300)
    assert "from that of leader" in stays_unsafe(sim, node, [sim.leader, other])


def test_a_clock_behind_is_noticed_though_the_newest_entry_is_old() -> None:
    sim = reign()
    answers = sim.submit(sim.leader.id, sim.quarantine("c1"))
    sim.run_until(lambda: answers)
    sim.step(35_000)
    node, other = followers(sim)
    node.clock.wall_step_ms = -30_000
    stays_unsafe(sim, node, [sim.leader, other], ms=4 * LEASE_MS)


@pytest.mark.parametrize("wrong_ms", [3_900_000, -30_000])
@pytest.mark.parametrize("nodes", [3, 4])
def test_a_leader_whose_clock_is_wrong_is_replaced_and_heals(wrong_ms: int, nodes: int) -> None:
    sim = reign(nodes=nodes)
    wrong, others = sim.leader, followers(sim)
    wrong.clock.wall_step_ms = wrong_ms
    sim.step(1)
    for _ in range(SETTLED_MS):
        sim.step()
        assert not sim.serving(wrong.id)
        assert standing(wrong).reason in (Reason.CLOCK_UNSAFE, Reason.LEADER_UNCONFIRMED), sim.describe(wrong)
    sim.run_until(lambda: all(sim.serving(other.id) for other in others))
    sim.step(LEASE_MS)
    assert f"leader `{sim.leader.id}`" in stays_unsafe(sim, wrong, others)
    assert sim.leader is not wrong
    wrong.clock.wall_step_ms = 0
    sim.run_until(sim.all_serving, limit_ms=LEASE_MS)


def test_the_others_name_a_leader_whose_clock_is_wrong() -> None:
    sim = reign()
    wrong, others = sim.leader, followers(sim)
    wrong.clock.wall_step_ms = 3_900_000
    sim.step(LEASE_MS + 200)
    for other in others:
        assert standing(other).reason is Reason.CLOCK_UNSAFE
        assert standing(other).message.startswith("this node's wall clock is -3")
        assert f"leader `{wrong.id}`" in standing(other).message


def test_a_leader_with_a_wrong_clock_steps_aside_under_a_stream_of_commands() -> None:
    """Each command makes a newer state, on which the count must not begin anew."""
    sim = reign()
    wrong = sim.leader
    term = wrong.core.sequencer.term
    wrong.clock.wall_step_ms = -1_000
    for number in range(60):
        sim.submit(wrong.id, sim.quarantine(f"c{number}"))
        sim.step(100)
    sim.run_until(lambda: sim.leader is not None and sim.leader is not wrong)
    assert sim.leader.core.sequencer.term > term


def test_a_leader_that_cannot_help_it_stays() -> None:
    """Without a quorum that follows its log nobody would do better."""
    sim = reign()
    leader = sim.leader
    term = leader.core.sequencer.term
    for other in followers(sim):
        other.paused = True
    sim.step(LEASE_MS // 4)
    resigned = []
    leader.core.sequencer.resign = resigned.append
    sim.step(5 * LEASE_MS)
    assert not resigned
    assert leader.core.sequencer.term == term


def test_one_voter_is_alone_with_its_clock() -> None:
    sim = reign(nodes=1)
    (node,) = sim.nodes.values()
    term = node.core.sequencer.term
    node.clock.wall_step_ms = 3_900_000
    sim.step(3 * LEASE_MS)
    assert sim.serving(node.id), "what it shows is the cluster's time"
    assert node.core.sequencer.term == term


@pytest.mark.parametrize("wrong_ms", [450, -450])
def test_a_permitted_offset_and_a_late_probe_are_no_reason(wrong_ms: int) -> None:
    sim = reign()
    node, _ = followers(sim)
    node.clock.wall_step_ms = wrong_ms
    sim.delay = lambda source, target, payload: 90 if node.id in (source, target) else None
    sim.step(2 * LEASE_MS)
    for _ in range(3_000):
        sim.step()
        assert sim.serving(node.id), sim.describe(node)


def test_a_late_probe_without_a_grant_is_no_reason_before_a_lease_has_passed() -> None:
    sim = reign()
    node, _ = followers(sim)
    sim.crash(node.id)
    sim.step(2 * LEASE_MS)
    node.clock.wall_step_ms = 450
    sim.start(node.id)
    sim.step(LEASE_MS)
    sim.delay = lambda source, target, payload: 90 if node.id in (source, target) else None
    refused = False
    for _ in range(600):
        sim.step()
        refused = refused or node.core.convergence.last_refusal is Refusal.CLOCK_APART
        assert standing(node).reason is not Reason.CLOCK_UNSAFE
    assert refused, "the probe was late"
    sim.delay = lambda source, target, payload: None
    sim.run_until(sim.all_serving, limit_ms=LEASE_MS)


def lying_to(sim: SimCluster, liar: SimNode, victim: SimNode) -> list[bytes]:
    """The leader shows the victim another probe than the rest, with the victim's own time; what the victim got."""
    shown: list[bytes] = []
    cluster = bytes.fromhex(sim.genesis.cluster_id)

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes:
        if (source, target, channel) != (liar.id, victim.id, CONVERGENCE_CHANNEL):
            return payload
        if decode_kind(payload) is not Kind.PROBE:
            return payload
        probe = Probe.decode(Signed.decode(payload, Kind.PROBE).body)
        private = msgspec.structs.replace(probe, wall=victim.clock.wall())
        key = liar.identity
        shown.append(sign(Kind.PROBE, private.encode(), signer=liar.id, cluster=cluster, signing=key.sign).encode())
        return shown[-1]

    sim.tap = tap
    return shown


def test_a_private_probe_with_the_wrong_time_gets_no_lease() -> None:
    sim = reign()
    victim, other = followers(sim)
    liar = sim.leader
    victim.clock.wall_step_ms = 3_900_000
    shown = lying_to(sim, liar, victim)
    sim.step(2 * LEASE_MS)
    answered = 0
    for _ in range(3_000):
        sim.step()
        answered += victim.core.convergence.last_refusal is None
        assert not sim.serving(victim.id), sim.describe(victim)
        assert sim.serving(other.id)
    assert shown
    assert answered > 1_000, "it answers the private probe; what it is handed was acked by others for another time"
    assert standing(victim).reason is Reason.CLOCK_UNSAFE


def test_a_voter_does_not_vouch_for_a_clock_that_is_not_its_own() -> None:
    """A quorum near the leader's clock stands behind each lease: with one voter that differs no other may be missing."""
    sim = reign()
    node, other = followers(sim)
    node.clock.wall_step_ms = 3_900_000
    sim.step(LEASE_MS)
    other.paused = True
    sim.step(2 * LEASE_MS)
    assert not any(sim.serving(name) for name in sim.nodes)
    other.paused = False
    sim.run_until(lambda: sim.serving(other.id), limit_ms=8_000)


def test_a_majority_that_was_ahead_and_was_set_back_waits_for_the_newest_entry() -> None:
    sim = reign()
    for node in sim.nodes.values():
        node.clock.wall_step_ms = 8_000
    sim.run_until(sim.all_serving)
    answers = sim.submit(sim.leader.id, sim.quarantine("c1"))
    sim.run_until(lambda: answers)
    for node in sim.nodes.values():
        node.clock.wall_step_ms = 0
    sim.step(3 * LEASE_MS)
    for node in sim.nodes.values():
        assert standing(node).reason is Reason.CLOCK_UNSAFE
    assert any("newest entry" in standing(node).message for node in sim.nodes.values())
    sim.run_until(sim.all_serving, limit_ms=12_000)


@pytest.mark.parametrize(
    "changes",
    [{"wall": None}, {"more": {"imports": {}}}, {"grants": {"node-9": bytes(32)}}],
    ids=["format 1", "an unknown statement", "a relay"],
)
def test_what_this_version_does_not_know_is_not_answered(changes: dict) -> None:
    sim = reign()
    node, other = followers(sim)
    liar = sim.leader
    cluster = bytes.fromhex(sim.genesis.cluster_id)

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes:
        if channel != CONVERGENCE_CHANNEL or source == target or decode_kind(payload) is not Kind.PROBE:
            return payload
        probe = msgspec.structs.replace(Probe.decode(Signed.decode(payload, Kind.PROBE).body), **changes)
        return sign(Kind.PROBE, probe.encode(), signer=source, cluster=cluster, signing=liar.identity.sign).encode()

    sim.tap = tap
    sim.step(LEASE_MS + 100)
    for follower in (node, other):
        assert follower.core.convergence.last_refusal is Refusal.FOREIGN
        assert standing(follower).reason is Reason.QUORUM_UNVERIFIABLE
        assert liar.id in standing(follower).message


def test_a_lease_whose_probe_says_what_this_version_does_not_know_is_not_taken(monkeypatch) -> None:
    sim = reign()
    taken = [node.core.convergence.certified_seq for node in sim.nodes.values()]
    monkeypatch.setattr(Probe, "foreign", property(lambda self: "it says `x`, which this version does not know"))
    sim.step(LEASE_MS)
    assert not any(sim.serving(name) for name in sim.nodes)
    assert [node.core.convergence.certified_seq for node in sim.nodes.values()] == taken


def test_the_wall_clock_is_that_of_the_signing() -> None:
    sim = reign()
    seen: list[tuple[WallMs, WallMs]] = []

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes:
        if channel == CONVERGENCE_CHANNEL and decode_kind(payload) is Kind.PROBE:
            probe = Probe.decode(Signed.decode(payload, Kind.PROBE).body)
            seen.append((probe.wall, sim.nodes[source].clock.wall()))
        return payload

    sim.tap = tap
    sim.step(LEASE_MS)
    assert seen
    assert all(said == true for said, true in seen)
