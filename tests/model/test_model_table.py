"""The table of the model cannot come out well by accident."""

from __future__ import annotations

import re

import pytest

from model import check, tlc

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIARS = check.Case("liars", "Byzantine", "NoFork", {"Liars": "{n3, n4}"})


def outcome_of(case: check.Case, capsys, monkeypatch) -> tuple[int, str]:
    monkeypatch.setattr(check, "CASES", (case,))
    code = check.main([case.name, "--limit", "250"])
    return code, capsys.readouterr().out


def test_a_violation_that_is_due_is_right(capsys, monkeypatch):
    code, table = outcome_of(LIARS, capsys, monkeypatch)
    assert "WRONG" not in table
    assert "1 of 1 as they must be" in table
    assert code == 1, "and yet no action was counted, so nothing shows that each can be taken"


@pytest.mark.parametrize("expected", ["holds", "NoStaleAllow"])
def test_another_end_than_is_due_is_wrong(capsys, monkeypatch, expected):
    case = check.Case(LIARS.name, LIARS.base, expected, LIARS.changes)
    code, table = outcome_of(case, capsys, monkeypatch)
    assert (code, "WRONG" in table) == (1, True)


def test_a_rule_that_is_misspelt_does_not_hold(capsys, monkeypatch):
    code, table = outcome_of(check.Case("typo", "Majority", "holds", {"Without": '{"max-ak"}'}), capsys, monkeypatch)
    assert (code, "not finished" in table) == (1, True)


def test_a_run_that_was_ended_does_not_hold():
    outcome = tlc.run("Check", tlc.configuration("Majority", {}), limit_s=1)
    assert not outcome.finished


def test_a_constant_that_a_configuration_lacks_is_refused():
    with pytest.raises(ValueError, match="0 lines for `Holds`"):
        tlc.configuration("Majority", {"Holds": "1"})


@pytest.mark.parametrize(("module", "base", "count"), [("Lease", "", 12), ("Clocks", "Clocks", 3)])
def test_every_rule_of_the_model_is_left_out_in_some_case(module, base, count):
    text = (tlc.MODEL / f"{module}.tla").read_text()
    rules = set(re.findall(r'"([a-z-]+)"', re.search(r"^Rules == \{(.*?)\}", text, re.MULTILINE | re.DOTALL).group(1)))
    cases = [case for case in check.CASES if (case.base == "Clocks") is (base == "Clocks")]
    left_out = {rule for case in cases for rule in re.findall(r'"([a-z-]+)"', case.changes.get("Without", ""))}
    assert len(rules) == count
    assert left_out == rules
    assert all(f'Has("{rule}")' in text for rule in rules)
