"""What the oracle reasons about: entities, requests, and which requests fit the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UID = re.compile(r'([A-Z][A-Za-z]*)::"([^"\\]*)"')

# Per action: types that may ask, types asked about, context attributes ("?" marks optional ones).
DATA = {"purpose": str, "rows?": int, "ticket?": str, "region?": str}
RUNTIME = {"incident?": str, "replicas?": int}
BOTH = {"Human", "Agent"}
DEPLOY = {"env": str, "tests_passed?": bool, "approver?": "Human", "canary_percent?": int, "hour_utc?": int}
ACTIONS: dict[str, tuple[set[str], str, dict[str, Any]]] = {
    "invoke": ({"Agent"}, "Tool", {"cost_cents": int, "dry_run?": bool, "approver?": "Human"}),
    "read": (BOTH, "DataSet", DATA),
    "write": (BOTH, "DataSet", DATA),
    "export": (BOTH, "DataSet", DATA),
    "erase": (BOTH, "DataSet", DATA),
    "build": (BOTH, "Repository", {}),
    "merge": (BOTH, "Repository", {"checks_passed?": bool, "reviews?": int}),
    "deploy": (BOTH, "Service", DEPLOY),
    "approve": ({"Human"}, "Service", {}),
    "logs": (BOTH, "Instance", RUNTIME),
    "restart": (BOTH, "Instance", RUNTIME),
    "scale": (BOTH, "Instance", RUNTIME),
    "rollback": (BOTH, "Instance", RUNTIME),
    "read_secret": (BOTH, "Secret", {"incident?": str}),
    "rotate_secret": (BOTH, "Secret", {"incident?": str}),
    "delegate": ({"Agent"}, "Agent", {"depth": int}),
    "spawn": ({"Human"}, "AgentClass", {"count": int}),
}
DATA_ACTIONS = {"read", "write", "export", "erase"}
RUNTIME_ACTIONS = {"logs", "restart", "scale", "rollback"}


class Thing:
    """One entity: its attributes as Python attributes, references to others resolved."""

    def __init__(self, world: World, kind: str, name: str) -> None:
        self.world, self.kind, self.name = world, kind, name

    def __getattr__(self, attribute: str) -> Any:
        value = self.world.raw[self.kind, self.name]["attrs"][attribute]
        return self.world.resolve(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and (self.kind, self.name) == (other.kind, other.name)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def within(self, kind: str, name: str) -> bool:
        """Whether this lies in that group, directly or not."""
        waiting, seen = [(self.kind, self.name)], set()
        while waiting:
            current = waiting.pop()
            if current == (kind, name):
                return True
            if current not in seen:
                seen.add(current)
                parents = self.world.raw.get(current, {}).get("parents", ())
                waiting += [(parent["type"], parent["id"]) for parent in parents]
        return False

    def member_of(self, group: Thing) -> bool:
        return self.within(group.kind, group.name)

    @property
    def human(self) -> bool:
        return self.kind == "Human"

    @property
    def agent(self) -> bool:
        return self.kind == "Agent"


class World:
    """All entities."""

    def __init__(self, entities: list[dict[str, Any]]) -> None:
        self.raw = {(entity["uid"]["type"], entity["uid"]["id"]): entity for entity in entities}

    def resolve(self, value: Any) -> Any:
        if isinstance(value, dict) and "__entity" in value:
            return Thing(self, value["__entity"]["type"], value["__entity"]["id"])
        return value


class Question:
    """One request, resolved."""

    def __init__(self, who: Thing, action: str, what: Thing, context: dict[str, Any]) -> None:
        self.who, self.action, self.what, self.context = who, action, what, context

    def get(self, name: str, default: Any = None) -> Any:
        return self.context.get(name, default)


def parse(world: World, request: dict[str, Any]) -> Question | None:
    """The request, resolved; None when it does not fit the schema."""
    uids = [UID.fullmatch(request[part]) for part in ("principal", "action", "resource")]
    if None in uids:
        return None
    who, action, what = (Thing(world, match[1], match[2]) for match in uids if match)
    if action.kind != "Action" or action.name not in ACTIONS:
        return None
    askers, asked, attributes = ACTIONS[action.name]
    if who.kind not in askers or what.kind != asked:
        return None
    context = {name: world.resolve(value) for name, value in request["context"].items()}
    known = {name.rstrip("?"): kind for name, kind in attributes.items()}
    required = {name for name in attributes if not name.endswith("?")}
    if not required <= context.keys() <= known.keys():
        return None
    for name, value in context.items():
        if (value.kind if isinstance(value, Thing) else type(value)) != known[name]:
            return None
    return Question(who, action.name, what, context)
