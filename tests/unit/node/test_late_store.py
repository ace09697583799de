"""A voter whose store is lost, and made again by `create-store`: it must not help to certify a second history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from changing_electorate import ChangingCluster
from sim_cluster import Disk, SimCluster
from simulation.arena import CONVERGENCE, RAFT, kind_of

from govraft.core.convergence.acked_messages import AckedAnswer
from govraft.core.convergence.cosigner import Refusal
from govraft.core.convergence.messages import Ack, Kind, Lease, Signed, sign
from govraft.core.model.electorate import QuorumRule
from govraft.node.isolation import isolation_view
from govraft.node.late_store import OLDER_THAN_OWN_SIGNATURES, enough

ROOT = b"\x07" * 32


def node(number: int) -> str:
    return f"node-{number}"


def late(sim: SimCluster, number: int) -> bool:
    return sim.nodes[node(number)].core.convergence.cosigner.is_late


def isolation(sim: SimCluster, number: int) -> Any:
    return sim.nodes[node(number)].core.convergence.isolation


def acked(sim: SimCluster, number: int) -> int:
    record = sim.nodes[node(number)].core.convergence.cosigner.acked
    return 0 if record is None else record.seq


def waits_for(sim: SimCluster, number: int) -> str:
    return sim.nodes[node(number)].core.convergence.late_store.waits_for


def running(nodes: int = 3, **options: Any) -> SimCluster:
    sim = SimCluster(nodes, **options)
    sim.step_ms = 5
    sim.run_until(sim.all_serving)
    return sim


def effective(sim: SimCluster, name: str, via: str) -> int:
    """Submit a command and wait until it is effective; gives its seq."""
    answers = sim.submit(via, sim.quarantine(name))
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], dict), answers
    sim.step(50)
    return answers[0]["seq"]


def lose(sim: SimCluster, name: str) -> None:
    """Lose a store; it is down until no lease carries its acks any more."""
    sim.lose_store(name)
    sim.step(1_100)


def shown_to_nobody(sim: SimCluster) -> None:
    """From now on nobody shows an ack to the one who signed it, as if all that saw it had been restarted."""

    def forget(answer: AckedAnswer) -> AckedAnswer:
        return msgspec.structs.replace(answer, shown=b"")

    rewrite(sim, forget)


def rewrite(
    sim: SimCluster, change: Callable[[AckedAnswer], AckedAnswer], *, source: str | None = None, to: str | None = None
) -> None:
    """Let members answer something else, under their own signature."""
    before, cluster = sim.tap, bytes.fromhex(sim.genesis.cluster_id)

    def tap(sender: str, target: str, channel: int, payload: bytes) -> bytes | None:
        payload = before(sender, target, channel, payload)
        chosen = source in (None, sender) and to in (None, target)
        if payload is None or channel != CONVERGENCE or kind_of(payload) != "acked" or not chosen:
            return payload
        answer = change(AckedAnswer.decode(Signed.decode(payload, Kind.ACKED).body))
        signing = sim.nodes[sender].identity.sign
        return sign(Kind.ACKED, answer.encode(), signer=sender, cluster=cluster, signing=signing).encode()

    sim.tap = tap


def votes_of(sim: SimCluster, name: str) -> list[str]:
    """The kinds of Raft frames that a node sends from now on."""
    from govraft.adapters.engine.frames import decode_frame

    found: list[str] = []
    before = sim.tap

    def tap(sender: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if sender == name and channel == RAFT:
            found.append(type(decode_frame(payload)).__name__)
        return before(sender, target, channel, payload)

    sim.tap = tap
    return found


@pytest.mark.parametrize(
    ("voters", "rule", "needed"),
    [
        (2, QuorumRule.MAJORITY, 1),
        (3, QuorumRule.MAJORITY, 2),
        (4, QuorumRule.MAJORITY, 2),
        (5, QuorumRule.MAJORITY, 3),
        (4, QuorumRule.BYZANTINE, 3),
        (7, QuorumRule.BYZANTINE, 5),
        (9, QuorumRule.BYZANTINE, 5),
    ],
)
def test_how_many_others_must_answer(voters: int, rule: QuorumRule, needed: int) -> None:
    """n - q + 1, by the byzantine rule ⌊(n-1)/3⌋ more; always to be had among the others."""
    electorate = SimCluster(1).genesis.electorate()
    member = electorate.members[0]
    members = tuple(msgspec.structs.replace(member, id=f"n{place}") for place in range(voters))
    made = msgspec.structs.replace(electorate, members=members, rule=rule)
    assert enough(made) == needed <= voters - 1


def lost_after_a_lease_that_one_missed(*, shown: bool) -> tuple[SimCluster, int]:
    """Of five, 1, 2 and 3 certify a seq, and the lease to 2 is lost; then 3 is wiped, and 1 cut off.

    2, 4 and 5 never saw 3 sign: only the leader of a round sees an ack.
    """
    sim = running(5)
    sim.run_until(lambda: sim.leader is not None)
    leader = sim.leader.id
    others = [name for name in sim.nodes if name != leader]
    second, third, *rest = others
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        is_lost = target in rest or source in rest or (target == second and kind_of(payload) == "lease")
        return None if is_lost and source != target else before(source, target, channel, payload)

    sim.tap = tap
    answers = sim.submit(leader, sim.quarantine("stop"))
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], dict), answers
    seq = answers[0]["seq"]
    sim.tap = before
    sim.crash(leader)
    sim.crash(third)
    assert max(acked(sim, int(name[-1])) for name in rest) < seq == acked(sim, int(second[-1]))
    lose(sim, third)
    if not shown:
        shown_to_nobody(sim)
    sim.start(third)
    sim.third, sim.second, sim.rest, sim.first = third, second, rest, leader
    return sim, seq


def test_a_lost_store_learns_its_floor_from_whoever_acked() -> None:
    """wan-5 of the design: 2 alone of those that answer has acked the seq, and names it."""
    sim, seq = lost_after_a_lease_that_one_missed(shown=False)
    third = int(sim.third[-1])
    frames = votes_of(sim, sim.third)
    sim.run_until(lambda: not late(sim, third))
    assert acked(sim, third) >= seq
    assert "ResponseVote" not in frames
    sim.run_until(lambda: all(sim.serving(name) for name in (sim.second, sim.third, *sim.rest)))
    assert sim.nodes[sim.third].core.machine.seq >= seq
    assert sim.nodes[sim.third].disk.cosigner.seq >= seq


def test_without_whoever_acked_the_store_stays_late() -> None:
    """With 1 and 2 both away too few others are left to tell."""
    sim, _ = lost_after_a_lease_that_one_missed(shown=False)
    sim.crash(sim.second)
    sim.step(8_000)
    third = int(sim.third[-1])
    assert late(sim, third)
    assert "2 of 3 other voters" in waits_for(sim, third)
    assert not any(sim.serving(name) for name in (sim.third, *sim.rest))
    sim.start(sim.second)
    sim.run_until(lambda: not late(sim, third))


def test_a_late_node_serves_acks_and_votes_nothing() -> None:
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    sim.start("node-3")
    sim.crash("node-1")
    frames = votes_of(sim, "node-3")
    sim.step(5_000)
    assert late(sim, 3)
    assert not sim.serving("node-3")
    assert sim.leader is None, "the only other voter would need its vote"
    assert not {"ResponseVote", "RequestVote", "PreVote", "PreVoteResponse"} & set(frames)
    assert sim.nodes["node-3"].disk.cosigner is None
    sim.start("node-1")
    sim.run_until(sim.all_serving)


def test_it_is_silent_until_the_grants_of_its_earlier_life_are_over() -> None:
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    sent: list[int] = []
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if source == "node-3" and (channel == RAFT or kind_of(payload) in ("ack", "acked_request")):
            sent.append(sim.now_ns)
        return before(source, target, channel, payload)

    sim.tap = tap
    sim.start("node-3")
    began = sim.now_ns
    sim.run_until(sim.all_serving)
    assert min(sent) - began >= 1_010 * 10**6


def test_two_of_three_lost_stores_certify_no_second_history() -> None:
    """Both together knew all; the third, which has the true history, need not even be cut off."""
    sim = running()
    seq = effective(sim, "stop", "node-1")
    shown_to_nobody(sim)
    for number in (2, 3):
        lose(sim, node(number))
    for number in (2, 3):
        sim.start(node(number))
    sim.partition("node-1")
    sim.step(6_000)
    assert late(sim, 2)
    assert late(sim, 3)
    assert "1 of 2" not in waits_for(sim, 2)
    sim.heal()
    sim.step(6_000)
    assert f"others have acked seq {acked(sim, 1)}" in waits_for(sim, 2)
    assert late(sim, 3)
    assert sim.nodes["node-2"].core.machine.seq < seq
    assert isolation(sim, 1) is None


def test_two_lost_stores_do_not_vouch_for_each_other() -> None:
    """Of five, 1, 2 and 3 certify; 2 and 3 are wiped while 1 is cut off: 4 and 5 know of nothing, nor do 2 and 3."""
    sim, seq = lost_after_a_lease_that_one_missed(shown=False)
    second, third = int(sim.second[-1]), int(sim.third[-1])
    lose(sim, sim.second)
    sim.start(sim.second)
    sim.step(8_000)
    assert late(sim, second)
    assert late(sim, third)
    assert "2 of 3" in waits_for(sim, third)
    assert not any(sim.serving(name) for name in sim.rest)
    sim.start(sim.first)
    sim.run_until(lambda: all(sim.serving(name) for name in (sim.first, *sim.rest)))
    assert sim.nodes[sim.first].core.machine.seq >= seq
    sim.run_until(sim.all_serving)


def test_three_stores_all_made_again_come_up() -> None:
    sim = SimCluster(3)
    sim.step_ms = 5
    for name in sim.nodes:
        sim.lose_store(name)
    sim.start("node-1")
    sim.start("node-2")
    sim.step(4_000)
    assert late(sim, 1)
    assert "0 of 2" in waits_for(sim, 1)
    sim.start("node-3")
    sim.run_until(sim.all_serving)
    assert not any(late(sim, number) for number in (1, 2, 3))


def test_one_late_founder_of_a_new_cluster_comes_up() -> None:
    sim = SimCluster(3)
    sim.step_ms = 5
    lose(sim, "node-3")
    sim.start("node-3")
    sim.run_until(sim.all_serving)


def test_nothing_is_acked_below_the_floor() -> None:
    sim = running()
    seq = effective(sim, "stop", "node-1")
    lose(sim, "node-3")
    shown_to_nobody(sim)
    sim.start("node-3")
    sim.run_until(lambda: not late(sim, 3))
    floor = sim.nodes["node-3"].core.convergence.cosigner.acked
    assert floor.seq >= seq
    assert floor.root == sim.nodes["node-1"].core.machine.lineage.root(floor.seq)
    # Durable with the end of lateness, before anything is acked.
    sim.run_until(lambda: not sim.nodes["node-3"].disk.progress.late)
    sim.crash("node-3")
    sim.start("node-3")
    assert not late(sim, 3)
    assert acked(sim, 3) >= seq
    sim.run_until(sim.all_serving)


def test_the_floor_waits_for_the_lineage() -> None:
    """A liar that names a seq which nobody has keeps the store late, and is told apart by its number only."""
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    rewrite(sim, lambda answer: msgspec.structs.replace(answer, seq=1_000, root=ROOT), source="node-2")
    sim.start("node-3")
    sim.step(5_000)
    assert late(sim, 3)
    assert "others have acked seq 1000" in waits_for(sim, 3)


def test_a_root_that_differs_keeps_the_store_late() -> None:
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    is_lying = [True]
    rewrite(
        sim,
        lambda answer: msgspec.structs.replace(answer, root=ROOT) if is_lying and answer.seq else answer,
        source="node-2",
    )
    sim.start("node-3")
    sim.step(5_000)
    assert late(sim, 3)
    assert isolation(sim, 3) is None
    assert "`node-2` named another root" in waits_for(sim, 3)
    view = sim.nodes["node-3"].core.convergence.late_store.status()
    assert view["contradicted_by"] == ["node-2"]
    is_lying.clear()
    sim.run_until(sim.all_serving)
    assert sim.nodes["node-3"].core.convergence.late_store.status() is None


def test_an_answer_to_an_earlier_life_is_ignored() -> None:
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    rewrite(sim, lambda answer: msgspec.structs.replace(answer, nonce=bytes(16)), source="node-2")
    sim.start("node-3")
    sim.step(5_000)
    assert late(sim, 3)
    assert "1 of 2" in waits_for(sim, 3)


def test_too_few_answers_settle_nothing() -> None:
    sim = running(4)
    for number in (1, 2):
        sim.crash(node(number))
    lose(sim, "node-4")
    shown_to_nobody(sim)
    sim.start("node-4")
    sim.step(5_000)
    assert late(sim, 4)
    assert "1 of 2" in waits_for(sim, 4)


def test_an_own_signature_above_the_record_mutes() -> None:
    """The store is new, and somebody still has what its key signed: it is lost for good, and says so."""
    sim = running()
    seq = effective(sim, "stop", "node-1")
    lose(sim, "node-3")
    sim.start("node-3")
    sim.run_until(lambda: isolation(sim, 3) is not None)
    record = isolation(sim, 3)
    assert record.reason == OLDER_THAN_OWN_SIGNATURES
    assert "member replace" in record.detail
    view = isolation_view(record)
    assert (view["received"]["kind"], view["received"]["seq"]) == ("ack", seq)
    assert not view["two_histories"]
    standing = sim.nodes["node-3"].core.gate.standing()
    assert standing.lease is None
    assert OLDER_THAN_OWN_SIGNATURES in standing.message
    sim.step(200)
    sim.crash("node-3")
    sim.start("node-3")
    sim.step(4_000)
    assert isolation(sim, 3) == record, "for good"
    assert all(sim.serving(name) for name in ("node-1", "node-2"))


def old_store(sim: SimCluster, number: int) -> None:
    """Put a node back to the store of its first day, as a restored image does; it is down afterwards."""
    sim.crash(node(number))
    fresh = Disk()
    fresh.ran = True
    sim.nodes[node(number)].disk = fresh
    sim.step(1_100)


def test_an_old_store_is_found_out_at_its_start() -> None:
    sim = running()
    seq = effective(sim, "stop", "node-1")
    old_store(sim, 3)
    sim.start("node-3")
    sim.run_until(lambda: isolation(sim, 3) is not None, limit_ms=200)
    assert isolation(sim, 3).reason == OLDER_THAN_OWN_SIGNATURES
    assert isolation_view(isolation(sim, 3))["received"]["seq"] == seq


def test_a_lease_with_an_own_ack_that_is_news_mutes() -> None:
    """A second process under one key is found out by what the first one signs."""
    sim = running()
    sim.step(300)
    convergence = sim.nodes["node-3"].core.convergence
    leases: list[bytes] = []
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel == CONVERGENCE and kind_of(payload) == "lease":
            acks = Lease.decode(Signed.decode(payload, Kind.LEASE).body).acks
            if any(item.signer == "node-3" for item in acks):
                leases.append(payload)
        return before(source, target, channel, payload)

    sim.tap = tap
    effective(sim, "stop", "node-1")
    sim.run_until(lambda: leases)
    lease = Lease.decode(Signed.decode(leases[-1], Kind.LEASE).body)
    own = next(item for item in lease.acks if item.signer == "node-3")
    seq = Ack.decode(own.body).seq
    convergence.cosigner.acked = None
    forgotten = convergence.late_store.take_lease(lease.acks, seq)
    assert forgotten is not None
    assert forgotten.seq == seq


def test_a_claim_without_a_signature_does_nothing() -> None:
    """Neither somebody else's ack, nor a forged one, nor rubbish, nor a seq that is named."""
    sim = running()
    seq = effective(sim, "stop", "node-1")
    sim.step(300)
    stranger = sim.nodes["node-2"].identity.sign
    cluster = bytes.fromhex(sim.genesis.cluster_id)
    ack = Ack(b"\x01" * 32, 1, seq + 5, ROOT, "node-3", bytes(16), (), 0, bytes(64))
    forged = sign(Kind.ACK, ack.encode(), signer="node-3", cluster=cluster, signing=stranger).encode()
    others = sim.nodes["node-1"].core.convergence.late_store.seen.of("node-2")
    for shown in (forged, others, b"rubbish"):
        rewrite(
            sim,
            lambda answer, shown=shown: msgspec.structs.replace(answer, seq=seq + 5, root=ROOT, shown=shown),
            to="node-3",
        )
        sim.crash("node-3")
        sim.start("node-3")
        sim.run_until(sim.all_serving)
        assert isolation(sim, 3) is None


