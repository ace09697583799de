"""Who signed two roots for one seq stays convicted, by evidence that a stranger can verify."""

from __future__ import annotations

from permit_cluster import PermitCluster

from govraft.core.codec.note import Checkpoint, cosigned_message
from govraft.core.convergence.messages import Ack, Kind, Signed, decode_kind, sign
from govraft.core.evidence.equivocation import encode_equivocation_file, prove_equivocation
from govraft.node.evidence_reads import evidence_reads

CONVERGENCE = 2


def equivocating(sim: PermitCluster, liar: str):
    """A tap: the liar's acks to the leader name another root, every other time."""
    identity, count = sim.nodes[liar].identity, iter(range(10**9))

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        if channel != CONVERGENCE or source != liar or decode_kind(payload) is not Kind.ACK or next(count) % 2:
            return payload
        ack = Ack.decode(Signed.decode(payload, Kind.ACK).body)
        body = Checkpoint(sim.genesis.origin, ack.seq, bytes(32)).encode()
        cosignature = identity.sign(cosigned_message(body, ack.time_s))
        fields = {name: getattr(ack, name) for name in ack.__struct_fields__}
        forged = Ack(**(fields | {"root": bytes(32), "cosignature": cosignature}))
        cluster = bytes.fromhex(sim.genesis.cluster_id)
        return sign(Kind.ACK, forged.encode(), signer=liar, cluster=cluster, signing=identity.sign).encode()

    return tap


def test_evidence_is_kept_across_restarts_and_convinces_a_stranger() -> None:
    sim = PermitCluster()
    leader = sim.leader.id
    liar = next(name for name in sim.nodes if name != leader)
    sim.tap = equivocating(sim, liar)
    core = sim.core(leader)
    sim.run_until(lambda: core.convergence.witness.equivocators)
    assert len(sim.nodes[leader].disk.equivocations) == 1
    sim.tap = lambda source, target, channel, payload: payload
    sim.crash(leader)
    sim.start(leader)
    (found,) = evidence_reads(sim.core(leader))["evidence"]({})["equivocations"]
    assert found["node"] == liar
    assert set(sim.core(leader).convergence.witness.equivocators) == {liar}
    file = encode_equivocation_file(found["first"], found["second"], cluster=sim.genesis.cluster_id, links=[])
    proven = prove_equivocation(file, sim.genesis)
    assert proven.member == sim.genesis.electorate().find(liar)
    assert bytes(32) in proven.roots
