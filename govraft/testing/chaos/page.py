"""`report.html`: one page that needs nothing else. Verdict first, then the picture, then the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from govraft.testing.chaos.timeline import FAULT_COLOURS, STATES, timeline
from govraft.testing.checkers import Violation
from govraft.testing.history import Event, FaultEnded, FaultStarted

if TYPE_CHECKING:
    from govraft.testing.chaos.report import Report

__all__ = ["page"]

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:1320px;margin:0 auto;padding:24px}
h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 8px}
.verdict{padding:12px 16px;border-radius:6px;font-size:19px;font-weight:600;margin:14px 0;color:#fff}
.good{background:#0b6e4f}.bad{background:#b3261e}
.numbers{display:flex;flex-wrap:wrap;gap:10px 30px;margin:10px 0}.numbers b{display:block;font-size:22px}
table{border-collapse:collapse;margin:4px 0}td,th{padding:3px 14px 3px 0;text-align:left;vertical-align:top}
th{font-weight:600;border-bottom:1px solid #999}td.n,th.n{text-align:right}tr:nth-child(even) td{background:#f5f5f5}
code{font:13px ui-monospace,monospace;background:#f0f0f0;padding:1px 4px;border-radius:3px}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:13px;margin:4px 0 10px}
.legend i{display:inline-block;width:18px;height:12px;margin-right:6px;vertical-align:-1px}
.columns{display:flex;flex-wrap:wrap;gap:0 60px}.note{color:#555;font-size:13px;max-width:75em}
svg text{font:11px system-ui,sans-serif;fill:#1b1b1b}svg .label{text-anchor:end;font-size:12px}
svg .time{text-anchor:middle;fill:#555}svg .end{text-anchor:end}
svg .grid{stroke:#000;stroke-opacity:.1}svg .leader{fill:#111}svg .effective{stroke:#0b6e4f;stroke-width:1.2}
svg .unknown{stroke:#d55e00;stroke-width:1.2}svg .broken{stroke:#b3261e;stroke-width:3;stroke-dasharray:6 3}
"""


def page(
    report: Report, events: Sequence[Event], properties: Mapping[str, str], violations: Iterable[Violation]
) -> str:
    """The whole page."""
    found = list(violations)
    title = f"Chaos: {report.scenario}, {report.nodes} nodes, seed {report.seed}"
    origin = f"{escape(report.network)} · govraft {escape(report.version)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="note">{origin} · again: <code>{escape(report.replay)}</code></div>',
        _verdict(report),
        _numbers(report),
        "<h2>What happened</h2>",
        _legend(),
        timeline(events, found),
        _violations(found),
        '<div class="columns">',
        _properties(report, properties),
        _counts("Denials", report.denials_by_reason),
        _counts("Tries of commands", report.commands_by_outcome),
        "</div>",
        _unavailability(report),
        _faults(events),
        _missing(report),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _verdict(report: Report) -> str:
    broken = {name: count for name, count in report.properties.items() if count}
    if not broken:
        return '<div class="verdict good">✓ Nothing was violated: no stale allow, no lost command</div>'
    said = ", ".join(f"{name} ×{count}" for name, count in broken.items())
    return f'<div class="verdict bad">✗ Violated: {escape(said)}</div>'


def _numbers(report: Report) -> str:
    effective = report.commands_by_outcome.get("effective", 0)
    pairs = [
        (f"{report.faults}", "faults"),
        (f"{report.checks:,}", f"checks, {report.checks_per_s:,.0f} a second"),
        (f"{report.allows:,}", "allowed"),
        (f"{report.checks - report.allows:,}", "denied"),
        (f"{effective:,}", "commands effective"),
        (f"{report.seconds:,.0f} s", "of record"),
    ]
    return '<div class="numbers">' + "".join(f"<div><b>{value}</b>{words}</div>" for value, words in pairs) + "</div>"


