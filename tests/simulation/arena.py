"""Whole nodes under a sequencer that is not to be trusted.

The convergence rules may not rest on anything that Raft promises. So here an adversary decides whom each node takes for
the leader, in which term, and how far each has got in the log; several nodes may lead at once. Everything else of a node
is real. Signatures are hashes, for speed: nobody in the arena forges.
"""

from __future__ import annotations

import functools
import hashlib
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sim_cluster import WALL_START, Clock, Network, Signing, SimNode, Watcher, make_genesis

from govraft.adapters.node_key import NodeIdentity
from govraft.core.convergence.messages import decode_kind
from govraft.core.machine.entry import encode_entry
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import SNAPSHOT_ENTRIES
from govraft.core.model.rules import RULES_NEWEST
from govraft.core.model.units import NS_PER_MS, WallMs
from govraft.errors import AvailabilityError, DecodeError
from govraft.node.core import NodeCore, NodeSettings
from govraft.testing.simulation import adversary

RAFT, CONVERGENCE = 1, 2


class View(adversary.View):
    """What the adversary makes one node believe; `announced` is what it is told to be committed beyond its log."""

    def __init__(self) -> None:
        super().__init__()
        self.announced = 0


class ScriptedSequencer(adversary.ScriptedSequencer):
    """Commits what the test says; nobody proposes."""

    @property
    def has_unapplied(self) -> bool:
        return self._applied < max(self._committed, self._view.announced)

    def propose(self, entry: bytes) -> None:
        raise AvailabilityError("the adversary proposes", code="not_leader")


@functools.cache
def cast(nodes: int, quorum: QuorumRule) -> tuple[Genesis, dict[str, NodeIdentity], dict[str, Ed25519PrivateKey]]:
    """One genesis for each size, as keys take long to make."""
    identities = {name: NodeIdentity.create(name) for name in "abcdefg"[:nodes]}
    authorities = {name: Ed25519PrivateKey.generate() for name in ("operator-1", "policy-1", "root-1")}
    return make_genesis(identities, authorities, quorum), identities, authorities


def fake_sign(public_key: bytes, message: bytes) -> bytes:
    return hashlib.sha512(public_key + message).digest()


def fake_is_valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    return signature == fake_sign(public_key, message)


class Arena(Network, Signing):
    """Nodes `a`, `b`, `c`, … at seq 1; nobody leads."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        seed: int = 0,
        watcher: Watcher | None = None,
        rates: dict[str, float] | None = None,
        heartbeat_ms: int = 100,
        quorum: QuorumRule = QuorumRule.MAJORITY,
        snapshot_entries: int = SNAPSHOT_ENTRIES,
    ) -> None:
        super().__init__(seed=seed, watcher=watcher)
        self.snapshot_entries = snapshot_entries
        self.genesis, identities, self.authority_keys = cast(nodes, quorum)
        self.heartbeat_ms = heartbeat_ms
        self.logs: list[list[bytes]] = [[], []]
        self.views = {name: View() for name in identities}
        self.nodes = {
            name: SimNode(name, identity, Clock(self, (rates or {}).get(name, 1.0)))
            for name, identity in identities.items()
        }
        for name in self.nodes:
            self.start(name)

    def start(self, name: str) -> None:
        node = self.nodes[name]
        node.life += 1
        rng = random.Random(self.rng.getrandbits(64))
        stored = node.disk.load()
        node.core = NodeCore(
            settings=NodeSettings(
                node_id=node.member_id,
                public_key=node.identity.public_key,
                heartbeat_ms=self.heartbeat_ms,
                life=str(node.life),
                snapshot_entries=self.snapshot_entries,
            ),
            genesis=self.genesis,
            stored=stored,
            signing=lambda message: fake_sign(node.identity.public_key, message),
            is_valid=fake_is_valid,
            clock=node.clock,
            entropy=rng.randbytes,
            make_sequencer=lambda **given: ScriptedSequencer(self, name, given),
        )
        self.watcher.started(node)
        for other in self.nodes:
            node.core.on_link(self.nodes[other].member_id, up=True, rules=RULES_NEWEST)

    # What the adversary does.

    def commit(self, count: int = 1, *, log: int = 0) -> None:
        """Entries nobody could decode: each is rejected, and still becomes the next seq."""
        for _ in range(count):
            self.logs[log].append(b"entry %d of log %d" % (len(self.logs[log]) + 1, log))

    def commit_envelopes(self, *envelopes: bytes) -> None:
        """Commands, for every node."""
        for envelope in envelopes:
            self.logs[0].append(encode_entry(WallMs(WALL_START + self.now_ns // NS_PER_MS), envelope))
        self.advance(*self.nodes)

    def advance(self, *names: str, to_seq: int | None = None) -> None:
        """Let nodes apply their log, up to a seq or to its end."""
        for name in names:
            view = self.views[name]
            end = len(self.logs[view.log]) if to_seq is None else to_seq - 1
            view.target = max(view.target, end)

    def lead(self, leader: str, *followers: str, term: int | None = None) -> None:
        """Make these nodes, and no others, believe in a leader."""
        term = 1 + max(view.term for view in self.views.values()) if term is None else term
        for name in (leader, *followers):
            self.views[name].leader, self.views[name].term = leader, term

    def slow(self, source: str, target: str, kind: str, ms: int) -> None:
        """Delay one kind of message on one link."""
        before = self.delay

        def delay(from_node: str, to_node: str, payload: bytes) -> int | None:
            if (from_node, to_node) == (source, target) and kind_of(payload) == kind:
                return ms
            return before(from_node, to_node, payload)

        self.delay = delay


def kind_of(payload: bytes) -> str:
    try:
        return decode_kind(payload).value
    except DecodeError:
        return ""
