"""Each number of the rules has a lineage that is replayed for ever: the same bytes, outcomes and roots."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis
from govraft.core.model.rules import RULES_FIRST, RULES_NEWEST

NUMBERS = range(RULES_FIRST, RULES_NEWEST + 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_golden_lineage_is_replayed(number: int) -> None:
    path = Path(__file__).with_name("lineages") / f"rules-{number}.jsonl.gz"
    first, *steps, last = map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
    machine = Machine(Genesis.decode(first["genesis"].encode()))
    assert machine.rules == number
    seen: Counter[str] = Counter()
    for place, step in enumerate(steps, 2):
        applied = machine.apply(base64.b64decode(step["entry"]))
        seen[applied.outcome.code] += 1
        assert (applied.outcome.code, machine.root.hex()[:16]) == (step["outcome"], step["root"]), f"seq {place}"
    assert (machine.root.hex(), machine.state_root.hex()) == (last["root"], last["state_root"])
    assert seen["applied"] >= 100
    assert len(seen) >= 30
