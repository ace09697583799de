"""Several `NodeCore`s on one virtual clock, a lossy network and disks that lose what was not synced."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from govraft.adapters.engine.sequencer import PysyncobjSequencer
from govraft.adapters.engine.timing import EngineTiming
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.store_rules import Progress, advance
from govraft.core.codec.envelope import seal
from govraft.core.crypto.keys import verify
from govraft.core.crypto.verification_cache import VerificationCache
from govraft.core.model.authority import Authority, Role
from govraft.core.model.commands import Command, encode_command, payload_type
from govraft.core.codec.envelope import pae
from govraft.core.model.electorate import Member, QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.node.core import NodeCore, NodeSettings
from govraft.ports.store import (
    AddLeaf,
    Append,
    HardState,
    SetCosigner,
    SetHardState,
    SetIsolation,
    StoredState,
    TruncateFrom,
    WriteBatch,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

WALL_START = 1_700_000_000_000


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@dataclass
class Clock:
    """One node's view of the shared virtual time."""

    sim: SimCluster
    rate: float = 1.0
    wall_step_ms: int = 0
    offset_ns: int = 0

    def boottime(self) -> BoottimeNs:
        return BoottimeNs(int(self.sim.now_ns * self.rate) + self.offset_ns)

    def wall(self) -> WallMs:
        return WallMs(WALL_START + self.sim.now_ns // NS_PER_MS + self.wall_step_ms)


class Disk:
    """Durable state of one node; a write takes effect whole."""

    def __init__(self) -> None:
        self.journal: list = []
        self.hard_state = HardState()
        self.leaves: list[bytes] = []
        self.cosigner = None
        self.isolation = None
        self.ran = False
        self.progress = None
        self.log: list[object] = []

    def load(self) -> StoredState:
        ran, self.ran = self.ran, True
        return StoredState(
            list(self.journal), self.hard_state, list(self.leaves), self.cosigner, self.isolation, ran
        )

    def write(self, batch: WriteBatch) -> None:
        for op in batch.ops:
            self.log.append(op)
            if isinstance(op, Append):
                assert op.entry.index == len(self.journal) + 1
                self.journal.append(op.entry)
            elif isinstance(op, TruncateFrom):
                assert op.index > self.hard_state.commit_index
                del self.journal[op.index - 1 :]
            elif isinstance(op, SetHardState):
                self.hard_state = op.hard_state
            elif isinstance(op, AddLeaf):
                assert op.seq == len(self.leaves) + 1
                self.leaves.append(op.leaf)
            elif isinstance(op, SetCosigner):
                assert self.cosigner is None or op.record.seq > self.cosigner.seq
                self.cosigner = op.record
            elif isinstance(op, SetIsolation):
                self.isolation = self.isolation or op.record


@dataclass
class SimNode:
    id: str
    identity: NodeIdentity
    clock: Clock
    disk: Disk = field(default_factory=Disk)
    core: NodeCore | None = None
    paused: bool = False
    life: int = 0


class SimCluster:
    """Steps every node each millisecond; frames take `delay_ms`."""

    def __init__(self, nodes: int = 3, *, seed: int = 0, quorum: QuorumRule = QuorumRule.MAJORITY) -> None:
        self.rng = random.Random(seed)
        self.now_ns = 10**9
        self.delay_ms = (1, 3)
        self.loss = 0.0
        self.queue: list[tuple[int, int, str, str, int, bytes]] = []
        self.cut: set[tuple[str, str]] = set()
        self.counter = 0
        self.tap: Callable[[str, str, int, bytes], bytes | None] = lambda source, target, channel, payload: payload
        self.authority_keys = {name: Ed25519PrivateKey.generate() for name in ("operator-1", "policy-1", "root-1")}
        self.nodes: dict[str, SimNode] = {}
        for place in range(1, nodes + 1):
            name = f"node-{place}"
            self.nodes[name] = SimNode(name, NodeIdentity.create(name), Clock(self))
        members = tuple(
            Member(node.id, node.identity.public_key, node.identity.certificate, True, f"127.0.0.1:{7000 + place}")
            for place, node in enumerate(self.nodes.values())
        )
        authorities = tuple(
            Authority(name, raw(key), (Role(name.split("-")[0]),)) for name, key in self.authority_keys.items()
        )
        self.genesis = Genesis.decode(
            Genesis(
                version=1,
                name="sim",
                created=WALL_START,
                nonce="00" * 16,
                quorum=quorum,
                lease_ms=1000,
                clock_drift_max_ppm=10_000,
                clock_skew_max_ms=500,
                members=members,
                authorities=authorities,
                thresholds={"root": 1, "policy": 1, "operator": 1},
            ).encode()
        )
        for node in self.nodes.values():
            self.start(node.id)

    def start(self, name: str) -> None:
        node = self.nodes[name]
        node.life += 1
        rng = random.Random(self.rng.getrandbits(64))

        def make_sequencer(**given: object) -> PysyncobjSequencer:
            return PysyncobjSequencer(
                node_id=name,
                timing=EngineTiming(0.1, 0.5, 1.0),
                monotonic=lambda: node.clock.boottime() / 1e9,
                rng=rng,
                **given,
            )

        node.core = NodeCore(
            settings=NodeSettings(node_id=name, heartbeat_ms=100, life=str(node.life)),
            genesis=self.genesis,
            stored=node.disk.load(),
            signing=node.identity.sign,
            is_valid=VerificationCache(verify),
            clock=node.clock,
            entropy=rng.randbytes,
            make_sequencer=make_sequencer,
        )
        for other in self.nodes.values():
            if other.id != name:
                node.core.on_link(other.id, up=True)
                if other.core is not None:
                    other.core.on_link(name, up=True)

    def crash(self, name: str) -> None:
        node = self.nodes[name]
        node.core = None
        for other in self.nodes.values():
            if other.core is not None:
                other.core.on_link(name, up=False)

    def partition(self, *names: str) -> None:
        for name in names:
            for other in self.nodes:
                if other not in names:
                    self.cut |= {(name, other), (other, name)}
                    if self.nodes[name].core:
                        self.nodes[name].core.on_link(other, up=False)
                    if self.nodes[other].core:
                        self.nodes[other].core.on_link(name, up=False)

    def heal(self) -> None:
        self.cut.clear()
        for node in self.nodes.values():
            for other in self.nodes.values():
                if node.core and other.core and node.id != other.id:
                    node.core.on_link(other.id, up=True)

    def step(self, ms: int = 1) -> None:
        for _ in range(ms):
            self.now_ns += NS_PER_MS
            due = [item for item in self.queue if item[0] <= self.now_ns]
            self.queue = [item for item in self.queue if item[0] > self.now_ns]
            for _, _, source, target, channel, payload in sorted(due, key=lambda item: item[:2]):
                core = self.nodes[target].core
                if self.nodes[target].paused:
                    self.queue.append((self.now_ns + NS_PER_MS, self.counter, source, target, channel, payload))
                    self.counter += 1
                elif core is not None and (source, target) not in self.cut:
                    core.on_frame(source, channel, payload)
            for node in self.nodes.values():
                if node.core is not None and not node.paused:
                    self.turn(node)

    def turn(self, node: SimNode) -> None:
        node.core.settle()
        effects = node.core.take_effects()
        node.disk.write(effects.batch)
        for send in effects.sends:
            self.send(node.id, send.peer, send.channel, send.payload)
        for call in effects.after:
            call()

    def send(self, source: str, target: str, channel: int, payload: bytes) -> None:
        changed = self.tap(source, target, channel, payload)
        if changed is None or (source, target) in self.cut or (source != target and self.rng.random() < self.loss):
            return
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

    @property
    def leader(self) -> SimNode | None:
        leaders = [n for n in self.nodes.values() if n.core and n.core.sequencer.is_leader]
        return max(leaders, key=lambda n: n.core.sequencer.term) if leaders else None

    def envelope(self, command: Command, *signers: str) -> bytes:
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        keys = [self.authority_keys[name] for name in signers]
        return seal(kind, payload, [(raw(key), key.sign(message)) for key in keys])

    def submit(self, name: str, envelope: bytes, wait: str = "effective", timeout_ms: int = 10_000) -> list[object]:
        answers: list[object] = []
        self.nodes[name].core.submit(envelope, wait=wait, timeout_ms=timeout_ms, done=answers.append)
        return answers
