"""What a command prints: data on stdout, in the form that was asked for; everything else on stderr.

A table is for people: what comes out of the cluster is stripped of control characters first, so that a reason or a
name cannot steer the terminal. JSON and YAML are for programs and carry everything, escaped.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from govraft.cli.standard_streams import unless_unwritable
from govraft.core.model.units import time_text
from govraft.errors import GovraftError

__all__ = [
    "FORMATS",
    "Table",
    "digits",
    "emit",
    "fields_table",
    "note",
    "plain",
    "progress",
    "say_error",
    "time_text",
    "write_data",
]

FORMATS = ("table", "json", "yaml")

_UNBOUNDED_COLUMNS = 100_000
_STDERR = 2


class Table(NamedTuple):
    """Rows under column names, for people."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def emit(form: str, data: Any, table: Table | str) -> None:
    """Print `data` as JSON or YAML, or `table` in its place.

    Args:
        form: One of `FORMATS`.
        data: What `json.dumps` takes: no bytes.
        table: The same for people, or text to be printed as it is.
    """
    if form == "json":
        write_data(json.dumps(data, indent=2) + "\n")
    elif form == "yaml":
        import yaml  # type: ignore[import-untyped]

        write_data(yaml.safe_dump(data, sort_keys=False, width=120))
    elif isinstance(table, str):
        write_data(table if not table or table.endswith("\n") else table + "\n")
    else:
        _print_table(table)


def write_data(text: str) -> None:
    """Write text to stdout as it is; to nowhere if the caller has closed it.

    Raises:
        GovraftError: The output takes no more, such as a full disk. A closed pipe stays a `BrokenPipeError`.
    """
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise GovraftError(f"the output cannot be written: {error.strerror}", code="output_unwritable") from error


def note(text: str) -> None:
    """Tell people something, on stderr, in one line; it is lost if stderr takes no more."""
    say_error(plain(text))


def say_error(text: str) -> None:
    """Write text to stderr as it is, if that takes it: what could not be said there must not change the exit code."""
    with unless_unwritable(_STDERR):
        click.echo(text, err=True)


def plain(value: object) -> str:
    """The text of a value, with characters that do not print written out."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def digits(hexadecimal: object) -> str:
    """The first digits of a digest, enough to recognise it."""
    return str(hexadecimal)[:12]


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    # A line that goes into a pipe is one record: never folded. rich writes nothing itself: what fails is our own write.
    written = io.StringIO()
    width = None if is_terminal else _UNBOUNDED_COLUMNS
    console = Console(file=written, highlight=False, width=width, force_terminal=is_terminal, no_color=not is_terminal)
    grid = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in table.columns:
        grid.add_column(Text(name), overflow="fold", no_wrap=not is_terminal)
    for row in table.rows:
        grid.add_row(*(Text(plain(value)) for value in row))
    console.print(grid)
    lines = written.getvalue().split("\n")
    write_data("\n".join(lines if is_terminal else [line.rstrip() for line in lines]))


@contextmanager
def progress(label: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr while the block runs, if that is a terminal.

    Yields:
        A function that is told how many more are done.
    """
    if total < 2 or not sys.stderr.isatty():
        yield lambda _count=1: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count=1: bar.advance(task, count)


def fields_table(pairs: Iterable[tuple[str, object]]) -> Table:
    """One record as rows of name and value."""
    return Table(("FIELD", "VALUE"), list(pairs))
