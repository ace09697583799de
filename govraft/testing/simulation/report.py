"""The sum of many seeds, kept in a file so that runs in pieces add up.

The file holds JSON lines, one line for each run of the command. `read_total` adds them all.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

import govraft
from govraft.core.codec.complaints import in_words
from govraft.errors import DecodeError
from govraft.testing.simulation.run import Outcome
from govraft.version import VERSION

__all__ = ["Broken", "ProfileSum", "Sum", "append_sum", "read_total", "source_digest"]


class ProfileSum(msgspec.Struct):
    """What the seeds of one profile came to."""

    seeds: int = 0
    simulated_s: float = 0.0
    node_s: float = 0.0
    real_s: float = 0.0


class Broken(msgspec.Struct, frozen=True):
    """A seed that broke a rule, and how to see it again."""

    seed: int
    profile: str
    rules: tuple[str, ...]
    replay: str


class Sum(msgspec.Struct):
    """What a number of seeds came to.

    Attributes:
        version: Of govraft.
        sources: How many seeds ran on which code, by `source_digest`.
        simulated_s, node_s: Simulated time of clusters; the same times their nodes.
        real_s: Processor time.
        faults: How often each kind of fault happened.
        endings: How often a node halted of itself or refused to start; `isolated`: isolated itself.
        broken: Seeds that broke a rule. Empty is what everybody hopes for.
    """

    version: str = VERSION
    sources: dict[str, int] = {}
    first_seed: int = 0
    last_seed: int = 0
    seeds: int = 0
    simulated_s: float = 0.0
    node_s: float = 0.0
    real_s: float = 0.0
    events: int = 0
    checks: int = 0
    allows: int = 0
    commands: int = 0
    effective: int = 0
    certificates: int = 0
    looks: int = 0
    late_frames: int = 0
    permits: int = 0
    changes: int = 0
    snapshots: int = 0
    endings: dict[str, int] = {}
    faults: dict[str, int] = {}
    profiles: dict[str, ProfileSum] = {}
    broken: list[Broken] = []

    def add(self, outcome: Outcome, replay: str = "") -> None:
        """Count one seed."""
        self.first_seed = outcome.seed if not self.seeds else min(self.first_seed, outcome.seed)
        self.last_seed = max(self.last_seed, outcome.seed)
        self.seeds += 1
        _count(self.sources, (source_digest(),))
        node_s = outcome.simulated_s * outcome.nodes
        self.simulated_s += outcome.simulated_s
        self.node_s += node_s
        self.real_s += outcome.real_s
        for name in (
            "events",
            "checks",
            "allows",
            "commands",
            "effective",
            "certificates",
            "looks",
            "late_frames",
            "permits",
            "changes",
        ):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.snapshots += outcome.snapshots
        _count(self.endings, (code for _, code, _ in outcome.endings))
        _count(self.endings, ("isolated" for _ in outcome.isolated))
        for kind, count in outcome.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        profile = self.profiles.setdefault(outcome.profile, ProfileSum())
        profile.seeds += 1
        profile.simulated_s += outcome.simulated_s
        profile.node_s += node_s
        profile.real_s += outcome.real_s
        if outcome.findings:
            rules = tuple(sorted({finding.rule for finding in outcome.findings}))
            self.broken.append(Broken(outcome.seed, outcome.profile, rules, replay))

    def merge(self, other: Sum) -> None:
        """Add another sum."""
        if other.seeds:
            self.first_seed = other.first_seed if not self.seeds else min(self.first_seed, other.first_seed)
            self.last_seed = max(self.last_seed, other.last_seed)
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("endings", "faults", "sources"):
            own = getattr(self, name)
            for kind, count in getattr(other, name).items():
                own[kind] = own.get(kind, 0) + count
        for name, profile in other.profiles.items():
            mine = self.profiles.setdefault(name, ProfileSum())
            for field in ProfileSum.__struct_fields__:
                setattr(mine, field, getattr(mine, field) + getattr(profile, field))
        self.broken.extend(other.broken)


NUMBERS = (
    "seeds",
    "simulated_s",
    "node_s",
    "real_s",
    "events",
    "checks",
    "allows",
    "commands",
    "effective",
    "certificates",
    "looks",
    "late_frames",
    "permits",
    "changes",
    "snapshots",
)


def append_sum(path: Path, found: Sum) -> None:
    """Add one line to the file.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("ab") as file:
        file.write(msgspec.json.encode(found) + b"\n")


def read_total(path: Path) -> Sum:
    """All lines of the file, added up.

    Raises:
        DecodeError: A line is no sum; the message names it.
        OSError: The file cannot be read.
    """
    total = Sum()
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            total.merge(msgspec.json.decode(line, type=Sum))
        except msgspec.DecodeError as error:
            raise DecodeError(f"`{path}` line {number} is no report of a simulation: {in_words(error)}") from error
    return total


@functools.cache
def source_digest() -> str:
    """Digest of all source files of the package, so that a report tells which code it is about."""
    found = hashlib.sha256()
    root = Path(govraft.__file__).parent
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        found.update(f"{path.relative_to(root)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:16]


def _count(counts: dict[str, int], names: Iterable[str]) -> None:
    for name in names:
        counts[name] = counts.get(name, 0) + 1
