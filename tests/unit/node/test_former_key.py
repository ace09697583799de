"""A rotation whose other voters died while it was under way: the node itself certifies it, under both of its keys."""

from __future__ import annotations

import pytest
from changing_electorate import ChangingCluster
from simulation.arena import CONVERGENCE, kind_of

from govraft.adapters.node_key import NodeIdentity
from govraft.core.convergence.messages import Ack, Kind, Signed
from govraft.core.crypto.keys import verify


def slipped(seed: int = 0) -> tuple[ChangingCluster, str, str, NodeIdentity]:
    """One node dies for good in the moment in which another one's rotation is proposed, which then has its new key.

    Returns:
        The cluster, the node that stays as it is, the node that is rotated and stopped, and its new key.
    """
    sim = ChangingCluster(3, seed=seed)
    sim.run_until(sim.all_serving)
    leader = sim.leader.id
    rotated, gone = (name for name in sim.nodes if name != leader)
    heir = NodeIdentity.create(rotated)
    sim.crash(gone)
    sim.submit(leader, sim.rotate(rotated, heir))
    sim.run_until(lambda: sim.core(rotated).epochs.uncertified is not None)
    sim.step(2_000)
    assert sim.core(leader).epochs.uncertified is not None
    assert not sim.serving(leader) and not sim.serving(rotated)
    sim.crash(rotated)
    return sim, leader, rotated, heir


def begin_with(sim: ChangingCluster, name: str, key: NodeIdentity, former: NodeIdentity | None) -> None:
    sim.nodes[name].identity, sim.nodes[name].former = key, former
    sim.start(name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("restarts", [False, True], ids=["the other one stays", "the other one restarts"])
def test_a_node_with_both_keys_certifies_its_own_rotation(seed, restarts):
    sim, stays, rotated, heir = slipped(seed)
    if restarts:
        # Nobody leads then: it must vote, too.
        sim.crash(stays)
        sim.start(stays)
    begin_with(sim, rotated, heir, sim.nodes[rotated].identity)
    sim.run_until(lambda: sim.serving(stays) and sim.serving(rotated), limit_ms=15_000)
    assert sim.epoch(stays) == sim.epoch(rotated) == 2


@pytest.mark.parametrize("key", ["old", "new"])
def test_neither_key_alone_does(key):
    sim, stays, rotated, heir = slipped()
    begin_with(sim, rotated, heir if key == "new" else sim.nodes[rotated].identity, None)
    sim.step(10_000)
    assert sim.epoch(stays) == 1
    assert not sim.serving(stays) and not sim.serving(rotated)


def test_the_old_key_signs_the_change_and_nothing_else():
    sim, stays, rotated, heir = slipped()
    old = sim.nodes[rotated].identity
    cluster = bytes.fromhex(sim.genesis.cluster_id)
    said: list[tuple[int, bytes]] = []
    before = sim.tap

    def tap(source, target, channel, payload):
        if source == rotated and channel == CONVERGENCE and kind_of(payload) == "ack":
            signed = Signed.decode(payload, Kind.ACK)
            key = next(
                item.public_key
                for item in (old, heir)
                if verify(item.public_key, signed.signature, signed.message(cluster))
            )
            said.append((Ack.decode(signed.body).seq, key))
        return before(source, target, channel, payload)

    sim.tap = tap
    begin_with(sim, rotated, heir, old)
    change = sim.core(stays).epochs.uncertified
    sim.run_until(lambda: sim.serving(stays) and sim.serving(rotated), limit_ms=15_000)
    answers = sim.submit(stays, sim.quarantine("later"))
    sim.run_until(lambda: answers)
    assert answers[0]["certified_seq"] > change
    assert {seq for seq, key in said if key == old.public_key} == {change}
    assert {seq for seq, key in said if key == heir.public_key} > {change}


def test_a_key_that_is_not_the_former_one_signs_nothing():
    sim, stays, rotated, heir = slipped()
    begin_with(sim, rotated, heir, NodeIdentity.create(rotated))
    sim.step(5_000)
    assert sim.epoch(stays) == 1
    assert sim.core(stays).convergence.rejected_messages == 0
