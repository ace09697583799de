"""Several whole nodes on one virtual clock, a lossy network, and disks that lose what was not synced.

`SimCluster` runs `NodeCore` with the real engine. Whoever wants to watch gives a `Watcher`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from govraft.adapters.engine.sequencer import PysyncobjSequencer
from govraft.adapters.engine.timing import EngineTiming
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.store_rules import Progress, advance
from govraft.core.codec.envelope import pae, seal
from govraft.core.convergence.cosigner import FormerKey
from govraft.core.crypto.keys import verify
from govraft.core.crypto.verification_cache import VerificationCache
from govraft.core.model.authority import Authority, Role
from govraft.core.model.commands import (
    Command,
    EntityFields,
    EntityPut,
    Quarantine,
    Release,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.core.model.electorate import Member, QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import ENGINE_WINDOW_ENTRIES, SNAPSHOT_ENTRIES
from govraft.core.model.rules import RULES_NEWEST
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.node.core import NodeCore, NodeSettings
from govraft.node.effects import Effects
from govraft.ports.store import (
    AddEpoch,
    AddEquivocation,
    AddLeaf,
    Append,
    HardState,
    JournalEntry,
    SetCosigner,
    SetHardState,
    SetIsolation,
    StoredEpoch,
    StoredEquivocation,
    StoredLeaf,
    StoredSnapshot,
    StoredState,
    TruncateFrom,
    WriteBatch,
)

WALL_START = 1_700_000_000_000
HEARTBEAT_MS = 100
LEASE_MS = 1000


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@dataclass
class Clock:
    """One node's view of the shared virtual time."""

    sim: Any
    rate: float = 1.0
    wall_step_ms: int = 0
    offset_ns: int = 0

    def boottime(self) -> BoottimeNs:
        return BoottimeNs(int(self.sim.now_ns * self.rate) + self.offset_ns)

    def wall(self) -> WallMs:
        return WallMs(WALL_START + self.sim.now_ns // NS_PER_MS + self.wall_step_ms)


class Disk:
    """Durable state of one node. A write takes effect whole, and only if it keeps the rules of every store."""

    def __init__(self, *, late: bool = False) -> None:
        self.journal: list = []
        self.hard_state = HardState()
        self.leaves: list[StoredLeaf] = []
        self.epochs: list[StoredEpoch] = []
        self.equivocations: list[StoredEquivocation] = []
        self.cosigner = None
        self.isolation = None
        self.ran = False
        self.progress = Progress(late=late)
        self.snapshot: bytes | None = None
        self.reads = 0

    def load(self) -> StoredState:
        ran, self.ran = self.ran, True
        snapshot = None if self.snapshot is None else StoredSnapshot(self.snapshot, "disk.snapshot")
        leaves = list(self.leaves)
        return StoredState(
            list(self.journal),
            self.hard_state,
            leaves,
            self.cosigner,
            self.isolation,
            ran,
            snapshot=snapshot,
            epochs=tuple(self.epochs),
            equivocations=tuple(self.equivocations),
            late=self.progress.late,
        )

    def read_journal(self, first: int, last: int) -> list[JournalEntry]:
        self.reads += 1
        return self.journal[first - 1 : last]

    def write(self, batch: WriteBatch) -> None:
        self.progress = advance(self.progress, batch)
        for op in batch.ops:
            if isinstance(op, Append):
                self.journal.append(op.entry)
            elif isinstance(op, TruncateFrom):
                self.journal = [entry for entry in self.journal if entry.index < op.index]
            elif isinstance(op, SetHardState):
                self.hard_state = op.hard_state
            elif isinstance(op, AddLeaf):
                self.leaves.append(StoredLeaf(op.index, op.leaf))
            elif isinstance(op, AddEpoch):
                self.epochs.append(op.epoch)
            elif isinstance(op, SetCosigner):
                self.cosigner = op.record
            elif isinstance(op, AddEquivocation):
                self.equivocations.append(op.evidence)
            elif isinstance(op, SetIsolation):
                self.isolation = self.isolation or op.record


class Watcher:
    """Sees everything, changes nothing."""

    def started(self, node: SimNode) -> None:
        """A node begins a life."""

    def look(self, node: SimNode) -> None:
        """A running node, after its turn or after time has passed."""


@dataclass
class SimNode:
    id: str
    identity: NodeIdentity
    clock: Clock
    former: NodeIdentity | None = None
    disk: Disk = field(default_factory=Disk)
    core: NodeCore | None = None
    paused: bool = False
    life: int = 0
    writing: tuple[int, Effects] | None = None

    @property
    def member_id(self) -> str:
        """What the node calls itself; a test may run two nodes of one id."""
        return self.id.partition("'")[0]


class Network:
    """Clock, queue of frames and durable writes; what a node is made of is for the subclass to say."""

    def __init__(self, *, seed: int = 0, watcher: Watcher | None = None) -> None:
        self.rng = random.Random(seed)
        self.now_ns = 10**9
        self.step_ms = 1
        self.delay_ms = (1, 3)
        self.loss = 0.0
        self.duplication = 0.0
        self.write_ms = (0, 0)
        self.early_send = False
        self.queue: list[tuple[int, int, str, str, int, bytes]] = []
        self.cut: set[tuple[str, str]] = set()
        self.counter = 0
        self.tap: Callable[[str, str, int, bytes], bytes | None] = lambda source, target, channel, payload: payload
        self.delay: Callable[[str, str, bytes], int | None] = lambda source, target, payload: None
        self.watcher = watcher or Watcher()
        self.nodes: dict[str, SimNode] = {}

    # Faults.

    def start(self, name: str) -> None:
        raise NotImplementedError

    def crash(self, name: str, *, lands: bool = False) -> None:
        """Kill a node. A write that is under way is lost, or lands without anybody having heard of it."""
        node = self.nodes[name]
        if node.writing is not None and lands:
            node.disk.write(node.writing[1].batch)
        node.core, node.writing, node.paused = None, None, False
        for other in self.nodes.values():
            if other.core is not None:
                other.core.on_link(name, up=False)

    def lose_store(self, name: str) -> None:
        """Wipe a node's disk, and make a store as `create-store` does; it is down afterwards."""
        self.crash(name)
        self.nodes[name].disk = Disk(late=True)

    def partition(self, *names: str) -> None:
        """Cut these nodes off from all others."""
        for name in names:
            for other in self.nodes:
                if other not in names:
                    self.sever(name, other)
                    self.sever(other, name)

    def sever(self, source: str, target: str) -> None:
        """Cut one direction of one link."""
        self.cut.add((source, target))
        core = self.nodes[source].core
        if core is not None:
            core.on_link(target, up=False)

    def heal(self) -> None:
        self.cut.clear()
        for node in self.nodes.values():
            for other in self.nodes.values():
                if node.core and other.core and node.id != other.id:
                    node.core.on_link(other.id, up=True, rules=RULES_NEWEST)

    # Time.

    def step(self, ms: int = 1) -> None:
        for _ in range(0, ms, self.step_ms):
            self.now_ns += self.step_ms * NS_PER_MS
            for node in self.nodes.values():
                self._look(node)
            self._deliver()
            for node in self.nodes.values():
                if node.core is not None and not node.paused:
                    self.turn(node)
                    self._look(node)

    def _look(self, node: SimNode) -> None:
        if node.core is not None and not node.paused:
            self.watcher.look(node)

    def _deliver(self) -> None:
        due = [item for item in self.queue if item[0] <= self.now_ns]
        self.queue = [item for item in self.queue if item[0] > self.now_ns]
        for _, number, source, target, channel, payload in sorted(due):
            node = self.nodes[target]
            if node.paused:
                self.queue.append((self.now_ns + NS_PER_MS, number, source, target, channel, payload))
            elif node.core is not None and (source, target) not in self.cut:
                node.core.on_frame(self.nodes[source].member_id, channel, payload)

    def turn(self, node: SimNode) -> None:
        """As the runtime does it: one write at a time, and nothing leaves before it is durable."""
        node.core.settle()
        if node.writing is not None:
            until, effects = node.writing
            if self.now_ns < until:
                if self.early_send:
                    self._send_early(node)
                return
            node.writing = None
            node.disk.write(effects.batch)
            self.release(node, effects)
        effects = node.core.take_effects()
        delay_ms = self.rng.randint(*self.write_ms)
        if effects.batch.is_empty or delay_ms == 0:
            node.disk.write(effects.batch)
            self.release(node, effects)
            return
        node.writing = (self.now_ns + delay_ms * NS_PER_MS, effects)
        if self.early_send:
            self._send_early(node)

    def _send_early(self, node: SimNode) -> None:
        """What a runtime that does not wait for its disk would do."""
        until, waiting = node.writing
        more = node.core.take_effects()
        waiting.batch._ops.extend(more.batch.ops)
        self.release(node, Effects(sends=waiting.sends + more.sends, after=waiting.after + more.after))
        node.writing = (until, Effects(batch=waiting.batch))

    def release(self, node: SimNode, effects: Effects) -> None:
        for send in effects.sends:
            self.send(node.id, send.peer, send.channel, send.payload)
            if send.told is not None:
                send.told((node.id, send.peer) not in self.cut)
        for call in effects.after:
            call()
        if effects.snapshot is not None:
            node.disk.snapshot = effects.snapshot.encode()

    def send(self, source: str, target: str, channel: int, payload: bytes) -> None:
        changed = self.tap(source, target, channel, payload)
        if changed is None or (source, target) in self.cut:
            return
        copies = 1
        if source != target:
            copies = 0 if self.rng.random() < self.loss else 1 + (self.rng.random() < self.duplication)
        for _ in range(copies):
            delay = self.delay(source, target, changed)
            if delay is None:
                delay = 0 if source == target else self.rng.randint(*self.delay_ms)
            self.counter += 1
            self.queue.append((self.now_ns + delay * NS_PER_MS, self.counter, source, target, channel, changed))

    def run_until(self, condition: Callable[[], object], *, limit_ms: int = 20_000) -> None:
        for _ in range(limit_ms):
            if condition():
                return
            self.step()
        raise AssertionError(f"not within {limit_ms} ms: " + str({n.id: self.describe(n) for n in self.nodes.values()}))

    def describe(self, node: SimNode) -> object:
        if node.core is None:
            return "down"
        standing = node.core.gate.standing()
        return (
            node.core.machine.seq,
            node.core.convergence.certified_seq,
            node.core.sequencer.leader_hint,
            node.core.sequencer.term,
            "allow" if standing.lease else (standing.reason.value, standing.message),
            node.core.convergence.last_refusal,
        )

    def serving(self, name: str) -> bool:
        core = self.nodes[name].core
        return core is not None and core.gate.standing().lease is not None

    def all_serving(self) -> bool:
        return all(self.serving(name) for name in self.nodes)


def make_genesis(
    identities: dict[str, NodeIdentity],
    authorities: dict[str, Ed25519PrivateKey],
    quorum: QuorumRule = QuorumRule.MAJORITY,
    *,
    observers: tuple[str, ...] = (),
) -> Genesis:
    members = tuple(
        Member(name, identity.public_key, identity.certificate, name not in observers, f"127.0.0.1:{7000 + place}")
        for place, (name, identity) in enumerate(sorted(identities.items()))
    )
    holders = tuple(Authority(name, raw(key), (Role(name.split("-")[0]),)) for name, key in sorted(authorities.items()))
    file = Genesis(
        version=1,
        name="sim",
        created=WallMs(WALL_START),
        nonce="00" * 16,
        quorum=quorum,
        lease_ms=LEASE_MS,
        clock_drift_max_ppm=10_000,
        clock_skew_max_ms=500,
        members=members,
        authorities=holders,
        thresholds={"root": 1, "policy": 1, "operator": 1},
        rules=RULES_NEWEST,
    )
    return Genesis.decode(file.encode())


class Signing:
    """Commands, signed by whom the genesis names."""

    authority_keys: dict[str, Ed25519PrivateKey]
    genesis: Genesis
    now_ns: int

    def header(self, command_id: str) -> dict[str, Any]:
        not_after = WALL_START + self.now_ns // NS_PER_MS + 3_600_000
        return {"cluster": self.genesis.cluster_id, "command_id": command_id, "not_after": not_after}

    def envelope(self, command: Command, *signers: str) -> bytes:
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        keys = [self.authority_keys[name] for name in signers]
        return seal(kind, payload, [(raw(key), key.sign(message)) for key in keys])

    def quarantine(self, command_id: str, target: str = "", *, kind: TargetKind = TargetKind.SUBJECT) -> bytes:
        """A signed command that works once."""
        target = target or f'Agent::"{command_id}"'
        command = Quarantine(**self.header(command_id), kind=kind, id=target, reason="test")
        return self.envelope(command, "operator-1")

    def quarantine_all(self, command_id: str, targets: list[str]) -> bytes:
        """A signed list of subjects."""
        named = tuple(sorted(targets))
        command = Quarantine(**self.header(command_id), kind=TargetKind.SUBJECT, targets=named, reason="test")
        return self.envelope(command, "operator-1")

    def lift(self, command_id: str, target: str) -> bytes:
        """A signed command that ends the quarantine of a subject."""
        command = Release(**self.header(command_id), kind=TargetKind.SUBJECT, id=target, reason="test")
        return self.envelope(command, "operator-1")

    def put(self, command_id: str, uid: str = 'Agent::"a"', parents: tuple[str, ...] = ()) -> bytes:
        """A signed command that would work each time, were it not for its id."""
        entities = (EntityFields(uid=uid, attrs={}, parents=parents),)
        return self.envelope(EntityPut(**self.header(command_id), entities=entities), "operator-1")


class SimCluster(Network, Signing):
    """Steps every node each millisecond; frames take `delay_ms`."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        seed: int = 0,
        quorum: QuorumRule = QuorumRule.MAJORITY,
        watcher: Watcher | None = None,
        snapshot_entries: int = SNAPSHOT_ENTRIES,
        window_entries: int = ENGINE_WINDOW_ENTRIES,
        observers: tuple[str, ...] = (),
    ) -> None:
        super().__init__(seed=seed, watcher=watcher)
        self.snapshot_entries, self.window_entries = snapshot_entries, window_entries
        self.authority_keys = {name: Ed25519PrivateKey.generate() for name in ("operator-1", "policy-1", "root-1")}
        names = [f"node-{place}" for place in range(1, nodes + 1)]
        self.nodes = {name: SimNode(name, NodeIdentity.create(name), Clock(self)) for name in names}
        identities = {name: node.identity for name, node in self.nodes.items()}
        self.genesis = make_genesis(identities, self.authority_keys, quorum, observers=observers)
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        node = self.nodes[name]
        node.life += 1
        rng = random.Random(self.rng.getrandbits(64))

        def make_sequencer(**given: Any) -> PysyncobjSequencer:
            return PysyncobjSequencer(
                node_id=name,
                timing=EngineTiming(0.1, 0.5, 1.0, LEASE_MS / 1000),
                monotonic=lambda: node.clock.boottime() / 1e9,
                rng=rng,
                read_journal=node.disk.read_journal,
                **given,
            )

        node.core = NodeCore(
            settings=NodeSettings(
                node_id=name,
                public_key=node.identity.public_key,
                heartbeat_ms=HEARTBEAT_MS,
                life=str(node.life),
                snapshot_entries=self.snapshot_entries,
                window_entries=self.window_entries,
            ),
            genesis=self.genesis,
            stored=node.disk.load(),
            signing=node.identity.sign,
            is_valid=VerificationCache(verify),
            clock=node.clock,
            entropy=rng.randbytes,
            make_sequencer=make_sequencer,
            former=None if node.former is None else FormerKey(node.former.public_key, node.former.sign),
        )
        self.watcher.started(node)
        for other in self.nodes.values():
            if other.id != name:
                if (name, other.id) not in self.cut:
                    node.core.on_link(other.id, up=True, rules=RULES_NEWEST)
                if other.core is not None and (other.id, name) not in self.cut:
                    other.core.on_link(name, up=True, rules=RULES_NEWEST)

    @property
    def leader(self) -> SimNode | None:
        leaders = [n for n in self.nodes.values() if n.core and n.core.sequencer.is_leader]
        return max(leaders, key=lambda n: n.core.sequencer.term) if leaders else None

    def submit(self, name: str, envelope: bytes, wait: str = "effective", timeout_ms: int = 10_000) -> list[Any]:
        answers: list[Any] = []
        self.nodes[name].core.submit(envelope, wait=wait, timeout_ms=timeout_ms, done=answers.append)
        return answers
