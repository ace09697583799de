"""From a run of the clause-marked tests to the report in the package and the page in the documents."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

import govraft
from govraft.conformance.report import Report, to_markdown
from govraft.errors import DecodeError

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "govraft" / "conformance" / "report.json"
PAGE = ROOT / "docs" / "conformance.md"


def main() -> int:
    """0 if both files are as the tests say, 1 if a test failed or a file differs, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=Path, metavar="RESULTS", help="compare instead of writing")
    arguments = parser.parse_args()
    try:
        if arguments.check is not None:
            return _check(Report.of(_passed(arguments.check), govraft.__version__))
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results.json"
            command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadfile", "tests"]
            environment = {**os.environ, "CI": "true", "GOVRAFT_CONFORMANCE_RESULTS": str(results)}
            # Only the marked ones; `-m` here takes the place of the one in pyproject.toml.
            code = subprocess.run([*command, "-m", "clause and not soak"], cwd=ROOT, env=environment, check=False)
            if code.returncode != 0:
                print("a test failed: nothing is written", file=sys.stderr)
                return 1
            report = Report.of(_passed(results), govraft.__version__)
    except (DecodeError, OSError, msgspec.MsgspecError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    REPORT.write_bytes(_encode(report))
    PAGE.write_text(to_markdown(report), encoding="utf-8")
    return 0


def _check(report: Report) -> int:
    wanted = ((REPORT, _encode(report)), (PAGE, to_markdown(report).encode()))
    wrong = [path for path, data in wanted if not path.exists() or path.read_bytes() != data]
    for path in wrong:
        print(f"{path.relative_to(ROOT)} is not what the tests say: run scripts/conformance", file=sys.stderr)
    return 1 if wrong else 0


def _passed(results: Path) -> dict[str, list[str]]:
    """Tests by demand. A test that did not pass shows nothing, and is not passed over in silence either."""
    found = msgspec.json.decode(results.read_bytes(), type=dict[str, dict[str, str]])
    failed = sorted({test for tests in found.values() for test, outcome in tests.items() if outcome != "passed"})
    if failed:
        raise DecodeError(f"`{failed[0]}` did not pass")
    return {demand: sorted(tests) for demand, tests in found.items()}


def _encode(report: Report) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


if __name__ == "__main__":
    sys.exit(main())
