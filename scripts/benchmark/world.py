"""What is asked: the world of cluster-configs/agents, with as many policies as wanted.

Up to the number of the real policies, the first of them; beyond, generated ones. Nine in ten of those name one agent
and one tool, as per-agent grants do; every tenth is a limit on all agents' calls of a tool.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from cluster import BenchCluster

from govraft.core.model.commands import EntityFields, EntityPut, PolicyActivate, PolicyPublish
from govraft.core.model.ids import EntityUid
from govraft.core.model.request import Request

AGENTS = Path(__file__).resolve().parents[2] / "cluster-configs" / "agents"
ENVELOPE_ROOM_BYTES = 40_000
"""Of texts and attributes in one command; base64 and framing make a third more of it."""
WIDE_EVERY = 10


@cache
def schema() -> str:
    """The Cedar schema."""
    return (AGENTS / "schema.cedarschema").read_text()


@cache
def entities() -> list[dict[str, Any]]:
    """All entities, in Cedar's JSON format."""
    found: list[dict[str, Any]] = json.loads((AGENTS / "entities.json").read_text())
    return found


@cache
def trace() -> list[tuple[Request, str]]:
    """The recorded requests, each with the effect that the whole of the real policies has on it."""
    lines = (AGENTS / "trace.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    return [
        (Request(item["principal"], item["action"], item["resource"], item["context"]), item["expect"])
        for item in items
    ]


@cache
def real_policies() -> list[str]:
    """The texts of the real policies."""
    return [path.read_text() for path in sorted((AGENTS / "policies").glob("*.cedar"))]


def policies(count: int) -> list[str]:
    """So many policy texts."""
    real = real_policies()
    return real[:count] + [_generated(number) for number in range(max(0, count - len(real)))]


def policy_id(text: str) -> str:
    """The id of a policy."""
    return hashlib.sha256(text.encode()).hexdigest()


def _generated(number: int) -> str:
    agents, tools = _uids("Agent"), _uids("Tool")
    tool = tools[number % len(tools)]
    if number % WIDE_EVERY == 0:
        return (
            f'@id("bench-{number}")\nforbid (principal is Agent, action == Action::"invoke", resource == {tool})\n'
            f"when {{ context.cost_cents > {1_000_000 + number} }};\n"
        )
    agent = agents[number % len(agents)]
    return (
        f'@id("bench-{number}")\npermit (principal == {agent}, action == Action::"invoke", resource == {tool})\n'
        f"when {{ context.cost_cents < {number} && !principal.suspended }};\n"
    )


@cache
def _uids(kind: str) -> list[str]:
    return [_uid(item["uid"]) for item in entities() if item["uid"]["type"] == kind]


def _uid(uid: dict[str, str]) -> str:
    return str(EntityUid(uid["type"], uid["id"]))


def load_entities(cluster: BenchCluster) -> None:
    """Put all entities."""
    batch: list[EntityFields] = []
    for item in entities():
        batch.append(EntityFields(_uid(item["uid"]), item["attrs"], tuple(_uid(up) for up in item["parents"])))
        if len(json.dumps([[one.uid, one.attrs, one.parents] for one in batch])) > ENVELOPE_ROOM_BYTES:
            cluster.submit(cluster.build(EntityPut, entities=tuple(batch)))
            batch = []
    if batch:
        cluster.submit(cluster.build(EntityPut, entities=tuple(batch)))


def load_policies(cluster: BenchCluster, texts: list[str]) -> None:
    """Make exactly these the active policies."""
    client = cluster.clients[cluster.node_ids[0]]
    published = client.read("policies")["versions"]
    held = set(client.read("policy", version=published[-1]["version"])["policies"]) if published else set()
    wanted = {policy_id(text): text for text in texts}
    added = [text for name, text in wanted.items() if name not in held]
    removed = sorted(held - wanted.keys())
    while added or removed:
        batch: list[str] = []
        while added and sum(map(len, batch)) + len(added[0]) < ENVELOPE_ROOM_BYTES:
            batch.append(added.pop(0))
        dropped, removed = removed[:200], removed[200:]
        last: dict[str, Any] = published[-1] if published else {"version": 0, "digest": ""}
        envelope = cluster.build(
            PolicyPublish,
            version=last["version"] + 1,
            expected=last["digest"],
            schema=None if published else schema(),
            policies=tuple(batch),
            removed=tuple(dropped),
        )
        cluster.submit(envelope)
        published = client.read("policies")["versions"]
    cluster.submit(cluster.build(PolicyActivate, version=published[-1]["version"], digest=published[-1]["digest"]))
    # Each node compiles at its first check.
    request = trace()[0][0]
    for each in cluster.clients.values():
        each.check(request.principal, request.action, request.resource, request.context)
    cluster.wait_until_standing()


def make_ready(cluster: BenchCluster) -> None:
    """Load the real world, unless some policies are active already."""
    client = cluster.clients[cluster.node_ids[0]]
    if client.read("policies")["active"] is None:
        load_policies(cluster, real_policies())
        load_entities(cluster)


def allowed_requests(cluster: BenchCluster) -> list[Request]:
    """Requests that are allowed now, each of another principal."""
    client = cluster.clients[cluster.node_ids[0]]
    found: dict[str, Request] = {}
    for request, _ in trace():
        if request.principal not in found and client.check(
            request.principal, request.action, request.resource, request.context
        ):
            found[request.principal] = request
    return list(found.values())
