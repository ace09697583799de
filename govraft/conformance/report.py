"""The report of a run of the clause-marked tests, as it is kept in the package."""

from __future__ import annotations

from importlib import resources

import msgspec

from govraft.conformance.demands import DEMANDS, OPEN
from govraft.core.codec.complaints import in_words
from govraft.errors import DecodeError

__all__ = ["Demand", "Report", "load_report", "to_markdown"]

_FILE = "report.json"


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One demand, and the tests that showed it.

    Attributes:
        clause: Its number.
        demand: Its text.
        tests: Ids of the tests that passed, sorted; none: the demand is open.
        open: Why there is none.
    """

    clause: str
    demand: str
    tests: tuple[str, ...]
    open: str = ""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one run of the tests showed.

    Attributes:
        specification: Its name.
        version: Of govraft.
        demands: In the order of the specification.
    """

    specification: str
    version: str
    demands: tuple[Demand, ...]

    @classmethod
    def of(cls, passed: dict[str, list[str]], version: str) -> Report:
        """The report of a run.

        Args:
            passed: Ids of the passed tests by `"<clause> <demand>"`.
            version: Of govraft.

        Raises:
            DecodeError: A mark that is no demand, a demand that nothing shows and nobody calls open, or the reverse.
        """
        known = {f"{clause} {text}": (clause, text) for clause, texts in DEMANDS.items() for text in texts}
        strange = sorted(passed.keys() - known.keys())
        if strange:
            raise DecodeError(f"`{strange[0]}` is no demand of the specification, see govraft/conformance/demands.py")
        for name in known:
            if (name in passed) == (name in OPEN):
                raise DecodeError(f"`{name}` must either have a passed test or be named in `OPEN`, and not both")
        demands = (
            Demand(clause, text, tuple(sorted(passed.get(name, ()))), OPEN.get(name, ""))
            for name, (clause, text) in known.items()
        )
        return cls("RFC-EG-028", version, tuple(demands))


def load_report() -> Report:
    """The report of this version.

    Raises:
        DecodeError: The package is damaged.
    """
    data = resources.files("govraft.conformance").joinpath(_FILE).read_bytes()
    try:
        return msgspec.json.decode(data, type=Report)
    except msgspec.MsgspecError as error:
        raise DecodeError(
            f"the package's conformance report cannot be read: {in_words(error)}, install govraft again"
        ) from error


def to_markdown(report: Report) -> str:
    """The report as a page."""
    shown = sum(bool(item.tests) for item in report.demands)
    lines = [
        "# Conformance to RFC-EG-028",
        "",
        "Made by `scripts/conformance` from the tests that are marked with a clause, in a run that all of them passed.",
        "`govraft conformance` prints the same. A demand that no test shows is open.",
        "",
        f"{shown} of {len(report.demands)} demands are shown by at least one test.",
        "",
    ]
    clause = ""
    for item in report.demands:
        if item.clause != clause:
            clause = item.clause
            lines += ["", f"## Clause {clause}", "", "| demand | shown by |", "|---|---|"]
        tests = "<br>".join(f"`{test}`" for test in item.tests) or f"**open**: {item.open}"
        lines.append(f"| {item.demand} | {tests} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"
