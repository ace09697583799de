"""Spoiled frames of an authenticated member, fed to a whole node: no crash, no growth, no certificate, no allow."""

import random
import tracemalloc

import pytest
from sim_cluster import SimCluster

from govraft.core.model.commands import Quarantine, TargetKind
from govraft.node.convergence import CONVERGENCE_CHANNEL
from govraft.node.core import RAFT_CHANNEL
from govraft.node.submissions import SUBMISSION_CHANNEL

INPUTS = {CONVERGENCE_CHANNEL: 40_000, SUBMISSION_CHANNEL: 30_000, RAFT_CHANNEL: 40_000}


def spoil(rng: random.Random, frame: bytes, other: bytes) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return frame[: rng.randrange(len(frame))]
    if kind == 2:
        return frame + rng.randbytes(rng.randrange(1, 50))
    if kind == 3:
        cut = rng.randrange(len(frame))
        return frame[:cut] + other[rng.randrange(len(other)) :]
    spoiled = bytearray(frame)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def recorded() -> tuple[SimCluster, dict[int, list[bytes]]]:
    """A serving cluster, and the frames that made it so."""
    sim = SimCluster(seed=3)
    frames: dict[int, list[bytes]] = {}

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes:
        if source != target:
            frames.setdefault(channel, []).append(payload)
        return payload

    sim.tap = tap
    sim.run_until(sim.all_serving)
    for number, name in enumerate(sim.nodes):
        command = Quarantine(
            cluster=sim.genesis.cluster_id,
            command_id=f"c{number}",
            not_after=sim.nodes[name].clock.wall() + 60_000,
            kind=TargetKind.SUBJECT,
            id=f'Agent::"{number}"',
            reason="test",
        )
        answers = sim.submit(name, sim.envelope(command, "operator-1"))
        sim.run_until(lambda answers=answers: answers)
    return sim, frames


@pytest.mark.parametrize("channel", INPUTS)
def test_spoiled_frames_change_nothing(channel):
    rng = random.Random(channel)
    sim, frames = recorded()
    leader = sim.leader.id
    victim = next(node for node in sim.nodes.values() if node.id != leader)
    core = victim.core
    before = (core.machine.seq, core.machine.root, core.convergence.certified_seq)
    sim.partition(victim.id)
    # A grant that was made before the cut may still arrive whole; wait until it could not count any more.
    sim.step(1_200)
    assert not sim.serving(victim.id)
    pool = frames[channel]
    tracemalloc.start()
    try:
        for number in range(INPUTS[channel]):
            if number == INPUTS[channel] // 2:
                held, _ = tracemalloc.get_traced_memory()
            core.on_frame(leader, channel, spoil(rng, rng.choice(pool), rng.choice(pool)))
            if number % 50 == 0:
                core.settle()
                core.take_effects()
        grown = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()
    assert grown < 4 * 1024 * 1024
    assert not sim.serving(victim.id)
    if channel != RAFT_CHANNEL:
        # Raft orders what an authenticated member says; the others decide, and they were given nothing that holds.
        assert (core.machine.seq, core.machine.root, core.convergence.certified_seq) == before
        assert core.convergence.isolation is None
        assert core.convergence.rejected_messages > INPUTS[channel] // 2 or channel == SUBMISSION_CHANNEL
        sim.heal()
        sim.run_until(sim.all_serving)
