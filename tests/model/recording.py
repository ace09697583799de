"""Records a run of simulated nodes as events of the model's trace module.

The recorder wraps what it listens to and changes nothing: the arguments and results of the cosigner and the holder,
writes to disk, frames given to the network, certificates put together, and what the gate says. What it writes down
are identities (of probes, nonces, nodes), seqs and readings of clocks; every conclusion is left to the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sim_cluster import Network, SimNode

from govraft.core.convergence.cosigner import Answer
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, decode_kind
from govraft.core.model.electorate import QuorumRule
from govraft.errors import DecodeError
from govraft.ports.store import SetCosigner
from model import tlc

TICK_NS = 1_000
LINEAGE = "r"
GENESIS = "genesis"
_FORGET_EVERY = 4
_TAKEN = re.compile(r'^<<"taken", (\d+), (\d+)>>$', re.MULTILINE)


@dataclass
class Event:
    """One event, and what every clock showed."""

    kind: str
    clocks: dict[str, int]
    fields: dict[str, Any]
    kept: bool = True


@dataclass
class Recorder:
    """Listens to all nodes of one simulation in which every node has the same log.

    Attach it before the first step. Clock rates must be whole thousandths, so that every reading is a whole tick.
    """

    sim: Network
    events: list[Event] = field(default_factory=list)
    _names: dict[tuple[str, bytes], str] = field(default_factory=dict)
    _roots: dict[int, bytes] = field(default_factory=dict)
    _run: dict[str, tuple[int, Event | None]] = field(default_factory=dict)

    def attach(self) -> Recorder:
        sim: Any = self.sim
        for node in sim.nodes.values():
            node.clock.rate = Fraction(round(node.clock.rate * 1000), 1000)
            self._watch_disk(node)
            self._watch_core(node)
        start, send, look = sim.start, sim.send, sim._look

        def started(name: str) -> None:
            start(name)
            self._add("restart", node=name)
            self._watch_core(sim.nodes[name])

        def sent(source: str, target: str, channel: int, payload: bytes) -> None:
            self._on_send(source, payload)
            send(source, target, channel, payload)

        def looked(node: SimNode) -> None:
            look(node)
            self._on_look(node)

        sim.start, sim.send, sim._look = started, sent, looked
        return self

    # What is listened to.

    def _watch_disk(self, node: SimNode) -> None:
        write = node.disk.write

        def written(batch: Any) -> None:
            write(batch)
            records = [op.record for op in batch.ops if isinstance(op, SetCosigner)]
            if records:
                last = records[-1]
                self._add("write", node=node.id, seq=last.seq, root=self._root(last.seq, last.root))

        node.disk.write = written

    def _watch_core(self, node: SimNode) -> None:
        convergence: Any = node.core.convergence
        answer, accept, broadcast = convergence.cosigner.answer, convergence.holder.accept, convergence._broadcast

        def answered(signed: Signed, probe: Probe, nonce: bytes, view: Any) -> Any:
            result = answer(signed, probe, nonce, view)
            if isinstance(result, Answer):
                self._on_answer(node.id, signed, probe, nonce, Ack.decode(result.ack.body))
            return result

        def accepted(verified: Any, now: int, wall: int) -> bool:
            taken = accept(verified, now, wall)
            if taken:
                left = (convergence.holder.lease.end - now) // TICK_NS
                self._add("accept", node=node.id, probe=self._name("p", verified.probe.encode()), left=left)
            return taken

        def certified(payload: bytes, effects: Any) -> None:
            if decode_kind(payload) is Kind.LEASE:
                lease = Lease.decode(Signed.decode(payload, Kind.LEASE).body)
                self._add("certified", probe=self._name("p", lease.probe.body))
            broadcast(payload, effects)

        convergence.cosigner.answer = answered
        convergence.holder.accept = accepted
        convergence._broadcast = certified

    def _on_answer(self, name: str, signed: Signed, probe: Probe, nonce: bytes, ack: Ack) -> None:
        self._add(
            "answer",
            node=name,
            probe=self._name("p", signed.body),
            seq=probe.checkpoint.seq,
            root=self._root(probe.checkpoint.seq, probe.checkpoint.root),
            grants=[(holder, self._name("x", granted)) for holder, granted in sorted(probe.grants.items())],
            outstanding=list(ack.outstanding),
            nonce=self._name("x", nonce),
        )
        self._names["ack", ack.probe] = self._name("p", signed.body)

    def _on_send(self, source: str, payload: bytes) -> None:
        try:
            if decode_kind(payload) is not Kind.ACK:
                return
        except DecodeError:
            return  # a frame of Raft, or of a client's command
        ack = Ack.decode(Signed.decode(payload, Kind.ACK).body)
        self._add("leave", node=source, probe=self._names["ack", ack.probe], outstanding=list(ack.outstanding))

    def _on_look(self, node: SimNode) -> None:
        """Of an unbroken time of serving one seq, the first look and the last are kept."""
        lease = None
        if node.core is not None and not node.paused:
            lease = node.core.gate.standing().lease
        seq, last = self._run.get(node.id, (0, None))
        if lease is None:
            self._run.pop(node.id, None)
            return
        event = self._add("serve", node=node.id, seq=lease.seq, applied=node.core.machine.seq)
        if seq == lease.seq and last is not None:
            last.kept = False
        self._run[node.id] = (lease.seq, event if seq == lease.seq else None)

    # How it is written down.

    def _add(self, kind: str, **fields: Any) -> Event:
        clocks = {name: node.clock.boottime() // TICK_NS for name, node in self.sim.nodes.items()}
        event = Event(kind, clocks, fields)
        self.events.append(event)
        return event

    def _name(self, prefix: str, exact: bytes) -> str:
        return self._names.setdefault((prefix, exact), f"{prefix}{len(self._names)}")

    def _root(self, seq: int, root: bytes) -> str:
        assert self._roots.setdefault(seq, root) == root, "a recorded run has one lineage"
        return GENESIS if seq == 1 else LINEAGE

    def kinds(self) -> dict[str, int]:
        """How many events of each kind there are."""
        found: dict[str, int] = {}
        for event in self.kept():
            found[event.kind] = found.get(event.kind, 0) + 1
        return found

    def kept(self) -> list[Event]:
        """Every event that counts, with the passing of time and the end of each probe's part between them."""
        real = [event for event in self.events if event.kept]
        last = {event.fields["probe"]: place for place, event in enumerate(real) if "probe" in event.fields}
        over = {place: name for name, place in last.items()}
        found: list[Event] = []
        before = real[0].clocks
        done: list[str] = []
        for place, event in enumerate(real):
            moved = sorted((name, now - before[name]) for name, now in event.clocks.items())
            if any(by for _, by in moved):
                found.append(Event("tick", event.clocks, {"clocks": moved}))
            before = event.clocks
            found.append(event)
            done += [over[place]] if place in over else []
            if len(done) >= _FORGET_EVERY:
                found.append(Event("forget", event.clocks, {"probes": done}))
                done = []
        return found


