"""All kinds of faults, and what this host can make of them."""

from __future__ import annotations

import os
import shutil
import subprocess

from govraft.testing.chaos import nemesis_clock, nemesis_damage, nemesis_disk, nemesis_network, nemesis_process
from govraft.testing.chaos.members import CHANGES
from govraft.testing.chaos.nemesis import Nemesis
from govraft.testing.chaos.nemesis_flood import Flood
from govraft.testing.chaos.nemesis_identity import CertificateExpired
from govraft.testing.chaos.nemesis_member import TermLift

__all__ = ["CAPABILITIES", "GROUPS", "NEMESES", "host_capabilities"]

NEMESES: dict[str, type[Nemesis]] = {
    nemesis.kind: nemesis
    for nemesis in (
        nemesis_process.KillFollower,
        nemesis_process.KillLeader,
        nemesis_process.KillMajority,
        nemesis_process.KillAll,
        nemesis_process.ColdRestart,
        nemesis_process.RollingRestart,
        nemesis_process.LeaderHunt,
        nemesis_process.FreezeFollower,
        nemesis_process.FreezeLeader,
        nemesis_process.FreezeMajority,
        nemesis_network.IsolateFollower,
        nemesis_network.IsolateLeader,
        nemesis_network.Mute,
        nemesis_network.Deaf,
        nemesis_network.Halves,
        nemesis_network.Bridge,
        nemesis_network.Ring,
        nemesis_network.Swizzle,
        nemesis_network.Delay,
        nemesis_network.Loss,
        nemesis_network.HalfOpen,
        nemesis_disk.DiskFull,
        nemesis_disk.FileLimit,
        nemesis_disk.FsyncError,
        nemesis_disk.WriteError,
        nemesis_disk.CrashAtSync,
        nemesis_disk.CrashAtWrite,
        nemesis_damage.DamageDatabase,
        nemesis_damage.TruncateDatabase,
        nemesis_damage.DamageWal,
        nemesis_damage.TruncateWal,
        nemesis_damage.DamageGuard,
        nemesis_damage.DamageSnapshot,
        nemesis_damage.LostStore,
        nemesis_clock.WallStep,
        nemesis_clock.WallWrong,
        nemesis_clock.ClockRate,
        Flood,
        TermLift,
        CertificateExpired,
    )
}
"""By kind, in the order in which people read them."""

GROUPS = {kind: nemesis.group for kind, nemesis in NEMESES.items()} | dict.fromkeys(CHANGES, "cluster")
"""The group of every kind that a history may name, changes of the members included."""

CAPABILITIES = {
    "clocks": "nodes whose clocks can be moved",
    "loopback": "nodes that listen on the loopback interface, not in namespaces",
    "short-certificate": "a node whose certificate ends soon; the scenario `certificate` makes one",
    "slow-links": "links that can be late and lossy: the loopback proxy, not namespaces",
    "strace": "strace, and the right to use it",
    "tmpfs": "root, to give each node a file system of a few MiB",
}

_PROBE_S = 10.0


def host_capabilities() -> frozenset[str]:
    """What this host allows, whatever the network is."""
    found = {"clocks"}
    strace = shutil.which("strace")
    if strace is not None and _works([strace, "-D", "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, "/bin/true"]):
        found.add("strace")
    unshare = shutil.which("unshare")
    if os.geteuid() == 0 and unshare is not None and _works([unshare, "--mount", "/bin/true"]):
        found.add("tmpfs")
    return frozenset(found)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=False).returncode == 0  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
