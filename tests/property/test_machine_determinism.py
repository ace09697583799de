"""Same genesis, same entries, same bytes: in every process, whatever its hash seed."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from govraft.core.machine.machine import Machine
from govraft.core.model.commands import COMMANDS
from govraft.core.model.outcome import Rejection
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED
from govraft.testing.simulation.histories import HASH_SEEDS, compare, draw_history, sample

SHARE = int(os.environ.get("GOVRAFT_HISTORIES", "3"))
"""Histories that run with every change; 200 for a soak. See also `scripts/sim --histories`."""
_OF_TABLES_ONLY = {
    "authority_invalid",
    "entity_claimed",
    "envelope_too_large",
    "envelope_unsigned",
    "internal_error",
    "key_duplicate",
    "key_invalid",
    "limit_exceeded",
    "member_invalid",
    "payload_malformed",
    "payload_not_canonical",
    "policy_digest_conflict",
    "policy_hazardous",
    "proposal_unknown",
    "validity_too_long",
    "wrong_cluster",
}
"""Rejections that no drawn command meets: the tables of the families reach them."""


@pytest.mark.clause("2 reproducible")
def test_a_replay_gives_the_same_leaves() -> None:
    for seed in range(2):
        machine, entries, roots, _ = draw_history(seed)
        replay = Machine(sample().genesis)
        for number, entry in enumerate(entries):
            replay.apply(entry)
            assert replay.root == roots[number]
            if number % 7 == 0:
                # Questions between entries leave no trace.
                replay.examine(entries[-1], WallMs(CREATED + number))
        assert (replay.seq, replay.root, replay.state_root) == (machine.seq, machine.root, machine.state_root)


def test_a_restored_state_goes_on_in_the_same_way() -> None:
    """What a view knows is what its records say, in whatever order it learnt of them."""
    machine, entries, roots, _ = draw_history(5)
    half = len(entries) // 2
    first = Machine(sample().genesis)
    for entry in entries[:half]:
        first.apply(entry)
    restored = Machine.restored(
        sample().genesis,
        time=first.time,
        records={name: dict(reversed(list(by_key.items()))) for name, by_key in first.copy_records().items()},
        lineage=first.lineage.copy(),
        recent=[first.leaf_bytes(first.seq) or b""],
    )
    for number, entry in enumerate(entries[half:], half):
        restored.apply(entry)
        assert restored.root == roots[number], f"seq {number + 2}"
    assert restored.state_root == machine.state_root


@pytest.mark.clause("2 deterministic")
@pytest.mark.timeout(60 + 40 * SHARE)
def test_processes_with_other_hash_seeds_come_to_the_same_root_at_every_seq() -> None:
    assert list(compare(range(11, 11 + SHARE))) == []


def test_a_difference_is_found() -> None:
    """What the comparison above would say of a machine to which hash order reached."""
    from govraft.testing.simulation import histories

    told = histories._difference(["7 aa bb cc", "7 aa bd ce"], HASH_SEEDS[:2])
    assert "seed 7: the roots at seq 3 differ" in told


def test_histories_are_worth_their_time() -> None:
    """Every command is accepted, and refused; few reasons are never given; none is a defect."""
    seen: Counter[str] = Counter()
    for seed in range(18):
        seen += draw_history(seed).seen
    for name in COMMANDS:
        assert seen[f"{name} applied"], name
        assert any(key.startswith(f"{name} ") and not key.endswith(" applied") for key in seen), name
    codes = {key.partition(" ")[2] for key in seen}
    assert "internal_error" not in codes
    never = {code.value for code in Rejection} - codes
    assert never <= _OF_TABLES_ONLY, sorted(never - _OF_TABLES_ONLY)
