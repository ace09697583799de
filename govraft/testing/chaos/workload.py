"""Load, and the record of every answer: `python -m govraft.testing.chaos.workload ORDERS.json` until SIGTERM.

One process asks, with a thread a node; another commands, with threads that quarantine and release the same few
subjects at whichever node the dice choose. All write events of `govraft.testing.history`, in the order of their time.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from govraft.client.client import Client
from govraft.client.verdicts import Allow, Verdict
from govraft.core.model.genesis import Genesis
from govraft.errors import AvailabilityError, GovraftError, InputError, RejectedError
from govraft.testing.history import Check, CommandTried, Event, encode_event
from govraft.testing.local_cluster_commands import CommandOffice

__all__ = ["ACTION", "RESOURCE", "Orders", "Recorder", "now", "subject"]

ACTION, RESOURCE = 'Action::"use"', 'Tool::"hammer"'
BATCH = 8
_CHECK_TIMEOUT_S = 1.0
_SUBMIT_TIMEOUT_S = 2.5
_TRIES_MAX = 4
_FITTING = 0.9
_JOIN_S = 10.0
_BUFFER_BYTES = 1 << 16


class Orders(msgspec.Struct, frozen=True):
    """What one worker process does.

    Attributes:
        worker: Its name in the history.
        role: `ask` or `command`.
        home: The cluster directory.
        endpoints: By node id.
        targets: Names of the subjects.
        pause_ms: Between two batches of one thread, or two commands.
        threads: How many, for each node or, of a worker that commands, in all.
        seed: Chooses targets, nodes and commands.
        history: File to write; must not exist.
        spares: Ids of nodes that are left alone while they have no socket.
    """

    worker: str
    role: str
    home: str
    endpoints: dict[str, str]
    targets: list[str]
    pause_ms: float
    threads: int
    seed: int
    history: str
    spares: list[str] = []

    def is_there(self, node_id: str) -> bool:
        """Whether the node is to be asked now."""
        return node_id not in self.spares or Path(self.endpoints[node_id].removeprefix("unix://")).exists()


def now() -> int:
    """The one clock of a run: CLOCK_BOOTTIME of this host, ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def subject(target: str) -> str:
    """The principal that stands for a target."""
    return f'Agent::"{target}"'


