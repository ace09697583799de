"""Plans written by hand: one cluster, and the faults that a test is about."""

from __future__ import annotations

from govraft.testing.simulation.plan import Configuration, Fault, Plan, Question, Submission

NAMES = ("n1", "n2", "n3")


def configuration(**changes: object) -> Configuration:
    """Three voters on a fast network, exact clocks and the stand-in signer."""
    given: dict[str, object] = {
        "seed": 1,
        "profile": "faults",
        "engine": "real",
        "voters": 3,
        "observers": 0,
        "quorum": "majority",
        "lease_ms": 1_000,
        "drift_ppm": 10_000,
        "skew_ms": 500,
        "heartbeat_ms": 100,
        "election_ms": (500, 1_000),
        "sync_wait_ms": 200,
        "tick_ms": 20,
        "clocks": "within",
        "wall_rate": 1.0,
        "rates": (1.0, 1.0, 1.0),
        "is_stream": True,
        "delay_us": (200, 2_000),
        "write_us": (100, 1_000),
        "snapshot_entries": 1_000,
        "window_entries": 1_000,
        "real_keys": False,
        "seconds": 12.0,
    }
    return Configuration(**(given | changes))


def fault(
    kind: str, at_ms: int, *nodes: str, for_ms: int = 1_500, amount: int = 1, number: int = 0, salt: int = 1
) -> Fault:
    return Fault(number, kind, at_ms, for_ms, nodes, amount, salt)


def plan(*faults: Fault, submit_every_ms: int = 300, ask_every_ms: int = 100, **changes: object) -> Plan:
    """Commands at each node in turn, and questions at all nodes, from beginning to end."""
    setup = configuration(**changes)
    end_ms, names = int(setup.seconds * 1_000), setup.names
    submissions = tuple(
        Submission(at_ms, names[place % len(names)], "put", f'Agent::"a{place}"', f"c{place}", 5_000)
        for place, at_ms in enumerate(range(2_000, end_ms, submit_every_ms))
    )
    questions = tuple(
        Question(at_ms, name, 'Agent::"a0"', f"client {name}", 50)
        for at_ms in range(0, end_ms, ask_every_ms)
        for name in names
    )
    return Plan(setup, faults, submissions, questions)
