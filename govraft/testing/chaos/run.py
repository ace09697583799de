"""One run: a cluster, its load, the faults of a plan, and the judgement of all that was recorded."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import tempfile
import time
from heapq import merge
from operator import attrgetter
from pathlib import Path

from govraft.errors import GovraftError, InputError
from govraft.testing.chaos.catalogue import NEMESES, host_capabilities
from govraft.testing.chaos.load import Load, running_load
from govraft.testing.chaos.members import MemberChurn
from govraft.testing.chaos.mounts import small_file_systems
from govraft.testing.chaos.namespaces import NamespaceNetwork, missing_for_namespaces
from govraft.testing.chaos.nemesis import Arena, Nemesis, UnavailableFaultError
from govraft.testing.chaos.nemesis_clock import give_clocks
from govraft.testing.chaos.nemesis_identity import shorten_certificate
from govraft.testing.chaos.observer import Observer, read_lineage
from govraft.testing.chaos.options import ChaosError, ChaosOptions, ChaosResult, Progress
from govraft.testing.chaos.planner import Plan, PlannedFault, Step, make_plan
from govraft.testing.chaos.scenarios import SCENARIOS
from govraft.testing.chaos.workload import Recorder, now
from govraft.testing.checkers import Violation, judge
from govraft.testing.history import Event, FaultEnded, FaultStarted, encode_event, read_history
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_network import ClusterNetwork, ProxyNetwork
from govraft.testing.local_cluster_process import wait_for

__all__ = ["run_chaos"]

_TICK_S = 0.1
_RECOVERY_S = 40.0
_WARM_UP_S = 1.0
_CALM_S = 2.0
_SPARE_EVERY_S = 8.0
_SPARES_MAX = 60
_STORAGE = "\n[storage]\nsnapshot_entries = 100\nwindow_entries = 64\n"
_at = attrgetter("at")


def run_chaos(options: ChaosOptions, progress: Progress | None = None) -> ChaosResult:
    """Make a run. Call it from the main thread: the nodes die with the thread that starts them.

    Raises:
        InputError: The options cannot be used, or `out` exists.
        ClusterError: The run could not be made.
    """
    scenario = SCENARIOS.get(options.scenario)
    network = _network(options.network, members=scenario is not None and scenario.members)
    capabilities = set(host_capabilities())
    if not options.own_mounts:
        capabilities.discard("tmpfs")
    if isinstance(network, ProxyNetwork):
        capabilities |= {"loopback", "slow-links"}
    if options.scenario == "certificate":
        capabilities.add("short-certificate")
    plan = make_plan(options.scenario, seed=options.seed, duration_s=options.duration_s, capabilities=capabilities)
    cluster = LocalCluster(options.nodes, network=network, programs=options.programs)
    try:
        options.out.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"`{options.out}` exists already and is not overwritten; choose another `--out`") from None
    # Threads that nodes are tied to go last.
    with contextlib.ExitStack() as ending, contextlib.ExitStack() as stack:
        stack.enter_context(cluster)
        stack.callback(_keep_logs, cluster, options.out)
        if options.scenario == "certificate":
            shorten_certificate(cluster, list(cluster.nodes.values())[-1])
        give_clocks(cluster)
        _snapshot_often(cluster)
        if "tmpfs" in capabilities:
            stack.enter_context(small_file_systems(cluster))
        parts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parts-", dir=options.out)))
        run = _Run(options, plan, cluster, parts, progress or _silent)
        ending.callback(run.close)
        run.go()
        events = list(merge(*(read_history(path) for path in sorted(parts.glob("*.jsonl"))), key=_at))
        with (options.out / "history.jsonl").open("wb") as file:
            file.writelines(encode_event(event) + b"\n" for event in events)
    run.tell(1.0, "judging")
    violations = run.violations + judge(events, expect_live=run.is_whole)
    return ChaosResult(options, plan, network.name, events, violations, run.started, run.skipped, run.signed_reads)


def _network(name: str, *, members: bool) -> ClusterNetwork:
    missing = missing_for_namespaces()
    if members and name == "namespaces":
        raise InputError("nodes cannot join in namespaces; choose `--network proxy` for this scenario")
    if members or name == "proxy" or (name == "auto" and missing):
        return ProxyNetwork()
    if name not in {"auto", "namespaces"}:
        raise InputError(f"network `{name}` is unknown; choose `namespaces`, `proxy` or `auto`")
    if missing:
        raise ChaosError(f"{missing}; choose `--network proxy`")
    return NamespaceNetwork()


def _keep_logs(cluster: LocalCluster, out: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.copytree(cluster.home / "log", out / "log")


class _Run:
    """The moving parts of one run.

    Attributes:
        violations: What the faults themselves found, and nodes that did not come back.
        is_whole: The run went on to its end, so that liveness can be judged.
    """

    def __init__(
        self, options: ChaosOptions, plan: Plan, cluster: LocalCluster, parts: Path, progress: Progress
    ) -> None:
        self.arena = Arena(cluster, _made(cluster.home / "chaos"))
        self.violations: list[Violation] = []
        self.started: list[FaultStarted] = []
        self.skipped: list[str] = []
        self.signed_reads = 0
        self.is_whole = False
        self._options = options
        self._plan = plan
        self._cluster = cluster
        self._parts = parts
        self._progress = progress
        self._events: list[Event] = []
        self._numbers = itertools.count(1)
        self._churn: MemberChurn | None = None
        self._began = time.monotonic()

    def close(self) -> None:
        """Let go of what outlives the nodes."""
        self.arena.close()
        if self._churn is not None:
            self._churn.close()

    def tell(self, share: float, text: str) -> None:
        """Report progress."""
        self._progress(share, text)

    def go(self) -> None:
        """From the first start to the last lineage.

        Raises:
            ClusterError: The cluster does not come up, or a worker broke down.
        """
        self.tell(0.0, "starting the nodes")
        self._cluster.start()
        self._cluster.permit_all()
        with (self._parts / "observer.jsonl").open("wb") as file:
            with Observer(self._cluster, Recorder(file)) as observer:
                with self._load():
                    time.sleep(_WARM_UP_S)
                    self._began = time.monotonic()
                    self._move_members(observer)
                    self._faults()
                    self._heal()
                # Not before: a lineage that is read while commands go on lacks the newest of them.
                self._lineages()
            self.signed_reads = observer.signed_reads
            if observer.faults:
                raise ChaosError(f"a node could not be observed: {observer.faults[0]!r}")
        with (self._parts / "faults.jsonl").open("wb") as file:
            file.writelines(encode_event(event) + b"\n" for event in sorted(self._events, key=_at))

    # Load.

    def _load(self) -> contextlib.AbstractContextManager[None]:
        options = self._options
        endpoints = {node.id: node.endpoint for node in self._cluster.nodes.values()}
        spares = {name: LocalNode(self._cluster.home, name).endpoint for name in self._spares()}
        load = Load(endpoints, options.checks_per_s, options.commands_per_s, options.seed, spares)
        return running_load(load, self._cluster.home, orders=self.arena.scratch, histories=self._parts)

    # Members.

    def _spares(self) -> list[str]:
        """Ids of nodes that may join."""
        if not SCENARIOS[self._plan.scenario].members:
            return []
        first = self._options.nodes + 1
        count = min(_SPARES_MAX, 2 + int(self._options.duration_s / _SPARE_EVERY_S))
        return [f"node-{number}" for number in range(first, first + count)]

    def _move_members(self, observer: Observer) -> None:
        """Let members come and go from now on, if the scenario says so."""
        spares = self._spares()
        if not spares:
            return
        dice = random.Random(f"members/{self._options.seed}")  # noqa: S311 - as repeatable as real nodes are
        self._churn = MemberChurn(
            self.arena,
            dice,
            spares,
            watch=observer.watch,
            record=self._note,
            number=lambda: next(self._numbers),
        )
        self._churn.start()

    def _settle_members(self) -> None:
        """End the changes of the members. All faults are over by now."""
        if self._churn is not None:
            self._churn.stop()
            self.violations += [Violation.of("fault_handling", finding) for finding in self._churn.findings]

    def _note(self, event: Event) -> None:
        self._events.append(event)
        if isinstance(event, FaultStarted):
            self.started.append(event)

    # Faults.

    def _faults(self) -> None:
        end = self._began + self._options.duration_s
        for step in self._plan.steps:
            longest = max(fault.after_ms + fault.hold_ms for fault in step.faults) / 1000
            if time.monotonic() + longest > end:
                break
            if not self._step(step):
                return
        while time.monotonic() < end:
            self._tell_faults("no fault")
            time.sleep(_TICK_S)

    def _step(self, step: Step) -> bool:
        """Make the faults of a step; False if the cluster did not come back."""
        began = time.monotonic()
        waiting = sorted(step.faults, key=lambda fault: fault.after_ms)
        lasting: list[tuple[float, int, Nemesis]] = []
        while waiting or lasting:
            at_ms = (time.monotonic() - began) * 1000
            if waiting and at_ms >= waiting[0].after_ms:
                fault = waiting.pop(0)
                made = self._begin(fault)
                if made is not None:
                    lasting.append((time.monotonic() + fault.hold_ms / 1000, *made))
            for item in [item for item in lasting if item[0] <= time.monotonic()]:
                lasting.remove(item)
                self._end(*item[1:])
            for _, _, nemesis in lasting:
                nemesis.tick()
            self._tell_faults(" + ".join(nemesis.kind for _, _, nemesis in lasting) or "recovering")
            time.sleep(_TICK_S)
        if not self._recovered([fault.kind for fault in step.faults]):
            return False
        time.sleep(step.gap_ms / 1000)
        return True

    def _begin(self, fault: PlannedFault) -> tuple[int, Nemesis] | None:
        dice = random.Random(fault.seed)  # noqa: S311 - a fault that can be repeated
        nemesis, at = NEMESES[fault.kind](self.arena, dice), now()
        try:
            hit = nemesis.start()
        except UnavailableFaultError as error:
            nemesis.release()
            self.skipped.append(f"{fault.kind}: {error}")
            return None
        number = next(self._numbers)
        self._note(FaultStarted(at, number, fault.kind, hit.nodes, hit.detail))
        return number, nemesis

    def _end(self, number: int, nemesis: Nemesis) -> None:
        nemesis.end()
        nemesis.release()
        self._events.append(FaultEnded(now(), number))
        self.violations += [Violation.of("fault_handling", finding) for finding in nemesis.findings]

    def _recovered(self, kinds: list[str]) -> bool:
        running = {node.id for node in self._cluster.nodes.values() if node.is_running}

        def all_serve() -> bool:
            wanted = [node for node in self._cluster.nodes.values() if node.id in running - self.arena.outside]
            gone = [node.id for node in wanted if not node.is_running]
            if gone:
                raise ChaosError(f"does not run: {', '.join(gone)}")
            return all(node.may_allow() for node in wanted)

        try:
            wait_for(all_serve, self._cluster.describe, _RECOVERY_S)
        except GovraftError as error:
            self.violations.append(Violation.of("fault_handling", f"no recovery after {' + '.join(kinds)}: {error}"))
            return False
        return True

    def _tell_faults(self, text: str) -> None:
        share = min(1.0, (time.monotonic() - self._began) / self._options.duration_s)
        self.tell(share, f"{len(self.started)} faults · {text}")

    # The end.

    def _heal(self) -> None:
        self.tell(1.0, "healing")
        self._cluster.heal()
        self._settle_members()
        # Long enough for the judge to see each node allow again.
        time.sleep(_CALM_S)
        self.is_whole = self._recovered(["all"])

    def _lineages(self) -> None:
        self.tell(1.0, "reading the lineages")
        running = [node for node in self._cluster.nodes.values() if node.is_running]

        def settled() -> bool:
            found = [node.status() for node in running]
            return len({(item["seq"], item["certified_seq"], item["root"]) for item in found}) == 1

        with contextlib.suppress(GovraftError):
            wait_for(settled, self._cluster.describe)
        for node in running:
            self._events.append(read_lineage(node))


def _snapshot_often(cluster: LocalCluster) -> None:
    """Let snapshots come, and the engine's memory be cut, every few seconds."""
    for node in cluster.nodes.values():
        with node.config.open("a") as config:
            config.write(_STORAGE)


def _silent(share: float, text: str) -> None:
    """Report to nobody."""
    del share, text


def _made(path: Path) -> Path:
    path.mkdir()
    return path