def test_silence_does_not_mute_a_store_that_is_not_late() -> None:
    sim = running()
    sim.crash("node-1")
    sim.crash("node-3")
    before = sim.tap
    sim.tap = lambda source, target, channel, payload: (
        None if kind_of(payload) in ("acked", "acked_request") else before(source, target, channel, payload)
    )
    sim.start("node-3")
    sim.run_until(lambda: sim.serving("node-2") and sim.serving("node-3"))


def test_a_late_observer_asks_too() -> None:
    """It does not count, but others wait for its word that it has moved on."""
    sim = running(4, observers=("node-4",))
    seq = effective(sim, "stop", "node-1")
    lose(sim, "node-4")
    shown_to_nobody(sim)
    sim.start("node-4")
    sim.run_until(lambda: not late(sim, 4))
    assert acked(sim, 4) >= seq
    sim.run_until(sim.all_serving)


def test_observers_do_not_count() -> None:
    sim = running(5, observers=("node-4", "node-5"))
    sim.crash("node-1")
    lose(sim, "node-3")
    shown_to_nobody(sim)
    sim.start("node-3")
    sim.step(5_000)
    assert late(sim, 3)
    assert "1 of 2" in waits_for(sim, 3)


def test_a_late_node_is_refused_by_name() -> None:
    sim = running()
    lose(sim, "node-3")
    shown_to_nobody(sim)
    sim.start("node-3")
    sim.nodes["node-3"].core.convergence.late_store.turn = lambda now, effects: False
    sim.run_until(lambda: sim.nodes["node-3"].core.convergence.last_refusal is Refusal.LATE)


