"""What a seed stands for, as data: a configuration, a list of faults and a list of what clients do.

Everything is drawn before the run begins, each part from its own stream of the seed. So a run can be repeated with some
faults left out and everything else as it was, which is how a failure is minimised.
"""

from __future__ import annotations

import random

import msgspec

from govraft.core.model.electorate import QuorumRule
from govraft.core.model.limits import VOTERS
from govraft.testing.simulation.catalogue import FAULTS, PROFILES, FaultKind
from govraft.testing.simulation.families import FAMILIES

__all__ = ["Configuration", "Fault", "PermitWish", "Plan", "Question", "Submission", "draw_plan", "stream"]

SETTLE_MS = 2_500
TARGETS = 5
ALL_PROFILES = (
    "faults",
    "faults",
    "faults",
    "faults",
    "calm",
    "storage",
    "storage",
    "loss",
    "drift",
    "clocks",
    "adversary",
    "misbehaviour",
    "membership",
    "membership",
    "membership",
    "commands",
)


class Configuration(msgspec.Struct, frozen=True):
    """The cluster of one seed.

    Attributes:
        profile: Name in `PROFILES`.
        engine: `real`, or `adversary` for the scripted sequencer.
        clocks: `within`, `unison` or `beyond`; see `clock`.
        wall_rate: Of the reference that all wall clocks follow.
        rates: Of each node's boot-time clock.
        is_stream: Whether links keep order and lose nothing while they last, as TCP; otherwise frames are lost,
            doubled, reordered and delivered late.
        delay_us, write_us: Ranges of a frame's delay and of a durable write.
        tick_ms: How often a node wakes of itself.
        snapshot_entries, window_entries: As `NodeSettings`; tiny in most seeds.
        real_keys: Ed25519 instead of the stand-in.
        spares: Nodes that may join.
    """

    seed: int
    profile: str
    engine: str
    voters: int
    observers: int
    quorum: str
    lease_ms: int
    drift_ppm: int
    skew_ms: int
    heartbeat_ms: int
    election_ms: tuple[int, int]
    sync_wait_ms: int
    tick_ms: int
    clocks: str
    wall_rate: float
    rates: tuple[float, ...]
    is_stream: bool
    delay_us: tuple[int, int]
    write_us: tuple[int, int]
    snapshot_entries: int
    window_entries: int
    real_keys: bool
    seconds: float
    spares: int = 0

    @property
    def names(self) -> list[str]:
        """All nodes, as the sample cluster names them; the last ones are no members yet."""
        return sorted(f"n{number}" for number in range(1, self.voters + self.observers + self.spares + 1))

    @property
    def has_liar(self) -> bool:
        """Whether an engine lies, so that nodes may halt, refuse or isolate themselves."""
        return self.profile in ("misbehaviour", "adversary")

    @property
    def is_fresh_promised(self) -> bool:
        """Whether no stale allow is promised."""
        return self.clocks != "beyond"


class Fault(msgspec.Struct, frozen=True):
    """One planned fault.

    Attributes:
        number: Its place in the seed's list.
        at_ms, for_ms: When, and for how long. A fault that waits for its moment is armed from `at_ms` on.
        nodes: Whom it concerns; empty where that is decided at its time (the leader then, say).
        amount: Its size, in the unit of its kind.
        salt: Seeds whatever else it draws.
    """

    number: int
    kind: str
    at_ms: int
    for_ms: int
    nodes: tuple[str, ...]
    amount: int
    salt: int


class Submission(msgspec.Struct, frozen=True):
    """One command handed in by a client, at a node. `kind` is `policy`, a mark, `put`, or one of `FAMILIES`.

    `patience_ms` is when the client gives up, which may be before the node does.
    """

    at_ms: int
    node: str
    kind: str
    target: str
    command_id: str
    patience_ms: int


class Question(msgspec.Struct, frozen=True):
    """One check asked by a client, at a node; the answer takes `travel_us` to reach it."""

    at_ms: int
    node: str
    target: str
    client: str
    travel_us: int


class PermitWish(msgspec.Struct, frozen=True):
    """One permit that a client wants from a node, and two nodes to which it is shown if it works once."""

    at_ms: int
    node: str
    target: str
    ttl_ms: int
    is_single_use: bool
    shown_to: tuple[str, str]


class Plan(msgspec.Struct, frozen=True):
    """All of a seed."""

    configuration: Configuration
    faults: tuple[Fault, ...]
    submissions: tuple[Submission, ...]
    questions: tuple[Question, ...]
    permits: tuple[PermitWish, ...] = ()


