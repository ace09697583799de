"""Named mixtures of faults."""

from __future__ import annotations

import msgspec

from govraft.testing.chaos.catalogue import NEMESES

__all__ = ["SCENARIOS", "Scenario"]

_EVERYTHING = tuple(kind for kind in NEMESES if kind != "certificate-expired")
_KILLS = ("kill-follower", "kill-leader", "kill-majority", "kill-all")
_CLUSTERWIDE = ("kill-majority", "kill-all", "cold-restart", "rolling-restart", "leader-hunt", "freeze-majority")
_PARTITIONS = ("isolate-follower", "isolate-leader", "mute", "deaf", "halves", "bridge", "ring", "swizzle")
_SLOW = ("delay", "loss", "half-open")
_DISK = ("disk-full", "file-limit", "fsync-error", "write-error", "crash-at-sync", "crash-at-write")
_DAMAGE = (
    "damage-database",
    "truncate-database",
    "damage-wal",
    "truncate-wal",
    "damage-guard",
    "damage-snapshot",
    "lost-store",
)
_LIFTED = ("term-lift", "kill-leader", "isolate-follower", "isolate-leader")
_FLOODED = ("flood", "kill-follower", "kill-leader", "isolate-leader")
_CLOCKS = ("wall-step", "wall-wrong", "clock-rate")
_MOVING = ("kill-follower", "kill-leader", "kill-majority", "freeze-follower", "freeze-leader", *_PARTITIONS, *_SLOW)


class Scenario(msgspec.Struct, frozen=True):
    """A mixture.

    Attributes:
        explanation: One line.
        kinds: Kinds of faults; each comes once before one comes twice.
        overlap: How often, from 0 to 1, a fault of a node and one of the network come together.
        limit: At most so many faults; 0 for no limit.
        members: Whether members come and go meanwhile; see `members`.
    """

    explanation: str
    kinds: tuple[str, ...]
    overlap: float = 0.0
    limit: int = 0
    members: bool = False


SCENARIOS = {
    "calm": Scenario("no fault at all: what the machine can do", ()),
    "mixed": Scenario("everything that this host can do", _EVERYTHING, 0.3),
    "crash": Scenario("kill -9 of one, some and all nodes", _KILLS),
    "freeze": Scenario("SIGSTOP past a lease", ("freeze-follower", "freeze-leader", "freeze-majority")),
    "partition": Scenario("partitions of every shape", _PARTITIONS),
    "slow-links": Scenario("late, lossy and half-open links", _SLOW),
    "disk": Scenario("full disks, failed syncs and writes, crashes in the middle of them", _DISK),
    "damage": Scenario("damaged, truncated and lost files at start", _DAMAGE),
    "terms": Scenario("a stolen key lifts terms, under kills and cut links", _LIFTED, 0.5),
    "flood": Scenario("more commands than the cluster can bring through, under kills and cut links", _FLOODED, 0.5),
    "clock": Scenario("wall clocks that step or stay wrong, clocks that run fast or slow", _CLOCKS),
    "certificate": Scenario("a certificate that expires", ("certificate-expired",), limit=1),
    "leader-hunt": Scenario("whoever leads is hit", ("leader-hunt", "kill-leader", "freeze-leader", "isolate-leader")),
    "rolling-restart": Scenario("restart of one node after the other, under load", ("rolling-restart",)),
    "cold-restart": Scenario("stop and start of the whole cluster", ("cold-restart", "kill-all")),
    "members": Scenario(
        "members come, go and change their keys, under kills and cut links", _MOVING, 0.3, members=True
    ),
    "clusterwide": Scenario("only faults that leave no quorum, or move it", _CLUSTERWIDE),
}
