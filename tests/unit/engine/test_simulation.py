"""Safety under random faults and liveness after them, and proof that the checkers would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from govraft.adapters.engine import contained, journal, replication
from govraft.adapters.engine.frames import AppendEntries, NextNodeIndex
from govraft.errors import InvariantViolation

SEEDS = 120
PLANTED_SEEDS = 600


@pytest.mark.parametrize("group", range(6))
def test_random_faults_break_nothing(simulate: Any, group: int) -> None:
    for seed in range(group, SEEDS, 6):
        simulation = simulate(seed, voters=5 if seed % 5 == 4 else 3, observers=1 if seed % 7 == 3 else 0)
        try:
            simulation.torment(4.0)
            simulation.heal()
            simulation.converge()
        except BaseException as error:
            error.add_note(f"replay: Simulation({seed}) in test_random_faults_break_nothing")
            raise


def test_same_seed_same_run(simulate: Any) -> None:
    def history() -> object:
        simulation = simulate(7)
        simulation.torment(3.0)
        return simulation.checkers.committed, simulation.checkers.leaders, simulation.now

    first = history()
    assert first == history()
    assert first[0]


def test_hash_seed_does_not_matter() -> None:
    program = (
        "import hashlib, conftest\n"
        "simulation = conftest.Simulation(7, 5, 1)\n"
        "simulation.torment(3.0)\n"
        "seen = (simulation.checkers.committed, simulation.checkers.leaders, simulation.now)\n"
        "print(hashlib.sha256(repr(seen).encode()).hexdigest())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]


def no_log_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained.ContainedEngine, "_is_up_to_date", lambda *_: True)


def forgotten_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vote of a candidate's voter is kept in memory only."""

    def forgetful(self: Any, term: int, voted_for: str | None) -> None:
        self._hard_state = msgspec.structs.replace(self._hard_state, term=term, voted_for=voted_for)
        self._record(journal.SetHardState(msgspec.structs.replace(self._hard_state, voted_for=None)))

    monkeypatch.setattr(journal.EngineJournal, "setCurrentTerm", forgetful)


def untimely_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """H2: an acknowledgement counts in any term."""
    genuine = replication.Replication.on_next_node_index

    def timeless(self: Any, node: Any, message: NextNodeIndex) -> None:
        own = self._SyncObj__raftCurrentTerm
        next_index = min(message.next_index, self._journal.last_index + 1)
        genuine(self, node, msgspec.structs.replace(message, term=max(own, 1), next_index=next_index))

    monkeypatch.setattr(replication.Replication, "on_next_node_index", timeless)


def unverified_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """H24: the leader's commit index is believed for the whole own log, anchored or not."""
    genuine = contained.ContainedEngine._on_append_entries

    def credulous(self: Any, node: Any, message: AppendEntries) -> None:
        genuine(self, node, message)
        commit = min(message.commit_index, self._journal.last_index)
        if commit > self._SyncObj__raftCommitIndex:
            self._SyncObj__raftCommitIndex = commit
            self._journal.setRaftCommitIndex(commit)

    monkeypatch.setattr(contained.ContainedEngine, "_on_append_entries", credulous)


def hasty_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the simulation itself by the test: frames leave before they are durable."""


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], int]] = {
    "candidate's log is not checked": (no_log_check, 3),
    "votes are not durable": (forgotten_vote, 3),
    "acknowledgements without a term": (untimely_acknowledgements, 3),
    "commit without verification": (unverified_commit, 3),
    "frames leave before the sync": (hasty_frames, 3),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_checkers_notice_planted_bugs(
    simulate: Any, safety_error: type[Exception], monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    plant, voters = PLANTED[bug]
    plant(monkeypatch)
    for seed in range(PLANTED_SEEDS):
        simulation = simulate(seed, voters)
        simulation.is_hasty = plant is hasty_frames
        try:
            simulation.torment(4.0)
            simulation.heal()
            simulation.converge()
        except (safety_error, InvariantViolation):
            return
        except TimeoutError:
            continue
    pytest.fail(f"{PLANTED_SEEDS} seeds did not notice: {bug}")