def _legend() -> str:
    items = [f'<span><i style="background:{state.colour}"></i>{state.words}</span>' for state in STATES.values()]
    items.append('<span><i style="background:#111;height:5px;vertical-align:3px"></i>leads</span>')
    faults = [
        f'<span><i style="background:{colour}38;border:1px solid {colour};box-sizing:border-box"></i>{words}</span>'
        for colour, words in (
            (FAULT_COLOURS["node"], "fault of single nodes"),
            (FAULT_COLOURS["network"], "fault of links"),
            (FAULT_COLOURS["cluster"], "fault of most or all nodes"),
        )
    ]
    faults += [
        '<span><i style="background:#0b6e4f;width:3px"></i>command effective</span>',
        '<span><i style="background:#d55e00;width:3px"></i>command refused or of unknown outcome</span>',
        '<span><i style="border-left:3px dashed #b3261e;width:3px"></i>violation</span>',
    ]
    return f'<div class="legend">{"".join(items)}</div><div class="legend">{"".join(faults)}</div>'


def _violations(found: Sequence[Violation]) -> str:
    if not found:
        return ""
    rows = "".join(f"<tr><td>{escape(item.property)}</td><td>{escape(item.message)}</td></tr>" for item in found)
    return f"<h2>Violations</h2><table><tr><th>property</th><th>what was seen</th></tr>{rows}</table>"


def _properties(report: Report, properties: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><td>{'✗' if count else '✓'}</td><td>{escape(name)}</td><td>{escape(properties.get(name, ''))}</td>"
        f'<td class="n">{count}</td></tr>'
        for name, count in report.properties.items()
    )
    return (
        '<div><h2>Checked</h2><table><tr><th></th><th>property</th><th>holds if</th><th class="n">violations</th></tr>'
        f"{rows}</table></div>"
    )


def _counts(title: str, counts: Mapping[str, int]) -> str:
    rows = "".join(f'<tr><td>{escape(name)}</td><td class="n">{count:,}</td></tr>' for name, count in counts.items())
    return f"<div><h2>{title}</h2><table>{rows or '<tr><td>none</td></tr>'}</table></div>"


_TIMES = {
    "count": "faults",
    "alone": "alone",
    "bystanders_median_ms": "others, median",
    "bystanders_worst_ms": "others, worst",
    "recovery_median_ms": "hit, median",
    "recovery_worst_ms": "hit, worst",
    "unrecovered": "never again",
}


def _unavailability(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{escape(row['kind'])}</td>{''.join(f'<td class=n>{row[name]:,}</td>' for name in _TIMES)}</tr>"
        for row in report.unavailability
    )
    heads = "".join(f"<th class=n>{words}</th>" for words in _TIMES.values())
    return (
        "<h2>Time without an allow, by kind of fault (ms)</h2>"
        '<div class="note">Others: the longest time, while the fault lasted, in which a node that was not hit did not '
        "allow. Hit: from the end of the fault until the node that was hit allowed again; a node that was started anew "
        "waits one lease first. Both of the node that fared worst; of faults that came alone, where there are any."
        f"</div><table><tr><th>kind</th>{heads}</tr>{rows}</table>"
    )


def _faults(events: Sequence[Event]) -> str:
    start = events[0].at if events else 0
    ended = {event.fault: event.at for event in events if isinstance(event, FaultEnded)}
    rows = []
    for event in events:
        if isinstance(event, FaultStarted):
            lasted = f"{(ended[event.fault] - event.at) / 1e9:.1f}" if event.fault in ended else "to the end"
            rows.append(
                f"<tr><td class=n>{event.fault}</td><td class=n>{(event.at - start) / 1e9:.1f}</td>"
                f"<td class=n>{lasted}</td><td>{escape(event.kind)}</td><td>{escape(', '.join(event.nodes))}</td>"
                f"<td>{escape(event.detail)}</td></tr>"
            )
    return (
        f"<details><summary><h2 style='display:inline'>All {len(rows)} faults</h2></summary><table><tr><th></th>"
        "<th class=n>at, s</th><th class=n>lasted, s</th><th>kind</th><th>nodes</th><th>what</th></tr>"
        f"{''.join(rows)}</table></details>"
    )


def _missing(report: Report) -> str:
    if not report.kinds_missing and not report.faults_skipped:
        return ""
    rows = "".join(
        f"<tr><td>{escape(kind)}</td><td>not possible here: needs {escape(need)}</td></tr>"
        for kind, need in report.kinds_missing.items()
    )
    rows += "".join(f"<tr><td>skipped</td><td>{escape(text)}</td></tr>" for text in report.faults_skipped)
    return f"<h2>Not done</h2><table>{rows}</table>"
