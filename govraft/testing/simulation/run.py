"""One seed from its beginning to its verdict."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import msgspec

from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.testing.checkers import judge
from govraft.testing.history import Event, Lineage
from govraft.testing.simulation.clients import Clients
from govraft.testing.simulation.faults import CRASH_POINTS, FaultMachine
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.misbehaviour import LIES
from govraft.testing.simulation.permit_clients import PermitClients
from govraft.testing.simulation.plan import Plan
from govraft.testing.simulation.registrar import Registrar
from govraft.testing.simulation.watcher import Finding
from govraft.testing.simulation.world import World

__all__ = ["Outcome", "simulate"]

NEEDS_CLOCKS = frozenset({"stale_allow", "linearizability"})
"""What is promised only while the clocks keep their bounds."""
HEALING_LEASES = 14
HEALING_MS = 6_000
LOOK_EVERY_MS = 50


class Outcome(msgspec.Struct, frozen=True):
    """What came of one seed.

    Attributes:
        findings: Broken rules; empty is what everybody hopes for.
        trace: Digest over all events.
        simulated_s, real_s: Simulated time, and the processor's time that it took.
        permits: How many left a node.
        changes: How many changes of the electorate were certified.
        faults: How often each kind happened.
        endings: `(node, code, message)` of each node that stopped of itself or refused to start.
        isolated: Nodes that isolated themselves.
        history: All events, for other checkers.
    """

    seed: int
    profile: str
    findings: tuple[Finding, ...]
    trace: str
    events: int
    simulated_s: float
    real_s: float
    nodes: int
    checks: int
    allows: int
    commands: int
    effective: int
    certificates: int
    certified_seq: int
    looks: int
    late_frames: int
    permits: int
    changes: int
    snapshots: int
    faults: dict[str, int]
    endings: tuple[tuple[str, str, str], ...]
    isolated: tuple[str, ...]
    history: Sequence[Event]


def simulate(plan: Plan, *, show: bool = False, keep_history: bool = True, world: World | None = None) -> Outcome:
    """Run one plan.

    Args:
        plan: From `draw_plan`, perhaps with faults left out.
        show: Print every event.
        keep_history: Whether the outcome carries it.
        world: To run in, if it has been prepared.
    """
    began = time.process_time()
    world = World(plan) if world is None else world
    if show:
        world.trace.show = print
    clients = Clients(world)
    permits = PermitClients(world, clients)
    faults = FaultMachine(world, Registrar(world, clients), clients)
    world.start_all()
    clients.begin()
    permits.begin()
    faults.begin()
    world.run(plan.configuration.seconds * 1_000)
    clients.close()
    permits.close()
    faults.heal()
    _settle(world, faults)
    clients.finish()
    world.history.extend(_lineage(world, name) for name in world.cast.names)
    watcher = world.watcher
    for host in world.hosts.values():
        watcher.permits.end(host)
    _judge(world)
    return Outcome(
        seed=plan.configuration.seed,
        profile=plan.configuration.profile,
        findings=tuple(watcher.findings),
        trace=world.trace.digest,
        events=world.trace.count,
        simulated_s=world.now / 1e9,
        real_s=time.process_time() - began,
        nodes=len(world.hosts),
        checks=clients.checks,
        allows=clients.allows,
        commands=clients.commands,
        effective=clients.effective,
        certificates=watcher.certificates,
        certified_seq=watcher.certified_seq,
        looks=watcher.looks,
        late_frames=world.network.late,
        permits=permits.granted,
        changes=watcher.chain.changes,
        faults=_happened(world, faults),
        endings=tuple(watcher.endings),
        isolated=tuple(sorted(watcher.isolated)),
        snapshots=world.snapshots,
        history=world.history if keep_history else (),
    )


def _happened(world: World, faults: FaultMachine) -> dict[str, int]:
    """How often each kind happened. A crash point never passed and a lie never told did not happen."""
    counts = dict(faults.counts)
    for point in (*CRASH_POINTS, "crash_in_start"):
        if point in counts:
            counts[point] = min(counts[point], world.moments.count(point))
    for lie in LIES:
        told = sum(liar.told.get(lie, 0) for liar in world.liars.values())
        if lie in counts:
            counts[lie] = min(counts[lie], told)
    return {kind: count for kind, count in counts.items() if count}


def _settle(world: World, faults: FaultMachine) -> None:
    """Everything is healed: within a bound all nodes serve one state, and nothing waits any more."""
    configuration = world.plan.configuration
    if configuration.profile == "misbehaviour":
        # Nobody promises that a cluster lives on whose engine lies.
        world.run(3 * configuration.lease_ms)
        return
    world.run(2 * configuration.heartbeat_ms)
    left = HEALING_LEASES * configuration.lease_ms + 4 * configuration.election_ms[1] + HEALING_MS
    while left > 0:
        world.run(LOOK_EVERY_MS)
        left -= LOOK_EVERY_MS
        faults.registrar.tidy()
        if faults.is_level(_expected(world)):
            break
    else:
        for host in _expected(world):
            world.watcher.find("not_live", host.name, _describe(host))
    if configuration.engine == "adversary" and world.distrusted:
        # Whoever holds another lineage learns it as soon as its links are up again.
        world.run(2_000 + 2 * configuration.heartbeat_ms)
    if world.network.waiting:
        world.watcher.find("not_drained", "", f"{world.network.waiting} frames still wait on links")


def _expected(world: World) -> list[Host]:
    """The members, but for those whose store is damaged or was lost for good, or whose engine was made to lie."""
    hosts = [world.hosts[member.id] for member in world.watcher.chain.newest.members]
    mute = {host.name for host in hosts if host.has_lost and host.name in world.watcher.isolated}
    return [host for host in hosts if not host.disk.damage and host.name not in world.distrusted | mute]


def _describe(host: Host) -> str:
    if host.core is None:
        return f"down: {host.endings[-1:]}"
    core, standing = host.core, host.core.gate.standing()
    why = "allow" if standing.lease else f"{standing.reason.value}: {standing.message}"
    return (
        f"seq {core.machine.seq}, certified {core.convergence.certified_seq}, leader {core.sequencer.leader_hint} in"
        f" term {core.sequencer.term}, {why}, {core.convergence.last_refusal}, idle {host.is_idle}"
    )


def _judge(world: World) -> None:
    """Let the checkers of histories have their say."""
    configuration, watcher = world.plan.configuration, world.watcher
    diverged = _diverged(world) if configuration.has_liar else set[str]()
    if configuration.engine == "adversary":
        # All links are whole again and the quorum has certified a later state: whoever differs knows it by now.
        for name in sorted(diverged - watcher.isolated):
            watcher.find("not_isolated", name, "holds another lineage than the certified one, and does not know it")
    # `_settle` has seen to liveness: it ran the cluster until it was live again, or complained.
    for violation in judge(world.history, distrusted=sorted(world.distrusted | diverged), all_certificates=True):
        if violation.property not in NEEDS_CLOCKS or configuration.is_fresh_promised:
            watcher.find(violation.property, "", violation.message)


def _diverged(world: World) -> set[str]:
    """Nodes whose own lineage is another than the certified one: led astray by an engine that lies.

    They may exist, as long as they never allow; the watcher sees to that at every moment.
    """
    found = set()
    for host in world.hosts.values():
        tree = MerkleTree()
        for seq, stored in enumerate(host.disk.leaves, 1):
            tree.append(stored.leaf)
            if world.watcher.roots.get(seq, b"") not in (b"", tree.root()):
                found.add(host.name)
                break
    return found


def _lineage(world: World, name: str) -> Lineage:
    leaves, commands = [], []
    for stored in world.hosts[name].disk.leaves:
        leaf = Leaf.decode(stored.leaf)
        leaves.append(hashlib.sha256(stored.leaf).hexdigest())
        command_id = "genesis" if leaf.seq == 1 else world.watcher.commands.get(leaf.entry_digest, "")
        commands.append((command_id, leaf.outcome))
    return Lineage(world.now, name, 1, tuple(leaves), tuple(commands))
