"""The scan refuses what could kill the native engine, exactly at its bounds, and nothing that hides no danger."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from govraft.core.model import limits
from govraft.core.policy.hazards import HazardError, scan_policy, scan_schema, scan_value

DEPTH = limits.POLICY_BRACKET_DEPTH
CHAIN = limits.POLICY_OPERATOR_CHAIN


def policy(condition: str) -> str:
    return f"permit (principal, action, resource) when {{ {condition} }};"


def refused(text: str) -> str:
    with pytest.raises(HazardError) as caught:
        scan_policy(text)
    assert "\n" not in str(caught.value)
    return caught.value.code


NESTINGS = [
    pytest.param("(", "true", ")", id="parentheses"),
    pytest.param("[", "", "]", id="sets"),
    pytest.param("{a: ", "1", "}", id="records"),
    pytest.param("principal.f(", "1", ")", id="calls"),
    pytest.param("if a then b else ", "c", "", id="if in else"),
    pytest.param("if ", "a", " then b else c", id="if in condition"),
    pytest.param("(if a then b else ", "c", ")", id="brackets and ifs"),
]


@pytest.mark.parametrize(("start", "middle", "end"), NESTINGS)
def test_depth_boundary(start: str, middle: str, end: str) -> None:
    levels = DEPTH - 1  # One level is the condition's own brace.
    if "(if" in start:
        levels //= 2
    scan_policy(policy(start * levels + middle + end * levels))
    assert refused(policy(start * (levels + 1) + middle + end * (levels + 1))) == "policy_too_deep"


@pytest.mark.parametrize("operator", ["&&", "||", "+", "-", "*", "==", "<", ".a ", " in ", " like ", " has ", " is "])
def test_chain_boundary(operator: str) -> None:
    scan_policy(policy("a" + f"{operator}a" * (CHAIN - 2)))  # The brace and `when` count as one each.
    assert refused(policy("a" + f"{operator}a" * (CHAIN - 1))) == "policy_chain_too_long"


@pytest.mark.parametrize("clause", ["when { a }", "unless { a }"])
def test_clauses_form_a_chain(clause: str) -> None:
    head = "permit (principal, action, resource) "
    scan_policy(head + clause * (CHAIN - 1) + ";")
    assert refused(head + clause * (CHAIN + 1) + ";") == "policy_chain_too_long"


def test_unary_operators_form_a_chain() -> None:
    assert refused(policy("!" * CHAIN + "a")) == "policy_chain_too_long"


def test_chains_of_nested_brackets_add_up() -> None:
    half = "a" + "&&a" * (CHAIN // 2)
    assert refused(policy(f"({half}) && {half}")) == "policy_chain_too_long"


def test_elements_of_a_set_do_not_add_up() -> None:
    scan_policy(policy("[" + ",".join(["1 + 1"] * 1000) + "].contains(2)"))
    scan_policy(policy("[" + ",".join(["if a then b else c"] * 100) + "] == []"))


@pytest.mark.parametrize(
    "text",
    [
        policy('"' + "(" * 100 + '" == "a"'),
        policy('"\\"' + "(" * 100 + '" == "a"'),
        policy('"\\\\" == "' + "[" * 100 + '"'),
        "// " + "(" * 100 + "\n" + policy("true"),
        '// " (\n' + policy("true") + " // the end",
        '@id("' + "{" * 100 + '")\n' + policy("true"),
    ],
)
def test_strings_and_comments_hide_no_danger(text: str) -> None:
    scan_policy(text)


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_nothing_hides_behind_a_comment(line_end: str) -> None:
    assert refused(f"// harmless{line_end}" + policy("(" * 100 + "true" + ")" * 100)) == "policy_too_deep"


def test_nothing_hides_behind_a_string() -> None:
    assert refused(policy('"\\\\" == ' + "(" * 100 + "true" + ")" * 100)) == "policy_too_deep"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "permit (principal, action, resource)",
        policy("true") + policy("true"),
        policy("true") + ";",
        "permit (principal, action, resource;",
        "permit (principal, action, resource];",
        "permit (principal, action, resource));",
        policy('"never ends'),
        policy("true") + " \ud800",
    ],
)
def test_malformed(text: str) -> None:
    assert refused(text) == "policy_malformed"


def test_template() -> None:
    assert refused("permit (principal == ?principal, action, resource);") == "policy_template"


def test_size_boundary_counts_bytes() -> None:
    filler = limits.POLICY_BYTES - len(policy('"" == ""'))
    scan_policy(policy(f'"{"x" * filler}" == ""'))
    assert refused(policy(f'"{"x" * (filler + 1)}" == ""')) == "policy_too_large"
    assert refused(policy(f'"{"é" * (filler // 2 + 1)}" == ""')) == "policy_too_large"


@pytest.mark.parametrize("text", ['"' * 9_999, "/" * 9_999, '"\\' * 4_999, "((" * 4_999, "a " * 4_999, "\\" * 9_999])
def test_scan_is_fast_on_hostile_text(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(HazardError):
        scan_policy(text)
    assert time.perf_counter() - started < 1


# --- Schemas ------------------------------------------------------------------------------------------------


def schema_refused(text: str) -> str:
    with pytest.raises(HazardError) as caught:
        scan_schema(text)
    assert "\n" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(("start", "end"), [("Set<", ">"), ("{a: ", "}")])
def test_schema_depth_boundary(start: str, end: str) -> None:
    depth = limits.SCHEMA_DEPTH
    scan_schema(f"type T = {start * depth}Long{end * depth};")
    assert schema_refused(f"type T = {start * (depth + 1)}Long{end * (depth + 1)};") == "schema_too_deep"


def test_schema_depth_counts_through_common_types() -> None:
    half = limits.SCHEMA_DEPTH // 2
    inner = f"type A = {'Set<' * half}Long{'>' * half};"
    scan_schema(inner + f"type B = {'Set<' * half}A{'>' * half};")
    assert schema_refused(inner + f"type B = {'Set<' * (half + 1)}A{'>' * (half + 1)};") == "schema_too_deep"


@pytest.mark.parametrize("annotation", ["", '@doc("x") ', "@type ", "@ type "])
def test_schema_common_types_are_expanded(annotation: str) -> None:
    doubling = "type T0 = Long;" + "".join(
        f"{annotation}type T{i} = {{x: T{i - 1}, y: T{i - 1}}};" for i in range(1, 25)
    )
    assert schema_refused(doubling) == "schema_too_wide"
    assert schema_refused(f"namespace A {{ {doubling} }}") == "schema_too_wide"


def test_schema_hierarchy_boundary() -> None:
    groups = limits.SCHEMA_HIERARCHY
    scan_schema("entity E0;" + "".join(f"entity E{i + 1} in [E{i}];" for i in range(groups)))
    assert (
        schema_refused("entity E0;" + "".join(f"entity E{i + 1} in [E{i}];" for i in range(groups + 1)))
        == "schema_too_wide"
    )


@pytest.mark.parametrize(
    "text",
    [
        "type A = {b: B}; type B = {a: A};",
        "type A = Set<A>;",
        "entity U = {",
        "entity U = {a: Long]};",
        'entity U enum ["never ends];',
        "entity U \ud800;",
    ],
)
def test_schema_malformed(text: str) -> None:
    assert schema_refused(text) == "schema_malformed"


@pytest.mark.parametrize(
    "text",
    [
        "type Region = String; entity U = {Region: Region, type?: String};",
        'entity type; entity U in [type] = {"type": Long};',
        "namespace A { type T = Long; } namespace B { type S = A::T; }",
        "// type A = {{{{\nentity U;",
    ],
)
def test_schema_accepted(text: str) -> None:
    scan_schema(text)


def test_schema_size() -> None:
    assert schema_refused("// " + "x" * limits.SCHEMA_BYTES) == "schema_too_large"


# --- Values -------------------------------------------------------------------------------------------------


def nested(depth: int, kind: str) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "map"])
def test_value_depth_boundary(kind: str) -> None:
    scan_value(nested(limits.CONTEXT_DEPTH, kind))
    for depth in (limits.CONTEXT_DEPTH + 1, 100_000):
        with pytest.raises(HazardError) as caught:
            scan_value(nested(depth, kind))
        assert caught.value.code == "value_too_deep"


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        None,
        b"x",
        2**63,
        -(2**63) - 1,
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {"__expr": "1"},
        {"a": [{"__expr": 1}]},
        (1,),
    ],
)
def test_value_malformed(value: object) -> None:
    with pytest.raises(HazardError) as caught:
        scan_value({"a": value})
    assert caught.value.code == "value_malformed"


def test_value_accepted() -> None:
    scan_value({"a": [True, 2**63 - 1, -(2**63), "ü", {"__entity": {"type": "U", "id": "x"}}], "b": {}})


# --- What the bounds are for ----------------------------------------------------------------------------------

_WORST = """
import sys, cedarpy
from govraft.core.policy.hazards import scan_policy, scan_schema
policy, schema = sys.stdin.read().split("\\x1f")
scan_policy(policy), scan_schema(schema)
handle = cedarpy.Schema.from_str(schema)
cedarpy.validate_policies(policy, handle)
cedarpy.policies_to_json_str(policy)
policies = cedarpy.PolicySet.from_str(policy)
request = {"principal": 'U::"x"', "action": 'Action::"a"', "resource": 'U::"x"', "context": "{}"}
print(cedarpy.is_authorized(request, policies, cedarpy.Entities.from_json_str("[]", handle), handle).decision)
"""
_SCHEMA = "entity U in [U] = {b: Bool}; action a appliesTo {principal: [U], resource: [U], context: {}};"
_LEVELS = DEPTH - 1
_WORST_CASES = {
    "parentheses": (policy("(" * _LEVELS + "true" + ")" * _LEVELS), _SCHEMA),
    "sets": (policy("[" * _LEVELS + "]" * _LEVELS + " == []"), _SCHEMA),
    "ifs": (policy("if true then true else " * _LEVELS + "false"), _SCHEMA),
    "chain": (policy("true" + "&&true" * (CHAIN - 2)), _SCHEMA),
    "has": (policy("principal has b" + ".b" * (CHAIN - 3)), _SCHEMA),
    "both": (policy("(" * 30 + "true" + "&&true" * (CHAIN - 32) + ")" * 30), _SCHEMA),
    "groups": (policy("true"), _SCHEMA + "entity E0;" + "".join(f"entity E{i + 1} in [E{i}];" for i in range(255))),
    "types": (policy("true"), _SCHEMA + f"type T = {'Set<' * limits.SCHEMA_DEPTH}Long{'>' * limits.SCHEMA_DEPTH};"),
}


@pytest.mark.parametrize("case", _WORST_CASES)
def test_engine_survives_what_the_scan_lets_through(case: str) -> None:
    finished = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _WORST],
        input="\x1f".join(_WORST_CASES[case]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("Decision.")
