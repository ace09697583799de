"""Makes entities.json and trace.jsonl: the same bytes for the same seed.

    python generate.py [--seed N]

Requests are drawn at random and judged by oracle.py. Of those drawn, the trace keeps for each rule some that this rule
alone decides (without it the verdict would differ), then fills up to the wanted share of allows.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import oracle

REQUESTS = 2_000
ALLOWED = 960
PER_RULE = 14
INVALID = 30
UNKNOWN = 20
DRAWS = 45_000

TEAMS = """
    payments checkout search identity data platform mobile risk billing support growth infrastructure
""".split()  # noqa: SIM905
ROLES = """
    data_steward auditor sre security platform support_lead
""".split()  # noqa: SIM905
CLASSES = {"coder": 10, "operator": 6, "research": 20, "analyst": 8, "deployer": 4, "etl": 5, "assistant": 25}
TOOL_GROUPS = """
    read_only code infrastructure web office
""".split()  # noqa: SIM905
REGIONS = ["eu", "us", "apac"]
HUMANS = """
    alice bob carol dave erin frank grace heidi ivan judy kevin laura mallory nina oscar peggy quentin ruth
    sybil trent ursula victor wendy xavier yvonne zoe amir bianca chen dalia emeka fatima goran hana igor jun
    kofi lena mateo noor olga pavel qiang rosa samir tara ugo vera wei ximena yusuf zara anders bela ciro dunja
    elif farid greta hugo inez jonas katya luca mina nils oona petra rafael signe
""".split()  # noqa: SIM905
TOOLS = {
    "read_only": "search_code read_file list_tickets query_metrics read_wiki fetch_calendar",
    "code": "edit_file run_tests open_pull_request run_linter apply_patch delete_branch",
    "infrastructure": "terraform_plan terraform_apply kubectl_get kubectl_delete drain_node resize_pool",
    "web": "browse download_page submit_form web_search post_message scrape_site",
    "office": "send_mail book_meeting edit_document share_file order_supplies delete_folder",
}
DESTRUCTIVE = {
    "delete_branch", "apply_patch", "terraform_apply", "kubectl_delete", "drain_node", "submit_form", "delete_folder",
    "query_metrics",
}  # fmt: skip
NETWORK = {
    "open_pull_request", "fetch_calendar", "kubectl_get", "kubectl_delete", "send_mail", "share_file", "list_tickets",
    *TOOLS["web"].split(),
}  # fmt: skip
SERVICES = """
    payments ledger checkout cart search ranking login sessions warehouse lakehouse gateway builds mobile_api
    push fraud limits invoices helpdesk campaigns dns
""".split()  # noqa: SIM905
SERVICE_TEAMS = """
    payments payments checkout checkout search search identity identity data data platform platform mobile
    mobile risk risk billing support growth infrastructure
""".split()  # noqa: SIM905
ENVIRONMENTS = {
    "dev": (False, False),
    "staging": (False, True),
    "qa": (False, False),
    "prod": (True, False),
    "dr": (True, True),
}
DATA_SETS = """
    web_docs price_list status_page holiday_calendar open_jobs org_chart runbooks roadmap build_logs
    ticket_stats payroll card_numbers customer_profiles fraud_cases contracts clickstream search_queries
    support_chats invoices_archive session_events device_ids risk_scores campaign_results warehouse_facts
    login_attempts incident_reports backups health_records audit_trail key_inventory
""".split()  # noqa: SIM905
DATA_CLASSES = ["public"] * 5 + ["internal"] * 9 + ["confidential"] * 10 + ["restricted"] * 6

# Which agents have business with an action; the others are drawn too, less often.
USUAL = {
    "merge": "coder", "deploy": "deployer", "read_secret": "deployer", "restart": "operator", "write": "etl",
    "read": "analyst",
}  # fmt: skip

Entity = dict[str, Any]


def entity(kind: str, name: str, attrs: Entity | None = None, parents: list[tuple[str, str]] | None = None) -> Entity:
    """One entity in Cedar's JSON format."""
    return {
        "uid": {"type": kind, "id": name},
        "attrs": attrs or {},
        "parents": [{"type": above, "id": group} for above, group in parents or []],
    }


def ref(kind: str, name: str) -> Entity:
    """A reference to an entity, as an attribute value."""
    return {"__entity": {"type": kind, "id": name}}


def make_entities(rng: random.Random) -> list[Entity]:
    """300 entities: groups, humans, agents, and what they work with."""
    made = [entity("Team", team) for team in TEAMS] + [entity("Role", role) for role in ROLES]
    made += [entity("AgentClass", name, {"spawn_limit": limit}) for name, limit in CLASSES.items()]
    made += [entity("ToolGroup", group) for group in TOOL_GROUPS]
    made += [entity("DataClass", name) for name in ("public", "internal", "confidential")]
    made.append(entity("DataClass", "restricted", parents=[("DataClass", "confidential")]))
    made += make_humans(rng) + make_agents(rng)
    for group, names in TOOLS.items():
        for name in names.split():
            attrs: Entity = {"risk": rng.randint(0, 10), "network": name in NETWORK, "destructive": name in DESTRUCTIVE}
            made.append(entity("Tool", name, attrs, [("ToolGroup", group)]))
    for index, (name, group) in enumerate(zip(DATA_SETS, DATA_CLASSES, strict=True)):
        attrs = {"owner": ref("Team", TEAMS[index % 12]), "pii": index % 3 == 0, "residency": rng.choice(REGIONS)}
        made.append(entity("DataSet", name, attrs, [("DataClass", group)]))
    for index in range(16):
        attrs = {"team": ref("Team", TEAMS[index % 12]), "protected": index % 2 == 0}
        made.append(entity("Repository", f"{TEAMS[index % 12]}-{'app' if index < 12 else 'tools'}", attrs))
    return made + make_services()


