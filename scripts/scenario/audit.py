"""`audit`: many decisions of one node are recorded, anchored, exported and evaluated again.

Then three of them are tampered with, and exactly these three must be found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from govraft.core.codec.canonical import pack_json
from govraft.testing.chaos.workload import ACTION, RESOURCE, subject
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_errors import ClusterError
from govraft.testing.local_cluster_process import wait_for
from scenario.figures import Findings
from scenario.programs import Cost, peak_mib, require_done, run_program, size_mib

__all__ = ["audit_many", "tamper"]

_BATCH = 100
_AGENTS = 40
_BATCHES_A_COMMAND = 5
_PATIENCE_S = 120.0
_LINE_BYTES_MAX = 1 << 20
_STRICT = '\n[decisions]\nmode = "strict"\nanchor_s = 1\n'
_BEST_EFFORT = '\n[decisions]\nmode = "best_effort"\nanchor_s = 1\n'

Progress = Callable[[float, str], None]
Line = dict[str, Any]


def audit_many(place: Path, progress: Progress, *, decisions: int = 100_000) -> Findings:
    """Ask one node so many times, while agents are quarantined and released, and audit its log.

    Args:
        place: An empty directory for exports.
        progress: Told the share that is done, and what happens.
        decisions: How many of a node that logs strictly; a tenth of them at one that does not.

    Raises:
        GovraftError: The scenario could not be gone through.
    """
    found = Findings("audit")
    found.note_load()
    with LocalCluster(3, links=False) as cluster:
        strict, quick, _ = cluster.nodes.values()
        for node, text in ((strict, _STRICT), (quick, _BEST_EFFORT)):
            with node.config.open("a") as config:
                config.write(text)
        cluster.start()
        cluster.permit_all()
        took_s = _ask(cluster, strict, decisions, lambda share: progress(share / 2, "asking"))
        found.add("decisions, strict log", decisions, "", f"{decisions / took_s:,.0f} a second, in batches of {_BATCH}")
        took_s = _ask(cluster, quick, decisions // 10, lambda _: None)
        found.add("decisions, best effort", decisions // 10, "", f"{decisions / 10 / took_s:,.0f} a second, likewise")
        progress(0.5, "waiting for the anchor")
        began = time.monotonic()
        wait_for(lambda: _anchored(strict) >= decisions, cluster.describe, _PATIENCE_S)
        found.add("anchored after", time.monotonic() - began, "s", "a second at least: `anchor_s = 1`")
        found.add("log of the node", size_mib(strict.home / "data" / "decisions.db"), "MiB")
        found.add("most memory of the node", peak_mib(strict), "MiB")
        progress(0.55, "exporting")
        _export(found, cluster, strict, place)
        progress(0.6, "evaluating again")
        _replay(found, cluster, place, decisions)
        progress(0.8, "tampering")
        _tampered(found, cluster, place)
    found.note_load()
    return found


def tamper(lines: list[bytes]) -> tuple[list[bytes], list[tuple[int, str]]]:
    """Three records of an export are made to lie; the lines then, and what must be found: index and problem.

    A denial becomes an allow, an allow is said to have been somebody else's who was quarantined then, one is taken out.

    Raises:
        ClusterError: It holds no such records.
    """
    records: list[Line] = [msgspec.json.decode(line) for line in lines[1:-1]]
    denials = [item for item in records if item.get("reason") == "quarantined"]
    third = len(denials) // 3
    for denied in denials[third:]:
        same = (item for item in records if item.get("verdict") == "allow" and item["seq"] == denied["seq"])
        allowed = next(same, None)
        if allowed is not None:
            break
    else:
        raise ClusterError("no seq of the log has both an allow and a denial: nothing can be tampered with")
    flipped = next(item for item in denials if item is not denied)
    flipped.update(verdict="allow", reason="", message="")
    allowed.update(request=denied["request"], request_digest=denied["request_digest"])
    gone = next(item for item in reversed(records) if item not in (flipped, allowed))
    kept = [pack_json(item) + b"\n" if item in (flipped, allowed) else line for item, line in _pairs(records, lines)]
    del kept[gone["index"] - records[0]["index"]]
    wrong = [(flipped["index"], "verdict"), (allowed["index"], "verdict"), (gone["index"], "missing")]
    return [lines[0], *kept, lines[-1]], sorted(wrong)


def _pairs(records: list[Line], lines: list[bytes]) -> list[tuple[Line, bytes]]:
    return list(zip(records, lines[1:-1], strict=True))


def _ask(cluster: LocalCluster, node: LocalNode, count: int, progress: Callable[[float], None]) -> float:
    """Ask a node about many agents, some of them quarantined; seconds that it took, those of the commands left out."""
    asking_s, done, marked = 0.0, 0, -1
    while done < count:
        if done // _BATCH % _BATCHES_A_COMMAND == 0:
            if marked >= 0:
                cluster.release(subject(f"agent-{marked}"))
            marked = (marked + 1) % _AGENTS
            cluster.quarantine(subject(f"agent-{marked}"))
            progress(done / count)
        size = min(_BATCH, count - done)
        asked = [(subject(f"agent-{number % _AGENTS}"), ACTION, RESOURCE) for number in range(done, done + size)]
        began = time.monotonic()
        node.client.check_many(asked)
        asking_s += time.monotonic() - began
        done += size
    cluster.release(subject(f"agent-{marked}"))
    return asking_s


def _anchored(node: LocalNode) -> int:
    return next((int(item["size"]) for item in node.client.read("anchors") if item["node"] == node.id), 0)


def _export(found: Findings, cluster: LocalCluster, node: LocalNode, place: Path) -> None:
    decisions, lineage = place / "decisions.jsonl", place / "lineage.jsonl"
    made = _govraft(place, "--cluster", cluster.home, "audit", "export", node.id, decisions)
    require_done(made, "the export of the decisions")
    found.add("export of the decisions", made.wall_s, "s", f"{size_mib(decisions):,.0f} MiB")
    # Whatever the newest record rests on must be in the lineage that is exported.
    cluster.quarantine(subject("last"))
    made = _govraft(place, "--cluster", cluster.home, "--endpoint", node.id, "lineage", "export", lineage)
    require_done(made, "the export of the lineage")


def _replay(found: Findings, cluster: LocalCluster, place: Path, decisions: int) -> None:
    cost, report = _evaluate(cluster, place, place / "decisions.jsonl")
    count, wrong = report["last"] - report["first"], report["mismatch_count"]
    found.add("records evaluated again", count, "", ", ".join(f"{kind} {n:,}" for kind, n in report["counts"].items()))
    found.add("mismatches", wrong, "")
    found.add("anchored up to", report["anchored"], "", f"by seq {report['anchor_seq']}")
    found.add("replay", cost.wall_s, "s", f"{cost.cpu_s:,.1f} s of processor time")
    found.add("replay: most memory", cost.peak_mib, "MiB")
    found.demand(
        f"{wrong} mismatches, {report['chain']}, exit code {cost.code}", holds=report["clean"] and not cost.code
    )
    found.demand(f"{count} records, {report['dropped']} dropped", holds=count >= decisions and not report["dropped"])
    found.demand(f"only {report['anchored']} records are anchored", holds=report["anchored"] >= decisions)


def _tampered(found: Findings, cluster: LocalCluster, place: Path) -> None:
    lines, expected = tamper((place / "decisions.jsonl").read_bytes().splitlines(keepends=True))
    path = place / "tampered.jsonl"
    path.write_bytes(b"".join(lines))
    cost, report = _evaluate(cluster, place, path)
    named = [(item["index"], item["problem"]) for item in report["mismatches"]]
    found.add("tampered records found", len(named), "", f"of {len(expected)}, exit code {cost.code}")
    found.demand(f"tampered with {expected}, found {named}, exit code {cost.code}", holds=named == expected)
    found.demand(f"exit code {cost.code} for a log that was tampered with", holds=cost.code == 1)


def _evaluate(cluster: LocalCluster, place: Path, decisions: Path) -> tuple[Cost, Any]:
    trusted = ("--lineage", place / "lineage.jsonl", "--genesis", cluster.home / "genesis.json")
    cost = _govraft(place, "-o", "json", "audit", "replay", decisions, *trusted)
    if cost.code not in {0, 1}:
        raise ClusterError(f"the replay ended with {cost.code}: {cost.err[-1000:]}")
    return cost, msgspec.json.decode(cost.out)


def _govraft(place: Path, *arguments: object) -> Cost:
    return run_program("govraft.cli.main", *arguments, cwd=place)
