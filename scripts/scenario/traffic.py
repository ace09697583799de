"""Checks and commands that go on while a scenario changes the cluster, and the record of all of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from heapq import merge
from operator import attrgetter
from pathlib import Path

from govraft.api.wire import Receipt
from govraft.errors import GovraftError
from govraft.testing.chaos.load import Load, running_load
from govraft.testing.chaos.observer import Observer, read_lineage
from govraft.testing.chaos.workload import Recorder, now
from govraft.testing.history import CommandTried, Event, FaultEnded, FaultStarted, encode_event, read_history
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_errors import ClusterError
from govraft.testing.local_cluster_process import wait_for

__all__ = ["Traffic"]

_SEEN_DOWN_S = 0.5
_at = attrgetter("at")


class Traffic:
    """Asks and commands all nodes. A context manager: its load ends with it, and `events` are complete.

    Args:
        cluster: Running.
        home: A directory for its files; is made.
        load: What is asked and commanded.
        calm_s: How long the cluster is left alone after each step, as a part of it.
    """

    def __init__(self, cluster: LocalCluster, home: Path, load: Load, *, calm_s: float) -> None:
        self._cluster = cluster
        self._home = home
        self._load = load
        self._calm_s = calm_s
        self._events: list[Event] = []
        self._removed: set[str] = set()
        self._steps = 0
        self._observer: Observer | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask, command and observe meanwhile; then read what all nodes hold, and stop those that are no members.

        Raises:
            ClusterError: The load broke down, or a node could not be observed.
        """
        histories, orders = self._home / "histories", self._home / "orders"
        for directory in (histories, orders):
            directory.mkdir(parents=True)
        with (histories / "observer.jsonl").open("wb") as file, Observer(self._cluster, Recorder(file)) as observer:
            self._observer = observer
            with running_load(self._load, self._cluster.home, orders=orders, histories=histories):
                yield
            self._close_books()
        if observer.faults:
            raise ClusterError(f"a node could not be observed: {observer.faults[0]!r}")
        with (histories / "steps.jsonl").open("wb") as file:
            file.writelines(encode_event(event) + b"\n" for event in sorted(self._events, key=_at))

    @contextlib.contextmanager
    def step(self, name: str, *nodes: str) -> Iterator[None]:
        """One step that concerns these nodes, and a while of calm after it."""
        self._steps += 1
        number = self._steps
        self._events.append(FaultStarted(now(), number, name, nodes))
        yield
        time.sleep(self._calm_s)
        self._events.append(FaultEnded(now(), number))

    def add(self, name: str, timeout_s: float, donor: LocalNode | None = None) -> None:
        """Add a node as an observer, and observe it from then on. See `LocalCluster.add_node`.

        Raises:
            GovraftError: It cannot be added.
        """
        began = now()
        node = self._cluster.add_node(name, voter=False, donor=donor, timeout_s=timeout_s)
        self._events.append(CommandTried(began, now(), f"add-{name}", "member.add", name, "", "unknown"))
        if self._observer is not None:
            self._observer.watch(node)

    def promote(self, name: str) -> None:
        """Make an observer a voter.

        Raises:
            GovraftError: It is refused.
        """
        began = now()
        self._note("member.promote", name, began, self._cluster.submit(self._cluster.commands.promote_member(name)))

    def remove(self, name: str) -> None:
        """Remove a node from the electorate; it goes on running.

        Raises:
            GovraftError: It is refused.
        """
        began = now()
        self._note("member.remove", name, began, self._cluster.remove_node(name))
        self._removed.add(name)

    def _note(self, kind: str, name: str, began: int, receipt: Receipt) -> None:
        found = CommandTried(
            began, now(), receipt.command_id, kind, name, "", "effective", "", receipt.seq, receipt.certified_seq
        )
        self._events.append(found)

    def events(self) -> list[Event]:
        """All that was recorded, in the order of time."""
        paths = sorted((self._home / "histories").glob("*.jsonl"))
        return list(merge(*(read_history(path) for path in paths), key=_at))

    def _close_books(self) -> None:
        running = [node for node in self._cluster.nodes.values() if node.is_running]
        outside = [node for node in running if node.id in self._removed]
        inside = [node for node in running if node not in outside]
        _settle(self._cluster, inside)
        self._events += [read_lineage(node) for node in running]
        for node in outside:
            node.stop()
        # The observer must have seen it: who runs is expected to allow.
        time.sleep(_SEEN_DOWN_S if outside else 0.0)


def _settle(cluster: LocalCluster, nodes: Sequence[LocalNode]) -> None:
    def settled() -> bool:
        found = [node.status() for node in nodes]
        return len({(item["seq"], item["certified_seq"], item["root"]) for item in found}) == 1

    # Who differs shows in the record.
    with contextlib.suppress(GovraftError):
        wait_for(settled, cluster.describe)