def stream(seed: int, name: str) -> random.Random:
    """One independent stream of a seed's randomness, the same in every process."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - repeatable on purpose


def draw_plan(seed: int, profile: str = "mix", seconds: float = 40.0) -> Plan:
    """Derive everything from the seed.

    Args:
        seed: Any natural number.
        profile: Name in `PROFILES`, or `mix` to let the seed choose.
        seconds: Simulated time until everything is healed.
    """
    if profile == "mix":
        profile = stream(seed, "profile").choice(ALL_PROFILES)
    configuration = _draw_configuration(seed, profile, seconds)
    return Plan(
        configuration,
        _draw_faults(configuration),
        _draw_submissions(configuration),
        _draw_questions(configuration),
        _draw_permits(configuration),
    )


def _draw_configuration(seed: int, profile: str, seconds: float) -> Configuration:
    rng = stream(seed, "configuration")
    voters = rng.choice((3, 3, 3, 3, 3, 4, 5, 5, 1, 7))
    if profile in ("adversary", "misbehaviour"):
        voters = rng.choice((3, 3, 3, 4, 5))
    observers = rng.choice((0, 0, 0, 1)) if profile != "adversary" else 0
    spares = _draw_spares(voters + observers, seed) if profile == "membership" else 0
    quorum = QuorumRule.BYZANTINE if voters == 4 or rng.random() < 0.15 else QuorumRule.MAJORITY
    is_wan = rng.random() < 0.3
    heartbeat = rng.choice((300, 400, 500) if is_wan else (60, 80, 100, 100, 150))
    election_min = int(heartbeat * rng.uniform(3.2, 6.0)) + 1
    drift_ppm = rng.choice((10_000, 10_000, 1_000, 50_000))
    clocks = _draw_clocks(profile, rng)
    middle = rng.choice((0.8, 0.9, 1.1, 1.25)) if clocks == "unison" else 1.0
    lease_ms = heartbeat * rng.choice((4, 6, 10, 10, 14))
    if profile in ("drift", "adversary"):
        # Long leases under a wide bound: there a lease arithmetic that is a little too generous has time to show.
        drift_ppm, lease_ms = rng.choice((10_000, 50_000, 100_000, 100_000)), heartbeat * rng.choice((6, 10, 14, 20))
    return Configuration(
        seed=seed,
        profile=profile,
        engine="adversary" if profile == "adversary" else "real",
        voters=voters,
        observers=observers,
        quorum=quorum.value,
        lease_ms=lease_ms,
        drift_ppm=drift_ppm,
        # A clock within its bounds must not look unsafe: the gate compares wall and boot time over a whole lease.
        skew_ms=max(rng.choice((200, 500, 1_000)), 100 + 2 * lease_ms * drift_ppm // 1_000_000),
        heartbeat_ms=heartbeat,
        election_ms=(election_min, int(election_min * rng.uniform(1.5, 2.5))),
        sync_wait_ms=heartbeat * 2,
        tick_ms=rng.choice((20, 30, 50)) if not is_wan else rng.choice((40, 60, 100)),
        clocks=clocks,
        wall_rate=middle,
        rates=_draw_rates(clocks, drift_ppm, middle, voters + observers + spares, rng),
        is_stream=rng.random() < 0.5,
        delay_us=rng.choice(((2_000, 15_000), (20_000, 70_000)) if is_wan else ((50, 400), (100, 3_000), (500, 8_000))),
        write_us=rng.choice(((60, 300), (200, 4_000), (1_000, 25_000), (60, 60_000))),
        snapshot_entries=rng.choice((2, 3, 5, 20, 1_000)),
        window_entries=rng.choice((1, 3, 10, 1_000)),
        real_keys=seed % (4 if profile == "membership" else 16) == 0,
        seconds=seconds,
        spares=spares,
    )


def _draw_spares(members: int, seed: int) -> int:
    """Enough to grow to the most voters, at times; big clusters cost time."""
    return min(stream(seed, "spares").choice((1, 2, 2, 3, 3, VOTERS)), max(1, VOTERS + 1 - members))


def _draw_clocks(profile: str, rng: random.Random) -> str:
    if profile == "drift":
        return rng.choice(("within", "unison", "beyond"))
    return "within"


def _draw_rates(clocks: str, drift_ppm: int, middle: float, count: int, rng: random.Random) -> tuple[float, ...]:
    drift = drift_ppm / 1_000_000
    width = rng.uniform(0.05, 0.3) if clocks == "beyond" else drift * middle
    if rng.random() < 0.4:
        # One slow clock among fast ones: its holder serves longest, and everybody else stops waiting for it first.
        slow = rng.randrange(count)
        return tuple(middle - width if place == slow else middle + width for place in range(count))
    # The extremes are where a bound that is a little too generous shows.
    return tuple(middle + width * rng.choice((-1, 1, rng.uniform(-1, 1))) for _ in range(count))


def _draw_faults(configuration: Configuration) -> tuple[Fault, ...]:
    rng = stream(configuration.seed, "faults")
    profile = PROFILES[configuration.profile]
    kinds = [name for name, kind in FAULTS.items() if profile.weight(kind) > 0]
    weights = [profile.weight(FAULTS[name]) for name in kinds]
    end_ms = int(configuration.seconds * 1_000)
    gap_ms = int(configuration.lease_ms * rng.choice(profile.gaps_in_leases)) + 50
    faults: list[Fault] = []
    at_ms = SETTLE_MS + rng.randint(0, gap_ms)
    while kinds and at_ms < end_ms:
        name = rng.choices(kinds, weights)[0]
        fault = _draw_fault(len(faults), name, FAULTS[name], at_ms, configuration, rng)
        faults.append(fault)
        at_ms += rng.randint(gap_ms // 4, gap_ms * 2)
    return tuple(faults)


def _draw_fault(
    number: int, name: str, kind: FaultKind, at_ms: int, configuration: Configuration, rng: random.Random
) -> Fault:
    names = configuration.names
    size = {"none": 0, "one": 1, "two": min(2, len(names)), "some": rng.randint(1, max(1, len(names) - 1))}[kind.nodes]
    low, high = kind.for_leases
    return Fault(
        number=number,
        kind=name,
        at_ms=at_ms,
        for_ms=int(configuration.lease_ms * rng.uniform(low, high)) + 1,
        nodes=tuple(rng.sample(names, size)),
        amount=rng.randint(*kind.amount),
        salt=rng.getrandbits(48),
    )


def _draw_submissions(configuration: Configuration) -> tuple[Submission, ...]:
    rng = stream(configuration.seed, "submissions")
    names, found = configuration.names, list[Submission]()
    gap_ms = rng.choice((120, 400, 900))
    at_ms, end_ms = SETTLE_MS // 2, int(configuration.seconds * 1_000)
    kinds = ("quarantine",) * 5 + ("release",) * 5 + ("put",) * 3 + ("revoke", "policy") + ("family",) * 9
    families = sorted(FAMILIES)
    while at_ms < end_ms:
        patience = rng.choice((150, 2_000, 8_000))
        if found and rng.random() < 0.25:
            first = rng.choice(found[-12:])
            retry = msgspec.structs.replace(first, at_ms=at_ms, node=rng.choice(names), patience_ms=patience)
            found.append(retry)
        else:
            kind, target = rng.choice(kinds), rng.randrange(TARGETS)
            # What is revoked stays so: only one target is ever spent on it.
            name = f'Agent::"a{TARGETS if kind == "revoke" and target else target}"'
            if kind == "family":
                kind, name = rng.choice(families), ""
            found.append(Submission(at_ms, rng.choice(names), kind, name, f"c{len(found)}", patience))
        at_ms += rng.randint(1, 2 * gap_ms)
    return tuple(found)


def _draw_questions(configuration: Configuration) -> tuple[Question, ...]:
    rng = stream(configuration.seed, "questions")
    found = list[Question]()
    end_ms = int(configuration.seconds * 1_000)
    gap_ms = rng.choice((100, 160, 300))
    for place, node in enumerate(configuration.names):
        at_ms = rng.randint(0, gap_ms)
        while at_ms < end_ms:
            target = f'Agent::"a{rng.randrange(TARGETS) if rng.random() < 0.95 else TARGETS}"'
            travel = rng.choice((20, 20, 50, 400, 5_000))
            found.append(Question(at_ms, node, target, f"client-{place}", travel))
            at_ms += rng.randint(gap_ms // 2, gap_ms * 2)
    return tuple(sorted(found, key=lambda item: (item.at_ms, item.client)))


def _draw_permits(configuration: Configuration) -> tuple[PermitWish, ...]:
    rng = stream(configuration.seed, "permits")
    names, found = configuration.names, list[PermitWish]()
    gap_ms = rng.choice((300, 700, 1_500))
    at_ms, end_ms = SETTLE_MS, int(configuration.seconds * 1_000)
    while at_ms < end_ms:
        target = f'Agent::"a{rng.randrange(TARGETS)}"'
        shown_to = (rng.choice(names), rng.choice(names))
        ttl_ms, is_single_use = rng.choice((1_000, 5_000, 60_000)), rng.random() < 0.6
        found.append(PermitWish(at_ms, rng.choice(names), target, ttl_ms, is_single_use, shown_to))
        at_ms += rng.randint(gap_ms // 2, gap_ms * 2)
    return tuple(found)
