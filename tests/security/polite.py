"""A client that asks now and then, and what the node is like meanwhile."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from integration.cluster_harness import Child, Cluster, Node, eventually

PAUSE_S = 0.02


class Vitals:
    """Memory and descriptors of a process."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)

    def rss_mib(self) -> float:
        return self._field("VmRSS:")

    def peak_mib(self) -> float:
        """Largest resident size since `reset_peak`."""
        return self._field("VmHWM:")

    def reset_peak(self) -> None:
        (self._process / "clear_refs").write_text("5")

    def descriptors(self) -> int:
        return len(os.listdir(self._process / "fd"))

    def cpu_s(self) -> float:
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _field(self, name: str) -> float:
        for line in (self._process / "status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"{name} is missing")


class Experience:
    """What the polite client met: how long each answer took, and what it was."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.answers: collections.Counter[str] = collections.Counter()

    def ask(self, node: Node) -> None:
        began = time.monotonic()
        verdict = node.check("polite")
        self.latencies_s.append(time.monotonic() - began)
        self.answers["allow" if verdict else verdict.reason] += 1

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def worst_s(self) -> float:
        return max(self.latencies_s)

    @property
    def allowed(self) -> float:
        """The share of allows."""
        return self.answers["allow"] / max(1, self.answers.total())

    def __repr__(self) -> str:
        marks = " ".join(f"p{int(q * 100)}={self.quantile_ms(q):.1f}" for q in (0.5, 0.9, 0.99))
        return f"{len(self.latencies_s)} asked, {marks} max={1000 * self.worst_s:.1f} ms, {dict(self.answers)}"


class Attack:
    """A greedy program at work."""

    def __init__(self, kind: str, address: str, seconds: float, log: Path, **options: Any) -> None:
        self._log = log
        log.unlink(missing_ok=True)
        program = Path(__file__).with_name("greedy.py")
        command = [sys.executable, "-P", str(program), kind, address, str(seconds), json.dumps(options)]
        self.child = Child(command, log)

    def counts(self) -> dict[str, int]:
        """What it counted, once it is over."""
        try:
            code = self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise
        assert code == 0, self._log.read_text()
        return dict(json.loads(self._log.read_text().splitlines()[-1]))


@contextmanager
def attacked(node: Node, *attacks: tuple[str, str, dict[str, Any]], seconds: float) -> Iterator[list[Attack]]:
    """Attacks on `node`, each kind, address and options, for some time; none outlives the block."""
    running: list[Attack] = []
    try:
        for number, (kind, address, options) in enumerate(attacks):
            log = node.home.parent.parent / "log" / f"greedy-{number}.log"
            running.append(Attack(kind, address, seconds, log, **options))
        yield running
    finally:
        for attack in running:
            attack.child.kill()


def measure(node: Node, seconds: float) -> Experience:
    """Ask politely for some time."""
    experience, end = Experience(), time.monotonic() + seconds
    while time.monotonic() < end:
        experience.ask(node)
        time.sleep(PAUSE_S)
    return experience


CHANCES = 8
LATENCY_S = 2.0


def withstand(
    cluster: Cluster,
    node: Node,
    attack: tuple[str, str, dict[str, Any]],
    *,
    seconds: float,
    growth_mib: float,
    told: Iterable[str] = (),
) -> dict[str, int]:
    """Attack `node` and judge how it stood.

    Memory and descriptors count every time. That the polite client was always allowed, in good time, and that the node
    kept its place as leader, and that the greedy one was `told` what it should be, must hold once in `CHANCES` times: a
    machine that is busy with something else can take a lease away without any attack, and keep the attack from coming.

    Returns:
        What the attack counted.
    """
    complaints: list[str] = []
    for _ in range(CHANCES):
        cluster.wait_allow(node.id)
        vitals, term = Vitals(node.process.pid), node.status()["term"]
        before, descriptors = vitals.rss_mib(), vitals.descriptors()
        vitals.reset_peak()
        with attacked(node, attack, seconds=seconds) as attacks:
            time.sleep(0.3)
            met = measure(node, seconds - 0.5)
            counts = attacks[0].counts()
        peak = vitals.peak_mib()
        print(f"\n{attack[0]} {attack[2]}: {met}; {before:.0f} MiB, at most {peak:.0f}; the attack: {counts}")
        assert peak - before < growth_mib
        # Half-open handshakes are closed after three seconds.
        eventually(lambda: vitals.descriptors() <= descriptors + 4, lambda: f"{vitals.descriptors()} descriptors")  # noqa: B023
        after = eventually(node.status, "no status")["term"]
        if met.allowed == 1.0 and met.worst_s < LATENCY_S and after == term and set(told) <= set(counts):
            return counts
        complaints.append(f"{met}, term {term} -> {after}, told {counts}")
    raise AssertionError("\n".join(complaints))