def changing(lost: list[str]) -> ChangingCluster:
    """Five voters, of whom one is removed; two of the four that stay lose their stores before they certify that."""
    sim = ChangingCluster(5)
    sim.step_ms = 5
    sim.run_until(sim.all_serving)
    others = [name for name in sim.nodes if name != sim.leader.id]
    lost += others[:2]
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        is_ack = channel == CONVERGENCE and kind_of(payload) == "ack"
        return None if is_ack and source in lost else before(source, target, channel, payload)

    sim.tap = tap
    sim.submit(sim.leader.id, sim.remove(others[2]))
    sim.run_until(lambda: sim.leader.core.epochs.uncertified is not None)
    sim.step(100)
    for name in lost:
        sim.lose_store(name)
    sim.tap = before
    shown_to_nobody(sim)
    sim.step(1_100)
    for name in lost:
        sim.start(name)
    return sim


def test_a_change_that_late_stores_must_certify() -> None:
    lost: list[str] = []
    sim = changing(lost)
    sim.run_until(lambda: all(sim.serving(name) for name in lost), limit_ms=15_000)
    assert {sim.epoch(name) for name in lost} == {2}


def test_the_voters_after_a_change_count() -> None:
    """Those before it are asked as well: an answer is missing that both need."""
    lost: list[str] = []
    sim = changing(lost)
    leader = sim.leader.id
    after = sim.core(leader).epochs.waiting[0].electorate
    (whole,) = (voter.id for voter in after.voters if voter.id not in (*lost, leader))
    before = sim.tap

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        is_told = channel == CONVERGENCE and kind_of(payload) == "acked"
        return None if is_told and source == whole else before(source, target, channel, payload)

    sim.tap = tap
    sim.step(5_000)
    assert all(sim.core(name).convergence.cosigner.is_late for name in lost)
    assert "2 of 3 other voters" in sim.core(lost[0]).convergence.late_store.waits_for
    sim.tap = before
    sim.run_until(lambda: all(sim.serving(name) for name in lost), limit_ms=15_000)
