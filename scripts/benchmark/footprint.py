"""Memory of a node, and what it costs while nothing happens."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cluster import BenchCluster
from report import Row
from world import make_ready

IDLE_S = 20.0
QUICK_IDLE_S = 10.0
CPU_AIM_PERCENT = 3.0
MEMORY_AIM_MB = 120.0


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """An idle node with the real policies and entities: CPU over some seconds, resident memory."""
    make_ready(cluster)
    leader, idle_s = cluster.leader(), QUICK_IDLE_S if quick else IDLE_S
    begin, before = time.monotonic(), {node: _cpu_s(cluster.pid(node)) for node in cluster.node_ids}
    time.sleep(idle_s)
    passed = time.monotonic() - begin
    rows = []
    for node in cluster.node_ids:
        used = 100 * (_cpu_s(cluster.pid(node)) - before[node]) / passed
        case = f"idle {'leader' if node == leader else 'follower'} {node}"
        rows.append(Row("CPU", case, "% core", used, aim=f"≤ {CPU_AIM_PERCENT:g} %", met=used <= CPU_AIM_PERCENT))
    return rows + memory_rows(cluster, "idle")


def memory_rows(cluster: BenchCluster, case: str) -> list[Row]:
    """The largest of the nodes' resident memories, now and at its highest."""
    now = max(_memory_mb(cluster.pid(node), "VmRSS") for node in cluster.node_ids)
    peak = max(_memory_mb(cluster.pid(node), "VmHWM") for node in cluster.node_ids)
    aim = f"≤ {MEMORY_AIM_MB:g} MB"
    return [Row("memory", f"resident, {case}", "MB", now, most=peak, aim=aim, met=now <= MEMORY_AIM_MB)]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0