class Recorder:
    """Writes events of many threads, in the order in which they happened."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, make: Callable[[int], Sequence[Event]]) -> None:
        """Write the events that `make` gives for the time of this moment."""
        # The time is read under the lock: a file whose times fall could not be merged with others as it is.
        with self._lock:
            self._file.writelines(encode_event(event) + b"\n" for event in make(now()))


class _Worker(ABC):
    """Threads that go on until told to stop."""

    def __init__(self, orders: Orders, recorder: Recorder) -> None:
        self.orders = orders
        self.recorder = recorder
        self.stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def start(self) -> None:
        """Do the job; returns when stopped."""

    def run(self, *jobs: Callable[[], None]) -> None:
        """Run all jobs, each in a thread of its own, until `stopped` is set."""
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()
        # A signal is only handled in the main thread, between two waits.
        while not self.stopped.wait(0.2):
            # They may have heard that it is over a moment before this thread looks.
            if not all(thread.is_alive() for thread in self._threads) and not self.stopped.is_set():
                raise RuntimeError("a thread of the worker ended: its error was printed before")
        for thread in self._threads:
            thread.join(_JOIN_S)


class _Asker(_Worker):
    """Asks each node about random targets, in batches and one by one."""

    def start(self) -> None:
        self.run(
            *(
                partial(self._ask, node_id, place)
                for node_id in self.orders.endpoints
                for place in range(self.orders.threads)
            )
        )

    def _ask(self, node_id: str, place: int) -> None:
        client = Client(self.orders.endpoints[node_id], timeout=_CHECK_TIMEOUT_S)
        dice = random.Random(f"{self.orders.seed}/{node_id}/{place}")  # noqa: S311 - a load that can be repeated
        name = f"{self.orders.worker}.{node_id}.{place}"
        while not self.stopped.wait(self.orders.pause_ms / 1000 * dice.uniform(0.5, 1.5)):
            if not self.orders.is_there(node_id):
                continue
            asked = [dice.choice(self.orders.targets) for _ in range(BATCH if dice.random() < 0.9 else 1)]
            began = now()
            if len(asked) == 1:
                verdicts = [client.check(subject(asked[0]), ACTION, RESOURCE)]
            else:
                verdicts = client.check_many([(subject(target), ACTION, RESOURCE) for target in asked])
            self._record(name, node_id, began, asked, verdicts)
        client.close()

    def _record(self, name: str, node_id: str, began: int, asked: list[str], verdicts: list[Verdict]) -> None:
        # Asked before the time is read: what holds now, held when it arrived.
        held = [bool(verdict) for verdict in verdicts]
        self.recorder.write(
            lambda at: [
                _check(began, at, f"{name}.{number}", node_id, target, verdict, holds=holds)
                for number, (target, verdict, holds) in enumerate(zip(asked, verdicts, held, strict=True))
            ]
        )


class _Commander(_Worker):
    """Quarantines and releases. A command of unknown outcome is handed in again, as the very same envelope."""

    def __init__(self, orders: Orders, recorder: Recorder) -> None:
        super().__init__(orders, recorder)
        home = Path(orders.home)
        self._office = CommandOffice(Genesis.decode((home / "genesis.json").read_bytes()), home / "keys")

        self._marked: set[str] = set()

    def start(self) -> None:
        self.run(*(partial(self._command, place) for place in range(self.orders.threads)))

    def _command(self, place: int) -> None:
        dice = random.Random(f"{self.orders.seed}/{place}")  # noqa: S311 - a load that can be repeated
        clients = {name: Client(endpoint) for name, endpoint in self.orders.endpoints.items()}
        while not self.stopped.wait(self.orders.pause_ms / 1000 * dice.uniform(0.5, 1.5)):
            target = dice.choice(self.orders.targets)
            # Mostly what can work; now and then what the machine must refuse.
            fitting = "release" if target in self._marked else "quarantine"
            kind = fitting if dice.random() < _FITTING else dice.choice(("quarantine", "release"))
            command_id = f"chaos-{secrets.token_hex(8)}"
            envelope = getattr(self._office, kind)(subject(target), command_id=command_id, reason="chaos")
            tries = dice.randint(1, _TRIES_MAX)
            for number in range(tries):
                node_id = dice.choice(sorted(filter(self.orders.is_there, clients)))
                if self._try(clients[node_id], node_id, (command_id, kind, target), envelope, again=number > 0):
                    break
                if self.stopped.wait(0.05):
                    break

    def _try(
        self, client: Client, node_id: str, command: tuple[str, str, str], envelope: bytes, *, again: bool
    ) -> bool:
        """Hand it in once; True if nothing more is to be learnt. `command`: id, kind and target."""
        began = now()
        outcome, code, seq, certified = _submit(client, envelope, again=again)
        self.recorder.write(lambda at: [CommandTried(began, at, *command, node_id, outcome, code, seq, certified)])
        if outcome == "effective":
            (self._marked.add if command[1] == "quarantine" else self._marked.discard)(command[2])
        return outcome in {"effective", "rejected"}


def _submit(client: Client, envelope: bytes, *, again: bool) -> tuple[str, str, int, int]:
    """Outcome, code, seq and certified seq, as `CommandTried` wants them."""
    try:
        receipt = client.submit(envelope, timeout=_SUBMIT_TIMEOUT_S, retry=again)
    except RejectedError as error:
        seq = error.diagnostics().get("seq", 0)
        return "rejected" if error.definite else "unknown", error.code, seq if isinstance(seq, int) else 0, 0
    except (AvailabilityError, InputError) as error:
        return "refused" if error.definite else "unknown", error.code, 0, 0
    except GovraftError as error:
        # The node's answer could not be used: nobody knows what it did.
        return "unknown", error.code, 0, 0
    if receipt.outcome != "applied":
        return "rejected", receipt.outcome, receipt.seq, receipt.certified_seq
    return "effective", "", receipt.seq, receipt.certified_seq


def _check(began: int, at: int, client: str, node: str, target: str, verdict: Verdict, *, holds: bool) -> Check:
    request = hashlib.sha256(subject(target).encode()).hexdigest()[:16]
    if holds and isinstance(verdict, Allow):
        return Check(began, at, client, node, target, request, True, "", verdict.seq, verdict.state_root)
    # An allow that has run out on its way is a denial to whoever holds it.
    reason = str(getattr(verdict, "reason", "lease_expired"))
    return Check(began, at, client, node, target, request, False, reason, verdict.seq, verdict.state_root)


def _main() -> int:
    orders = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)
    with Path(orders.history).open("xb", buffering=_BUFFER_BYTES) as file:
        kind: type[_Worker] = _Asker if orders.role == "ask" else _Commander
        worker = kind(orders, Recorder(file))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stopped.set())
        worker.start()
    return 0


if __name__ == "__main__":
    sys.exit(_main())
