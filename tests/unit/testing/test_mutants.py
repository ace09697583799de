"""The table of mutants fits the product, and the tool that runs it cannot be fooled into calling a fault killed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "scripts" / "mutation"

SAMPLE = [
    "acks-of-another-probe-count",
    "inclusion-proof-not-compared",
    "forged-signature-skipped",
    "second-spelling-accepted",
]


@pytest.fixture
def tool(monkeypatch):
    """The tool's modules, which are no package: `python scripts/mutation` runs them."""
    monkeypatch.syspath_prepend(str(TOOL))
    names = ["catalogue", "mutant", "runner"]
    before = set(sys.modules)
    yield {name: importlib.import_module(name) for name in names}
    for name in set(sys.modules) - before:
        found = getattr(sys.modules[name], "__file__", None)
        if found is not None and Path(found).parent == TOOL:
            del sys.modules[name]


def test_every_mutant_can_be_planted(tool):
    mutants = tool["catalogue"].MUTANTS
    problems = []
    for item in mutants:
        try:
            tool["mutant"].mutated(item, ROOT)
        except tool["mutant"].MutantError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)
    assert len(mutants) >= 300
    assert len({item.name for item in mutants}) == len(mutants)
    assert len({(item.file, item.old, item.new) for item in mutants}) == len(mutants)


def test_the_starred_rules_of_the_protocol_have_mutants(tool):
    starred = [item for item in tool["catalogue"].MUTANTS if "★" in item.breaks]
    assert len(starred) >= 12
    assert sum(item.seeds is not None for item in starred) >= 5


PRODUCT = "def double(number):\n    return number + number\n"
TESTS = """
from govraft.product import double

def test_double():
    assert double(3) == 6, "three doubled"

def test_zero():
    assert double(0) == 0
"""


@pytest.fixture
def project(tmp_path):
    """A small project that stands in for this one."""
    root = tmp_path / "project"
    (root / "govraft").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "govraft" / "__init__.py").write_text("")
    (root / "govraft" / "product.py").write_text(PRODUCT)
    (root / "tests" / "test_product.py").write_text(TESTS)
    (root / "tests" / "test_broken.py").write_text("import nothing_of_that_name\n")
    return root


def fault(tool, new, *, old="number + number", killers=("tests/test_product.py",), file="govraft/product.py"):
    return tool["mutant"].Mutant("fault", "doubling", file, old, new, killers)


def test_a_fault_that_a_test_notices_is_killed_by_name(tool, project):
    before = (project / "govraft" / "product.py").read_text()
    outcome = tool["runner"].run_mutant(fault(tool, "number * 3"), project)
    assert (outcome.verdict, outcome.test) == ("killed", "test_product::test_double")
    assert outcome.message == "AssertionError: three doubled"
    assert (project / "govraft" / "product.py").read_text() == before


def test_a_fault_that_no_test_notices_survives(tool, project):
    assert tool["runner"].run_mutant(fault(tool, "number * 2"), project).verdict == "survived"


@pytest.mark.parametrize("killers", [("tests/test_broken.py",), ("tests/test_product.py::TestNo::test_double",)])
def test_tests_that_do_not_run_kill_nothing(tool, project, killers):
    outcome = tool["runner"].run_mutant(fault(tool, "number * 3", killers=killers), project)
    assert outcome.verdict == "error"


def test_a_run_that_is_cut_off_kills_nothing(tool, project, monkeypatch):
    monkeypatch.setattr(tool["runner"], "TIMEOUT_S", 2)
    hanging = fault(tool, "next(iter(lambda: 0, 1)) or double(number)")
    (project / "tests" / "test_product.py").write_text("import time\n\ndef test_it():\n    time.sleep(60)\n")
    outcome = tool["runner"].run_mutant(hanging, project)
    assert (outcome.verdict, outcome.message) == ("error", "cut off after 2 s")


def test_a_mutant_with_seeds_needs_a_simulated_cluster_that_breaks(tool, project):
    simulation = project / "govraft" / "testing" / "simulation"
    simulation.mkdir(parents=True)
    (simulation.parent / "__init__.py").write_text("")
    (simulation / "__init__.py").write_text("")
    main = simulation / "__main__.py"
    item = tool["mutant"].Mutant(
        "fault", "doubling", "govraft/product.py", "number + number", "number * 3", ("tests/test_product.py",),
        ("calm", 0, 3),
    )  # fmt: skip
    main.write_text("")
    outcome = tool["runner"].run_mutant(item, project)
    assert (outcome.verdict, outcome.message) == ("survived", "seeds 0 to 3 (calm) break no rule")
    main.write_text("raise SystemExit(1)\n")
    assert tool["runner"].run_mutant(item, project).verdict == "error"
    main.write_text(
        "import sys\nif sys.argv[-1] == '2':\n    print('seed 2')\n    print('  1.500000 s  fork  n1  two roots')\n    sys.exit(1)\n"
    )
    outcome = tool["runner"].run_mutant(item, project)
    assert (outcome.verdict, outcome.simulated) == ("killed", "seed 2 (calm): fork n1 two roots")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"old": "number - number"}, "stands 0 times"),
        ({"old": "number"}, "stands 3 times"),
        ({"file": "govraft/none.py"}, "there is no file"),
        ({"new": "number + number  # the same"}, "changes nothing"),
        ({"new": "number +"}, "is not Python"),
        ({"killers": ()}, "has no killers"),
        ({"killers": ("tests/test_none.py",)}, "there is no killer"),
        ({"killers": ("tests/test_product.py::test_none",)}, "there is no killer"),
    ],
)
def test_a_mutant_that_does_not_fit_is_refused(tool, project, change, why):
    item = fault(tool, **({"new": "number * 3"} | change))
    with pytest.raises(tool["mutant"].MutantError, match=why):
        tool["runner"].run_mutant(item, project)


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, timeout=110, cwd=ROOT)


def test_usage():
    assert run("--only", "no-such-mutant").returncode == 2
    assert run("--jobs", "0").returncode == 2
    listed = run("--list", "--only", SAMPLE[0])
    assert listed.returncode == 0
    assert listed.stdout.startswith(SAMPLE[0])


@pytest.mark.slow
def test_a_sample_of_the_table_is_killed(tmp_path):
    report = tmp_path / "report.json"
    only = [part for name in SAMPLE for part in ("--only", name)]
    done = run(*only, "--json", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SAMPLE)} of {len(SAMPLE)} mutants killed" in done.stdout
    assert report.read_text().count('"verdict": "killed"') == len(SAMPLE)
