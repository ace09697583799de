"""A whole cluster in one process: hosts, links, clocks, clients and whoever watches, on one agenda."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.core.model.units import NS_PER_MS
from govraft.node.core import NodeCore, NodeSettings
from govraft.node.effects import Effects
from govraft.ports.sequencer import Sequencer
from govraft.ports.store import Append, SetCosigner, StoredState
from govraft.testing.history import Event
from govraft.testing.simulation.adversary import Adversary
from govraft.testing.simulation.agenda import Agenda
from govraft.testing.simulation.cast import Cast
from govraft.testing.simulation.clock import TrueTime, VirtualClock
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.misbehaviour import Liar, LyingSequencer
from govraft.testing.simulation.network import Network
from govraft.testing.simulation.plan import Plan, stream
from govraft.testing.simulation.trace import Trace
from govraft.testing.simulation.watcher import Watcher

__all__ = ["World"]


class World:
    """One run.

    Attributes:
        history: What happened, for the checkers.
        watcher: Holds every moment against what must always be true.
        moments: Crash points at which a node died.
        on_append: Told, once each, when a leader has appended and nobody has heard of it yet.
        on_change: Told, once each, when a node has applied a change of the electorate that waits for its certificate.
        on_sign: By node: told once, when it is about to write that it acks a higher seq.
        careless: Nodes that, as leaders, put leases together before everybody has moved on.
        distrusted: Nodes whose engine lies.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        configuration = plan.configuration
        self.trace = Trace()
        self._true_time = TrueTime()
        self.agenda = Agenda(self._true_time)
        self.cast = Cast(configuration)
        self.history: list[Event] = []
        self.moments: list[str] = []
        self.snapshots = 0
        self.watcher = Watcher(self)
        self.network = Network(
            configuration,
            self.agenda,
            deliver=lambda target, source, channel, payload: self.hosts[target].on_frame(source, channel, payload),
            notify=lambda source, target, is_up: self.hosts[source].on_link(target, is_up),
            life=lambda name: self.hosts[name].present_life,
            identity=lambda name: self.cast.certificate(name, self.hosts[name].generation),
            knows=lambda name, other, shown: self.hosts[name].knows(other, shown),
        )
        self.hosts = {
            name: Host(
                self,
                name,
                VirtualClock(self._true_time, rate, wall_rate=configuration.wall_rate),
                stream(configuration.seed, f"host {name}"),
            )
            for name, rate in zip(self.cast.names, configuration.rates, strict=True)
        }
        self.on_append: list[Callable[[Host], None]] = []
        self.on_change: list[Callable[[Host], None]] = []
        self.on_sign: dict[str, Callable[[], None]] = {}
        self.liars = {name: Liar() for name in self.cast.names}
        self.careless: set[str] = set()
        self.distrusted: set[str] = set()
        is_adversary = configuration.engine == "adversary"
        self.adversary = Adversary(self, stream(configuration.seed, "adversary")) if is_adversary else None

    @property
    def now(self) -> int:
        """True time, nanoseconds."""
        return self._true_time.now

    @property
    def leader(self) -> Host | None:
        """The host that leads, by the highest term; None if nobody thinks to lead."""
        leaders = [host for host in self.hosts.values() if host.core is not None and host.core.sequencer.is_leader]
        return max(leaders, key=lambda host: (host.core.sequencer.term, host.name)) if leaders else None  # type: ignore[union-attr] # running

    # What hosts need.

    def make_core(self, host: Host, stored: StoredState) -> NodeCore:
        """The node of a new life."""
        configuration = self.plan.configuration
        entropy = stream(configuration.seed, f"entropy {host.name} {host.life}")
        return NodeCore(
            settings=NodeSettings(
                node_id=host.name,
                public_key=host.public_key,
                heartbeat_ms=configuration.heartbeat_ms,
                life=str(host.life),
                snapshot_entries=configuration.snapshot_entries,
                window_entries=configuration.window_entries,
            ),
            genesis=self.cast.genesis,
            stored=stored,
            signing=self.watcher.permits.watched(host, self.cast.signing(host.name, host.generation)),
            is_valid=self.cast.is_valid(),
            clock=host.clock,
            entropy=entropy.randbytes,
            make_sequencer=lambda **given: self.make_sequencer(host, given),
            former=self.cast.former_key(host.name, host.generation),
        )

    def make_sequencer(self, host: Host, given: dict[str, Any]) -> Sequencer:
        """The engine of a new life, or what stands in its place."""
        if self.adversary is not None:
            return self.adversary.sequencer(host.name, given)
        if self.plan.configuration.profile == "misbehaviour":
            liar = self.liars[host.name]
            return LyingSequencer(host.name, liar, given, lambda changed: self._make_engine(host, changed))
        return self._make_engine(host, given)

    def _make_engine(self, host: Host, given: dict[str, Any]) -> Sequencer:
        configuration = self.plan.configuration
        low, high = configuration.election_ms
        engine = PysyncobjSequencer(
            node_id=host.name,
            timing=EngineTiming(
                configuration.heartbeat_ms / 1_000, low / 1_000, high / 1_000, configuration.lease_ms / 1_000
            ),
            monotonic=lambda: host.clock.boottime() / 1e9,
            rng=stream(configuration.seed, f"engine {host.name} {host.life}"),
            read_journal=host.disk.read_journal,
            **given,
        )
        engine.limit_turn(stream(configuration.seed, "turns").choice((1, 2, 5, 100)))
        return engine

    def node_started(self, host: Host) -> None:
        """A life began."""
        self.watcher.started(host)
        self.network.node_started(host.name)

    def node_died(self, host: Host) -> None:
        """A life ended, however."""
        self.network.node_died(host.name)
        self.watcher.died(host)

    def node_ended(self, host: Host, code: str, error: BaseException) -> None:
        """A node stopped of itself, or refused to start."""
        self.trace.note(self.now, code, host.name, str(error).encode())
        self.watcher.ended(host, code, error)

    def crashed_at(self, host: Host, point: str) -> None:
        """A crash point was met."""
        self.trace.note(self.now, point, host.name)
        self.moments.append(point)

    def noticed_write(self, host: Host, effects: Effects) -> None:
        """A batch is about to be written; tells whoever waits for an append of the leader, or for a first ack."""
        for operation in effects.batch.ops:
            if isinstance(operation, Append):
                self.watcher.appended(operation.entry.payload)
                if self.on_append and host.core is not None and host.core.sequencer.is_leader:
                    self.on_append.pop()(host)
            elif isinstance(operation, SetCosigner) and host.name in self.on_sign:
                self.on_sign.pop(host.name)()

    def noticed_change(self, host: Host) -> None:
        """A change of the electorate waits for its certificate at a node."""
        if self.on_change:
            self.on_change.pop()(host)

    def start_all(self) -> None:
        """Begin."""
        for host in self.hosts.values():
            host.start()

    def run(self, ms: float) -> None:
        """Let time pass."""
        self.agenda.run_until(self.now + int(ms * NS_PER_MS))
