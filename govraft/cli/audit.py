"""`govraft audit`: export a node's decision log, evaluate it again, and compare the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from govraft.adapters.decision_log import DecisionLogReader
from govraft.cli.decision_files import log_path, write_decisions
from govraft.cli.exit_codes import DENIED, DONE
from govraft.cli.new_file import open_new
from govraft.cli.output import Table, digits, emit, fields_table, note, progress
from govraft.cli.settings import CliGroup, Settings
from govraft.cli.trust_file import TRUST_WORDS, find_trust, trusted_option
from govraft.cli.trusted_genesis import trusted_genesis
from govraft.client.client import Client
from govraft.core.evidence.decision_export import LINE_BYTES_MAX
from govraft.core.evidence.replay import AuditReport, replay_decisions
from govraft.errors import InputError

__all__ = ["audit"]

_LISTED = 50


@click.group(cls=CliGroup)
def audit() -> None:
    """What the nodes decided, and whether it was right."""


@audit.command()
@click.argument("log", metavar="LOG")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "first", type=click.IntRange(0), metavar="INDEX", help="First record; default 0.")
@click.option("--to", "last", type=click.IntRange(0), metavar="INDEX", help="Last record; default the newest.")
@click.option("--since", type=click.IntRange(0), metavar="MS", help="From the first record of this wall time on.")
@click.option("--until", type=click.IntRange(0), metavar="MS", help="To the last record before this wall time.")
@click.pass_obj
def export(
    settings: Settings, log: str, file: Path, first: int | None, last: int | None, since: int | None, until: int | None
) -> None:
    """Write the decision log of a node to FILE, for `govraft audit replay`; `-` writes to stdout.

    LOG is the node's `decisions.db`, its data directory or its configuration, or with `--cluster` the node's id. The
    node may be running. Only its own user may read the log.
    """
    with closing(DecisionLogReader(log_path(settings, log))) as reader:
        start, end = reader.stretch(first, last, since, until)
        with open_new(file, private=True) as out, progress("exporting", end - start) as advance:
            write_decisions(reader, out, start, end, advance)
        note(f"exported records {start} to {end - 1} of {reader.tree.size}, log {reader.identity.log}")


@audit.command()
@click.argument("decisions", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--lineage", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Of `govraft lineage export`."
)
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted.")
@trusted_option
@click.pass_obj
def replay(settings: Settings, decisions: Path, lineage: Path, genesis: Path | None, trusted: str | None) -> int:
    """Evaluate every decision in DECISIONS again, offline, on the state that it names.

    The lineage is replayed from the genesis, and held against the trust state; nothing else is trusted. Exit code 1 if
    a record is not what it should be, is missing, or is not what the node anchored, or if the lineage is of another
    history than the trusted one. Export the lineage after the decisions.
    """
    known = trusted_genesis(settings, genesis)
    place = find_trust(trusted, known)
    trust = place.load(known)
    with ExitStack() as stack:
        file = _DecisionFile(stack.enter_context(_open(decisions)), stack.enter_context(_open(decisions)))
        source = stack.enter_context(_open(lineage))
        count = file.count_lines()
        judged = stack.enter_context(progress("evaluating", count))
        report = replay_decisions(file, _lines(source), known, advance_records=judged, trust=trust)
    data = {"clean": report.is_clean, **msgspec.to_builtins(report), "trusted": place.name}
    emit(settings.output, data, _table(report))
    if report.trust == "not_shown":
        note(f"govraft: {TRUST_WORDS['not_shown']}")
    for problem in report.chain:
        note(f"govraft: {problem}")
    if report.mismatch_count:
        note(f"govraft: {report.mismatch_count} records are not what they should be")
    return DONE if report.is_clean else DENIED


@audit.command()
@click.argument("endpoints", nargs=-1, metavar="[ENDPOINT]...")
@click.pass_obj
def reconcile(settings: Settings, endpoints: tuple[str, ...]) -> int:
    """Compare the lineages of the nodes, and their decision logs with what they anchored.

    Without ENDPOINTs, all nodes of the cluster. No node is believed: each agreement is proven. Exit code 1 if they
    differ; the first seq that differs is named.
    """
    from govraft.cli.reconciliation import reconcile_nodes

    if endpoints:
        settings.endpoints = endpoints
    targets = settings.targets()
    if len(targets) < 2:
        raise InputError("comparing takes two nodes: name several endpoints, or give `--cluster`")
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(target.endpoint, timeout=settings.timeout_s)) for target in targets]
        found = reconcile_nodes([target.name for target in targets], clients)
    rows = [
        (item["node"], item["seq"], item["log"], item["records"], item["anchored"], item["problem"])
        for item in found.nodes
    ]
    columns = ("NODE", "SEQ", "LOG", "RECORDS", "ANCHORED", "PROBLEM")
    emit(settings.output, found.data(), Table(columns, rows))
    for problem in found.problems:
        note(f"govraft: {problem}")
    return DONE if not found.problems else DENIED


def _table(report: AuditReport) -> Table:
    if not report.mismatches:
        return fields_table(_fields(report))
    rows = [
        (item.index, item.decision, item.problem, item.recorded, item.expected) for item in report.mismatches[:_LISTED]
    ]
    return Table(("RECORD", "DECISION", "PROBLEM", "RECORDED", "EXPECTED"), rows)


def _fields(report: AuditReport) -> Sequence[tuple[str, object]]:
    anchored = f"{report.anchored} by seq {report.anchor_seq}" if report.anchor_seq else "nothing yet"
    return [
        ("node", report.node),
        ("log", digits(report.log)),
        ("records", f"{report.first} to {report.last - 1}" if report.last > report.first else "none"),
        ("lineage to seq", report.seq),
        ("lineage proven", TRUST_WORDS[report.trust]),
        *((f"checked: {kind}", count) for kind, count in report.counts.items()),
        ("never recorded", report.dropped),
        ("mismatches", report.mismatch_count),
        ("anchored up to", anchored),
        ("chain", "whole" if not report.chain else "broken"),
    ]


class _DecisionFile:
    """Reads an export twice: once from end to end, once record by record in the order of their seqs."""

    def __init__(self, whole: BinaryIO, again: BinaryIO) -> None:
        self._whole = whole
        self._again = again

    def count_lines(self) -> int:
        count = sum(1 for _ in self.lines())
        self._whole.seek(0)
        return count

    def lines(self) -> Iterator[tuple[int, bytes]]:
        place = 0
        while line := self._whole.readline(LINE_BYTES_MAX + 1):
            yield place, line.rstrip(b"\n")
            place += len(line)

    def line(self, place: int) -> bytes:
        if self._again.tell() != place:
            self._again.seek(place)
        return self._again.readline(LINE_BYTES_MAX + 1).rstrip(b"\n")


def _lines(source: BinaryIO) -> Iterator[bytes]:
    while line := source.readline(LINE_BYTES_MAX):
        yield line


def _open(path: Path) -> BinaryIO:
    try:
        source = path.open("rb")
        if not source.seekable() or not path.is_file():
            source.close()
            raise InputError(f"`{path}` must be a file, it is read more than once", code="file_unreadable")
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="file_unreadable") from error
    return source
