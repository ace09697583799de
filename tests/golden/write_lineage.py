"""Writes lineages/rules-<number>.jsonl.gz: one history of all families under one number of the rules, byte for byte.

A number is closed once it has been released: its file is never written again, and every later version replays it to
the same roots. Only the newest, open number may be written anew: `write_lineage.py NUMBER [SEED]`.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path

from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis
from govraft.testing.simulation.histories import draw_history, sample

STEPS = 600


def lineage_path(number: int) -> Path:
    """Where the lineage of that number of the rules stands."""
    return Path(__file__).with_name("lineages") / f"rules-{number}.jsonl.gz"


def write(number: int, seed: int) -> None:
    """Draw a history, and keep its entries and what each of them came to."""
    cluster = sample(number)
    machine = Machine(Genesis.decode(cluster.genesis.encode()))
    lines = [{"genesis": cluster.genesis.encode().decode()}]
    for entry in draw_history(seed, STEPS, number).entries:
        applied = machine.apply(entry)
        root = machine.root.hex()[:16]
        lines.append({"entry": base64.b64encode(entry).decode(), "outcome": applied.outcome.code, "root": root})
    lines.append({"root": machine.root.hex(), "state_root": machine.state_root.hex()})
    text = "\n".join(json.dumps(line, sort_keys=True) for line in lines) + "\n"
    lineage_path(number).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    write(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
