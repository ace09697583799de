"""The rules of rules.md in plain Python: says what the verdict must be, without Cedar and without govraft.

    python oracle.py trace.jsonl      derive every verdict again; exit 1 when one differs

It shares nothing with the policies but the entities and the English text, so that a mistake in one shows as a
difference. Each rule is one function of the same name as its policy file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from world import ACTIONS, DATA_ACTIONS, HERE, RUNTIME_ACTIONS, Question, World, parse

Rule = Callable[[Question], bool]
PERMITS: dict[str, Rule] = {}
FORBIDS: dict[str, Rule] = {}


__all__ = ["ACTIONS", "FORBIDS", "HERE", "PERMITS", "World", "load_world", "matching", "verdict"]


def permit(rule: Rule) -> Rule:
    PERMITS[rule.__name__.replace("_", "-")] = rule
    return rule


def forbid(rule: Rule) -> Rule:
    FORBIDS[rule.__name__.replace("_", "-")] = rule
    return rule


# --- Tool calls ---------------------------------------------------------------------------------------------


@permit
def tools_read_only(q: Question) -> bool:
    return q.action == "invoke" and q.who.trust >= 20 and q.what.within("ToolGroup", "read_only")


@permit
def tools_code(q: Question) -> bool:
    coder = q.who.within("AgentClass", "coder") and q.who.agent
    return q.action == "invoke" and coder and q.who.trust >= 40 and q.what.within("ToolGroup", "code")


@permit
def tools_infrastructure(q: Question) -> bool:
    if q.action != "invoke" or not q.who.within("AgentClass", "operator"):
        return False
    approver = q.get("approver")
    approved = approver is not None and approver.active and approver.on_call
    return q.what.within("ToolGroup", "infrastructure") and (q.what.risk <= 5 or approved)


@permit
def tools_web(q: Question) -> bool:
    if q.action != "invoke" or not q.who.sandboxed:
        return False
    return q.who.within("AgentClass", "research") and q.what.within("ToolGroup", "web")


@permit
def tools_dry_run(q: Question) -> bool:
    return q.action == "invoke" and q.get("dry_run", False) and q.who.trust >= 60 and q.what.risk <= 7


@forbid
def tools_spend_limit(q: Question) -> bool:
    return q.action == "invoke" and q.get("cost_cents") > q.who.spend_limit_cents


@forbid
def tools_destructive(q: Question) -> bool:
    return q.action == "invoke" and q.what.destructive and q.who.trust < 70 and not q.get("dry_run", False)


@forbid
def tools_sandbox(q: Question) -> bool:
    networked = q.action == "invoke" and q.what.network and not q.what.within("ToolGroup", "web")
    return networked and q.who.sandboxed


# --- Data ---------------------------------------------------------------------------------------------------


@permit
def data_public(q: Question) -> bool:
    return q.action == "read" and q.what.within("DataClass", "public")


@permit
def data_internal_humans(q: Question) -> bool:
    return q.action == "read" and q.who.human and q.what.within("DataClass", "internal")


@permit
def data_internal_agents(q: Question) -> bool:
    return (
        q.action == "read" and q.who.agent and q.what.within("DataClass", "internal") and q.who.member_of(q.what.owner)
    )


@permit
def data_write_owners(q: Question) -> bool:
    return q.action == "write" and q.who.human and q.who.level >= 3 and q.who.member_of(q.what.owner)


@permit
def data_analysts(q: Question) -> bool:
    if q.action != "read" or not q.who.within("AgentClass", "analyst"):
        return False
    if q.get("purpose") not in {"analytics", "audit"}:
        return False
    return q.what.within("DataClass", "confidential") and bool(q.who.owner.member_of(q.what.owner))


@permit
def data_stewards(q: Question) -> bool:
    return q.action in {"read", "export", "erase"} and q.who.within("Role", "data_steward") and "ticket" in q.context


@permit
def data_etl(q: Question) -> bool:
    return q.action == "write" and q.who.within("AgentClass", "etl") and q.who.member_of(q.what.owner)


@permit
def data_auditors(q: Question) -> bool:
    return q.action == "read" and q.who.within("Role", "auditor") and q.get("purpose") == "audit"


@forbid
def data_restricted_agents(q: Question) -> bool:
    return q.action in DATA_ACTIONS and q.who.agent and q.what.within("DataClass", "restricted")


@forbid
def data_residency(q: Question) -> bool:
    if q.action not in DATA_ACTIONS or "region" not in q.context:
        return False
    return bool(q.what.pii) and q.get("region") != q.what.residency


@forbid
def data_bulk(q: Question) -> bool:
    if q.action not in DATA_ACTIONS or q.get("rows", 0) <= 10_000:
        return False
    trusted_agent = q.who.agent and q.who.trust >= 80
    return not trusted_agent and not q.who.within("Role", "data_steward")


# --- Build, merge and deploy --------------------------------------------------------------------------------


@permit
def build_team(q: Question) -> bool:
    return q.action == "build" and q.who.member_of(q.what.team)


def reviewed(q: Question) -> bool:
    return bool(q.get("checks_passed", False)) and q.get("reviews", 0) >= 1


@permit
def merge_humans(q: Question) -> bool:
    return q.action == "merge" and q.who.human and q.who.member_of(q.what.team) and reviewed(q)


@permit
def merge_coders(q: Question) -> bool:
    if q.action != "merge" or not q.who.within("AgentClass", "coder"):
        return False
    return q.who.trust >= 50 and q.who.member_of(q.what.team) and reviewed(q)


@forbid
def merge_protected(q: Question) -> bool:
    return q.action == "merge" and q.what.protected and q.get("reviews", 0) < 2


@permit
def deploy_staging(q: Question) -> bool:
    if q.action != "deploy" or q.get("env") not in {"dev", "staging"}:
        return False
    return (q.who.human or q.who.within("AgentClass", "deployer")) and q.who.member_of(q.what.team)


@permit
def deploy_production_agents(q: Question) -> bool:
    approver = q.get("approver")
    if q.action != "deploy" or q.get("env") != "prod" or approver is None:
        return False
    deployer = q.who.within("AgentClass", "deployer") and q.who.member_of(q.what.team)
    return deployer and q.get("tests_passed", False) and approver.on_call and approver.member_of(q.what.team)


@permit
def deploy_production_humans(q: Question) -> bool:
    if q.action != "deploy" or q.get("env") != "prod" or not q.who.human:
        return False
    return q.who.level >= 4 and q.who.member_of(q.what.team) and q.get("tests_passed", False)


@forbid
def deploy_canary(q: Question) -> bool:
    critical = q.action == "deploy" and q.get("env") == "prod" and q.what.tier == 1
    return critical and q.get("canary_percent", 100) > 10


@forbid
def deploy_night(q: Question) -> bool:
    if q.action != "deploy" or q.get("env") != "prod" or 6 <= q.get("hour_utc", 12) < 22:
        return False
    return not (q.who.human and q.who.on_call)


@forbid
def deploy_pci_agents(q: Question) -> bool:
    return q.action == "deploy" and q.get("env") == "prod" and q.what.pci and q.who.agent and q.who.trust < 90


@forbid
def deploy_self_approval(q: Question) -> bool:
    return q.action == "deploy" and q.who.agent and q.get("approver") == q.who.owner


@permit
def approve_change(q: Question) -> bool:
    return q.action == "approve" and q.who.level >= 3 and q.who.member_of(q.what.team)


# --- What runs ----------------------------------------------------------------------------------------------


@permit
def runtime_non_production(q: Question) -> bool:
    if q.action not in RUNTIME_ACTIONS or q.what.environment.production:
        return False
    return q.who.member_of(q.what.service.team)


@permit
def runtime_on_call(q: Question) -> bool:
    if q.action not in RUNTIME_ACTIONS or not q.what.environment.production or not q.who.human:
        return False
    return "incident" in q.context and q.who.on_call and q.who.member_of(q.what.service.team)


@permit
def runtime_operators(q: Question) -> bool:
    if q.action != "restart" or not q.what.environment.production or not q.who.within("AgentClass", "operator"):
        return False
    return "incident" in q.context and q.who.trust >= 75 and q.who.member_of(q.what.service.team)


@permit
def runtime_sre_logs(q: Question) -> bool:
    return q.action == "logs" and q.who.within("Role", "sre")


@forbid
def runtime_freeze(q: Question) -> bool:
    change = q.action in RUNTIME_ACTIONS - {"logs"}
    return change and q.what.environment.frozen and "incident" not in q.context


@forbid
def runtime_scale_limit(q: Question) -> bool:
    return q.action == "scale" and q.get("replicas", 0) > 50


# --- Secrets ------------------------------------------------------------------------------------------------


@permit
def secrets_deployers(q: Question) -> bool:
    if q.action != "read_secret" or not q.who.within("AgentClass", "deployer"):
        return False
    return q.who.member_of(q.what.service.team)


@permit
def secrets_rotation(q: Question) -> bool:
    return q.action == "rotate_secret" and q.who.within("Role", "security")


@permit
def secrets_break_glass(q: Question) -> bool:
    if q.action != "read_secret" or not q.who.human or not q.what.break_glass:
        return False
    return "incident" in q.context and q.who.on_call and q.who.member_of(q.what.service.team)


@forbid
def secrets_production_agents(q: Question) -> bool:
    return q.action == "read_secret" and q.who.agent and q.what.environment.production


# --- Agents among themselves --------------------------------------------------------------------------------


@permit
def agents_delegate(q: Question) -> bool:
    return q.action == "delegate" and q.what.owner == q.who.owner and q.get("depth") <= 3


@forbid
def agents_no_escalation(q: Question) -> bool:
    return q.action == "delegate" and q.what.trust > q.who.trust


@permit
def agents_spawn(q: Question) -> bool:
    return q.action == "spawn" and q.who.within("Role", "platform") and 1 <= q.get("count") <= q.what.spawn_limit


# --- Everything ---------------------------------------------------------------------------------------------


@forbid
def stop_suspended_agents(q: Question) -> bool:
    return q.who.agent and q.who.suspended


@forbid
def stop_inactive_humans(q: Question) -> bool:
    return q.who.human and not q.who.active


@forbid
def stop_orphaned_agents(q: Question) -> bool:
    return q.who.agent and not q.who.owner.active


# --- Combining them -----------------------------------------------------------------------------------------


def matching(world: World, request: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """(problem, permits, forbids): what is wrong with the request, or the rules that match it."""
    question = parse(world, request)
    if question is None:
        return "invalid-request", [], []
    if not {(thing.kind, thing.name) for thing in (question.who, question.what)} <= world.raw.keys():
        return "unknown-entity", [], []
    permits = sorted(name for name, rule in PERMITS.items() if rule(question))
    forbids = sorted(name for name, rule in FORBIDS.items() if rule(question))
    return "", permits, forbids


def verdict(world: World, request: dict[str, Any]) -> tuple[str, str]:
    """("allow" or "deny", the rule that decided it; of several, the first by name)."""
    problem, permits, forbids = matching(world, request)
    if problem:
        return "deny", problem
    if forbids:
        return "deny", forbids[0]
    return ("allow", permits[0]) if permits else ("deny", "no-permit")


def load_world() -> World:
    """All entities of entities.json."""
    return World(json.loads((HERE / "entities.json").read_text(encoding="utf-8")))


def differences(world: World, lines: Iterator[str]) -> Iterator[str]:
    """One line for each request whose recorded verdict is not what the rules say."""
    for number, line in enumerate(lines, 1):
        request = json.loads(line)
        derived = verdict(world, request)
        if derived != (request["expect"], request["rule"]):
            yield f"line {number}: recorded {request['expect']} ({request['rule']}), derived {' ('.join(derived)})"


def main() -> int:
    with Path(sys.argv[1]).open(encoding="utf-8") as lines:
        found = list(differences(load_world(), lines))
    for difference in found:
        print(difference)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