def module(runs: Iterable[list[Event]]) -> str:
    """The text of the TLA+ module `Recorded`."""
    written = ",\n".join(
        "<<\n" + ",\n".join(_record({"kind": e.kind, **e.fields}) for e in run) + "\n>>" for run in runs
    )
    return f"---- MODULE Recorded ----\nEXTENDS Integers\nRuns == <<\n{written}\n>>\n====\n"


def configuration(sim: Any) -> str:
    """The text of the configuration under which a run of `sim` is checked."""
    timing = next(node.core.timing for node in sim.nodes.values() if node.core is not None)
    nodes = _value(set(sim.nodes))
    constants = {
        "Nodes": nodes,
        "Liars": "{}",
        "Old": nodes,
        "New": nodes,
        "Change": 0,
        "Top": 1_000,
        "Roots": _value({LINEAGE}),
        "Byzantine": "TRUE" if sim.genesis.quorum is QuorumRule.BYZANTINE else "FALSE",
        "Hold": timing.hold_ns // TICK_NS,
        "Grant": timing.grant_ns // TICK_NS,
        "Advances": "{}",
        "ProbesMax": 0,
        "Pages": "FALSE",
        "Split": "TRUE",
        "Reduced": "FALSE",
        "Without": "{}",
    }
    assert timing.hold_ns % TICK_NS == timing.grant_ns % TICK_NS == 0, "both are whole ticks"
    lines = "".join(f"  {name} = {value}\n" for name, value in constants.items())
    return f"SPECIFICATION TraceSpec\nCONSTANTS\n{lines}INVARIANTS\n  TypeOK\n  NoStaleAllow\n  NoFork\n"


@dataclass(frozen=True)
class Verdict:
    """What the model says of one run: how many of its events it has taken, and the first that it has not."""

    taken: int
    refused: Event | None
    violated: str | None


def judge(runs: Sequence[list[Event]], config: str, *, limit_s: int = 280) -> list[Verdict]:
    """Hold recorded runs against the model; all of them must be of nodes of one configuration."""
    outcome = tlc.run("Trace", config, extra={"Recorded": module(runs)}, workers=1, limit_s=limit_s)
    assert outcome.finished or outcome.violated, outcome.text[-3000:]
    taken = dict.fromkeys(range(1, len(runs) + 1), 0)
    for run, event in _TAKEN.findall(outcome.text):
        taken[int(run)] = max(taken[int(run)], int(event))
    return [
        Verdict(taken[place], run[taken[place]] if taken[place] < len(run) else None, outcome.violated)
        for place, run in enumerate(runs, 1)
    ]


def _record(fields: dict[str, Any]) -> str:
    return "[" + ", ".join(f"{name} |-> {_value(value)}" for name, value in fields.items()) + "]"


def _value(value: Any) -> str:
    if isinstance(value, str):
        assert value.replace("-", "").isalnum(), value
        return f'"{value}"'
    if isinstance(value, tuple):
        return "<<" + ", ".join(map(_value, value)) + ">>"
    if isinstance(value, list | set):
        return "{" + ", ".join(map(_value, sorted(value))) + "}"
    return str(int(value))
