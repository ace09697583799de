"""The load of a run: worker processes that ask and command, from its start to its end."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from govraft.testing.chaos.options import ChaosError
from govraft.testing.chaos.workload import BATCH, Orders
from govraft.testing.local_cluster_process import ChildProcess

__all__ = ["ASKERS", "TARGETS", "Load", "running_load"]

ASKERS = 2
TARGETS = [f"agent-{number}" for number in range(8)]
_COMMANDERS = 3
_END_S = 20.0


class Load(msgspec.Struct, frozen=True):
    """How much is asked and commanded.

    Attributes:
        endpoints: Of all nodes that there ever are, by id. A node that is not there yet denies, as far as clients see.
        checks_per_s, commands_per_s: All nodes together; an aim.
        seed: Chooses targets, nodes and commands.
        spares: Endpoints of nodes that may join: they are left alone while they do not run.
    """

    endpoints: Mapping[str, str]
    checks_per_s: float
    commands_per_s: float
    seed: int
    spares: Mapping[str, str] = {}


@contextlib.contextmanager
def running_load(load: Load, home: Path, *, orders: Path, histories: Path) -> Iterator[None]:
    """Let the workers of `load` work meanwhile.

    Args:
        load: What they do.
        home: The cluster directory.
        orders: Directory for their orders.
        histories: Directory for what they write.

    Raises:
        ChaosError: One of them broke down.
    """
    workers = [_start(item, home, orders) for item in _orders(load, home, histories)]
    try:
        yield
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            if worker.wait(_END_S) != 0:
                raise ChaosError(f"a worker broke down: {worker.log()}")
    finally:
        for worker in workers:
            worker.kill()


def _orders(load: Load, home: Path, histories: Path) -> Iterator[Orders]:
    roles = [("ask", f"asker-{number}") for number in range(1, ASKERS + 1)] + [("command", "commander")]
    for number, (role, worker) in enumerate(roles):
        asking = role == "ask"
        batches_per_s = load.checks_per_s / (0.9 * BATCH + 0.1) / ASKERS / len(load.endpoints)
        yield Orders(
            worker=worker,
            role=role,
            home=str(home),
            endpoints={**load.endpoints, **load.spares},
            spares=sorted(load.spares),
            targets=TARGETS,
            pause_ms=1000 / batches_per_s if asking else 1000 * _COMMANDERS / load.commands_per_s,
            threads=1 if asking else _COMMANDERS,
            seed=load.seed * 100 + number,
            history=str(histories / f"{worker}.jsonl"),
        )


def _start(orders: Orders, home: Path, place: Path) -> ChildProcess:
    path = place / f"{orders.worker}.json"
    path.write_bytes(msgspec.json.encode(orders))
    command = [sys.executable, "-P", "-m", "govraft.testing.chaos.workload", str(path)]
    return ChildProcess(command, home / "log" / f"{orders.worker}.log")
