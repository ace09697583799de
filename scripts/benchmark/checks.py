"""Checks over a node's socket, against the same requests asked of Cedar directly.

Both are asked in turns, so that whatever else the machine does slows both. The raw side is the best there is:
policies, all entities and the schema parsed once, the context given as ready text; no socket, no second process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import cedarpy
import world
from cluster import BenchCluster
from footprint import memory_rows
from report import Row, quantile, sampled

from govraft import Allow, Client
from govraft.core.model.ids import parse_uid
from govraft.core.model.request import Request
from govraft.errors import GovraftError

SIZES = (10, 100, 1_000)
ROUNDS = 10
QUICK_ROUNDS = 3
REQUESTS = 200
BATCH = 500
AIM_US = 60.0


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """p50 and p99 of single checks, and how many a second, at each number of policies."""
    world.make_ready(cluster)
    rows = []
    for size in SIZES:
        texts = world.policies(size)
        world.load_policies(cluster, texts)
        rows += _at(cluster, texts, QUICK_ROUNDS if quick else ROUNDS)
    return rows + memory_rows(cluster, f"after checks at {SIZES[-1]} policies")


def _at(cluster: BenchCluster, texts: list[str], rounds: int) -> list[Row]:
    every = len(world.trace()) // REQUESTS
    requests = [request for request, _ in world.trace()[::every]]
    client = cluster.clients[cluster.node_ids[0]]
    ask = _raw(texts)
    first = [_timed(client, request)[0] for request in requests]
    _compare(client, ask, requests)
    ours: list[float] = []
    raw: list[float] = []
    for _ in range(rounds):
        ours += [_timed(client, request)[0] for request in requests]
        for question in [_question(request) for request in requests]:
            begin = time.perf_counter_ns()
            ask(question)
            raw.append((time.perf_counter_ns() - begin) / 1000)
    name, count = "check", f"{len(texts)} policies"
    row = sampled(name, f"{count}, one client", "µs", ours, against=("raw Cedar", quantile(raw, 0.5)))
    return [
        sampled(name, f"{count}, raw Cedar", "µs", raw),
        replace(
            row,
            per_second=1e6 * len(ours) / sum(ours),
            aim=f"≤ raw + {AIM_US:g} µs",
            met=row.difference is not None and row.difference <= AIM_US,
        ),
        _many(client, requests, f"{count}, {BATCH} in a batch", quantile(raw, 0.5)),
        sampled(name, f"{count}, each request's first", "µs", first, against=("raw Cedar", quantile(raw, 0.5))),
    ]


def _timed(client: Client, request: Request) -> tuple[float, bool]:
    begin = time.perf_counter_ns()
    verdict = client.check(request.principal, request.action, request.resource, request.context)
    return (time.perf_counter_ns() - begin) / 1000, isinstance(verdict, Allow)


def _many(client: Client, requests: list[Request], case: str, raw_us: float) -> Row:
    asked = (requests * (BATCH // len(requests) + 1))[:BATCH]
    each = []
    for _ in range(9):
        begin = time.perf_counter_ns()
        client.check_many(asked)
        each.append((time.perf_counter_ns() - begin) / 1000 / BATCH)
    p50 = quantile(each, 0.5)
    return Row(
        "check", case, "µs", p50, per_second=1e6 / p50, against="raw Cedar", ratio=p50 / raw_us, difference=p50 - raw_us
    )


def _question(request: Request) -> dict[str, object]:
    uids = {name: parse_uid(getattr(request, name)) for name in ("principal", "action", "resource")}
    question: dict[str, object] = {name: {"type": uid.type, "id": uid.id} for name, uid in uids.items()}
    return {**question, "context": json.dumps(request.context)}


def _raw(texts: list[str]) -> Callable[[dict[str, object]], cedarpy.AuthzResult]:
    schema = cedarpy.Schema.from_str(world.schema())
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    entities = cedarpy.Entities.from_json_str(json.dumps(world.entities()), schema)
    return lambda question: cedarpy.is_authorized(question, policies, entities, schema)


def _compare(client: Client, ask: Callable[[dict[str, object]], cedarpy.AuthzResult], requests: list[Request]) -> None:
    """Both must decide alike, or the figures compare different work.

    Raises:
        GovraftError: They do not.
    """
    for request in requests:
        expected = ask(_question(request)).allowed
        verdict = client.check(request.principal, request.action, request.resource, request.context)
        if isinstance(verdict, Allow) != expected:
            raise GovraftError(
                f"raw Cedar says {expected}, the node {verdict}, to {request}", code="bench_disagreement"
            )