def make_humans(rng: random.Random) -> list[Entity]:
    """Everybody, spread over teams and, every second one, roles."""
    made = []
    for index, name in enumerate(HUMANS):
        attrs: Entity = {"active": index % 7 != 6, "level": rng.randint(1, 5), "on_call": index % 5 < 2}
        groups = [("Team", TEAMS[index % 12])]
        if index % 2 == 0:
            groups.append(("Role", ROLES[index // 2 % 6]))
        made.append(entity("Human", name, attrs, groups))
    return made


def make_agents(rng: random.Random) -> list[Entity]:
    """Agents of every class and team, each with an owner of its team."""
    made = []
    for index in range(70):
        kind = list(CLASSES)[index % 7]
        team = TEAMS[index % 12]
        name = "ci-bot" if index == 60 else f"{kind}-{index:02}"
        if index == 60:
            kind, team = "deployer", "payments"
        owners = [human for place, human in enumerate(HUMANS) if TEAMS[place % 12] == team]
        attrs: Entity = {
            "owner": ref("Human", owners[0] if index == 60 else rng.choice(owners)),
            "trust": 92 if index == 60 else rng.randint(10, 100),
            "suspended": index % 10 == 7,
            "sandboxed": kind == "research" or (index % 5 == 0 and index != 60),
            "spend_limit_cents": rng.choice([0, 100, 500, 2_000, 10_000]),
        }
        made.append(entity("Agent", name, attrs, [("Team", team), ("AgentClass", kind)]))
    return made


def make_services() -> list[Entity]:
    """Services, environments, and the instances and secrets that belong to both."""
    made = []
    for index, (name, team) in enumerate(zip(SERVICES, SERVICE_TEAMS, strict=True)):
        made.append(entity("Service", name, {"team": ref("Team", team), "tier": index % 4 + 1, "pci": index % 3 != 1}))
    for name, (production, frozen) in ENVIRONMENTS.items():
        made.append(entity("Environment", name, {"production": production, "frozen": frozen}))
    for index in range(15):
        service, environment = SERVICES[index * 4 // 3], list(ENVIRONMENTS)[index % 5]
        attrs: Entity = {"service": ref("Service", service), "environment": ref("Environment", environment)}
        made.append(entity("Instance", f"{service}@{environment}", attrs))
    for index in range(10):
        service, environment = SERVICES[index * 2], list(ENVIRONMENTS)[index * 2 % 5]
        attrs = {
            "service": ref("Service", service),
            "environment": ref("Environment", environment),
            "break_glass": index % 2 == 0,
        }
        made.append(entity("Secret", f"{service}-key", attrs))
    return made


class Drawing:
    """Draws requests that are near the edge of some rule often enough."""

    def __init__(self, rng: random.Random, world: oracle.World) -> None:
        self.rng = rng
        self.world = world
        self.names: dict[str, list[str]] = {}
        for kind, name in world.raw:
            self.names.setdefault(kind, []).append(name)

    def draw(self) -> dict[str, Any]:
        rng = self.rng
        action = rng.choice(list(oracle.ACTIONS))
        askers, asked, _ = oracle.ACTIONS[action]
        kind = rng.choice(sorted(askers))
        who = rng.choice(self.names[kind])
        if kind == "Agent" and action in USUAL and rng.random() < 0.6:
            who = rng.choice([name for name in self.names[kind] if self.class_of(name) == USUAL[action]])
        team = self.team_of(kind, who)
        near = [name for name in self.names[asked] if self.team_of(asked, name) == team]
        if asked == "Agent":
            owner = self.world.raw[kind, who]["attrs"]["owner"]
            near = [name for name in near if self.world.raw["Agent", name]["attrs"]["owner"] == owner]
        what = rng.choice(near) if near and rng.random() < 0.7 else rng.choice(self.names[asked])
        return {
            "principal": f'{kind}::"{who}"',
            "action": f'Action::"{action}"',
            "resource": f'{asked}::"{what}"',
            "context": self.context(action, team),
        }

    def class_of(self, name: str) -> str:
        return str(self.world.raw["Agent", name]["parents"][1]["id"])

    def team_of(self, kind: str, name: str) -> str:
        raw = self.world.raw[kind, name]
        if kind in {"Agent", "Human"}:
            return str(raw["parents"][0]["id"])
        held = raw["attrs"].get("team") or raw["attrs"].get("owner")
        if held is None and "service" in raw["attrs"]:
            return self.team_of("Service", raw["attrs"]["service"]["__entity"]["id"])
        return str(held["__entity"]["id"]) if held else ""

    def context(self, action: str, team: str) -> dict[str, Any]:
        rng = self.rng
        values: dict[str, Callable[[], Any]] = {
            "cost_cents": lambda: rng.choice([0, 0, 10, 90, 400, 1_500, 20_000]),
            "dry_run": lambda: rng.random() < 0.7,
            "approver": lambda: ref("Human", self.approver(team)),
            "purpose": lambda: rng.choice(["analytics", "audit", "support", "training"]),
            "rows": lambda: rng.choice([1, 100, 10_000, 10_001, 500_000]),
            "ticket": lambda: f"OPS-{rng.randint(1, 999)}",
            "region": lambda: rng.choice(REGIONS),
            "checks_passed": lambda: rng.random() < 0.8,
            "reviews": lambda: rng.choice([0, 1, 1, 2, 3]),
            "env": lambda: rng.choice(["dev", "staging", "prod", "prod", "prod"]),
            "tests_passed": lambda: rng.random() < 0.85,
            "canary_percent": lambda: rng.choice([1, 5, 10, 11, 50]),
            "hour_utc": lambda: rng.choice([5, 6, 9, 14, 21, 22]),
            "incident": lambda: f"INC-{rng.randint(1, 999)}",
            "replicas": lambda: rng.choice([1, 10, 50, 51, 200]),
            "depth": lambda: rng.randint(1, 4),
            "count": lambda: rng.choice([0, 1, 3, 10, 30]),
        }
        made = {}
        for attribute in oracle.ACTIONS[action][2]:
            if not attribute.endswith("?") or rng.random() < 0.7:
                made[attribute.rstrip("?")] = values[attribute.rstrip("?")]()
        return made

    def approver(self, team: str) -> str:
        near = [name for name in HUMANS if self.team_of("Human", name) == team]
        return self.rng.choice(near) if near and self.rng.random() < 0.8 else self.rng.choice(HUMANS)

    def spoil(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request, made unfit for the schema."""
        choices: list[dict[str, Any]] = [
            {"action": 'Action::"format_disk"'},
            {"resource": request["principal"], "principal": request["resource"]},
            {"principal": 'Robot::"r2"'},
            {"context": {**request["context"], "please": True}},
            {"context": {name: [value] for name, value in request["context"].items()} or {"x": 1}},
        ]
        return {**request, **self.rng.choice(choices)}

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """The request, about something that does not exist."""
        part = self.rng.choice(["principal", "resource"])
        kind = request[part].split("::")[0]
        return {**request, part: f'{kind}::"ghost"'}


def deciding_rule(permits: list[str], forbids: list[str]) -> str:
    """The rule without which the verdict would be another; empty if there is none."""
    if len(forbids) == 1 and permits:
        return forbids[0]
    return permits[0] if len(permits) == 1 and not forbids else ""


def make_trace(rng: random.Random, world: oracle.World) -> list[dict[str, Any]]:
    """Requests with their verdicts, shuffled."""
    drawing = Drawing(rng, world)
    special = [drawing.spoil(drawing.draw()) for _ in range(INVALID * 2)]
    special = [request for request in special if oracle.verdict(world, request)[1] == "invalid-request"][:INVALID]
    special += [drawing.forget(drawing.draw()) for _ in range(UNKNOWN)]
    kept: dict[str, dict[str, Any]] = {json.dumps(request): request for request in special}
    per_rule: Counter[str] = Counter()
    spare: dict[str, list[dict[str, Any]]] = {"allow": [], "deny": []}
    for _ in range(DRAWS):
        request = drawing.draw()
        if json.dumps(request) in kept:
            continue
        problem, permits, forbids = oracle.matching(world, request)
        rule = deciding_rule(permits, forbids)
        if rule and not problem and per_rule[rule] < PER_RULE:
            per_rule[rule] += 1
            kept[json.dumps(request)] = request
        else:
            spare[oracle.verdict(world, request)[0]].append(request)
    allowed = sum(oracle.verdict(world, request)[0] == "allow" for request in kept.values())
    for effect, wanted in (("allow", ALLOWED - allowed), ("deny", REQUESTS - ALLOWED - len(kept) + allowed)):
        fresh = {json.dumps(request): request for request in spare[effect]}
        names = [name for name in fresh if name not in kept]
        kept |= {name: fresh[name] for name in names[:wanted]}
    trace = list(kept.values())
    rng.shuffle(trace)
    for request in trace:
        request["expect"], request["rule"] = oracle.verdict(world, request)
    return trace


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=20)
    rng = random.Random(parser.parse_args().seed)  # noqa: S311 - reproducible on purpose
    entities = make_entities(rng)
    lines = ",\n".join(json.dumps(made) for made in entities)
    (oracle.HERE / "entities.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    trace = make_trace(rng, oracle.World(entities))
    text = "".join(json.dumps(request) + "\n" for request in trace)
    (oracle.HERE / "trace.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
