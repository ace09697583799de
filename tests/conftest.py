"""What holds for every test: where it counts, nothing is left out in silence; and what shows a clause is written down."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# On a busy host examples are slow to draw, which says nothing about the product.
settings.register_profile("govraft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("govraft")

# A test of real processes that failed is judged again, four times at most, since the machine may have been busy with something
# else. What breaks a rule of safety is not: nothing that a machine does may cause it.
_AGAIN = pytest.mark.flaky(reruns=4, reruns_delay=3, rerun_except=r"(?i)stale|violation|lost|fork")

_RESULTS = "GOVRAFT_CONFORMANCE_RESULTS"
_CLAUSE = "clause"
_outcomes: dict[str, dict[str, str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests of real processes have their second chance."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(_AGAIN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under `CI=true` a skipped test is a failed one: whatever it needs has to be there."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    # Properties travel with the report, from whichever process ran the test.
    report.user_properties += [(_CLAUSE, mark.args[0]) for mark in item.iter_markers(_CLAUSE)]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how each test that shows a clause came out, its fixtures included."""
    for name, demand in report.user_properties:
        if name == _CLAUSE and report.outcome != "rerun" and (report.when == "call" or report.outcome != "passed"):
            # Parameters differ in more than the demand needs to say: one test function, one line; one failure fails it.
            tests = _outcomes.setdefault(str(demand), {})
            test = report.nodeid.partition("[")[0]
            tests[test] = report.outcome if tests.get(test, "passed") == "passed" else tests[test]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the outcomes where `scripts/conformance` looks for them."""
    path = os.environ.get(_RESULTS)
    if path and not hasattr(session.config, "workerinput"):
        Path(path).write_text(json.dumps(_outcomes, indent=1, sort_keys=True), encoding="utf-8")
