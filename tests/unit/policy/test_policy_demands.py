"""Conditions on permits: what is read, and what is refused rather than skipped."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from govraft.adapters.cedar_parser import PolicyRejectedError, parse_isolated
from govraft.core.policy import engine
from govraft.core.policy.compiled import CompiledPolicies, PolicyCompileError
from govraft.core.policy.demands import NO_DEMANDS, AttestationDemand, DemandError, Demands, read_demands

TYPE = "https://slsa.dev/provenance/v1"
HEX = "0123456789abcdef" * 4
REST = "(principal, action, resource);"
ATTESTED = f'@requires_attestation("{TYPE}") '
SCHEMA = 'entity Agent; entity Tool; action "run" appliesTo { principal: [Agent], resource: [Tool] };'


def read(annotations: str, effect: str = "permit") -> Demands:
    return read_demands(engine.policy_tree(annotations + effect + REST))


@pytest.mark.parametrize(
    ("annotations", "demands"),
    [
        ("", NO_DEMANDS),
        ('@id("x") @doc("requires_grant") @reason ', NO_DEMANDS),
        ('@requires_grant("true") ', Demands(True)),
        (ATTESTED, Demands(False, AttestationDemand(TYPE))),
        (ATTESTED + '@requires_grant("true") @id("x")', Demands(True, AttestationDemand(TYPE))),
        (ATTESTED + '@attested("resource")', Demands(False, AttestationDemand(TYPE))),
        (ATTESTED + '@attested("principal")', Demands(False, AttestationDemand(TYPE, about="principal"))),
        (ATTESTED + f'@attestation_digest("sha256:{HEX}")', Demands(False, AttestationDemand(TYPE, HEX))),
        (ATTESTED + '@attestation_max_age("60")', Demands(False, AttestationDemand(TYPE, None, 60_000))),
    ],
)
def test_read(annotations: str, demands: Demands) -> None:
    assert read(annotations) == demands


@pytest.mark.parametrize(
    "annotations",
    [
        "@requires_grant ",
        '@requires_grant("false")',
        '@requires_grant("")',
        '@requires_grant("True")',
        '@requires_grant("true ")',
        '@requires_grants("true")',
        '@requires("grant")',
        '@require_grant("true")',
        '@RequiresGrant("true")',
        '@grant("true")',
        '@attestation("x:y")',
        "@requires_attestation ",
        '@requires_attestation("")',
        '@requires_attestation("provenance")',
        '@requires_attestation("https://a b")',
        f'@requires_attestation("x:{"y" * 501}")',
        '@attestation_digest("sha256:0")',
        '@attestation_max_age("60")',
        '@attested("resource")',
        ATTESTED + f'@attestation_digest("{HEX}")',
        ATTESTED + f'@attestation_digest("sha256:{HEX.upper()}")',
        ATTESTED + f'@attestation_digest("sha512:{HEX}{HEX}")',
        ATTESTED + "@attestation_digest ",
        ATTESTED + '@attestation_max_age("0")',
        ATTESTED + '@attestation_max_age("-1")',
        ATTESTED + '@attestation_max_age("1.5")',
        ATTESTED + '@attestation_max_age("１")',
        ATTESTED + '@attestation_max_age("99999999999")',
        ATTESTED + '@attested("action")',
        ATTESTED + "@attested ",
    ],
)
def test_refused(annotations: str) -> None:
    with pytest.raises(DemandError):
        read(annotations)


@pytest.mark.parametrize("annotations", ['@requires_grant("true")', ATTESTED, '@attested("principal")'])
def test_conditions_have_no_place_on_a_forbid(annotations: str) -> None:
    """A forbid that counts only sometimes would fail open."""
    with pytest.raises(DemandError):
        read(annotations, "forbid")
    assert read('@id("x")', "forbid") == NO_DEMANDS


def compiled(*texts: str) -> CompiledPolicies:
    return CompiledPolicies.compile(SCHEMA, {hashlib.sha256(text.encode()).hexdigest(): text for text in texts})


def test_compiled_with_the_policies() -> None:
    policies = compiled("permit" + REST, '@requires_grant("true") permit' + REST)
    assert sorted(policies.demands(policy_id).grant for policy_id in policies.policies) == [False, True]


def test_what_is_not_understood_does_not_compile() -> None:
    with pytest.raises(PolicyCompileError, match="requires_grnt") as caught:
        compiled("permit" + REST, '@requires_grnt("true") permit' + REST)
    assert caught.value.code == "policy_invalid"


def test_publishing_refuses_them_where_they_are_handed_in() -> None:
    """By the real parser process, which every proposed policy goes through."""
    text = '@requires_grant("yes") permit' + REST
    with pytest.raises(PolicyRejectedError, match="requires_grant") as caught:
        asyncio.run(parse_isolated(SCHEMA, {hashlib.sha256(text.encode()).hexdigest(): text}, None, timeout_s=30))
    assert caught.value.code == "policy_invalid"
