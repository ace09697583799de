"""From the reasons in the code to their tables in the documents."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from govraft.core.model.reasons import Reason

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- reasons: written by scripts/reasons -->\n", "<!-- end of reasons -->\n"


def main() -> int:
    """0 if the documents are as the code says, 1 if one is not, 2 if one has no place for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    is_check = parser.parse_args().check
    status = 0
    for name, written in (("concepts.md", _table()), ("formats.md", _codes())):
        page = DOCS / name
        text = page.read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            print(f"docs/{name} has no `{BEGIN.strip()}` or no `{END.strip()}`", file=sys.stderr)
            return 2
        wanted = f"{before}{begin}{written}{end}{after}"
        if wanted == text:
            continue
        if is_check:
            print(f"docs/{name} is not what the code says: run scripts/reasons", file=sys.stderr)
            status = 1
        else:
            page.write_text(wanted, encoding="utf-8")
    return status


def _table() -> str:
    rows = [f"| `{reason}` | {_about(reason)} | {reason.sentence} | {reason.exit_code} |" for reason in Reason]
    return "\n".join(["| code | about | means | exit code |", "|---|---|---|---|", *rows]) + "\n"


def _about(reason: Reason) -> str:
    words = reason.about.value
    if reason.of_node:
        words += ", or node"
    return f"{words} (passing)" if reason.passing else words


def _codes() -> str:
    return textwrap.fill(" ".join(f"`{reason}`" for reason in Reason), width=118, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
