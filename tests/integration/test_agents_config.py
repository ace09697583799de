"""The sample governance in cluster-configs/agents: rules, policies, entities and trace agree with each other."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from govraft.adapters.cedar_parser import parse_isolated
from govraft.core.model import limits
from govraft.core.model.request import Request
from govraft.core.policy.compiled import CompiledPolicies

CONFIG = Path(__file__).parents[2] / "cluster-configs" / "agents"
DECISIVE_MIN = 5


class Entity(NamedTuple):
    uid: str
    attrs: dict[str, Any]
    parents: tuple[str, ...]


def uid(pair: dict[str, str]) -> str:
    return f'{pair["type"]}::"{pair["id"]}"'


def load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"agents_{name}", CONFIG / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(CONFIG))  # The oracle's own modules import each other by plain name.
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(CONFIG))
    return module


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    return load_module("oracle")


SCHEMA = (CONFIG / "schema.cedarschema").read_text(encoding="utf-8")
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((CONFIG / "policies").glob("*.cedar"))}
RAW: list[dict[str, Any]] = json.loads((CONFIG / "entities.json").read_text(encoding="utf-8"))
WORLD = {uid(raw["uid"]): Entity(uid(raw["uid"]), raw["attrs"], tuple(map(uid, raw["parents"]))) for raw in RAW}
TRACE: list[dict[str, Any]] = [
    json.loads(line) for line in (CONFIG / "trace.jsonl").read_text(encoding="utf-8").splitlines()
]


def compiled(texts: dict[str, str]) -> CompiledPolicies:
    return CompiledPolicies.compile(
        SCHEMA, {hashlib.sha256(text.encode()).hexdigest(): text for text in texts.values()}
    )


def mismatches(texts: dict[str, str], trace: list[dict[str, Any]] = TRACE) -> list[dict[str, Any]]:
    bundle = compiled(texts)
    asked = ((Request(item["principal"], item["action"], item["resource"], item["context"]), item) for item in trace)
    return [
        item
        for request, item in asked
        if (bundle.evaluate(request, WORLD).effect == "allow") != (item["expect"] == "allow")
    ]


@pytest.mark.clause("5 policy engines")
def test_the_whole_trace_comes_out_as_the_rules_say() -> None:
    assert mismatches(TEXTS) == []


def test_the_oracle_derives_the_same(oracle: ModuleType) -> None:
    world = oracle.World(RAW)
    assert [item for item in TRACE if oracle.verdict(world, item) != (item["expect"], item["rule"])] == []


def test_the_oracle_notices_a_wrong_trace(tmp_path: Path) -> None:
    wrong = {**TRACE[0], "expect": "deny" if TRACE[0]["expect"] == "allow" else "allow"}
    for lines, code in (([TRACE[0]], 0), ([TRACE[0], wrong], 1)):
        path = tmp_path / f"{code}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        command = [sys.executable, str(CONFIG / "oracle.py"), str(path)]
        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == code  # noqa: S603


def test_the_oracle_stands_alone() -> None:
    for name in ("oracle", "world", "generate"):
        source = (CONFIG / f"{name}.py").read_text(encoding="utf-8")
        assert "import govraft" not in source
        assert "from govraft" not in source
        assert "cedarpy" not in source


def test_every_policy_decides_at_least_five_requests() -> None:
    # Leaving a policy out can turn only the decisions that it determines.
    determined: dict[str, list[dict[str, Any]]] = {}
    bundle = compiled(TEXTS)
    for item in TRACE:
        request = Request(item["principal"], item["action"], item["resource"], item["context"])
        for policy_id in bundle.evaluate(request, WORLD).policies:
            determined.setdefault(policy_id, []).append(item)
    for name, text in TEXTS.items():
        rest = {other: texts for other, texts in TEXTS.items() if other != name}
        trace = determined.get(hashlib.sha256(text.encode()).hexdigest(), [])
        assert len(mismatches(rest, trace)) >= DECISIVE_MIN, name


def test_the_trace_is_balanced_and_varied() -> None:
    effects = Counter(item["expect"] for item in TRACE)
    assert len(TRACE) == 2_000
    assert 0.35 <= effects["allow"] / len(TRACE) <= 0.65
    assert len({json.dumps(item) for item in TRACE}) == len(TRACE)
    rules = Counter(item["rule"] for item in TRACE)
    assert rules["no-permit"] < len(TRACE) / 3
    assert rules["invalid-request"] >= 20
    assert rules["unknown-entity"] >= 10
    actions = {item["action"] for item in TRACE if item["expect"] == "allow"}
    assert len(actions) == 17


def test_rules_policies_and_oracle_have_the_same_names(oracle: ModuleType) -> None:
    written = (CONFIG / "rules.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in written.splitlines() if line.startswith("| `")]
    effects = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert set(effects) == set(TEXTS)
    assert {name for name, effect in effects.items() if effect == "permit"} == set(oracle.PERMITS)
    assert {name for name, effect in effects.items() if effect == "forbid"} == set(oracle.FORBIDS)
    for name, text in TEXTS.items():
        assert f'@id("{name}")\n{effects[name]} (' in text


def test_sizes() -> None:
    assert len(TEXTS) >= 25
    assert len(WORLD) == len(RAW) == 300


def test_entities_fit_into_envelopes() -> None:
    # Base64 of the payload, the signatures and the header take the rest of an envelope.
    room = limits.ENVELOPE_BYTES // 2
    batches = [RAW[start : start + 100] for start in range(0, len(RAW), 100)]
    assert max(len(json.dumps(batch)) for batch in batches) < room


async def accepted() -> None:
    texts = {hashlib.sha256(text.encode()).hexdigest(): text for text in TEXTS.values()}
    await parse_isolated(SCHEMA, texts, RAW, timeout_s=60)


def test_it_passes_the_isolated_parser() -> None:
    asyncio.run(accepted())


def test_generating_gives_the_same_files() -> None:
    program = (
        "import sys, random; sys.path.insert(0, sys.argv[1]); import json, generate, oracle\n"
        "rng = random.Random(20); entities = generate.make_entities(rng)\n"
        "trace = generate.make_trace(rng, oracle.World(entities))\n"
        "print(json.dumps([entities, trace]))"
    )
    command = [sys.executable, "-c", program, str(CONFIG)]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)  # noqa: S603
    assert json.loads(made.stdout) == [RAW, TRACE]
